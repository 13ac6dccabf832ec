"""Repositories as a hub has them, with small random weights under the real names.

Structure and files are those of the published models, from their descriptions; widths, numbers of
layers and pictures are small. A file ``RANDOM_WEIGHTS`` in each tells what they are.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from improved_diffusion import Original

from invlib.rehearsal.zoo import catalogue
from invlib.rehearsal.zoo.parts import t5, t5_tokenizer
from invlib.reproduce.models.full_size import RANDOM, full_size
from invlib.reproduce.models.places import PIXEL_MODEL, PROMPTS

LATENT = 16  # side of the latents; 64 in the published model
WORDS = "a red cat and the blue house in some old light by an open sea"
CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train*
  - split: test
    path: data/eval*
---
random words: rehearsal
"""


def fill(folder: Path, profiles: Iterable[str] = ("paper",)) -> None:
    """Put all that some profiles fetch into a folder."""
    torch.manual_seed(0)
    for profile in profiles:
        make = PIPELINES.get(profile, stable_diffusion)
        save(make(), folder / full_size(profile).places[0])
    prompts(folder / "datasets" / PROMPTS)
    pixel_checkpoint(folder / PIXEL_MODEL.split("/", 3)[3])


def save(pipe: Any, folder: Path) -> None:
    """The layout of the hub: half precision beside single, and the older format beside both."""
    for options in ({}, {"safe_serialization": False}):
        pipe.save_pretrained(folder, **options)
    pipe.to(torch.float16).save_pretrained(folder, variant="fp16")
    for name in folder.glob("tokenizer*/tokenizer.json"):  # published ones are of an older kind
        words = json.loads(name.read_text())["model"]
        if "merges" not in words:
            continue
        (name.parent / "vocab.json").write_text(json.dumps(words["vocab"]))
        (name.parent / "merges.txt").write_text("#version: 0.2\n" + "\n".join(words["merges"]))
        name.unlink()
    (folder / RANDOM).write_text("random weights: rehearsal\n")


def stable_diffusion() -> Any:
    """Stable Diffusion 2.1 base in small, all components."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPImageProcessor

    unet = UNet2DConditionModel(
        sample_size=LATENT,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=[1, 2],
        use_linear_projection=True,
        norm_num_groups=4,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(),
        requires_safety_checker=False,
    )


def autoencoder() -> Any:
    """Its autoencoder in small: pictures of eight times the side of the latents."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=8 * LATENT,
    )


def text_encoder() -> Any:
    """CLIP in small."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def tokenizer() -> Any:
    """CLIP's tokenizer with letters only."""
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *(c + "</w>" for c in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def xl() -> Any:
    """Stable Diffusion XL in small, with the scheduler as published."""
    from diffusers import EulerDiscreteScheduler

    pipe = from_the_zoo("StableDiffusionXLPipeline")
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipe.scheduler = EulerDiscreteScheduler(**noise, timestep_spacing="leading", steps_offset=1)
    return pipe


def stable_diffusion_3() -> Any:
    """Stable Diffusion 3 in small, with its third text encoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    pipe = from_the_zoo("StableDiffusion3Pipeline")
    pipe.register_modules(
        text_encoder_3=t5(pipe.transformer.config.joint_attention_dim), tokenizer_3=t5_tokenizer()
    )
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return pipe


def flux() -> Any:
    """Flux in small, with guidance as an input of its network, and shifts by the size."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    pipe = from_the_zoo("FluxPipeline")
    pipe.transformer = FluxTransformer2DModel.from_config(
        pipe.transformer.config, guidance_embeds=True
    )
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return pipe


def wan() -> Any:
    """Wan in small, with the scheduler as published."""
    from diffusers import UniPCMultistepScheduler

    pipe = from_the_zoo("WanPipeline")
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    pipe.scheduler = UniPCMultistepScheduler(**flow)
    return pipe


PIPELINES = {"sdxl": xl, "sd3": stable_diffusion_3, "flux": flux, "wan": wan}


def from_the_zoo(name: str) -> Any:
    """A small pipeline of a class."""
    return catalogue()[0][name].make()


def prompts(folder: Path, count: int = 40) -> None:
    """The data set: its splits in Parquet, its card."""
    import pandas as pd

    (folder / "data").mkdir(parents=True)
    words = WORDS.split()
    lines = [" ".join(words[i % 7 : i % 7 + 4 + i % 3]) for i in range(count)]
    for split in ("train", "eval"):
        pd.DataFrame({"Prompt": lines}).to_parquet(folder / "data" / f"{split}.parquet")
    (folder / "README.md").write_text(CARD)
    (folder / RANDOM).write_text("random words: rehearsal\n")


def pixel_checkpoint(path: Path) -> None:
    """The pixel network under its original names, one block a level instead of three."""
    network = Original((32, 32, 32, 32))
    network(torch.randn(1, 3, 16, 16), torch.tensor([3.0]))
    path.parent.mkdir(parents=True)
    torch.save(network.state, path)


def contents(folder: Path) -> dict[str, Any]:
    """The configuration of a pipeline that was saved."""
    return json.loads((folder / "model_index.json").read_text())
