"""One cell of the comparison table: what a method recovers of images, standard ones or its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ....certificate import certify
from ....denoisers import Denoiser
from ....evaluator import Evaluator
from ....inversion import Inversion
from ....inverters import Inverter, exact, invert, stepwise
from ....metrics import nmse
from ....precision import SINGLE
from ....reversible import Reversible, bdia, edict, invert_reversible, sample_reversible
from ....rivals import aidi_a
from ....rivals.steps import explicit
from ....sampling import sample
from ....schedule import Grid
from ....solvers import Solver
from ...models import published
from ...models.problem import Problem

REVERSIBLE: dict[str, Callable[[Grid], Reversible]] = {"edict": edict, "bdia": bdia}
Measured = dict[str, Tensor]


def standard(
    method: str, sampler: str, guidance: float, first: int, count: int, profile: str
) -> Measured:
    """Invert images that a standard sampler made, and sample them again with it.

    Returns:
        Per image: ``round_trip`` and ``noise``, NMSE of image and noise; ``exact``, the
        certificate's verdict; ``flagged``, whether it doubts that this is the original noise;
        ``nfe``.
    """
    problem = Problem.of(sampler, guidance, first, count, profile)
    solver, denoiser = problem.solver, problem.denoiser
    with torch.no_grad():
        image = sample(denoiser, problem.noise, solver).image
    found = invert(denoiser, image, solver, method=inverter_of(method, solver))
    proof = certify(denoiser, found, solver, vectors=0)
    return {
        "round_trip": nan_to_infinity(proof.round_trip),
        "noise": nan_to_infinity(nmse(found.noise, problem.noise)),
        "exact": torch.tensor([verdict == "exact" for verdict in proof.verdict]),
        "flagged": torch.tensor([bool(flags) for flags in proof.flags]),
        "nfe": found.nfe,
    }


def own(
    method: str, sampler: str, guidance: float, first: int, count: int, profile: str
) -> Measured:
    """Invert images that a reversible sampler made, and sample them again with it.

    Returns:
        As :func:`standard`, for the search from the image alone, without ``flagged``; and
        ``noise_pair``, the NMSE of the noise from the pair of states that the sampler ended in.
    """
    problem = Problem.of(sampler, guidance, first, count, profile)
    denoiser = problem.denoiser
    reversible = REVERSIBLE[method](grid_of(problem.solver))
    with torch.no_grad():
        run = sample_reversible(denoiser, problem.noise, reversible)
        alone = invert_reversible(denoiser, run.image, reversible)
        again = sample_reversible(denoiser, alone.start, reversible).image
        paired = invert_reversible(denoiser, run.end, reversible)
    trip = nan_to_infinity(nmse(again, run.image))
    return {
        "round_trip": trip,
        "noise": nan_to_infinity(nmse(alone.noise, problem.noise)),
        "noise_pair": nan_to_infinity(nmse(paired.noise, problem.noise)),
        "exact": trip < SINGLE,
        "nfe": alone.nfe,
    }


def inverter_of(method: str, solver: Solver) -> Inverter:
    """The method for images of a standard sampler.

    AIDI gets 20 rounds a step, four times as many as its public re-implementation makes. Ours is
    what users get, but for DDIM its first search only.
    """
    one = solver.order_one
    inverters: dict[str, Inverter] = {
        "aidi": partial(aidi_a, iterations=20),
        "hong": published.algorithm1 if one else published.algorithm2,
        "ours": stepwise if one else exact,
    }
    if method in REVERSIBLE:
        return partial(undone, make=REVERSIBLE[method])
    return inverters[method]


def undone(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, make: Callable[[Grid], Reversible]
) -> Inversion:
    """Undo an image as if a reversible sampler on the same time points had made it."""
    evaluator, image = Evaluator.start(denoiser, image, solver)
    run = invert_reversible(denoiser, image, make(grid_of(solver)))
    return replace(explicit([image, run.noise * solver.scale], evaluator, "undone"), nfe=run.nfe)


def grid_of(solver: Solver) -> Grid:
    """The time points of a sampler; the last label, at the image, is never used."""
    labels = torch.cat([solver.t, solver.t.new_zeros(1)])
    return Grid(labels, solver.alpha, solver.sigma, solver.schedule)


def nan_to_infinity(error: Tensor) -> Tensor:
    """An NMSE, infinite where the numbers were outgrown."""
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf)
