"""From the noise to the picture again, by the pipeline itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..denoisers import Denoiser
from .families import family_of
from .invert import ImageInversion
from .settings import Settings

OUTPUTS = ("pil", "np", "pt", "latent")


def regenerate(
    pipe: Any,
    noise: ImageInversion | Tensor,
    settings: Settings | None = None,
    *,
    output_type: str = "pil",
) -> Any:
    """Make the picture of a noise, with the stock call of the pipeline where it takes a noise.

    DDPMPipeline, DDIMPipeline and DiTPipeline draw their own; for them this is the same loop of
    network and scheduler, in the network's dtype as there.

    Args:
        pipe: the pipeline.
        noise: the result of :func:`invert_image` or :func:`invert_latents`, or noise as in its
            ``latents``.
        settings: what to call the pipeline with; that of the result by default.
        output_type: ``pil``, ``np``, ``pt``, or ``latent`` for the clean latents (or pixels
            before they are clamped).

    Returns:
        What the pipeline returns as ``images``: a list, an array or a tensor.

    Raises:
        TypeError: if there are no settings, or the pipeline is not supported.
        ValueError: if the settings are those of another pipeline, or the output type is unknown.
    """
    if isinstance(noise, ImageInversion):
        settings = noise.settings if settings is None else settings
        noise = noise.latents
    if settings is None:
        raise TypeError("give the settings that belong to this noise")
    family = family_of(pipe)
    if settings.pipeline != type(pipe).__name__:
        raise ValueError(f"these settings are of {settings.pipeline}, not {type(pipe).__name__}")
    if output_type not in OUTPUTS:
        raise ValueError(f"unknown output_type {output_type!r}; use one of {', '.join(OUTPUTS)}")
    noise = noise.to(pipe._execution_device, family.module(pipe).dtype)
    if family.takes_noise:
        return pipe(**family.call(settings), latents=noise, output_type=output_type).images
    with torch.no_grad():
        clean = _loop(pipe, family.denoiser(pipe, settings), noise, settings.num_inference_steps)
        if output_type == "latent":
            return clean
        decoded = family.autoencoder(pipe).decode(clean) if family.decodes else clean
    picture = (decoded / 2 + 0.5).clamp(0, 1).cpu()
    if output_type == "pt":
        return picture
    array = picture.permute(0, 2, 3, 1).float().numpy()
    return array if output_type == "np" else pipe.numpy_to_pil(array)


def _loop(pipe: Any, denoiser: Denoiser, x: Tensor, steps: int) -> Tensor:
    """The pipeline's loop on a copy of its scheduler."""
    scheduler = copy.deepcopy(pipe.scheduler)
    scheduler.set_timesteps(steps)
    scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
    for t in scheduler.timesteps:
        times = torch.as_tensor(t, device=x.device).expand(len(x))
        output = denoiser(scale(x, t), times)
        x = scheduler.step(output, t, x).prev_sample
    return x
