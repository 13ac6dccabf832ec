"""Whether two arguments of a pipeline, or of a network, are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def equal(one: Any, other: Any) -> bool:
    """Whether two arguments are equal; what does not compare, only if it is the same object.

    Tensors and arrays are equal with their shape and dtype, on whichever device; generators if
    they draw the same; containers by their parts, a list and a tuple alike.
    """
    if isinstance(one, Tensor | np.ndarray) or isinstance(other, Tensor | np.ndarray):
        return _equal_arrays(one, other)
    if isinstance(one, torch.Generator) and isinstance(other, torch.Generator):
        return one.device == other.device and torch.equal(one.get_state(), other.get_state())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    try:
        return one is other or bool(one == other)
    except Exception:  # objects that do not compare
        return False


def _equal_arrays(one: Any, other: Any) -> bool:
    """The same for two values of which one at least is a tensor or an array."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype
        return alike and torch.equal(one, other.to(one.device))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return False
