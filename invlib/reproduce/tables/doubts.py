"""Pictures that no candidate made, and what says so: ``results/doubts.json``.

Pictures of the embedded latent model, and others of their size, of which the best latents are
looked for and the noise of these: ``python -m invlib.reproduce.tables doubts``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...autoencoder import Box, quasi_newton, to_bytes
from ...autoencoder.box import ROUNDING
from ...identification import surprise
from ...identification.result import LEVEL, MISFIT
from ...inverters import invert
from ...markdown import table
from ...portraits import held_out, render
from ...sampling import sample
from ..engine.table import SHARD, Rows, Table
from ..models.problem import Problem
from .pictures import Pictures, method

QUALITIES = (95, 85)
LEVELS = tuple(float(x) for x in np.geomspace(1.0, 32.0, 11))  # of the misfit, for the curve


def saved(pixels: Tensor, quality: int) -> Tensor:
    """Pictures ``uint8 [B, 3, H, W]`` after they were saved as JPEG."""
    again = []
    for picture in pixels.permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        again.append(np.asarray(Image.open(stream)))
    return torch.from_numpy(np.stack(again)).permute(0, 3, 1, 2)


def resized(pixels: np.ndarray, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A picture, or a part of it, as one of 64 x 64."""
    part = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC, box=box)
    return np.asarray(part)


def other_model(first: int) -> Tensor:
    """Pictures of the embedded pixel model, in the size of the latent model's."""
    problem = Problem.pixels("2M-20", first, SHARD)
    with torch.no_grad():
        made = to_bytes(sample(problem.denoiser, problem.noise, problem.solver).image)
    large = [resized(picture) for picture in made.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)


def photographs(first: int) -> Tensor:
    """Parts of the photograph that comes with matplotlib."""
    from matplotlib.cbook import get_sample_data

    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as file:
        photo = np.asarray(file.convert("RGB"))
    height, width = photo.shape[:2]
    rng = np.random.default_rng(first)
    parts = []
    for _ in range(SHARD):
        side = int(rng.integers(64, min(height, width)))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        parts.append(resized(photo, (left, top, left + side, top + side)))
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)


def drawn(first: int) -> Tensor:
    """Held-out portraits as they were drawn, such as the model has learnt from."""
    people = held_out(first + SHARD)[first:]
    return torch.from_numpy(np.stack([render(p) for p in people])).permute(0, 3, 1, 2)


def kinds(cell: Pictures, first: int) -> dict[str, Callable[[], Tensor]]:
    """The pictures by what they are; the first are the model's own."""
    jpegs = {f"JPEG {q}": partial(saved, cell.picture, q) for q in QUALITIES}
    return {
        "its own": lambda: cell.picture,
        **jpegs,
        "the pixel model": partial(other_model, first),
        "photographs": partial(photographs, first),
        "drawings": partial(drawn, first),
    }


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Misfits of pictures of every kind, and the law of the noise of their latents."""
    cell = Pictures.of(name, guidance, first)
    problem, result = cell.problem, dict[str, Tensor]()
    for kind, make in kinds(cell, first).items():
        box = Box.of(make())
        decoded = quasi_newton(cell.autoencoder, box)
        square = box.center.flatten(1).square().mean(1)
        result[f"{kind}/misfit"] = (decoded.image_nmse * square / ROUNDING).sqrt()
        latents = cell.latents if kind == "its own" else decoded.latents
        if not kind.startswith("JPEG"):
            found = invert(problem.denoiser, latents, problem.solver, method=method(problem.solver))
            law = surprise(found.noise)
            result |= {f"{kind}/p": law.p, f"{kind}/norm": law.norm}
    return result


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """The rows of one cell of the table, one a kind."""
    rows = []
    for kind in dict.fromkeys(key.partition("/")[0] for key in merged):
        misfit = merged[f"{kind}/misfit"]
        p, norm = (merged.get(f"{kind}/{key}") for key in ("p", "norm"))
        rows.append(
            {
                "sampler": name,
                "guidance": guidance,
                "kind": kind,
                "pictures": len(misfit),
                "misfit_least": misfit.min().item(),
                "misfit_median": misfit.median().item(),
                "misfit_most": misfit.max().item(),
                "accepted": (misfit <= MISFIT).double().mean().item(),
                "accepted_at": [(misfit <= level).double().mean().item() for level in LEVELS],
                "accepted_by_noise": None if p is None else (p >= LEVEL).double().mean().item(),
                "norm_median": None if norm is None else norm.median().item(),
            }
        )
    return sorted(rows, key=lambda row: row["misfit_median"])


TABLE = Table("doubts", ("2M-10",), shard, summary, guidance=(1.0, 3.0), prompts=8)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page."""
    head = ["sampler", "CFG", "pictures", "number", "misfit: least", "median", "most"]
    head += ["accepted by the picture", "by the noise"]
    lines = [
        [
            row["sampler"],
            f"{row['guidance']:g}",
            row["kind"],
            str(row["pictures"]),
            *(f"{row[f'misfit_{key}']:.1f}" for key in ("least", "median", "most")),
            f"{row['accepted']:.0%}",
            "-" if row["accepted_by_noise"] is None else f"{row['accepted_by_noise']:.0%}",
        ]
        for row in values["rows"]
    ]
    return table(head, lines)
