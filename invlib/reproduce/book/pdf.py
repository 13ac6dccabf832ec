"""The built book as one PDF, printed by Chromium: ``python -m invlib.reproduce.book.pdf``.

The style sheet and ``print.js`` of the book open what is folded, and lay out all frames of sliders.
Pages are kept by themselves, too. Needs the ``browser`` extra, for Playwright.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pypdf import PdfWriter

from ..engine.store import ROOT
from .cache import listed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HTML, OUTPUT = Path("_build/html"), Path("_build/pdf")
WHOLE = Path("_build/invlib-course.pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300_000  # milliseconds to load a page, which takes some seconds
MARGIN = dict.fromkeys(("top", "right", "bottom", "left"), "1cm")
SET = "() => window.MathJax?.startup?.promise"  # resolved when the formulas are set


def main(root: Path = ROOT) -> None:
    """Print every page of the table of contents, numbered in its order, and join them.

    Args:
        root: folder of the repository, in which the book was built.
    """
    names = [*listed(yaml.safe_load((root / "_toc.yml").read_text()))]
    missing = [name for name in names if not (root / HTML / f"{name}.html").is_file()]
    if missing:
        sys.exit(f"{missing[0]} was not built: run `make book` first")
    with chromium() as browser:
        joined(root, names, lambda page, target: printed(browser, page, target))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window: the one of this machine if there is one, else Playwright's own.

    Raises:
        SystemExit: if there is none, or no Playwright.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # of the extra `browser`
    except ImportError:
        sys.exit("pages are shown by Playwright: run `make chromium`")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            reason = str(error).strip().partition("\n")[0]
            sys.exit(f"there is no Chromium that starts ({reason}): run `make chromium`")
        yield browser
        browser.close()


def joined(root: Path, names: list[str], printer: Callable[[Path, Path], None]) -> None:
    """One file of all pages, with a bookmark each.

    Args:
        root: folder of the repository.
        names: pages, without their suffix.
        printer: prints a page to a file.
    """
    (root / OUTPUT).mkdir(parents=True, exist_ok=True)
    whole = PdfWriter()
    for number, name in enumerate(names):
        page = root / HTML / f"{name}.html"
        target = root / OUTPUT / f"{number:02d}-{name.removeprefix('book/').replace('/', '-')}.pdf"
        printer(page, target)
        whole.append(target, outline_item=title(page))
        print(target.relative_to(root), flush=True)
    whole.compress_identical_objects()  # fonts and marks that every page has
    whole.write(root / WHOLE)
    print(f"{WHOLE}: {len(whole.pages)} pages, {(root / WHOLE).stat().st_size / 1e6:.0f} MB")


def title(page: Path) -> str:
    """What a page calls itself, without the name of the book."""
    [found] = re.findall(r"<title>(.*?)</title>", page.read_text("utf-8"), re.DOTALL)
    return html.unescape(found).partition(" \N{EM DASH} ")[0].strip()


def printed(browser: Browser, page: Path, target: Path) -> None:
    """Print a page as a reader would who waits until its formulas are set."""
    with browser.new_page() as tab:
        tab.set_default_timeout(PATIENCE)
        tab.goto(page.resolve().as_uri(), wait_until="load")
        tab.evaluate(SET)
        tab.pdf(path=target, format="A4", margin=MARGIN)


if __name__ == "__main__":
    main()
