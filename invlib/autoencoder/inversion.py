"""The result of a decoder inversion, and the signature that all decoder inverters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..metrics import nmse
from .box import Box
from .model import Autoencoder


@dataclass(frozen=True)
class DecoderInversion:
    """The latents of images, as far as a method could find them.

    Attributes:
        latents: in the units of the sampler, float64 ``[B, c, h, w]``.
        image_nmse: NMSE between the decoded latents, clamped to [-1, 1], and the image, ``[B]``.
        inside: share of the image's values that the decoded latents round to, ``[B]``; for a
            float image, of those that they hit exactly.
        evaluations: evaluations of encoder and decoder that each image paid for, ``[B]``; a
            forward-mode derivative counts as two, a reverse-mode one as three.
        reason: why each search ended: ``converged`` (it rounds to the image), ``stalled``,
            ``budget``, ``interrupted`` (by Ctrl-C or a callback), or ``explicit`` for methods
            that do not search.
        method: name of the method.
    """

    latents: Tensor
    image_nmse: Tensor
    inside: Tensor
    evaluations: Tensor
    reason: tuple[str, ...]
    method: str


class DecoderInverter(Protocol):
    """The signature of decoder inverters; options are keywords with defaults."""

    def __call__(self, autoencoder: Autoencoder, box: Box) -> DecoderInversion:
        """Find latents whose decoding lies in ``box``."""
        ...


def judge(
    autoencoder: Autoencoder,
    box: Box,
    latents: Tensor,
    evaluations: Tensor,
    reason: tuple[str, ...],
    method: str,
) -> DecoderInversion:
    """Decode latents once more, uncounted, and say how well they explain the image.

    A search whose latents round to the image has converged, whatever ended it.
    """
    with torch.no_grad():
        picture = autoencoder.decode(latents)
    error = nmse(picture.clamp(-1, 1), box.center)
    rounds = (box.share_inside(picture) == 1).tolist()
    ends = zip(rounds, reason, strict=True)
    reason = tuple("converged" if r and e != "explicit" else e for r, e in ends)
    return DecoderInversion(latents, error, box.share_inside(picture), evaluations, reason, method)
