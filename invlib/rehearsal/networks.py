"""Published networks as denoisers: UNets, and transformers that predict a velocity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Prediction
from ..pipelines import UNet
from .architectures import DTYPES, TRANSFORMERS, random_module, random_network
from .full_size import FULL_SIZE, TOKENS, Inputs


@dataclass(frozen=True)
class Transformer:
    """A transformer of diffusers; states are float64, the network keeps its dtype.

    Attributes:
        module: the transformer.
        inputs: ``rows -> arguments``, of which state, time and prompt are put in their places.
        prediction: what it predicts.
    """

    module: Any
    inputs: Callable[[int], Inputs]
    prediction: Prediction = "flow"

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.module.dtype)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The network's prediction at states ``x [B, ...]``, times ``t [B]``, conditions."""
        given = dict(self.inputs(len(x)))
        given |= {"hidden_states": x.to(self.dtype), "timestep": t.to(given["timestep"].dtype)}
        if condition is not None:
            given["encoder_hidden_states"] = condition
        return cast(Tensor, self.module(**given, return_dict=False)[0])


@dataclass(frozen=True)
class Built:
    """A network with random weights, and what it is called with.

    Attributes:
        network: ``(x, t, condition) -> prediction``.
        state: shape of a state, without the batch.
        prompt: tokens of a prompt, and numbers in each.
        edge: height of the latents.
    """

    network: UNet | Transformer
    state: tuple[int, ...]
    prompt: tuple[int, int]
    edge: int


def built(arch: str, *, dtype: str, device: str, edge: int | None = None) -> Built:
    """A network of published architecture with random weights.

    Args:
        arch: a name in ``ARCHITECTURES`` or ``TRANSFORMERS``.
        dtype: a name in ``DTYPES``.
        device: where to build it.
        edge: height and width of the latents; by default those it is made for.

    Raises:
        ValueError: if the architecture or the dtype is unknown.
    """
    if arch not in TRANSFORMERS or dtype not in DTYPES:
        net = random_network(arch, dtype=dtype, device=device)
        config = net.module.config
        size = edge or config.sample_size
        prompt = (TOKENS, config.cross_attention_dim)
        return Built(net, (config.in_channels, size, size), prompt, size)
    given = {} if edge is None else {"edge": edge}
    call = partial(FULL_SIZE[arch].inputs, device=device, dtype=DTYPES[dtype], **given)
    inputs = cache(call)  # other arguments than state, time and prompt are the same at every call
    one = inputs(1)
    tokens, width = one["encoder_hidden_states"].shape[1:]
    network = Transformer(random_module(arch, dtype=dtype, device=device), inputs)
    state = tuple(one["hidden_states"].shape[1:])
    return Built(network, state, (tokens, width), edge or FULL_SIZE[arch].pixels // 8)
