"""What a pipeline has in memory: the tables of its scheduler, samples of its weights."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .running import configuration, modules_of

SAMPLE = 8  # values of every weight
STEPS = 10  # whatever a configuration does not say shows with any number


def tables(scheduler: Any) -> dict[str, Tensor]:
    """The numbers and lists of numbers that a scheduler computes with, float64 on the CPU.

    Whole numbers, switches and lists count where they have the name of an entry of its
    configuration; others may say how often it was used. They are those of a copy whose time steps
    are set, so that they do not depend on how it was used; nothing where the time steps need more
    than their number.
    """
    own, begin = copy.deepcopy(scheduler), type(scheduler).set_timesteps
    try:
        try:
            begin(own, STEPS)
        except ValueError:  # a shift that depends on the size of the picture
            begin(own, STEPS, mu=1.0)
    except Exception:  # whatever a scheduler asks for
        return {}
    named = getattr(own, "config", {})
    found = {n: torch.as_tensor(v) for n, v in vars(own).items() if _counts(v, n in named)}
    return {n: v.double().cpu() for n, v in found.items() if v.ndim < 2}


def _counts(value: Any, named: bool) -> bool:
    """Whether an attribute of a scheduler is what it computes with."""
    if named and isinstance(value, list | tuple):
        return all(isinstance(v, int | float) for v in value)
    return isinstance(value, Tensor | np.ndarray | float) or (named and isinstance(value, int))


def differing(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[str]:
    """Names of the tables that differ by more than round-off, of those that both have."""
    return [
        name
        for name in some.keys() & others.keys()
        if some[name].shape != others[name].shape
        or not torch.allclose(some[name], others[name], rtol=1e-6, atol=1e-9, equal_nan=True)
    ]


def rebuilt(own: Any, config: Mapping[str, Any]) -> Any:
    """The scheduler of a configuration, of the class that it names.

    Args:
        own: a scheduler whose class is taken if it has that name; else that of diffusers is.
        config: the configuration.

    Raises:
        ValueError: if there is no such class.
    """
    kind: Any = type(own)
    if kind.__name__ != (name := config["_class_name"]):
        import diffusers

        kind = getattr(diffusers, name, None)
    if kind is None:
        raise ValueError(
            f"diffusers has no scheduler {name!r}, with which the noise was found: give the "
            "pipeline that one, or update diffusers"
        )
    return kind.from_config(config)


def check_written(own: Any, text: str, found: Mapping[str, Tensor]) -> None:
    """Refuse a scheduler of which its configuration, all that a file holds of it, is not all.

    Args:
        own: a scheduler of its class.
        text: its configuration in JSON.
        found: its :func:`tables`.

    Raises:
        ValueError: if it has no configuration, or the one made of it computes otherwise.
    """
    if not text:
        raise ValueError(f"no file can hold a {type(own).__name__}: it has no configuration")
    config = json.loads(text)
    if lost := differing(found, tables(rebuilt(own, config))):
        name = config["_class_name"]
        raise ValueError(
            f"the {' and '.join(sorted(lost))} of this {name} are not those of its configuration, "
            "all that a noise file holds of it: put the change there, as in pipe.scheduler = "
            f"{name}.from_config(pipe.scheduler.config, shift=..., or trained_betas=...)"
        )


def weights(module: torch.nn.Module) -> dict[str, Callable[[], Any]]:
    """What reads the weights of a network, by their names, wherever they are, compiled or not.

    Those that accelerate has offloaded are the ones that its hooks hold; on the device without
    values are only those that nothing here holds.
    """
    layers = dict(module.named_modules())
    return {
        uncompiled(key): partial(_held, layers, key, value)
        for key, value in module.state_dict().items()
    }


def _held(layers: Mapping[str, Any], key: str, value: Any) -> Any:
    """A weight; of one without values what the hooks of its layer, or of those around it, hold."""
    if not (isinstance(value, Tensor) and value.is_meta):
        return value
    names = key.split(".")
    for length in reversed(range(len(names))):
        hook = getattr(layers.get(".".join(names[:length])), "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            held, name = getattr(one, "weights_map", None), ".".join(names[length:])
            with suppress(KeyError):  # to ask first whether it is there reads it from the disk, too
                if held is not None:
                    return held[name]
    return value


COMPILED = "_orig_mod"  # the one child of what torch.compile returns


def uncompiled(key: str) -> str:
    """A name in a network as it is without ``torch.compile``."""
    return ".".join(part for part in key.split(".") if part != COMPILED)


def all_settings(module: torch.nn.Module) -> dict[str, dict[str, Any]]:
    """The :func:`settings` of all layers that have some, by their names."""
    layers = ((k, v) for k, v in module.named_modules() if not hasattr(v, COMPILED))
    return {uncompiled(key): held for key, layer in layers if (held := settings(layer))}


def settings(layer: Any) -> dict[str, Any]:
    """What is set beside the weights of a layer; nothing where it is none with adapters or FreeU.

    The layers are known by what they have: those of PEFT a list of merged adapters, those of
    IP-Adapter keys of pictures, and those with FreeU its four factors.
    """
    if isinstance(getattr(layer, "merged_adapters", None), list):
        active, scales = list(layer.active_adapters), getattr(layer, "scaling", {})
        return {
            "active": active,
            "scales": [_scale(scales.get(name)) for name in active],
            "disabled": bool(layer.disable_adapters),
            "merged": list(layer.merged_adapters),
        }
    if hasattr(layer, "to_k_ip"):
        return {"scale": getattr(layer, "scale", None)}
    return {n: v for n in ("s1", "s2", "b1", "b2") if (v := vars(layer).get(n)) is not None}


def _scale(value: Any) -> Any:
    """A scale without the last places, which a run with another one in its call may change."""
    return float(f"{value:.9g}") if isinstance(value, float) else value


SCALES = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


def scales(pipe: Any) -> dict[str, dict[str, Any]]:
    """By what a pipeline scales latents for its networks, as their configurations say it."""
    found = {name: _scales(module) for name, module in modules_of(pipe).items()}
    return {name: held for name, held in found.items() if held}


def _scales(module: torch.nn.Module) -> dict[str, Any]:
    """The entries of a configuration that scale latents, as they come back from JSON."""
    held = {n: getattr(getattr(module, "config", None), n, None) for n in SCALES}
    return json.loads(json.dumps({n: v for n, v in held.items() if v is not None}))


def samples(pipe: Any) -> dict[str, str]:
    """A hash for each network: of some values of every weight, of :func:`settings` and scales.

    That takes no time, whatever the size, unless weights are on a disk, and tells fine-tuned, fused
    and scaled weights apart, as these differ everywhere;
    :func:`invlib.identity.weights_hash` reads all of them. A network whose weights nothing here
    holds, or that are stored in another way, has none.
    """
    found = {name: _sample(module) for name, module in modules_of(pipe).items()}
    return {name: digest for name, digest in found.items() if digest}


def _sample(module: torch.nn.Module) -> str:
    """The hash of one network; nothing if its weights cannot be read."""
    total = hashlib.sha256()
    try:
        for key, read in weights(module).items():
            value = read()
            total.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            if value.numel():
                picked = torch.linspace(0, value.numel() - 1, SAMPLE).long().to(value.device)
                value = value.detach().reshape(value.shape or (1,))
                some = value[torch.unravel_index(picked, value.shape)]
                total.update(some.cpu().contiguous().view(torch.uint8).numpy().data)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        return ""
    for key, held in (all_settings(module) | {"scales": _scales(module)}).items():
        total.update(f"{key} {held}\n".encode())
    return total.hexdigest()


def changed(
    pipe: Any, text: str, found: Mapping[str, Tensor], known: Mapping[str, str]
) -> list[str]:
    """What a pipeline has otherwise than it had; of what is not known, nothing.

    Args:
        pipe: the pipeline as it is.
        text: the configuration of its scheduler in JSON, as it was.
        found: the :func:`tables` of its scheduler, as they were.
        known: the :func:`samples` of its weights, as they were.
    """
    now = configuration(pipe.scheduler)
    before, after = (json.loads(one) if text and now else {} for one in (text, now))
    if (was := before.get("_class_name")) != (own := after.get("_class_name")):
        return [f"its scheduler was {was} and is {own}"]
    said = [
        f"{name} of its scheduler was {before.get(name)!r} and is {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if not name.startswith("_") and before.get(name) != after.get(name)
    ]
    if not said:
        said = [f"{n} of its scheduler differs" for n in differing(found, tables(pipe.scheduler))]
    return said + other_weights(pipe, known)


def other_weights(pipe: Any, known: Mapping[str, str]) -> list[str]:
    """Of which networks a pipeline has other weights, or scales of latents, than it had.

    Args:
        pipe: the pipeline as it is.
        known: the :func:`samples` of its weights, as they were.
    """
    now = samples(pipe) if known else {}
    shared = sorted(known.keys() & now.keys())
    return [f"the weights or scales of its {n} differ" for n in shared if known[n] != now[n]]
