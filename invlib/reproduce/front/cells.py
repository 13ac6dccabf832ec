"""The work on the open front, few-step 2M at high guidance, and the summary of its results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ...metrics import decibel
from ..engine.rounding import short
from ..engine.table import DEVICE
from ..engine.work import FOLDER, Cell, load_known
from . import jacobian as front_jacobian
from . import precise as front_precise
from . import trace as front_trace
from .methods import METHODS, attempt

EXACT_DB, ORIGINAL_DB = -100.0, -40.0
FAST = ("multisecant", "multi-start")
IMAGES = {("2M-10", 3.0): 1, ("2M-10", 7.5): 2}  # for all methods
MORE = {  # for the fast ones
    ("2M-20", 3.0): 2,
    ("2M-20", 7.5): 4,
    ("2M-10", 15.0): 1,
    ("2M-20", 15.0): 1,
}
JACOBIANS = {1.0: 2, 3.0: 2, 7.5: 2, 15.0: 1}  # of 2M-10, by guidance
PRECISE = {("2M-10", 7.5): 4, ("2M-20", 7.5): 4}  # in float64
TRACE = {"name": "2M-10", "guidance": 7.5, "image": 0, "rounds": 1500}
Work = Callable[..., dict[str, Tensor]]
Stored = list[tuple[Cell, dict[str, Tensor]]]


def cells(profile: str) -> list[Cell]:
    """All the work, image by image, the Jacobians and then every method; last one long path."""
    images = max(*IMAGES.values(), *MORE.values(), *JACOBIANS.values(), *PRECISE.values())
    trace = Cell("front", front_trace.trace, {**TRACE, "profile": profile})
    return [cell for image in range(images) for cell in cells_of(image, profile)] + [trace]


def cells_of(image: int, profile: str) -> list[Cell]:
    """The work on one image."""

    def cell(work: Work, **options: Any) -> Cell:
        return Cell("front", work, {**options, "image": image, "profile": profile})

    jacobians = [
        cell(front_jacobian.measure, name="2M-10", guidance=w)
        for w, count in JACOBIANS.items()
        if image < count
    ]
    attempts = [
        cell(attempt, method=method, name=name, guidance=w)
        for (name, w), count in {**IMAGES, **MORE}.items()
        for method in (METHODS if (name, w) in IMAGES else FAST)
        if image < count
    ]
    in_double = [
        cell(front_precise.attempt_precise, name=name, guidance=w)
        for (name, w), count in PRECISE.items()
        if image < count
    ]
    return jacobians + attempts + in_double


def load(profile: str, folder: Path = FOLDER) -> Stored:
    """The cells that are stored, with their results; some may be missing.

    Raises:
        FileNotFoundError: if none is stored.
    """
    known = load_known(cells(profile), folder)
    if not known:
        raise FileNotFoundError("nothing is stored; run: python -m invlib.reproduce.front")
    return known


def summary(results: Stored, profile: str) -> dict[str, Any]:
    """The numbers of ``results/front.json``."""
    attempts = [
        attempt_row(cell.options, result)
        for cell, result in results
        if cell.work in (attempt, front_precise.attempt_precise)
    ]
    return {
        "figure": "front",
        "profile": profile,
        "device": DEVICE,
        "exact_below_db": EXACT_DB,
        "original_below_db": ORIGINAL_DB,
        "rows": shares(attempts),
        "images": attempts,
        "jacobians": [
            jacobian_row(cell.options, result)
            for cell, result in results
            if cell.work is front_jacobian.measure
        ],
        "paths": [
            path_row(cell.options, result)
            for cell, result in results
            if cell.work is front_trace.trace
        ],
        "cpu_seconds": round(sum(row["seconds"] for row in attempts)),
    }


def attempt_row(options: Any, result: dict[str, Tensor]) -> dict[str, Any]:
    """One image by one method."""
    levels = {
        f"{key.removesuffix('_nmse')}_db": round(decibel(result[key]).item(), 1)
        for key in ("round_trip", "noise_nmse", "round_trip_32", "round_off_32", "round_off_true")
        if key in result
    }
    return {
        "sampler": options["name"],
        "guidance": options["guidance"],
        "method": options.get("method", front_precise.NAME),
        "image": options["image"],
        **levels,
        "residual": short(result["residual"]),
        "mean_square": round(result["mean_square"].item(), 3),
        "nfe": int(result["nfe"]),
        "seconds": round(result["seconds"].item(), 1),
    }


def shares(attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a sampler, guidance scale and method: counts, and mean costs."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in attempts:
        groups.setdefault((row["sampler"], row["guidance"], row["method"]), []).append(row)
    return [
        {
            "sampler": sampler,
            "guidance": guidance,
            "method": method,
            "samples": len(group),
            "exact": sum(row["round_trip_db"] < EXACT_DB for row in group),
            "original": sum(row["noise_db"] < ORIGINAL_DB for row in group),
            "other_noise": sum(
                row["round_trip_db"] < EXACT_DB and row["noise_db"] >= ORIGINAL_DB for row in group
            ),
            "nfe": round(sum(row["nfe"] for row in group) / len(group)),
            "seconds": round(sum(row["seconds"] for row in group) / len(group), 1),
        }
        for (sampler, guidance, method), group in groups.items()
    ]


def jacobian_row(options: Any, result: dict[str, Tensor]) -> dict[str, Any]:
    """The Jacobian at one true noise."""
    large, small = result["singular"][0].item(), result["singular"][-1].item()
    return {
        "sampler": options["name"],
        "guidance": options["guidance"],
        "image": options["image"],
        "largest": short(large),
        "smallest": short(small),
        "smallest_of_changed": [short(v) for v in result["smallest"]],
        "condition": short(large / small),
        "sign": int(result["sign"]),
        "same_sign": result["same_sign"].item(),
        "log_determinant": round(result["log_determinant"].item(), 1),
        "turned": result["turned"].tolist(),
        "quantiles": {
            f"{share:g}": short(result["singular"].quantile(share))
            for share in (0.01, 0.1, 0.5, 0.9, 0.99)
        },
    }


def path_row(options: Any, result: dict[str, Tensor]) -> dict[str, Any]:
    """One followed path."""
    return {
        "sampler": options["name"],
        "guidance": options["guidance"],
        "image": options["image"],
        "evaluations": int(result["rounds"][-1]) * int(options["name"].rpartition("-")[2]),
        "turns": [round(v, 4) for v in front_trace.turns(result["parameter"]).tolist()],
        "strength": [round(v, 4) for v in result["parameter"].tolist()],
        "rounds": result["rounds"].tolist(),
    }
