"""One stock run of a pipeline, recorded: what its loop is, and whether the loop is all it does."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..autoencoder.chance import in_training, random_states
from ..devices import lifted
from ..memory import is_full
from ..probing import Loop, NotInvertible, check_steps
from .running import HELD, Hands, Stop, is_held, modules_of, run

UNSEEN = ("generator", "variance_noise")  # options of a step that say nothing of its formula


@dataclass(frozen=True)
class Recording:
    """What was seen in one run of ``pipe(**call)`` from random noise.

    Attributes:
        states: the states x_0 ... x_n, as they were given to the scheduler's step and came back.
        outputs: the guided network's outputs at x_0 ... x_{n-1}.
        loop: how the pipeline drives its scheduler.
        scheduler: the scheduler as the pipeline had set it before the first step, on the CPU.
        inner: names of the modules that are called in the loop.
        drawing: names of the modules that drew random numbers, as they are in training mode.
        answers: what those modules returned in the last round, in the order of their calls.
        result: the tensor that the call returned, if there is one.
        copies: how many equal copies of the states lie in the pipeline's batch; one is kept here.
    """

    states: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    loop: Loop
    scheduler: Any
    inner: frozenset[str]
    drawing: tuple[str, ...]
    answers: tuple[Any, ...]
    result: Tensor | None
    copies: int = 1

    @property
    def steps(self) -> int:
        """Number n of network calls."""
        return len(self.outputs)


def record(pipe: Any, call: Mapping[str, Any], *, seed: int, numbers: int | None) -> Recording:
    """Run the pipeline's own call once, and refuse what is no plain loop over its scheduler.

    Args:
        pipe: the pipeline.
        call: its arguments.
        seed: seed of the random numbers that it draws.
        numbers: how many numbers the state must have; None for any.

    Raises:
        NotInvertible: if the call makes no step of its scheduler, or changes its latents between
            the steps.
        WrongSize: if its state has another size.
        OutsideLoop: if the pipeline fails before its first step or after its last one.
        ValueError: if it fails otherwise, with what it says itself.
    """
    _refuse_replaced(pipe.scheduler)
    notes = _Notes(pipe, numbers)
    hands = Hands(step=notes.step, scale=notes.scale, module=notes.module, method=notes.method)
    try:
        result = run(pipe, call, hands, seed=seed)
    except (NotInvertible, WrongSize):
        raise
    except Exception as error:  # whatever a pipeline makes of a call that it does not take
        if is_full(error):
            raise
        said = _own_error(pipe, error)
        if notes.outside and notes.broken is not error:
            raise OutsideLoop(said, len(notes.outputs)) from error
        raise ValueError(said) from error
    if not notes.outputs:
        raise NotInvertible(
            f"{type(pipe).__name__} made no step of its scheduler with this call, so there is no "
            "sampler to invert"
        )
    options = {k: v for k, v in notes.options.items() if k not in UNSEEN}
    returned = first_tensor(result)
    copies = _copies(pipe, call, notes.states, returned, seed)
    if numbers not in (None, notes.states[0].numel() // copies):
        raise WrongSize(tuple(one_copy(notes.states[0], copies).shape))
    return Recording(
        states=tuple(one_copy(x, copies) for x in notes.states),
        outputs=tuple(one_copy(m, copies) for m in notes.outputs),
        loop=Loop(torch.stack(notes.times), options, notes.scaled),
        scheduler=_on_cpu(notes.scheduler),
        inner=frozenset(notes.inner or notes.latest[-1:]),
        drawing=tuple(notes.drawing),
        answers=tuple(notes.answers if notes.inner else notes.answers[-1:]),
        result=returned,
        copies=copies,
    )


def _refuse_replaced(scheduler: Any) -> None:
    """Refuse a scheduler of which one object has other methods than its class.

    Raises:
        NotInvertible: if there are such methods, which a copy of the scheduler would call with
            the state of the original.
    """
    replaced = [n for n in HELD if n in vars(scheduler) and not is_held(scheduler, n)]
    if replaced:
        raise NotInvertible(
            f"the {' and '.join(replaced)} of this {type(scheduler).__name__} was replaced on the "
            "object: put it into a subclass, and give the pipeline a scheduler of that"
        )


def _own_error(pipe: Any, error: Exception) -> str:
    """What a pipeline itself says to a call, in one sentence, with what may be missing."""
    name, said = type(pipe).__name__, " ".join(str(error).split())
    absent = [n for n in ("text_encoder", "tokenizer", "image_encoder") if _is_none(pipe, n)]
    hint = ""
    if absent and isinstance(error, AttributeError):
        hint = (
            f"; it has no {' and no '.join(absent)}, so pass prompt_embeds and "
            "negative_prompt_embeds as in the call that made the image"
        )
    return (
        f"{name} itself fails with this call ({type(error).__name__}: {said}); give the call that "
        f"made the image, with all its arguments{hint}"
    )


def _is_none(pipe: Any, name: str) -> bool:
    return getattr(pipe, name, pipe) is None


@contextmanager
def advised(scheduler: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Refusals of a scheduler within say what to do about it."""
    flow = type(scheduler).__name__.startswith("Flow")
    remedy = (
        "FlowMatchEulerDiscreteScheduler(shift=3.0)"
        if flow
        else "DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)"
    )
    try:
        yield
    except NotInvertible as error:
        if options.get("eta"):
            raise NotInvertible(
                f"the call passes eta={options['eta']}: {error}; only eta=0 can be inverted"
            ) from error
        raise NotInvertible(
            f"{error}; give the pipeline a deterministic scheduler, e.g. pipe.scheduler = {remedy}"
        ) from error


class _Notes:
    """The hands that only watch."""

    def __init__(self, pipe: Any, numbers: int | None) -> None:
        self.name, self.numbers = type(pipe).__name__, numbers
        self.device = torch.device(pipe._execution_device)
        self.states: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.times: list[Tensor] = []
        self.options: dict[str, Any] = {}
        self.scheduler: Any = None
        self.scaled = False
        self.inner: set[str] = set()
        self.drawing: dict[str, None] = {}  # an ordered set
        self.latest: list[str] = []
        self.answers: list[Any] = []
        self.broken: Exception | None = None
        self.outside = True
        self._since: list[tuple[str, Any]] = []

    def step(
        self, scheduler: Any, real: Any, output: Tensor, time: Any, x: Tensor, options: Any
    ) -> Any:
        self.outside = False
        if not self.outputs:
            self.scheduler, self.options = copy.deepcopy(scheduler), dict(options)
            self.states.append(x.detach().clone())
            state = one_copy(x, copies_of([x]))
            if self.numbers not in (None, x.numel(), state.numel()):
                raise WrongSize(tuple(state.shape))
            self._refuse_chance(scheduler)
        else:
            self._compare(x)
            self.inner |= {name for name, _ in self._since}
        self.latest = [name for name, _ in self._since]
        self.answers = [answer for _, answer in self._since]
        self._since = []
        if not torch.isfinite(output).all():
            raise NotInvertible(
                f"the network of {self.name} returned NaN or infinity in step "
                f"{len(self.outputs) + 1}: load the pipeline in a wider dtype, such as float32"
            )
        result = real(scheduler, output, time, x, **options, return_dict=False)
        self.outputs.append(output.detach().clone())
        self.times.append(torch.as_tensor(time).detach().cpu().reshape(()))
        self.states.append(result[0].detach().clone())
        last = torch.as_tensor(scheduler.timesteps)[-1].cpu()
        self.outside = bool(self.times[-1] == last)
        return result

    def scale(self, real: Any, sample: Tensor) -> Tensor:
        self.scaled = True
        scaled: Tensor = real(sample)
        return scaled

    def module(
        self, name: str, module: Any, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            answer = self.method(name, module, real, args, kwargs)
        except Exception as error:
            self.broken = error
            raise
        self._since.append((name, answer))
        return answer

    def method(
        self, name: str, module: Any, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not in_training(module):
            return real(*args, **kwargs)
        before = random_states(self.device)
        answer = real(*args, **kwargs)
        if not all(map(torch.equal, before, random_states(self.device))):
            self.drawing[name.split(".")[0]] = None
        return answer

    def _refuse_chance(self, scheduler: Any) -> None:
        """Refuse a scheduler that draws or clips before the network has run for long.

        Raises:
            NotInvertible: if its first two steps do.
        """
        plain = _on_cpu(copy.deepcopy(scheduler))
        options = {k: v for k, v in self.options.items() if k not in UNSEEN}
        times = torch.as_tensor(plain.timesteps)[:2]
        with advised(plain, options):
            check_steps(plain, Loop(times, options, self.scaled))

    def _compare(self, x: Tensor) -> None:
        """Refuse a state that is not the one that the step before had returned."""
        before, i = self.states[-1], len(self.outputs)
        if x.shape != before.shape:
            raise NotInvertible(
                f"{self.name} has states of shape {tuple(before.shape)} and {tuple(x.shape)}: more "
                "than one sampling loop in one call; invert its stages one by one"
            )
        gap = relative_gap(x, before)
        if gap > 4 * max(torch.finfo(v.dtype).eps for v in (x, before)):
            raise NotInvertible(
                f"{self.name} changes its latents between step {i} and step {i + 1} (by "
                f"{gap:.1e} of their size): a callback, a blend with another image, or fresh "
                "noise; only calls whose steps are all the scheduler's can be inverted"
            )


class OutsideLoop(ValueError):  # noqa: N818 - it names the fact
    """The pipeline, but none of its modules, failed before its first step or after its last.

    Attributes:
        steps: the steps that it had made.
    """

    def __init__(self, said: str, steps: int) -> None:
        super().__init__(said)
        self.steps = steps


class WrongSize(ValueError):  # noqa: N818 - it names the fact
    """The state of a call has another size than what is to be inverted; holds its shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(f"the call's state has shape {shape}")
        self.shape = shape


def _copies(
    pipe: Any, call: Mapping[str, Any], states: list[Tensor], returned: Tensor | None, seed: int
) -> int:
    """The copies of a batch that are so in every call, not by equal generators of its rows."""
    copies = copies_of(states)
    if copies == 1 or (returned is not None and returned.numel() == states[-1].numel()):
        return 1
    seen: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)

    def draw(number: int, drawn: Tensor) -> Tensor:
        return torch.empty(drawn.shape).normal_(generator=generator).to(drawn)

    def step(s: Any, r: Any, m: Tensor, t: Any, x: Tensor, o: Any) -> Tensor:
        seen.append(x)
        raise Stop

    run(pipe, call, Hands(step=step, draw=draw), seed=seed)
    return copies_of(seen)


def copies_of(states: list[Tensor]) -> int:
    """2 where the second half of every batch is the first one again, as for guidance; else 1."""
    if len(states[0]) % 2:
        return 1
    halves = [x.chunk(2) for x in states]
    return 2 if all(torch.equal(a, b) for a, b in halves) else 1


def one_copy(batch: Tensor, copies: int) -> Tensor:
    """The first of the equal copies of a batch."""
    return batch[: len(batch) // copies]


def relative_gap(x: Tensor, y: Tensor) -> float:
    """The norm of the difference over that of ``y``, infinite where one is not finite."""
    x, y = lifted(x), lifted(y)
    gap = ((x - y).norm() / y.norm().clamp(min=1e-300)).item()
    return gap if gap == gap else float("inf")


def first_tensor(result: Any) -> Tensor | None:
    """The first floating-point tensor in what a pipeline returned."""
    values = result.values() if isinstance(result, dict) else result
    if isinstance(values, Tensor):
        return values
    if not hasattr(values, "__iter__") or isinstance(values, str):
        return None
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
        if isinstance(value, list) and value and all(isinstance(v, Tensor) for v in value):
            return torch.stack(value) if len({v.shape for v in value}) == 1 else None
        return None
    return None


def _on_cpu(scheduler: Any) -> Any:
    """The scheduler out of our hands, with all its tensors on the CPU."""
    for name in HELD:
        scheduler.__dict__.pop(name, None)
    for name, value in scheduler.__dict__.items():
        if isinstance(value, Tensor):
            scheduler.__dict__[name] = value.cpu()
    return scheduler


def training(pipe: Any) -> list[str]:
    """Names of a pipeline's modules that are in training mode, in whole or in part."""
    return [name for name, module in modules_of(pipe).items() if in_training(module)]
