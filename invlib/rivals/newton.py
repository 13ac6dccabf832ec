"""An honest Newton method for every step: the baseline that no public code has."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..newton import newton_krylov
from ..rootfind import Root
from ..solvers import Solver
from .steps import naive_start, to_tolerance


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

    def solve(step: StepProblem, goal: float) -> Root:
        return newton_krylov(
            step,
            naive_start(step),
            slope=step.slope,
            tol=goal,
            max_iterations=iterations,
            krylov=krylov,
            forcing=forcing,
        )

    return to_tolerance(denoiser, image, solver, solve, "newton", tol)
