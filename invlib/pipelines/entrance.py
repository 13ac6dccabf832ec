"""How a chosen first state gets into a pipeline, found by comparing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..affine import ElementwiseMap, read_elementwise
from ..devices import lifted, state_device
from .recording import Recording, one_copy
from .running import Hands, Stop, run

Kind = Literal["latents", "draw", "first step"]


@dataclass(frozen=True)
class Entrance:
    """The way of noise into a pipeline's loop.

    Attributes:
        kind: by the argument ``latents``; by replacing a random tensor that the pipeline draws;
            or by a first step of the loop that only hands back the state.
        number: which random tensor, counted from 0, for ``draw``.
        map: how the noise becomes the first state.
        dtype: dtype in which the noise is given.
    """

    kind: Kind
    number: int
    map: ElementwiseMap
    dtype: torch.dtype

    @classmethod
    def argument(cls, noise: Tensor) -> Entrance:
        """By the argument ``latents``, in the dtype of the noise."""
        return cls("latents", 0, identity(tuple(noise.shape)), noise.dtype)

    def noise(self, state: Tensor) -> Tensor:
        """The noise that becomes a first state, float64."""
        return self.map.inverse(state)

    def call(self, call: Mapping[str, Any], noise: Tensor) -> dict[str, Any]:
        """The pipeline's arguments with the noise in them, where it is an argument."""
        if self.kind != "latents":
            return dict(call)
        return {**call, "latents": noise.to(self.dtype).clone()}

    def hands(self, hands: Hands, noise: Tensor) -> Hands:
        """Hands that put the noise in, where it is no argument."""
        if self.kind == "draw":

            def draw(number: int, drawn: Tensor) -> Tensor:
                return noise.to(drawn) if number == self.number else drawn

            return replace(hands, draw=draw)
        return hands


def stock(
    pipe: Any,
    call: Mapping[str, Any],
    entrance: Entrance,
    noise: Tensor,
    *,
    note: Callable[[Tensor], None] | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Any:
    """The pipeline's own call with the given noise; what it returns.

    Args:
        pipe: the pipeline.
        call: the arguments, without the noise.
        entrance: how the noise gets in.
        noise: the noise.
        note: called with every state that a step returns.
        change: what the loop goes on with instead of every such state; by default with it.
    """
    injected = entrance.kind == "first step"

    def step(s: Any, real: Any, m: Tensor, t: Any, x: Tensor, options: Any) -> Any:
        nonlocal injected
        if injected:
            injected = False
            for name in lengthened(s):  # where the scheduler looks for its place
                setattr(s, name, getattr(s, name)[1:])
            return torch.cat([noise] * (len(x) // len(noise))).to(x)
        result = real(s, m, t, x, **options, return_dict=False)
        if note is not None:
            note(result[0].detach().clone())
        return result if change is None else (change(result[0]), *result[1:])

    watched = injected or note is not None or change is not None
    hands = Hands(begin=lengthen if injected else None, step=step if watched else None)
    return run(pipe, entrance.call(call, noise), entrance.hands(hands, noise))


def lengthen(scheduler: Any) -> None:
    """Put a round before the first of a scheduler's loop, with its time and noise level."""
    for name in lengthened(scheduler):
        values = getattr(scheduler, name)
        setattr(scheduler, name, torch.cat([values[:1], values]))


def lengthened(scheduler: Any) -> list[str]:
    """The attributes of a scheduler that have an entry a round."""
    sigmas = getattr(scheduler, "sigmas", None)
    per_round = isinstance(sigmas, Tensor) and len(sigmas) == len(scheduler.timesteps) + 1
    return ["timesteps", "sigmas"] if per_round else ["timesteps"]


def entrances(
    pipe: Any, call: Mapping[str, Any], recording: Recording, outer: Any
) -> Iterator[Entrance]:
    """The ways in which noise becomes the first state: the argument, what is drawn, a first step.

    Args:
        pipe: the pipeline.
        call: its arguments.
        recording: a stock run.
        outer: hands on modules that keep the network from running.
    """
    state, drawn = recording.states[0], _drawn(pipe, call, outer)
    if "latents" in inspect.signature(type(pipe).__call__).parameters:
        for shape in dict.fromkeys((tuple(state.shape), *drawn)):
            entrance = Entrance("latents", 0, _NONE, state.dtype)
            found = _try(pipe, call, recording, shape, entrance, outer)
            if found is not None:
                yield found
                break
    for number, shape in reversed(list(enumerate(drawn))):
        entrance = Entrance("draw", number, _NONE, state.dtype)
        found = _try(pipe, call, recording, shape, entrance, outer)
        if found is not None:
            yield found
    yield Entrance("first step", 0, identity(tuple(state.shape)), state.dtype)


def _drawn(pipe: Any, call: Mapping[str, Any], outer: Any) -> list[tuple[int, ...]]:
    """Shapes of the normal random tensors that the call draws before its first step."""
    shapes: list[tuple[int, ...]] = []

    def draw(number: int, tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    def step(s: Any, r: Any, m: Tensor, t: Any, x: Tensor, o: Any) -> Tensor:
        raise Stop

    try:
        run(pipe, call, Hands(step=step, module=outer(), draw=draw))
    except Exception:  # a loop that looks into its network needs the network itself
        shapes.clear()
        run(pipe, call, Hands(step=step, draw=draw))
    return shapes


def _try(
    pipe: Any,
    call: Mapping[str, Any],
    recording: Recording,
    shape: tuple[int, ...],
    entrance: Entrance,
    outer: Any,
) -> Entrance | None:
    """The entrance with its map, if noise of this shape becomes the state one to one."""
    state, copies = recording.states[0], recording.copies
    if torch.Size(shape).numel() != state.numel():
        return None

    def first_state(noise: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def step(s: Any, r: Any, m: Tensor, t: Any, x: Tensor, o: Any) -> Tensor:
            seen.append(one_copy(x.detach(), copies).clone())
            raise Stop

        noise = noise.to(state.device, entrance.dtype)
        given = entrance.call(call, noise)
        try:
            run(pipe, given, entrance.hands(Hands(step=step, module=outer()), noise))
        except Exception:  # a loop that looks into its network needs the network itself
            run(pipe, given, entrance.hands(Hands(step=step), noise))
        return seen[0]

    try:
        map_ = read_map(first_state, shape, dtype=entrance.dtype, device=state.device)
    except Exception:  # whatever a pipeline makes of noise that it does not take
        return None
    fits = map_.one_to_one and map_.out_shape == tuple(state.shape)
    return replace(entrance, map=map_) if fits else None


def read_map(
    function: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype,
    device: Any,
) -> ElementwiseMap:
    """:func:`invlib.affine.read_elementwise`, but a mere factor is seen in one call.

    Raises:
        ValueError: if the map is not elementwise.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
    y = function(x.clone())
    if y.shape == x.shape:
        x, y = lifted(x), lifted(y)
        factor = ((x * y).sum() / (x * x).sum()).item()
        slack = 8 * torch.finfo(dtype).eps * abs(factor) * x.abs()
        if factor and ((y - factor * x).abs() <= slack).all():
            return identity(shape, factor if abs(factor - 1) > 1e-6 else 1.0)
    home = state_device(device)
    return read_elementwise(
        lambda x: function(x.to(device)).to(home), shape, dtype=dtype, device=home
    )


def identity(shape: tuple[int, ...], factor: float = 1.0) -> ElementwiseMap:
    """The map that multiplies by a number."""
    size = torch.Size(shape).numel()
    scale = torch.full((size,), factor, dtype=torch.float64)
    return ElementwiseMap(shape, shape, torch.arange(size), scale, torch.zeros_like(scale))


_NONE = identity((0,))
