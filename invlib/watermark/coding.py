"""An error-correcting code for payloads: what is read wrongly in a few places comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..extras import need
from .gaussian_shading import Message, bits_of, bytes_of

LONGEST = 255  # bytes of a word
CHECKS = 4  # parity bytes that are never spent on erasures, so that a wrong word is noticed


@dataclass(frozen=True)
class Decoded:
    """What a code made of one message.

    Attributes:
        payload: the bytes; None if the code found none.
        corrected: bytes of the word that were read wrongly.
        erased: bytes that were not believed, whatever they said.
    """

    payload: bytes | None
    corrected: int
    erased: int


@dataclass(frozen=True)
class ReedSolomon:
    r"""Bytes with parity bytes, as the payload of Gaussian Shading.

    A word of d + p bytes is decoded if, beside e erased bytes, at most

    .. math:: t = \lfloor (p - e)/2 \rfloor

    are wrong. Which bytes to erase the votes tell: first none, then the two least believed, then
    four ..., and of the words that are found the one which the votes agree with best is taken.
    Needs the package reedsolo (``invlib[codes]``).

    Attributes:
        data: bytes d of a payload.
        parity: bytes p added to them.

    Raises:
        ValueError: if the word is longer than 255 bytes, or a number is too small.

    Source: Forney, "Generalized minimum distance decoding", IEEE Trans. Inf. Theory 12 (1966).

    Example:
        >>> code = ReedSolomon(data=8, parity=8)
        >>> bits = code.encode(b"invlib 1")
        >>> votes = 2.0 * bits.double() - 1
        >>> votes[:32] *= -1  # four bytes are wrong
        >>> code.decode(Message(votes[None] > 0, votes[None]))
        [Decoded(payload=b'invlib 1', corrected=4, erased=0)]
    """

    data: int
    parity: int

    def __post_init__(self) -> None:
        if self.data < 1 or self.parity < CHECKS or self.data + self.parity > LONGEST:
            raise ValueError(
                f"a word has at least 1 byte of data and {CHECKS} of parity, and at most "
                f"{LONGEST} in all, got {self.data} and {self.parity}"
            )

    @property
    def bits(self) -> int:
        """Bits of a word, the ``bits`` of ``GaussianShading``."""
        return 8 * (self.data + self.parity)

    def encode(self, payload: bytes) -> Tensor:
        """The bits of a payload's word, bool ``[bits]``.

        Raises:
            ValueError: if the payload has another length.
            ImportError: if reedsolo is missing.
        """
        if len(payload) != self.data:
            raise ValueError(f"the payload has {len(payload)} bytes, the code {self.data}")
        return bits_of(bytes(self._codec().encode(payload)))

    def decode(self, message: Message) -> list[Decoded]:
        """The payloads of all samples of a message.

        Args:
            message: what was read, with its votes. Of log-odds, such as the ``payload`` of an
                :class:`invlib.watermark.Identification`, it is
                ``Message(odds > 0, torch.tanh(odds / 2))``.

        Raises:
            ValueError: if the message has another number of bits.
            ImportError: if reedsolo is missing.
        """
        if message.bits.shape[1] != self.bits:
            raise ValueError(f"a message of {message.bits.shape[1]} bits, the code has {self.bits}")
        codec = self._codec()
        return [
            self._decoded(codec, bits, votes)
            for bits, votes in zip(message.bits.cpu(), message.votes.cpu(), strict=True)
        ]

    def _codec(self) -> Any:
        need("codes")
        from reedsolo import RSCodec

        return RSCodec(self.parity)

    def _decoded(self, codec: Any, bits: Tensor, votes: Tensor) -> Decoded:
        """The word that the votes of one sample agree with best."""
        from reedsolo import ReedSolomonError

        word = bytes_of(bits)
        doubtful = votes.abs().view(-1, 8).amin(1).argsort().tolist()
        best, agreement = Decoded(None, 0, 0), -torch.inf
        for erased in range(0, self.parity - CHECKS + 1, 2):
            try:
                payload, whole, _ = codec.decode(word, erase_pos=doubtful[:erased])
            except ReedSolomonError:
                continue
            fits = ((2.0 * bits_of(bytes(whole)).double() - 1) * votes).sum().item()
            if fits > agreement:
                wrong = sum(a != b for a, b in zip(word, whole, strict=True))
                best, agreement = Decoded(bytes(payload), wrong, erased), fits
        return best
