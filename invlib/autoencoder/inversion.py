"""The result of a decoder inversion, and what all decoder inverters share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from ..metrics import nmse
from ..watch import count
from ..words import Reason
from .box import Box
from .model import Autoencoder, NoEncoder

Method = TypeVar("Method", bound=Callable[..., "DecoderInversion"])


@dataclass(frozen=True)
class DecoderInversion:
    """The latents of images, as far as a method could find them.

    Attributes:
        latents: in the units of the sampler, float64 ``[B, ...]``.
        image_nmse: NMSE between the decoded latents, clamped to [-1, 1], and the image, ``[B]``.
        inside: share of the image's values that the decoded latents round to, ``[B]``; for a
            float image, of those that they hit exactly.
        evaluations: evaluations of encoder and decoder that each image paid for, ``[B]``; a
            forward-mode derivative counts as two, a reverse-mode one as three.
        reason: why each search ended: ``converged`` (it rounds to the image), ``stalled``,
            ``budget``, ``interrupted`` (by Ctrl-C or a callback), ``explicit`` for methods that do
            not search, or ``nan`` where the decoder returns NaN or infinity.
        method: name of the method.
        note: what was unusual, a sentence, or nothing.
    """

    latents: Tensor
    image_nmse: Tensor
    inside: Tensor
    evaluations: Tensor
    reason: tuple[Reason, ...]
    method: str
    note: str = ""


class DecoderInverter(Protocol):
    """The signature of decoder inverters; options are keywords with defaults."""

    def __call__(self, autoencoder: Autoencoder, box: Box) -> DecoderInversion:
        """Find latents whose decoding lies in ``box``."""
        ...


def decoder_inverter(method: Method) -> Method:
    """Make a method work wherever it is called: under inference mode, autocast, or with gradients.

    Inside, nothing records gradients unless asked to, inputs are ordinary tensors, and the network
    computes in its own dtype.
    """

    @functools.wraps(method)
    def anywhere(autoencoder: Autoencoder, box: Box, **options: Any) -> DecoderInversion:
        kind = box.center.device.type
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(kind, enabled=False):
            options = {name: _ordinary(value) for name, value in options.items()}
            sides = (_ordinary(side) for side in (box.center, box.lower, box.upper))
            try:
                return method(_ordinary_autoencoder(autoencoder), Box(*sides), **options)
            except NotImplementedError as error:
                if "forward AD" not in str(error):
                    raise
                name = type(autoencoder.vae).__name__
                raise ValueError(
                    f"the decoder {name} has no forward-mode derivative: use quasi_newton"
                ) from error

    return cast(Method, anywhere)


def _ordinary(value: Any) -> Any:
    """Tensors of inference mode may not be differentiated; their copies may."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _ordinary_autoencoder(autoencoder: Autoencoder) -> Autoencoder:
    vae = autoencoder.vae
    if isinstance(vae, nn.Module) and any(p.is_inference() for p in vae.parameters()):
        raise ValueError(
            "the autoencoder was loaded under torch.inference_mode(), which forbids derivatives; "
            "load the pipeline outside of it"
        )
    options = {name: _ordinary(value) for name, value in autoencoder.options.items()}
    return replace(autoencoder, options=options)


@dataclass(frozen=True)
class First:
    """Where a search starts.

    Attributes:
        latents: the first latents, float64 ``[B, ...]``.
        evaluations: what each image paid for them.
        note: what was unusual.
    """

    latents: Tensor
    evaluations: int
    note: str


def first_latents(autoencoder: Autoencoder, box: Box, start: Tensor | None = None) -> First:
    """The given latents, else the encoder's; zeros, if there is no encoder.

    Raises:
        ValueError: if the encoder returns nothing but NaN, or there is none and the shape of the
            latents is not known either.
    """
    if start is not None:
        return First(start.detach().double(), 0, "")
    try:
        latents = autoencoder.encode(box.center)
    except NoEncoder as error:
        if autoencoder.to_decoder is None:
            raise ValueError(f"{error}: give the first latents as start, e.g. zeros") from error
        zeros = box.center.new_zeros(autoencoder.to_decoder.in_shape)
        return First(zeros, 0, f"{error}: the search started from zeros")
    count(dict.fromkeys(range(len(box)), 1))
    refuse_nan(latents, "encoder")
    return First(latents, 1, "")


def refuse_nan(values: Tensor, what: str) -> None:
    """Refuse values of which no sample is finite.

    Raises:
        ValueError: if there is NaN or infinity in every one.
    """
    if not values.isfinite().flatten(1).all(1).any():
        raise ValueError(
            f"the {what} returned NaN or infinity; load the autoencoder in float32 "
            "(pipe.vae.to(torch.float32))"
        )


def judge(
    autoencoder: Autoencoder,
    box: Box,
    latents: Tensor,
    evaluations: Tensor,
    reason: tuple[Reason, ...],
    method: str,
    note: str = "",
) -> DecoderInversion:
    """Decode latents once more, uncounted, and say how well they explain the image.

    A search whose latents round to the image has converged, whatever ended it.

    Raises:
        ValueError: if no picture is finite, or they have another shape than the images.
    """
    picture = autoencoder.decode(latents)
    error = nmse(picture.clamp(-1, 1), box.center)
    refuse_nan(picture, "decoder")
    inside = box.share_inside(picture)
    finite = picture.isfinite().flatten(1).all(1)
    reason = tuple(
        "nan" if not f else "converged" if i == 1 and r != "explicit" else r
        for f, i, r in zip(finite.tolist(), inside.tolist(), reason, strict=True)
    )
    return DecoderInversion(latents, error, inside, evaluations, reason, method, note)
