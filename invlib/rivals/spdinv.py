"""SPDInv, a re-implementation: gradient steps on the residual of the fixed point."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..inverters.steps import StepProblem
from ..rootfind import Root, Search
from ..solvers import Solver
from .adam import Adam
from .steps import naive_start, step_by_step


def spdinv(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    iterations: int = 25,
    rate: float = 1e-3,
    threshold: float = 5e-6,
    decay: float = 0.01,
) -> Inversion:
    r"""SPDInv: AdamW on the squared residual of every step's fixed point.

    .. math:: \min_z\ \tfrac1d\,\|f(z) - z\|^2, \qquad z^{(0)} = f(x_{i+1})

    Needs back-propagation through the network. Each sample stops on its own and keeps its best
    iterate; the authors keep the last one.

    Args:
        denoiser: the network; must allow reverse-mode differentiation.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.
        iterations: most rounds a step, three evaluations each.
        rate: AdamW's learning rate.
        threshold: mean square at which a step is solved, for states of unit size.
        decay: AdamW's weight decay.

    Source: Li et al., ECCV 2024, section 3; defaults of the authors' code.
    """

    def solve(step: StepProblem) -> Root:
        x = naive_start(step)
        search = Search(x, threshold**0.5 * abs(step.slope), iterations, patience=iterations)
        adam = Adam(x, rate, decay=decay)
        while len(search.rows):
            r, pull_back = step.vjp(x, search.rows)
            go_on = search.observe(x, r)
            gradient = pull_back(2 * r / (r[0].numel() * step.slope**2))[0].detach()
            x = adam.step(x[go_on], gradient[go_on], search.rows)
        return search.root()

    return step_by_step(denoiser, image, solver, solve, "spdinv")
