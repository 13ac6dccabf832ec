"""Which seed made a picture: ``results/seeds.json``.

Held-out prompts, each with noise of a seed below a million, from the sampler's true final latent
and from the 8-bit picture: ``python -m invlib.reproduce.tables seeds``.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Box, quasi_newton, to_bytes
from ...inverters import invert
from ...markdown import table
from ...sampling import sample
from ...seeds import SeedSearch, find_seed
from ..engine.table import SHARD, Rows, Table
from ..models.problem import Problem
from .pictures import method

SEEDS = 1_000_000  # candidates, of which one is right; as many others are all wrong
LEAST = {"latents": 0.8, "8 bits": 0.3}  # correlation asked for
PARTS = tuple(LEAST)


def seeds_of(first: int) -> list[int]:
    """The seeds of samples ``first`` ... ``first + SHARD - 1``."""
    return random.Random(first).sample(range(SEEDS), SHARD)


def drawn(seeds: list[int]) -> Tensor:
    """Their noises, each drawn as a pipeline draws it, float64 ``[seeds, 4, 16, 16]``."""
    one = [torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(one).double()


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """Invert samples ``first`` ... ``first + SHARD - 1`` and look for their seeds."""
    seeds = seeds_of(first)
    problem = replace(Problem.of(name, guidance, first, SHARD), noise=drawn(seeds))
    solver, denoiser = problem.solver, problem.denoiser
    autoencoder = Autoencoder.of(problem.pipe.vae)
    with torch.no_grad():
        latents = sample(denoiser, problem.noise, solver).image
        picture = to_bytes(autoencoder.decode(latents))
    decoded = quasi_newton(autoencoder, Box.of(picture)).latents
    noises = {
        "latents": invert(denoiser, latents, solver).noise,
        "8 bits": invert(denoiser, decoded, solver, method=method(solver)).noise,
    }
    result: dict[str, Tensor] = {}
    for part, noise in noises.items():
        result |= {f"{part}/{k}": v for k, v in looked_for(noise, seeds, LEAST[part]).items()}
    return result


def looked_for(noise: Tensor, seeds: list[int], least: float) -> dict[str, Tensor]:
    """What is found among a million seeds, and among a million wrong ones."""
    began = time.process_time()
    find_seed(noise[:1], range(SEEDS), correlation=least)
    seconds = time.process_time() - began
    found = find_seed(noise, range(SEEDS), correlation=least)
    wrong = find_seed(noise, range(SEEDS, 2 * SEEDS), correlation=least)
    return {
        "right": named(found, seeds),
        "false": torch.tensor([seed is not None for seed in wrong.seed]),
        "score": found.score,
        "score_wrong": wrong.score,
        "correlation": found.correlation,
        "values": torch.tensor([found.values] * len(seeds)),
        "seconds": torch.tensor([seconds] * len(seeds), dtype=torch.float64),
    }


def named(found: SeedSearch, seeds: list[int]) -> Tensor:
    """Which noises got their own seed."""
    return torch.tensor([a == b for a, b in zip(found.seed, seeds, strict=True)])


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """The rows of one cell of the table, one for true latents and one for 8-bit pictures."""
    rows = []
    for part in PARTS:
        values = {k.partition("/")[2]: v for k, v in merged.items() if k.startswith(f"{part}/")}
        row: dict[str, Any] = {
            "sampler": name,
            "guidance": guidance,
            "from": part,
            "pictures": len(values["right"]),
            "candidates": SEEDS,
            "right": values["right"].double().mean().item(),
            "false": int(values["false"].sum()),
            "correlation_median": values["correlation"].median().item(),
            "score_least": values["score"].min().item(),
            "score_most_wrong": values["score_wrong"].max().item(),
            "values": values["values"].double().mean().item(),
            "seconds": values["seconds"].median().item(),
        }
        rows.append(row)
    return rows


TABLE = Table("seeds", ("DDIM-20", "2M-10"), shard, summary, guidance=(1.0, 3.0), prompts=24)


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page."""
    head = ["sampler", "CFG", "from", "pictures", "right seed", "correlation, median"]
    head += ["least score of a right seed", "greatest of a million wrong ones", "wrong seeds named"]
    head += ["seconds a million seeds"]
    lines = [
        [
            row["sampler"],
            f"{row['guidance']:g}",
            row["from"],
            str(row["pictures"]),
            f"{row['right']:.0%}",
            f"{row['correlation_median']:.3f}",
            f"{row['score_least']:.1f}",
            f"{row['score_most_wrong']:.1f}",
            str(row["false"]),
            f"{row['seconds']:.1f}",
        ]
        for row in values["rows"]
    ]
    return table(head, lines)
