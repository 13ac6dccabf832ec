"""The default: step by step where that is possible, the whole trajectory where it is not."""

from __future__ import annotations

import warnings
from functools import partial

from torch import Tensor

from ..denoisers import Denoiser, select
from ..inversion import Inversion, Inverter, retry
from ..solvers import Solver
from .multisecant import multisecant
from .persistent import random_states
from .stepwise import stepwise
from .whole_trajectory import second_start, whole_trajectory


def exact(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, max_batch: int | None = None
) -> Inversion:
    """Invert any deterministic solver to the round-off of the network.

    First-order samplers are inverted step by step. What that leaves unsolved, and every other
    sampler, is solved as one system, by :func:`multisecant`, where that fails by
    :func:`whole_trajectory`, and what is still unsolved once more from another start.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: the sampler's table.
        max_batch: most states in one network call; by default all steps of all images.
    """
    other = second_start if getattr(denoiser, "any_time", True) else random_start
    attempts: list[Inverter] = [
        partial(multisecant, max_batch=max_batch),
        partial(whole_trajectory, max_batch=max_batch),
        partial(other, max_batch=max_batch),
    ]
    if solver.order_one and getattr(denoiser, "nodewise", True):
        attempts.insert(0, stepwise)
    result = attempts[0](denoiser, image, solver)
    for attempt in attempts[1:]:
        try:
            result = retry(result, partial(_part, attempt, denoiser, image, solver))
        except (RuntimeError, NotImplementedError) as error:  # keep what is solved
            warnings.warn(
                f"a further attempt at the unsolved samples failed ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); the best so far is kept",
                stacklevel=2,
            )
    return result


def random_start(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, max_batch: int | None = None
) -> Inversion:
    """:func:`multisecant` from the image noised at random; needs no times but the solver's own."""
    start = random_states(image, solver, 0)
    return multisecant(denoiser, image, solver, start=start, max_batch=max_batch)


def _part(
    inverter: Inverter, denoiser: Denoiser, image: Tensor, solver: Solver, rows: Tensor
) -> Inversion:
    """Invert the samples ``rows`` only."""
    return inverter(select(denoiser, rows), image[rows], solver)
