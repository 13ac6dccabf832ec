"""Fixed-point inversion, a re-implementation."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..rootfind import Root, fixed_point
from ..solvers import Solver
from .steps import naive_start, to_tolerance


def fpi(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 20,
    tol: float | None = None,
) -> Inversion:
    r"""Fixed-point inversion (FPI): the naive step again and again, at the newest state.

    .. math:: z^{(k+1)} = f(z^{(k)}) = \frac{x_{i+1} - b_{ii}\,\epsilon(z^{(k)}, t_i)}{a_i},
              \qquad z^{(0)} = x_{i+1}

    Converges at the rate of f's Lipschitz constant where that is below 1, and only there.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: most iterations a step.
        tol: relative residual at which a step is solved; round-off of the network by default.

    Source: Meiri et al., arXiv 2312.12540 (version 1), algorithm 1; 20 to 30 iterations.
    """

    def solve(step: StepProblem, goal: float) -> Root:
        start = naive_start(step)
        return fixed_point(step, start, slope=step.slope, tol=goal, max_iterations=iterations)

    return to_tolerance(denoiser, image, solver, solve, "fpi", tol)
