"""FireFlow's inversion: the midpoint rule at the price of Euler's method."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..solvers import Solver
from .walk import Field, reverse


def fireflow(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    r"""FireFlow (re-implemented): the last midpoint's velocity predicts the next midpoint.

    .. math:: u_i = v\bigl(x_{i+1} + \tfrac{h}{2} u_{i+1},\, \sigma_{i+1} + \tfrac{h}{2}\bigr),
              \quad x_i = x_{i+1} + h\,u_i, \quad h = \sigma_i - \sigma_{i+1}

    The first :math:`u` is the velocity at the image. Its own sampler is
    :func:`~invlib.flow.flow_fireflow`.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler.

    Returns:
        An :class:`~invlib.inversion.Inversion`; one evaluation a step, and one more.

    Raises:
        ValueError: as :func:`~invlib.flow.walk.reverse`.

    Source: Deng et al., FireFlow, ICML 2025.
    """
    return reverse(denoiser, image, solver, reused, "fireflow")


def reused(field: Field, y: Tensor, k: int, last: Tensor | None) -> Tensor:
    """The velocity at the point half-way that the last midpoint's velocity predicts."""
    predictor = field(y, k) if last is None else last
    return field(y + field.gap(k) / 2 * predictor, k + 0.5)
