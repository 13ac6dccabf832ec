"""From a picture of a diffusers pipeline back to the noise that the pipeline made it from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import DECODERS, DecoderInversion, DecoderInverter, joint
from ..certificate import Certificate, certify
from ..inversion import Inversion, Inverter, invert, inverter
from ..sampling import as_state
from .families import family_of
from .family import Family
from .images import as_box
from .request import complete
from .settings import Settings


@dataclass(frozen=True)
class ImageInversion:
    """The noise of a picture, in the form that its pipeline takes.

    Attributes:
        inversion: what :func:`invlib.invert` found, in float64.
        latents: the noise as ``pipe(..., latents=latents)`` takes it: its layout, its scale (the
            pipeline multiplies by ``init_noise_sigma`` itself), and the network's dtype.
        target: the clean latents, or pixels in [-1, 1], that were inverted.
        decoding: how the latents were found, if an image was inverted and the pipeline decodes.
        certificate: how exact the noise is for ``target``; None if it was not asked for.
        settings: what to call the pipeline with to make the picture again.
        notes: what was assumed, and what the certificate does not say.
    """

    inversion: Inversion
    latents: Tensor
    target: Tensor
    decoding: DecoderInversion | None
    certificate: Certificate | None
    settings: Settings
    notes: tuple[str, ...]


def invert_image(
    pipe: Any,
    image: Any,
    *,
    prompt: Any = None,
    negative_prompt: Any = None,
    guidance_scale: float | None = None,
    num_inference_steps: int = 50,
    method: str | Inverter = "exact",
    decoder: str | DecoderInverter = "quasi_newton",
    refine: bool = False,
    certificate: bool = True,
    vectors: int = 0,
) -> ImageInversion:
    r"""Find the noise from which a pipeline made an image.

    .. math:: \text{image} \;\to\; z \in \mathrm{decode}^{-1}(\text{image})
              \;\to\; \text{noise} \in \Phi^{-1}(z)

    Args:
        pipe: a diffusers pipeline; its own network, encoders and scheduler are used, unchanged.
        image: a PIL image, an array ``[B, H, W, C]``, a tensor ``[B, C, H, W]``, or a list; 8-bit
            (uint8), or floating point in [0, 1].
        prompt: the prompt, or one for each image; class numbers or names for DiT. Without one the
            empty prompt is assumed, at guidance scale 1.
        negative_prompt: the negative prompt, or one for each image.
        guidance_scale: guidance scale; by default the pipeline's own default.
        num_inference_steps: the number of steps that made the image.
        method: how to invert the sampler; see :func:`invlib.invert`.
        decoder: how to invert the decoder: a name in ``invlib.autoencoder.DECODERS`` or a function.
        refine: estimate latents and noise together afterwards, at about three times the cost;
            see :func:`invlib.autoencoder.joint`.
        certificate: whether to certify the result (as many evaluations as there are steps).
        vectors: Lanczos vectors of the certificate; see :func:`invlib.certify`.

    Returns:
        An :class:`ImageInversion`; :func:`regenerate` makes the picture again from it.

    Raises:
        TypeError: if the pipeline is not supported, or an argument has the wrong type.
        ValueError: if the image is none of this pipeline's, or an argument does not fit.
        NotInvertible: if the pipeline's scheduler is stochastic or not affine.
    """
    family = family_of(pipe)
    box = as_box(image, family.channels(pipe), pipe._execution_device)
    size = tuple(box.center.shape[-2:])
    asked = (prompt, negative_prompt, guidance_scale, num_inference_steps)
    settings, notes = complete(family, pipe, len(box), size, asked)
    solver = family.solver(pipe, settings)
    denoiser, search = family.denoiser(pipe, settings), inverter(method)
    decoding = None
    if family.decodes:
        autoencoder = family.autoencoder(pipe)
        with torch.no_grad():
            decoding = _decoder(decoder)(autoencoder, box)
        target = family.pack(pipe, decoding.latents)
        notes.append("the certificate is about the latents; how they decode is in decoding")
        if autoencoder.dtype not in (torch.float32, torch.float64):
            notes.append(
                f"the pipeline rounds pictures in {autoencoder.dtype}, decoding in float32"
            )
    else:
        target = box.center
        if (box.lower < box.upper).any():
            notes.append("8-bit pixels: the certificate is about the centres of the rounding")
    if refine and (decoding is None or target.shape != decoding.latents.shape):
        raise ValueError(f"refine=True is not possible for {type(pipe).__name__}: give False")
    found = invert(denoiser, target, solver, method=search)
    if refine and decoding is not None:
        with torch.no_grad():
            decoding, found = joint(
                autoencoder, denoiser, box, solver, decoding, found, method=search
            )
    proof = certify(denoiser, found, solver, vectors=vectors) if certificate else None
    return _result(family, pipe, found, decoding, proof, settings, notes)


def invert_latents(
    pipe: Any,
    latents: Tensor,
    *,
    prompt: Any = None,
    negative_prompt: Any = None,
    guidance_scale: float | None = None,
    num_inference_steps: int = 50,
    height: int | None = None,
    width: int | None = None,
    method: str | Inverter = "exact",
    certificate: bool = True,
    vectors: int = 0,
) -> ImageInversion:
    """Find the noise of clean latents, as a pipeline returns them for ``output_type="latent"``.

    For pipelines without an autoencoder these are the pixels in [-1, 1], before the pipeline
    clamps and rounds them.

    Args:
        pipe: a diffusers pipeline.
        latents: clean latents, ``[B, c, h, w]``; for Flux packed ones, too.
        prompt: as for :func:`invert_image`, and so are the following.
        negative_prompt: the negative prompt, or one for each image.
        guidance_scale: guidance scale; by default the pipeline's own default.
        num_inference_steps: the number of steps that made the latents.
        height: height in pixels; needed for packed latents of Flux that are no square.
        width: width in pixels.
        method: how to invert the sampler; see :func:`invlib.invert`.
        certificate: whether to certify the result (as many evaluations as there are steps).
        vectors: Lanczos vectors of the certificate; see :func:`invlib.certify`.

    Raises:
        TypeError: if the pipeline is not supported, or an argument has the wrong type.
        ValueError: if the latents are none of this pipeline's, or an argument does not fit.
        NotInvertible: if the pipeline's scheduler is stochastic or not affine.
    """
    family = family_of(pipe)
    if not isinstance(latents, Tensor):
        raise TypeError(f"latents must be a tensor, got {type(latents).__name__}")
    latents = as_state(latents, "latents").to(pipe._execution_device)
    target = family.pack(pipe, latents)
    size = family.size(pipe, latents, height, width)
    asked = (prompt, negative_prompt, guidance_scale, num_inference_steps)
    settings, notes = complete(family, pipe, len(target), size, asked)
    solver = family.solver(pipe, settings)
    denoiser = family.denoiser(pipe, settings)
    found = invert(denoiser, target, solver, method=inverter(method))
    proof = certify(denoiser, found, solver, vectors=vectors) if certificate else None
    return _result(family, pipe, found, None, proof, settings, notes)


def _decoder(decoder: str | DecoderInverter) -> DecoderInverter:
    if not isinstance(decoder, str):
        return decoder
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}; use one of {', '.join(DECODERS)}")
    return DECODERS[decoder]


def _result(
    family: Family,
    pipe: Any,
    found: Inversion,
    decoding: DecoderInversion | None,
    certificate: Certificate | None,
    settings: Settings,
    notes: list[str],
) -> ImageInversion:
    """The noise in the dtype that the pipeline takes, with all that is known about it."""
    return ImageInversion(
        inversion=found,
        latents=found.noise.to(family.module(pipe).dtype),
        target=found.states[-1],
        decoding=decoding,
        certificate=certificate,
        settings=settings,
        notes=tuple(notes),
    )
