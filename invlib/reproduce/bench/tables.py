"""What the bench says: Pareto fronts, and the sentences and tables made from its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ... import markdown as md
from ..front.cells import ORIGINAL_DB
from ..tables.exactness import EXACT_DB
from .cells import CASES, COSTLY, LATENT, PIXEL, STARS, Case
from .methods import METHODS, OURS, methods_for

Row = dict[str, Any]
ERRORS = {"image_db": "image error", "noise_db": "noise error"}


def setting(values: dict[str, Any]) -> str:
    """On what the bench was measured."""
    rows = [row for row in values["rows"] if row["seconds"] is not None]
    minutes = sum(row["seconds"] * row["images"] for row in rows) / 60
    known = sum(any(r["method"] == OURS for r in rows_of(values, case)) for case in CASES)
    fresh, count = values.get("fresh", len(values["rows"])), len(values["rows"])
    code = ""
    if fresh < count:
        code = f" {fresh} of {count} rows are of the code that this was last filled with."
    return (
        f"{_cell_sizes(rows)}. {values['device']}, {minutes:.0f} minutes of processor time for all "
        f"inversions together; ours was measured in {known} of {len(CASES)} cells. A cell that is "
        f"missing is shown as not measured.{code}"
    )


def rows_of(values: dict[str, Any], case: Case) -> list[Row]:
    """The rows of a cell, in the order of the methods."""
    found = [
        row
        for row in values["rows"]
        if (row["model"], row["sampler"], row["guidance"])
        == (case.model, case.sampler, case.guidance)
    ]
    return sorted(found, key=lambda row: [*METHODS].index(row["method"]))


def beats(a: Row, b: Row, error: str) -> bool:
    """Whether a costs no more and errs no more than b, and one of them less.

    Errors below -100 dB are round-off of the network and count as equal.
    """
    if a[error] is None or b["nfe"] is None:
        return False
    mine, other = ((r["nfe"], _level(r, error)) for r in (a, b))
    return mine != other and mine[0] <= other[0] and mine[1] <= other[1]


def front(rows: Sequence[Row], error: str) -> list[Row]:
    """The rows that no other one beats, by cost."""
    best = [r for r in rows if r[error] is not None and not any(beats(o, r, error) for o in rows)]
    return sorted(best, key=lambda row: row["nfe"])


def lacking(case: Case, rows: Sequence[Row]) -> list[str]:
    """The methods of a cell that were not measured, and have no reason why not."""
    return [
        name for name in methods_for(case.order_one) if name not in {row["method"] for row in rows}
    ]


def winners(rows: Sequence[Row], error: str) -> list[Row] | None:
    """The rows that beat ours, the best first; None if ours was not measured."""
    ours = next((row for row in rows if row["method"] == OURS and row["nfe"] is not None), None)
    if ours is None:
        return None
    better = [row for row in rows if beats(row, ours, error)]
    return sorted(better, key=lambda row: (_level(row, error), row["nfe"]))


def sentences(values: dict[str, Any]) -> str:
    """Where ours is on the Pareto fronts of what was measured, and where not, and why."""
    cases = {case: rows_of(values, case) for case in CASES}
    lines = []
    for error, name in ERRORS.items():
        found = {case: winners(rows, error) for case, rows in cases.items()}
        known = {case: better for case, better in found.items() if better is not None}
        beaten = {case: better for case, better in known.items() if better}
        missing = f" ({len(CASES) - len(known)} not measured)" if len(known) < len(CASES) else ""
        lines.append(
            f"**Evaluations against {name}:** ours is on the front in "
            f"{len(known) - len(beaten)} of {len(known)} cells{missing}."
        )
        if beaten:
            lines[-1] += " It is not in:"
            lines += ["", *(_beaten(case, cases[case], error, b) for case, b in beaten.items())]
        lines.append("")
    gaps = Counter(name for case, rows in cases.items() if rows for name in lacking(case, rows))
    if gaps:
        named = "; ".join(f"{METHODS[name].label}: {count}" for name, count in gaps.most_common())
        lines.append(f"Among the methods that were measured. Cells that lack one: {named}.")
    return "\n".join(lines).strip()


def _beaten(case: Case, rows: Sequence[Row], error: str, better: Sequence[Row]) -> str:
    """One cell in which ours is not on the front."""
    ours = next(row for row in rows if row["method"] == OURS)
    kind = ERRORS[error].split()[0]
    named = "; ".join(
        f"{row['label']} ({_db(row[error])}, {row['nfe']:.0f} evaluations, "
        f"{row['exact']:.0%} exact)"
        for row in better[:3]
    )
    more = f"; and {len(better) - 3} more" if len(better) > 3 else ""
    spent = f"{ours['nfe']:.0f} evaluations, {ours['exact']:.0%} exact"
    found = f"{kind} at {_db(ours[error])}, {spent}"
    if ours["exact"] <= 0.5:
        why = f"Ours is unsolved on half of the images or more ({found}). Nearer for no more"
    elif _level(ours, error) == EXACT_DB:
        why = f"As exact as ours ({spent}) for less"
    elif error == "noise_db" and ours[error] > ORIGINAL_DB:
        why = (
            f"Ours is exact, and another noise makes the same picture ({found}). Nearer to the "
            "true noise for no more"
        )
    else:
        why = f"Ours is exact, as far as the sampler repeats itself ({found}). Nearer for no more"
    return f"* {title(case)}: {why[0].lower()}{why[1:]}: {named}{more}."


def title(case: Case) -> str:
    """How a cell is called."""
    if case.model == "pixel":
        return f"{case.sampler}, pixel model"
    if case.model == "stars":
        return f"{case.sampler}, star model"
    return f"{case.sampler}, CFG {case.guidance:g}"


def table(values: dict[str, Any], case: Case) -> str:
    """All methods of one cell, as Markdown."""
    rows = {row["method"]: row for row in rows_of(values, case)}
    measured = [row["images"] for row in rows.values() if row["images"]]
    if not rows:
        return f"**{title(case)}**: not measured."
    names = ("noise", "worst", "image", "worst", "evaluations", "most", "time", "exact", "failed")
    lines = []
    on_front = {row["method"] for row in front([*rows.values()], "image_db")}
    for name in methods_for(case.order_one):
        label = METHODS[name].label
        label = f"**{label}**" if name in on_front else label
        lines.append([label, *_cells(rows.get(name), len(names))])
    parts = [
        f"**{title(case)}**, {_images(max(measured, default=0))}",
        md.table(["method", *names], lines, right=names),
    ]
    if notes := [f"* {r['label']}: {r['note']}." for r in rows.values() if r["note"]]:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def tables(values: dict[str, Any], model: str, sampler: str) -> str:
    """The cells of one sampler."""
    cases = [case for case in CASES if (case.model, case.sampler) == (model, sampler)]
    return "\n\n".join(table(values, case) for case in cases)


def markdown(values: dict[str, Any]) -> str:
    """The short table of the README: ours and the best of the others, cell by cell."""
    caption = (
        f"{_cell_sizes(values['rows'])}. *Best other*: the smallest image error, then the fewest "
        "evaluations."
    )
    numbers = ("image", "exact", "evaluations")
    head = ("cell", "ours: image", *numbers[1:], "best other", *numbers)
    lines = []
    for case in CASES:
        rows = rows_of(values, case)
        ours = next((row for row in rows if row["method"] == OURS), None)
        others = [r for r in rows if r["method"] != OURS and r["image_db"] is not None]
        best = min(others, key=lambda r: (_level(r, "image_db"), r["nfe"]), default=None)
        other = ["not measured", "", "", ""] if best is None else [best["label"], *_short(best)]
        lines.append([title(case), *_short(ours), *other])
    return f"{caption}\n\n{md.table(head, lines, right=('ours: image', *numbers))}"


def samplers() -> list[tuple[str, str]]:
    """Models and samplers of the bench."""
    known = {"latent": LATENT, "pixel": PIXEL, "stars": STARS}
    return [(model, name) for model, names in known.items() for name in names]


def _short(row: Row | None) -> list[str]:
    if row is None or row["nfe"] is None:
        return ["not measured", "", ""]
    return [_db(row["image_db"]), f"{row['exact']:.0%}", f"{row['nfe']:.0f}"]


def _cells(row: Row | None, count: int) -> list[str]:
    if row is None:
        return ["not measured", *[""] * (count - 1)]
    if row["nfe"] is None:
        return ["not available", *[""] * (count - 1)]
    return [
        *(_db(row[k]) for k in ("noise_db", "noise_db_worst", "image_db", "image_db_worst")),
        f"{row['nfe']:.0f}",
        _number(row.get("nfe_worst"), 0),  # results of earlier code lack these two
        _number(row.get("ratio"), 1),
        f"{row['exact']:.0%}",
        f"{row['failed']:.0%}",
    ]


def _cell_sizes(rows: Sequence[Row]) -> str:
    """How many images a cell has, and how many of the costly methods."""
    counts = sorted({r["images"] for r in rows if r["images"] and r["method"] not in COSTLY})
    most = " or ".join([*map(str, counts[:-1]), _images(counts[-1] if counts else 0)])
    few = {
        row["method"]: row["images"] for row in rows if row["method"] in COSTLY and row["images"]
    }
    if not few:
        return f"{most} a cell"
    costly = "; ".join(METHODS[name].label for name in COSTLY if name in few)
    methods = "costly method" + "s" * (len(few) > 1)
    return f"{most} a cell, but {_images(max(few.values()))} for {len(few)} {methods} ({costly})"


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _number(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _db(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.0f} dB"


def _level(row: Row, error: str) -> float:
    """An error in dB; below the certificate's limit all are equal."""
    return float("inf") if row[error] is None else max(row[error], EXACT_DB)
