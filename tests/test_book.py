"""The book keeps its promises: names exist, notebooks were run, links lead somewhere."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import json
import re
from collections import Counter
from copy import deepcopy
from functools import cache
from pathlib import Path

import nbformat
import pytest
import yaml
from chapters import CHAPTERS, ROOT
from pybtex.database import parse_file
from sphinx.util.matching import get_matching_files
from widget_states import widget_models

import invlib
import invlib.editing
import invlib.flow
import invlib.identification
import invlib.reversible
import invlib.watermark
from invlib.portraits import render

NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))
SLIDES = ROOT / "book" / "slides"  # no pages of the book
PAGES = [p for p in sorted((ROOT / "book").rglob("*.md")) if SLIDES not in p.parents] + NOTEBOOKS
KILOBYTE = 1000


@cache
def read(path: Path) -> nbformat.NotebookNode:
    """A notebook; its readers change nothing in it."""
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in read(path).cells if c.cell_type == "code" and c.source.strip()]


def prose(path: Path) -> str:
    """The Markdown of a page, without its code blocks."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        text = "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    return re.sub(r"^```python\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def per_page(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda p: str(p.relative_to(ROOT)))


def widget_values(path: Path) -> list[str]:
    """Texts of all HTML widgets that a notebook stores."""
    values = [model["state"].get("value") for model in widget_models(path)]
    return [v for v in values if isinstance(v, str)]


# --- notation


def table() -> list[list[str]]:
    lines = (ROOT / "book" / "reference" / "notation.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return rows[2:]


def names() -> list[str]:
    return [name for row in table() for name in re.findall(r"(?<!\})`([^`]+)`", row[2])]


def exists(name: str) -> bool:
    """Whether ``invlib.<name>`` is there; fields of dataclasses count as attributes."""
    value: object = invlib
    for part in name.split("."):
        if part in getattr(value, "__dataclass_fields__", ()):
            return name.endswith(part)
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_notation_has_four_columns_in_every_row() -> None:
    assert len(table()) > 40
    for row in table():
        assert len(row) == 4, row


@pytest.mark.parametrize("name", sorted(set(names())))
def test_code_names_of_the_notation_exist(name: str) -> None:
    assert exists(name)


def test_notation_would_notice_a_wrong_name() -> None:
    assert not exists("Solver.c")
    assert not exists("Grid.lambda")
    assert not exists("Grid.alpha.beta")


def public_fields() -> list[str]:
    classes = [c for c in vars(invlib).values() if isinstance(c, type)]
    data = [c for c in classes if dataclasses.is_dataclass(c)]
    return [f"{c.__name__}.{f.name}" for c in data for f in dataclasses.fields(c)]


@pytest.mark.parametrize("field", public_fields())
def test_every_public_field_is_in_the_notation(field: str) -> None:
    assert field in names()


def test_models_page_lists_every_attribute_value() -> None:
    page = (ROOT / "book" / "reference" / "models.md").read_text()
    module = importlib.import_module(render.__module__)
    groups = ("SKIES", "HILLS", "HAIR_COLORS", "HAIR_STYLES", "SKINS", "GARMENTS")
    for group in (*groups, "GARMENT_COLORS", "MOODS", "EYES"):
        assert ", ".join(getattr(module, group)) in page, group
    assert ", ".join(orb for orb in module.ORBS if orb) in page
    assert '"ToonHead by Johan Melin, CC BY 4.0, remixed via DiceBear"' in page


# --- notebooks


def test_there_are_chapters() -> None:
    assert CHAPTERS


@per_page(NOTEBOOKS)
def test_notebook_was_executed_from_top_to_bottom(path: Path) -> None:
    cells = code_cells(path)
    counts = [cell.execution_count for cell in cells]
    assert None not in counts, "a cell was not executed; nbval would not notice"
    assert counts == sorted(set(counts)), "cells were executed out of order"
    assert any(cell.outputs for cell in cells)


@per_page(NOTEBOOKS)
def test_notebook_has_no_error_and_the_common_kernel(path: Path) -> None:
    for cell in code_cells(path):
        assert all(o.output_type != "error" for o in cell.outputs), cell.source
    assert read(path).metadata.kernelspec.name == "python3"


@per_page(CHAPTERS)
def test_chapter_prints_nothing_but_claims_and_checks(path: Path) -> None:
    for cell in code_cells(path):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.name == "stdout", output.text
                for line in output.text.splitlines():
                    assert line.startswith(("ok  ", "not yet: ")), line


@per_page(NOTEBOOKS)
def test_notebook_names_no_folder_of_the_machine(path: Path) -> None:
    notebook = deepcopy(read(path))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
                del output.data[kind]
    text = re.sub(r"base64,[A-Za-z0-9+/=]+|/content/drive", "", json.dumps(notebook))  # Colab's own
    found = re.findall(r"(?<![\w:./])/(?:home|Users|root|tmp|work|mnt|content|opt|usr)/\w+", text)
    found += re.findall(r"\b[A-Z]:\\\\+\w+", text) + re.findall(r"file://\S+", text)
    assert not found


@per_page(NOTEBOOKS)
def test_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < 2000 * KILOBYTE


@per_page(NOTEBOOKS)
def test_images_are_small(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            for kind, data in output.get("data", {}).items():
                if kind == "image/svg+xml":
                    assert len(data) < 400 * KILOBYTE
                elif kind.startswith("image/"):
                    assert len(base64.b64decode(data)) < 400 * KILOBYTE
    for value in widget_values(path):
        for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", value):
            assert len(base64.b64decode(data)) < 400 * KILOBYTE


# --- alternative text


@per_page(NOTEBOOKS)
def test_every_image_output_has_alternative_text(path: Path) -> None:
    for cell in code_cells(path):
        images = [o for o in cell.outputs if any(k.startswith("image/") for k in o.get("data", {}))]
        if images:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 20, cell.source
            assert len(images) == 1, "one image a cell, since the cell has one text"
    for value in widget_values(path):
        for tag in re.findall(r"<img\b[^>]*>", value):
            assert re.search(r'\balt="[^"]{20,}"', tag)


@per_page(PAGES)
def test_every_image_on_a_page_has_alternative_text(path: Path) -> None:
    text = prose(path)
    assert not re.findall(r"!\[\s*\]\(", text)
    for block in re.findall(r"^(?:```|:::)+\{(?:figure|image)\}.*?^(?:```|:::)", text, re.M | re.S):
        assert re.search(r"^:alt: \S", block, re.M), block
    for tag in re.findall(r"<img\b[^>]*>", text):
        assert re.search(r'\balt="[^"]+"', tag), tag


# --- links


@per_page(PAGES)
def test_links_and_inclusions_lead_to_files(path: Path) -> None:
    text = prose(path)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"\{(?:include|literalinclude|figure|image)\} +(\S+)", text)
    targets += re.findall(r"\{(?:doc|download)\}`(?:[^<`]*<)?([^>`]+)>?`", text)
    for target in targets:
        if re.match(r"(https?|mailto):", target) or target.startswith("#"):
            continue
        file = path.parent / target.split("#")[0]
        found = (file, file.with_suffix(".md"), file.with_suffix(".ipynb"))
        assert any(f.exists() for f in found), target


def test_markdown_of_hidden_folders_is_no_page(tmp_path: Path) -> None:
    """Packages of an environment in the folder bring some, as pytest's cache does."""
    hidden = (".pytest_cache/README.md", "env/lib/python3/site-packages/typer/.agents/SKILL.md")
    for name in (*hidden, "book/intro.md"):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.touch()
    patterns = yaml.safe_load((ROOT / "_config.yml").read_text())["exclude_patterns"]
    assert [*get_matching_files(tmp_path, exclude_patterns=patterns)] == ["book/intro.md"]


def test_contents_list_existing_pages_and_every_page() -> None:
    text = (ROOT / "_toc.yml").read_text()
    listed = set(re.findall(r"(?:root|file): (\S+)", text))
    present = {str(page.relative_to(ROOT).with_suffix("")) for page in PAGES}
    assert listed == present


@per_page(CHAPTERS)
def test_every_theorem_is_named_by_a_claim(path: Path) -> None:
    """A claim on the page names the label of the statement that it checks."""
    stated = re.findall(
        r"^:::\{prf:(?:theorem|lemma|proposition|corollary)\}.*\n:label: (\S+)$",
        prose(path),
        re.MULTILINE,
    )
    printed = "".join(
        o.text for c in code_cells(path) for o in c.outputs if o.output_type == "stream"
    )
    missing = [label for label in stated if not re.search(rf"^ok  .*{label}\b", printed, re.M)]
    assert not missing, f"no claim names {', '.join(missing)}"


@cache
def labels_of_all_pages() -> set[str]:
    labels = set()
    for page in PAGES:
        text = page.read_text() if page.suffix == ".md" else prose(page)
        labels |= set(re.findall(r"^:(?:label|name): (\S+)", text, re.M))
        labels |= set(re.findall(r"^\((\S+)\)=", text, re.M))
        labels |= set(re.findall(r"\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)", text))
        if page.suffix == ".ipynb":
            metadata = (cell.metadata.get("mystnb", {}) for cell in code_cells(page))
            labels |= {m["figure"]["name"] for m in metadata if "name" in m.get("figure", {})}
    return labels


@per_page(PAGES)
def test_cross_references_have_a_target(path: Path) -> None:
    used = re.findall(r"\{(?:eq|numref|ref|prf:ref)\}`(?:[^<`]*<)?([^>`]+)>?`", prose(path))
    assert set(used) <= labels_of_all_pages()


@per_page(PAGES)
def test_citations_are_in_the_bibliography(path: Path) -> None:
    known = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.M)
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(path))
    assert {key.strip() for group in groups for key in group.split(",")} <= set(known)


def test_citations_of_two_works_do_not_read_alike() -> None:
    entries = parse_file(ROOT / "book" / "references.bib").entries.values()
    shown = [
        (str(authors[0]) if len(authors) > 2 else str(authors), entry.fields["year"])
        for entry in entries
        for authors in [[" ".join(person.last_names) for person in entry.persons["author"]]]
    ]
    assert len(entries) > 50
    assert [label for label, times in Counter(shown).items() if times > 1] == []


@per_page(NOTEBOOKS)
def test_glued_values_exist(path: Path) -> None:
    glued = set()
    for cell in code_cells(path):
        for output in cell.outputs:
            glued.add(output.get("metadata", {}).get("scrapbook", {}).get("name"))
    used = re.findall(r"\{glue:(?:text)?\}`([^`:]+)(?::[^`:]*)?`", prose(path))
    assert set(used) <= glued
