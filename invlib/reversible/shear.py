r"""Shears: the one move that every reversible sampler is made of.

The state is a pair :math:`(z_0, z_1)`. One shear changes one of the two and reads the other:

.. math:: z_j \leftarrow k\,z_j + m\,z_{1-j} + c\,\epsilon(z_{1-j}, t)

The network sees only the state that stays, so undoing it needs no root finder, only
:math:`k \ne 0`:

.. math:: z_j \leftarrow \bigl(z_j - m\,z_{1-j} - c\,\epsilon(z_{1-j}, t)\bigr) / k

EDICT, BDIA and O-BELM are three tables of these coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..denoisers import Denoiser, convert, evaluated, prediction_of
from ..schedule import Grid


@dataclass(frozen=True)
class Shear:
    """One move on a pair of states.

    Attributes:
        target: index j of the state that changes, 0 or 1; the other is read.
        keep: weight k of the state that changes; 0 forgets it.
        other: weight m of the state that is read.
        noise: weight c of the noise predicted at the state that is read; 0 makes no call.
        node: time point whose label and levels go with the call.
    """

    target: int
    keep: float
    other: float
    noise: float = 0.0
    node: int = 0

    def apply(self, z: Sequence[Tensor], epsilon: Tensor | float) -> list[Tensor]:
        """The pair after the move."""
        source = z[1 - self.target]
        return self._put(z, self.keep * z[self.target] + self.other * source + self.noise * epsilon)

    def undo(self, z: Sequence[Tensor], epsilon: Tensor | float) -> list[Tensor]:
        """The pair before the move."""
        source = z[1 - self.target]
        rest = z[self.target] - self.other * source - self.noise * epsilon
        return self._put(z, rest / self.keep)

    def _put(self, z: Sequence[Tensor], value: Tensor) -> list[Tensor]:
        return [value if j == self.target else z[j] for j in (0, 1)]


@dataclass(frozen=True)
class Reversible:
    """A sampler with an algebraic inverse, as a table of shears.

    Attributes:
        name: what to print.
        grid: time points.
        opening: makes the second state from the noise; it forgets, and belongs to no inverse.
        shears: the sampler, from the noisy end to the image.
        closing: guesses the image's companion from the image alone; it forgets too.
    """

    name: str
    grid: Grid
    opening: Shear
    shears: tuple[Shear, ...]
    closing: Shear

    def __post_init__(self) -> None:
        if not self.grid.alpha[0] > 0:
            raise ValueError("the first state holds no signal (alpha = 0); start the grid later")
        if not all(shear.keep for shear in self.shears):
            raise ValueError("a shear with keep = 0 forgets a state, so it has no inverse")

    @property
    def image(self) -> int:
        """Which state of the last pair is the image; state 0 of the first is the noise."""
        return 1 - self.closing.target


def ddim_weights(grid: Grid, i: int, j: int) -> tuple[float, float]:
    r"""Weights of x_i and of its noise in a DDIM step between any two time points.

    .. math:: x_j = \frac{\alpha_j}{\alpha_i} x_i
              + \Bigl(\sigma_j - \frac{\alpha_j}{\alpha_i}\sigma_i\Bigr)\epsilon_i
    """
    a = (grid.alpha[j] / grid.alpha[i]).item()
    return a, (grid.sigma[j] - a * grid.sigma[i]).item()


def predict_noise(denoiser: Denoiser, z: Tensor, grid: Grid, node: int) -> Tensor:
    """The noise that the network sees in ``z [B, ...]`` under the label of a time point."""
    kind = prediction_of(denoiser)
    t, alpha, sigma = (v[node].to(z).expand(len(z)) for v in (grid.t, grid.alpha, grid.sigma))
    raw = evaluated(lambda x: denoiser(x, t), z).to(z.dtype)
    if raw.shape != z.shape:
        raise ValueError(f"the network returned {tuple(raw.shape)} for states {tuple(z.shape)}")
    return convert(raw, z, alpha, sigma, kind, "epsilon")
