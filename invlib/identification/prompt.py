"""Words for an unknown prompt: a climb over embeddings, then over the words nearest to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..devices import has_float64
from ..inversion import Inversion
from ..inverters import invert, multisecant
from ..inverters.implicit import ROOTS
from ..likelihood import Problem
from ..likelihood.from_pipeline import opened
from ..likelihood.result import SURE
from ..likelihood.roots import Estimate
from ..pipelines import Options
from ..pipelines.conditions import conditioned
from ..pipelines.options import split
from ..watch import count, enter, stopped, watching
from ..words import Reason
from .candidates import axes_of
from .gradient import likelihood_gradient
from .result import Identification
from .rough import first_look
from .search import USED, _check_options, _Look, _target, bounded, identify
from .space import Phrases, ascend
from .wording import Lexicon, Wording

RATE = 0.1  # step of Adam, in root mean squares of the token embeddings
ROOT = 1e-3  # relative residual of the root at which a gradient is taken
FORCING = 1e-2  # relative residual of its linear systems


@dataclass(frozen=True)
class FoundPrompt:
    r"""The words that were found for a picture's prompt, compared with those of the start.

    Attributes:
        prompt: the best words, or the start, whichever is more probable by the likelihood.
        start: the prompt that was begun with.
        nearest: the words nearest to the embeddings of the highest rough likelihood, as they are
            (:meth:`invlib.identification.wording.Lexicon.nearest`).
        path: the rough log-likelihood in nats along the descent
            (:func:`invlib.identification.first_look`), which is the score of ``seen``, too.
        seen: all prompts in words that were looked at with their rough log-likelihoods, the best
            first.
        identification: the comparison of the best words with the start by the likelihood, as exact
            as ``determinant`` makes it, with its doubts.
        evaluations: network evaluations in all, products with derivatives included.
        notes: what was assumed, and what went wrong.
        ended: why all ended early: ``budget`` or ``interrupted``; None if all was done.
    """

    prompt: str
    start: str
    nearest: str
    path: tuple[float, ...]
    seen: tuple[tuple[str, float], ...] = field(repr=False)
    identification: Identification
    evaluations: int
    notes: tuple[str, ...] = ()
    ended: Reason | None = None

    @property
    def better(self) -> bool:
        """Whether words are more probable than the start, by the likelihood as estimated."""
        return self.prompt != self.start

    @property
    def by_chance(self) -> bool:
        """Whether that may be an error of the estimate, since its lead is not certain to 95 %."""
        lead = self._lead()
        return lead is not None and not lead[0] > lead[1]

    def _lead(self) -> tuple[float, float] | None:
        """By how many nats the first finalist leads, and within how many that is known."""
        found = self.identification.likelihoods
        if found is None or not compared(self.identification):
            return None
        return found.difference(0, 1)[0], found.within(0, 1)

    def sentence(self) -> str:
        """What was found, and that it is no proof."""
        early = f" All ended early ({self.ended})." if self.ended else ""
        count = len(self.seen)
        best = self.seen[0][0] if self.seen else self.start
        if best != self.start and not compared(self.identification):
            return (
                f"{best!r} comes first of {count} prompts at a first look, but its likelihood and "
                f"that of {self.start!r} were not compared.{early}"
            )
        if not self.better:
            said = f"None of {count} prompts that were tried is more probable than {self.start!r}."
            return said + early
        reasons, known, lead = self.identification.reasons, self._lead(), ""
        if known is not None:
            chance = ", so that it may be chance" if self.by_chance else ""
            lead = f" by {known[0]:.1f} +- {known[1]:.1g} nats ({SURE:.0%}){chance}"
        doubts = f" But {'; '.join(reasons)}." if reasons else ""
        return (
            f"Of {count} prompts that were tried {self.prompt!r} is the most probable, more than "
            f"{self.start!r}{lead}; a prompt that was not tried may be more probable "
            f"still.{doubts}{early}"
        )

    def __str__(self) -> str:
        return self.sentence()


def compared(found: Identification) -> bool:
    """Whether the likelihoods of two prompts are known, of which one at least has a noise."""
    known = found.likelihoods
    return known is not None and len(found.finalists) > 1 and bool(known.log_p.isfinite().any())


def find_prompt(
    pipe: Any,
    image: Any,
    /,
    *,
    start: str = "",
    words: int = 8,
    rounds: int = 20,
    nearest: int = 3,
    vocabulary: Sequence[str] | None = None,
    determinant: Estimate | None = None,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> FoundPrompt:
    r"""Look for words that explain a picture whose prompt is not known.

    .. math:: \hat e = \arg\max_e\ \log\mathcal N(z_e; 0, I) - \log|\det S_e'(z_e)|,
              \qquad S_e(z_e) = x

    over the embeddings e of so many tokens of the prompt, by Adam. Each gradient is that of the
    likelihood through the root (:func:`invlib.identification.gradient.likelihood_gradient`), and
    each search for the noise begins at the noise of the round before. Then every embedding is
    replaced by one of its nearest words, or left out, place by place, as a first look at the
    likelihood says. In the end the likelihoods of the best words and of the start are compared.

    The likelihood has many local maxima, and its maximum over embeddings need not be near any
    words: often nothing better than the start is found, and what is found is a lead, no proof.
    Words that change the picture little are not found.

    Args:
        pipe: the diffusers pipeline, with a text encoder; of several the first one is used.
        image: latents or a picture, as for :func:`invlib.identify`. One at a time.
        start: the prompt to begin with, such as a guess.
        words: how many tokens the prompt may have; if the start has more, so many.
        rounds: steps of the descent.
        nearest: how many of the nearest words are tried at each place.
        vocabulary: words to choose from, of one token each; by default all tokens that are words.
        determinant: how to compute determinants in the end; see :func:`invlib.identify`.
        options: how to read the picture, and how long; see :func:`invlib.identify`, but for
            ``method``.
        call: what is known of the call, guidance and steps above all.

    Returns:
        A :class:`FoundPrompt`; print it.

    Raises:
        ValueError: if the pipeline has no text encoder, its network is not called directly once a
            step, a number is not positive, or its device has no float64.
        TypeError: if ``prompt`` is given: it is what is looked for; or an option of no use here.
    """
    own, known = split(pipe, options, call)
    if "prompt" in known:
        raise TypeError("prompt is what is looked for: give a guess of it as start")
    if min(words, rounds, nearest) < 1:
        raise ValueError("words, rounds and nearest must be at least 1")
    _check(pipe, image, own)
    wording = Wording.of(Lexicon.of(pipe, vocabulary), start, words)
    inner = Options(progress=False, seed=own.seed, max_batch=own.max_batch)
    with watching(own.watch(pipe)):
        target = _target(pipe, image, own, {**known, "prompt": wording.text})
        known |= target.size
        with opened(pipe, target.latents, {**known, "prompt": wording.text}, inner) as problem:
            way = climb(problem, wording, rounds)
        places = wording.lexicon.nearest(wording.start, way.embedding, nearest)
        look = _Look(pipe, target, known, {}, own)
        axes, make = axes_of(_phrases(wording.lexicon, start, places))
        seen = ascend(axes, make, look.rough)
        ranked = sorted(seen, key=lambda c: seen[c], reverse=True)
        last = [str(c.prompt) for c in ranked[:1]]
        found = identify(
            pipe,
            target,
            prompts=list(dict.fromkeys([*last, start])),
            determinant=determinant,
            options=inner,
            **known,
        )
        ended = stopped()
    return FoundPrompt(
        prompt=str(found.finalists[0].prompt) if compared(found) else start,
        start=start,
        nearest=" ".join(place[0] for place in places),
        path=way.path,
        seen=tuple((str(c.prompt), seen[c]) for c in ranked),
        identification=found,
        evaluations=way.evaluations + look.spent + found.evaluations - target.evaluations,
        notes=(*way.notes, *found.notes),
        ended=ended,
    )


def _check(pipe: Any, image: Any, own: Options) -> None:
    """Raise if the device cannot do it, or an option would be dropped."""
    if not has_float64(pipe._execution_device):
        raise ValueError(
            f"{pipe._execution_device} has no float64, in which the gradient is computed: load the "
            "pipeline on another device"
        )
    _check_options(own, [name for name in USED if name != "method"], image, "find_prompt")


def _phrases(lexicon: Lexicon, start: str, places: Sequence[Sequence[str]]) -> Phrases:
    """The start, also filled up, all nearest words; each with other words, then fewer, at places.

    Words are left out last: of a prompt with a wrong one nearly every shorter one is more probable.
    """
    own = [lexicon.tokenizer.decode([token]).strip() for token in lexicon.ids(start)]
    best = [place[0] for place in places]
    ways = {
        "start": [*own, *[""] * (len(places) - len(own))],
        "filled": [*own, *best[len(own) :]],
        "nearest": best,
    }
    attributes: dict[str, Sequence[Any]] = {
        f"word {k + 1}": (None, *place) for k, place in enumerate(places)
    }
    attributes |= {"words": tuple(ways)}
    attributes |= {f"without {k + 1}": (False, True) for k in range(len(places))}

    def write(at: Mapping[str, Any]) -> str:
        left = [at[f"without {k + 1}"] for k in range(len(places))]
        chosen = ["" if left[k] else at[f"word {k + 1}"] for k in range(len(places))]
        if at["words"] == "start" and not any(word is not None for word in chosen):
            return start
        whole = zip(ways[at["words"]], chosen, strict=True)
        return " ".join(filter(None, (old if new is None else new for old, new in whole)))

    return Phrases(attributes, write)


@dataclass(frozen=True)
class Climb:
    """Where the likelihood is highest on a way over embeddings.

    Attributes:
        embedding: there, ``[N, C]``.
        path: the rough log-likelihoods on the way.
        evaluations: network evaluations.
        notes: why it ended early.
    """

    embedding: Tensor
    path: tuple[float, ...]
    evaluations: int
    notes: tuple[str, ...] = ()


def climb(problem: Problem, wording: Wording, rounds: int, *, seed: int = 0) -> Climb:
    """Climb the likelihood of one sample over the embeddings of a prompt, by Adam.

    Args:
        problem: that of the call with the prompt ``wording.text``.
        wording: the embeddings.
        rounds: steps.
        seed: of the vectors of signs that estimate the determinant's gradient, one a step.

    Raises:
        ValueError: if the network is not called directly, or more than once a step.
    """
    network: Any = problem.denoiser
    if network.replay is not None and len(network.replay.calls) > 1:
        raise ValueError(
            f"the network is called {len(network.replay.calls)} times a step, so that the prompt's "
            "condition is not known from the others: give the call without guidance"
        )
    embedding = wording.start.clone().requires_grad_()
    rate = RATE * wording.lexicon.table.square().mean().sqrt().item()
    optimiser = torch.optim.Adam([embedding], lr=rate)
    draw = torch.Generator().manual_seed(seed)
    best, path, spent, states = embedding.detach().clone(), list[float](), 0, None
    for k in range(rounds):
        if stopped():
            break
        enter("climb", k, rounds)
        values = wording.conditions(embedding, network)
        here = replace(problem, denoiser=conditioned(network, values))
        found = _root(here, states)
        spent += int(found.nfe.max())
        if found.reason[0] not in ROOTS:
            note = f"no noise was found after {k} of {rounds} rounds ({found.reason[0]})"
            return Climb(best, tuple(path), spent, (note,))
        states = found.states
        look = first_look(here)
        path.append(look.log_p)
        if path[-1] >= max(path):
            best = embedding.detach().clone()
        shape = (1, problem.solver.steps, *problem.image.shape[1:])
        signs = 2.0 * torch.randint(0, 2, shape, generator=draw) - 1
        gradient, cost = likelihood_gradient(
            here, states, [embedding], signs.to(states), forcing=FORCING
        )
        count({0: cost + look.nfe})
        spent += cost + look.nfe
        (embedding.grad,) = gradient
        optimiser.step()
    return Climb(best, tuple(path), spent)


def _root(problem: Problem, states: Tensor | None) -> Inversion:
    """The root from the states of the one before; where that fails, from the beginning."""
    method = partial(multisecant, start=states, tol=ROOT)
    given = problem.denoiser, problem.image, problem.solver
    found = invert(*given, method=method, max_batch=problem.max_batch)
    if found.reason[0] in ROOTS or stopped():
        return found
    again = bounded(*given, max_batch=problem.max_batch)
    return replace(again, nfe=again.nfe + found.nfe)
