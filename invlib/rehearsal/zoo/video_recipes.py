"""Recipes of video and audio pipelines, by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .recipe import Recipe
from .video_networks import LATENT, network
from .video_parts import (
    assemble,
    clip_vision,
    cogvideox_ddim,
    embeddings,
    flow_unipc,
    frames,
    lenient,
    picture,
    picture_processor,
    wan_vae,
)

STEPS = {"num_inference_steps": 6}
WORDS = {"prompt": "a red cat", "negative_prompt": "bad"}
EMBEDDINGS = {"prompt_embeds": embeddings(1), "negative_prompt_embeds": embeddings(2)}
PICTURE = {"height": 16, "width": 32}
CLIP = {**PICTURE, "num_frames": 5}
SHORT = {"max_sequence_length": 8}
TEMPLATE = {"prompt_template": {"template": "a {}", "crop_start": 1}, **SHORT}
CLEANING = "The prompt is given as embeddings: the class cleans strings with ftfy."
SINGLE = "The class runs its steps in float32."

GUIDED = {**STEPS, "guidance_scale": 5.0}


def recipe(
    pipeline: str, call: Mapping[str, Any], note: str = "", **parts: Callable[[], Any] | None
) -> tuple[str, Recipe]:
    """Class and recipe: a pipeline of parts by their types, but for those made by ``parts``.

    A part that is None is absent.
    """

    def make() -> Any:
        return assemble(
            pipeline, **{name: part() if part else None for name, part in parts.items()}
        )

    return pipeline, Recipe(make, call, note)


wan = partial(network, "WanTransformer3DModel")

RECIPES: dict[str, Recipe] = dict(
    [
        recipe(
            "WanPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED},
            CLEANING,
            transformer=wan,
            scheduler=flow_unipc,
        ),
        recipe(
            "WanImageToVideoPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
            transformer=partial(
                wan, in_channels=2 * LATENT + 4, image_dim=16, added_kv_proj_dim=24
            ),
            image_encoder=clip_vision,
            image_processor=picture_processor,
        ),
        recipe(
            "WanVideoToVideoPipeline",
            {**PICTURE, **EMBEDDINGS, **GUIDED, "video": frames(5, 16, 32)},
            CLEANING,
        ),
        recipe(
            "WanVACEPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "video": frames(5, 16, 32)},
            CLEANING,
            transformer=partial(network, "WanVACETransformer3DModel"),
        ),
        recipe(
            "WanAnimatePipeline",
            {
                **PICTURE,
                **EMBEDDINGS,
                **GUIDED,
                "segment_frame_length": 5,
                "image": picture(16, 32),
                "pose_video": frames(5, 16, 32),
                "face_video": frames(5, 8, 8),
            },
            CLEANING,
        ),
        recipe(
            "LucyEditPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "video": frames(5, 16, 32)},
            CLEANING,
            transformer=partial(wan, in_channels=2 * LATENT),
            vae=lambda: lenient(wan_vae()),
        ),
        recipe(
            "ChronoEditPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
        ),
        recipe("SkyReelsV2Pipeline", {**CLIP, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe(
            "SkyReelsV2ImageToVideoPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
            transformer=partial(
                network,
                "SkyReelsV2Transformer3DModel",
                in_channels=2 * LATENT + 4,
                image_dim=16,
                added_kv_proj_dim=24,
            ),
            image_encoder=clip_vision,
            image_processor=picture_processor,
        ),
        recipe(
            "SkyReelsV2DiffusionForcingPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "prompt": None},
            CLEANING,
        ),
        recipe(
            "SkyReelsV2DiffusionForcingImageToVideoPipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
        ),
        recipe(
            "SkyReelsV2DiffusionForcingVideoToVideoPipeline",
            {
                **CLIP,
                **EMBEDDINGS,
                **GUIDED,
                "num_frames": 9,
                "base_num_frames": 5,
                "overlap_history": 1,
                "video": frames(5, 16, 32),
            },
            CLEANING,
        ),
        recipe("LTXPipeline", {**CLIP, **WORDS, **GUIDED, **SHORT, "height": 32}),
        recipe(
            "LTXImageToVideoPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "height": 32, "image": picture(32, 32)},
        ),
        recipe(
            "LTXConditionPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "height": 32, "image": picture(32, 32)},
        ),
        recipe("LTXI2VLongMultiPromptPipeline", {**CLIP, **WORDS, **GUIDED, **SHORT, "height": 32}),
        recipe("CogVideoXPipeline", {**CLIP, **WORDS, **GUIDED, **SHORT}),
        recipe(
            "CogVideoXImageToVideoPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "image": picture(16, 32)},
            transformer=partial(network, "CogVideoXTransformer3DModel", in_channels=2 * LATENT),
        ),
        recipe(
            "CogVideoXVideoToVideoPipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT, "video": frames(5, 16, 32)},
        ),
        recipe(
            "CogVideoXFunControlPipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT, "control_video": frames(5, 16, 32)},
            transformer=partial(network, "CogVideoXTransformer3DModel", in_channels=2 * LATENT),
            scheduler=cogvideox_ddim,
        ),
        recipe(
            "HunyuanVideoPipeline", {**CLIP, **WORDS, **STEPS, **TEMPLATE, "true_cfg_scale": 3.0}
        ),
        recipe("MochiPipeline", {**CLIP, **WORDS, **GUIDED, **SHORT, "num_frames": 7}, SINGLE),
        recipe("StableAudioPipeline", {**WORDS, **GUIDED, "audio_end_in_s": 8.0}),
    ]
)

NOT_BUILT: dict[str, str] = {}
