"""Plain Euler on the reversed grid: the inversion that comes with every flow model."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser
from ..inversion import Inversion
from ..solvers import Solver
from .walk import Field, reverse


def euler_reversed(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    r"""Euler's method from the image to the noise.

    .. math:: x_i = x_{i+1} + (\sigma_i - \sigma_{i+1})\,v(x_{i+1}, \sigma_{i+1})

    :func:`invlib.inverters.naive` differs from it in the time label, which is :math:`\sigma_i`.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: a flow-matching sampler.

    Returns:
        An :class:`~invlib.inversion.Inversion`; one evaluation a step.

    Raises:
        ValueError: as :func:`~invlib.flow.walk.reverse`.
    """
    return reverse(denoiser, image, solver, _here, "euler_reversed")


def _here(field: Field, y: Tensor, k: int, last: Tensor | None) -> Tensor:
    return field(y, k)
