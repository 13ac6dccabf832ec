"""Recipes of video and audio pipelines, by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HeliosScheduler

from .parts import WIDTH, vae
from .recipe import Recipe
from .video_networks import LATENT, network
from .video_parts import (
    TOKENS,
    NoSafetyChecker,
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

MASK = torch.ones(1, TOKENS, dtype=torch.long)
MASKED = {**EMBEDDINGS, "prompt_attention_mask": MASK, "negative_prompt_attention_mask": MASK}
GUIDED = {**STEPS, "guidance_scale": 5.0}


HUNYUAN15 = {
    **EMBEDDINGS,
    "prompt_embeds_2": embeddings(3),
    "negative_prompt_embeds_2": embeddings(4),
} | {f"{sign}prompt_embeds_mask{which}": MASK for sign in ("", "negative_") for which in ("", "_2")}
KANDINSKY = {
    "prompt_embeds_qwen": embeddings(1),
    "prompt_embeds_clip": embeddings(2)[:, 0],
    "negative_prompt_embeds_qwen": embeddings(3),
    "negative_prompt_embeds_clip": embeddings(4)[:, 0],
    "prompt_cu_seqlens": torch.tensor([0, TOKENS]),
    "negative_prompt_cu_seqlens": torch.tensor([0, TOKENS]),
}
LTX2 = {
    "height": 32,
    "width": 64,
    "num_frames": 9,
    "prompt_embeds": embeddings(1, width=2 * WIDTH),
    "negative_prompt_embeds": embeddings(2, width=2 * WIDTH),
    "prompt_attention_mask": MASK,
    "negative_prompt_attention_mask": MASK,
    "spatio_temporal_guidance_blocks": [0],
}
SOUND = {
    **STEPS,
    "prompt_embeds": embeddings(1),
    "encoder_attention_mask": MASK,
    "duration": 4.0,
}
SANA = {
    "negative_prompt": None,
    "height": 32,
    "width": 32,
    "frames": 5,
    "use_resolution_binning": False,
}
WORDLESS: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
TEMPLATED = "The prompt is given as embeddings: the class writes it into a long template of a chat."
GEMMA = "The prompt is given as embeddings: the class writes it into a long instruction."
GUIDER = TEMPLATED + " Guidance, at 5, is a part of the pipeline, not of the call."


def recipe(
    pipeline: str,
    call: Mapping[str, Any],
    note: str = "",
    settings: Mapping[str, Any] = MappingProxyType({}),
    **parts: Callable[[], Any] | None,
) -> tuple[str, Recipe]:
    """Class and recipe: a pipeline of parts by their types, but for those made by ``parts``.

    A part that is None is absent; ``settings`` are attributes of the pipeline.
    """

    def make() -> Any:
        given = {name: part() if part else None for name, part in parts.items()}
        pipe = assemble(pipeline, **given)
        for name, value in settings.items():
            setattr(pipe, name, value)
        return pipe

    return pipeline, Recipe(make, call, note)


wan = partial(network, "WanTransformer3DModel")
cogvideox = partial(network, "CogVideoXTransformer3DModel")
cosmos = partial(network, "CosmosTransformer3DModel")
easyanimate = partial(network, "EasyAnimateTransformer3DModel")
hunyuan = partial(network, "HunyuanVideoTransformer3DModel")


def hunyuan15() -> Any:
    """The network of HunyuanVideo 1.5, with a small projection of the glyphs."""
    net = network("HunyuanVideo15Transformer3DModel")
    projection = net.context_embedder_2
    net.context_embedder_2 = type(projection)(WIDTH, WIDTH, projection.linear_3.out_features)
    return net


def kandinsky(**changes: Any) -> Any:
    """The network of Kandinsky 5; the class casts times to float32."""
    return lenient(network("Kandinsky5Transformer3DModel", **changes))


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
            transformer=partial(cogvideox, in_channels=2 * LATENT),
        ),
        recipe(
            "CogVideoXVideoToVideoPipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT, "video": frames(5, 16, 32)},
        ),
        recipe(
            "CogVideoXFunControlPipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT, "control_video": frames(5, 16, 32)},
            transformer=partial(cogvideox, in_channels=2 * LATENT),
            scheduler=cogvideox_ddim,
        ),
        recipe(
            "HunyuanVideoPipeline", {**CLIP, **WORDS, **STEPS, **TEMPLATE, "true_cfg_scale": 3.0}
        ),
        recipe("MochiPipeline", {**CLIP, **WORDS, **GUIDED, **SHORT, "num_frames": 7}, SINGLE),
        recipe(
            "HunyuanVideoImageToVideoPipeline",
            {
                **CLIP,
                **MASKED,
                **STEPS,
                "true_cfg_scale": 3.0,
                "image": picture(16, 32),
                "pooled_prompt_embeds": embeddings(3)[:, 0],
                "negative_pooled_prompt_embeds": embeddings(4)[:, 0],
            },
            TEMPLATED,
            transformer=partial(
                network,
                "HunyuanVideoTransformer3DModel",
                in_channels=2 * LATENT + 1,
                image_condition_type="latent_concat",
            ),
            **WORDLESS,
            text_encoder_2=None,
            tokenizer_2=None,
            image_processor=picture_processor,
        ),
        recipe(
            "HunyuanSkyreelsImageToVideoPipeline",
            {**CLIP, **WORDS, **STEPS, **TEMPLATE, "true_cfg_scale": 3.0, "image": picture(16, 32)},
            transformer=partial(hunyuan, in_channels=2 * LATENT),
        ),
        recipe(
            "HunyuanVideoFramepackPipeline",
            {
                **CLIP,
                **WORDS,
                **STEPS,
                **TEMPLATE,
                "true_cfg_scale": 3.0,
                "latent_window_size": 2,
                "image": picture(16, 32),
            },
        ),
        recipe(
            "HunyuanVideo15Pipeline",
            {**CLIP, **STEPS, **HUNYUAN15},
            GUIDER,
            {"vision_num_semantic_tokens": 4},
            transformer=hunyuan15,
            **WORDLESS,
            text_encoder_2=None,
            tokenizer_2=None,
        ),
        recipe(
            "HunyuanVideo15ImageToVideoPipeline",
            {"num_frames": 5, **STEPS, **HUNYUAN15, "image": picture(16, 32)},
            GUIDER,
            {"vision_num_semantic_tokens": 4},
            transformer=hunyuan15,
            **WORDLESS,
            text_encoder_2=None,
            tokenizer_2=None,
        ),
        recipe(
            "LattePipeline",
            {**WORDS, **GUIDED, "height": 8, "width": 8, "video_length": 2, "clean_caption": False},
        ),
        recipe(
            "AllegroPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "num_frames": 8, "clean_caption": False},
        ),
        recipe("EasyAnimatePipeline", {**CLIP, **MASKED, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe(
            "EasyAnimateInpaintPipeline",
            {
                **CLIP,
                **MASKED,
                **GUIDED,
                "video": torch.rand(1, 3, 5, 16, 32),
                "mask_video": torch.full((1, 1, 5, 16, 32), 255.0),
            },
            TEMPLATED,
            **WORDLESS,
            transformer=partial(easyanimate, in_channels=2 * LATENT + 1),
        ),
        recipe(
            "CosmosTextToWorldPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "num_frames": 9},
            transformer=cosmos,
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "CosmosVideoToWorldPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "num_frames": 9, "image": picture(16, 32)},
            transformer=partial(cosmos, in_channels=LATENT + 1),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2TextToImagePipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT},
            transformer=cosmos,
            scheduler=partial(FlowMatchEulerDiscreteScheduler, use_karras_sigmas=True),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2VideoToWorldPipeline",
            {**CLIP, **WORDS, **GUIDED, **SHORT, "image": picture(16, 32)},
            transformer=partial(cosmos, in_channels=LATENT + 1),
            scheduler=partial(FlowMatchEulerDiscreteScheduler, use_karras_sigmas=True),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2_5_PredictBasePipeline",
            {**CLIP, **EMBEDDINGS, **GUIDED},
            TEMPLATED,
            **WORDLESS,
            transformer=partial(cosmos, in_channels=LATENT + 1),
            safety_checker=NoSafetyChecker,
        ),
        recipe("SanaVideoPipeline", {**SANA, **MASKED, **GUIDED}, GEMMA, **WORDLESS, vae=wan_vae),
        recipe(
            "SanaImageToVideoPipeline",
            {**SANA, **MASKED, **GUIDED, "image": picture(32, 32)},
            GEMMA,
            **WORDLESS,
            vae=wan_vae,
        ),
        recipe(
            "Kandinsky5T2VPipeline",
            {**CLIP, **GUIDED, **KANDINSKY},
            TEMPLATED,
            **WORDLESS,
            transformer=kandinsky,
        ),
        recipe(
            "Kandinsky5T2IPipeline",
            {**PICTURE, **GUIDED, **KANDINSKY},
            TEMPLATED,
            {"resolutions": [(32, 16)]},
            **WORDLESS,
            transformer=kandinsky,
            vae=partial(vae, halvings=3),
        ),
        recipe(
            "Kandinsky5I2VPipeline",
            {**CLIP, **GUIDED, **KANDINSKY, "num_frames": 21, "image": picture(16, 32)},
            TEMPLATED,
            **WORDLESS,
            transformer=partial(kandinsky, visual_cond=True),
        ),
        recipe(
            "Kandinsky5I2IPipeline",
            {**PICTURE, **GUIDED, **KANDINSKY, "image": picture(16, 32)},
            TEMPLATED,
            {"resolutions": [(32, 16)]},
            **WORDLESS,
            transformer=partial(kandinsky, visual_cond=True),
            vae=partial(vae, halvings=3),
        ),
        recipe(
            "HeliosPipeline",
            {
                **CLIP,
                **EMBEDDINGS,
                **GUIDED,
                "num_latent_frames_per_chunk": 2,
                "history_sizes": [4, 2, 1],
            },
            CLEANING,
            scheduler=partial(HeliosScheduler, stages=1, stage_range=[0, 1]),
        ),
        recipe(
            "HeliosPyramidPipeline",
            {
                **CLIP,
                **EMBEDDINGS,
                "height": 64,
                "width": 64,
                "guidance_scale": 5.0,
                "num_latent_frames_per_chunk": 2,
                "history_sizes": [4, 2, 1],
                "pyramid_num_inference_steps_list": [2, 2, 2],
            },
            CLEANING,
            scheduler=partial(HeliosScheduler, gamma=0.3),
        ),
        recipe("AnyFlowPipeline", {**CLIP, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe("AnyFlowFARPipeline", {**CLIP, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe(
            "MotifVideoPipeline",
            {**CLIP, **MASKED, **STEPS},
            GUIDER,
            **WORDLESS,
            transformer=lambda: lenient(network("MotifVideoTransformer3DModel")),
        ),
        recipe("LTX2Pipeline", {**LTX2, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe(
            "LTX2ImageToVideoPipeline",
            {**LTX2, **GUIDED, "image": picture(32, 64), "image_crf": 0},
            TEMPLATED,
            **WORDLESS,
        ),
        recipe("LTX2ConditionPipeline", {**LTX2, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe("LTX2InContextPipeline", {**LTX2, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe("LTX2HDRPipeline", {**LTX2, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe(
            "StableAudio3Pipeline",
            {
                **SOUND,
                **GUIDED,
                "negative_prompt_embeds": embeddings(2),
                "negative_encoder_attention_mask": MASK,
            },
            GEMMA,
            **WORDLESS,
        ),
        recipe(
            "StableAudio3AudioToAudioPipeline",
            {**SOUND, "audio": torch.rand(1, 1, 64)},
            GEMMA,
            **WORDLESS,
        ),
        recipe(
            "StableAudio3InpaintPipeline",
            {
                **SOUND,
                **STEPS,
                "audio": torch.rand(1, 1, 64),
                "mask_start_seconds": 1.0,
                "mask_end_seconds": 2.0,
            },
            GEMMA,
            **WORDLESS,
        ),
        recipe(
            "AceStepPipeline",
            {
                **STEPS,
                "prompt": "a red cat",
                "lyrics": "a dog",
                "audio_duration": 4.0,
                "guidance_scale": 5.0,
            },
        ),
        recipe("LongCatAudioDiTPipeline", {**WORDS, **GUIDED, "audio_duration_s": 4.0}),
        recipe("StableAudioPipeline", {**WORDS, **GUIDED, "audio_end_in_s": 8.0}),
    ]
)

NOT_BUILT: dict[str, str] = {
    "EasyAnimateControlPipeline": "its call fails in diffusers 0.42.1: it gives its own "
    "encode_prompt an argument that is not known there (text_encoder_index)",
}
