"""A diffusers network and all that a pipeline tells it, as a function of state, time and row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Prediction


def in_single(t: Tensor) -> Tensor:
    """Times as almost all pipelines give them: not scaled, exact in float32."""
    return t.to(torch.float32)


@dataclass(frozen=True)
class Conditioned:
    r"""A network whose conditions are rows of stored arguments.

    .. math:: (x, t, k) \;\mapsto\; f(x, t;\ \text{row}\ k)

    A pipeline conditions its network on several tensors: embeddings, pooled embeddings, masks,
    sizes. Here the condition of a state is the number k of its row in all of them, so that one
    integer tensor ``[B]`` goes through :func:`invlib.guided` and its selection of rows.

    Attributes:
        module: a UNet or transformer of diffusers.
        prediction: what it predicts.
        rows: its arguments that have one entry per row: tensors, None, or a dict of these.
        shared: its arguments that are the same for all rows.
        time: the form in which it takes times.
        precision: dtype to whose round-off it is exact, if that is not its own.
    """

    module: Any
    prediction: Prediction
    rows: Mapping[str, Any]
    shared: Mapping[str, Any] = field(default_factory=dict)
    time: Callable[[Tensor], Tensor] = in_single
    precision: torch.dtype | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Dtype to whose round-off the network is exact."""
        return self.precision or cast(torch.dtype, self.module.dtype)

    def __call__(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        """The network's prediction at states ``x [B, ...]``, times ``t [B]``, rows ``[B]``."""
        arguments = {**pick(self.rows, rows), **self.shared}
        output = self.module(
            x.to(self.module.dtype), timestep=self.time(t), return_dict=False, **arguments
        )[0]
        return cast(Tensor, output[:, : x.shape[1]])  # a learned variance follows the mean


def pick(arguments: Any, rows: Tensor) -> Any:
    """The given rows of tensors that may lie in dicts; None stays None."""
    if isinstance(arguments, Mapping):
        return {name: pick(value, rows) for name, value in arguments.items()}
    return None if arguments is None else arguments[rows]


def join(positive: Any, negative: Any) -> Any:
    """Put the rows of the negative prompts below those of the prompts."""
    return torch.cat([positive, negative]) if negative is not None else positive
