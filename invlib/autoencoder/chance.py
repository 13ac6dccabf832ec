"""A decoder that draws random numbers has no inverse; this notices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def draws_nothing(what: str, device: torch.device, options: Mapping[str, Any]) -> Iterator[None]:
    """Refuse code that draws random numbers, and put the generators back.

    Args:
        what: who must not draw, for the message.
        device: the device on which it might.
        options: its arguments; generators among them are watched, too.

    Raises:
        ValueError: if it does draw.
    """
    generators = [value for value in options.values() if isinstance(value, torch.Generator)]
    devices = [device] if device.type == "cuda" else []

    def states() -> list[Tensor]:
        on_devices = [torch.cuda.get_rng_state(d) for d in devices]
        return [torch.get_rng_state(), *on_devices, *(g.get_state() for g in generators)]

    before = states()
    with torch.random.fork_rng(devices=devices):
        yield
        after = states()
    for generator, state in zip(generators, before[len(before) - len(generators) :], strict=True):
        generator.set_state(state)
    if not all(map(torch.equal, before, after)):
        raise ValueError(
            f"{what} draws random numbers, so that a picture has no latents of its own; "
            "invert clean latents instead (invert_latents)"
        )
