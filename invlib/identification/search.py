"""Which of many calls of a pipeline made a picture?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..autoencoder.box import ROUNDING
from ..devices import lifted
from ..inversion import Inversion
from ..inverters import Inverter, exact, in_parts, inverter
from ..likelihood import CandidateLikelihood, Likelihoods, Quadrature
from ..likelihood.evaluate import evaluate
from ..likelihood.from_pipeline import opened
from ..likelihood.result import without_noise
from ..likelihood.roots import Estimate
from ..pipelines import Options
from ..pipelines.batches import check_number
from ..pipelines.decoding import read_decoder
from ..pipelines.images import Pictures
from ..pipelines.invert import _decoder, _quietly, _with_size
from ..pipelines.options import WATCHED, refuse, split
from ..pipelines.reading import read
from ..probing import NotInvertible
from ..watch import Budget, Watch, enter, stopped, watching
from ..words import Reason
from .candidates import Candidate, axes_of, by_name
from .law import surprise
from .result import LEVEL, MISFIT, Identification, refusals
from .rough import first_look
from .space import Phrases, ascend

SAMPLER = ("num_inference_steps", "scheduler")  # arguments that say how a network is used
DETERMINANT = Quadrature(vectors=2, tol=0.5)
USED = (*WATCHED, "method", "decoder", "seed", "max_batch")
MOST = 400, 30  # evaluations of the search for one finalist's noise, and more for each step


def identify(
    pipe: Any,
    image: Any,
    /,
    *,
    prompts: Sequence[str] | Phrases | None = None,
    guidance: Sequence[float] | None = None,
    steps: Sequence[int] | None = None,
    schedulers: Mapping[str, Any] | Sequence[Any] | None = None,
    finalists: int = 3,
    determinant: Estimate | None = None,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> Identification:
    r"""Say which prompt and settings made a picture, of those in some lists, or none of them.

    .. math:: \hat c = \arg\max_c\ \log\mathcal N(z_c; 0, I) - \log|\det S_c'(z_c)|,
              \qquad S_c(z_c) = x

    A first look (:func:`invlib.identification.first_look`) goes through prompts and guidance
    scales with the first sampler, one list after the other if they are many, and takes the best to
    the other samplers. It does not compare samplers. Where no call with that one can be inverted,
    the next one takes its place, and ``refused`` says why. Those that come first with each of them
    are inverted exactly and compared by :func:`invlib.likelihood`. The best one is then doubted: it
    is *none of these* if no latents decode to the picture, if no noise was found that makes it (the
    search for each finalist's is bounded, and ``unfound`` says why it ended), or if the noise is
    not such as is drawn.

    Args:
        pipe: the diffusers pipeline.
        image: a floating point tensor is latents, as ``pipe(..., output_type="latent")`` returned
            them; all else is a picture, as for :func:`invlib.invert_image`. One at a time.
        prompts: candidates, or the attributes of prompts (:class:`invlib.identification.Phrases`).
        guidance: guidance scales.
        steps: numbers of steps.
        schedulers: schedulers, classes of diffusers or their names, at best by names of your own.
        finalists: of how many the exact likelihood is computed; at least one for each sampler.
        determinant: how; see :func:`invlib.likelihood`. By default a quadrature that is cheaper
            than its.
        options: how to invert, and how long: ``method``, ``decoder``, ``seed``, ``progress``,
            ``callback``, ``budget`` and ``max_batch`` (a number) of :class:`Options`.
        call: what is known of the call.

    Returns:
        An :class:`Identification`; its ``sentence`` says it in words.

    Raises:
        TypeError: if an option has no use here.
        ValueError: if a list is empty, an argument is both asked about and known, or more than one
            picture is given.
    """
    own, known = split(pipe, options, call)
    _check_options(own, USED, image, "identify")
    named = by_name(pipe, schedulers)
    axes, make = axes_of(prompts, guidance=guidance, steps=steps, schedulers=list(named) or None)
    first = make({name: values[0] for name, values in axes.items()})
    twice = known.keys() & first.changes(named).keys()
    if twice or finalists < 1:
        raise ValueError(
            f"{', '.join(twice)}: either known or asked about" if twice else "no finalist"
        )
    with watching(own.watch(pipe)):
        target = _target(pipe, image, own, {**known, **first.changes(named)})
        look = _Look(pipe, target, {**known, **target.size}, named, own)
        seen = _looked_at(axes, make, look.rough, finalists)
        ranked = _ranked(seen)
        count = max(finalists, len({sampler_of(c) for c in ranked}))
        found = look.likelihoods(ranked[:count], determinant or DETERMINANT)
        ended = stopped()
    untried = math.prod(len(values) for values in axes.values()) - len(seen)
    rough, counts = [seen[c] for c in ranked], (untried, look.spent)
    result = _result(target, ranked, rough, found, look.left, counts)
    refused = _named(look.refused, seen)
    return replace(result, ended=ended, refused=refused, notes=(*target.notes, *refusals(refused)))


def _looked_at(
    axes: Mapping[str, Sequence[Any]],
    make: Callable[[Mapping[str, Any]], Candidate],
    score: Callable[[Candidate], float | None],
    count: int,
) -> dict[Candidate, float]:
    """The rough scores of what the first look has seen: all axes, the best with each sampler.

    All axes are seen with the first sampler of which some score is above minus infinity.
    """
    outer = {name: values for name, values in axes.items() if name in SAMPLER}
    inner = {name: values for name, values in axes.items() if name not in SAMPLER}
    samplers = [dict(zip(outer, v, strict=True)) for v in itertools.product(*outer.values())]
    seen: dict[Candidate, float] = {}
    best: list[Candidate] = []

    def look(sampler: Mapping[str, Any]) -> dict[Candidate, float]:
        return ascend(inner, lambda at: make({**sampler, **at}), score)

    while samplers and not best:
        seen |= look(samplers.pop(0))
        finite = [c for c in seen if seen[c] > -math.inf]
        best = sorted(finite, key=lambda c: seen[c], reverse=True)[:count]
    for sampler in samplers:
        for candidate in (replace(c, **sampler) for c in best):
            value = score(candidate)
            if value is None:
                return seen
            seen[candidate] = value
    return seen


def sampler_of(candidate: Candidate) -> tuple[Any, ...]:
    """The steps and the scheduler of a candidate."""
    return tuple(getattr(candidate, name) for name in SAMPLER)


def _ranked(seen: Mapping[Candidate, float]) -> list[Candidate]:
    """Candidates of finite scores: the best of every sampler, then the second best ..."""
    places: dict[Candidate, int] = {}
    for candidate in sorted(seen, key=lambda c: seen[c], reverse=True):
        if seen[candidate] > -math.inf:
            mine = sampler_of(candidate)
            places[candidate] = sum(sampler_of(other) == mine for other in places)
    return sorted(places, key=lambda c: places[c])


def _named(
    refused: Mapping[Candidate, str], seen: Mapping[Candidate, float]
) -> tuple[tuple[str, str], ...]:
    """Names of what was refused, and why: samplers of which all is, else candidates."""
    found: dict[str, str] = {}
    for candidate, why in refused.items():
        mine = sampler_of(candidate)
        whole = all(other in refused for other in seen if sampler_of(other) == mine)
        sampler = Candidate(**dict(zip(SAMPLER, mine, strict=True)))
        found.setdefault((sampler if whole else candidate).name, why)
    return tuple(found.items())


@dataclass(frozen=True)
class _Target:
    """The latents ``[1, ...]`` as the call returns them, and how well a picture told them."""

    latents: Tensor
    misfit: float | None
    exact: bool
    size: dict[str, Any]
    evaluations: int
    notes: tuple[str, ...]


def _target(pipe: Any, image: Any, own: Options, call: Mapping[str, Any]) -> _Target:
    """The latents of a picture, by the decoder of the first candidate; known ones stay.

    The watch of the whole search is on already, so that the decoder has none of its own.
    """
    if isinstance(image, _Target):
        return image
    if _are_latents(image):
        if len(image) != 1:
            raise ValueError(f"one picture at a time: the latents have {len(image)} rows, not 1")
        return _Target(image, None, True, {}, 0, ())
    pictures = Pictures.of(image)
    if len(pictures.pixels) != 1:
        raise ValueError(f"one picture at a time, not {len(pictures.pixels)}")
    asked = dict(call)
    kept = pipe.scheduler
    pipe.scheduler = asked.pop("scheduler", kept)
    try:
        with _quietly(pipe, replace(own, progress=False, callback=None, budget=None)):
            asked, note = _with_size(pipe, asked, pictures.height, pictures.width)
            size = {name: asked[name] for name in asked.keys() - call.keys()}
            reading = read(pipe, asked)
            autoencoder, shape = read_decoder(reading)
            box = pictures.box(shape, pipe._execution_device)
            if autoencoder is None:
                told = ("there is no decoder: the pixels are the latents",)
                return _Target(box.center, None, False, size, reading.evaluations, told)
            decoding = _decoder(own.decoder)(autoencoder, box)
            error = decoding.image_nmse[0] * box.center.square().mean() / ROUNDING
            latents = reading.exit(lifted(decoding.latents))
    finally:
        pipe.scheduler = kept
    notes = (note,) if note else ()
    misfit = error.sqrt().item()
    return _Target(latents, misfit, False, size, reading.evaluations, notes)


def _check_options(own: Options, used: Sequence[str], image: Any, what: str) -> None:
    """Raise where an option would be dropped; of latents no decoder is asked."""
    told = _are_latents(image)
    some = [name for name in used if name != "decoder" or not told]
    refuse(own, some, f"{what} of {'latents' if told else 'a picture'}")
    check_number(own.max_batch)


def _are_latents(image: Any) -> bool:
    return isinstance(image, Tensor) and image.is_floating_point()


class _Look:
    """Looks at candidates for one picture, and counts evaluations."""

    def __init__(
        self,
        pipe: Any,
        target: _Target,
        known: Mapping[str, Any],
        schedulers: Mapping[str, Any],
        own: Options,
    ) -> None:
        self.pipe, self.target = pipe, target
        self.known, self.schedulers = dict(known), schedulers
        self.call = Options(seed=own.seed, max_batch=own.max_batch, progress=False)
        self.search = partial(bounded, search=inverter(own.method))
        self.spent = target.evaluations
        self.left: list[tuple[Candidate, Reason]] = []
        self.refused: dict[Candidate, str] = {}

    def rough(self, candidate: Candidate) -> float | None:
        """The rough log-likelihood of a candidate; None where a watch has ended the search.

        Minus infinity where the call is refused, which is noted.
        """
        if stopped():
            return None
        enter(f"first look: {candidate.name}")
        call = {**self.known, **candidate.changes(self.schedulers)}
        try:
            with opened(self.pipe, self.target.latents, call, self.call) as problem:
                found = first_look(problem)
        except NotInvertible as error:
            self.refused[candidate] = str(error)
            return -math.inf
        self.spent += found.nfe
        return found.log_p

    def likelihoods(
        self, candidates: Sequence[Candidate], determinant: Estimate
    ) -> dict[Candidate, CandidateLikelihood]:
        """The exact likelihood of each candidate.

        Those that a watch leaves over are noted, and those that are refused.
        """
        found: dict[Candidate, CandidateLikelihood] = {}
        for candidate in candidates:
            why = stopped()
            if why:
                self.left.append((candidate, why))
                continue
            call = {**self.known, **candidate.changes(self.schedulers)}
            enter(f"likelihood: {candidate.name}")
            try:
                with opened(self.pipe, self.target.latents, call, self.call) as problem:
                    one = evaluate(candidate.name, problem, self.search, determinant, trip=False)
            except NotInvertible as error:
                self.refused[candidate] = str(error)
                continue
            self.spent += int(one.nfe.max())
            found[candidate] = one
        return found


def bounded(
    denoiser: Any,
    image: Tensor,
    solver: Any,
    *,
    search: Inverter = exact,
    max_batch: int | None = None,
) -> Inversion:
    """A search, within a budget: of wrong candidates many have no noise.

    Args:
        denoiser: the network.
        image: the last states, ``[B, ...]``.
        solver: the sampler's table.
        search: what searches.
        max_batch: most states in one call of the network.

    Returns:
        An :class:`Inversion`; where no noise was found in time, ``reason`` says ``budget``.
    """
    with watching(Watch(budget=Budget(evaluations=MOST[0] + MOST[1] * solver.steps))):
        return in_parts(search, max_batch)(denoiser, image, solver)


def _result(
    target: _Target,
    ranked: list[Candidate],
    rough: list[float],
    found: dict[Candidate, CandidateLikelihood],
    left: Sequence[tuple[Candidate, Reason]],
    counts: tuple[int, int],
) -> Identification:
    """The answer, and the doubts about it."""
    order = sorted(found, key=lambda c: found[c].log_p[0].item(), reverse=True)
    whole = None
    if order:
        parts = tuple(found[c] for c in order)
        whole = Likelihoods(parts, torch.full((len(parts),), -math.log(len(parts))).double())
    roots = whole.candidates[0].roots[0] if whole is not None else ()
    noise = roots[0].noise[None] if roots else None
    if noise is not None and noise.numel() == target.latents.numel():
        noise = noise.view_as(target.latents)
    law = None if noise is None else surprise(noise)
    p = law.p.item() if law is not None and target.exact else None
    reasons = []
    if target.misfit is not None and target.misfit > MISFIT:
        reasons.append(
            f"the decoder makes no such picture (the nearest is {target.misfit:.1f} roundings away)"
        )
    ends = [(c, found[c]) for c in order]
    unfound = (*((c, one.reason[0]) for c, one in ends if not one.roots[0]), *left)
    if noise is None:
        lost = without_noise((candidate.name, why) for candidate, why in unfound)
        reasons.append(lost or "no finalist can be inverted")
    if p is not None and p < LEVEL:
        reasons.append(f"its noise is not such as is drawn (probability {p:.0e})")
    return Identification(
        candidates=tuple(ranked),
        rough=tuple(rough),
        finalists=tuple(order),
        likelihoods=whole,
        noise=noise,
        surprise=p,
        norm=math.nan if law is None else law.norm.item(),
        misfit=target.misfit,
        reasons=tuple(reasons),
        untried=counts[0],
        evaluations=counts[1],
        unfound=unfound,
    )
