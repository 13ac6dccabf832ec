"""Who made this? What the first look sees of prompts and guidance: ``results/who.json``.

Held-out prompts of the embedded latent model, from the sampler's true final latent and from the
8-bit picture: ``python -m invlib.reproduce.tables who``. The exact likelihood of the same prompts
is in :mod:`.likelihood`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...autoencoder import quasi_newton
from ...identification import first_look
from ...likelihood import Problem as Candidate
from ...markdown import table
from ...portraits import held_out, portraits_denoiser
from ..engine.table import SHARD, Rows, Table
from .likelihood import comes_first, variants
from .pictures import Pictures

BINS = (1.0, 2.0, 3.0, 5.0, 7.5)  # guidance scales
PARTS = ("latents", "8 bits")


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Rough scores of prompts and guidance scales, the true prompt first."""
    cell = Pictures.of(name, guidance, first)
    decoded = quasi_newton(cell.autoencoder, cell.box).latents
    people = held_out(first + SHARD)[first:]
    result: dict[str, Tensor] = {}
    for part, latents in zip(PARTS, (cell.latents, decoded), strict=True):
        prompts, scales = [], []
        for k, person in enumerate(people):
            asked = variants(person, first + k)
            image = latents[k : k + 1]
            prompts.append([score(cell, image, prompt, guidance) for prompt in asked])
            scales.append([score(cell, image, asked[0], scale) for scale in BINS])
        result[f"{part}/prompts"] = torch.tensor(prompts, dtype=torch.float64)
        result[f"{part}/guidance"] = torch.tensor(scales, dtype=torch.float64)
    return result


def score(cell: Pictures, image: Tensor, prompt: str, guidance: float) -> list[float]:
    """The rough log-likelihood of a call, how far the norm is from 1, and evaluations."""
    denoiser = portraits_denoiser(cell.problem.pipe, [prompt], guidance)
    found = first_look(Candidate.of(denoiser, cell.problem.solver, image))
    return [found.log_p, abs(found.norm - 1), float(found.nfe)]


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """The rows of one cell of the table, one for true latents and one for 8-bit pictures."""
    rows = []
    for part in PARTS:
        prompts, scales = merged[f"{part}/prompts"], merged[f"{part}/guidance"]
        right = BINS.index(guidance)
        best = scales[:, :, 0].max(1)
        near = (best.indices - right).abs() <= 1
        lead = prompts[:, 0, 0] - prompts[:, 1:, 0].amax(1)
        rows.append(
            {
                "sampler": name,
                "guidance": guidance,
                "from": part,
                "pictures": len(prompts),
                "prompts": share(comes_first(prompts[:, :, 0])),
                "prompts_by_norm": share(comes_first(-prompts[:, :, 1])),
                "lead_median": lead.median().item(),
                "bins": share(comes_first(scales[:, :, 0], right)),
                "bins_by_norm": share(comes_first(-scales[:, :, 1], right)),
                "bins_next": share(near & (best.values > -torch.inf)),
                "nfe": prompts[:, :, 2].mean().item(),
            }
        )
    return rows


def share(right: Tensor) -> float:
    """How often something is so."""
    return right.double().mean().item()


TABLE = Table("who", ("DDIM-20", "2M-10"), shard, summary, guidance=(1.0, 3.0), prompts=24)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page."""
    head = ["sampler", "CFG", "from", "pictures", "right prompt of 8", "by the norm"]
    head += ["lead of the right prompt, median", "right guidance of 5", "by the norm"]
    head += ["right or next to it", "evaluations a candidate"]
    lines = [
        [
            row["sampler"],
            f"{row['guidance']:g}",
            row["from"],
            str(row["pictures"]),
            f"{row['prompts']:.0%}",
            f"{row['prompts_by_norm']:.0%}",
            f"{row['lead_median']:.0f} nats",
            f"{row['bins']:.0%}",
            f"{row['bins_by_norm']:.0%}",
            f"{row['bins_next']:.0%}",
            f"{row['nfe']:.0f}",
        ]
        for row in values["rows"]
    ]
    return table(head, lines)
