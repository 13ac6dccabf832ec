"""From the noise to the picture again, by the pipeline itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .again import made_again
from .comparison import warn_if_others
from .entrance import Entrance
from .result import ImageInversion
from .state import changed


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

    That the pipeline is still the one of a result is checked by its class, the configuration and
    the tables of its scheduler, the settings of its adapters, and eight values of every weight; a
    noise file (:func:`invlib.load_noise`) is checked by all values. Where the noise of a result has
    made its pictures value by value, and its own call makes others now, there is a warning.

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
        ValueError: if the result is one of another pipeline, or of another scheduler or other
            weights of this one; says what differs.
    """
    if isinstance(noise, ImageInversion):
        if noise.pipeline != type(pipe).__name__:
            raise ValueError(f"this noise is one of {noise.pipeline}, not {type(pipe).__name__}")
        if said := changed(pipe, noise.scheduler, noise.tables, noise.samples):
            raise ValueError(
                f"the {noise.pipeline} is not as it was when this noise was found: "
                f"{'; '.join(said)}: give it what it had, or see what it makes of the noise now by "
                "regenerate(pipe, result.latents, result.call, entrance=result.entrance)"
            )
        own = (call, entrance, seed) == (None, None, None) and output_type == "pil"
        call = noise.call if call is None else call
        entrance = noise.entrance if entrance is None else entrance
        seed = noise.seed if seed is None else seed
        made = made_again(pipe, noise.latents, call, entrance, seed=seed, output_type=output_type)
        if own and noise.picture is not None and noise.picture.same:
            warn_if_others(made, noise.fingerprints)
        return made
    if call is None:
        if hasattr(noise, "regenerate"):  # a noise file
            raise TypeError("a noise file knows its call: noise.regenerate(pipe)")
        raise TypeError("give the call that belongs to this noise")
    entrance = Entrance.argument(noise) if entrance is None else entrance
    return made_again(pipe, noise, call, entrance, seed=seed, output_type=output_type)
