"""The problem that the inversion tests share: twelve Gaussians, three a class, in 64 dimensions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from analytic import randn
from torch import Tensor

from invlib.denoisers import (
    Denoiser,
    Guided,
    Mixture,
    Prediction,
    guided,
    in_float64,
    prediction_of,
    select,
)
from invlib.inversion import Inversion
from invlib.metrics import decibel, nmse
from invlib.sampling import Trajectory, sample
from invlib.schedule import Levels, Schedule
from invlib.solvers import Solver

SCHEDULE = Schedule.scaled_linear()
DIM = 64


def twelve(
    schedule: Levels = SCHEDULE, *, prediction: Prediction = "epsilon", dim: int = DIM
) -> Mixture:
    """The exact denoiser of the mixture."""
    return Mixture(
        schedule, 0.9 * randn(12, dim, seed=7), 0.35, torch.arange(12) // 3, prediction=prediction
    )


def prompted(batch: int, scale: float, *, mixture: Mixture | None = None, seed: int = 0) -> Guided:
    """The mixture, guided towards a random class a row."""
    classes = torch.randint(0, 4, (batch,), generator=torch.Generator().manual_seed(seed))
    return guided(mixture or twelve(), classes, torch.tensor([-1]), scale)


def run(
    batch: int, scale: float, solver: Solver, *, seed: int = 0
) -> tuple[Guided, Tensor, Trajectory]:
    """Denoiser, noise, and what the sampler made of it."""
    denoiser = prompted(batch, scale, seed=seed)
    noise = randn(batch, DIM, seed=seed + 1)
    return denoiser, noise, sample(denoiser, noise, solver)


def error_db(estimate: Tensor, truth: Tensor) -> Tensor:
    """NMSE in decibel, ``[B]``."""
    return decibel(nmse(estimate, truth))


def image_db(denoiser: Denoiser, noise: Tensor, solver: Solver, image: Tensor) -> Tensor:
    """NMSE of the image that a noise gives, in decibel, ``[B]``."""
    return error_db(sample(denoiser, noise, solver).image, image)


def truth(trajectory: Trajectory) -> Inversion:
    """The true trajectory as the result of an inversion."""
    batch = trajectory.states.shape[1]
    return Inversion(
        noise=trajectory.noise,
        states=trajectory.states,
        residuals=torch.zeros(batch, len(trajectory.outputs)).double(),
        iterations=torch.zeros(batch, dtype=torch.long),
        nfe=torch.zeros(batch, dtype=torch.long),
        reason=("converged",) * batch,
        method="truth",
    )


@dataclass(frozen=True)
class Counted:
    """A denoiser that counts the rows of every call, sample by sample."""

    network: Denoiser
    rows: Tensor
    counts: Counter[int] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)

    @property
    def prediction(self) -> Prediction:
        return prediction_of(self.network)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        assert len(x) == len(t) == len(self.rows)
        self.counts.update(self.rows.tolist())
        self.sizes.append(len(x))
        return self.network(x, t)

    def select(self, rows: Tensor) -> Counted:
        return replace(self, network=select(self.network, rows), rows=self.rows[rows])

    def in_float64(self) -> Counted:
        return replace(self, network=in_float64(self.network))

    @property
    def per_sample(self) -> list[int]:
        return [self.counts[row] for row in range(len(self.rows))]


def counted(denoiser: Denoiser, batch: int) -> Counted:
    return Counted(denoiser, torch.arange(batch))
