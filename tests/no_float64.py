"""A device without float64, played on the CPU: it refuses float64, and tensors of two devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

from invlib import devices

DEVICE = torch.device("meta")  # a name for which PyTorch asks no driver
CPU = torch.device("cpu")


class There(Tensor):
    """A tensor that says that it is on the device; its values are on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), dtype=values.dtype, device=DEVICE
        )
        made.values = values
        return made

    def __init__(self, values: Tensor) -> None:
        pass

    def __repr__(self) -> str:
        return f"There({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Device(TorchDispatchMode):
    """Makes tensors on the device where that is asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives: on the device if it is asked for there, or if its inputs are."""
    found: list[Tensor] = []
    tree_map_only(Tensor, found.append, (args, kwargs))
    there = any(isinstance(x, There) for x in found)
    moves = func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
    wanted = kwargs.get("device")
    here = [x for x in found if not isinstance(x, There) and (x.ndim or x.requires_grad)]
    if there and here and not moves and "index" not in str(func):
        raise RuntimeError(f"Expected all tensors to be on the same device, in {func}")
    if wanted is not None:
        there = torch.device(wanted).type == DEVICE.type
        kwargs = {**kwargs, "device": CPU}
    if func is torch.ops.aten.copy_.default:
        there = isinstance(args[0], There)

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, There) or not there:
            return x
        if x.dtype == torch.float64:
            raise TypeError("Cannot convert a tensor to float64: the device does not support it")
        return There(x)

    plain = tree_map_only(There, lambda x: x.values, (args, kwargs))
    result = func(*plain[0], **plain[1])
    if func is torch.ops.aten.copy_.default or str(func).split(".")[1].endswith("_"):
        return args[0]  # changed in place
    return tree_map(wrapped, result)


@contextmanager
def device_without_float64() -> Iterator[torch.device]:
    """The device, for a while."""
    devices._computes.cache_clear()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # weights are There, too
    try:
        with Device(), mock.patch.object(torch, "is_autocast_enabled", lambda kind: False):
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        devices._computes.cache_clear()
