"""What a recovered noise says of its marks, and how sure a few pictures make that."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from scipy import stats
from torch import Tensor

from ...metrics import nmse
from ...watermark import classify, nmae, variance_outside
from .marked import KEYS, keys_named, noises, shading_for

ALARM = -2.0  # log10 of the p-value below which a key counts as detected


@dataclass(frozen=True)
class Scores:
    """Scores of P prompts with K keys each.

    Attributes:
        nmae: NMAE of the key's spectrum as in Figure 4, ``[P, K]``.
        index: the key that it is taken for, ``[P, K]``.
        detected: whether the true key is detected, ``[P, K]``.
        alarms: in which of the other channels the same test finds the key, though it is not
            there, ``[P, K, C - 1]``.
        signs: share of values of the other channels whose sign is right, ``[P, K]``.
        bits: share of the payload's bits that are right, ``[P, K]``.
        whole: whether all bits are right, ``[P, K]``.
        noise: NMSE of the noise, ``[P, K]``.
    """

    nmae: Tensor
    index: Tensor
    detected: Tensor
    alarms: Tensor
    signs: Tensor
    bits: Tensor
    whole: Tensor
    noise: Tensor


def read(recovered: Tensor, prompt: int, keys: str) -> Scores:
    """The scores of one prompt.

    Args:
        recovered: recovered noise, ``[K, C, H, W]``.
        prompt: number of the prompt.
        keys: name of the keys.
    """
    recovered = recovered.double()
    shape = tuple(recovered.shape[1:])
    each, truth = keys_named(keys, (shape[1], shape[2])), noises(prompt, keys, shape)
    variance = variance_outside(recovered, each[0])
    distance, found, alarms = [], [], []
    for i, key in enumerate(each):
        one = slice(i, i + 1)
        distance.append(nmae(recovered[one], truth.before[one], key))
        absent = [replace(key, channel=c) for c in range(shape[0]) if c != key.channel]
        levels = [k.detect(recovered[one], variance=variance[one]).log10_p for k in (key, *absent)]
        found.append(levels[0] < ALARM)
        alarms.append(torch.cat(levels[1:]) < ALARM)
    code = shading_for(shape)
    message, payload = code.recover(recovered[:, 1:]), truth.payload
    right = (message.bits == payload).double().mean(1)
    scores = Scores(
        nmae=torch.cat(distance),
        index=classify(recovered, each).index,
        detected=torch.cat(found),
        alarms=torch.stack(alarms),
        signs=(1 + message.votes * (2.0 * payload - 1)).mean(1) / 2,
        bits=right,
        whole=right == 1,
        noise=nmse(recovered, truth.marked),
    )
    return Scores(**{f.name: getattr(scores, f.name)[None] for f in fields(Scores)})


def together(parts: list[Scores]) -> Scores:
    """The scores of several prompts."""
    return Scores(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Scores)}
    )


def correct(index: Tensor) -> Tensor:
    """Which keys ``[P, K]`` are taken for what they are."""
    return index == torch.arange(KEYS)


def wilson(hits: Tensor) -> tuple[float, float]:
    r"""Wilson's 95 % interval of a probability, which does not end at 0 or 1 by itself.

    Its ends are the p with

    .. math:: |\hat p - p| = z\sqrt{p(1-p)/n}, \qquad z = 1.96

    Args:
        hits: outcomes of n independent trials, bool.
    """
    found = stats.binomtest(int(hits.sum()), hits.numel()).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def student(values: Tensor) -> tuple[float, float]:
    r"""95 % t interval of a mean.

    .. math:: \bar x \pm t_\nu\,s/\sqrt n, \qquad \nu = n - 1

    Args:
        values: n independent numbers.
    """
    n, mean = values.numel(), values.mean().item()
    spread = float(stats.t.ppf(0.975, n - 1)) * values.std().item() / n**0.5
    return mean - spread, mean + spread
