"""From the noise to the picture again, by the pipeline itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..devices import lowered
from .entrance import Entrance, stock
from .invert import ImageInversion
from .recording import one_copy
from .running import known_seed, untouched


def regenerate(
    pipe: Any,
    noise: ImageInversion | Tensor,
    call: Mapping[str, Any] | None = None,
    *,
    entrance: Entrance | None = None,
    seed: int | None = None,
    output_type: str = "pil",
) -> Any:
    """Make the picture of a noise with the stock call of the pipeline.

    Where the call has no argument ``latents``, the noise takes the place of what the pipeline
    draws, or of the first state of its loop; the rest of the call is the pipeline's own.

    Args:
        pipe: the pipeline.
        noise: the result of :func:`invert_image` or :func:`invert_latents`, or noise as in its
            ``latents``.
        call: the arguments of the call; those of the result by default.
        entrance: how the noise gets in; that of the result, or by ``latents``.
        seed: seed of the global generator, if it matters to the call; that of the result.
        output_type: ``pil``, ``np``, ``pt``, or ``latent`` for the clean latents (or pixels
            before they are clamped); what the pipeline knows.

    Returns:
        Images, frames or audio, as the pipeline returns them.

    Raises:
        TypeError: if there is no call.
        ValueError: if the result is one of another pipeline.
    """
    if isinstance(noise, ImageInversion):
        if noise.pipeline != type(pipe).__name__:
            raise ValueError(f"this noise is one of {noise.pipeline}, not {type(pipe).__name__}")
        call = noise.call if call is None else call
        entrance = noise.entrance if entrance is None else entrance
        seed = noise.seed if seed is None else seed
        noise = noise.latents
    if call is None:
        raise TypeError("give the call that belongs to this noise")
    entrance = Entrance.argument(noise) if entrance is None else entrance
    noise = lowered(noise, pipe._execution_device)
    takes = inspect.signature(type(pipe).__call__).parameters
    last: list[Tensor] = []
    returns = output_type == "latent" and "latents" not in takes
    kind = {"output_type": "np" if returns else output_type} if "output_type" in takes else {}
    asked = {**call, **kind}
    with torch.inference_mode(False), torch.no_grad(), untouched(pipe), known_seed(seed):
        result = stock(pipe, asked, entrance, noise, note=last.append if returns else None)
    if not returns:
        return next(iter(result.values()))
    return one_copy(last[-1], len(last[-1]) // entrance.map.out_shape[0])
