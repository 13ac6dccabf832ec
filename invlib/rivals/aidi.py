"""Accelerated iterative diffusion inversion, a re-implementation of its two accelerations."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..rootfind import Finder, Residual, Root, Search, anderson
from ..solvers import Solver
from .steps import naive_start, to_tolerance


def aidi_a(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 5,
    memory: int = 3,
    tol: float | None = None,
) -> Inversion:
    r"""AIDI_A: every step's fixed point :math:`z = f(z)` by Anderson acceleration.

    .. math:: z^{(k+1)} = \sum_{j=0}^{m} \gamma_j f(z^{(k-j)}), \quad
              \gamma = \arg\min_{\sum\gamma=1}
              \Bigl\|\sum_j \gamma_j \bigl(f(z^{(k-j)}) - z^{(k-j)}\bigr)\Bigr\|

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: most iterations a step; 5 in the public re-implementation.
        memory: how many differences Anderson keeps, m; 3 in the public re-implementation.
        tol: relative residual at which a step is solved; round-off of the network by default.

    Source: Pan et al., ICCV 2023, section 3.2; the authors published no code.
    """
    finder = partial(anderson, memory=memory)
    return _aidi(denoiser, image, solver, finder, iterations, tol, "aidi_a")


def aidi_e(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 5,
    tol: float | None = None,
) -> Inversion:
    r"""AIDI_E: the mean of the last two fixed-point iterates, Anderson with constant weights.

    .. math:: z^{(k+1)} = \tfrac12 f(z^{(k)}) + \tfrac12 f(z^{(k-1)})

    Where f' is a number :math:`\lambda` this converges for :math:`-2 < \lambda < 1`: faster than
    the plain iteration for :math:`\lambda < -\tfrac12`, where f turns errors around, else slower.

    Arguments and source as :func:`aidi_a`.
    """
    return _aidi(denoiser, image, solver, averaged, iterations, tol, "aidi_e")


def averaged(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 1e-12,
    max_iterations: int = 100,
    patience: int = 20,
) -> Root:
    """The root finder of :func:`aidi_e`; its start counts as the first value of f."""
    search = Search(x, tol, max_iterations, patience)
    before = x
    while len(search.rows):
        r = residual(x, search.rows)
        go_on = search.observe(x, r)
        value = (x - r / slope)[go_on]
        x, before = (value + before[go_on]) / 2, value
    return search.root()


def _aidi(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    finder: Finder,
    iterations: int,
    tol: float | None,
    method: str,
) -> Inversion:
    def solve(step: StepProblem, goal: float) -> Root:
        start = naive_start(step)
        return finder(step, start, slope=step.slope, tol=goal, max_iterations=iterations)

    return to_tolerance(denoiser, image, solver, solve, method, tol)
