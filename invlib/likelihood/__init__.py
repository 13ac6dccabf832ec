r"""Who made this? The exact likelihood of prompts, settings, samplers and models.

A deterministic sampler is a map :math:`S_c` from noise to latents, and noise is drawn from
:math:`\mathcal N(0, I)`. So the latents have a density, and exact inversion computes it:

.. math:: \log p(x \mid c) = \log \sum_{z:\,S_c(z) = x}
          \frac{\mathcal N(z; 0, I)}{|\det S_c'(z)|}

Every candidate has a noise that makes the latents; the determinant says which one is likely to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..inverters import Inverter, exact
from ..solvers import Solver
from .evaluate import evaluate
from .problem import Problem
from .quadrature import Quadrature
from .result import CandidateLikelihood, Determinant, Likelihoods, Root
from .roots import Estimate, exactly, odds
from .scores import Scores

EXACT = 2048  # most numbers of a sample whose determinants are computed exactly by default


def likelihood(
    model: Any,
    latents: Tensor,
    candidates: Mapping[str, Any] | Sequence[Any],
    /,
    *,
    priors: Sequence[float] | None = None,
    determinant: Estimate | None = None,
    method: str | Inverter | None = None,
    others: int = 0,
    naive: bool = True,
    max_batch: int | None = None,
    **call: Any,
) -> Likelihoods:
    r"""Compare candidates by the exact likelihood of their own samplers.

    .. math:: \log p(x \mid c) = \log \sum_{z:\,S_c(z) = x}
              \frac{\mathcal N(z; 0, I)}{|\det S_c'(z)|}

    It is the density of what the sampler makes of normal noise, if the sampler is continuously
    differentiable, :math:`S_c'` is invertible at all noises of x, and, where there may be noises
    far out, *proper* (see chapter 8). Noises that no search finds are missing in the sum, so that
    it is a lower bound; ``others`` looks for more.

    Args:
        model: a diffusers pipeline; or a denoiser; or None, where every candidate names its own.
        latents: of a pipeline what ``pipe(..., output_type="latent")`` returned, else the images
            of a sampler, ``[B, ...]``.
        candidates: their names and what they are, or a sequence. For a pipeline each is a
            dictionary that changes the call, such as ``{"prompt": "a cat"}`` or
            ``{"num_inference_steps": 20}``; in it ``scheduler`` and ``pipe`` stand for another
            scheduler or pipeline. Else a pair of a denoiser and a :class:`invlib.Solver`, or a
            solver alone.
        priors: how probable the candidates are before one looks, ``[K]``; equally by default.
        determinant: how to compute determinants: :func:`exactly`, from D derivatives a node, or a
            :class:`Quadrature`; by default the first for up to ``EXACT`` numbers.
        method: how to look for noises; by default :func:`invlib.exact`.
        others: how many more searches to make for other noises of the same latents.
        naive: whether to score the round trip of naive inversion, too.
        max_batch: most states in one call of the network, a number; by default as many as a share
            of the free memory has room for, of a pipeline as many as have the size of one latent
            of 512 x 512 pixels.
        call: what all candidates of a pipeline share; of :class:`invlib.Options` ``seed``,
            ``progress``, ``callback`` and ``budget`` (for each of them).

    Returns:
        :class:`Likelihoods`; print it.

    Raises:
        TypeError: if a candidate is none, or an option has no use here.
        ValueError: if there is no candidate, the priors are no probabilities of theirs, or
            ``others`` is given beside a ``method``.

    Example:
        Which of two networks made it?

        >>> import torch, invlib
        >>> solver = invlib.ddim(invlib.Schedule.scaled_linear().grid(10))
        >>> centres = {"left": -1.0, "right": 1.0}
        >>> networks = {
        ...     name: invlib.gaussian(invlib.Schedule.scaled_linear(), torch.full((8,), c), 0.5)
        ...     for name, c in centres.items()
        ... }
        >>> noise = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
        >>> latents = invlib.sample(networks["left"], noise, solver).image
        >>> pairs = {name: (network, solver) for name, network in networks.items()}
        >>> found = likelihood(None, latents, pairs)
        >>> found.names[found.best[0]], found.posterior[0, 0].item() > 0.999
        ('left', True)
    """
    named = _named(candidates)
    log_prior = _log_prior(priors, len(named))
    if method is None:
        method = partial(exact, others=others) if others else "exact"
    elif others:
        raise ValueError("others is for the default method: give functools.partial(method, ...)")
    results = []
    for name, candidate in named.items():
        with _problem(model, latents, candidate, call, max_batch) as problem:
            small = problem.size <= EXACT or not problem.reverse
            compute = determinant or (exactly if small else Quadrature())
            results.append(evaluate(name, problem, method, compute, trip=naive))
    return Likelihoods(tuple(results), log_prior)


def _problem(
    model: Any,
    latents: Tensor,
    candidate: Any,
    call: Mapping[str, Any],
    most: int | None,
) -> AbstractContextManager[Problem]:
    """The problem of a candidate, as long as its pipeline is in our hands."""
    if isinstance(candidate, Mapping):
        from .from_pipeline import opened  # the rest needs no diffusers

        own = {} if most is None else {"max_batch": most}
        return opened(model, latents, {**call, **own, **candidate})
    if call:
        raise TypeError(f"{', '.join(call)}: only the candidates of a pipeline have a call")
    pair = (model, candidate) if isinstance(candidate, Solver) else candidate
    if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Solver)):
        raise TypeError(
            f"a candidate is a dictionary that changes a pipeline's call, or a pair of a denoiser "
            f"and a solver, not {type(candidate).__name__}"
        )
    return nullcontext(Problem.of(pair[0], pair[1], latents, most))


def _named(candidates: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """The candidates by their names; those without any are called after what they change."""
    if isinstance(candidates, Mapping):
        named = dict(candidates)
    else:
        named = {name: c for name, c in zip(_names(candidates), candidates, strict=True)}
    if not named:
        raise ValueError("there is no candidate: give at least one")
    return named


def _names(candidates: Sequence[Any]) -> Iterator[str]:
    used: set[str] = set()
    for number, candidate in enumerate(candidates, 1):
        name = f"candidate {number}"
        if isinstance(candidate, Mapping):
            name = ", ".join(f"{key}={_short(value)}" for key, value in candidate.items()) or name
        elif isinstance(candidate, Solver):
            name = candidate.name
        if name in used:
            name = f"{name} ({number})"
        used.add(name)
        yield name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else type(value).__name__


def _log_prior(priors: Sequence[float] | None, count: int) -> Tensor:
    values = torch.ones(count) if priors is None else torch.as_tensor(priors)
    values = values.double()
    if values.shape != (count,) or not (values >= 0).all() or not 0 < values.sum() < torch.inf:
        raise ValueError(
            f"priors must be {count} numbers, one a candidate, not negative and not all 0"
        )
    return (values / values.sum()).log()


__all__ = [
    "CandidateLikelihood",
    "Determinant",
    "Likelihoods",
    "Problem",
    "Quadrature",
    "Root",
    "Scores",
    "exactly",
    "likelihood",
    "odds",
]
