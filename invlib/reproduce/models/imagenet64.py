"""The paper's pixel model: OpenAI's improved-diffusion ImageNet64 weights in a diffusers UNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ...denoisers import Prediction
from ...schedule import Schedule

HEADS = 4
TIMES = 4000  # training steps; the network is told t * 1000 / 4000
PUBLISHED = ((128, 256, 384, 512), 3)  # channels of the levels, blocks in each


@dataclass(frozen=True)
class ImageNet64:
    """The network as a denoiser: noise prediction, without the variance that it learned too.

    Attributes:
        module: the UNet2DModel of :func:`build`.
    """

    module: Any
    prediction: Prediction = "epsilon"

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.module.dtype)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The predicted noise at states ``x [B, 3, H, W]`` and times ``t [B]``."""
        rescaled = t.to(torch.float32) * (1000 / TIMES)
        return cast(Tensor, self.module(x.to(self.dtype), rescaled).sample[:, :3])


def side(small: bool) -> int:
    """Side of its pictures: 64; of small ones, that it can make as well, 32."""
    return 32 if small else 64


def schedule() -> Schedule:
    """Its noise levels: the cosine schedule in 4000 steps."""
    return Schedule.cosine(TIMES)


def sizes_of(state: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int]:
    """Channels of each level and blocks in a level, by what stands between the levels.

    Returns:
        Those of ``imagenet64_uncond_100M_1500K.pt`` for weights that do not tell.
    """
    ends = sorted(int(name.split(".")[1]) for name in state if name.endswith(".0.op.weight"))
    if not ends:
        return PUBLISHED
    between = [len(state[f"input_blocks.{end}.0.op.weight"]) for end in ends]
    last = [value for name, value in state.items() if name.startswith("middle_block.0.in_layers.0")]
    return (*between, len(last[0]) if last else PUBLISHED[0][-1]), ends[0] - 1


def build(state: Mapping[str, Tensor]) -> Any:
    """The network with the weights of a checkpoint of improved-diffusion, whatever its widths.

    Args:
        state: its state dict, with the names of the original code.

    Raises:
        ValueError: if names or shapes are not those of that network.
    """
    from diffusers import UNet2DModel

    channels, layers = sizes_of(state)
    plain, attention = "DownBlock2D", "AttnDownBlock2D"
    downs = (plain,) * (len(channels) - 2) + (attention,) * 2
    module = UNet2DModel(
        in_channels=3,
        out_channels=6,
        down_block_types=downs,
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(downs)),
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=None,
        attn_norm_num_groups=32,
        block_out_channels=channels,
        layers_per_block=layers,
    )
    for layer in module.modules():
        if hasattr(layer, "to_q"):  # diffusers fixes the size of a head, this network their number
            layer.heads = HEADS
            layer.scale = (layer.to_q.out_features // HEADS) ** -0.5
    wanted = module.state_dict()
    found = renamed(state, len(channels), layers)
    wrong = {
        name for name in wanted if name not in found or found[name].shape != wanted[name].shape
    }
    wrong |= found.keys() - wanted.keys()
    if wrong:
        raise ValueError(
            f"{len(wrong)} weights do not fit, such as {min(wrong)!r}; the checkpoint must be "
            "imagenet64_uncond_100M_1500K.pt of improved-diffusion"
        )
    module.load_state_dict(found)
    return module.eval().requires_grad_(False)


def renamed(state: Mapping[str, Tensor], levels: int, layers: int) -> dict[str, Tensor]:
    """The weights under the names of diffusers; those of attention cut into its three parts."""
    places = blocks(levels, layers)
    result = {}
    for name, value in state.items():
        place, part, kind = _split(name)
        new = places.get(place, place)
        if part == "qkv":
            for letter, piece in zip("qkv", heads_apart(value), strict=True):
                result[f"{new}.to_{letter}.{kind}"] = piece
        elif part == "proj_out":
            result[f"{new}.to_out.0.{kind}"] = value.squeeze(-1)
        else:
            result[".".join(filter(None, (new, INSIDE.get(part, part), kind)))] = value
    return result


INSIDE = {  # parts of a block: their names in improved-diffusion, and in diffusers
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "op": "conv",
}


def heads_apart(value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of all heads, from rows that hold them head by head."""
    rows = value.flatten(1) if value.ndim > 1 else value
    parts = rows.unflatten(0, (HEADS, 3, -1)).unbind(1)
    query, key, val = (part.flatten(0, 1) for part in parts)
    return query, key, val


def blocks(levels: int, layers: int) -> dict[str, str]:
    """Where each block of improved-diffusion stands in diffusers' UNet2DModel."""
    places = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "middle_block.0": "mid_block.resnets.0",
        "middle_block.1": "mid_block.attentions.0",
        "middle_block.2": "mid_block.resnets.1",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for level in range(levels):
        for layer in range(layers):
            block = f"input_blocks.{1 + level * (layers + 1) + layer}"
            places[f"{block}.0"] = f"down_blocks.{level}.resnets.{layer}"
            places[f"{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
        below = f"input_blocks.{(level + 1) * (layers + 1)}.0"
        places[below] = f"down_blocks.{level}.downsamplers.0"
        deep = level >= levels - 2  # levels with attention
        for layer in range(layers + 1):
            block = f"output_blocks.{(levels - 1 - level) * (layers + 1) + layer}"
            up = f"up_blocks.{levels - 1 - level}"
            places[f"{block}.0"] = f"{up}.resnets.{layer}"
            places[f"{block}.1"] = f"{up}.attentions.{layer}" if deep else f"{up}.upsamplers.0"
            places[f"{block}.2"] = f"{up}.upsamplers.0"
    return places


def _split(name: str) -> tuple[str, str, str]:
    """The block that a weight belongs to, its part of the block, and weight or bias."""
    rest, _, kind = name.rpartition(".")
    match = re.match(r"(time_embed\.\d|out\.\d|middle_block\.\d|\w+_blocks\.\d+\.\d)\.?(.*)", rest)
    return (match[1], match[2], kind) if match else (rest, "", kind)
