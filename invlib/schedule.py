r"""Noise schedules: how much signal and how much noise a state holds at time t.

A state is :math:`x_t = \alpha_t x_0 + \sigma_t \epsilon`. The rest of the library asks a schedule
for its :class:`Levels` and assumes no more of them than that lambda falls with the noise:
:math:`\alpha_t^2 + \sigma_t^2 = 1` holds for :class:`Schedule` (variance preserving), not for
:class:`~invlib.continuous.ContinuousSchedule`. Everything is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

Spacing = Literal["linspace", "leading", "trailing", "logsnr", "karras"]
Final = Literal["sigma_min", "zero"]
RHO = 7.0  # exponent of the karras spacing


class Levels(Protocol):
    """Anything that tells signal and noise level at a time."""

    @property
    def times(self) -> float:
        """Length of the schedule in time labels."""
        ...

    @property
    def image(self) -> float:
        """Time label of the image."""
        ...

    def alpha_t(self, t: Tensor | float) -> Tensor:
        """Signal level at time t, any shape."""
        ...

    def sigma_t(self, t: Tensor | float) -> Tensor:
        """Noise level at time t, any shape."""
        ...


@dataclass(frozen=True)
class Grid:
    """The N+1 time points of an N-step sampler, from noise (index 0) to image (index N).

    Attributes:
        t: time labels given to the network, ``[N+1]``.
        alpha: signal levels, ``[N+1]``.
        sigma: noise levels, ``[N+1]``; the last one is 0 with ``final="zero"``.
        schedule: the schedule between the points.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    schedule: Levels

    def __post_init__(self) -> None:
        if len(self.t) < 2:
            raise ValueError("a grid needs at least one step; ask for steps >= 1")
        if not (self.lambda_.diff() > 0).all():
            raise ValueError(
                "the signal-to-noise ratio must rise at every step; "
                "ask for fewer steps or another spacing"
            )

    @property
    def steps(self) -> int:
        """The number N of steps."""
        return len(self.t) - 1

    @property
    def lambda_(self) -> Tensor:
        r"""Half log-SNR :math:`\lambda = \log(\alpha/\sigma)`, ``[N+1]``; infinite at sigma 0."""
        return torch.log(self.alpha) - torch.log(self.sigma)

    @property
    def scale(self) -> float:
        r"""What standard normal noise is multiplied by to be a first state.

        .. math:: s = \begin{cases} \sigma_0 & \alpha_0 = \alpha_N \text{ or } \sigma_0 > 1
                  \\ 1 & \text{otherwise} \end{cases}

        Where the signal keeps its size the noise has to drown it (variance exploding); elsewhere
        the first state has variance 1, or nearly so.
        """
        exploding = self.alpha[0] == self.alpha[-1] or self.sigma[0] > 1
        return self.sigma[0].item() if exploding else 1.0


@dataclass(frozen=True)
class FlowSchedule:
    r"""The straight path of flow matching, :math:`\sigma_t = |t - t_0|/T,\ \alpha_t = 1-\sigma_t`.

    Attributes:
        times: length T of the path in time labels.
        image: label :math:`t_0` of the image.
    """

    times: int = 1000
    image: float = 0.0

    def alpha_t(self, t: Tensor | float) -> Tensor:
        """Signal level at time t, any shape."""
        return 1 - self.sigma_t(t)

    def sigma_t(self, t: Tensor | float) -> Tensor:
        """Noise level at time t, any shape."""
        return (torch.as_tensor(t, dtype=torch.float64) - self.image).abs() / self.times


@dataclass(frozen=True)
class AngleSchedule:
    r"""A variance-preserving schedule :math:`\alpha_t = \cos\varphi_t,\ \sigma_t = \sin\varphi_t`.

    Attributes:
        angle: the formula of the angle :math:`\varphi_t`.
        times: number of training times.
        image: time label of the image.
    """

    angle: Callable[[Tensor], Tensor]
    times: int = 1000
    image: float = 0.0

    def alpha_t(self, t: Tensor | float) -> Tensor:
        """Signal level at time t, any shape."""
        return torch.cos(self.angle(torch.as_tensor(t, dtype=torch.float64)))

    def sigma_t(self, t: Tensor | float) -> Tensor:
        """Noise level at time t, any shape."""
        return torch.sin(self.angle(torch.as_tensor(t, dtype=torch.float64)))


@dataclass(frozen=True)
class Schedule:
    r"""A variance-preserving schedule, given at integer times and linear in lambda between.

    .. math:: \lambda_t = \log(\alpha_t / \sigma_t), \quad
              \alpha_t = (1 + e^{-2\lambda_t})^{-1/2}, \quad
              \sigma_t = (1 + e^{2\lambda_t})^{-1/2}

    Attributes:
        lambdas: :math:`\lambda_t` at t = 0, 1, ..., T-1, decreasing, float64 ``[T]``.
    """

    lambdas: Tensor

    def __post_init__(self) -> None:
        if self.lambdas.dtype != torch.float64 or self.lambdas.ndim != 1 or len(self.lambdas) < 2:
            raise ValueError("lambdas must be a float64 vector with at least two entries")
        if not self.lambdas.isfinite().all():
            raise ValueError(
                "lambdas must be finite, so there must be signal and noise at every time; leave "
                "out a time without noise and land there by grid(..., final='zero')"
            )
        if not (self.lambdas.diff() < 0).all():
            raise ValueError("lambdas must decrease strictly: more noise at later times")

    @classmethod
    def from_betas(cls, betas: Tensor) -> Schedule:
        r"""The schedule of a diffusion with step variances beta, :math:`\alpha_t^2=\prod(1-\beta)`.

        Args:
            betas: variances in (0, 1), ``[T]``.
        """
        if not ((betas > 0) & (betas < 1)).all():
            raise ValueError("betas must lie strictly between 0 and 1")
        log_abar = torch.log1p(-betas.double()).cumsum(0)
        return cls(0.5 * (log_abar - torch.log(-torch.expm1(log_abar))))

    @classmethod
    def scaled_linear(
        cls, beta_start: float = 0.00085, beta_end: float = 0.012, times: int = 1000
    ) -> Schedule:
        """Stable Diffusion's schedule: betas linear in their square roots."""
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, times, dtype=torch.float64)
        return cls.from_betas(roots**2)

    @classmethod
    def linear(
        cls, beta_start: float = 0.0001, beta_end: float = 0.02, times: int = 1000
    ) -> Schedule:
        """The original DDPM schedule: betas linear in time."""
        return cls.from_betas(torch.linspace(beta_start, beta_end, times, dtype=torch.float64))

    @classmethod
    def cosine(cls, times: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> Schedule:
        """Nichol and Dhariwal's cosine schedule, with betas capped as in diffusers."""
        u = torch.arange(times + 1, dtype=torch.float64) / times
        abar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls.from_betas((1 - abar[1:] / abar[:-1]).clamp(max=max_beta))

    @classmethod
    def from_scheduler(cls, scheduler: object) -> Schedule:
        """Read ``alphas_cumprod`` of a diffusers scheduler.

        Zero terminal signal is read as an alpha of 1e-10, and no noise at the image as a sigma of
        1e-10, so that lambda stays finite.

        Raises:
            ValueError: if it has none (flow matching and pure-sigma schedulers).
        """
        abar = getattr(scheduler, "alphas_cumprod", None)
        if abar is None:
            raise ValueError(
                f"{type(scheduler).__name__} has no alphas_cumprod, so it is not variance "
                "preserving; use invlib.from_scheduler, which reads any deterministic scheduler"
            )
        log_abar = torch.as_tensor(abar).double().clamp(min=1e-20).log().clamp(max=-1e-20)
        return cls(0.5 * (log_abar - torch.log(-torch.expm1(log_abar))))

    @property
    def times(self) -> int:
        """The number T of integer times."""
        return len(self.lambdas)

    @property
    def image(self) -> float:
        """The label 0 of the image."""
        return 0.0

    def lambda_t(self, t: Tensor | float) -> Tensor:
        r"""Half log-SNR at (fractional) time t, any shape."""
        t = torch.as_tensor(t, dtype=torch.float64)
        lambdas = self.lambdas.to(t.device)
        if not ((t >= 0) & (t <= self.times - 1)).all():
            raise ValueError(f"time outside [0, {self.times - 1}]: {t.min():g} to {t.max():g}")
        low = t.floor().long().clamp(max=self.times - 2)
        return torch.lerp(lambdas[low], lambdas[low + 1], t - low)

    def alpha_t(self, t: Tensor | float) -> Tensor:
        """Signal level at time t, any shape."""
        return torch.sigmoid(2 * self.lambda_t(t)).sqrt()

    def sigma_t(self, t: Tensor | float) -> Tensor:
        """Noise level at time t, any shape."""
        return torch.sigmoid(-2 * self.lambda_t(t)).sqrt()

    def t_lambda(self, lambda_: Tensor | float) -> Tensor:
        """The (fractional) time at which the half log-SNR is ``lambda_``, any shape."""
        lambda_ = torch.as_tensor(lambda_, dtype=torch.float64)
        rising = self.lambdas.flip(0).to(lambda_.device)
        high = torch.searchsorted(rising, lambda_.contiguous()).clamp(1, self.times - 1)
        part = (lambda_ - rising[high - 1]) / (rising[high] - rising[high - 1])
        return (self.times - 1) - (high - 1 + part).clamp(0, self.times - 1)

    def grid(
        self,
        steps: int,
        *,
        spacing: Spacing = "linspace",
        final: Final = "sigma_min",
        t_max: float | None = None,
        offset: int = 0,
        rho: float = RHO,
        integer_times: bool = False,
    ) -> Grid:
        """The time points of a sampler with ``steps`` steps.

        Args:
            steps: number N of steps.
            spacing: ``linspace``, ``leading`` and ``trailing`` as in diffusers' multistep
                schedulers; ``logsnr`` uniform in lambda; ``karras`` uniform in
                (sigma/alpha)^(1/rho).
            final: land on the smallest noise level (``sigma_min``) or on no noise (``zero``).
            t_max: where ``logsnr`` and ``karras`` start, default T-1. A cosine schedule with a
                noise-predicting network needs about 0.9946 T.
            offset: ``steps_offset`` of the ``leading`` spacing.
            rho: exponent of the ``karras`` spacing.
            integer_times: round the labels given to the network, as diffusers does.

        Returns:
            A :class:`Grid` with N+1 points.

        Raises:
            ValueError: if ``steps`` is below 1, an option is unknown, or the spacing has no use
                for one.

        Example:
            >>> grid = Schedule.scaled_linear().grid(4, spacing="trailing", integer_times=True)
            >>> grid.t.tolist()
            [999.0, 749.0, 499.0, 249.0, 0.0]
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if spacing not in SPACINGS:
            *others, last = SPACINGS
            raise ValueError(f"unknown spacing {spacing!r}; use {', '.join(others)} or {last}")
        if final not in ("sigma_min", "zero"):
            raise ValueError(f"unknown final {final!r}; use 'sigma_min' or 'zero'")
        check_used(spacing, t_max=t_max is not None, offset=offset != 0, rho=rho != RHO)
        start = self.times - 1.0 if t_max is None else t_max
        t = SPACINGS[spacing](self, Wanted(steps, final, start, offset, rho))
        t = torch.cat([t, t.new_zeros(1)])
        alpha, sigma = self.alpha_t(t), self.sigma_t(t)
        if final == "zero":
            alpha, sigma = alpha.clone(), sigma.clone()
            alpha[-1], sigma[-1] = 1.0, 0.0
        return Grid(t.round() if integer_times else t, alpha, sigma, self)


@dataclass(frozen=True)
class Wanted:
    """What a grid has to have; see :meth:`Schedule.grid`.

    Attributes:
        steps: number N of steps.
        final: where it lands.
        t_max: where the spacings in lambda start.
        offset: what is added to the times of ``leading``.
        rho: exponent of ``karras``.
    """

    steps: int
    final: Final
    t_max: float
    offset: int
    rho: float


USED_BY = {"t_max": ("logsnr", "karras"), "offset": ("leading",), "rho": ("karras",)}


def check_used(spacing: str, **given: bool) -> None:
    """Refuse options that are given to a spacing which has no use for them.

    Args:
        spacing: its name.
        given: of each option, whether it was given.

    Raises:
        ValueError: with the spacings that use the option.
    """
    for name, wanted in given.items():
        if wanted and spacing not in USED_BY[name]:
            raise ValueError(
                f"the spacing {spacing!r} has no use for {name}: leave it out, or take the "
                f"spacing {' or '.join(map(repr, USED_BY[name]))}"
            )


def linspace(schedule: Schedule, wanted: Wanted) -> Tensor:
    r"""The times :math:`[(T-1)\,k/N]`, rounded, for k = N, ..., 1."""
    gap = (schedule.times - 1) / wanted.steps
    return (torch.arange(wanted.steps + 1, dtype=torch.float64) * gap).round().flip(0)[:-1]


def leading(schedule: Schedule, wanted: Wanted) -> Tensor:
    r"""The times :math:`k\lfloor T/(N+1)\rfloor + o`, o the offset, for k = N, ..., 1."""
    gap = schedule.times // (wanted.steps + 1)
    times = torch.arange(wanted.steps + 1, dtype=torch.float64) * gap
    return times.flip(0)[:-1] + wanted.offset


def trailing(schedule: Schedule, wanted: Wanted) -> Tensor:
    r"""The times :math:`[T - kT/N] - 1`, rounded, for k = 0, ..., N-1."""
    times = schedule.times
    gap = times - (times - times / wanted.steps)  # rounded as numpy's arange does
    return (times - torch.arange(wanted.steps, dtype=torch.float64) * gap).round() - 1


def logsnr(ends: Tensor, u: Tensor, rho: float) -> Tensor:
    r"""Half log-SNRs between two ends, uniform in themselves.

    Args:
        ends: that of the noise and that of the image, ``[2]``.
        u: places between them, from 0 to 1, any shape.
        rho: not used.
    """
    return torch.lerp(ends[0], ends[1], u)


def karras(ends: Tensor, u: Tensor, rho: float) -> Tensor:
    r"""Half log-SNRs between two ends, uniform in :math:`(\sigma/\alpha)^{1/\rho}`.

    Args:
        ends: that of the noise and that of the image, ``[2]``.
        u: places between them, from 0 to 1, any shape.
        rho: the exponent.

    Source: Karras et al., NeurIPS 2022.
    """
    roots = torch.exp(-ends / rho)
    return -rho * torch.log(torch.lerp(roots[0], roots[1], u))


LambdaSpacing = Callable[[Tensor, Tensor, float], Tensor]
LAMBDA_SPACINGS: dict[str, LambdaSpacing] = {"logsnr": logsnr, "karras": karras}


def in_lambda(schedule: Schedule, wanted: Wanted, spacing: LambdaSpacing) -> Tensor:
    """The times of N half log-SNRs; the last is the image's own if the grid lands on no noise."""
    ends = schedule.lambda_t(torch.tensor([wanted.t_max, 0.0], dtype=torch.float64))
    count = wanted.steps + 1 if wanted.final == "sigma_min" else wanted.steps
    u = torch.linspace(0, 1, count, dtype=torch.float64)[: wanted.steps]
    return schedule.t_lambda(spacing(ends, u, wanted.rho))


SPACINGS: dict[str, Callable[[Schedule, Wanted], Tensor]] = {
    "linspace": linspace,
    "leading": leading,
    "trailing": trailing,
    **{name: partial(in_lambda, spacing=each) for name, each in LAMBDA_SPACINGS.items()},
}
