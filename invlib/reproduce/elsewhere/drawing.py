"""The pages of figures, drawn in a folder of one's own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from ...claims import NOT_HERE
from ...measured import read_results
from ..figures.registry import FIGURES, Figure, provenance
from .plan import Plan

INSTALLED = Path(__file__).parents[2] / "figure_pages"  # in a wheel: see setup.py


DRAWN = "drawn"


def source(figure: Figure) -> Path:
    """The notebook of a figure as it came with the package, or in a checkout."""
    packed = INSTALLED / f"{figure.name}.ipynb"
    return packed if packed.exists() else FIGURES[figure.name].notebook


def draw(plan: Plan) -> dict[str, str]:
    """Run the notebooks of all figures, which write their numbers; with a progress bar.

    Args:
        plan: its work has to be stored.

    Returns:
        For each figure ``drawn``, with the number of claims that do not hold with these models; or
        what stopped its page, and what the page made until then is kept.
    """
    from papermill import PapermillExecutionError  # late: costs are shown without it

    from ..book.figure_pages import run_notebook

    words = {}
    for figure in tqdm(plan.figures, "pages", unit="page"):
        kernel = plan.folder / "book" / "figures"  # as in the repository
        page = plan.page(figure)
        for place in (kernel, page.parent):
            place.mkdir(parents=True, exist_ok=True)
        record = page.with_suffix(".claims.json")
        record.unlink(missing_ok=True)
        extra = opening(provenance(plan.profile, plan.folder), plan.profile, record)
        try:
            run_notebook(source(figure), plan.profile, page, folder=kernel, extra=extra)
            words[figure.name] = DRAWN + held(record)
        except PapermillExecutionError as error:
            words[figure.name] = f"{error.ename}: {error.evalue}"
    return words


def opening(models: dict[str, Any], profile: str, record: Path) -> list[Any]:
    """The cells that a page of a full-size profile begins with; none for the embedded models.

    They say what the models are, mark pictures of a rehearsal, and let claims that do not hold be
    shown.
    """
    if profile == "tiny":
        return []
    lines = [f"**{models['mark']}**"] if models["mark"] else []
    lines += [
        f"Profile `{profile}`. The claims below were written for the embedded models; those that "
        f"are false with these begin with *{NOT_HERE.strip(': ')}*."
    ]
    lines += [f"* {row['name']}: `{row['place']}` {row['commit'][:12]}" for row in models["models"]]
    code = ["from invlib.claims import elsewhere", f"elsewhere({str(record)!r})"]
    if models["mark"]:
        code += ["from invlib.plotting import stamp", f"stamp({models['mark']!r})"]
    said = nbformat.v4.new_markdown_cell("\n\n".join(lines))
    done = nbformat.v4.new_code_cell("\n".join(code), metadata={"tags": ["remove-cell"]})
    return [said, done]


def held(record: Path) -> str:
    """How many of the claims of a page do not hold here, where some do not."""
    entries = read_results(record).values() if record.exists() else ()
    false = sum(not entry.get("holds", True) for entry in entries)
    return f"; {false} of {len(entries)} claims do not hold here" if false else ""


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
