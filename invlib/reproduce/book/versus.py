"""The page "paper versus ours": what the paper printed beside what ``results/`` holds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...markdown import table
from ...measured import read_results
from ..engine.store import earlier
from ..figures.comparison.cells import METHODS
from ..figures.registry import FIGURES, results

NONE = "not measured"
Values = dict[str, Any]


@dataclass(frozen=True)
class Number:
    """One quantity of the paper.

    Attributes:
        quantity: what it is.
        paper: its value in the paper.
        ours: our value.
        interval: 95 % confidence interval of ours, if the results have one.
    """

    quantity: str
    paper: float
    ours: float | None
    interval: Sequence[float] | None = None


@dataclass(frozen=True)
class Group:
    """Quantities of one figure that stand in an order.

    Attributes:
        figure: name of the results file.
        title: figure or table of the paper, and what is compared.
        read: ``results -> numbers``.
        digits: significant digits.
        ordered: whether the order means anything.
    """

    figure: str
    title: str
    read: Callable[[Values], list[Number]]
    digits: int = 2
    ordered: bool = True


def verdict(numbers: Sequence[Number]) -> str:
    """Whether ours stand in the order in which the paper's do; equal ones may stand either way."""
    known = [(n.paper, n.ours) for n in numbers if n.ours is not None]
    pairs = [(a, b) for i, a in enumerate(known) for b in known[i + 1 :] if a[0] != b[0]]
    if not pairs:
        return NONE
    right = sum((a[0] < b[0]) == (a[1] < b[1]) for a, b in pairs)
    return "same order" if right == len(pairs) else f"same order in {right} of {len(pairs)} pairs"


def lines(root: Path) -> Iterator[list[str]]:
    """The rows of the page."""
    for group in GROUPS:
        tiny, paper = (_read(root, group.figure, profile) for profile in ("tiny", "paper"))
        ours = group.read(tiny)
        large = group.read(paper) if paper else []
        for i, number in enumerate(ours):
            form = f".{group.digits}g"
            low_high = number.interval
            yield [
                f"[{group.title}](../figures/{group.figure}.ipynb)" if not i else "",
                number.quantity,
                f"{number.paper:{form}}",
                NONE if number.ours is None else f"{number.ours:{form}}",
                f"{low_high[0]:{form}} to {low_high[1]:{form}}" if low_high else "",
                f"{large[i].ours:{form}}" if large and large[i].ours is not None else NONE,
                "" if i else verdict(ours) if group.ordered else "other models: no verdict",
            ]


def marks(root: Path) -> Iterator[list[str]]:
    """The ticks and crosses of the comparison: those of the paper, and those we measured."""
    tiny, paper = (_read(root, "comparison", profile) for profile in ("tiny", "paper"))
    large = {_place(row): row["mark"] for row in paper.get("rows", [])}
    for i, row in enumerate(row for row in tiny["rows"] if row["paper"]):
        yield [
            "" if i else "[Comparison of methods](../figures/comparison.ipynb)",
            f"{METHODS[row['method']]}: {row['column']}, {row['images_of']} images",
            row["paper"],
            row["mark"],
            "",
            large.get(_place(row), NONE),
            "same mark" if row["mark"] == row["paper"] else "**other mark**",
        ]


def _place(row: Values) -> tuple[str, str, str]:
    return row["method"], row["images_of"], row["column"]


HEAD = ("figure", "quantity", "paper", "ours, `tiny`", "95 %", "ours, `paper`", "verdict, `tiny`")


def markdown(root: Path) -> str:
    """The table of the page, and what its columns were measured with."""
    return f"{table(HEAD, [*lines(root), *marks(root)])}\n\n{_made_with(root)}"


def _made_with(root: Path) -> str:
    """Device and fingerprint of every results file."""
    head = ("results", "device", "code, models and settings", "made with")
    rows, old = [], earlier(root)
    for name in FIGURES:
        values = _read(root, name, "tiny")
        code = "earlier code" if name in old else "the present code"
        device = values["device"].replace(", 1 threads", ", 1 thread")
        rows.append((f"`{results(name, 'tiny')}`", device, f"`{values['code']}`", code))
    return table(head, rows)


def _read(root: Path, name: str, profile: str) -> Values:
    path = root / results(name, profile)
    return read_results(path) if path.exists() else {}


def _find(values: Values, **wanted: Any) -> Values:
    """The only row with these entries; without results, an empty one."""
    rows = [r for r in values.get("rows", []) if wanted.items() <= r.items()]
    if len(rows) > 1:
        raise ValueError(f"{len(rows)} rows with {wanted}")
    return rows[0] if rows else {}


def runtime(values: Values) -> list[Number]:
    """Costs relative to naive inversion in 50 steps: seconds in the paper, evaluations here."""
    shown = [
        ("naive, 1000 steps", "DDIM-50", "naive_1000"),
        ("FPI", "DDIM-50", "fpi"),
        ("Algorithm 1", "DDIM-50", "algorithm1"),
        ("Algorithm 2", "2M-10", "algorithm2"),
    ]
    numbers = []
    for label, sampler, method in shown:
        row = _find(values, sampler=sampler, method=method)
        numbers.append(Number(label, row.get("paper_ratio", 0.0), row.get("nfe_ratio")))
    return numbers


def nmae(values: Values) -> list[Number]:
    """Error of the watermark, mean of the three rows of Figure 4."""
    rows = [r for r in values.get("rows", []) if r["paper"] is not None]
    numbers = []
    for label in dict.fromkeys(r["label"] for r in rows):
        paper, ours = zip(
            *[(r["paper"], r["nmae"]) for r in rows if r["label"] == label], strict=True
        )
        numbers.append(Number(label, statistics.fmean(paper), statistics.fmean(ours)))
    return numbers


def pictures(values: Values) -> list[Number]:
    """Mean background error of the four edited pictures of Figure 6."""
    numbers = []
    for name, known in values.get("paper_background_nmse", {}).items():
        row = _find(values, guidance=7.5, row=name, mask="renderer", blend="state 35")
        ours = [v for portrait in row.get("background_nmse", []) for v in portrait]
        mean = statistics.fmean(ours) if ours else None
        numbers.append(Number(row.get("label", name), statistics.fmean(known), mean))
    return numbers


def editing(values: Values) -> list[Number]:
    """Background error of the editing table, in thousandths."""
    numbers = []
    for name, known in values.get("paper_background_e3", {}).items():
        row = _find(values, guidance=7.5, row=name, mask="renderer", blend="state 35")
        interval = row.get("background_e3_ci95")
        label = f"{row.get('label', name)}, x 1e-3"
        numbers.append(Number(label, known["mean"], row.get("background_e3_mean"), interval))
    return numbers


def reconstruction(values: Values) -> list[Number]:
    """Errors of Algorithm 2 on 2M-10 that a user of the released code reported."""
    row = _find(values, space="latent", decoder="D†", sampler="2M-10", method="algorithm2")
    return [
        Number("noise NMSE, mean", 0.040895, row.get("noise_nmse_mean")),
        Number("image NMSE, mean", 0.057288, row.get("image_nmse_mean")),
    ]


GROUPS = (
    Group("runtime", "Run time: cost over naive / 50", runtime),
    Group("fig4", "Figure 4: NMAE of the watermark, mean", nmae),
    Group("fig6", "Figure 6: NMSE of the background, mean", pictures),
    Group("editing", "Editing: NMSE of the background", editing, 3),
    Group("reconstruction", "Reconstruction with Algorithm 2", reconstruction, ordered=False),
)
