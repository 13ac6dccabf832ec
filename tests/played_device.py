"""A device, played on the CPU: it refuses tensors of two devices, and float64 if it has none.

It also notes each time that the host has to wait for it: where values leave it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_map_only

import invlib
from invlib import devices

DEVICE = torch.device("meta")  # a name for which PyTorch asks no driver
CPU = torch.device("cpu")
HOME = Path(invlib.__file__).parent
WAITS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_linalg_check_errors"}
WAITS |= {"_unique2", "unique_consecutive", "unique_dim", "_linalg_svd"}  # sizes; info of cuSOLVER
double = False  # whether the device has float64
waits: list[str] = []  # where the host has waited for the device: operation, file and function


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

    def tolist(self) -> Any:
        waits.append(f"tolist in {caller()}")
        return self.values.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of the device to NumPy; use cpu() first")

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
    name = str(func).split(".")[1]
    there = any(isinstance(x, There) for x in found)
    if there:
        check_places(name, args, found)
        if waited(name, args, kwargs):
            waits.append(f"{name} in {caller()}")
    wanted = kwargs.get("device")
    if wanted is not None:
        there = torch.device(wanted).type == DEVICE.type
        generator = kwargs.get("generator")
        if there and generator is not None:
            raise RuntimeError(f"Expected a generator on {DEVICE}, found one on {generator.device}")
        kwargs = {**kwargs, "device": CPU}
    if name == "_efficientzerotensor":  # of forward derivatives; these have no values at all
        func = torch.ops.aten.zeros.default
    if name == "copy_":
        there = isinstance(args[0], There)
    elif name.startswith("index"):
        there = isinstance(args[0], There)

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor) or isinstance(x, There) or not there:
            return x
        if x.dtype == torch.float64 and not double:
            raise TypeError("Cannot convert a tensor to float64: the device does not support it")
        return There(x)

    plain = tree_map_only(There, lambda x: x.values, (args, kwargs))
    result = func(*plain[0], **plain[1])
    if name.endswith("_"):
        return args[0]  # changed in place
    return tree_map(wrapped, result)


def check_places(name: str, args: Any, found: list[Tensor]) -> None:
    """Refuse what a device refuses: operands on the CPU other than numbers, its indices there."""
    if name in ("copy_", "_to_copy"):
        return
    if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
        if isinstance(args[0], There):  # it takes indices of the CPU, and moves them itself
            found = [v for v in args[2:3] if isinstance(v, Tensor)]
        else:
            raise RuntimeError("indices should be on the same device as the indexed tensor (cpu)")
    if any(not isinstance(x, There) and (x.ndim or x.requires_grad) for x in found):
        raise RuntimeError(f"Expected all tensors to be on the same device, in {name}")


def waited(name: str, args: Any, kwargs: Any) -> bool:
    """Whether the host needs values that are on the device, and so waits for it."""
    if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
        masks = [i for i in args[1] if isinstance(i, There)]
        return any(i.dtype in (torch.bool, torch.uint8) for i in masks)
    if name == "_to_copy":
        wanted = kwargs.get("device")
        return wanted is not None and torch.device(wanted).type == "cpu"
    if name == "copy_":
        return not isinstance(args[0], There)
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in WAITS


def caller() -> str:
    """The innermost function of the library that is at work."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(HOME):
            return f"{path.relative_to(HOME)}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "nobody"


def autocast(kind: str, *, enabled: bool = True, real: Any = torch.autocast, **more: Any) -> Any:
    """PyTorch's own knows no such device; off, it does nothing."""
    return nullcontext() if kind == DEVICE.type and not enabled else real(kind, **more)


def moving(make: Any) -> Any:
    """A maker of tensors from Python's numbers, of which no mode hears: made, then moved."""

    def made(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        found = make(data, **options)
        return found if device is None else found.to(device)

    return made


@contextmanager
def device_played(*, float64: bool) -> Iterator[torch.device]:
    """The device, for a while; its ``waits`` begin empty."""
    global double
    devices._computes.cache_clear()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # weights are There, too
    before, double = double, float64
    waits.clear()
    try:
        with (
            Device(),
            mock.patch.object(torch, "is_autocast_enabled", lambda kind: False),
            mock.patch.object(torch, "autocast", autocast),
            mock.patch.object(torch, "tensor", moving(torch.tensor)),
            mock.patch.object(torch, "as_tensor", moving(torch.as_tensor)),
        ):
            yield DEVICE
    finally:
        double = before
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        devices._computes.cache_clear()


def device_without_float64() -> Any:
    """The device, without float64."""
    return device_played(float64=False)
