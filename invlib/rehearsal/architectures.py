"""Networks of published architecture with random weights."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..pipelines import UNet

SDXL_BLOCKS = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    "sd15": {  # stable-diffusion-v1-5
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    "sd21": {  # stable-diffusion-2-1-base
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {  # stable-diffusion-xl-base-1.0
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": SDXL_BLOCKS,
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {  # class in diffusers, configuration
    "sd3": (  # stable-diffusion-3-medium
        "SD3Transformer2DModel",
        {
            "sample_size": 128,
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "joint_attention_dim": 4096,
            "pos_embed_max_size": 192,
        },
    ),
    "flux": ("FluxTransformer2DModel", {"guidance_embeds": True}),  # FLUX.1-dev
    "wan": (  # Wan2.1-T2V-1.3B
        "WanTransformer3DModel",
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    ),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class SizedUNet(UNet):
    """A UNet that is also told the picture's size and a pooled prompt, as SDXL's is."""

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The network's prediction; size and pooled prompt are zeros, which cost the same."""
        x, t = x.to(self.dtype), t.to(torch.float32)
        config = self.module.config
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        more = {"text_embeds": x.new_zeros(len(x), pooled), "time_ids": x.new_zeros(len(x), 6)}
        output = self.module(x, t, encoder_hidden_states=condition, added_cond_kwargs=more)
        return cast(Tensor, output.sample)


def random_network(arch: str, *, dtype: str = "float32", device: str = "cpu") -> UNet:
    """A network of published architecture, its weights drawn from seed 0.

    Args:
        arch: a name in ``ARCHITECTURES``.
        dtype: a name in ``DTYPES``.
        device: where to build it.

    Raises:
        ValueError: if the architecture or the dtype is unknown.
    """
    for what, name, known in (("architecture", arch, ARCHITECTURES), ("dtype", dtype, DTYPES)):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; use one of {', '.join(known)}")
    module = random_module(arch, dtype=dtype, device=device)
    sized = module.config.addition_embed_type == "text_time"
    return SizedUNet(module, "epsilon") if sized else UNet(module, "epsilon")


def random_module(arch: str, *, dtype: str = "float32", device: str = "cpu") -> Any:
    """The bare network of diffusers, UNet or transformer, its weights drawn from seed 0.

    Args:
        arch: a name in ``ARCHITECTURES`` or ``TRANSFORMERS``.
        dtype: a name in ``DTYPES``.
        device: where to build it; ``meta`` for the shapes alone.
    """
    if arch in TRANSFORMERS:
        name, config = TRANSFORMERS[arch]
        return _built(name, config, dtype, device)
    return random_unet(ARCHITECTURES[arch], dtype=dtype, device=device)


def random_unet(config: dict[str, Any], *, dtype: str = "float32", device: str = "cpu") -> Any:
    """The bare UNet of some configuration, its weights drawn from seed 0.

    Args:
        config: as in ``ARCHITECTURES``.
        dtype: a name in ``DTYPES``.
        device: where to build it.
    """
    return _built("UNet2DConditionModel", config, dtype, device)


def _built(name: str, config: dict[str, Any], dtype: str, device: str) -> Any:
    """A model of diffusers; it is made in its dtype, so that no copy in float32 is needed."""
    import diffusers

    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(0)
            module = getattr(diffusers, name)(**config)
    finally:
        torch.set_default_dtype(before)
    torch.nn.Module.to(module, DTYPES[dtype])  # diffusers' own warns about nothing here
    return module.eval().requires_grad_(False)
