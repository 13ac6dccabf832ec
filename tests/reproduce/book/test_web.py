"""The scripts that pages load are fetched once, and are those of the lock file, or none."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from chapters import ROOT

from invlib.reproduce.book import web

LOCK = json.loads((ROOT / "book" / "web.json").read_text())
FILES = {"LICENSE": b"free", "dist/tip.js": b"tip()"}
NPM = """#!{python}
import pathlib, shutil, sys
pathlib.Path({log!r}).open("a").write(sys.argv[-1] + chr(10))
if {fails}:
    sys.exit("npm warn old" + chr(10) + "npm error code ENOTFOUND" + chr(10) + "npm error more")
folder = sys.argv[sys.argv.index("--pack-destination") + 1]
shutil.copy({archive!r}, pathlib.Path(folder, "tip.tgz"))
"""


def lock(root: Path, files: dict[str, bytes]) -> None:
    wanted = {
        name: {"to": f"tip/{Path(name).name}", "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    (root / "book" / "web.json").write_text(json.dumps({"tip@1.0": wanted}))


def npm(root: Path, *, fails: bool = False) -> None:
    path = root / "bin" / "npm"
    text = NPM.format(
        python=sys.executable, log=str(root / "log"), fails=fails, archive=str(root / "tip.tgz")
    )
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that wants two files, and a machine whose npm has them."""
    (tmp_path / "book").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "constraints.txt").write_text("")
    with tarfile.open(tmp_path / "tip.tgz", "w:gz") as tar:
        for name, content in FILES.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    lock(tmp_path, FILES)
    npm(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def asked(root: Path) -> list[str]:
    return (root / "log").read_text().split()


def there(root: Path) -> dict[str, bytes]:
    files = (path for path in (root / "book/_static").rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files}


def test_files_are_fetched_once(root: Path) -> None:
    web.main(root)
    assert there(root) == {"LICENSE": b"free", "tip.js": b"tip()"}
    web.main(root)
    assert asked(root) == ["tip@1.0"]
    (root / "book/_static/tip/tip.js").write_text("half")
    web.main(root)
    assert there(root)["tip.js"] == b"tip()" and asked(root) == ["tip@1.0"] * 2


@pytest.mark.parametrize("files", [{**FILES, "dist/tip.js": b"other()"}, {**FILES, "no.js": b"x"}])
def test_other_files_than_those_of_the_lock_are_refused(
    root: Path, files: dict[str, bytes]
) -> None:
    lock(root, files)
    with pytest.raises(SystemExit, match=r"\.js of tip@1\.0 is not the file that book/web\.json"):
        web.main(root)
    assert there(root) == {}


def test_a_failing_npm_is_one_sentence(root: Path) -> None:
    npm(root, fails=True)
    with pytest.raises(SystemExit) as caught:
        web.main(root)
    assert str(caught.value) == (
        "the scripts that pages of the book load cannot be fetched: "
        "npm did not get tip@1.0 (npm error code ENOTFOUND)"
    )


def test_without_npm_and_without_pip_it_is_one_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "bin" / "npm").unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(root / "bin"))
    with pytest.raises(
        SystemExit, match=r"^[^\n]*there is no npm, and pip could not install[^\n]*$"
    ):
        web.main(root)


def test_the_configuration_loads_what_the_lock_file_names() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    loaded = {*config["nb_ipywidgets_js"], *config["tippy_js"]}
    targets = {file["to"] for files in LOCK.values() for file in files.values()}
    assert loaded <= targets
    for files in LOCK.values():
        assert any("LICENSE" in file["to"] for file in files.values())


def test_the_notice_names_the_versions_and_git_ignores_the_files() -> None:
    notice, ignored = (ROOT / "NOTICE").read_text(), (ROOT / ".gitignore").read_text().split()
    for package, files in LOCK.items():
        assert re.search(rf"(?<![\d.]){re.escape(package.rpartition('@')[2])}(?![\d.]\d)", notice)
        for file in files.values():
            assert f"book/_static/{Path(file['to']).parts[0]}/" in ignored
