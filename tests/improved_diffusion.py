"""A network of improved-diffusion with random weights under the original names."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

CHANNELS, LAYERS, HEADS = (32, 64, 96, 128), 1, 4


class Original:
    """A network of improved-diffusion, written down from its description, on a state dict.

    Random weights come into being when they are first asked for, under the original names.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        self.channels = channels
        self.state: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)

    def weight(self, name: str, *shape: int) -> Tensor:
        if name not in self.state:
            size = 1 / math.sqrt(math.prod(shape[1:]) or 1)
            self.state[name] = size * torch.randn(shape, generator=self.generator)
        return self.state[name]

    def conv(self, x: Tensor, name: str, out: int, kernel: int = 3, **options: int) -> Tensor:
        weight = self.weight(f"{name}.weight", out, x.shape[1], kernel, kernel)
        return functional.conv2d(x, weight, self.weight(f"{name}.bias", out), **options)

    def linear(self, x: Tensor, name: str, out: int) -> Tensor:
        weight = self.weight(f"{name}.weight", out, x.shape[1])
        return functional.linear(x, weight, self.weight(f"{name}.bias", out))

    def norm(self, x: Tensor, name: str) -> Tensor:
        channels = x.shape[1]
        weight = 1 + self.weight(f"{name}.weight", channels)
        self.state[f"{name}.weight"] = weight
        return functional.group_norm(x, 32, weight, self.weight(f"{name}.bias", channels))

    def residual(self, x: Tensor, emb: Tensor, name: str, out: int) -> Tensor:
        h = self.conv(
            functional.silu(self.norm(x, f"{name}.in_layers.0")),
            f"{name}.in_layers.2",
            out,
            padding=1,
        )
        scale, shift = self.linear(functional.silu(emb), f"{name}.emb_layers.1", 2 * out)[
            ..., None, None
        ].chunk(2, 1)
        h = self.norm(h, f"{name}.out_layers.0") * (1 + scale) + shift
        h = self.conv(functional.silu(h), f"{name}.out_layers.3", out, padding=1)
        return h + (x if x.shape[1] == out else self.conv(x, f"{name}.skip_connection", out, 1))

    def attention(self, x: Tensor, name: str) -> Tensor:
        b, c, *_ = x.shape
        flat = self.norm(x, f"{name}.norm").flatten(2)
        qkv = functional.conv1d(
            flat,
            self.weight(f"{name}.qkv.weight", 3 * c, c, 1),
            self.weight(f"{name}.qkv.bias", 3 * c),
        )
        q, k, v = qkv.reshape(b * HEADS, 3 * c // HEADS, -1).chunk(3, 1)
        weights = torch.einsum("bct,bcs->bts", q, k).div(math.sqrt(c // HEADS)).softmax(-1)
        mixed = torch.einsum("bts,bcs->bct", weights, v).reshape(b, c, -1)
        out = functional.conv1d(
            mixed,
            self.weight(f"{name}.proj_out.weight", c, c, 1),
            self.weight(f"{name}.proj_out.bias", c),
        )
        return x + out.view_as(x)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        widths = self.channels
        half = widths[0] // 2
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        emb = torch.cat([angles.cos(), angles.sin()], 1)
        emb = self.linear(
            functional.silu(self.linear(emb, "time_embed.0", 4 * widths[0])),
            "time_embed.2",
            4 * widths[0],
        )
        h = self.conv(x, "input_blocks.0.0", widths[0], padding=1)
        kept, number = [h], 1
        for level, channels in enumerate(widths):
            for _ in range(LAYERS):
                h = self.residual(h, emb, f"input_blocks.{number}.0", channels)
                if level >= 2:
                    h = self.attention(h, f"input_blocks.{number}.1")
                kept.append(h)
                number += 1
            if level < 3:
                h = self.conv(h, f"input_blocks.{number}.0.op", channels, stride=2, padding=1)
                kept.append(h)
                number += 1
        h = self.residual(h, emb, "middle_block.0", widths[-1])
        h = self.residual(self.attention(h, "middle_block.1"), emb, "middle_block.2", widths[-1])
        number = 0
        for level in (3, 2, 1, 0):
            for layer in range(LAYERS + 1):
                name, part = f"output_blocks.{number}", 1
                h = self.residual(torch.cat([h, kept.pop()], 1), emb, f"{name}.0", widths[level])
                if level >= 2:
                    h, part = self.attention(h, f"{name}.1"), 2
                if level and layer == LAYERS:
                    h = functional.interpolate(h, scale_factor=2.0)
                    h = self.conv(h, f"{name}.{part}.conv", widths[level], padding=1)
                number += 1
        return self.conv(functional.silu(self.norm(h, "out.0")), "out.2", 6, padding=1)
