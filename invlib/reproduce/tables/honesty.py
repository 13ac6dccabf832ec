"""How often certificates are right about the noise, on random problems: ``results/honesty.json``.

``python -m invlib.reproduce.tables honesty``. A problem is a mixture of Gaussians drawn at random,
in as few dimensions as make several noises common, with a short sampler; its true noise is known.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...certificate import certify
from ...denoisers import Denoiser, Mixture, Prediction, guided
from ...inverters import exact, invert
from ...markdown import table
from ...metrics import nmse
from ...sampling import sample
from ...schedule import Schedule
from ...solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m
from ..engine.table import SHARD, Rows, Table

OTHERS = 4  # searches from other starts
ROUNDS, PATIENCE = 200, 60  # of each search
MAKERS = {"DDIM": ddim, "2M": dpm_solver_pp_2m, "3M": dpm_solver_pp_3m}
SIZES, STEPS, WIDTHS, CLASSES = (8, 16, 32, 64), (4, 6, 10), (0.1, 0.2, 0.35), 4
FLAGGED, OFF = 0.95, 0.01  # what we set out to reach: at least, and at most


@dataclass(frozen=True)
class Single:
    """A network that computes in float64 and answers in float32, with a copy that does not."""

    network: Mixture
    prediction: Prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction, rounded."""
        return self.network(x, t, condition).float().to(x)

    def in_float64(self) -> Mixture:
        """The network itself."""
        return self.network


def problem(name: str, guidance: float, first: int) -> tuple[Denoiser, Solver, Tensor]:
    """A random mixture, a sampler of few steps, and the noises of ``SHARD`` images."""
    draw = random.Random(f"{name} {guidance} {first}")
    size, steps, width = draw.choice(SIZES), draw.choice(STEPS), draw.choice(WIDTHS)
    seed, schedule = draw.randrange(2**31), Schedule.scaled_linear()
    numbers = torch.Generator().manual_seed(seed)
    count = draw.choice((1, 3)) * CLASSES
    centres = draw.choice((0.5, 0.9)) * torch.randn(
        count, size, generator=numbers, dtype=torch.float64
    )
    labels = torch.arange(count) * CLASSES // count
    mixture = Mixture(schedule, centres, width, labels, prediction="epsilon")
    network = draw.choice((Single(mixture), mixture))
    wanted = torch.randint(0, CLASSES, (SHARD,), generator=numbers)
    noise = torch.randn(SHARD, size, generator=numbers, dtype=torch.float64)
    denoiser = guided(network, wanted, torch.tensor([-1]), guidance)
    return denoiser, MAKERS[name](schedule.grid(steps)), noise


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """What the certificates of one random mixture say, beside the truth."""
    denoiser, solver, noise = problem(name, guidance, first)
    image = sample(denoiser, noise, solver).image
    found = invert(
        denoiser,
        image,
        solver,
        method=partial(exact, others=OTHERS, max_rounds=ROUNDS, patience=PATIENCE),
    )
    proof = certify(denoiser, found, solver)
    error = nmse(found.noise, noise)
    return {
        "exact": torch.tensor([verdict == "exact" for verdict in proof.verdict]),
        "wrong": error > proof.limit.sqrt(),
        "another": proof.other_roots,
        "unique": torch.tensor([w == "unique as far as searched" for w in proof.uniqueness]),
        "bound": proof.noise_error,
        "error": error.sqrt(),
    }


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """One cell of the table: how many images, of which how many are what."""
    exactly, wrong = merged["exact"], merged["exact"] & merged["wrong"]
    bound = exactly & merged["bound"].isfinite()
    far = bound & (merged["error"] > 2 * merged["bound"])
    counts = {
        "exact": exactly,
        "wrong": wrong,
        "wrong_and_flagged": wrong & merged["another"],
        "wrong_and_unique": wrong & merged["unique"],
        "bounds": bound,
        "bounds_off_by_6_db": far,
    }
    row: dict[str, Any] = {"sampler": name, "guidance": guidance, "samples": len(exactly)}
    return [row | {key: int(which.sum()) for key, which in counts.items()}]


TABLE = Table("honesty", tuple(MAKERS), shard, summary, prompts=56)


def markdown(values: dict[str, Any]) -> str:
    """The table as the page of results shows it, with a last row of all together, and the goals."""
    names = ("samples", "exact", "wrong", "wrong_and_flagged", "bounds", "bounds_off_by_6_db")
    numbers = ("CFG", "images", "exact", "other noise", "flagged", "bounds", "off by 6 dB")
    rows = values["rows"]
    lines = [
        [row["sampler"], f"{row['guidance']:g}", *(str(row[name]) for name in names)]
        for row in rows
    ]
    total = ["all", "", *(str(_sum(rows, name)) for name in names)]
    return table(["sampler", *numbers], [*lines, total], right=numbers) + f"\n\n{goals(rows)}"


def goals(rows: Rows) -> str:
    """Of how many problems the images are, and whether what we set out to reach is reached."""
    mixtures = sum(-(-row["samples"] // SHARD) for row in rows)
    wrong, flagged, unique, bounds, off = (
        _sum(rows, name)
        for name in (
            "wrong",
            "wrong_and_flagged",
            "wrong_and_unique",
            "bounds",
            "bounds_off_by_6_db",
        )
    )
    guided = [row for row in rows if row["guidance"] > 1]
    off_guided, guided_bounds = (_sum(guided, n) for n in ("bounds_off_by_6_db", "bounds"))
    return (
        f"The {_sum(rows, 'samples')} images are of {mixtures} random mixtures, up to {SHARD} "
        f"images of each. *Flagged*: {flagged} of the {wrong} other noises"
        f"{_share(flagged, wrong)}; we set out to reach at least {FLAGGED:.0%}, which is "
        f"{_met(flagged >= FLAGGED * wrong)}. Of the {wrong - flagged} that were not flagged, "
        f"{unique} were called *unique as far as searched*. *Off by 6 dB*: {off} of the {bounds} "
        f"bounds{_share(off, bounds)}; at most {OFF:.0%} was the goal, which is "
        f"{_met(off <= OFF * bounds)}. With guidance it is {off_guided} of {guided_bounds}"
        f"{_share(off_guided, guided_bounds)}."
    )


def _sum(rows: Rows, name: str) -> int:
    return sum(row[name] for row in rows)


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""


def _met(reached: bool) -> str:
    return "met" if reached else "**missed**"
