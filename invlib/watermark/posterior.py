"""Whose key is in a noise? From what was recovered to a posterior over no key and K keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..markdown import table
from .error_model import ErrorModel
from .ratios import Key, PayloadGroup, group, with_loss
from .sureness import sureness
from .transfer import Belief, most_likely
from .tree_ring import TreeRing

SURE = 0.9  # posterior probability from which a decision is made
FAR = 10.0  # nats by which a second key, in other channels, has to be likelier than no key
SHOWN = 5  # keys in a table
RESERVED = ("none", "no key", "cannot tell")  # what answers call something else than a key


@dataclass(frozen=True)
class Identification:
    r"""Whose key pictures hold.

    Probabilities are those of one key or none. Where a picture holds several, in different
    channels, the strongest one gets nearly all, and the others seem to be absent: see ``also``.

    Attributes:
        posterior: probabilities of no key, key 1, ..., key K, ``[B, K+1]``.
        log_ratios: logarithms of the likelihood ratios of the keys against no key, ``[B, K]``.
        log10_p: decimal logarithms of the p-values: of the probability that noise without any
            of the keys comes as near to the nearest, ``[B]``. Phases or streams of keys are
            random; the spread that this gives to scores is corrected to the measured one.
        passage: the passage under which the picture is most probable, such as ``JPEG 75``.
        names: the names of the keys.
        sure: the probability from which a decision is made.
        payload: where a single key has an unknown payload, the log-odds of its bits under the
            likeliest passage and scale, to the power of the likelihood ratios, ``[B, bits]``.
        own_odds: natural logarithm of the odds of each key against no key, whatever the other keys
            say, with its share of the prior, ``[B, K]``; None if that is not known.
        channels: the channels that each key fills, ``K`` sets; empty if they are not known.
    """

    posterior: Tensor
    log_ratios: Tensor
    log10_p: Tensor
    passage: tuple[str, ...]
    names: tuple[str, ...]
    sure: float = SURE
    payload: Tensor | None = field(default=None, repr=False)
    own_odds: Tensor | None = field(default=None, repr=False)
    channels: tuple[frozenset[int], ...] = field(default=(), repr=False)

    @property
    def log_odds(self) -> Tensor:
        """Natural logarithm of the odds of each key against all else, ``[B, K]``."""
        own = self.posterior[:, 1:].clamp(1e-300, 1.0)
        best = self.posterior.argmax(1, keepdim=True)
        rest = self.posterior.scatter(1, best, 0.0).sum(1, keepdim=True)  # 1 - p would be rounded
        others = (1 - self.posterior).scatter(1, best, rest)[:, 1:]
        return own.log() - others.clamp(min=1e-300).log()

    @property
    def also(self) -> tuple[tuple[str, ...], ...]:
        """Keys of each picture that are there beside the likeliest one, in other channels.

        Each of them, and the likeliest one, is by ``FAR`` nats likelier than no key.
        """
        if self.own_odds is None or not self.channels:
            return ((),) * len(self.posterior)
        found = []
        for row in self.own_odds:
            taken: list[int] = []
            for j in row.argsort(descending=True).tolist():
                if row[j] < FAR:
                    break
                if all(self.channels[j].isdisjoint(self.channels[i]) for i in taken):
                    taken.append(j)
            found.append(tuple(self.names[j] for j in taken[1:]))
        return tuple(found)

    @property
    def index(self) -> Tensor:
        """What is most probable, ``[B]``: 0 for no key, j for key j."""
        return self.posterior.argmax(1)

    @property
    def margin(self) -> Tensor:
        """Log-odds of what is most probable against what is next, ``[B]``."""
        two = self.posterior.clamp(min=1e-300).log().topk(2, dim=1).values
        return two[:, 0] - two[:, 1]

    @property
    def decision(self) -> tuple[str, ...]:
        """The name of a key, ``none``, or ``cannot tell``, one for each picture."""
        names = ("none", *self.names)
        return tuple(
            names[int(i)] if p >= self.sure else "cannot tell"
            for i, p in zip(self.index, self.posterior.amax(1), strict=True)
        )

    def markdown(self) -> str:
        """A table: for every picture what is most probable, and how sure that is."""
        names, lines = ("none", *self.names), []
        for b, decision in enumerate(self.decision):
            best = self.posterior[b].topk(min(SHOWN, len(names)))
            likely = ", ".join(
                f"{names[int(i)]} {_percent(p.item())}" for p, i in zip(*best, strict=True)
            )
            p = f"{10 ** self.log10_p[b].item():.2g}"
            lines.append([str(b), decision, likely, p, self.passage[b]])
        head = ["picture", "decision", "probabilities", "p without a key", "as after"]
        return table(head, lines, right=("picture", "p without a key"))

    def __str__(self) -> str:
        return "\n".join(self._sentences())

    def _sentences(self) -> list[str]:
        """What is said of each picture, ``B``."""
        names = ("none", *self.names)
        sentences = []
        for b, decision in enumerate(self.decision):
            two = self.posterior[b].topk(2)
            first, second = (names[int(i)] for i in two.indices)
            p, q = (_percent(v.item()) for v in two.values)
            told = {"none": "no key", "cannot tell": "cannot tell"}.get(decision, decision)
            sentences.append(
                f"picture {b}: {told} ({first} {p}, next {second} {q}; p = "
                f"{10 ** self.log10_p[b].item():.2g} without a key; as after {self.passage[b]})"
                f"{self._beside(b)}"
            )
        return sentences

    def _beside(self, b: int) -> str:
        """The keys that are there as well, and their own odds, as an addition to the sentence."""
        each = []
        for name in self.also[b]:
            assert self.own_odds is not None
            odds = self.own_odds[b, self.names.index(name)].item() / math.log(10)
            each.append(f"{name} (odds of 1e{odds:.0f} against no key)")
        return f"; in other channels also {', '.join(each)}" if each else ""


def _percent(p: float) -> str:
    """A probability in words that never says 100 % of what is less."""
    if p > 0.9995:
        return f"all but {1 - p:.0e}" if p < 1 else "all"
    return f"{100 * p:.1f} %" if p >= 0.0005 else f"{p:.0e}"


def whose(
    views: Mapping[str, Tensor],
    keys: Mapping[str, Key] | Sequence[Key],
    errors: ErrorModel,
    *,
    none: float = 0.5,
    sure: float = SURE,
) -> Identification:
    r"""The posterior over no key and K keys, given what was recovered of pictures.

    .. math:: \Pr(j \mid Y) \propto \pi_j \Lambda_j, \qquad
              \Lambda_j = \epsilon + (1 - \epsilon) \sum_{a, \tau} w_{a\tau}(Y)\,
              \Lambda_j(Y; a, \tau)^{\beta_a}, \qquad \Lambda_0 = 1

    The sum is over what may have happened to the picture, a, and over scales of the error;
    :math:`\beta` is measured on the calibration pictures, and :math:`\epsilon` is the probability
    that a mark is lost.

    Args:
        views: what was recovered, ``[B, C, H, W]``, for every passage of ``errors``.
        keys: the keys, with names or without.
        errors: the measured errors.
        none: prior probability of no key; the others share the rest.
        sure: the probability from which a decision is made.

    Raises:
        ValueError: if a key is not for such noise, or has a name that cannot be; if the views are
            not those of the model, or a probability is none.
        TypeError: if a key is none.
    """
    check_probabilities(none=none, sure=sure)
    if set(views) != set(errors.recovered):
        raise ValueError(f"give what was recovered after each of {', '.join(errors.recovered)}")
    named = named_keys(keys)
    groups = group(list(named.values()), errors.shape)
    log_w, beliefs = errors.beliefs(views)
    flat = [belief for each in beliefs for belief in each]
    ratios = torch.empty(len(log_w), len(named), dtype=torch.float64)
    tails = torch.empty_like(ratios)
    likely, passage = most_likely(log_w, flat), _passages(log_w, list(views))
    for some in groups:
        known = sureness(errors, some)
        power = torch.tensor([known[name].power for name in passage], dtype=torch.float64)
        each = [
            known[name].power * some.log_ratios(belief)
            for name, scales in zip(views, beliefs, strict=True)
            for belief in scales
        ]
        ratios[:, some.index] = torch.logsumexp(log_w[:, :, None] + torch.stack(each, 1), 1)
        spread = torch.tensor([known[name].spread for name in passage], dtype=torch.float64)
        tails[:, some.index] = torch.special.log_ndtr(-some.deviates(likely) / spread[:, None])
    ratios = with_loss(ratios)
    prior = math.log(1 - none) - math.log(len(named))
    scores = torch.cat([ratios.new_full((len(ratios), 1), math.log(none)), prior + ratios], 1)
    return Identification(
        posterior=scores.softmax(1),
        log_ratios=ratios,
        log10_p=_of_all(tails) / math.log(10),
        passage=passage,
        names=tuple(named),
        sure=sure,
        payload=_payload(groups, likely, power),
        own_odds=prior - math.log(none) + ratios,
        channels=tuple(map(_channels, named.values())),
    )


def named_keys(keys: Mapping[str, Key] | Sequence[Key]) -> dict[str, Key]:
    """Keys by their names; without any they are ``key 1``, ``key 2`` and so on.

    Raises:
        ValueError: if a key has the name of another answer, or one of several lines.
    """
    if isinstance(keys, Mapping):
        check_names(keys)
        return dict(keys)
    return {f"key {j}": key for j, key in enumerate(keys, 1)}


def check_names(names: Iterable[str]) -> None:
    """Refuse names of keys that mean another answer, or have more than one line.

    Raises:
        ValueError: if one does, or has.
    """
    for name in names:
        if name in RESERVED:
            raise ValueError(f"no key can be named {name!r}, which is an answer: rename that key")
        if str(name).splitlines() not in ([str(name)], []):
            raise ValueError(f"no key can be named {name!r}, which has a line break: rename it")


def check_probabilities(**given: float) -> None:
    """Refuse priors and levels that are no probabilities, by their names.

    Raises:
        ValueError: if one is not above 0 and below 1.
    """
    for name, value in given.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be a probability above 0 and below 1, got {value}")


def _of_all(log_tails: Tensor) -> Tensor:
    r"""Log p-value of the nearest of K keys, :math:`1 - (1 - \min p)^K`."""
    lowest, count = log_tails.amin(1).clamp(max=-1e-12), log_tails.shape[1]
    exact = (-torch.expm1(count * torch.log1p(-lowest.exp()))).log()
    return torch.where(lowest + math.log(count) < -10, lowest + math.log(count), exact)


def _passages(log_w: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    each = log_w.view(len(log_w), len(names), -1).logsumexp(2)
    return tuple(names[int(i)] for i in each.argmax(1))


def _channels(key: Key) -> frozenset[int]:
    """The channels that a key fills."""
    if isinstance(key, TreeRing):
        return frozenset({key.channel})
    return frozenset(range(key.channels.start, key.channels.stop))


def _payload(groups: Sequence[object], belief: Belief, power: Tensor) -> Tensor | None:
    """The log-odds of the bits of a single key: as sure, ``power [B]``, as one may be of keys."""
    if len(groups) == 1 and isinstance(groups[0], PayloadGroup) and len(groups[0].ones) == 1:
        votes = groups[0].bits(belief)[0]
        return power[:, None] * (votes[..., 1] - votes[..., 0])
    return None
