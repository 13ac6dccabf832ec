"""Reading a pipeline's decoder by hooking its own decode."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..devices import lifted
from .entrance import identity, read_map
from .images import Pictures
from .reading import Reading
from .running import Stop
from .state import COMPILED


def read_decoder(reading: Reading) -> tuple[Autoencoder | None, tuple[int, ...]]:
    """The autoencoder as the call uses it, None where it decodes nothing, and its pictures' shape.

    What the call does to its last state before it decodes it (unpack, scale, shift, mean and
    deviation of channels) is read by probing, and so are the further arguments of the decoder.

    Raises:
        ValueError: if that is no map of elements to elements, or pictures are decoded in parts.
    """
    stage = reading.stage
    last = stage.recording.states[-1]
    seen = _decodings(reading, last)
    if not seen:
        return None, tuple(last.shape)
    whole = [k for k, (_, z, _) in enumerate(seen) if z.numel() == last.numel()]
    number = whole[-1] if whole else 0  # what callbacks decode to look at comes before
    module, z, options = seen[number]
    name = type(stage.pipe).__name__
    if z.numel() != last.numel():
        raise ValueError(
            f"{name} decodes {tuple(z.shape)} of its state {tuple(last.shape)}: pictures that are "
            "decoded in parts are not supported; invert latents"
        )
    if not torch.equal(z, _decodings(reading, last, stop=number, seed=2)[number][1]):
        raise ValueError(
            f"{name} draws random numbers between its last state and its decoder: give generator= "
            "as in the call that made the image, or invert latents"
        )
    if z.shape == last.shape and torch.equal(lifted(z), lifted(last)):
        to_decoder = identity(tuple(last.shape))
    else:

        def function(x: Tensor) -> Tensor:
            found = _decodings(reading, x, stop=number)
            if len(found) <= number:
                raise ValueError(f"{name} does not always decode")
            return found[number][1]

        try:
            to_decoder = read_map(function, tuple(last.shape), dtype=last.dtype, device=last.device)
        except ValueError as error:
            raise ValueError(
                f"what {name} does between its last state and its decoder is {error}"
            ) from error
    autoencoder = Autoencoder(module, to_decoder=to_decoder, options=options)
    shape = tuple(autoencoder.decode(lifted(last)).shape)
    if len(shape) == 4 and len(last) < shape[0] and shape[0] % len(last) == 0:
        clips = (len(last), shape[0] // len(last), *shape[1:])  # decoded frame by frame
        frames = replace(identity(shape), out_shape=clips)
        return replace(autoencoder, from_decoder=frames), clips
    return autoencoder, shape


def is_changed(reading: Reading, autoencoder: Autoencoder | None, frames_first: bool) -> bool:
    """Whether the call's pictures are others than its decoder's, mapped from [-1, 1] to [0, 1].

    A watermark, an overlay, or an image processor of the user's own changes them; no answer is
    that they are not, as where the call returns nothing that is a picture.
    """
    stage = reading.stage
    last = stage.recording.states[-1]
    takes = inspect.signature(type(stage.pipe).__call__).parameters
    try:
        made = stage.finish(last, more={"output_type": "np"} if "output_type" in takes else {})
        pictures = next(iter(made.values() if isinstance(made, dict) else made))
    except Exception:  # whatever a pipeline makes of a kind of picture that it does not know
        return False
    own = lifted(last) if autoencoder is None else autoencoder.decode(lifted(last))
    try:
        box = Pictures.of(pictures).box(tuple(own.shape), own.device, frames_first=frames_first)
    except (TypeError, ValueError):
        return isinstance(pictures, np.ndarray)
    return bool((box.center - own.clamp(-1, 1)).abs().max() > SEEN)


SEEN = 0.03  # more than 8 bits, and half precision, explain


def _decodings(
    reading: Reading, state: Tensor, *, stop: int | None = None, seed: int = 1
) -> list[tuple[Any, Tensor, dict[str, Any]]]:
    """All that the call decodes if it ends in a state: the modules, what they get, and options.

    Args:
        reading: the call.
        state: its last state.
        stop: which decoding, counted from 0, ends the call; by default it makes its picture.
        seed: seed of what the call draws.
    """
    seen: list[tuple[Any, Tensor, dict[str, Any]]] = []

    def method(name: str, module: Any, real: Any, args: Any, kwargs: Any) -> Any:
        if not name.endswith(".decode"):
            return real(*args, **kwargs)
        options = {k: v for k, v in kwargs.items() if k not in ("return_dict", "z", "generator")}
        z = args[0] if args else kwargs["z"]
        own = getattr(module, COMPILED, module)
        names = list(inspect.signature(type(own).decode).parameters)[2:]
        options |= dict(zip(names, args[1:], strict=False))
        seen.append((module, z.detach().clone(), options))
        if stop is not None and len(seen) > stop:
            raise Stop
        return real(*args, **kwargs)

    reading.stage.finish(state, method=method, seed=seed)
    return seen
