"""Guidance with another empty prompt in every step: what the editing baselines return."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..denoisers import Denoiser, Guided, Prediction
from ..inversion import Inversion
from ..solvers import Solver
from .steps import all_rows


@dataclass(frozen=True)
class NullInversion(Inversion):
    """A noise that makes the image only together with an empty prompt for every step.

    ``states`` are the pivot, naive inversion at guidance 1. To make the image, sample
    ``with_nulls(denoiser, solver, nulls)`` with ``first_order(solver)``.

    Attributes:
        nulls: the empty prompt of each step, ``[n, B, ...]``.
    """

    nulls: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class NullPerStep:
    """Guidance whose empty prompt depends on the time; see :func:`with_nulls`."""

    network: Guided
    t: Tensor
    nulls: Tensor

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        return self.network.prediction

    @property
    def condition(self) -> Tensor:
        """The prompts, ``[B, ...]``."""
        return self.network.condition

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The guided prediction at states ``x [B, ...]`` and times ``t [B]``."""
        step = (t[:, None] - self.t.to(t)).abs().argmin(1)
        return replace(self.network, null=self.nulls[step, all_rows(x)])(x, t)

    def select(self, rows: Tensor) -> NullPerStep:
        """The same guidance for the selected rows."""
        return NullPerStep(self.network.select(rows), self.t, self.nulls[:, rows])


def with_nulls(denoiser: Denoiser, solver: Solver, nulls: Tensor) -> NullPerStep:
    r"""The guided denoiser with its own empty prompt in every step.

    .. math:: \epsilon_w(x, t_i) = \epsilon(x, t_i, \varnothing_i)
              + w\,\bigl(\epsilon(x, t_i, c) - \epsilon(x, t_i, \varnothing_i)\bigr)

    Args:
        denoiser: an :func:`invlib.guided` denoiser.
        solver: the solver whose steps are meant.
        nulls: the empty prompts, ``[n, B, ...]``.

    Raises:
        ValueError: if the denoiser is not guided.
    """
    return NullPerStep(as_guided(denoiser), solver.t, nulls)


def as_guided(denoiser: Denoiser) -> Guided:
    """Check that a denoiser has a prompt and an empty prompt.

    Raises:
        ValueError: if it has not.
    """
    if not isinstance(denoiser, Guided):
        raise ValueError("this method edits by guidance: give a denoiser made by invlib.guided")
    return denoiser
