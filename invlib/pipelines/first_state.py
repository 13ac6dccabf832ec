"""What a pipeline's loop begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..devices import lowered
from ..probing import NotInvertible
from .entrance import Entrance
from .running import Hands, Stop, run, untouched


def first_state(
    pipe: Any,
    call: Mapping[str, Any],
    *,
    seed: int = 0,
    entrance: Entrance | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """The state that the call hands to the first step of its scheduler; no step is made.

    Args:
        pipe: the pipeline.
        call: the arguments of its call, without the noise.
        seed: seed of what the pipeline draws.
        entrance: how a given noise gets in.
        noise: the noise; by default the pipeline draws its own.

    Raises:
        NotInvertible: if the call makes no step.
    """
    seen: list[Tensor] = []

    def step(s: Any, real: Any, m: Tensor, t: Any, x: Tensor, options: Any) -> Tensor:
        seen.append(x.detach().clone())
        raise Stop

    arguments, hands = dict(call), Hands(step=step)
    if entrance is not None and noise is not None:
        noise = lowered(noise, pipe._execution_device)
        arguments, hands = entrance.call(call, noise), entrance.hands(hands, noise)
    with torch.inference_mode(False), torch.no_grad(), untouched(pipe):
        run(pipe, arguments, hands, seed=seed)
    if not seen:
        raise NotInvertible(f"{type(pipe).__name__} made no step of its scheduler with this call")
    return seen[0]
