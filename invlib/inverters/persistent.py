"""A long search from several starts, in float64: for few steps at a high guidance scale."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, select
from ..evaluator import Evaluator
from ..inversion import Inversion, retry
from ..precision import finer
from ..solvers import Solver
from .multisecant import multisecant
from .rounds import NEAR
from .starts import random_states, roundoff_where_noised


@torch.no_grad()
def persistent(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    starts: int = 5,
    double: bool = True,
    tol: float | None = None,
    max_iterations: int = 400,
    patience: int = 150,
    memory: int = 120,
    max_batch: int | None = None,
) -> Inversion:
    r"""Find some noise that makes an image, where :func:`exact` finds none.

    .. math:: \text{given } y_n,\ \text{find any } z:\quad \Phi_{\mathrm{float64}}(z) = y_n

    At a high guidance scale a sampler of few steps folds: several noises make one image, and near
    the folds the equations are too ill-conditioned for a network in float32. So the search runs
    on a copy of the network in float64, does not give up where it makes no progress for long,
    and starts anew, the image noised at random, while a sample is unsolved. What it finds is
    often not the noise that the image was made from; :func:`invlib.certify` cannot tell.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table.
        starts: most searches of a sample.
        double: whether to search with a copy of the network in float64; it takes the memory of
            two copies in float32, and several times as long.
        tol: relative residual at which a sample is solved; by default what :func:`multisecant`
            takes for the network that is searched with, but, with a copy in float64, no less than
            1e-4 of what it takes for the given one.
        max_iterations: rounds of a search.
        patience: rounds without 10 % progress before a search counts as stalled.
        memory: pairs that every node keeps.
        max_batch: most states in one network call.

    Raises:
        ValueError: if ``starts`` is below 1.
    """
    if starts < 1:
        raise ValueError(f"starts must be at least 1, got {starts}")
    evaluator, target = Evaluator.start(denoiser, image, solver, max_batch=max_batch)

    def near(network: Denoiser, share: float = 1.0) -> float:
        if tol is not None:
            return tol
        rough = roundoff_where_noised(replace(evaluator, denoiser=network), target)
        return max((NEAR * share * rough.equations).tolist())

    copy = finer(denoiser, near) if double else None
    network, least = copy or (denoiser, 0.0)
    tol = max(least, near(denoiser, 1e-4 if copy else 1.0))
    paid = evaluator.nfe
    search = partial(
        multisecant,
        tol=tol,
        max_iterations=max_iterations,
        patience=patience,
        memory=memory,
        max_batch=max_batch,
    )
    result = search(network, image, solver)
    for seed in range(starts - 1):

        def again(rows: Tensor, seed: int = seed) -> Inversion:
            begin = random_states(image[rows], solver, seed)
            return search(select(network, rows), image[rows], solver, start=begin)

        result = retry(result, again)
    return replace(result, nfe=result.nfe + paid, method="persistent")
