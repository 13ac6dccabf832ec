"""What we set out to reach with ours in the bench, and whether its rows reach it."""

from __future__ import annotations

from typing import Any

from ... import markdown as md
from ..engine.stamps import made_of
from ..models.problem import LOGSNR
from .cells import CASES, LATENT, Case, cells
from .methods import OURS
from .tables import Row, rows_of, title

# By guidance scale. The source is what we set out to reach before these rows were measured.
EXACT = {1.0: 1.0, 3.0: 0.97, 7.5: 0.9}  # at least, share of the images
EVALUATIONS = {  # at most, median over the images, by sampler; DDIM-50: 4.2 a step to scale 3
    1.0: {"DDIM-50": 210, "2M-10": 300, "2M-20": 320},
    3.0: {"DDIM-50": 210, "2M-10": 200, "3M-20": 700, "UniPC-10": 400},
    7.5: dict.fromkeys(LATENT, 2500),
}


def evaluations(case: Case) -> int | None:
    """How many evaluations ours may take in a cell, None where no goal was set."""
    return EVALUATIONS[case.guidance].get(case.sampler.removesuffix(LOGSNR))


def met(case: Case, row: Row) -> bool:
    """Whether a row of ours is exact often enough, within its evaluations."""
    most = evaluations(case)
    return row["exact"] >= EXACT[case.guidance] and (most is None or row["nfe"] <= most)


def measured(values: dict[str, Any], case: Case) -> Row | None:
    """The row of ours in a cell, of whatever code; None if there is none."""
    rows = [row for row in rows_of(values, case) if row["method"] == OURS]
    return rows[0] if rows and rows[0]["nfe"] is not None else None


def of_present_code(values: dict[str, Any], case: Case, row: Row) -> bool:
    """Whether a row of ours is what the present code measures in a cell."""
    return made_of([row], cells(case, OURS, values["images"])) > 0


def markdown(values: dict[str, Any]) -> str:
    """Every goal beside what was measured."""
    numbers = ("images", "exact", "goal", "evaluations", "most", "goal for the median")
    lines, reached = [], []
    for case in CASES:
        row, most = measured(values, case), evaluations(case)
        goals = f"{EXACT[case.guidance]:.0%}", "none" if most is None else str(most)
        found, verdict = ["", "", "", ""], "not measured"
        if row is not None and not of_present_code(values, case, row):
            verdict = "not measured (of earlier code)"
        elif row is not None:
            reached.append(met(case, row))
            found = [str(row["images"]), f"{row['exact']:.0%}"]
            found += [f"{row['nfe']:.0f}", f"{row['nfe_worst']:.0f}"]
            verdict = "met" if reached[-1] else "**missed**"
        lines.append([title(case), *found[:2], goals[0], *found[2:], goals[1], verdict])
    said = f"Met in {sum(reached)} of the {len(reached)} cells that were measured."
    head = ("cell", *numbers, "reached")
    return f"{said}\n\n{md.table(head, lines, right=numbers)}"
