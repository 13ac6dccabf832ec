"""Negative-prompt inversion, a re-implementation."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..denoisers import Denoiser
from ..inverters.naive import naive
from ..solvers import Solver
from .null_prompts import NullInversion, as_guided
from .steps import first_order


def npi(denoiser: Denoiser, image: Tensor, solver: Solver) -> NullInversion:
    r"""Negative-prompt inversion: invert at guidance 1, then make the prompt the empty prompt.

    .. math:: \varnothing := c \;\Rightarrow\;
              \epsilon_w(x, t) = \epsilon(x, t, c) \quad \text{for every guidance } w

    So its image is that of naive inversion at guidance 1, with the error of that.

    Args:
        denoiser: an :func:`invlib.guided` denoiser.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points.

    Raises:
        ValueError: if the denoiser is not guided.

    Source: Miyake et al., arXiv 2305.16807.
    """
    guided, solver = as_guided(denoiser), first_order(solver)
    pivot = naive(replace(guided, scale=1.0), image, solver)
    nulls = guided.condition.expand(solver.steps, *guided.condition.shape)
    return NullInversion(**{**vars(pivot), "method": "npi"}, nulls=nulls)
