"""Messages in pictures: Gaussian Shading keys with an error-correcting code, and what is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .coding import ReedSolomon
from .error_model import ErrorModel
from .gaussian_shading import GaussianShading, Message
from .posterior import whose
from .ratios import Key
from .shading_key import ShadingKey
from .unlisted import Finding

PAD = b"\0"  # after a message that is shorter than the code's


@dataclass(frozen=True)
class MessageKey(ShadingKey):
    """A Gaussian Shading key whose payload is a message with parity bytes.

    Attributes:
        correction: the error-correcting code; its words are the payloads.

    Raises:
        ValueError: if the words of the code are no payloads of the key.

    Example:
        >>> import torch
        >>> key = MessageKey.of((4, 16, 16), b"secret", ReedSolomon(data=8, parity=8))
        >>> noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> marked = key.holding("invlib").embed(noise)
        >>> print(key.read(10.0 * key.code.recover(marked).votes[0]))
        message 'invlib' (99.9 % sure)
    """

    correction: ReedSolomon = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code.bits != self.correction.bits:
            raise ValueError(
                f"a payload has {self.code.bits} bits, a word of the code {self.correction.bits}: "
                "use MessageKey.of"
            )

    @classmethod
    def of(
        cls, shape: tuple[int, int, int], secret: bytes, correction: ReedSolomon, channel: int = 0
    ) -> MessageKey:
        """The key of a secret, without a message yet.

        Args:
            shape: channels, height and width of the part of the noise that it fills.
            secret: what makes it a key.
            correction: the error-correcting code.
            channel: the first channel.
        """
        return cls(
            GaussianShading(shape, correction.bits, secret), None, channel, correction=correction
        )

    def holding(self, message: str | bytes) -> MessageKey:
        """The key with a message, as :func:`invlib.watermark.identify_picture.embed` takes it.

        Args:
            message: text, or bytes that do not end in zeros; shorter ones are filled up.

        Raises:
            ValueError: if it is empty, too long, or ends in a zero byte.
            ImportError: if reedsolo is missing.
        """
        data = message.encode() if isinstance(message, str) else bytes(message)
        if not 0 < len(data) <= self.correction.data or data.endswith(PAD):
            raise ValueError(
                f"a message has 1 to {self.correction.data} bytes and does not end in a zero, got "
                f"{message!r} ({len(data)} bytes)"
            )
        word = self.correction.encode(data.ljust(self.correction.data, PAD))
        return replace(self, payload=word.to(torch.uint8))

    def read(self, odds: Tensor, present: float = 1.0) -> Letter:
        r"""The message in the log-odds of some bits.

        .. math:: \Pr(c \mid Y) = q\, \frac{P(c)}{P(c) + 2^{-8p}\,(1 - P(c))}, \qquad
                  P(c) = \prod_i \frac{1}{1 + e^{-(2c_i - 1)\lambda_i}}

        for the word c that was found. Of all other words, those of the code have the share
        :math:`2^{-8p}` in probability, as they have in number (which is so for a random code).

        Args:
            odds: natural log-odds :math:`\lambda` of the bits, ``[bits]``, such as the ``payload``
                of an :class:`Identification`.
            present: probability q that the key is there.
        """
        odds = odds.detach().cpu().double()
        message = Message(odds[None] > 0, torch.tanh(odds / 2)[None])
        found = self.correction.decode(message)[0]
        if found.payload is None:
            return Letter(None, 0.0)
        signs = 2.0 * self.correction.encode(found.payload).double() - 1
        log_p = torch.nn.functional.logsigmoid(signs * odds).sum()
        others = (-torch.expm1(log_p)).log() - 8 * self.correction.parity * math.log(2)
        share = torch.sigmoid(log_p - others).item()
        return Letter(found.payload.rstrip(PAD), present * share, found.corrected, found.erased)


@dataclass(frozen=True)
class Letter:
    """What was read of one message.

    Attributes:
        payload: the bytes; None if the code found no word.
        confidence: probability that the picture holds this message.
        corrected: bytes of the word that were read wrongly.
        erased: bytes that were not believed, whatever they said.
        sure: probability from which it counts as read.
    """

    payload: bytes | None
    confidence: float
    corrected: int = 0
    erased: int = 0
    sure: float = 0.9

    @property
    def text(self) -> str | None:
        """The message, in hexadecimal digits if it is no text; None if it cannot be read."""
        if self.payload is None or self.confidence < self.sure:
            return None
        try:
            return self.payload.decode()
        except UnicodeDecodeError:
            return f"0x{self.payload.hex()}"

    def __str__(self) -> str:
        if self.text is None:
            return "cannot read its message"
        percent = min(math.floor(1000 * self.confidence) / 10, 99.9)  # never 100
        return f"message {self.text!r} ({percent:g} % sure)"


@dataclass(frozen=True)
class Messages(Finding):
    """Whose key pictures hold, and what messages.

    Attributes:
        letters: the message of each picture, where its key is one for messages; else None.
    """

    letters: tuple[Letter | None, ...] = ()

    def _sentences(self) -> list[str]:
        both = zip(super()._sentences(), self.letters, strict=True)
        return [line if one is None else f"{line}; {one}" for line, one in both]


def with_messages(
    found: Finding,
    views: Mapping[str, Tensor],
    keys: Mapping[str, Key] | Sequence[Key],
    errors: ErrorModel,
) -> Finding:
    """The same with the messages of those pictures whose key is decided and made for messages.

    Args:
        found: whose keys the pictures hold.
        views: what was recovered of them, as :func:`invlib.watermark.posterior.whose` takes it.
        keys: the keys.
        errors: the measured errors.

    Returns:
        :class:`Messages`; what was given, if no key is one for messages.
    """
    each = [*(keys.values() if isinstance(keys, Mapping) else keys)]
    open_ = {
        name: (j, key)
        for j, (name, key) in enumerate(zip(found.names, each, strict=True), 1)
        if isinstance(key, MessageKey) and key.payload is None
    }
    if not open_:
        return found
    letters: list[Letter | None] = [None] * len(found.decision)
    for name, (j, key) in open_.items():
        rows = [b for b, decided in enumerate(found.decision) if decided == name]
        if not rows:
            continue
        own = whose({view: y[rows] for view, y in views.items()}, {name: key}, errors)
        assert own.payload is not None
        for b, odds in zip(rows, own.payload, strict=True):
            letter = key.read(odds, found.posterior[b, j].item())
            letters[b] = replace(letter, sure=found.sure)
    return Messages(**vars(found), letters=tuple(letters))
