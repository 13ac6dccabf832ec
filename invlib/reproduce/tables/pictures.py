"""8-bit pictures of one cell of the decoding tables, and what is measured about inverting them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, Box, DecoderInversion, joint, to_bytes
from ...inversion import Inversion, Inverter, invert
from ...inverters import stepwise, whole_trajectory
from ...metrics import nmse
from ...sampling import sample
from ...solvers import Solver
from ..engine.table import SHARD
from ..models.problem import Problem


@dataclass(frozen=True)
class Pictures:
    """What there is to invert.

    Attributes:
        problem: sampler, network and noise.
        autoencoder: the autoencoder.
        latents: the true latents.
        picture: the 8-bit pictures, all that the methods are told.
    """

    problem: Problem
    autoencoder: Autoencoder
    latents: Tensor
    picture: Tensor

    @classmethod
    def of(cls, name: str, guidance: float, first: int) -> Pictures:
        """Draw the pictures."""
        problem = Problem.of(name, guidance, first, SHARD)
        autoencoder = Autoencoder.of(problem.pipe.vae)
        with torch.no_grad():
            latents = sample(problem.denoiser, problem.noise, problem.solver).image
            return cls(problem, autoencoder, latents, to_bytes(autoencoder.decode(latents)))

    @property
    def box(self) -> Box:
        """The pictures, as decoder inverters take them."""
        return Box.of(self.picture)

    def invert(self, latents: Tensor) -> Inversion:
        """Invert the sampler."""
        solver = self.problem.solver
        return invert(self.problem.denoiser, latents, solver, method=method(solver))

    @torch.no_grad()
    def joint(
        self, first: DecoderInversion, found: Inversion, **options: Any
    ) -> tuple[DecoderInversion, Inversion]:
        """Refine latents and noise together."""
        solver = self.problem.solver
        options |= {"method": method(solver)}
        return joint(
            self.autoencoder, self.problem.denoiser, self.box, solver, first, found, **options
        )

    @torch.no_grad()
    def measure(
        self, label: str, decoded: DecoderInversion, found: Inversion, seconds: float
    ) -> dict[str, Tensor]:
        """Errors and costs, one number an image."""
        problem = self.problem
        again = sample(problem.denoiser, found.noise, problem.solver).image
        shown = to_bytes(self.autoencoder.decode(again))
        values = {
            "latents": nmse(decoded.latents, self.latents),
            "noise": nmse(found.noise, problem.noise),
            "image": nmse(Box.of(shown).center, self.box.center),
            "values": (shown == self.picture).flatten(1).double().mean(1),
            "evaluations": decoded.evaluations.double(),
            "nfe": found.nfe.double(),
            "seconds": torch.tensor([seconds / SHARD] * SHARD, dtype=torch.float64),
        }
        return {f"{label}/{key}": value for key, value in values.items()}


def method(solver: Solver) -> Inverter:
    """Step by step for DDIM, else the whole trajectory without Newton's method.

    The latents are wrong by more than these searches leave.
    """
    return stepwise if solver.order_one else partial(whole_trajectory, finish=None)
