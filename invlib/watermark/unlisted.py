r"""What may have happened to a picture beside the listed passages: it was moved, or who knows what.

.. math:: \Lambda_j = w_0 \Lambda_j(\text{listed}) + \frac{w_1}{m} \sum_{\theta} \Lambda_j(\theta)
          + w_2, \qquad w_0 + w_1 + w_2 = 1

with m places :math:`\theta` where the picture may have been cropped from. After an unknown change
the data say nothing about keys: its ratio is 1. Places and weights are chosen without looking at
keys, so that the mean ratio of random keys stays 1, and no place is paid for in false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .error_model import ErrorModel
from .posterior import Identification
from .transfer import Transfer

LISTED, MOVED, UNKNOWN = 0.5, 0.3, 0.2  # before looking, where a picture may have been moved
POOR = 0.01  # share of pictures of the call that fit the listed passages as badly
FEWEST = 6  # calibration pictures, of which some can be left out
CHANGED = "an unknown change"


@dataclass(frozen=True)
class Finding(Identification):
    """Whose key pictures hold, and what was done to find out.

    Attributes:
        notes: what was done to the pictures, and what to give instead.
    """

    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([*self._sentences(), *self.notes])


def fits(errors: ErrorModel, views: Mapping[str, Tensor]) -> Tensor:
    r"""The share of pictures of the call that fit the listed passages as badly or worse, ``[B]``.

    The log-density of what was recovered is compared with that of calibration pictures which were
    left out of the fit, by Student's law; the passage counts that the pictures fit best.

    Args:
        errors: the measured errors.
        views: what was recovered of the pictures, for every passage.

    Returns:
        The shares; 1 where fewer than six calibration pictures cannot tell.
    """
    count = len(errors.noise)
    if count < FEWEST:
        return torch.ones(len(next(iter(views.values()))), dtype=torch.float64)
    shares = []
    for name, y in views.items():
        known = errors.recovered[name]
        each = [density(part, known[own]) for own, part in errors.left_out[name]]
        alone = torch.cat(each)
        apart = density(errors.transfers[name], y) - alone.mean()
        t = apart / (alone.std() * math.sqrt(1 + 1 / count)).clamp(min=1e-12)
        shares.append(torch.special.ndtr(_normal(t, count - 1)))
    return torch.stack(shares).amax(0)


def density(transfer: Transfer, recovered: Tensor) -> Tensor:
    """Logarithm of the density of recovered noises, whatever the scale of the error, ``[B]``."""
    return torch.logsumexp(transfer.log_prior + transfer.evidence(recovered), 1)


def weights(fit: Tensor, *, moved: bool) -> Tensor:
    r"""Probabilities that a listed passage happened, a move, and an unknown change, ``[B, 3]``.

    A share p of pictures that fit as badly speaks against the listed passages by a factor of
    :math:`-e\,p \ln p` at most (for p below 1/e). Where the picture was not moved, as far as is
    known, an unknown change counts only if p is below .01.

    Args:
        fit: the shares p, ``[B]``.
        moved: whether the picture may have been moved.
    """
    p = fit.clamp(1e-300, 1 / math.e)
    listed = LISTED * -math.e * p * p.log()
    move = torch.full_like(p, MOVED if moved else 0.0)
    unknown = torch.full_like(p, UNKNOWN)
    if not moved:
        unknown = torch.where(fit < POOR, unknown, 0.0)
    found = torch.stack([listed, move, unknown], 1)
    return found / found.sum(1, keepdim=True)


def mixed(
    listed: Identification,
    places: Sequence[Identification],
    names: Sequence[Sequence[str]],
    share: Tensor,
    none: float,
) -> tuple[Identification, Tensor]:
    """The posterior when what happened may be in no list.

    The p-value is that of the best of all places, as many times as there are.

    Args:
        listed: the posterior under the listed passages.
        places: those under the same passages after each of m moves was undone.
        names: what to call each move, for each picture.
        share: probabilities of the three, ``[B, 3]``.
        none: prior probability of no key.

    Returns:
        The posterior, and which part explains each picture best, ``[B]``: 0 for the listed
        passages, 1 to m for the moves, then an unknown change. Where no unknown change counts and
        nothing was moved, the posterior is the given one.
    """
    parts, m = [listed, *places], len(places)
    unknown = share[:, 2:] if m else share[:, 1:].sum(1, keepdim=True)  # where nobody looked, too
    each = torch.cat([share[:, :1], share[:, 1:2].expand(-1, m) / max(m, 1), unknown], 1)
    ratios = torch.stack([p.log_ratios for p in parts], 1)
    ratios = torch.cat([ratios, torch.zeros_like(ratios[:, :1])], 1) + each.log()[:, :, None]
    total = ratios.logsumexp(1)
    prior = math.log(1 - none) - math.log(total.shape[1])
    scores = torch.cat([torch.full_like(total[:, :1], math.log(none)), prior + total], 1)
    explained = torch.cat([each.log()[:, :, None] + math.log(none), prior + ratios], 2)
    best = explained.logsumexp(2).argmax(1)
    told = [[*p.passage] for p in parts[:1]]
    told += [list(n) for n in names] + [[CHANGED] * len(total)]
    tails = torch.stack([p.log10_p for p in parts]).amin(0) + math.log10(len(parts))
    found = replace(
        listed,
        posterior=scores.softmax(1),
        log_ratios=total,
        log10_p=tails.clamp(max=0.0),
        own_odds=prior - math.log(none) + total,
        passage=tuple(told[int(i)][b] for b, i in enumerate(best)),
    )
    return found, best


def _normal(t: Tensor, degrees: int) -> Tensor:
    """Deviates of the normal law that are as rare as those of Student's (Wallace)."""
    scale = (8 * degrees + 1) / (8 * degrees + 3)
    return scale * t.sign() * (degrees * (t.square() / degrees).log1p()).sqrt()
