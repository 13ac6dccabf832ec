"""Who draws random numbers, as dropout does: a decoder that does has no inverse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def draws_nothing(module: Any, device: torch.device, options: Mapping[str, Any]) -> Iterator[None]:
    """Refuse a decoder that draws random numbers, and put the generators back.

    Args:
        module: the module that decodes.
        device: the device on which it might.
        options: its arguments; generators among them are watched, too.

    Raises:
        ValueError: if it does draw.
    """
    generators = [value for value in options.values() if isinstance(value, torch.Generator)]
    devices = [device] if device.type == "cuda" else []
    before = random_states(device, *generators)
    with torch.random.fork_rng(devices=devices):
        yield
        after = random_states(device, *generators)
    for generator, state in zip(generators, before[len(before) - len(generators) :], strict=True):
        generator.set_state(state)
    if not all(map(torch.equal, before, after)):
        name = type(module).__name__
        remedy = "invert clean latents instead (invert_latents)"
        if in_training(module):
            remedy = "it is in training mode, so call its eval() first"
        raise ValueError(
            f"the decoder {name} draws random numbers, so that a picture has no latents of its "
            f"own; {remedy}"
        )


def random_states(device: torch.device, *generators: torch.Generator) -> list[Tensor]:
    """The states of PyTorch's global generators, of that of a device, and of others."""
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *on_device, *(g.get_state() for g in generators)]


def in_training(module: Any) -> bool:
    """Whether a module, or a part of it, is in training mode, in which dropout draws."""
    return isinstance(module, torch.nn.Module) and any(m.training for m in module.modules())
