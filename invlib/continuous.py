r"""Schedules in continuous time: variance preserving, sub-VP and variance exploding diffusions.

A state is :math:`x_t = \alpha_t x_0 + \sigma_t\epsilon` with levels that are formulas of a real
time t. What a network calls t is up to its authors; where it wants another label than the
schedule's, as ``999 * t``, wrap it: ``predicting(lambda x, t: network(x, 999 * t), "epsilon")``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .schedule import LAMBDA_SPACINGS, RHO, Final, Grid, check_used

Level = Callable[[Tensor], Tensor]
ContinuousSpacing = Literal["linspace", "logsnr", "karras"]

BISECTIONS = 120
ROUNDING = 1e-6  # of the length: what a label may lose in float32


@dataclass(frozen=True)
class ContinuousSchedule:
    r"""A schedule given by formulas of its levels, :math:`t_{min} \le t \le t_{max}`.

    .. math:: x_t = \alpha(t)\,x_0 + \sigma(t)\,\epsilon, \qquad
              \lambda_t = \log(\alpha(t)/\sigma(t)) \text{ falls with } t

    Attributes:
        alpha: signal level, float64 tensor to tensor of the same shape.
        sigma: noise level, likewise; positive at ``t_min``.
        t_max: time of the noise.
        t_min: time of the image; above 0 where there would be no noise at 0.

    Raises:
        ValueError: if lambda is not finite, or does not fall, between the two times.
    """

    alpha: Level
    sigma: Level
    t_max: float = 1.0
    t_min: float = 0.0

    def __post_init__(self) -> None:
        if not self.t_min < self.t_max:
            raise ValueError(f"t_min {self.t_min:g} must be below t_max {self.t_max:g}")
        lambdas = self.lambda_t(torch.linspace(self.t_min, self.t_max, 1001, dtype=torch.float64))
        if not lambdas.isfinite().all():
            raise ValueError(
                f"alpha and sigma must be positive from t = {self.t_min:g} to {self.t_max:g}; "
                "choose a larger t_min and land on no noise by grid(..., final='zero')"
            )
        if not (lambdas.diff() < 0).all():
            raise ValueError("alpha / sigma must fall with t: more noise at later times")

    @classmethod
    def vp(
        cls, beta_min: float = 0.1, beta_max: float = 20.0, *, t_min: float = 1e-3
    ) -> ContinuousSchedule:
        r"""The variance preserving diffusion, :math:`\beta(t)` linear.

        .. math:: \alpha_t = e^{-B_t/2}, \quad \sigma_t = \sqrt{1 - e^{-B_t}}, \quad
                  B_t = \int_0^t \beta = \beta_{min}t + \tfrac12(\beta_{max}-\beta_{min})t^2

        Source: Song et al., ICLR 2021.
        """
        growth = _integral(beta_min, beta_max)
        return cls(
            lambda t: torch.exp(-growth(t) / 2),
            lambda t: torch.sqrt(-torch.expm1(-growth(t))),
            t_min=t_min,
        )

    @classmethod
    def sub_vp(
        cls, beta_min: float = 0.1, beta_max: float = 20.0, *, t_min: float = 1e-3
    ) -> ContinuousSchedule:
        r"""The sub-VP diffusion: the signal of :meth:`vp`, and the square of its noise level.

        .. math:: \alpha_t = e^{-B_t/2}, \quad \sigma_t = 1 - e^{-B_t}

        Source: Song et al., ICLR 2021.
        """
        growth = _integral(beta_min, beta_max)
        return cls(
            lambda t: torch.exp(-growth(t) / 2), lambda t: -torch.expm1(-growth(t)), t_min=t_min
        )

    @classmethod
    def ve(cls, sigma_min: float = 0.01, sigma_max: float = 50.0) -> ContinuousSchedule:
        r"""The variance exploding diffusion with times in [0, 1].

        .. math:: \alpha_t = 1, \quad \sigma_t = \sigma_{min}^{1-t}\,\sigma_{max}^t

        Source: Song et al., ICLR 2021.
        """
        _check_sigmas(sigma_min, sigma_max)
        return cls(torch.ones_like, lambda t: sigma_min ** (1 - t) * sigma_max**t)

    @classmethod
    def edm(cls, sigma_min: float = 0.002, sigma_max: float = 80.0) -> ContinuousSchedule:
        r"""The variance exploding diffusion whose time is the noise level.

        .. math:: \alpha_t = 1, \quad \sigma_t = t, \quad \sigma_{min} \le t \le \sigma_{max}

        ``grid(steps, spacing="karras", final="zero")`` has the noise levels of the paper.

        Source: Karras et al., NeurIPS 2022.
        """
        _check_sigmas(sigma_min, sigma_max)
        return cls(torch.ones_like, torch.clone, t_max=sigma_max, t_min=sigma_min)

    @property
    def times(self) -> float:
        """Length of the schedule."""
        return self.t_max - self.t_min

    @property
    def image(self) -> float:
        """Time of the image."""
        return self.t_min

    def alpha_t(self, t: Tensor | float) -> Tensor:
        """Signal level at time t, any shape."""
        return self.alpha(self._checked(t))

    def sigma_t(self, t: Tensor | float) -> Tensor:
        """Noise level at time t, any shape."""
        return self.sigma(self._checked(t))

    def lambda_t(self, t: Tensor | float) -> Tensor:
        """Half log-SNR at time t, any shape."""
        return torch.log(self.alpha_t(t)) - torch.log(self.sigma_t(t))

    def t_lambda(self, lambda_: Tensor | float) -> Tensor:
        """The time at which the half log-SNR is ``lambda_``, any shape, by bisection."""
        lambda_ = torch.as_tensor(lambda_, dtype=torch.float64)
        low, high = (torch.full_like(lambda_, end) for end in (self.t_min, self.t_max))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if ((middle == low) | (middle == high)).all():
                break
            early = self.lambda_t(middle) > lambda_
            low, high = torch.where(early, middle, low), torch.where(early, high, middle)
        return high

    def grid(
        self,
        steps: int,
        *,
        spacing: ContinuousSpacing = "linspace",
        final: Final = "sigma_min",
        t_max: float | None = None,
        t_min: float | None = None,
        rho: float = RHO,
    ) -> Grid:
        r"""The time points of a sampler with ``steps`` steps.

        Args:
            steps: number N of steps.
            spacing: ``linspace`` uniform in t; ``logsnr`` uniform in lambda; ``karras`` uniform
                in :math:`(\sigma/\alpha)^{1/\rho}`.
            final: land on the noise level of ``t_min`` (``sigma_min``), or, from there, on no
                noise (``zero``).
            t_max: where to start, by default the schedule's own.
            t_min: the smallest time at which the network is asked or at which it lands,
                likewise.
            rho: exponent of the ``karras`` spacing.

        Returns:
            A :class:`~invlib.schedule.Grid` with N+1 points; its schedule ends at ``t_min``.

        Raises:
            ValueError: if ``steps`` is below 1, an option is unknown or the spacing has no use for
                it, or lambda is not finite.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if final not in ("sigma_min", "zero"):
            raise ValueError(f"unknown final {final!r}; use 'sigma_min' or 'zero'")
        part = replace(
            self,
            t_max=self.t_max if t_max is None else t_max,
            t_min=self.t_min if t_min is None else t_min,
        )
        t = part._points(steps + 1 if final == "sigma_min" else steps, spacing, rho)
        alpha, sigma = part.alpha_t(t), part.sigma_t(t)
        if final == "zero":
            t = torch.cat([t, t.new_full((1,), part.t_min)])
            alpha, sigma = torch.cat([alpha, t.new_ones(1)]), torch.cat([sigma, t.new_zeros(1)])
        return Grid(t, alpha, sigma, part)

    def _points(self, count: int, spacing: ContinuousSpacing, rho: float) -> Tensor:
        """Times from the noise to the image, both included."""
        ends = torch.tensor([self.t_max, self.t_min], dtype=torch.float64)
        u = torch.linspace(0, 1, count, dtype=torch.float64)
        lambdas = self.lambda_t(ends)
        if spacing not in ("linspace", *LAMBDA_SPACINGS):
            raise ValueError(f"unknown spacing {spacing!r}; use linspace, logsnr or karras")
        check_used(spacing, rho=rho != RHO)
        if spacing == "linspace":
            return torch.lerp(ends[0], ends[1], u)
        t = self.t_lambda(LAMBDA_SPACINGS[spacing](lambdas, u, rho))
        return torch.where(u == 0, ends[0], torch.where(u == 1, ends[1], t))

    def _checked(self, t: Tensor | float) -> Tensor:
        t = torch.as_tensor(t, dtype=torch.float64)
        slack = ROUNDING * self.times
        if not ((t >= self.t_min - slack) & (t <= self.t_max + slack)).all():
            raise ValueError(
                f"time outside [{self.t_min:g}, {self.t_max:g}]: {t.min():g} to {t.max():g}"
            )
        return t


def _integral(beta_min: float, beta_max: float) -> Level:
    r"""The integral of a :math:`\beta` that is linear on [0, 1]."""
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"need 0 < beta_min <= beta_max, got {beta_min:g} and {beta_max:g}")
    return lambda t: beta_min * t + (beta_max - beta_min) / 2 * t**2


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {sigma_min:g} and {sigma_max:g}")
