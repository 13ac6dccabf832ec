"""Load the star model, checked against its SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from ..checked import check, write_sums
from ..denoisers import Prediction
from ..schedule import Schedule
from ..shapes import column
from .architecture import StarScore

WEIGHTS = Path(__file__).parent / "weights"
MODEL = "stars"
TRAINED = Schedule.linear()  # the usual discretisation of the VP equation, beta from 0.1 to 20
# Samplers end at t = 0.03, sigma = 0.11. Below, the sky's photon noise comes in, and what is left
# of the starting noise is squeezed so much that coarse samplers have no inverse worth the name.
SCHEDULE = Schedule(TRAINED.lambdas[30:].clone())


@dataclass(frozen=True)
class NoiseOfScore:
    r"""The noise that belongs to a predicted score, :math:`\epsilon = -\sigma_t\,s(x, t)`."""

    network: StarScore
    prediction: Prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise at states ``x [B, 1, 32, 32]`` and times ``t [B]``."""
        score = self.network(x, t)
        return -column(self.network.schedule.sigma_t(t).to(score), score) * score


def load() -> StarScore:
    """The network that predicts the score of star fields, in float32 on the CPU.

    Raises:
        FileNotFoundError: if weights are missing.
        OSError: if a file is not the one that was published.
    """
    verify()
    network = StarScore(SCHEDULE)
    network.load_state_dict(load_file(WEIGHTS / f"{MODEL}.safetensors"))
    return network.eval().requires_grad_(False)


def stars_denoiser() -> NoiseOfScore:
    """The star model as a denoiser; its schedule is ``SCHEDULE``."""
    return NoiseOfScore(load())


@cache
def verify() -> str:
    """Check the weights; return the hash of the model."""
    return check(WEIGHTS, MODEL)


def write_manifest() -> None:
    """Write the SHA-256 of the weights."""
    write_sums(WEIGHTS, [WEIGHTS / f"{MODEL}.safetensors"])
