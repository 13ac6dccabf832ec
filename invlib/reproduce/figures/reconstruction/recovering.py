"""A row of the reconstruction table: sample, invert by one of the methods, sample again."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from ....autoencoder import (
    Autoencoder,
    Box,
    DecoderInverter,
    encoder,
    gradient,
    quasi_newton,
    to_bytes,
)
from ....inversion import Inversion
from ....inverters import (
    Inverter,
    algorithm1,
    algorithm2,
    exact,
    invert,
    multisecant,
    naive,
    stepwise,
)
from ....metrics import nmse
from ....rivals import fpi
from ....sampling import sample
from ....solvers import Solver
from ...models.full_size import short
from ...models.problem import Problem

FINE = "DDIM-50"  # whose steps all methods but Algorithm 2 and ours invert, whatever the sampler
GUIDANCE = 3.0
PIXEL_TOL = (1e-6 / (10 * 3 * 64 * 64)) ** 0.5  # the authors' rule in pixel space, per value
LATENT_TOL = 2.5e-4  # and in latent space
DECODERS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "D†": gradient,
    "ours": partial(quasi_newton, iterations=240, memory=40),
}
Measured = dict[str, Tensor]


def measure(
    space: str, decoder: str, sampler: str, method: str, first: int, count: int, profile: str
) -> Measured:
    """Sample, invert, sample again.

    Returns:
        Per image: ``noise`` and ``state``, the NMSE of noise and final state; ``start``, that of
        the latents that were inverted; ``picture`` and ``again``, 8-bit ``[count, 3, H, W]``;
        ``nfe``; ``seconds`` of the inversion.
    """
    problem = problem_of(space, sampler, first, count, profile)
    image = image_of(space, sampler, first, count, profile)
    given = decoded(decoder, sampler, first, count, profile) if decoder else image
    fine = problem_of(space, FINE, first, count, profile).solver
    tol = PIXEL_TOL if space == "pixel" else LATENT_TOL
    walk = short(profile, 1000)
    work = partial(inverted, problem, given, fine, method, tol, rough=bool(decoder), walk=walk)
    found, seconds = timed(work)
    with torch.no_grad():
        again = sample(problem.denoiser, found.noise, problem.solver).image
    return {
        "noise": nmse(found.noise, problem.noise),
        "state": nmse(again, image),
        "start": nmse(given, image),
        "picture": shown(space, problem, image),
        "again": shown(space, problem, again),
        "nfe": found.nfe,
        "seconds": torch.full((count,), seconds / count, dtype=torch.float64),
    }


@cache
def problem_of(space: str, sampler: str, first: int, count: int, profile: str) -> Problem:
    """What there is to invert."""
    if space == "pixel":
        return Problem.pixels(sampler, first, count, profile)
    return Problem.of(sampler, GUIDANCE, first, count, profile)


@cache
def image_of(space: str, sampler: str, first: int, count: int, profile: str) -> Tensor:
    """The images (or latents) that the sampler made."""
    problem = problem_of(space, sampler, first, count, profile)
    with torch.no_grad():
        return sample(problem.denoiser, problem.noise, problem.solver).image


@cache
def decoded(decoder: str, sampler: str, first: int, count: int, profile: str) -> Tensor:
    """The latents that a decoder inversion finds from the 8-bit pictures."""
    problem = problem_of("latent", sampler, first, count, profile)
    latents = image_of("latent", sampler, first, count, profile)
    box = Box.of(shown("latent", problem, latents))
    return DECODERS[decoder](Autoencoder.of(problem.pipe.vae), box).latents


def shown(space: str, problem: Problem, state: Tensor) -> Tensor:
    """The 8-bit pictures of final states."""
    with torch.no_grad():
        return to_bytes(
            state if space == "pixel" else Autoencoder.of(problem.pipe.vae).decode(state)
        )


def inverted(
    problem: Problem,
    image: Tensor,
    fine: Solver,
    method: str,
    tol: float,
    *,
    rough: bool,
    walk: int = 1000,
) -> Inversion:
    """Invert by one of the methods.

    Args:
        problem: network and sampler.
        image: what to invert, ``[B, ...]``.
        fine: the sampler whose steps the first-order methods invert, whatever made the image.
        method: its name.
        tol: tolerance of Algorithm 1.
        rough: whether the image is known roughly only; our method then makes one search.
        walk: steps of the long naive walk.
    """
    own = problem.solver
    high = multisecant if not own.order_one else stepwise
    inverters: dict[str, tuple[Inverter, Solver]] = {
        "naive": (naive, fine),
        "naive_1000": (partial(naive, steps=walk), fine),
        "fpi": (fpi, fine),
        "algorithm1": (partial(algorithm1, tol=tol), fine),
        "algorithm2": (algorithm2, own),
        "ours": (high if rough else exact, own),
    }
    inverter, solver = inverters[method]
    return invert(problem.denoiser, image, solver, method=inverter)


def timed(work: Callable[[], Inversion]) -> tuple[Inversion, float]:
    """A result, and the seconds that it took: CPU seconds of one thread, or seconds on a GPU."""
    gpu, threads = torch.cuda.is_available(), torch.get_num_threads()
    clock = time.perf_counter if gpu else time.process_time
    torch.set_num_threads(1)
    try:
        began = clock()
        result = work()
        if gpu:
            torch.cuda.synchronize()
        return result, clock() - began
    finally:
        torch.set_num_threads(threads)
