"""The paper's reconstruction table: noise and picture, recovered by every method."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ....metrics import nmse
from ...engine.rounding import level, short
from ...engine.work import FOLDER, Cell, load_rows
from ...models.full_size import few
from ...models.problem import SAMPLERS
from ...models.profiles import device_name
from .recovering import FINE, Measured, measure

MADE_BY = (FINE, "2M-10")
IMAGES, FEWER = 4, 2  # images of a row; of a costly one or of one from a picture
COSTLY = ("fpi", "algorithm1", "algorithm2", "naive_1000")
METHOD_NAMES = {
    "naive": "naive",
    "fpi": "FPI",
    "algorithm1": "Algorithm 1",
    "algorithm2": "Algorithm 2",
    "ours": "ours",
}
FROM_PICTURE = (
    ("encoder", "naive"),
    *(("D†", method) for method in METHOD_NAMES),
    ("ours", "ours"),
)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        space: ``pixel`` or ``latent``.
        decoder: how the latents were found from an 8-bit picture; empty where they are known.
        sampler: what made the image.
        method: what inverted it.
    """

    space: str
    decoder: str
    sampler: str
    method: str

    @property
    def images(self) -> int:
        """How many images it is measured on."""
        return FEWER if self.decoder or self.method in COSTLY else IMAGES

    @property
    def inversion_steps(self) -> int:
        """The steps of the inversion."""
        if self.method == "naive_1000":
            return 1000
        name = self.sampler if self.method in ("algorithm2", "ours") else FINE
        return SAMPLERS[name][1]


def rows() -> list[Row]:
    """All rows; Algorithm 2 is for high-order samplers only."""
    plain = [(space, "", method) for space in ("pixel", "latent") for method in METHOD_NAMES]
    pictures = [("latent", decoder, method) for decoder, method in FROM_PICTURE]
    return [
        Row(space, decoder, sampler, method)
        for space, decoder, method in plain + pictures
        for sampler in MADE_BY
        if not (method == "algorithm2" and sampler == FINE)
    ]


def cell(row: Row, profile: str) -> Cell:
    """The work of a row."""
    options = {**asdict(row), "first": 0, "count": few(profile, row.images), "profile": profile}
    return Cell("reconstruction", measure, options)


def cells(profile: str) -> list[Cell]:
    """The work of the table: one cell a row."""
    return [cell(row, profile) for row in rows()]


def load(profile: str, folder: Path = FOLDER) -> list[tuple[Row, Measured]]:
    """The stored results, row by row; raises as :func:`load_all`."""
    return load_rows(rows(), cells(profile), folder)


def summary(results: list[tuple[Row, Measured]], profile: str) -> dict[str, Any]:
    """The numbers of the table, for ``results/reconstruction.json``."""
    return {
        "figure": "reconstruction",
        "profile": profile,
        "images": {
            "rows": few(profile, IMAGES),
            "costly rows and rows from a picture": few(profile, FEWER),
        },
        "seeds": [*range(few(profile, IMAGES))],
        "device": device_name(),
        "spread": "sample standard deviation over the images; lowest and highest level",
        "rows": [numbers(row, measured) for row, measured in results],
    }


def numbers(row: Row, measured: Measured) -> dict[str, Any]:
    """One row: errors as the paper reports them, levels in dB, likeness of the pictures, cost.

    The image error is that of the state in pixel space, and of the 8-bit picture in latent
    space, as in the authors' code. A level or PSNR without any error is None.
    """
    picture, again = (measured[key].double() / 255 for key in ("picture", "again"))
    image = measured["state"] if row.space == "pixel" else nmse(again, picture)
    return {
        **asdict(row),
        "inversion_steps": row.inversion_steps,
        "images": len(measured["noise"]),
        **spread("noise", measured["noise"]),
        **spread("image", image),
        "state_db_median": level(measured["state"].median()),
        "start_db_median": level(measured["start"].median()),
        **likeness(again, picture),
        "identical": (again == picture).flatten(1).all(1).double().mean().item(),
        "nfe": measured["nfe"].double().mean().item(),
        "seconds": round(measured["seconds"].mean().item(), 2),
    }


def spread(name: str, errors: Tensor) -> dict[str, float | None]:
    """Mean and sample standard deviation of an NMSE; median, lowest and highest level in dB."""
    return {
        f"{name}_nmse_mean": short(errors.mean()),
        f"{name}_nmse_std": short(errors.std()),
        f"{name}_db_median": level(errors.quantile(0.5)),
        f"{name}_db_low": level(errors.min()),
        f"{name}_db_high": level(errors.max()),
    }


def likeness(again: Tensor, picture: Tensor) -> dict[str, float | None]:
    """Mean SSIM, median PSNR of pictures in [0, 1]; LPIPS, whose network's weights are not here."""
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    options: Any = {"data_range": 1.0, "reduction": "none"}
    similar: Any = structural_similarity_index_measure(again, picture, **options)
    ratio = peak_signal_noise_ratio(again, picture, **options, dim=(1, 2, 3)).quantile(0.5)
    return {
        "ssim_mean": round(similar.mean().item(), 4),
        "ssim_std": round(similar.std().item(), 4),
        "psnr_median": round(ratio.item(), 1) if ratio.isfinite() else None,
        "lpips": None,
    }
