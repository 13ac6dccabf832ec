"""Results on disk: one file a cell of work, named by a hash of all that it depends on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...whole import whole, write_text

ROOT = Path(__file__).parents[3]  # of the repository


def cell(folder: Path, config: dict[str, Any], work: Callable[[], dict[str, Tensor]]) -> dict:
    """Load the result of a cell of work, or do the work and store it atomically.

    Args:
        folder: where results are kept.
        config: everything the result depends on.
        work: makes the tensors.

    Returns:
        The tensors, by name.

    Raises:
        OSError: if they cannot be stored, as on a full disk.
    """
    path, text = _address(folder, config)
    known = _read(path, text)
    if known is not None:
        return known
    result = {k: v.detach().cpu().contiguous() for k, v in work().items()}
    folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        save_file(result, part, metadata={"config": text, "sha256": _values_hash(result)})
    return result


def stored(folder: Path, config: dict[str, Any]) -> dict[str, Tensor] | None:
    """The result of a cell if it is there, else None."""
    return _read(*_address(folder, config))


def _address(folder: Path, config: dict[str, Any]) -> tuple[Path, str]:
    """File of a cell, and the text that its name is a hash of."""
    text = json.dumps(config, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.safetensors", text


def _read(path: Path, text: str) -> dict[str, Tensor] | None:
    """The stored tensors, or None if there are none; a damaged file is put aside, and said.

    Args:
        path: the file.
        text: the configuration that it must be the result of.
    """
    if not path.exists():
        return None
    seen = path.stat().st_ino
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        wrong = _wrong(tensors, about, text)
    except SafetensorError as error:
        wrong = str(error)
    if not wrong:
        return tensors
    number = len([*path.parent.glob(f"{path.stem}.*.damaged")])
    aside = path.with_suffix(f".{number}.damaged")
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(aside)
        if aside.stat().st_ino != seen:  # it has made the result again
            aside.rename(path)
    warnings.warn(f"{path} is damaged ({wrong}); it is now {aside.name}", stacklevel=2)
    return None


def _wrong(tensors: dict[str, Tensor], about: dict[str, str], text: str) -> str:
    """Why what a file holds is not the result that its name stands for, or nothing."""
    if about.get("config") != text:
        return "it is the result of another cell"
    if about.get("sha256") != _values_hash(tensors):
        return "its values are not those that were stored"
    return ""


def _values_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the names and values of some tensors; a file has their kinds and shapes."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def fingerprint(configs: Iterable[dict[str, Any]]) -> str:
    """A hash of all that some cells of work depend on."""
    text = "\n".join(sorted(json.dumps(config, sort_keys=True) for config in configs))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def earlier(root: Path) -> tuple[str, ...]:
    """The results that are known to be of earlier code, and have not been made again yet.

    They are named in ``results/earlier.txt``, one a line. Pages say so where they show them, and
    the tests see to it that nothing else is stale.
    """
    path = root / "results/earlier.txt"
    return tuple(path.read_text().split()) if path.exists() else ()


def write_json(path: Path, values: dict[str, Any], configs: Iterable[dict[str, Any]]) -> None:
    """Write a results file with the versions it was made with.

    Args:
        path: the file.
        values: what to write.
        configs: of all the cells of work that the values come from; the file keeps their
            :func:`fingerprint`, by which :mod:`invlib.reproduce.stale` knows old results.
    """
    import diffusers

    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**values, "versions": versions, "code": fingerprint(configs)}, indent=1)
    write_text(path, text + "\n")
