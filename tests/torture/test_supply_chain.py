"""Files that are not the locked ones are refused, and a commit builds the same files everywhere."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parents[2]


# --- hashes


def wheel(folder: Path, text: str, name: str = "made_up", requires: str = "") -> Path:
    """Put a package of one module into a folder."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    about += f"Requires-Dist: {requires}\n" if requires else ""
    files = {f"{name}.py": text, f"{name}-1.dist-info/METADATA": about}
    files[f"{name}-1.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    names = [*files, f"{name}-1.dist-info/RECORD"]
    files[names[-1]] = "".join(f"{each},,\n" for each in names)
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, content)
    return path


def pip(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """Install what a lock says from the files of a folder, and from nowhere else."""
    (folder / "lock.txt").write_text(lock)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--isolated",
        "--no-index",
        "--require-hashes",
    ]
    command += ["--find-links", str(folder), "--target", str(folder / "there")]
    return subprocess.run(
        [*command, "-r", str(folder / "lock.txt")], capture_output=True, text=True, check=False
    )


def locked(file: Path) -> str:
    """A lock of the package."""
    return f"made-up==1 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


@pytest.mark.parametrize("fault", ["byte", "file", "requirement", "no hash"])
def test_pip_refuses_what_is_not_locked(
    tmp_path: Path, fault: str, counted: Callable[..., None]
) -> None:
    wheel(tmp_path, "b = 1", "other")
    file = wheel(tmp_path, "a = 1", requires="other" * (fault == "requirement"))
    lock = locked(file)
    match fault:
        case "byte":
            content = bytearray(file.read_bytes())
            content[40] ^= 1
            file.write_bytes(content)
        case "file":
            wheel(tmp_path, "a = 2")
        case "no hash":
            lock = "made-up==1\n"
    done = pip(tmp_path, lock)
    assert done.returncode != 0 and not (tmp_path / "there/made_up.py").exists()
    assert "hash" in done.stderr.lower(), done.stderr
    counted("faults")


def test_pip_takes_what_is_locked(tmp_path: Path) -> None:
    done = pip(tmp_path, locked(wheel(tmp_path, "a = 1")))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there/made_up.py").read_text() == "a = 1"


# --- builds


def archive(path: Path, order: int, mode: int, time: int, owner: int) -> Path:
    """A source distribution as some machine makes it."""
    with tarfile.open(path, "w:gz") as made:
        for name in ["a/one.py", "a/two.py"][::order]:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime, member.uid, member.uname = mode, time, owner, f"u{owner}"
            member.size = 3
            made.addfile(member, io.BytesIO(b"x=1"))
    return path


def test_a_source_distribution_knows_neither_machine_nor_moment(tmp_path: Path) -> None:
    plain = run_path(str(ROOT / ".ci/dist"))["plain"]
    first = plain(archive(tmp_path / "1.tar.gz", 1, 0o600, 10**9, 0), 7)
    second = plain(archive(tmp_path / "2.tar.gz", -1, 0o664, 2 * 10**9, 1000), 7)
    assert first == second
    assert plain(archive(tmp_path / "3.tar.gz", 1, 0o755, 10**9, 0), 7) != first  # it runs


@pytest.mark.torture
def test_two_builds_of_a_commit_are_the_same(tmp_path: Path, counted: Callable[..., None]) -> None:
    """In other folders, under another umask, zone, language and order of sets, and later."""
    made = []
    settings = (("one", 0o022, "UTC", "C"), ("two/deeper", 0o077, "Asia/Tokyo", "C.UTF-8"))
    source = ROOT
    for seed, (name, mask, zone, language) in enumerate(settings):
        clone = tmp_path / name
        subprocess.run(["git", "clone", "-q", "--shared", source, clone], check=True)
        source = clone  # the same commit, even where somebody commits meanwhile
        environment = {k: v for k, v in os.environ.items() if not k.startswith("INVLIB_")}
        environment |= {"TZ": zone, "LC_ALL": language, "PYTHONHASHSEED": str(seed)}
        subprocess.run(
            [sys.executable, clone / ".ci/dist"], env=environment, umask=mask, check=True
        )
        made.append({file.name: file.read_bytes() for file in (clone / "dist").iterdir()})
    assert sorted(name.rpartition(".")[2] for name in made[0]) == ["gz", "whl"]
    assert {*made[0]} == {*made[1]}
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []
    counted("cases", 2)
