"""The book as a zip file, and as a PDF."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from pypdf import PdfReader, PdfWriter

from invlib.reproduce.book import offline, pdf

PACKED = ("index.html", "book/intro.html", "book/figures/one.html", "_static/a.js")
PACKED += ("_sources/book/intro.md",)  # each page offers its own


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built book of two pages."""
    for name in PACKED:
        file = tmp_path / "_build/html" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<title>{name} &amp; \N{EM DASH} The course</title>")
    for name in (".buildinfo", ".doctrees/a.doctree", "404.html"):
        file = tmp_path / "_build/html" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "_toc.yml").write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: book/figures/one\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def blank(page: Path, target: Path) -> None:
    """Print a page of paper that says which page of the book it stands for."""
    paper = PdfWriter()
    paper.add_blank_page(100, 100)
    paper.add_metadata({"/Subject": page.as_uri()})
    paper.write(target)


def test_the_archive_has_all_that_pages_load_in_one_folder(root: Path) -> None:
    offline.main(root)
    with ZipFile(root / offline.ARCHIVE) as archive:
        assert sorted(archive.namelist()) == sorted(f"invlib-course/{name}" for name in PACKED)
        assert b"_static/a.js" in archive.read("invlib-course/_static/a.js")
    assert not [*(root / "_build").glob("*.tmp")]


def test_without_a_book_there_is_no_archive(root: Path) -> None:
    (root / "_build/html/index.html").unlink()
    with pytest.raises(SystemExit, match="run `make book` first"):
        offline.main(root)


def test_pages_are_printed_in_their_order(root: Path) -> None:
    pdf.joined(root, ["book/intro", "book/figures/one"], blank)
    files = sorted((root / pdf.OUTPUT).iterdir())
    assert [file.name for file in files] == ["00-intro.pdf", "01-figures-one.pdf"]
    page = str((PdfReader(files[1]).metadata or {})["/Subject"])
    assert page.startswith("file:///") and page.endswith("book/figures/one.html")
    whole = PdfReader(root / pdf.WHOLE)
    titles = [item.title for item in whole.outline if not isinstance(item, list)]
    assert len(whole.pages) == 2
    assert titles == ["book/intro.html &", "book/figures/one.html &"]


def test_what_cannot_be_printed_is_one_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)  # is not installed
    with pytest.raises(SystemExit, match="by Playwright: run `make chromium`"):
        pdf.main(root)
    (root / "_build/html/book/figures/one.html").unlink()
    with pytest.raises(SystemExit, match=r"figures/one was not built: run `make book`"):
        pdf.main(root)
