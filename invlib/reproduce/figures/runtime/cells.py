"""The paper's run-time table: what an inversion costs in the latent model, and what it reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...engine.work import FOLDER, Cell, load_rows
from ...models.profiles import device_name
from ..reconstruction.cells import FINE, MADE_BY, METHOD_NAMES, Row, cell, numbers
from ..reconstruction.recovering import Measured

PAPER_SECONDS = {  # an image of Stable Diffusion, on the authors' GPU
    "naive": 3,
    "naive_1000": 59,
    "fpi": 32,
    "algorithm1": 79,
    "algorithm2": 159,
}
METHODS = ("naive", "naive_1000", "fpi", "algorithm1", "algorithm2", "ours")
KEPT = (
    *("sampler", "method", "inversion_steps", "images", "nfe", "seconds"),
    *("noise_db_median", "noise_db_low", "noise_db_high", "state_db_median"),
)


def rows() -> list[Row]:
    """The rows of the reconstruction table in latent space, and the naive walk in 1000 steps."""
    return [
        Row("latent", "", sampler, method)
        for sampler in MADE_BY
        for method in METHODS
        if not (method == "algorithm2" and sampler == FINE)
        and not (method == "naive_1000" and sampler != FINE)
    ]


def cells(profile: str) -> list[Cell]:
    """The work of the table; most of it is the reconstruction table's."""
    return [cell(row, profile) for row in rows()]


def load(profile: str, folder: Path = FOLDER) -> list[tuple[Row, Measured]]:
    """The stored results, row by row; raises as :func:`load_all`."""
    return load_rows(rows(), cells(profile), folder)


def name_of(row: Row) -> str:
    """How a row is called, with its steps."""
    return f"{METHOD_NAMES[row.method.removesuffix('_1000')]} / {row.inversion_steps}"


def summary(results: list[tuple[Row, Measured]], profile: str) -> dict[str, Any]:
    """The numbers of the table, for ``results/runtime.json``.

    Costs relative to naive inversion in 50 steps can be compared with the paper's, seconds not.
    """
    found = [(row, numbers(row, measured)) for row, measured in results]
    unit = {row.sampler: values for row, values in found if row.method == "naive"}
    return {
        "figure": "runtime",
        "profile": profile,
        "seeds": [*range(max(values["images"] for _, values in found))],
        "device": device_name(),
        "clock": "CPU seconds of one thread, an image",
        "rows": [
            {
                "name": name_of(row),
                **{key: values[key] for key in KEPT},
                "ms_per_evaluation": round(1000 * values["seconds"] / values["nfe"], 1),
                "nfe_ratio": round(values["nfe"] / unit[row.sampler]["nfe"], 1),
                "seconds_ratio": round(values["seconds"] / unit[row.sampler]["seconds"], 1),
                **paper(row),
            }
            for row, values in found
        ],
    }


def paper(row: Row) -> dict[str, float | None]:
    """What the paper measured; nothing for ours."""
    seconds = PAPER_SECONDS.get(row.method)
    ratio = None if seconds is None else round(seconds / PAPER_SECONDS["naive"], 1)
    return {"paper_seconds": seconds, "paper_ratio": ratio}
