"""Execute the pages of the book that are new, two at a time.

The outputs go to the cache that Jupyter Book takes them from. A page is stored as soon as it is
done, under a hash of its cells, of the code of the package that it reaches, as it is written since
pages show it, of the data of the package and of the versions of all that is installed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbformat import NotebookNode
from packaging.requirements import Requirement

from ..engine.reached import Reach, present
from ..engine.store import ROOT
from .kernel import execute
from .tidy import tidied

CACHE = Path("_build") / ".jupyter_cache"
UNSEEN = {"browser", "torture"}  # extras that may be installed between two builds
LONG = 30.0  # seconds that a chapter may compute on an idle core


@dataclass(frozen=True)
class Page:
    """A notebook of the book, and a hash of all that its outputs depend on."""

    path: Path
    notebook: NotebookNode
    key: str


def main(root: Path = ROOT, reach: Reach | None = None, workers: int = 2) -> None:
    """Execute what is not in the cache for the present code; one that fails leaves the others be.

    Args:
        root: folder of the book, with ``_config.yml`` and ``_toc.yml``.
        reach: what the definitions of the library reach, by default of this one.
        workers: pages at a time, one thread each.
    """
    cache, wanted, timeout = opened(root, reach or present())
    new = missing(cache, wanted)
    failed = []
    pool = ThreadPoolExecutor(workers)
    running = {pool.submit(outputs, page, timeout): page for page in new}
    try:
        for done in as_completed(running):
            page = running[done]
            name = page.path.relative_to(root).as_posix()
            if error := done.exception():
                failed.append(name)
                print(f"{name} failed: {error}", file=sys.stderr, flush=True)
                continue
            notebook, seconds = done.result()
            store(cache, page, notebook, seconds)
            print(f"executed {name} in {seconds:.0f} s", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
        for page, seconds in long(cache, wanted):
            name, most = page.path.relative_to(root).as_posix(), f"{LONG:.0f} s on an idle core"
            print(f"{name} took {seconds:.0f} s, perhaps on a busy machine; at most {most}")
    if failed:
        sys.exit(f"pages that failed: {', '.join(sorted(failed))}; the others are stored")


def opened(root: Path, reach: Reach) -> tuple[Any, list[Page], int | None]:
    """The cache of a book, the pages that belong in it, and the seconds that a cell may take."""
    settings = yaml.safe_load((root / "_config.yml").read_text()).get("execute", {})
    wanted = [*pages(root, settings.get("exclude_patterns", ()), reach)]
    return get_cache(str(root / CACHE)), wanted, settings.get("timeout")


def store(cache: Any, page: Page, notebook: NotebookNode, seconds: float) -> None:
    """Put a page with its outputs into the cache."""
    data = {"execution_seconds": seconds, "key": page.key}
    cache.cache_notebook_bundle(CacheBundleIn(notebook, str(page.path), data=data), overwrite=True)


def long(cache: Any, wanted: Sequence[Page]) -> Iterator[tuple[Page, float]]:
    """The pages in the cache that computed for more than LONG, and the seconds."""
    for page in wanted:
        with suppress(KeyError):  # it failed, so it is not there
            seconds = cache.match_cache_notebook(page.notebook).data["execution_seconds"]
            if seconds > LONG:
                yield page, seconds


def outputs(page: Page, timeout: int | None) -> tuple[NotebookNode, float]:
    """The executed notebook of a page, and the seconds it took."""
    notebook, start = deepcopy(page.notebook), time.perf_counter()
    execute(notebook, page.path.parent, timeout=timeout)
    return tidied(notebook), time.perf_counter() - start


def missing(cache: Any, wanted: Sequence[Page]) -> list[Page]:
    """The pages whose outputs are not in the cache; all else in it is thrown away."""
    try:
        found = {}
        for page in wanted:
            with suppress(KeyError):  # not there
                record = cache.match_cache_notebook(page.notebook)
                if (record.data or {}).get("key") == page.key:
                    cache.get_cache_bundle(record.pk)
                    found[record.pk] = page.key
        for record in cache.list_cache_records():
            if record.pk not in found:
                cache.remove_cache(record.pk)
    except (KeyError, ValueError, RuntimeError):  # an earlier run was killed while it wrote
        cache.clear_cache()
        found = {}
    return [page for page in wanted if page.key not in found.values()]


def pages(root: Path, excluded: Sequence[str], reach: Reach) -> Iterator[Page]:
    """The notebooks in the table of contents that the book executes."""
    world = surroundings(reach.library.root, root / "results")
    for name in listed(yaml.safe_load((root / "_toc.yml").read_text())):
        path = root / f"{name}.ipynb"
        skipped = any(PurePosixPath(f"{name}.ipynb").match(pattern) for pattern in excluded)
        if path.exists() and not skipped:
            notebook = nbformat.read(path, as_version=4)
            yield Page(path, notebook, key(notebook, reach, world))


def listed(contents: Any) -> Iterator[str]:
    """The files in a table of contents."""
    if isinstance(contents, dict):
        yield from (contents[name] for name in ("root", "file") if name in contents)
        contents = list(contents.values())
    if isinstance(contents, list):
        for part in contents:
            yield from listed(part)


def key(notebook: NotebookNode, reach: Reach, world: str) -> str:
    """A hash of all that the outputs of a notebook depend on."""
    cells = [c for c in tidied(notebook).cells if c.cell_type == "code"]
    transform = TransformerManager().transform_cell  # commands to IPython become Python
    program = "\n".join(transform(cell.source) for cell in cells)
    units = reach.closure(reach.library.read(program, "__main__").units)
    parts = [
        world,
        json.dumps([[cell.source, cell.metadata] for cell in cells], sort_keys=True),
        reach.hash(units),
        *sorted(unit.text for unit in units),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def surroundings(*folders: Path) -> str:
    """A hash of the files in some folders that are not code, and of what is installed."""
    digest = hashlib.sha256(platform.python_version().encode())
    digest.update("\n".join(sorted(versions())).encode())
    for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def versions() -> set[str]:
    """What the package and its extras bring here, but for those that chapters do not see."""
    extras = {*metadata("invlib").get_all("Provides-Extra", ())} - UNSEEN
    wanted = [("invlib", extra) for extra in ("", *sorted(extras))]
    found: dict[tuple[str, str], str] = {}
    while wanted:
        name, extra = place = wanted.pop()
        if place in found:
            continue
        with suppress(PackageNotFoundError):  # of an extra that is not installed
            there = distribution(name)
            found[place] = f"{there.name}=={there.version}"
            for line in there.requires or ():
                needed = Requirement(line)
                if not needed.marker or needed.marker.evaluate({"extra": extra}):
                    wanted += [(needed.name, each) for each in ("", *needed.extras)]
    return {*found.values()}
