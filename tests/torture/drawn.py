"""Random problems for hypothesis: schedules, grids, solvers, networks, shapes, images, methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from analytic import randn
from hypothesis import strategies as st
from torch import Tensor

from invlib.continuous import ContinuousSchedule
from invlib.denoisers import Denoiser, Mixture, Prediction, guided, predicting
from invlib.schedule import Grid, Schedule
from invlib.solvers import (
    Solver,
    ddim,
    dpm_solver_1,
    dpm_solver_2m,
    dpm_solver_pp_1,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)

METHODS = ("exact",) * 6 + (
    *("multisecant", "stepwise", "algorithm1", "algorithm2", "naive", "whole_trajectory"),
    "persistent",
)
PREDICTIONS = ("epsilon", "v_prediction", "sample", "score", "edm")
SHAPES = ((3,), (16,), (64,), (2, 3, 4), (4, 4, 4), (1, 2, 3, 2))
SPACINGS = ("linspace", "leading", "trailing", "logsnr", "karras")
ORIGINS = ("sampled",) * 6 + ("random", "scaled", "another guidance")
DTYPES = (torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Problem:
    """What is inverted, as it was drawn; :meth:`solver` and :meth:`network` make it.

    Attributes:
        schedule: its name and numbers.
        grid: options of the grid.
        sampler: name of the solver, and its options.
        kind: which network.
        prediction: what it predicts.
        scale: its guidance scale, or slope.
        dtype: what its input and output are rounded to.
        shape: of one image.
        batch: how many there are.
        seed: of all that is random.
        origin: where the image comes from.
        method: how it is inverted.
    """

    schedule: tuple[str, float, float]
    grid: Mapping[str, Any]
    sampler: tuple[str, Mapping[str, Any]]
    kind: str
    prediction: Prediction
    scale: float
    dtype: torch.dtype
    shape: tuple[int, ...]
    batch: int
    seed: int
    origin: str
    method: str

    def solver(self) -> Solver:
        """The table; raises ValueError where the drawn grid has none."""
        name, options = self.sampler
        return SOLVERS[name](self._grid(), **options)

    def _grid(self) -> Grid:
        name, first, second = self.schedule
        options = dict(self.grid)
        if name in ("vp", "ve", "edm") and options["spacing"] in ("leading", "trailing"):
            options["spacing"] = "linspace"
        return LEVELS[name](first, second).grid(**options)

    def noise(self) -> Tensor:
        return randn(self.batch, *self.shape, seed=self.seed)

    def network(self, solver: Solver, rows: Tensor | None = None, scale: float = 1.0) -> Denoiser:
        """The denoiser of all images, or of some."""
        inner = NETWORKS[self.kind](self, solver, self.scale * scale)
        found = inner if self.dtype == torch.float64 else Rounded(inner, self.dtype)
        return found if rows is None or not hasattr(found, "select") else found.select(rows)


@dataclass(frozen=True)
class Rounded:
    """A network whose input and output are rounded, as one in low precision does it."""

    inner: Denoiser
    dtype: torch.dtype

    @property
    def prediction(self) -> Prediction:
        return self.inner.prediction

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.inner(x.to(self.dtype).double(), t).to(self.dtype)

    def select(self, rows: Tensor) -> Rounded:
        inner = self.inner.select(rows) if hasattr(self.inner, "select") else self.inner
        return Rounded(inner, self.dtype)

    def in_float64(self) -> Rounded:
        """It has no better copy."""
        return self


def mixture(problem: Problem, solver: Solver, scale: float) -> Denoiser:
    """Twelve Gaussians in four classes, guided."""
    means = 0.9 * randn(12, *problem.shape, seed=7)
    labels = torch.arange(12) // 3
    exact = Mixture(solver.schedule, means, 0.35, labels, prediction=problem.prediction)
    draw = torch.Generator().manual_seed(problem.seed)
    classes = torch.randint(0, 4, (problem.batch,), generator=draw)
    return guided(exact, classes, torch.tensor([-1]), max(1.0, scale))


def squash(problem: Problem, solver: Solver, scale: float) -> Denoiser:
    return predicting(lambda x, t: 0.4 * scale * torch.tanh(x), problem.prediction)


def wave(problem: Problem, solver: Solver, scale: float) -> Denoiser:
    return predicting(lambda x, t: 0.3 * torch.sin(scale * x), problem.prediction)


def mixing(problem: Problem, solver: Solver, scale: float) -> Denoiser:
    """Two layers that mix all numbers of a state."""
    size = randn(*problem.shape).numel()
    first, second = (randn(size, size, seed=k) / size**0.5 for k in (3, 4))

    def network(x: Tensor, t: Tensor) -> Tensor:
        return (0.5 * torch.tanh(scale * x.flatten(1) @ first) @ second).view_as(x)

    return predicting(network, problem.prediction)


NETWORKS: dict[str, Callable[[Problem, Solver, float], Denoiser]] = {
    "mixture": mixture,
    "squash": squash,
    "wave": wave,
    "mixing": mixing,
}
LEVELS: dict[str, Callable[[float, float], Any]] = {
    "scaled linear": lambda a, b: Schedule.scaled_linear(1e-4 + 2e-3 * a, 5e-3 + 2e-2 * b),
    "linear": lambda a, b: Schedule.linear(1e-5 + 1e-3 * a, 5e-3 + 3e-2 * b),
    "cosine": lambda a, b: Schedule.cosine(200 + int(800 * a), 0.001 + 0.02 * b),
    "vp": lambda a, b: ContinuousSchedule.vp(0.05 + 0.2 * a, 5 + 25 * b),
    "ve": lambda a, b: ContinuousSchedule.ve(0.005 + 0.05 * a, 5 + 45 * b),
    "edm": lambda a, b: ContinuousSchedule.edm(0.001 + 0.02 * a, 5 + 75 * b),
}
SOLVERS: dict[str, Callable[..., Solver]] = {
    "ddim": ddim,
    "1": dpm_solver_1,
    "++1": dpm_solver_pp_1,
    "2M": dpm_solver_2m,
    "++2M": dpm_solver_pp_2m,
    "++3M": dpm_solver_pp_3m,
}


@st.composite
def samplers(draw: Any) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from([*SOLVERS]))
    options: dict[str, Any] = {}
    if name in ("2M", "++2M"):
        options["kind"] = draw(st.sampled_from(["midpoint", "heun"]))
    if name == "++3M":
        options["kind"] = draw(st.sampled_from(["diffusers", "taylor"]))
    if name in ("2M", "++2M", "++3M"):
        options["lower_order_final"] = draw(st.sampled_from([None, True, False]))
    return name, options


def grids(most: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "steps": st.integers(1, most),
            "spacing": st.sampled_from(SPACINGS),
            "final": st.sampled_from(["sigma_min", "zero"]),
        }
    )


UNIT = st.floats(0, 1)


def problems(
    *,
    most: int = 12,
    methods: tuple[str, ...] = METHODS,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    origins: tuple[str, ...] = ORIGINS,
    scales: st.SearchStrategy[float] = st.floats(1, 2) | st.floats(1, 8),  # noqa: B008
) -> st.SearchStrategy[Problem]:
    """Problems of at most ``most`` steps."""
    return st.builds(
        Problem,
        schedule=st.tuples(st.sampled_from([*LEVELS]), UNIT, UNIT),
        grid=grids(most),
        sampler=samplers(),
        kind=st.sampled_from(["mixture"] * 3 + [*NETWORKS]),
        prediction=st.sampled_from(PREDICTIONS),
        scale=scales,
        dtype=st.sampled_from(dtypes),
        shape=st.sampled_from(SHAPES),
        batch=st.integers(1, 3),
        seed=st.integers(0, 999),
        origin=st.sampled_from(origins),
        method=st.sampled_from(methods),
    )
