"""Devices without float64, such as Apple's GPUs: states on the CPU, the network where it is.

States and coefficients are float64. Where the device of an image has none, its state is on the
CPU, and the network gets its inputs on its own device in its own dtype.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from .denoisers import (
    Denoiser,
    Prediction,
    differences,
    dtype_of,
    in_float64,
    layers,
    prediction_of,
    select,
)
from .memory import is_full


def has_float64(device: torch.device | str) -> bool:
    """Whether a device computes in float64: it is asked once."""
    kind = torch.device(device).type
    return kind in ("cpu", "cuda") or _computes(kind)


@cache
def _computes(kind: str) -> bool:
    try:
        torch.ones(1, dtype=torch.float64, device=kind).div(3)
    except (RuntimeError, TypeError) as error:
        if is_full(error):
            raise
        return False
    return True


def state_device(device: torch.device | str) -> torch.device:
    """Where the states of a network on ``device`` are: there, or on the CPU."""
    return torch.device(device) if has_float64(device) else torch.device("cpu")


def lifted(x: Tensor) -> Tensor:
    """A tensor in float64, on the CPU if its device has none."""
    return x.to(state_device(x.device)).double()


def lowered(x: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device, in float32 if it is float64 and the device has none."""
    wide = x.dtype == torch.float64 and not has_float64(device)
    return (x.float() if wide else x).to(device)


def brought(x: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device and in the dtype of another; it moves before it is cast."""
    return x.to(like.device).to(like.dtype)


def home_of(network: object, x: Tensor) -> torch.device:
    """The device of a network: that of its parameters; of a plain function, that of ``x``."""
    for part in layers(network):
        if isinstance(part, torch.nn.Module):
            for parameter in part.parameters():
                return parameter.device
    return x.device


@dataclass(frozen=True)
class OnDevice:
    """A denoiser on a device that is not that of the states; see :func:`on_device`."""

    network: Denoiser
    prediction: Prediction
    device: torch.device
    dtype: torch.dtype

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction, on the device of the states ``x [B, ...]`` and in their dtype."""
        wide = torch.promote_types(self.dtype, torch.float32)
        given = x.to(self.dtype).to(self.device), t.to(wide).to(self.device)
        output = self.network(*given)
        return brought(output, x) if isinstance(output, Tensor) else output

    def select(self, rows: Tensor) -> OnDevice:
        """The same denoiser on the selected rows."""
        return replace(self, network=select(self.network, rows.to(self.device)))

    def in_float64(self) -> OnDevice:
        """A copy in float64; itself where the device has none."""
        if not has_float64(self.device):
            return self
        return replace(self, network=in_float64(self.network), dtype=torch.float64)


def on_device(
    denoiser: Denoiser, device: torch.device | str, *, dtype: torch.dtype | None = None
) -> OnDevice:
    """A denoiser whose inputs are moved to its device, and whose outputs to that of the states.

    :func:`invlib.sample`, :func:`invlib.invert` and :func:`invlib.certify` do this by themselves
    where the image is on a device without float64, or the network is a module on such a device.
    For a plain function there and states on the CPU, say it:
    ``on_device(predicting(function, "epsilon"), "mps")``.

    Args:
        denoiser: the network.
        device: where it is.
        dtype: of the states that it is given; by default its own if it says it, else the widest
            of the device. Times are float32 at least.

    Raises:
        ValueError: if the network does not say what it predicts.
    """
    device = torch.device(device)
    widest = torch.float64 if has_float64(device) else torch.float32
    own = dtype_of(denoiser) if dtype is None else dtype
    return OnDevice(denoiser, prediction_of(denoiser), device, own or widest)


def beside(denoiser: Denoiser, x: Tensor) -> Denoiser:
    """The denoiser for the states of ``x``, where its device or that of ``x`` has no float64.

    A bridged network takes the states where they are.
    """
    home = home_of(denoiser, x)
    placed = any(isinstance(part, OnDevice) for part in layers(denoiser))
    if has_float64(home) or placed or differences(denoiser) is not None:
        return denoiser
    return on_device(denoiser, home)


def sent(x: Tensor, network: object, dtype: torch.dtype) -> Tensor:
    """A state as a network takes it: in its dtype, on its device if that has no float64."""
    x, home = x.to(dtype), home_of(network, x)
    return x if has_float64(home) else x.to(home)
