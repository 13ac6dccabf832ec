"""An honest Newton method for every step: the baseline that no public code has."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.stepwise import StepProblem, step_goal
from ..newton import newton_krylov
from ..rootfind import Root
from ..solvers import Solver
from .steps import naive_start, step_by_step


def newton(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 20,
    krylov: int = 30,
    forcing: float = 0.1,
    tol: float | None = None,
) -> Inversion:
    r"""Newton's method with the network's true Jacobian, by forward-mode products and GMRES.

    .. math:: J_r(z^{(k)})\,d = -r(z^{(k)}), \quad z^{(k+1)} = z^{(k)} + d

    What :func:`invlib.rivals.gnri` replaces by elementwise division.

    Args:
        denoiser: the network; must allow forward-mode differentiation.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: most Newton iterations a step.
        krylov: most Krylov vectors an iteration, two evaluations each.
        forcing: relative linear residual at which GMRES stops; small for quadratic convergence.
        tol: relative residual at which a step is solved; round-off of the network by default.

    Source: Knoll and Keyes, J. Comput. Phys. 2004; the step equation is Hong et al.'s.
    """
    goal, paid = step_goal(denoiser, image, solver) if tol is None else (tol, 0)

    def solve(step: StepProblem) -> Root:
        return newton_krylov(
            step,
            naive_start(step),
            slope=step.slope,
            tol=goal,
            max_iterations=iterations,
            krylov=krylov,
            forcing=forcing,
        )

    found = step_by_step(denoiser, image, solver, solve, "newton")
    return replace(found, nfe=found.nfe + paid)
