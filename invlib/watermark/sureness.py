"""How sure one may be of likelihood ratios: measured on pictures that were left out of the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .error_model import ErrorModel
from .ratios import Group, with_loss
from .transfer import Belief, Transfer, most_likely
from .tree_ring import spectrum

POWERS = torch.linspace(0.0, 1.0, 21, dtype=torch.float64)
TRIED = 4  # keys that each calibration picture is compared with
KNOWN = 1e-3  # variance of what is left open of a known noise
STANDARD = 16  # deviates of the theory that count beside the measured ones


@dataclass(frozen=True)
class Sureness:
    """How sure one may be of likelihood ratios and of deviates.

    Attributes:
        power: of the likelihood ratios.
        spread: root mean square of the deviates of noise without the key; 1 in theory, and where
            the deviates are those of a bound.
    """

    power: float
    spread: float


def sureness(errors: ErrorModel, group: Group, seed: int = 0) -> dict[str, Sureness]:
    r"""The power of the likelihood ratios after each passage at which posteriors are right.

    The errors at different frequencies are not independent, not quite normal, and few pictures tell
    little of them; ratios that ignore this are too sure. By how much, calibration pictures show
    that were left out of the fit of gain and error. Nothing is written into them, which would take
    the fitted gain for the true one: each is a picture without the keys, and one with the key that
    its own noise happens to hold, beside others that it does not hold. With the log-loss
    :math:`L(\beta)` of both answers over all of these pictures, the power is

    .. math:: \beta = \sum_b b\, e^{-L(b)} \Big/ \sum_b e^{-L(b)},

    the mean over a grid from 0 to 1: few pictures do not tell one power from another. The spread
    is that of the deviates of pictures without the keys; a bound of the p-value holds as it is.

    Args:
        errors: the measured errors.
        group: the keys.
        seed: which of the keys are tried.
    """
    draw = torch.Generator().manual_seed(seed)
    tried = group.some(torch.randperm(len(group.index), generator=draw)[:TRIED].tolist())
    shape = (len(tried.index), *errors.shape)
    strangers = group.held_by(torch.randn(shape, generator=draw, dtype=torch.float64))
    found = {}
    for name, y in errors.recovered.items():
        loss, deviates = POWERS.new_zeros(len(POWERS)), [POWERS[:0]]
        for out, part in errors.left_out[name]:
            log_w, beliefs = _seen(part, y[out])
            x = errors.noise[out].double()
            plain = ~_holds(x, tried)
            held, rest = group.held_by(x), [strangers.log_ratios(b) for b in beliefs]
            pairs = [*zip(beliefs, rest, strict=True)]
            none = [tried.log_ratios(b).where(plain[:, None], r) for b, r in pairs]
            own = [_with_own(held.log_ratios(b), r) for b, r in pairs]
            loss += _loss(log_w, none, 0) + _loss(log_w, own, 1)
            if not tried.bounded:
                deviates.append(tried.deviates(most_likely(log_w, beliefs))[plain].flatten())
        power = (POWERS * (-loss).softmax(0)).sum().item()
        found[name] = Sureness(power, _spread(torch.cat(deviates)))
    return found


def _holds(noise: Tensor, group: Group) -> Tensor:
    """Whether noises that are known hold one of the keys, bool ``[B]``."""
    known = Belief(spectrum(noise), torch.full_like(noise[:1], KNOWN))
    return (group.log_ratios(known) > 1).any(1)


def _seen(part: Transfer, recovered: Tensor) -> tuple[Tensor, list[Belief]]:
    """Log-weights of the scales of the error, ``[B, T]``, and what is believed at each."""
    log_w = (part.log_prior + part.evidence(recovered)).log_softmax(1)
    return log_w, part.believe_all(recovered)


def _with_own(held: Tensor, strangers: Tensor) -> Tensor:
    """Log-ratios of the key that each noise holds, and of keys that none does, ``[B, K]``."""
    return torch.cat([held.diagonal()[:, None], strangers[:, 1:]], 1)


def _loss(log_w: Tensor, ratios: Sequence[Tensor], truth: int) -> Tensor:
    """Log-loss at every power of the posterior, half of whose prior is on no key, ``[P]``.

    Args:
        log_w: weights of the T scales, ``[B, T]``.
        ratios: log-ratios at each, ``[B, K]``.
        truth: the right answer for all pictures: 0 for no key, 1 for the first.
    """
    each = POWERS[:, None, None, None] * torch.stack(list(ratios), 1)
    keys = with_loss(torch.logsumexp(log_w[:, :, None] + each, 2))
    keys = keys - math.log(keys.shape[-1])
    scores = torch.cat([torch.zeros_like(keys[..., :1]), keys], -1)
    return -scores.log_softmax(-1)[..., truth].sum(1)


def _spread(deviates: Tensor) -> float:
    """Root mean square of deviates, drawn towards 1 as far as so few do not tell it."""
    return math.sqrt((deviates.square().sum() + STANDARD) / (deviates.numel() + STANDARD))
