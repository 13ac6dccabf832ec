r"""Solvers: every deterministic sampler is a lower-triangular table of coefficients.

.. math:: y_{i+1} = a_i\,y_i + \sum_{j \le i} b_{ij}\,m_j, \qquad m_j = m(y_j, t_j)

where y_0 is the noise, y_n the image and m_j the network's output at y_j: the data prediction
for DPM-Solver++, the noise prediction for DDIM and DPM-Solver. The forward step and its inverse
read the same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .denoisers import (
    Denoiser,
    Nodal,
    Prediction,
    convert,
    evaluated,
    prediction_of,
    select,
    untouched,
)
from .schedule import Grid, Levels

Kind = Literal["midpoint", "heun"]
Kind3 = Literal["diffusers", "taylor"]


@dataclass(frozen=True)
class Solver:
    """A deterministic sampler with n network calls, as a table.

    Attributes:
        name: what to print.
        a: weight of the previous state, float64 ``[n]``.
        b: weights of the network's outputs, lower triangular float64 ``[n, n]``.
        t: time labels given to the network, ``[n]``.
        alpha: signal level of every state, ``[n+1]``.
        sigma: noise level of every state, ``[n+1]``.
        prediction: what the outputs m_j are.
        schedule: the schedule between the states.
        scale: the first state is ``scale`` times the noise.
    """

    name: str
    a: Tensor
    b: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor
    prediction: Prediction
    schedule: Levels
    scale: float = 1.0

    @property
    def steps(self) -> int:
        """Number n of network calls."""
        return len(self.a)

    @property
    def order_one(self) -> bool:
        """Whether every step uses the newest network output only."""
        return not self.b.tril(-1).any()

    def equals(self, other: Solver) -> bool:
        """Whether another table has the same numbers, whatever it is called."""
        if (self.prediction, self.scale) != (other.prediction, other.scale):
            return False
        tables = ((s.a, s.b, s.t, s.alpha, s.sigma) for s in (self, other))
        return all(torch.equal(one.cpu(), two.cpu()) for one, two in zip(*tables, strict=True))

    def output(self, denoiser: Denoiser, y: Tensor, nodes: Tensor, rows: Tensor) -> Tensor:
        """The outputs m of the network at states ``y [k, ...]``.

        Args:
            denoiser: the network.
            y: states, ``[k, ...]``.
            nodes: index i of each state, ``[k]``.
            rows: which sample (condition) each state belongs to, ``[k]``.
        """
        raw = self.raw(denoiser, y, nodes, rows)
        levels = self.alpha.to(y)[nodes], self.sigma.to(y)[nodes]
        return convert(raw, y, *levels, prediction_of(denoiser), self.prediction)

    def raw(self, denoiser: Denoiser, y: Tensor, nodes: Tensor, rows: Tensor) -> Tensor:
        """What the network itself predicts at states ``y``; arguments as :meth:`output`.

        Raises:
            ValueError: if it does not say what that is, or changes the states in place.
        """
        prediction_of(denoiser)
        chosen = select(denoiser, rows)
        if isinstance(chosen, Nodal):
            return untouched(lambda x: chosen.at(x, nodes), y).to(y.dtype)
        t = self.t.to(y)[nodes]
        return evaluated(lambda x: chosen(x, t), y).to(y.dtype)

    def step(self, i: int, y: Tensor, outputs: list[Tensor]) -> Tensor:
        """State i+1 from state i and the outputs m_0 ... m_i."""
        y = self.a[i].item() * y
        for weight, m in zip(self.b[i, : i + 1].tolist(), outputs, strict=True):
            if weight:
                y = y + weight * m
        return y


def ddim(grid: Grid, *, scale: float | None = None) -> Solver:
    r"""DDIM, the first-order exponential integrator, in noise prediction.

    .. math:: x_{i+1} = \frac{\alpha_{i+1}}{\alpha_i} x_i
              + \Bigl(\sigma_{i+1} - \frac{\alpha_{i+1}}{\alpha_i}\sigma_i\Bigr)\epsilon_i

    Args:
        grid: time points.
        scale: the first state is ``scale`` times the noise; by default ``grid.scale``.

    Source: Song, Meng, Ermon, ICLR 2021.

    Example:
        >>> from invlib import Schedule
        >>> solver = ddim(Schedule.scaled_linear().grid(2))
        >>> solver.steps, solver.prediction
        (2, 'epsilon')
    """
    a = grid.alpha[1:] / grid.alpha[:-1]
    b = torch.diag(grid.sigma[1:] - a * grid.sigma[:-1])
    return _solver("DDIM", grid, a, b, "epsilon", scale)


def dpm_solver_pp_1(grid: Grid, *, scale: float | None = None) -> Solver:
    r"""DPM-Solver++(1): DDIM in data prediction.

    .. math:: x_{i+1} = \frac{\sigma_{i+1}}{\sigma_i} x_i
              - \alpha_{i+1}(e^{-h_i} - 1)\,x_\theta(x_i)

    Arguments as :func:`ddim`.
    """
    return _multistep("DPM-Solver++(1)", grid, 1, "midpoint", True, _data_row, scale)


def dpm_solver_pp_2m(
    grid: Grid,
    *,
    kind: Kind = "midpoint",
    lower_order_final: bool | None = None,
    scale: float | None = None,
) -> Solver:
    r"""DPM-Solver++(2M), second-order multistep in data prediction.

    .. math:: x_{i+1} = \frac{\sigma_{i+1}}{\sigma_i} x_i - \alpha_{i+1}(e^{-h_i} - 1)
              \Bigl(D_i + \frac{D_i - D_{i-1}}{2 r_i}\Bigr),\quad r_i = h_{i-1}/h_i

    Args:
        grid: time points.
        kind: ``midpoint`` (as above) or ``heun`` weights of the difference.
        lower_order_final: last step of order 1; by default as in diffusers, when N < 15.
        scale: as for :func:`ddim`.

    Source: Lu et al., DPM-Solver++, arXiv 2211.01095.
    """
    return _multistep("DPM-Solver++(2M)", grid, 2, kind, lower_order_final, _data_row, scale)


def dpm_solver_pp_3m(
    grid: Grid,
    *,
    kind: Kind3 = "diffusers",
    lower_order_final: bool | None = None,
    scale: float | None = None,
) -> Solver:
    r"""DPM-Solver++(3M), multistep with three outputs in data prediction.

    .. math:: x_{i+1} = \frac{\sigma_{i+1}}{\sigma_i} x_i - \alpha_{i+1}\varphi_1 D^{(0)}
              + \alpha_{i+1}\varphi_2 D^{(1)} - \alpha_{i+1}\varphi_3 D^{(2)}

    with :math:`\varphi_1=e^{-h}-1,\ \varphi_2=\varphi_1/h+1,\ \varphi_3=\varphi_2/h-1/2` and the
    divided differences of the last three outputs, :math:`D^{(1)} \approx h D'` and
    :math:`D^{(2)} \approx h^2 D''/2`. The exact integral has :math:`-\alpha\varphi_3 h^2 D''`: the
    formula that everyone runs lacks a factor 2 in its last term and **converges with order 2**.

    Args:
        grid: time points.
        kind: ``diffusers``, the usual formula, or ``taylor``, with the factor: of order 3
            after exact history, of order 2 from its own first step, which is of first order.
        lower_order_final: as for :func:`dpm_solver_pp_2m`.
        scale: as for :func:`ddim`.
    """
    if kind not in ("diffusers", "taylor"):
        raise ValueError(f"unknown kind {kind!r}; use 'diffusers' or 'taylor'")
    return _multistep("DPM-Solver++(3M)", grid, 3, kind, lower_order_final, _data_row, scale)


def dpm_solver_1(grid: Grid, *, scale: float | None = None) -> Solver:
    r"""DPM-Solver-1: DDIM written with :math:`e^{h}`, in noise prediction.

    Arguments as :func:`ddim`.
    """
    return _multistep("DPM-Solver-1", grid, 1, "midpoint", True, _noise_row, scale)


def dpm_solver_2m(
    grid: Grid,
    *,
    kind: Kind = "midpoint",
    lower_order_final: bool | None = None,
    scale: float | None = None,
) -> Solver:
    r"""DPM-Solver-2M, second-order multistep in noise prediction.

    .. math:: x_{i+1} = \frac{\alpha_{i+1}}{\alpha_i} x_i - \sigma_{i+1}(e^{h_i} - 1)
              \Bigl(\epsilon_i + \frac{\epsilon_i - \epsilon_{i-1}}{2 r_i}\Bigr)

    Arguments as :func:`dpm_solver_pp_2m`. Source: Lu et al., NeurIPS 2022.
    """
    return _multistep("DPM-Solver-2M", grid, 2, kind, lower_order_final, _noise_row, scale)


Row = Callable[[Grid, Tensor, int, int, Kind | Kind3], tuple[Tensor, Tensor]]


def _multistep(
    name: str,
    grid: Grid,
    order: int,
    kind: Kind | Kind3,
    lower_order_final: bool | None,
    row: Row,
    scale: float | None,
) -> Solver:
    if order == 2 and kind not in ("midpoint", "heun"):
        raise ValueError(f"unknown kind {kind!r}; use 'midpoint' or 'heun'")
    n, h = grid.steps, grid.lambda_.diff()
    few = n < 15 if lower_order_final is None else lower_order_final
    a, b = torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        p = min(order, i + 1)
        if few:
            p = min(p, n - i)
        if grid.sigma[i + 1] == 0:
            p = 1
        a[i], weights = row(grid, h, i, p, kind)
        b[i, i + 1 - p : i + 1] = weights.flip(0)
    prediction: Prediction = "sample" if row is _data_row else "epsilon"
    return _solver(name, grid, a, b, prediction, scale)


def _data_row(grid: Grid, h: Tensor, i: int, p: int, kind: Kind | Kind3) -> tuple[Tensor, Tensor]:
    """Weights of x_i and of D_i, D_{i-1}, ... in one data-prediction step of order p."""
    phi_1 = torch.expm1(-h[i])
    weights = _differences(h, i, p).T @ _phis(phi_1, h[i], p, kind, sign=-1)
    return grid.sigma[i + 1] / grid.sigma[i], grid.alpha[i + 1] * weights


def _noise_row(grid: Grid, h: Tensor, i: int, p: int, kind: Kind | Kind3) -> tuple[Tensor, Tensor]:
    """Weights of x_i and of eps_i, eps_{i-1}, ... in one noise-prediction step of order p."""
    if grid.sigma[i + 1] == 0:
        ratio = grid.alpha[i + 1] / grid.alpha[i]
        return ratio, -ratio * grid.sigma[i : i + 1]
    phi_1 = torch.expm1(h[i])
    weights = _differences(h, i, p).T @ _phis(phi_1, h[i], p, kind, sign=1)
    return grid.alpha[i + 1] / grid.alpha[i], grid.sigma[i + 1] * weights


def _phis(phi_1: Tensor, h: Tensor, p: int, kind: Kind | Kind3, *, sign: int) -> Tensor:
    """Weights of the divided differences D0, D1, D2."""
    phis = [-phi_1]
    if p == 2 and kind != "heun":
        phis.append(-0.5 * phi_1)
    elif p >= 2:
        phis.append(phi_1 / h + 1 if sign < 0 else 1 - phi_1 / h)
    if p == 3:
        phis.append((0.5 - (phi_1 + h) / h**2) * (2 if kind == "taylor" else 1))
    return torch.stack(phis)


def _differences(h: Tensor, i: int, p: int) -> Tensor:
    """Rows: D0, D1, D2 as combinations of the last p outputs, newest first."""
    d0 = torch.eye(p, dtype=torch.float64)[0]
    if p == 1:
        return d0[None]
    r0 = h[i - 1] / h[i]
    if p == 2:
        return torch.stack([d0, torch.stack([1 / r0, -1 / r0])])
    r1 = h[i - 2] / h[i]
    zero = torch.zeros((), dtype=torch.float64)
    first = torch.stack([1 / r0, -1 / r0, zero])
    second = torch.stack([zero, 1 / r1, -1 / r1])
    d2 = (first - second) / (r0 + r1)
    return torch.stack([d0, first + r0 * d2, d2])


def _solver(
    name: str, grid: Grid, a: Tensor, b: Tensor, prediction: Prediction, scale: float | None
) -> Solver:
    name = f"{name}-{grid.steps}"
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError(
            f"{name} divides by a signal or noise level that is 0 on this grid: from pure noise "
            "take a solver in data prediction, such as dpm_solver_pp_2m"
        )
    if scale is None:
        scale = grid.scale
    elif not 0 < scale < math.inf:
        raise ValueError(f"scale must be a positive number, got {scale}")
    levels = grid.t[:-1], grid.alpha, grid.sigma
    return Solver(name, a, b, *levels, prediction, grid.schedule, scale)
