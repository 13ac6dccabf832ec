"""Fetch the models of a full-size profile, check them, and note what came from where."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ...whole import write_text
from .full_size import RANDOM, REHEARSAL, real, rehearsed
from .places import Source, at, kept_file, sources

TIMEOUT = 3.0  # seconds that a hub may take for an answer before anything is fetched
UNLIKE_OURS = ("*.fp16*", "*non_ema*", "safety_checker/*", "*.bin", "*.msgpack", "*.onnx", "*.ckpt")


@dataclass(frozen=True)
class Offer:
    """A place that has what is needed.

    Attributes:
        source: what it is.
        place: an id on the hub, an address, or a path.
        path: where it is on this machine, if all of it is.
        commit: of the repository; empty for files and folders.
        sizes: bytes of each file that is needed.
        hashes: SHA-256 of the large ones, as the hub tells.
        missing: bytes that are not on this machine yet.
        md5: of a file from an address, in base 64, if the server tells it.
    """

    source: Source
    place: str
    path: Path | None
    commit: str
    sizes: dict[str, int]
    hashes: dict[str, str]
    missing: int = 0
    md5: str = ""


def offer(source: Source) -> Offer:
    """The first place that can be reached; nothing is fetched.

    Raises:
        RuntimeError: in one sentence, if there is none.
    """
    reasons = []
    for place in source.chosen:
        path = at(source, place)
        if path is not None and (Path(place).exists() or source.kind == "file"):
            return Offer(source, place, path, "", {}, {})
        try:
            return _file_offer(source, place) if source.kind == "file" else _listed(source, place)
        except Exception as error:
            if path is not None:  # the hub is away, and what was fetched before is here
                return Offer(source, place, path, path.name, {}, {})
            reasons.append(f"{place}: {sentence(error)}")
    raise RuntimeError(
        f"cannot fetch {source.name} ({'; '.join(reasons)}); name a folder or another id in the "
        f"environment variable {source.variable}"
    )


def _listed(source: Source, place: str) -> Offer:
    """What a repository of a hub has of the files that are needed."""
    from huggingface_hub import HfApi

    api = HfApi()
    ask: Any = api.dataset_info if source.kind == "dataset" else api.model_info
    info = ask(place, files_metadata=True, timeout=TIMEOUT)
    if info.gated:  # all may read the listing, and not all the files
        api.auth_check(place, repo_type=source.kind)
    files = {file.rfilename: file for file in info.siblings}
    wanted = {name: file for name, file in files.items() if is_needed(source, name, {*files})}
    if not wanted:
        raise FileNotFoundError("it has none of the files")
    sizes = {name: file.size or 0 for name, file in wanted.items()}
    hashes = {name: file.lfs["sha256"] for name, file in wanted.items() if file.lfs}
    absent = sum(n for name, n in sizes.items() if not _kept(source, place, info.sha, name))
    first = _kept(source, place, info.sha, source.first_file)
    path = first.parent if first and not absent else None
    return Offer(source, place, path, info.sha, sizes, hashes, absent)


def is_needed(source: Source, name: str, names: set[str]) -> bool:
    """Whether a file of a repository is needed: single precision, safetensors, in a part's folder.

    Args:
        source: what it belongs to.
        name: its path in the repository.
        names: those of all.
    """
    from fnmatch import fnmatch

    if source.kind == "dataset":
        return True
    if any(fnmatch(name, pattern) for pattern in UNLIKE_OURS):
        return False
    inside = name.count("/") == 1
    part = name.split("/")[0]
    if name.endswith(".safetensors"):
        return inside and f"{part}/config.json" in names
    small = (".json", ".txt", ".model")
    return name == RANDOM or name == source.first_file or (inside and name.endswith(small))


def _kept(source: Source, place: str, commit: str, name: str) -> Path | None:
    """Where a file of a repository is on this machine, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place, name, revision=commit, repo_type=source.kind)
    return Path(found) if isinstance(found, str) else None


def _file_offer(source: Source, address: str) -> Offer:
    """What an address says of its file."""
    with urlopen(Request(address, method="HEAD"), timeout=TIMEOUT) as answer:
        size, md5 = int(answer.headers["Content-Length"]), answer.headers.get("Content-MD5", "")
    return Offer(source, address, None, "", {address: size}, {}, size, md5)


def fetch(offered: Offer) -> Path:
    """Bring what is offered here, if it is not here yet, and compare it with the hub's hashes.

    Raises:
        RuntimeError: in one sentence that says what to do.
    """
    source, place = offered.source, offered.place
    with said(f"fetching {source.name} from {place}"):
        if source.kind == "file":
            return offered.path or _download(offered, kept_file(place))
        if not offered.commit or not offered.sizes:
            assert offered.path is not None
            return offered.path
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            place,
            repo_type=source.kind,
            revision=offered.commit,
            allow_patterns=[*offered.sizes],
        )
        _note_main(source, place, offered.commit, Path(found))
    for name, expected in offered.hashes.items():
        compare(Path(found) / name, expected, place)
    return Path(found)


def _note_main(source: Source, place: str, commit: str, folder: Path) -> None:
    """Let the branch ``main`` of the cache mean the commit that was fetched."""
    reference = folder.parents[1] / "refs" / "main"
    reference.parent.mkdir(parents=True, exist_ok=True)
    write_text(reference, commit)


def compare(file: Path, expected: str, place: str) -> None:
    """Check the SHA-256 of a file; a damaged one is removed, so that it is fetched again.

    Raises:
        RuntimeError: if it is damaged.
    """
    if sha256(file) != expected:
        file.resolve().unlink()
        file.unlink(missing_ok=True)
        raise RuntimeError(
            f"{file.name} from {place} is damaged: its SHA-256 is not the one that the hub tells; "
            "it was removed, so start again to fetch it anew, or name another place"
        )


def _download(offered: Offer, path: Path) -> Path:
    """Fetch a file from an address, from where an earlier try ended; one process at a time.

    Raises:
        EOFError: if it arrived incomplete; the next try goes on from there.
        RuntimeError: if it arrived damaged; the next try begins anew.
    """
    from huggingface_hub.utils import WeakFileLock

    part = path.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(path.with_suffix(".lock")):
        if path.exists():  # another process has fetched it meanwhile
            return path
        _fill(part, offered.place, offered.sizes[offered.place])
        if offered.md5 and offered.md5 != _md5(part):
            part.unlink()
            raise RuntimeError(
                f"{path.name} from {offered.place} is damaged: its MD5 is not the one that the "
                "server tells; it was removed, so start again to fetch it anew, or name another "
                f"place in the environment variable {offered.source.variable}"
            )
        return part.replace(path)


def _fill(part: Path, address: str, size: int) -> None:
    """Fetch what a file lacks of its size; one that lacks nothing is not ours and begins anew."""
    begun = part.stat().st_size if part.exists() else 0
    if begun >= size:
        begun = 0
    request = Request(address, headers={"Range": f"bytes={begun}-"} if begun else {})
    with urlopen(request, timeout=60) as answer, part.open("ab") as out:
        if not begun or answer.status != 206:  # the server does not know parts
            out.truncate(0)
        while block := answer.read(1 << 20):
            out.write(block)
    if part.stat().st_size != size:
        raise EOFError(f"{part.stat().st_size} of {size} bytes arrived")


def _md5(file: Path) -> str:
    """The MD5 of a file as HTTP writes it."""
    with file.open("rb") as data:
        return base64.b64encode(hashlib.file_digest(data, "md5").digest()).decode()


@contextmanager
def said(doing: str) -> Iterator[None]:
    """Turn what goes wrong with lines and disks into one sentence."""
    try:
        yield
    except RuntimeError:
        raise
    except Exception as error:
        raise RuntimeError(f"{doing}: {sentence(error)}") from error


def sentence(error: Exception) -> str:
    """What went wrong, in one line that says what to do."""
    from huggingface_hub import errors

    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full: make room, or set HF_HOME to a larger one, and start again"
    if isinstance(error, errors.GatedRepoError):
        return "no access: accept its terms on the hub's page, then log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private"
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, EOFError) or "Consistency check failed" in str(error):
        return "it arrived incomplete: start again, and it goes on where it ended"
    if isinstance(error, URLError | ConnectionError | TimeoutError):
        return "the place cannot be reached"
    first = (str(error).splitlines() or [""])[0][:200]
    name = type(error).__name__
    if name in ("ConnectError", "ConnectTimeout", "ReadTimeout", "OfflineModeIsEnabled"):
        return "the place cannot be reached"
    return f"{name}: {first}"


def sha256(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def noted(profile: str, fetched: list[tuple[Offer, Path]]) -> dict[str, Any]:
    """What the results say of the models: from where, which commit, which hashes, which mark.

    Raises:
        RuntimeError: if a profile that is no rehearsal was given random weights.
    """
    rows, random = [], False
    for offered, path in fetched:
        random |= path.is_dir() and (path / RANDOM).exists()
        hashes = offered.hashes or {name: sha256(file) for name, file in weights(path)}
        row = {"name": offered.source.name, "place": offered.place, "commit": offered.commit}
        rows.append(row | {"sha256": {name: value[:16] for name, value in hashes.items()}})
    if random and not rehearsed(profile):
        raise RuntimeError(
            f"these weights are random: they are for profile {real(profile)}{REHEARSAL}"
        )
    mark = "random weights: rehearsal" if random else "smallest counts: rehearsal"
    return {"models": rows, "mark": mark if rehearsed(profile) else ""}


def weights(path: Path) -> list[tuple[str, Path]]:
    """The files of weights of a model that is here, by their names."""
    if path.is_file():
        return [(path.name, path)]
    files = sorted(path.glob("*/*.safetensors"))
    return [(f"{f.parent.name}/{f.name}", f) for f in files if "fp16" not in f.name]


def keep(record: dict[str, Any], file: Path) -> None:
    """Store what the results say of the models, beside them.

    Raises:
        RuntimeError: if results of other weights are there, or nothing says of which.
    """
    if file.exists() and _weights(kept(file)) != _weights(record):
        raise RuntimeError(
            f"{file.parent} has results of other weights: take another folder, or remove it"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(record, indent=1) + "\n")


def kept(file: Path) -> dict[str, Any]:
    """What a file says of the models that the results beside it are of.

    Raises:
        RuntimeError: if there is none, or it is damaged, with what to do.
    """
    if not file.exists():
        raise RuntimeError(
            f"there is no {file}, which says of which weights the results beside it are: "
            "`python -m invlib.reproduce --profile NAME` writes it when it fetches the models"
        )
    try:
        record: dict[str, Any] = json.loads(file.read_text("utf-8"))
        _ = record["mark"], [(row["name"], row["place"], row["commit"]) for row in record["models"]]
        _ = _weights(record)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RuntimeError(
            f"{file} is damaged and does not say of which weights the results beside it are: "
            "remove it if they are of the present ones, else take another folder"
        ) from error
    return record


def _weights(record: dict[str, Any]) -> list[Any]:
    """The hashes of all models that have some."""
    return [row["sha256"] for row in record["models"] if row["sha256"]]


def fetch_all(profile: str, file: Path) -> dict[str, Any]:
    """Fetch all that a full-size profile needs, and note it in a file.

    Raises:
        RuntimeError: in one sentence.
    """
    offers = [offer(source) for source in sources(profile)]
    record = noted(profile, [(offered, fetch(offered)) for offered in offers])
    keep(record, file)
    return record
