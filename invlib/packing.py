"""The arguments of a call as JSON and tensors, and back again, without pickle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .extras import need

PLAIN = (str, int, float, bool, type(None))
STORED = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
}
PREFIX = "call."  # of the names of the tensors


def pack(call: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments as JSON takes them, and the tensors that this refers to by name.

    Plain values and lists are themselves; everything else is a JSON object whose first name says
    what it is: ``tuple``, ``dict``, ``tensor``, ``array``, ``picture`` or ``generator``.

    Raises:
        ValueError: if an argument is something that is no data, such as a function, by its name.
    """
    tensors: dict[str, Tensor] = {}
    return {name: _pack(value, name, tensors) for name, value in call.items()}, tensors


def unpack(
    packed: Mapping[str, Any], tensor: Callable[[str], Tensor], device: Any = "cpu"
) -> dict[str, Any]:
    """The arguments again.

    Args:
        packed: what :func:`pack` made.
        tensor: gives a tensor by its name.
        device: where tensors go that were not on the CPU when they were packed.

    Raises:
        NotHere: if the state of a generator is one of a device that this machine lacks.
        ValueError, KeyError, TypeError, RuntimeError: if it is nothing that :func:`pack` made.
    """
    return {name: _unpack(value, tensor, device) for name, value in packed.items()}


class NotHere(ValueError):  # noqa: N818 - it names the fact
    """The call needs a device that this machine does not have."""


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of one value; its tensors are put among the others."""

    def keep(tensor: Tensor) -> str:
        name = f"{PREFIX}{len(tensors)}"
        tensors[name] = tensor.detach().cpu().contiguous().clone()  # no two share their memory
        return name

    if type(value) in PLAIN:
        return value
    if type(value) in (list, tuple):
        parts = [_pack(part, f"{path}[{i}]", tensors) for i, part in enumerate(value)]
        return parts if type(value) is list else {"tuple": parts}
    if isinstance(value, dict):
        pairs = [
            [_pack(k, f"{path}'s names", tensors), _pack(v, f"{path}[{k!r}]", tensors)]
            for k, v in value.items()
        ]
        return {"dict": pairs}
    if isinstance(value, Tensor) and _is_stored(value):
        return {"tensor": keep(value), "cpu": value.device.type == "cpu"}
    if isinstance(value, np.ndarray | np.generic):
        try:
            return {"array": keep(torch.from_numpy(np.array(value)))}
        except (TypeError, ValueError) as error:
            raise ValueError(_refusal(path, f"an array of {value.dtype}")) from error
    if _is_picture(value) and value.mode not in ("P", "PA"):
        pixels = torch.frombuffer(bytearray(value.tobytes()), dtype=torch.uint8)
        return {"picture": keep(pixels), "mode": value.mode, "size": list(value.size)}
    if isinstance(value, torch.Generator):
        return {"generator": keep(value.get_state()), "device": str(value.device)}
    raise ValueError(_refusal(path, _kind(value)))


def _unpack(value: Any, tensor: Callable[[str], Tensor], device: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(part, tensor, device) for part in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"tuple": list(parts)}:
            return tuple(_unpack(part, tensor, device) for part in parts)
        case {"dict": list(pairs)}:
            return {_unpack(k, tensor, device): _unpack(v, tensor, device) for k, v in pairs}
        case {"tensor": str(name), "cpu": bool(stays)}:
            return tensor(name) if stays else tensor(name).to(device)
        case {"array": str(name)}:
            return tensor(name).numpy()[()]
        case {"picture": str(name), "mode": str(mode), "size": [int(width), int(height)]}:
            need("diffusers", "PIL")
            from PIL import Image

            pixels = tensor(name).numpy().tobytes()
            if min(width, height) < 1 or width * height > 8 * len(pixels):  # mode "1": 8 a byte
                raise ValueError(f"a picture of {width} x {height} in {len(pixels)} bytes")
            return Image.frombytes(mode, (width, height), pixels)
        case {"generator": str(name), "device": str(where)}:
            return _generator(tensor(name), where)
    raise ValueError(f"an argument of an unknown kind: {', '.join(value)}")


def _generator(state: Tensor, device: str) -> torch.Generator:
    try:
        generator = torch.Generator(device)
    except RuntimeError as error:
        raise NotHere(
            f"the call has a random generator of the device {device!r}, which is not here"
        ) from error
    generator.set_state(state)
    return generator


def _is_stored(tensor: Tensor) -> bool:
    """Whether the file format knows this kind of tensor."""
    return tensor.layout is torch.strided and not tensor.is_meta and tensor.dtype in STORED


def _is_picture(value: Any) -> bool:
    """Whether it is one of Pillow's, which nobody has where Pillow was not imported."""
    pillow: Any = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _kind(value: Any) -> str:
    if isinstance(value, FunctionType | MethodType):
        return f"the function {value.__name__}"
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}, {value.layout}, on {value.device}"
    if _is_picture(value):
        return "a picture with a palette (convert it first)"
    return f"an object of class {type(value).__name__}"


def _refusal(path: str, kind: str) -> str:
    return (
        f"the argument {path} is {kind}, which no file can hold: leave it out of the call; "
        "nothing was written"
    )
