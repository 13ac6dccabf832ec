"""The prompt and the guidance of a pipeline's call as tensors that may change, or get gradients.

What a pipeline gives to its network is read, and so are its guidance weights. Both can be replaced
by tensors of one's own: then the network is a differentiable function of them, and so is the noise
that ``invlib.invert(..., differentiable=True)`` finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .network import PipelineNetwork
from .replay import Leaf, Path, Replay

NOT_CALLED = (
    "this pipeline's network is not called directly, so that its condition cannot be changed: its "
    "derivative is known with respect to the latents only"
)

SLACK = 1e-4  # relative, of weights that were read


def conditions(network: PipelineNetwork) -> dict[Path, Tensor]:
    """The tensors of floating-point numbers that the network is given beside states and times.

    Their rows are those of the network's batch, such as the empty prompt and then the prompt. Where
    a step calls the network several times, a name begins with the call's number, as
    ``("call", 0)``; the prompt often comes before the empty one.

    Raises:
        ValueError: if the network is not called directly.
    """
    calls = _replay(network).calls
    return {
        _name(path, number, calls): leaf.value
        for number, call in enumerate(calls)
        for path, leaf in call.items()
        if leaf.kind == "rows" and leaf.value.is_floating_point()
    }


def conditioned(
    network: PipelineNetwork,
    values: Mapping[Path, Tensor] | None = None,
    *,
    scale: Tensor | None = None,
) -> PipelineNetwork:
    r"""The network with other conditions, or with another guidance scale w.

    .. math:: m = m_\varnothing + w\,(m_c - m_\varnothing)

    Args:
        network: the network of a call.
        values: tensors in place of those of :func:`conditions`, by the same names.
        scale: the guidance scale, a number as a tensor, for a network of two outputs.

    Raises:
        ValueError: if the network is not called directly, a name or a shape does not fit, or a
            scale is given to a network without guidance or of one that changes from step to step.
    """
    replay, known = _replay(network), conditions(network)
    given = dict(values or {})
    for path, value in given.items():
        if path not in known or value.shape != known[path].shape:
            shapes = {name: tuple(v.shape) for name, v in known.items()}
            raise ValueError(f"no condition {path} of shape {tuple(value.shape)}; use {shapes}")
    calls = tuple(
        {
            path: _with(leaf, given.get(_name(path, number, replay.calls)))
            for path, leaf in call.items()
        }
        for number, call in enumerate(replay.calls)
    )
    weights = replay.weights if scale is None else _guidance(replay, scale)
    return replace(network, replay=replace(replay, calls=calls, weights=weights))


def _replay(network: PipelineNetwork) -> Replay:
    if network.replay is None:
        raise ValueError(NOT_CALLED)
    return network.replay


def _name(path: Path, number: int, calls: Sequence[Any]) -> Path:
    """The name of an argument; where there are several calls, with the number of its call."""
    return path if len(calls) == 1 else (("call", number), *path)


def _with(leaf: Leaf, value: Tensor | None) -> Leaf:
    """The argument with another value, if there is one."""
    return leaf if value is None else replace(leaf, value=value.to(leaf.value))


def _guidance(replay: Replay, scale: Tensor) -> Tensor:
    """The weights of both outputs at all nodes: the prompt's is the one above 1 that was read."""
    weights: Any = replay.weights
    if weights.shape[1] != 2 or (weights.sum(1) - 1).abs().max() > SLACK or weights.max() <= 1:
        raise ValueError(
            f"the call combines {weights.shape[1]} outputs, not two with weights 1 - w and w: give "
            "a guidance scale above 1 in the call"
        )
    if (weights - weights[0]).abs().max() > SLACK * weights.abs().max():
        raise ValueError(
            "the guidance scale of this call changes from step to step, so that no single one can "
            "take its place: leave out what changes it, such as use_dynamic_cfg"
        )
    w = scale.to(weights).expand(len(weights))
    both = [1 - w, w]
    return torch.stack(both if weights[0, 1] > 1 else both[::-1], 1)
