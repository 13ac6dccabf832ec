"""What a recovered noise says of its marks, and how sure a few pictures make that."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
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

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n},
              \qquad z = 1.96

    Args:
        hits: outcomes of n independent trials, bool.
    """
    z, n, share = 1.96, hits.numel(), hits.double().mean().item()
    middle, spread = share + z**2 / (2 * n), z * (share * (1 - share) / n + (z / n / 2) ** 2) ** 0.5
    return (middle - spread) / (1 + z**2 / n), (middle + spread) / (1 + z**2 / n)


def student(values: Tensor) -> tuple[float, float]:
    r"""95 % t interval of a mean, with Fisher's expansion of the quantile in :math:`1/\nu`.

    .. math:: \bar x \pm t_\nu\,s/\sqrt n, \qquad
              t_\nu \approx z + \frac{z^3+z}{4\nu} + \frac{5z^5+16z^3+3z}{96\nu^2}
              + \frac{3z^7+19z^5+17z^3-15z}{384\nu^3}, \qquad \nu = n - 1

    Args:
        values: n independent numbers; from n = 6 on, the quantile is right to 0.2 %.
    """
    z, n, mean = 1.959964, values.numel(), values.mean().item()
    v = n - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    spread = t * values.std().item() / n**0.5
    return mean - spread, mean + spread
