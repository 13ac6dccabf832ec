"""A pipeline on a stage: its call is run again and again, with the states that we choose."""

from __future__ import annotations

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..devices import lowered
from .entrance import Entrance, identity, lengthen, stock
from .equality import equal
from .recording import Recording, first_tensor, one_copy
from .running import Hands, Stop, run

Module = Callable[[str, Any, Any, tuple[Any, ...], dict[str, Any]], Any]


@dataclass
class Stage:
    """A pipeline, its call, and what a recorded run told about it.

    Encoders run once: what modules outside of the loop return is remembered.

    Attributes:
        pipe: the pipeline.
        call: its arguments, without the noise.
        recording: a stock run.
        entrance: how the first state gets in; by a first step as long as it is not known.
        scales: factors by which the states are multiplied before the network, ``[n+1]``.
        inputs: the network's inputs in the recorded run, float64.
        returns_latents: whether the call returns its last state for ``output_type="latent"``.
        runs: runs of the pipeline with its network.
    """

    pipe: Any
    call: Mapping[str, Any]
    recording: Recording
    entrance: Entrance = field(init=False)
    scales: Tensor = field(init=False)
    inputs: list[Tensor] = field(init=False)
    returns_latents: bool = False
    runs: int = 0
    _memory: dict[tuple[str, int], list[tuple[Any, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = self.recording.states[0]
        self.entrance = Entrance("first step", 0, identity(tuple(first.shape)), first.dtype)

    def outputs(self, states: Sequence[Tensor], nodes: Sequence[int] | None = None) -> list[Tensor]:
        """The guided network's outputs at chosen network inputs, in one run of the pipeline.

        Args:
            states: network inputs, one batch ``[B, ...]`` for each step of the loop.
            nodes: which steps the loop shall make; by default all of them.

        Returns:
            The outputs as the scheduler's step is given them.
        """
        found: list[Tensor] = []
        self.runs += 1
        self._loop(states, nodes, found.append, None, None)
        return found

    def sampled(self, first: Tensor, follow: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Sample on from a first network input, in one run of the pipeline; where that ends.

        Args:
            first: network input of the first step, ``[B, ...]``.
            follow: called with every network input and its output; gives the next input.
        """
        states, ends = [first], list[Tensor]()
        self.runs += 1

        def note(m: Tensor) -> None:
            after = follow(states[-1], m)
            (states if len(states) < self.recording.steps else ends).append(after)

        self._loop(states, None, note, None, None)
        return ends[0]

    def watch(
        self,
        states: Sequence[Tensor],
        note: Callable[[Tensor], None],
        module: Any,
        began: Callable[[], None],
    ) -> None:
        """Run the loop at chosen network inputs, with hands on its modules, noting its outputs.

        Args:
            states: network inputs.
            note: called with every output.
            module: hands on the modules of the loop.
            began: called when the first state is in, if that took a step of the loop.
        """
        self._loop(states, None, note, module, None, began=began)

    def finish(
        self,
        state: Tensor,
        *,
        method: Any = None,
        more: Mapping[str, Any] | None = None,
        seed: int = 1,
    ) -> Any:
        """What the call makes of a last state, network and all steps left out.

        Args:
            state: the last state x_n.
            method: hands on the ``encode`` and ``decode`` of modules.
            more: further arguments, such as ``output_type``.
            seed: seed of what the call draws.
        """
        states = [*self.inputs, state]
        hand = self.stand_in()
        return self._loop(states, None, lambda m: None, hand, method, more or {}, seed=seed)

    @contextmanager
    def scrambled(self, on: bool) -> Iterator[None]:
        """Meanwhile the rows that nobody asks for hold other states than the recorded ones."""
        before = self.inputs
        if on:
            self.inputs = [x.flip(0).roll(1, -1) for x in before]
        try:
            yield
        finally:
            self.inputs = before

    def again(
        self,
        noise: Tensor,
        *,
        change: Callable[[Tensor], Tensor] | None = None,
        ends: list[Tensor] | None = None,
    ) -> Tensor:
        """What the stock call makes of a noise: its latents, or else the loop's last state.

        Args:
            noise: the noise.
            change: of every state that a step returns, if the run is to be another one.
            ends: gets the loop's last state, which the call need not return as it is.
        """
        last: deque[Tensor] = deque(maxlen=1)
        seen = partial(stock, self.pipe, entrance=self.entrance, noise=noise, change=change)
        if self.returns_latents:
            note = None if ends is None else last.append
            made = self.result(seen(call={**self.call, "output_type": "latent"}, note=note))
        else:
            seen(call=self.call, note=last.append)
            made = one_copy(last[-1], self.recording.copies)
        if ends is not None:
            ends.append(one_copy(last[-1], self.recording.copies))
        return made

    def result(self, returned: Any) -> Tensor:
        """The tensor in what the pipeline returned.

        Raises:
            ValueError: if there is none.
        """
        found = first_tensor(returned)
        if found is None:
            raise ValueError(f"{type(self.pipe).__name__} returned no tensor")
        return found

    def remembering(self, module: Module | None = None) -> Module:
        """Hands on modules: those outside of the loop run once, the others by ``module``."""
        counts: dict[str, int] = {}

        def call(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
            if name in self.recording.inner:
                return (
                    real(*args, **kwargs)
                    if module is None
                    else module(name, owner, real, args, kwargs)
                )
            return self._once(name, counts, real, args, kwargs)

        return call

    def encoding(self, method: Module | None = None) -> Module:
        """Hands on methods of modules: ``encode`` runs once, the others by ``method``."""
        counts: dict[str, int] = {}

        def call(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
            if name.endswith(".encode"):
                return self._once(name, counts, real, args, kwargs)
            if method is None:
                return real(*args, **kwargs)
            return method(name, owner, real, args, kwargs)

        return call

    def _once(self, name: str, counts: dict[str, int], real: Any, args: Any, kwargs: Any) -> Any:
        """The answer to the same call in an earlier run, if there was one."""
        if torch.is_grad_enabled():
            return real(*args, **kwargs)
        number = counts.get(name, 0)
        counts[name] = number + 1
        known = self._memory.setdefault((name, number), [])
        for asked, answer in known:
            if equal(asked, (args, kwargs)):
                return _kept(answer)
        answer = real(*args, **kwargs)
        known.append((_kept((args, kwargs)), _kept(answer)))
        return answer

    def stand_in(self) -> Module:
        """Hands on modules that answer as in the recorded run, so that no network is called."""
        answers = iter(())  # type: Any
        recorded = self.recording.answers

        def answer(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
            nonlocal answers
            found = next(answers, None)
            if found is None:
                answers = iter(recorded)
                found = next(answers)
            return found

        return self.remembering(answer)

    def _loop(
        self,
        states: Sequence[Tensor],
        nodes: Sequence[int] | None,
        note: Callable[[Tensor], None],
        module: Module | None,
        method: Any,
        more: Mapping[str, Any] | None = None,
        began: Callable[[], None] = lambda: None,
        seed: int = 1,
    ) -> Any:
        """One run of the call, in which step k hands back what makes the network input k + 1."""
        count, injected = 0, self.entrance.kind == "first step"
        copies, scales = self.recording.copies, self.scales.tolist()
        wanted = list(range(self.recording.steps)) if nodes is None else list(nodes)

        def state(k: int) -> Tensor:
            """State k of this run, as the loop has it before it scales it for the network."""
            node = wanted[k] if k < len(wanted) else -1
            like = self.recording.states[node]
            return (states[k] / scales[node]).to(like.dtype).to(like.device)

        def step(s: Any, r: Any, m: Tensor, t: Any, x: Tensor, o: Any) -> Tensor:
            nonlocal count, injected
            if injected:
                injected = False
                began()
                return torch.cat([state(0)] * copies)
            note(one_copy(m, copies))
            count += 1
            if count == len(states):
                raise Stop
            return torch.cat([state(count)] * copies)

        def scale(real: Any, sample: Tensor) -> Tensor:
            return sample * scales[wanted[min(count, len(wanted) - 1)]]

        first = states[0] / scales[wanted[0]]
        device = self.recording.states[0].device
        noise = state(0) if injected else lowered(self.entrance.noise(first), device)
        hands = Hands(
            begin=self._begin(nodes),
            step=step,
            scale=scale,
            module=self.remembering(None) if module is None else module,
            method=self.encoding(method),
        )
        call = {**self.entrance.call(self.call, noise), **(more or {})}
        return run(self.pipe, call, self.entrance.hands(hands, noise), seed=seed)

    def _begin(self, nodes: Sequence[int] | None) -> Callable[[Any], None] | None:
        """Give the loop the time steps of some nodes only, and one more to hand back a state."""
        first = self.entrance.kind == "first step"
        if nodes is None and not first:
            return None

        def begin(scheduler: Any) -> None:
            if first:
                lengthen(scheduler)
            if nodes is not None:
                times = self.recording.loop.labels(scheduler).to(scheduler.timesteps)[list(nodes)]
                scheduler.timesteps = torch.cat([times[:1], times]) if first else times

        return begin


def _kept(asked: Any) -> Any:
    """Arguments or answers, safe from changes in place."""
    if isinstance(asked, Tensor):
        return asked.detach().clone()
    if isinstance(asked, OrderedDict):  # what transformers and diffusers return
        same = copy.copy(asked)
        for key, value in asked.items():
            same[key] = _kept(value)
        return same
    if isinstance(asked, dict):
        return {k: _kept(v) for k, v in asked.items()}
    if isinstance(asked, list | tuple):
        return type(asked)(_kept(v) for v in asked) if type(asked) in (list, tuple) else asked
    return asked
