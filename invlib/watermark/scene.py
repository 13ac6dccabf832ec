"""A pipeline's call, read once, as two maps: from noise to 8-bit pictures, and back."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import DECODERS, Autoencoder, Box, DecoderInverter, to_bytes
from ..devices import lifted, lowered
from ..inverters import invert
from ..pipelines import Options, Reading, read
from ..pipelines.batches import check_number
from ..pipelines.decoding import read_decoder
from ..pipelines.images import Pictures
from ..pipelines.options import WATCHED, refuse, split
from ..pipelines.running import known_seed, untouched
from ..watch import watching
from .passages import Passage, resized
from .planes import Planes

SEVERAL = ("num_images_per_prompt", "num_videos_per_prompt", "batch_size")
CHEAP = {"method": "naive"}  # a mark needs no exact noise


@dataclass(frozen=True)
class Scene:
    """A call that was read.

    Attributes:
        reading: the call.
        autoencoder: its decoder; None where states are pixels.
        shape: shape of the decoder's pictures.
        planes: the noise as planes.
        options: how to invert.
    """

    reading: Reading
    autoencoder: Autoencoder | None
    shape: tuple[int, ...]
    planes: Planes
    options: Options

    @property
    def most(self) -> int | None:
        """Most states in one call of the network; None for as many as have room."""
        return check_number(self.options.max_batch)

    def last(self, planes: Tensor) -> Tensor:
        """The last states that the stock call makes of noises ``[B, C, H, W]``, float64."""
        stage = self.reading.stage
        noise = self.planes.to_noise(planes).to(self.reading.entrance.dtype)
        made = lifted(stage.again(lowered(noise, stage.pipe._execution_device)))
        return self.reading.target(made)

    def pictures(self, last: Tensor) -> Tensor:
        """The 8-bit pictures of last states, in the layout of the decoder."""
        state = last[0] if self.reading.network.joint else last
        return to_bytes(state if self.autoencoder is None else self.autoencoder.decode(state))

    def states(self, pictures: Tensor) -> Tensor:
        """Last states that decode to 8-bit pictures, as the options invert decoders."""
        box = Box.of(pictures)
        if self.autoencoder is None:
            return self.reading.as_samples(box.center)
        method = self.options.decoder
        decoder: DecoderInverter = DECODERS[method] if isinstance(method, str) else method
        return self.reading.as_samples(decoder(self.autoencoder, box).latents)

    def recover(self, last: Tensor) -> Tensor:
        """The noises of last states, as planes ``[B, C, H, W]``."""
        reading = self.reading
        given = reading.network, last, reading.solver
        found = invert(*given, method=self.options.method, max_batch=self.most)
        return self.planes.of_noise(reading.noise(found.states[0]))

    def fitted(self, image: Any) -> Tensor:
        """Pictures of any form and size as 8-bit ones in the layout of the decoder.

        Raises:
            TypeError: if it is no picture.
            ValueError: if there are not as many as the call makes.
        """
        pixels = pixels_of(image)
        size = (self.shape[-2], self.shape[-1])
        if pixels.ndim == 4 and tuple(pixels.shape[-2:]) != size:
            pixels = resized(pixels, size=size)
        first = self.autoencoder is not None and self.autoencoder.from_decoder is not None
        box = Pictures(pixels).box(self.shape, "cpu", frames_first=first)
        return to_bytes(box.center)


def pixels_of(image: Any) -> Tensor:
    """Pictures of any form as 8-bit pixels of their own size.

    Raises:
        TypeError: if it is no picture.
    """
    pixels = Pictures.of(image).pixels
    if pixels.dtype == torch.uint8:
        return pixels
    return (255 * pixels.double()).round().to(torch.uint8)


def changed(pictures: Tensor, passage: Passage, *, undo: bool) -> Tensor:
    """Pictures or clips after an attack, or after what undoes it.

    Args:
        pictures: 8-bit pictures ``[B, C, H, W]``, or clips with frames before or after colours.
        passage: what happened to them.
        undo: whether to undo it.
    """
    act = passage.undo if undo else passage.attack
    if pictures.ndim == 4:
        return act(pictures)
    last = pictures.shape[1] in (1, 3)  # colours before frames
    frames = pictures.transpose(1, 2) if last else pictures
    made = act(frames.flatten(0, 1)).view(frames.shape)
    return made.transpose(1, 2) if last else made


@contextmanager
def scene(
    pipe: Any, options: Options | Mapping[str, Any] | None, call: Mapping[str, Any], count: int = 1
) -> Iterator[Scene]:
    """A call as a scene; in the end the pipeline is as before.

    Args:
        pipe: any diffusers pipeline with one deterministic sampling loop.
        options: how to invert, by default naively after an inverted decoder.
        call: the arguments of its call.
        count: pictures in all, if the call can make several of a prompt and does not say how many.

    Raises:
        ValueError: if the call begins with no noise.
    """
    own, asked = split(pipe, _cheap(options), call)
    refuse(own, (*WATCHED, "method", "decoder", "seed", "max_batch"), "a watermark")
    most = check_number(own.max_batch)
    takes = inspect.signature(type(pipe).__call__).parameters
    several = [name for name in SEVERAL if name in takes]
    each = count // _rows(asked)
    if each > 1 and several and not set(several) & set(asked):
        asked = {**asked, several[0]: each}
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        untouched(pipe),
        watching(own.watch(pipe)),
        known_seed(own.seed),
    ):
        reading = read(pipe, asked)
        reading = reading if most is None else reading.in_batches(most)
        if not reading.takes_noise:
            raise ValueError(
                f"{type(pipe).__name__} takes no noise in this call (it begins with a picture, or "
                "draws its first state in a way of its own), so that it has no noise that holds a "
                "key: call it from noise alone"
            )
        autoencoder, shape = read_decoder(reading)
        yield Scene(reading, autoencoder, shape, Planes.of(reading, autoencoder), own)


def _rows(call: Mapping[str, Any]) -> int:
    """How many conditions a call has."""
    given = (call.get(name) for name in ("prompt", "prompt_embeds", "class_labels"))
    return max([len(v) for v in given if isinstance(v, list | Tensor) and len(v)], default=1)


def _cheap(options: Options | Mapping[str, Any] | None) -> Options | Mapping[str, Any]:
    if options is None:
        return CHEAP
    return options if isinstance(options, Options) else {**CHEAP, **options}
