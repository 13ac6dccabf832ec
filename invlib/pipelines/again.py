"""The stock call with a given noise, as its user would make it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..devices import lowered
from .entrance import Entrance, stock
from .recording import one_copy
from .running import known_seed, untouched


def made_again(
    pipe: Any,
    noise: Tensor,
    call: Mapping[str, Any],
    entrance: Entrance,
    *,
    seed: int | None = None,
    output_type: str = "pil",
) -> Any:
    """What the pipeline makes of a noise.

    Args:
        pipe: the pipeline.
        noise: the noise, in the form that the entrance takes.
        call: the arguments of the call.
        entrance: how the noise gets in.
        seed: seed of the global generator, if it matters to the call.
        output_type: as for :func:`~invlib.pipelines.regenerate.regenerate`.
    """
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
