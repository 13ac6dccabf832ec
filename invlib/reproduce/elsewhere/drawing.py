"""The pages of figures, drawn in a folder of one's own."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from ..figures.registry import FIGURES, Figure
from .plan import Plan

INSTALLED = Path(__file__).parents[2] / "figure_pages"  # in a wheel: see setup.py


def source(figure: Figure) -> Path:
    """The notebook of a figure as it came with the package, or in a checkout."""
    packed = INSTALLED / f"{figure.name}.ipynb"
    return packed if packed.exists() else FIGURES[figure.name].notebook


def draw(plan: Plan) -> dict[str, str]:
    """Run the notebooks of all figures, which write their numbers; with a progress bar.

    Args:
        plan: its work has to be stored.

    Returns:
        For each figure ``drawn``, or what stopped its page, such as a claim that does not hold
        with these models; what the page made until then is kept.
    """
    from papermill import PapermillExecutionError  # late: costs are shown without it

    from ..book.figure_pages import run_notebook

    words = {}
    for figure in tqdm(plan.figures, "pages", unit="page"):
        place = plan.folder / "book" / "figures" / f"{figure.name}.ipynb"  # as in the repository
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source(figure), place)
        page = plan.page(figure)
        page.parent.mkdir(parents=True, exist_ok=True)
        try:
            run_notebook(place, plan.profile, page)
            words[figure.name] = "drawn"
        except PapermillExecutionError as error:
            words[figure.name] = f"{error.ename}: {error.evalue}"
    return words


def pictures(plan: Plan) -> Iterator[Any]:
    """The pictures of all pages that are drawn, one after the other."""
    from IPython.display import Image

    for figure in plan.figures:
        if not plan.page(figure).exists():
            continue
        for cell in nbformat.read(plan.page(figure), as_version=4).cells:
            for output in cell.get("outputs", ()):
                if "image/png" in output.get("data", {}):
                    yield Image(base64.b64decode(output["data"]["image/png"]))
