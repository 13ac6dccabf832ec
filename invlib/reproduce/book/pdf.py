"""The built book as one PDF, printed by Chromium: ``python -m invlib.reproduce.book.pdf``.

The style sheet and ``print.js`` of the book open what is folded, and lay out all frames of sliders.
Pages are kept by themselves, too.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from pypdf import PdfWriter

from ..engine.store import ROOT
from .cache import listed

HTML, OUTPUT = Path("_build/html"), Path("_build/pdf")
WHOLE = Path("_build/invlib-course.pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTLE = 20_000  # milliseconds of a page's own clock, in which formulas are set
PATIENCE = 300.0  # seconds; a page takes some ten, and the clock of some never ends


def main(root: Path = ROOT) -> None:
    """Print every page of the table of contents, numbered in its order, and join them.

    Args:
        root: folder of the repository, in which the book was built.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"pages are printed by Chromium, and there is none of {', '.join(BROWSERS)}")
    names = [*listed(yaml.safe_load((root / "_toc.yml").read_text()))]
    missing = [name for name in names if not (root / HTML / f"{name}.html").is_file()]
    if missing:
        sys.exit(f"{missing[0]} was not built: run `make book` first")
    (root / OUTPUT).mkdir(parents=True, exist_ok=True)
    whole = PdfWriter()
    for number, name in enumerate(names):
        page = root / HTML / f"{name}.html"
        target = root / OUTPUT / f"{number:02d}-{name.removeprefix('book/').replace('/', '-')}.pdf"
        printed(browser, page, target)
        whole.append(target, outline_item=title(page))
        print(target.relative_to(root), flush=True)
    whole.compress_identical_objects()  # fonts and marks that every page has
    whole.write(root / WHOLE)
    print(f"{WHOLE}: {len(whole.pages)} pages, {(root / WHOLE).stat().st_size / 1e6:.0f} MB")


def title(page: Path) -> str:
    """What a page calls itself, without the name of the book."""
    [found] = re.findall(r"<title>(.*?)</title>", page.read_text("utf-8"), re.DOTALL)
    return html.unescape(found).partition(" \N{EM DASH} ")[0].strip()


def printed(browser: str, page: Path, target: Path) -> None:
    """Print a page.

    Raises:
        SystemExit: if the browser wrote nothing, or did not end.
    """
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={profile}", f"--virtual-time-budget={SETTLE}"]
        command += [f"--print-to-pdf={target}", page.resolve().as_uri()]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            sys.exit(
                f"{browser} did not print {page.name} in {PATIENCE:.0f} s: try another version"
            )
    if not target.is_file():
        sys.exit(f"{browser} did not print {page.name}: {done.stderr.strip()[-200:]}")


if __name__ == "__main__":
    main()
