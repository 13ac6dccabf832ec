"""Uni-Inv: one corrected step of the right equation."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..solvers import Solver
from .walk import Field, reverse


def uni_inv(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    r"""Uni-Inv of UniEdit-Flow (re-implemented): predict with the last velocity, correct once.

    .. math:: u_i = v(x_{i+1} + h\,u_{i+1},\, \sigma_i), \quad x_i = x_{i+1} + h\,u_i,
              \quad h = \sigma_i - \sigma_{i+1}

    The first :math:`u` is the velocity at the image. The equation of the Euler step is
    :math:`x_i = x_{i+1} + h\,v(x_i, \sigma_i)`: this is one fixed-point iteration of it from
    :math:`x_{i+1} + h\,u_{i+1}`, where the exact inverse iterates to the end.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler.

    Returns:
        An :class:`~invlib.inversion.Inversion`; one evaluation a step, and one more.

    Raises:
        ValueError: as :func:`~invlib.flow.walk.reverse`.

    Source: Jiao et al., UniEdit-Flow, ICLR 2026.
    """
    return reverse(denoiser, image, solver, corrected, "uni_inv")


def corrected(field: Field, y: Tensor, k: int, last: Tensor | None) -> Tensor:
    """The velocity at the next point, as the last velocity predicts it."""
    predictor = field(y, k) if last is None else last
    return field(y + field.gap(k) * predictor, k + 1)
