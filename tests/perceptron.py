"""A small network of known precision: two hidden layers on 64 numbers, in any dtype."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy
import torch
from analytic import randn
from torch import Tensor

from invlib.bridge import bridged
from invlib.denoisers import Denoiser, predicting

WIDTH, HIDDEN = 64, 128


class Perceptron(torch.nn.Module):
    """A smooth noise prediction; every layer's output goes through ``rounding``."""

    prediction = "epsilon"

    def __init__(self, rounding: Callable[[Tensor], Tensor] = lambda h: h) -> None:
        super().__init__()
        sizes = (WIDTH + 1, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, WIDTH)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(*size) for size in sizes)
        for seed, layer in enumerate(self.layers):
            layer.weight.data = 0.8 * randn(*layer.weight.shape, seed=seed) / layer.in_features**0.5
            layer.bias.data = 0.1 * randn(len(layer.bias), seed=seed + 9)
        self.rounding = rounding

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = torch.cat([x, t[:, None] / 1000], 1).to(self.layers[0].weight)
        for layer in self.layers[:-1]:
            h = torch.nn.functional.silu(self.rounding(layer(h)))
        return self.rounding(self.layers[-1](h))


def ten_bits(x: Tensor) -> Tensor:
    """Round float32 to the ten bits of TensorFloat-32."""
    if x.dtype != torch.float32:
        return x
    fraction, exponent = torch.frexp(x)
    return torch.ldexp((fraction * 2**11).round() / 2**11, exponent)


def preconditioned(network: Denoiser, dtype: torch.dtype, gain: float) -> Denoiser:
    """A network in a wrapper that computes in another dtype, with guidance that amplifies."""

    def wrapper(x: Tensor, t: Tensor) -> Tensor:
        x = x.to(dtype)
        here, there = (network(scale * x, t).to(dtype) for scale in (0.9, 0.8))
        return 0.3 * x + gain * here - 0.8 * gain * there

    return predicting(wrapper, "epsilon")


def networks() -> dict[str, tuple[Denoiser, Denoiser]]:
    """Each network, and the same weights computed in float64."""
    whole = Perceptron()
    rough: dict[str, Perceptron] = {
        "float64": whole,
        "float32": copy.deepcopy(whole).float(),
        "float16": copy.deepcopy(whole).half(),
        "bfloat16": copy.deepcopy(whole).bfloat16(),
        "ten bits": Perceptron(ten_bits).float(),
    }
    found: dict[str, tuple[Denoiser, Denoiser]] = {}
    for name, network in rough.items():
        fine = copy.deepcopy(network).double()
        found[name] = network.requires_grad_(False), fine.requires_grad_(False)
    single, fine = found["float32"]
    found["a lambda over float32"] = predicting(lambda x, t: single(x, t), "epsilon"), fine

    def outside(x: Tensor, t: Tensor) -> numpy.ndarray:
        return single(x.detach(), t).numpy()

    found["behind NumPy"] = bridged(outside, prediction="epsilon"), fine
    return found
