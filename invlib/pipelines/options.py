"""What can be said about an inversion itself, apart from the pipeline's call."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Literal

import torch

from ..autoencoder import DecoderInverter
from ..inverters import Inverter
from ..watch import Budget, Callback, Watch
from .running import same_again

MaxBatch = int | Literal["fastest"] | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to invert.

    Attributes:
        method: how to invert the sampler; see :func:`invlib.invert`.
        decoder: how to invert the decoder: a name in ``invlib.autoencoder.DECODERS`` or a
            function.
        refine: estimate latents and noise together afterwards, at about three times the cost; see
            :func:`invlib.autoencoder.joint`.
        certificate: whether to certify the result by the stock call.
        others: how many times a solved sample is looked for again from another start, to see
            whether another noise makes the same image and how well this one is known; see
            :func:`invlib.certify`. Each costs about as much as the first search.
        vectors: Lanczos vectors of the certificate; see :func:`invlib.certify`.
        progress: whether to show a bar on stderr; by default as the pipeline shows its own: on a
            terminal or in a notebook, unless ``pipe.set_progress_bar_config(disable=True)``.
        callback: called with a :class:`invlib.Progress` after every round; True ends the search.
        budget: evaluations or seconds after which the best so far comes back, marked.
        seed: what ``torch.manual_seed`` was given right before the call, if it is known. It matters
            only to calls that draw more than their noise from the global generator, as some do to
            encode a control image.
        max_batch: most states in one call of the network; by default as many as have the size of
            one latent of 512 x 512 pixels, which suits a CPU. ``"fastest"`` measures first, on the
            device of the pipeline, as :func:`invlib.batch_times` does; those evaluations count.
        save: noise file to write in the end, as ``result.save`` does; whether it can be
            written is looked at before the search begins.
    """

    method: str | Inverter = "exact"
    decoder: str | DecoderInverter = "quasi_newton"
    refine: bool = False
    certificate: bool = True
    others: int = 0
    vectors: int = 0
    progress: bool | None = None
    callback: Callback | None = None
    budget: Budget | None = None
    seed: int | None = None
    max_batch: MaxBatch = None
    save: str | PathLike[str] | None = None

    def watch(self, pipe: Any) -> Watch:
        """How the search is watched; the first Ctrl-C ends it with the best so far."""
        shown = self.progress
        if shown is None and getattr(pipe, "_progress_bar_config", {}).get("disable"):
            shown = False
        return Watch(shown, self.callback, self.budget, interruptible=True)


OPTIONS = tuple(field.name for field in fields(Options))
WATCHED = ("progress", "callback", "budget")
OF_LATENTS = tuple(name for name in OPTIONS if name not in ("decoder", "refine"))


def refuse(own: Options, used: Collection[str], what: str) -> None:
    """Refuse options that would be dropped.

    Args:
        own: the options; those that are the default are taken for not given.
        used: names of those that have a use.
        what: what they were given to, at the beginning of a sentence.

    Raises:
        TypeError: with those that have none, and those that have.
    """
    idle = [n for n in OPTIONS if n not in used and getattr(own, n) != getattr(Options, n)]
    if idle:
        takes = f"of its options only {', '.join(used)}" if used else "none of its options"
        raise TypeError(
            f"{what} has no use for {', '.join(idle)}: leave it out; invlib takes {takes} here"
        )


def split(
    pipe: Any, options: Options | Mapping[str, Any] | None, call: Mapping[str, Any]
) -> tuple[Options, dict[str, Any]]:
    """Our own options, and the pipeline's call.

    A name that the pipeline's call has, too, is the pipeline's; in ``options`` it is ours.

    Raises:
        TypeError: if it is no pipeline with a scheduler, a name is neither the pipeline's nor ours
            (with those that are near), or an option is given twice.
        ValueError: if the call contains what is looked for.
    """
    if not hasattr(pipe, "scheduler"):
        raise TypeError(
            f"{type(pipe).__name__} is no diffusers pipeline with a scheduler; invlib.invert "
            "takes a network of your own and a sampler such as invlib.ddim"
        )
    parameters = inspect.signature(type(pipe).__call__).parameters
    names = [n for n, p in parameters.items() if n != "self" and p.kind is not p.VAR_KEYWORD]
    asked = _asked(options)
    flat = {name: value for name, value in call.items() if name in OPTIONS and name not in names}
    rest = {name: value for name, value in call.items() if name not in flat}
    _check_names(rest, [*names, *OPTIONS], f"argument of {type(pipe).__name__}")
    for name in flat.keys() & asked.keys():
        raise TypeError(
            f"{name} is given twice: {flat[name]!r} beside the call and {asked[name]!r} in "
            "options; give it once"
        )
    if "latents" in rest:
        raise ValueError("latents is what is looked for: leave it out of the call")
    for name in ("output_type", "return_dict"):
        rest.pop(name, None)
    return Options(**asked, **flat), {name: same_again(value) for name, value in rest.items()}


def _asked(options: Options | Mapping[str, Any] | None) -> dict[str, Any]:
    """The options that are given: of an :class:`Options` those that are not the default.

    Raises:
        TypeError: if it is neither that nor a mapping, or has a name that is none of ours.
    """
    if options is None:
        return {}
    if isinstance(options, Options):
        values = {name: getattr(options, name) for name in OPTIONS}
        return {n: v for n, v in values.items() if v is not getattr(Options, n)}
    if not isinstance(options, Mapping):
        raise TypeError(
            "options must be a dictionary such as {'method': 'exact'} or an invlib.Options, not "
            f"{type(options).__name__}"
        )
    _check_names(options, OPTIONS, "option of invlib")
    return dict(options)


def _check_names(given: Mapping[str, Any], known: Any, what: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise TypeError(f"{name!r} is no {what}{hint}")


def defaults(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """What the pipeline takes for the arguments that are not in the call."""
    parameters = inspect.signature(type(pipe).__call__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | dict(call)


def assumed(pipe: Any, call: Mapping[str, Any]) -> list[str]:
    """A note about guidance and steps that were not given."""
    whole = defaults(pipe, call)
    told = [
        f"{name}={whole[name]!r}"
        for name in ("num_inference_steps", "guidance_scale", "true_cfg_scale")
        if name in whole and name not in call and whole[name] is not None
    ]
    return [f"not given, so the pipeline's own defaults: {', '.join(told)}"] if told else []


def used(call: Mapping[str, Any]) -> list[str]:
    """A note about generators that are not as their seeds leave them."""
    parts = [v for value in call.values() for v in (value if isinstance(value, list) else [value])]
    seeds = [
        part.initial_seed()
        for part in parts
        if isinstance(part, torch.Generator)
        and not torch.equal(
            part.get_state(),
            torch.Generator(part.device).manual_seed(part.initial_seed()).get_state(),
        )
    ]
    if not seeds:
        return []
    return [
        f"the generator in the call has been used since its seed {seeds[0]}: if the picture was "
        f"made with a new one, invert with a new one, torch.Generator().manual_seed({seeds[0]}); "
        "else what the call draws beside its noise, such as a condition, is not the same"
    ]
