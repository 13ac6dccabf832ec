"""Recipes of video and audio pipelines, by class, and why the others are not built."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HeliosScheduler, IPNDMScheduler

from .parts import WIDTH, vae
from .recipe import Recipe
from .video_calls import (
    CLEANING,
    EMBEDDINGS,
    GEMMA,
    GUIDED,
    GUIDER,
    HUNYUAN15,
    KANDINSKY,
    LTX2,
    MASK,
    MASKED,
    PICTURE,
    SANA,
    SHORT,
    SINGLE,
    SOUND,
    STEPS,
    TEMPLATE,
    TEMPLATED,
    VIDEO,
    WORDLESS,
    WORDS,
    recipe,
)
from .video_networks import LATENT, network
from .video_parts import (
    NoSafetyChecker,
    clip_vision,
    cogvideox_ddim,
    embeddings,
    flow_unipc,
    frames,
    lenient,
    picture,
    picture_processor,
    siglip,
    umt5,
    uniform,
    wan_vae,
)

UNPADDED = "The network has no padding mask: its resizing needs torchvision."
MASKED_OUT = "All is masked: else diffusers 0.42.1 asks for an option that no autoencoder has."
BLOCKS = "Gamma is 0.3: at the default of 1/3 the covariance of the block noise is singular."

wan = partial(network, "WanTransformer3DModel")
cogvideox = partial(network, "CogVideoXTransformer3DModel")
cosmos = partial(network, "CosmosTransformer3DModel")
easyanimate = partial(network, "EasyAnimateTransformer3DModel")
hunyuan = partial(network, "HunyuanVideoTransformer3DModel")


def tower() -> Any:
    """A text encoder with an eye, of which pipelines use the eye alone."""
    encoder = umt5()
    encoder.vision_tower = siglip()
    return encoder


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
            {**VIDEO, **EMBEDDINGS, **GUIDED},
            CLEANING,
            transformer=wan,
            scheduler=flow_unipc,
        ),
        recipe(
            "WanImageToVideoPipeline",
            {**VIDEO, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
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
            {**VIDEO, **EMBEDDINGS, **GUIDED, "video": frames(5, 16, 32)},
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
            {**VIDEO, **EMBEDDINGS, **GUIDED, "video": frames(5, 16, 32)},
            CLEANING,
            transformer=partial(wan, in_channels=2 * LATENT),
            vae=lambda: lenient(wan_vae()),
        ),
        recipe(
            "ChronoEditPipeline",
            {**VIDEO, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
        ),
        recipe("SkyReelsV2Pipeline", {**VIDEO, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe(
            "SkyReelsV2ImageToVideoPipeline",
            {**VIDEO, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
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
            {**VIDEO, **EMBEDDINGS, **GUIDED, "prompt": None},
            CLEANING,
        ),
        recipe(
            "SkyReelsV2DiffusionForcingImageToVideoPipeline",
            {**VIDEO, **EMBEDDINGS, **GUIDED, "image": picture(16, 32)},
            CLEANING,
        ),
        recipe(
            "SkyReelsV2DiffusionForcingVideoToVideoPipeline",
            {
                **VIDEO,
                **EMBEDDINGS,
                **GUIDED,
                "num_frames": 9,
                "base_num_frames": 5,
                "overlap_history": 1,
                "video": frames(5, 16, 32),
            },
            CLEANING,
        ),
        recipe("LTXPipeline", {**VIDEO, **WORDS, **GUIDED, **SHORT, "height": 32}),
        recipe(
            "LTXImageToVideoPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "height": 32, "image": picture(32, 32)},
        ),
        recipe(
            "LTXConditionPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "height": 32, "image": picture(32, 32)},
        ),
        recipe(
            "LTXI2VLongMultiPromptPipeline", {**VIDEO, **WORDS, **GUIDED, **SHORT, "height": 32}
        ),
        recipe("CogVideoXPipeline", {**VIDEO, **WORDS, **GUIDED, **SHORT}),
        recipe(
            "CogVideoXImageToVideoPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "image": picture(16, 32)},
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
            "HunyuanVideoPipeline", {**VIDEO, **WORDS, **STEPS, **TEMPLATE, "true_cfg_scale": 3.0}
        ),
        recipe(
            "MochiPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "num_frames": 7},
            SINGLE,
            scheduler=partial(FlowMatchEulerDiscreteScheduler, invert_sigmas=True),
        ),
        recipe(
            "HunyuanVideoImageToVideoPipeline",
            {
                **VIDEO,
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
            {
                **VIDEO,
                **WORDS,
                **STEPS,
                **TEMPLATE,
                "true_cfg_scale": 3.0,
                "image": picture(16, 32),
            },
            transformer=partial(hunyuan, in_channels=2 * LATENT),
        ),
        recipe(
            "HunyuanVideoFramepackPipeline",
            {
                **VIDEO,
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
            {**VIDEO, **STEPS, **HUNYUAN15},
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
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "num_frames": 8, "clean_caption": False},
        ),
        recipe("EasyAnimatePipeline", {**VIDEO, **MASKED, **GUIDED}, TEMPLATED, **WORDLESS),
        recipe(
            "EasyAnimateInpaintPipeline",
            {
                **VIDEO,
                **MASKED,
                **GUIDED,
                "video": uniform(1, 3, 5, 16, 32),
                "mask_video": torch.full((1, 1, 5, 16, 32), 255.0),
            },
            f"{TEMPLATED} {MASKED_OUT}",
            **WORDLESS,
            transformer=partial(easyanimate, in_channels=2 * LATENT + 1),
        ),
        recipe(
            "CosmosTextToWorldPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "num_frames": 9},
            UNPADDED,
            transformer=cosmos,
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "CosmosVideoToWorldPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "num_frames": 9, "image": picture(16, 32)},
            UNPADDED,
            transformer=partial(cosmos, in_channels=LATENT + 1),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2TextToImagePipeline",
            {**PICTURE, **WORDS, **GUIDED, **SHORT},
            UNPADDED,
            transformer=cosmos,
            scheduler=partial(FlowMatchEulerDiscreteScheduler, use_karras_sigmas=True),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2VideoToWorldPipeline",
            {**VIDEO, **WORDS, **GUIDED, **SHORT, "image": picture(16, 32)},
            UNPADDED,
            transformer=partial(cosmos, in_channels=LATENT + 1),
            scheduler=partial(FlowMatchEulerDiscreteScheduler, use_karras_sigmas=True),
            safety_checker=NoSafetyChecker,
        ),
        recipe(
            "Cosmos2_5_PredictBasePipeline",
            {**VIDEO, **EMBEDDINGS, **GUIDED},
            f"{TEMPLATED} {UNPADDED}",
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
            {**VIDEO, **GUIDED, **KANDINSKY},
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
            {**VIDEO, **GUIDED, **KANDINSKY, "num_frames": 21, "image": picture(16, 32)},
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
                **VIDEO,
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
                **VIDEO,
                **EMBEDDINGS,
                "height": 64,
                "width": 64,
                "guidance_scale": 5.0,
                "num_latent_frames_per_chunk": 2,
                "history_sizes": [4, 2, 1],
                "pyramid_num_inference_steps_list": [2, 2, 2],
            },
            f"{CLEANING} {BLOCKS}",
            scheduler=partial(HeliosScheduler, gamma=0.3),
        ),
        recipe("AnyFlowPipeline", {**VIDEO, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe("AnyFlowFARPipeline", {**VIDEO, **EMBEDDINGS, **GUIDED}, CLEANING),
        recipe(
            "MotifVideoPipeline",
            {**VIDEO, **MASKED, **STEPS},
            GUIDER,
            **WORDLESS,
            transformer=lambda: lenient(network("MotifVideoTransformer3DModel")),
        ),
        recipe(
            "MotifVideoImage2VideoPipeline",
            {**VIDEO, **MASKED, **STEPS, "prompt": None, "image": picture(16, 32)},
            GUIDER,
            text_encoder=tower,
            tokenizer=None,
            transformer=lambda: lenient(
                network("MotifVideoTransformer3DModel", image_embed_dim=WIDTH)
            ),
        ),
        recipe(
            "Kandinsky6TI2VAPipeline",
            {
                **VIDEO,
                **EMBEDDINGS,
                **GUIDED,
                "pooled_prompt_embeds": embeddings(3)[:, 0],
                "negative_pooled_prompt_embeds": embeddings(4)[:, 0],
                "sample_audio": False,
            },
            TEMPLATED + " Without sound.",
            **WORDLESS,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=lambda: lenient(network("Kandinsky6Transformer3DModel")),
        ),
        recipe(
            "LTX2DFRPipeline",
            {
                **{k: v for k, v in LTX2.items() if "negative" not in k and "blocks" not in k},
                "generate_slots": False,
            },
            TEMPLATED,
            **WORDLESS,
        ),
        recipe(
            "DanceDiffusionPipeline", {**STEPS, "audio_length_in_s": 2.0}, scheduler=IPNDMScheduler
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
            {**SOUND, "audio": uniform(1, 1, 64)},
            GEMMA,
            **WORDLESS,
        ),
        recipe(
            "StableAudio3InpaintPipeline",
            {
                **SOUND,
                **STEPS,
                "audio": uniform(1, 1, 64),
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
            scheduler=partial(FlowMatchEulerDiscreteScheduler, num_train_timesteps=1),
        ),
        recipe("LongCatAudioDiTPipeline", {**WORDS, **GUIDED, "audio_duration_s": 4.0}),
        recipe("StableAudioPipeline", {**WORDS, **GUIDED, "audio_end_in_s": 8.0}),
    ]
)

MODULAR = "a modular pipeline: it is put together from blocks and has no loop of its own"
NOT_BUILT: dict[str, str] = {
    "AudioDiffusionPipeline": "needs the package librosa, without which diffusers has a stub only",
    "ConsisIDPipeline": "needs the package opencv, without which diffusers has a stub only",
    "Cosmos2_5_TransferPipeline": "its control network resizes masks with torchvision, which is "
    "not installed",
    "Cosmos3OmniPipeline": "its language model inside the transformer was not built in small",
    "EasyAnimateControlPipeline": "its call fails in diffusers 0.42.1: it gives its own "
    "encode_prompt an argument that is not known there (text_encoder_index)",
    "Kandinsky6SRPipeline": "samples tiles of the enlarged video one by one; it was not built in "
    "small",
    "LTX2DFRTemporalRefinePipeline": "its scheduler adds noise in every step "
    "(LTXEulerAncestralRFScheduler)",
    "LTX2LatentUpsamplePipeline": "no sampler: one pass of a network that enlarges latents",
    "LTX2VideoDiffusionDecodePipeline": "a decoder that samples pixels from latents; it was not "
    "built in small",
    "LTXLatentUpsamplePipeline": "no sampler: one pass of a network that enlarges latents",
    "RFD4ProteinaPipeline": "designs proteins; it was not built in small",
    "SanaWMPipeline": "its transformer for camera paths was not built in small",
    "SpectrogramDiffusionPipeline": "needs the package note_seq, without which diffusers has a "
    "stub only",
    **{
        f"{name}ModularPipeline": MODULAR
        for name in (
            "Cosmos3Distilled",
            "Cosmos3Omni",
            "Helios",
            "HeliosPyramid",
            "HeliosPyramidDistilled",
            "HunyuanVideo15",
            "LTX",
            "LTX2",
            "LTX25",
            "MiniMaxH3",
            "MiniMaxMusic3",
            "Wan",
            "Wan22",
            "Wan22Image2Video",
            "Wan22Vace",
            "WanAnimate2",
            "WanAnimate2Distilled",
            "WanImage2Video",
        )
    },
}
