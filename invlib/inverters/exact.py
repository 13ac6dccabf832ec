"""The default: step by step where that is possible, the whole trajectory where it is not."""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoisers import Denoiser, select
from ..inversion import Inversion, merge
from ..solvers import Solver
from .stepwise import stepwise
from .whole_trajectory import whole_trajectory


def exact(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    """Invert any deterministic solver to the round-off of the network.

    First-order samplers are inverted step by step; what that leaves unsolved, and every other
    sampler, is solved as one system.
    """
    if not solver.order_one:
        return whole_trajectory(denoiser, image, solver)
    result = stepwise(denoiser, image, solver)
    unsolved = (~result.converged).nonzero().flatten().tolist()
    if not unsolved:
        return result
    rows = torch.tensor(unsolved, device=image.device)
    again = whole_trajectory(
        select(denoiser, rows), image[rows], solver, start=result.states[:, rows]
    )
    return merge(result, again, unsolved)
