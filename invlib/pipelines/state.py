"""What a pipeline has in memory beside the configuration of its scheduler."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

STEPS = 10  # whatever a configuration does not say shows with any number


def tables(scheduler: Any) -> dict[str, Tensor]:
    """The numbers and lists of numbers that a scheduler computes with, float64 on the CPU.

    They are those of a copy whose time steps are set, so that they do not depend on how it was
    used; nothing where the time steps need more than their number.
    """
    own, begin = copy.deepcopy(scheduler), type(scheduler).set_timesteps
    try:
        try:
            begin(own, STEPS)
        except ValueError:  # a shift that depends on the size of the picture
            begin(own, STEPS, mu=1.0)
    except Exception:  # whatever a scheduler asks for
        return {}
    kinds = (Tensor, np.ndarray, float)
    found = {n: torch.as_tensor(v) for n, v in vars(own).items() if isinstance(v, kinds)}
    return {n: v.double().cpu() for n, v in found.items() if v.ndim < 2}


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
