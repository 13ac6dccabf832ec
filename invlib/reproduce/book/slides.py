"""Slides of the lectures, as pages of their own: ``python -m invlib.reproduce.book.slides``.

A lecture is Markdown in ``book/slides``: ``---`` between slides, notes in comments, and numbers and
figures of chapters by name, which are taken from the chapters' stored outputs: a number as
``{glue:text}`CHAPTER/NAME:.1f```, a figure as ``{figure}`CHAPTER/NAME```.
"""

from __future__ import annotations

import base64
import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from ...exercises.stored import GLUE, cells, shown, values
from ..engine.store import ROOT

SOURCES = Path("book/slides")
BUILT = Path("_build/slides")
FIGURE = re.compile(r"\{figure\}`([\w/]+)/([\w-]+)`")
NOTES = re.compile(r"<!--(.*?)-->", re.DOTALL)


@dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes:
        text: what it shows, in Markdown.
        notes: what its speaker may say.
    """

    text: str
    notes: str


def slides(lecture: str) -> list[Slide]:
    """The slides of a lecture."""
    parts = re.split(r"^---$", lecture, flags=re.MULTILINE)
    return [
        Slide(NOTES.sub("", part).strip(), " ".join(" ".join(NOTES.findall(part)).split()))
        for part in parts
    ]


def filled(text: str, root: Path = ROOT) -> str:
    """A text with the numbers of the chapters that it names.

    Raises:
        ValueError: if a chapter has no such number.
    """
    stems = {name.rpartition("/")[0] for name, _ in GLUE.findall(text)}
    known = {
        f"{stem}/{name}": value
        for stem in stems
        for name, value in values(cells(root / f"book/{stem}.ipynb")).items()
    }
    try:
        return shown(text, known)
    except KeyError as error:
        raise ValueError(f"no chapter has the number {error.args[0]}") from None


def figure(stem: str, name: str, root: Path = ROOT) -> tuple[bytes, str]:
    """A figure of a chapter: its PNG, and its alternative text.

    Raises:
        ValueError: if the chapter has no such figure.
    """
    for cell in cells(root / f"book/{stem}.ipynb"):
        about = cell.metadata.get("mystnb", {})
        if about.get("figure", {}).get("name") == name:
            [data] = [
                o["data"]["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})
            ]
            return base64.b64decode("".join(data)), about["image"]["alt"]
    raise ValueError(f"{stem} has no figure {name}")


def _math(content: str, options: dict[str, bool]) -> str:
    """A formula as MathJax finds it."""
    left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return left + html.escape(content.strip()) + right


def sections(lecture: list[Slide]) -> Iterator[str]:
    """The slides in HTML."""
    markdown = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=_math)
    for number, slide in enumerate(lecture, 1):
        notes = f"<aside>{html.escape(slide.notes)}</aside>"
        yield (
            f'<section data-number="{number}">\n{markdown.render(slide.text)}{notes}\n</section>'
        )


def page(lecture: str, folder: Path, root: Path = ROOT) -> str:
    """A lecture in HTML; its figures are written into the folder where it will lie."""
    text = filled(lecture, root)
    for stem, name in FIGURE.findall(text):
        picture, alt = figure(stem, name, root)
        (folder / f"{name}.png").write_bytes(picture)
        alt = re.sub(r"([\\\[\]`$*_<])", r"\\\1", " ".join(alt.split()))
        text = text.replace(f"{{figure}}`{stem}/{name}`", f"![{alt}]({name}.png)")
    found = slides(text)
    title = html.escape(found[0].text.splitlines()[0].strip("# "))
    frame = (root / SOURCES / "page.html").read_text().replace("TITLE", title)
    return frame.replace("SLIDES", "\n".join(sections(found)))


def main(root: Path = ROOT, folder: Path | None = None) -> None:
    """Write all lectures, with what their pages load.

    Args:
        root: folder of the repository.
        folder: what is in it goes first; by default a folder of their own.
    """
    folder = folder or root / BUILT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lectures = sorted((root / SOURCES).glob("lecture*.md"))
    for lecture in lectures:
        (folder / f"{lecture.stem}.html").write_text(page(lecture.read_text(), folder, root))
    for name in ("slides.css", "slides.js"):
        shutil.copy(root / SOURCES / name, folder)
    package = find_spec("sphinx-mathjax-offline")
    assert package and package.origin, "the extra `book` has sphinx-mathjax-offline"
    shutil.copy(
        Path(package.origin).parent / "static/mathjax/tex-svg-full.js", folder / "mathjax.js"
    )
    print(f"{len(lectures)} lectures in {folder}")


if __name__ == "__main__":
    main()
