"""Run a pipeline's own call under our hands, and leave no trace of it."""

from __future__ import annotations

import copy
import functools
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Stop(BaseException):
    """Ends a run of a pipeline from within; no pipeline catches it."""


@dataclass(frozen=True)
class Hands:
    """What a run of a pipeline is made to do; None leaves the pipeline's own.

    Attributes:
        begin: called with the scheduler after its time steps are set.
        step: replaces the scheduler's step: ``(scheduler, real step, output, time, sample,
            options) -> next state``, or all that the real step returned.
        scale: replaces ``scale_model_input``: ``(real, sample) -> network input``.
        module: replaces calls of the pipeline's modules: ``(name, module, real call, args,
            kwargs) -> output``.
        method: replaces calls of ``encode`` and ``decode`` likewise, names as ``"vae.decode"``.
        draw: replaces normal random tensors, counted from 0: ``(number, tensor) -> tensor``.
    """

    begin: Callable[[Any], None] | None = None
    step: Callable[[Any, Any, Tensor, Any, Tensor, dict[str, Any]], Any] | None = None
    scale: Callable[[Any, Tensor], Tensor] | None = None
    module: Callable[[str, Any, Any, tuple[Any, ...], dict[str, Any]], Any] | None = None
    method: Callable[[str, Any, Any, tuple[Any, ...], dict[str, Any]], Any] | None = None
    draw: Callable[[int, Tensor], Tensor] | None = None


_KNOWN_SEED: ContextVar[int | None] = ContextVar("known seed", default=None)


@contextmanager
def known_seed(seed: int | None) -> Iterator[None]:
    """Within, every run begins with this seed of the global generator, where it is known."""
    token = _KNOWN_SEED.set(seed)
    try:
        yield
    finally:
        _KNOWN_SEED.reset(token)


def run(pipe: Any, call: Mapping[str, Any], hands: Hands, *, seed: int = 0) -> Any:
    """Run ``pipe(**call)`` with a copy of its scheduler, random numbers from ``seed``.

    Generators and tensors in the call are copied, so that every run has the same. Where gradients
    are enabled, the call runs without the decorator that switches them off.

    Returns:
        What the pipeline returned, or None if one of the hands stopped it.
    """
    with ExitStack() as stack:
        stack.enter_context(_scheduler(pipe, hands))
        stack.enter_context(_modules(pipe, hands))
        if hands.draw is not None:
            stack.enter_context(Draws(hands.draw))
        known = _KNOWN_SEED.get()
        torch.manual_seed(seed if known is None else known)
        arguments = {name: same_again(value) for name, value in call.items()}
        function = type(pipe).__call__
        if torch.is_grad_enabled():
            function = inspect.unwrap(function)
        try:
            return function(pipe, **arguments)
        except Stop:
            return None


@contextmanager
def untouched(pipe: Any) -> Iterator[None]:
    """Whatever happens to a pipeline within, afterwards it is as it was before.

    That covers its attributes, the attention processors of its modules, offloading, and the
    states of all random generators. Progress bars are off within.
    """
    attributes = dict(pipe.__dict__)
    modules: dict[str, Any] = dict(modules_of(pipe))
    processors = {n: dict(m.attn_processors) for n, m in modules.items() if _has_processors(m)}
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, numbers = random.getstate(), np.random.get_state()
    pipe.__dict__["_progress_bar_config"] = {"disable": True}
    try:
        with torch.random.fork_rng(devices=devices), _generators_elsewhere():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        if attributes.get("_all_hooks"):
            pipe.maybe_free_model_hooks()
            attributes["_all_hooks"] = pipe.__dict__["_all_hooks"]
        pipe.__dict__.clear()
        pipe.__dict__.update(attributes)
        for name, before in processors.items():
            now = modules[name].attn_processors
            if any(now.get(key) is not value for key, value in before.items()):
                modules[name].set_attn_processor(dict(before))


@contextmanager
def _generators_elsewhere() -> Iterator[None]:
    """Put the generators of Apple's and Intel's GPUs back: ``torch.manual_seed`` seeds them too."""
    put_back: list[Callable[[], None]] = []
    if torch.backends.mps.is_available():
        put_back.append(functools.partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    if torch.xpu.is_available() and torch.xpu.is_initialized():
        states = torch.xpu.get_rng_state_all()
        put_back.append(functools.partial(torch.xpu.set_rng_state_all, states))
    try:
        yield
    finally:
        for put in put_back:
            put()


def modules_of(pipe: Any) -> dict[str, torch.nn.Module]:
    """The networks of a pipeline by name, those outside its components too."""
    return {n: m for n, m in pipe.__dict__.items() if isinstance(m, torch.nn.Module)}


def _has_processors(module: Any) -> bool:
    return hasattr(module, "attn_processors") and hasattr(module, "set_attn_processor")


HELD = ("step", "scale_model_input", "set_timesteps")  # methods of a scheduler in our hands


@contextmanager
def _scheduler(pipe: Any, hands: Hands) -> Iterator[None]:
    """Give the pipeline a copy of its scheduler, of the same class, with the wanted methods."""
    own = pipe.__dict__["scheduler"]
    scheduler, base = copy.deepcopy(own), type(own)
    for name in HELD:  # of a run that goes on around this one
        if is_held(scheduler, name):
            del scheduler.__dict__[name]
    new: dict[str, Callable[..., Any]] = {}
    if hands.step is not None:
        new["step"] = _step(base.step, hands.step)
    if hands.scale is not None and hasattr(base, "scale_model_input"):
        new["scale_model_input"] = _scale(base.scale_model_input, hands.scale)
    if hands.begin is not None:
        new["set_timesteps"] = _then(base.set_timesteps, hands.begin)
    for name, method in new.items():
        scheduler.__dict__[name] = MethodType(method, scheduler)
    pipe.__dict__["scheduler"] = scheduler
    try:
        yield
    finally:
        pipe.__dict__["scheduler"] = own


def is_held(scheduler: Any, name: str) -> bool:
    """Whether a method of a scheduler is in our hands: a wrapper of its class's own."""
    method = scheduler.__dict__.get(name)
    real = getattr(type(scheduler), name, None)
    return method is not None and getattr(method, "__wrapped__", None) is real


def _step(real: Callable[..., Any], replace: Callable[..., Tensor]) -> Callable[..., Any]:
    """A method with the signature and the kinds of return value of a scheduler's own step."""
    parameters = list(inspect.signature(real).parameters.values())[1:]
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    if "model_output" not in names:  # a subclass with *args; all schedulers have these three
        names = ["model_output", "timestep", "sample", *names]

    @functools.wraps(real)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("return_dict", None)
        output, time, sample = (given.pop(n) for n in ("model_output", "timestep", "sample"))
        result = replace(self, real, output, time, sample, given)
        return StepResult.of(result) if isinstance(result, Tensor) else StepResult(result)

    return step


class StepResult(tuple[Any, ...]):
    """What a step returns: a tuple, whose entries have the names that pipelines use, too."""

    @classmethod
    def of(cls, state: Tensor) -> StepResult:
        """The next state in all the places where pipelines look for it."""
        return cls((state, state))

    @property
    def prev_sample(self) -> Tensor:
        """The next state."""
        return cast(Tensor, self[0])

    @property
    def pred_original_sample(self) -> Tensor:
        """The prediction of the image, where the scheduler gives one."""
        return cast(Tensor, self[-1])


def _scale(real: Callable[..., Tensor], replace: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(real)
    def scale_model_input(self: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return replace(lambda x: real(self, x, *args, **kwargs), sample)

    return scale_model_input


def _then(real: Callable[..., Any], after: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(real)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        after(self)
        return result

    return set_timesteps


@contextmanager
def _modules(pipe: Any, hands: Hands) -> Iterator[None]:
    """Put ``hands`` between the pipeline and its modules."""
    with ExitStack() as stack:
        for name, module in modules_of(pipe).items():
            if hands.module is not None:
                real = module._compiled_call_impl or module._call_impl
                replaced = functools.partial(_call, hands.module, name, module, real)
                stack.enter_context(_attribute(module, "_compiled_call_impl", replaced))
            for method in ("encode", "decode") if hands.method is not None else ():
                if hasattr(module, method):
                    real = getattr(module, method)
                    replaced = functools.partial(
                        _call, cast(Any, hands.method), f"{name}.{method}", module, real
                    )
                    stack.enter_context(_attribute(module, method, replaced))
        yield


def _call(
    function: Callable[..., Any], name: str, module: Any, real: Any, *args: Any, **kwargs: Any
) -> Any:
    return function(name, module, real, args, kwargs)


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of one object, past the hooks of its class, for a while."""
    missing = object()
    before = owner.__dict__.get(name, missing)
    owner.__dict__[name] = value
    try:
        yield
    finally:
        if before is missing:
            del owner.__dict__[name]
        else:
            owner.__dict__[name] = before


class Draws(TorchFunctionMode):
    """Counts the normal random tensors that are drawn, and may replace them."""

    def __init__(self, replace: Callable[[int, Tensor], Tensor]) -> None:
        self.replace, self.number = replace, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``; what ``torch.randn`` and its like return goes through ``replace``."""
        result = func(*args, **(kwargs or {}))
        if func in (torch.randn, torch.randn_like, torch.normal):
            result = self.replace(self.number, result)
            self.number += 1
        return result


def same_again(value: Any) -> Any:
    """An argument for one more run: generators are consumed and values changed in place."""
    if isinstance(value, torch.Generator):
        generator = torch.Generator(value.device)
        generator.set_state(value.get_state())
        return generator
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(same_again(part) for part in value)
    if type(value) is dict:
        return {name: same_again(part) for name, part in value.items()}
    return value


def configuration(scheduler: Any) -> str:
    """The configuration of a scheduler in JSON; nothing where it is none of diffusers'."""
    if not hasattr(scheduler, "to_json_string"):
        return ""
    own = copy.deepcopy(scheduler)  # diffusers reorders the lists in it while it writes them
    return cast(str, own.to_json_string())
