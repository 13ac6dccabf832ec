"""A network of a variance-preserving schedule as a velocity field on the straight path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..denoisers import Denoiser, Prediction, convert, prediction_of, select
from ..schedule import FlowSchedule, Grid, Schedule
from ..shapes import column
from ..solvers import Solver

ROUNDING = 1e-9


@dataclass(frozen=True)
class Straight:
    r"""A noise predictor as a flow denoiser; labels are ``times`` times the noise level s.

    .. math:: x_{\mathrm{flow}} = \frac{x}{\alpha_t + \sigma_t}, \qquad
              s = \frac{\sigma_t}{\alpha_t + \sigma_t}, \qquad v = \epsilon - x_0

    The network's own (fractional) time t is where its schedule has
    :math:`\sigma_t/\alpha_t = s/(1-s)`. Below the schedule's smallest noise level it is called
    with the label 0; above the largest, where nobody trained it, it is not called.

    Attributes:
        network: the network, guidance included; see :mod:`invlib.denoisers`.
        schedule: the schedule that it was trained on.
        times: label of pure noise.
    """

    network: Denoiser
    schedule: Schedule
    times: int = 1000

    @property
    def prediction(self) -> Prediction:
        """The velocity of flow matching."""
        return "flow"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity at states ``x [B, ...]`` on the straight path, labels ``t [B]``.

        Raises:
            ValueError: if a noise level lies beyond the schedule's largest.
        """
        s, largest = t.to(torch.float64) / self.times, straight_ends(self.schedule)[0]
        if (s > largest + ROUNDING).any():
            raise ValueError(
                f"noise level {s.max():g} is beyond {largest:g}, the largest that the network "
                "was trained on; start from straight_grid"
            )
        size = torch.hypot(1 - s, s)
        alpha, sigma = (1 - s) / size, s / size
        state = x / column(size, x)
        output = self.network(state, self.schedule.t_lambda(torch.log(alpha / sigma)))
        kind = prediction_of(self.network)
        return convert(output.to(x.dtype), state, alpha, sigma, kind, self.prediction)

    def select(self, rows: Tensor) -> Straight:
        """The same field with the conditions of ``rows``."""
        return replace(self, network=select(self.network, rows))


def straight_grid(schedule: Schedule, steps: int, *, times: int = 1000) -> Grid:
    r"""Uniform noise levels between the ends of a variance-preserving schedule.

    .. math:: s_i = \Bigl(1 - \frac{i}{N}\Bigr)\frac{\sigma_{T-1}}{\alpha_{T-1} + \sigma_{T-1}}
              + \frac{i}{N}\,\frac{\sigma_0}{\alpha_0 + \sigma_0}

    The first is not 1: its state is what the schedule's samplers call noise, over
    :math:`\alpha_{T-1} + \sigma_{T-1}` (see :func:`from_vp_noise`).

    Args:
        schedule: the schedule that the network was trained on.
        steps: number N of steps.
        times: label of pure noise.

    Returns:
        A :class:`~invlib.schedule.Grid` on the straight path.

    Raises:
        ValueError: if ``steps`` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    s = torch.linspace(*straight_ends(schedule), steps + 1, dtype=torch.float64)
    return Grid(times * s, 1 - s, s, FlowSchedule(times))


def from_vp_noise(solver: Solver) -> Solver:
    r"""The same sampler, but started from the noise of a variance-preserving schedule.

    .. math:: y_0 = \sqrt{(1-s_0)^2 + s_0^2}\;\epsilon = \frac{\epsilon}{\alpha_{T-1}+\sigma_{T-1}}

    Euler's method is then DDIM on the same noise levels, state by state.

    Args:
        solver: a flow-matching sampler on a :func:`straight_grid`.
    """
    scale = torch.hypot(solver.alpha[0], solver.sigma[0]).item()
    return replace(solver, scale=scale)


def straight_ends(schedule: Schedule) -> tuple[float, float]:
    r"""The largest and the smallest noise level :math:`s = \sigma_t/(\alpha_t + \sigma_t)`."""
    ends = torch.sigmoid(-schedule.lambdas[[-1, 0]])
    return ends[0].item(), ends[1].item()
