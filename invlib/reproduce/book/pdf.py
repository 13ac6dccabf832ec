"""The pages of the built book as PDF, printed by Chromium: ``python -m invlib.reproduce.book.pdf``.

The style sheet and ``print.js`` of the book open what is folded, and lay out all frames of sliders.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from ..engine.store import ROOT
from .cache import listed

HTML, OUTPUT = Path("_build/html"), Path("_build/pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTLE = 20_000  # milliseconds of a page's own clock, in which formulas are set


def main(root: Path = ROOT) -> None:
    """Print every page of the table of contents, numbered in its order.

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
    for number, name in enumerate(names):
        target = root / OUTPUT / f"{number:02d}-{name.removeprefix('book/').replace('/', '-')}.pdf"
        printed(browser, root / HTML / f"{name}.html", target)
        print(target.relative_to(root), flush=True)


def printed(browser: str, page: Path, target: Path) -> None:
    """Print a page.

    Raises:
        SystemExit: if the browser wrote nothing.
    """
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={profile}", f"--virtual-time-budget={SETTLE}"]
        command += [f"--print-to-pdf={target}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not target.is_file():
        sys.exit(f"{browser} did not print {page.name}: {done.stderr.strip()[-200:]}")


if __name__ == "__main__":
    main()
