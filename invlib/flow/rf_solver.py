"""RF-Solver's inversion: its own second-order step on the reversed grid."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..solvers import Solver
from .walk import Field, reverse


def rf_solver(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    r"""RF-Solver (re-implemented): a second-order Taylor step, its derivative a difference.

    .. math:: x_i = x_{i+1} + h\,v + \tfrac{h^2}{2}\,v', \qquad
              v' = \frac{v(x_{i+1} + \tfrac{h}{2} v,\, \sigma_{i+1} + \tfrac{h}{2}) - v}{h/2},
              \qquad h = \sigma_i - \sigma_{i+1}

    With this difference it is the explicit midpoint rule. Its own sampler is
    :func:`~invlib.flow.flow_midpoint`.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler.

    Returns:
        An :class:`~invlib.inversion.Inversion`; two evaluations a step.

    Raises:
        ValueError: as :func:`~invlib.flow.walk.reverse`.

    Source: Wang et al., Taming Rectified Flow for Inversion and Editing, ICML 2025.
    """
    return reverse(denoiser, image, solver, midpoint, "rf_solver")


def midpoint(field: Field, y: Tensor, k: int, last: Tensor | None) -> Tensor:
    """The velocity at the point half-way that Euler's method predicts."""
    return field(y + field.gap(k) / 2 * field(y, k), k + 0.5)
