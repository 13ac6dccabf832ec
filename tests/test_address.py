"""The repository's own address stands nowhere in it; a build brings it along."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest
import setuptools
import yaml
from chapters import CHAPTERS, ROOT
from chapters import installs as installs_anything
from places import places
from sphinx_book_theme.header_buttons.source import add_source_buttons

from invlib.reproduce.book import install_cell
from invlib.reproduce.book.address import Address, address, citation, git, web

OURS = {
    "INVLIB_REPOSITORY": "https://github.com/somebody/course",
    "INVLIB_SITE": "https://somebody.github.io/course",
    "INVLIB_EDITION": "v1.2",
}
MADE_UP = {"github.com/somebody/course", "gitlab.com/somebody/course", "somebody.github.io"}
MADE_UP |= {"github.com/o/n", "github.com/someone/exact-inversion"}
MADE_UP |= {"github.com/invlib/invlib", "invlib.readthedocs.io", "invlib.github.io"}


def extension() -> ModuleType:
    spec = importlib.util.spec_from_file_location("addresses", ROOT / "book/_ext/addresses.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = re.compile(
    r"(^|/)(\.venv|\.git/|\.\w*_?cache|\.hypothesis|_?build/|dist/|__pycache__|.*\.egg-info)"
)


@cache
def cells(page: Path) -> list[nbformat.NotebookNode]:
    """The cells of a notebook; its readers change nothing in them."""
    return nbformat.read(page, as_version=4).cells


def texts() -> dict[str, str]:
    """All files of the repository that are texts, but for measured values, by their names."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    listed = [ROOT / name for name in done.stdout.splitlines()]
    found = listed or [p for p in ROOT.rglob("*") if not MADE.search(str(p.relative_to(ROOT)))]
    read = {p: p.read_bytes() for p in found if p.is_file() and "results" not in p.parts}
    return {str(p.relative_to(ROOT)): b.decode() for p, b in read.items() if b"\0" not in b[:8000]}


def test_no_file_names_a_place_that_is_not_cited() -> None:
    """Whatever it is called: a repository, a site, a package."""
    read = texts()
    assert {Path(name).suffix for name in read} >= {"", ".js", ".css", ".html", ".ipynb", ".yml"}
    assert {".ci/publish", "Makefile", "Dockerfile"} < {*read} and len(read) > 400
    found = {n: places(t) - (MADE_UP if n[:6] == "tests/" else set()) for n, t in read.items()}
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("git+https://github.com/invlib/invlib@v0.1.0", "github.com/invlib/invlib"),
        ("at https://github.com/someone/exact-inversion.", "github.com/someone/exact-inversion"),
        ("git@github.com:somebody/course.git", "github.com/somebody/course"),
        ("https://invlib.readthedocs.io/en", "invlib.readthedocs.io"),
        ("see invlib.github.io/", "invlib.github.io"),
        ("colab.research.google.com/github/o/n/blob/main/a.ipynb", "github.com/o/n"),
    ],
)
def test_an_address_would_be_noticed(text: str, place: str) -> None:
    assert places(text) == {place}


@pytest.mark.parametrize(
    "text", ["https://github.com/crowsonkb/k-diffusion", "github.com/OWNER/NAME", "github.com/"]
)
def test_what_is_cited_is_none_of_ours(text: str) -> None:
    assert places(text) == set()


# --- where the address comes from


def test_the_environment_gives_it() -> None:
    where = address(OURS)
    assert where.repository == "https://github.com/somebody/course"
    assert where.book == "https://somebody.github.io/course/v1.2/"
    assert where.notebooks == "v1.2/_sources"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INVLIB_REPOSITORY", "somebody/course"),
        ("INVLIB_SITE", "somebody.github.io"),
        ("INVLIB_EDITION", "a/b"),
    ],
)
def test_what_is_no_address_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is '{value}'; give"):
        address({**OURS, name: value})


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/somebody/course",
        "https://github.com/somebody/course.git",
        "https://somebody:word@github.com/somebody/course.git",
        "git@github.com:somebody/course.git",
        "ssh://git@github.com:22/somebody/course.git",
    ],
)
def test_a_remote_is_an_address(remote: str) -> None:
    assert web(remote) == "https://github.com/somebody/course"


@pytest.mark.parametrize("remote", ["", "/home/me/course", "../course", "file:///home/me/course"])
def test_a_folder_is_none(remote: str) -> None:
    assert web(remote) == ""


def test_a_clone_knows_where_it_is_from_and_a_folder_in_it_does_not(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)

    run("init", "-q")
    run("remote", "add", "origin", "git@github.com:somebody/course.git")
    run("commit", "-q", "--allow-empty", "-m", "first")
    where = address({}, tmp_path)
    assert where.repository == "https://github.com/somebody/course"
    assert re.fullmatch(r"[0-9a-f]{40}", where.revision)
    assert address({"INVLIB_REPOSITORY": ""}, tmp_path) == Address()
    run("tag", "v1.2")
    assert address({}, tmp_path).source == "git+https://github.com/somebody/course@v1.2"
    (tmp_path / "inner").mkdir()
    assert address({}, tmp_path / "inner") == Address()
    assert git(tmp_path / "inner", "rev-parse", "HEAD") == ""


def test_the_citation_says_where() -> None:
    record = (ROOT / "CITATION.cff").read_text()
    assert citation(record, Address()) == record
    lines = citation(record, address(OURS)).splitlines()
    assert 'repository-code: "https://github.com/somebody/course"' in lines
    assert 'url: "https://somebody.github.io/course/v1.2/"' in lines
    assert set(record.splitlines()) < set(lines)


# --- buttons


def test_without_an_address_no_page_has_buttons_that_need_one() -> None:
    pages = extension()
    assert pages.buttons(Address()) == {}
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert not {"repository", "launch_buttons"} & {*config} and "baseurl" not in config["html"]
    assert "git clone" not in pages.blocks(Address())["clone"]


def test_colab_opens_what_was_published() -> None:
    options = extension().buttons(address(OURS))
    assert options["repository_branch"] == "gh-pages"
    assert options["path_to_docs"] == "v1.2/_sources"
    assert options["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
    unpublished = extension().buttons(address({**OURS, "INVLIB_EDITION": ""}))
    assert "launch_buttons" not in unpublished and unpublished["use_issues_button"]


def header(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The buttons above a page of the theme, by their labels, for the address of an environment."""
    for variable in OURS:
        monkeypatch.setenv(variable, environment.get(variable, ""))
    pages = extension()
    options = pages.buttons(address(environment))
    where = urlsplit(options.get("repository_url", ""))
    context: dict[str, Any] = {"header_buttons": [], "pagename": name}
    host = where.netloc.removesuffix(".com")
    context |= {f"{host}_url": f"https://{where.netloc}", f"{host}_user": "somebody"}
    context |= {f"{host}_repo": "course", "theme_repository_url": where.geturl()}
    app: Any = SimpleNamespace(
        config=SimpleNamespace(html_theme_options=options, html_title=""),
        env=SimpleNamespace(doc2path=lambda page, base: f"{page}.ipynb"),
        srcdir=ROOT,
    )
    add_source_buttons(app, name, "page.html", context, object())
    pages.page(app, name, "page.html", context, object())
    groups = [each.get("buttons", [each]) for each in context["header_buttons"]]
    return {button["label"]: button["url"] for group in groups for button in group}


@pytest.mark.parametrize(("host", "editor"), [("github.com", "edit"), ("gitlab.com", "-/edit")])
def test_a_page_is_edited_on_the_branch_that_it_is_written_on(
    host: str, editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the branch of the published notebooks, which the theme's own button would open."""
    known = {**OURS, "INVLIB_REPOSITORY": f"https://{host}/somebody/course"}
    found = header(known, "book/page", monkeypatch)
    assert found["source-repository-button"] == known["INVLIB_REPOSITORY"]
    assert found["source-edit-button"] == (
        f"https://{host}/somebody/course/{editor}/main/book/page.ipynb"
    )


def test_without_an_address_nothing_is_edited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert header({}, "book/page", monkeypatch) == {}
    assert header({"INVLIB_REPOSITORY": "https://a.org/b/c"}, "book/page", monkeypatch) == {}


def test_a_card_names_the_page_and_the_picture() -> None:
    card = extension().card(address(OURS), "book/intro", 'Noise & "images"')
    assert 'content="https://somebody.github.io/course/v1.2/book/intro.html"' in card
    assert 'content="https://somebody.github.io/course/v1.2/_static/round_trip.png"' in card
    assert "Noise &amp; &quot;images&quot;" in card
    assert (ROOT / "book/images/round_trip.png").exists()


# --- the cell that installs


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)
def test_every_chapter_installs_by_the_same_text(page: Path) -> None:
    assert [c.source for c in cells(page) if install_cell.installs(c)] == [install_cell.TEXT]
    first = next(c for c in cells(page) if c.cell_type == "code")
    assert first.source == install_cell.TEXT and first.outputs == []


def test_pages_with_a_button_are_those_that_install() -> None:
    """Figures need the stored work of a checkout; Colab has none."""
    notebooks = sorted((ROOT / "book").rglob("*.ipynb"))
    alone = [page for page in notebooks if extension().stands_alone(page)]
    assert alone == sorted(CHAPTERS) == sorted(install_cell.chapters())
    others = [page for page in notebooks if page not in alone]
    assert len(others) > 10
    assert not any(installs_anything(cell) for page in others for cell in cells(page))


def test_a_published_notebook_knows_where_invlib_is(tmp_path: Path) -> None:
    source = address(OURS).source
    text = install_cell.filled(CHAPTERS[0].read_text(), source)
    (tmp_path / "page.ipynb").write_text(text)
    [cell] = [c for c in cells(tmp_path / "page.ipynb") if install_cell.installs(c)]
    assert source and f'SOURCE = "{source}"' in cell.source.splitlines()


def test_an_unpublished_one_says_what_to_set_and_installs_nothing() -> None:
    program = install_cell.TEXT.replace('find_spec("invlib")', "False")
    program = re.sub(r"^( +)%pip.*", r"\1raise SystemError", program, flags=re.MULTILINE)
    with pytest.raises(AssertionError, match="^set SOURCE to where invlib is, such as"):
        exec(program, {})
    known = program.replace(install_cell.EMPTY, 'SOURCE = "git+https://host/a/b"')
    with pytest.raises(SystemError):
        exec(known, {})


def test_where_invlib_is_the_cell_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    exec(install_cell.TEXT.replace("%pip", "#"), {})
    assert capsys.readouterr().out == ""


# --- the package


@pytest.mark.parametrize(
    ("environment", "urls"),
    [
        ({"INVLIB_REPOSITORY": ""}, {}),
        (OURS, {"Source": OURS["INVLIB_REPOSITORY"], "Documentation": OURS["INVLIB_SITE"] + "/"}),
    ],
)
def test_a_package_says_where_it_was_built(
    environment: dict[str, str], urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: given.update(options))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    assert given["project_urls"] == urls
