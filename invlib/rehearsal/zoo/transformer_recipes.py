"""Recipes of the image pipelines that are built on transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from .parts import WIDTH, t5, t5_tokenizer, vae
from .recipe import Recipe
from .transformer_parts import (
    autoencoder_qwen,
    autoencoder_wan,
    fill,
    language,
    mask,
    network,
    picture,
    qwen3,
)

TEXT = {"prompt": "a red cat", "num_inference_steps": 6, "height": 16, "width": 16}
NEGATIVE = {"negative_prompt": "bad blue dog"}
CFG = {**TEXT, **NEGATIVE, "guidance_scale": 4.0}
TRUE_CFG = {**TEXT, **NEGATIVE, "true_cfg_scale": 3.0}
EMBEDDED = {**TEXT, "guidance_scale": 3.5}
SHORT = {"max_sequence_length": 16}
IMAGE = {"image": picture()}
CONTROL = {"control_image": picture()}
INPAINT = {**IMAGE, "mask_image": mask()}
STRENGTH = {"strength": 0.7}
NO_THIRD = {"text_encoder_3": None, "tokenizer_3": None}
NO_CHECK = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
HUNYUAN = {**NO_CHECK, "text_encoder_2": t5, "tokenizer_2": t5_tokenizer}
PAG = {"pag_scale": 2.0}
DEEP = {"height": 64, "width": 64}  # these pipelines take eight pixels a latent for granted
FREE = {**CFG, "use_resolution_binning": False}
SANA = {**FREE, "height": 32, "width": 32, "complex_human_instruction": None}
PIXART = {**FREE, "clean_caption": False}
KONTEXT = {"max_area": 256, "_auto_resize": False}
LARGE = {"height": 64, "width": 64}
LAYERED = {k: v for k, v in TRUE_CFG.items() if k not in LARGE} | IMAGE | {"layers": 1}
RESOLUTIONS = {"resolutions": [(64, 64)]}
EMBEDS = {k: v for k, v in FREE.items() if "prompt" not in k} | {
    "prompt_embeds": torch.ones(1, 4, WIDTH, dtype=torch.float64),
    "prompt_attention_mask": torch.ones(1, 4, dtype=torch.bool),
    "negative_prompt_embeds": -torch.ones(1, 4, WIDTH, dtype=torch.float64),
    "negative_prompt_attention_mask": torch.ones(1, 4, dtype=torch.bool),
}
CLOZE = {
    "task_prompt": "a red cat",
    "content_prompt": "a blue dog",
    "image": [[picture(), picture()], [picture(), None]],
    "num_inference_steps": 6,
    "guidance_scale": 3.5,
}
SPRINT = {k: v for k, v in SANA.items() if k != "negative_prompt"}
SCM = {
    "scheduler": diffusers.SCMScheduler,
    "transformer": lambda: network(
        "SanaTransformer2DModel", guidance_embeds=True, qk_norm="rms_norm_across_heads"
    ),
}
SPRINT |= {"num_inference_steps": 1, "intermediate_timesteps": None}
KLEIN = {**TEXT, **SHORT, "guidance_scale": 4.0, "text_encoder_out_layers": (1, 2)}


def recipe(
    key: str,
    call: dict[str, Any],
    note: str = "",
    *,
    sizes: dict[str, Any] | None = None,
    **parts: Any,
) -> tuple[str, Recipe]:
    """A recipe that fills the class named before the colon.

    Args:
        key: the class, and behind a colon what is special.
        call: arguments of the pipeline's call.
        note: what is special about the build.
        sizes: attributes of the pipeline that hold sizes too large to rehearse on.
        parts: what the types of the constructor alone do not tell; if it can be called, its maker.
    """

    def make() -> Any:
        made = {name: part() if callable(part) else part for name, part in parts.items()}
        pipe = fill(key.split(":")[0], **made)
        for name, size in (sizes or {}).items():
            setattr(pipe, name, size)
        return pipe

    return key, Recipe(make, call, note)


def flux(channels: int) -> Callable[[], Any]:
    """A maker of Flux's transformer that is told more than the latents."""
    return lambda: network("FluxTransformer2DModel", in_channels=channels, out_channels=16)


def chroma() -> Any:
    """Chroma's transformer with Flux's entry on guidance in its configuration."""
    transformer = network("ChromaTransformer2DModel")
    transformer.register_to_config(guidance_embeds=False)
    return transformer


def deep_text() -> Any:
    """A language model of as many layers as pipelines take for granted."""
    return qwen3(num_hidden_layers=36)


def deep_vision() -> Any:
    """The same without its head."""
    return qwen3("Qwen3VLModel", num_hidden_layers=36)


def deep_vae() -> Any:
    """The same of the common kind."""
    return diffusers.AutoencoderKL(
        block_out_channels=(2,) * 6,
        down_block_types=("DownEncoderBlock2D",) * 6,
        up_block_types=("UpDecoderBlock2D",) * 6,
        norm_num_groups=2,
        latent_channels=16,
        mid_block_add_attention=False,
        shift_factor=0.1,
    )


def kandinsky(**options: Any) -> Any:
    """Kandinsky 5's transformer, whose frequencies no change of dtype reaches."""
    transformer = network("Kandinsky5Transformer3DModel", **options)
    transformer.time_embeddings.freqs = transformer.time_embeddings.freqs.double()
    return transformer


def long_clip() -> Any:
    """A CLIP text encoder that reads as many tokens as the published ones."""
    return language("CLIPTextModel", vocab_size=54, max_position_embeddings=77)


def glm_vae() -> Any:
    """The common autoencoder with a mean and deviation of each channel."""
    autoencoder = vae()
    autoencoder.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0])
    autoencoder.register_to_config(latents_std=[1.1, 1.2, 0.9, 1.0])
    return autoencoder


def deep_qwen() -> Any:
    """An autoencoder for pipelines that bring their picture to a million pixels."""
    return autoencoder_qwen(halvings=5, channels=2)


RECIPES: dict[str, Recipe] = dict(
    [
        recipe("StableDiffusion3Pipeline", CFG, **NO_THIRD),
        recipe("StableDiffusion3Img2ImgPipeline", {**CFG, **IMAGE, **STRENGTH}, **NO_THIRD),
        recipe(
            "StableDiffusion3InpaintPipeline",
            {**CFG, **INPAINT, **STRENGTH},
            **NO_THIRD,
            transformer=lambda: network("SD3Transformer2DModel", in_channels=16, out_channels=16),
            vae=lambda: vae(16, shift=0.1),
        ),
        recipe("StableDiffusion3PAGPipeline", {**CFG, **PAG}, **NO_THIRD),
        recipe(
            "StableDiffusion3PAGImg2ImgPipeline", {**CFG, **PAG, **IMAGE, **STRENGTH}, **NO_THIRD
        ),
        recipe("StableDiffusion3ControlNetPipeline", {**CFG, **CONTROL}, **NO_THIRD),
        recipe(
            "StableDiffusion3ControlNetInpaintingPipeline",
            {**CFG, **CONTROL, "control_mask": mask()},
            **NO_THIRD,
            controlnet=lambda: network("SD3ControlNetModel", extra_conditioning_channels=1),
        ),
        recipe("FluxPipeline", EMBEDDED),
        recipe("FluxPipeline: true CFG", TRUE_CFG),
        recipe("FluxImg2ImgPipeline", {**EMBEDDED, **IMAGE, **STRENGTH}),
        recipe("FluxInpaintPipeline", {**EMBEDDED, **INPAINT, **STRENGTH}),
        recipe("FluxFillPipeline", {**EMBEDDED, **INPAINT}, transformer=flux(48)),
        recipe("FluxControlPipeline", {**EMBEDDED, **CONTROL}, transformer=flux(32)),
        recipe(
            "FluxControlImg2ImgPipeline",
            {**EMBEDDED, **IMAGE, **CONTROL, **STRENGTH},
            transformer=flux(32),
        ),
        recipe(
            "FluxControlInpaintPipeline",
            {**EMBEDDED, **INPAINT, **CONTROL, **STRENGTH},
            transformer=flux(32),
        ),
        recipe("FluxControlNetPipeline", {**EMBEDDED, **CONTROL}),
        recipe("FluxControlNetImg2ImgPipeline", {**EMBEDDED, **IMAGE, **CONTROL, **STRENGTH}),
        recipe("FluxControlNetInpaintPipeline", {**EMBEDDED, **INPAINT, **CONTROL, **STRENGTH}),
        recipe("FluxKontextPipeline", {**EMBEDDED, **IMAGE, **KONTEXT}),
        recipe("FluxKontextInpaintPipeline", {**EMBEDDED, **INPAINT, **KONTEXT}),
        recipe("Flux2KleinPipeline", KLEIN),
        recipe("Flux2KleinPipeline: with an image", {**KLEIN, "image": picture(64)}),
        recipe("Flux2KleinInpaintPipeline", {**KLEIN, **INPAINT, **STRENGTH}),
        recipe("Flux2KleinKVPipeline", {k: KLEIN[k] for k in KLEIN if k != "guidance_scale"}),
        recipe("Flux2Pipeline", {**KLEIN, "max_sequence_length": 64}),
        recipe("ChromaPipeline", {**CFG, **SHORT}),
        recipe("ChromaImg2ImgPipeline", {**CFG, **SHORT, **IMAGE, **STRENGTH}),
        recipe(
            "ChromaInpaintPipeline",
            {**CFG, **SHORT, **INPAINT, **STRENGTH},
            "The class reads an entry of the transformer's configuration that Chroma lacks.",
            transformer=chroma,
        ),
        recipe("QwenImagePipeline", TRUE_CFG),
        recipe("QwenImageImg2ImgPipeline", {**TRUE_CFG, **IMAGE, **STRENGTH}),
        recipe("QwenImageInpaintPipeline", {**TRUE_CFG, **INPAINT, **STRENGTH}),
        recipe("QwenImageControlNetPipeline", {**TRUE_CFG, **CONTROL}),
        recipe(
            "QwenImageControlNetInpaintPipeline",
            {**TRUE_CFG, **CONTROL, "control_mask": mask()},
            controlnet=lambda: network("QwenImageControlNetModel", extra_condition_channels=4),
        ),
        recipe("QwenImageEditPipeline", {**TRUE_CFG, **IMAGE, **LARGE}, vae=deep_qwen),
        recipe(
            "QwenImageEditInpaintPipeline",
            {**TRUE_CFG, **INPAINT, **STRENGTH, **LARGE},
            vae=deep_qwen,
        ),
        recipe("QwenImageEditPlusPipeline", {**TRUE_CFG, **IMAGE, **LARGE}, vae=deep_qwen),
        recipe(
            "QwenImageLayeredPipeline",
            LAYERED,
            vae=deep_qwen,
            transformer=lambda: network(
                "QwenImageTransformer2DModel", use_additional_t_cond=True, use_layer3d_rope=True
            ),
        ),
        recipe("AuraFlowPipeline", {**CFG, **SHORT}),
        recipe("LuminaPipeline", {**CFG, **SHORT, **DEEP}),
        recipe("Lumina2Pipeline", {**CFG, **DEEP, "max_sequence_length": 64}),
        recipe("SanaPipeline", SANA),
        recipe("SanaPAGPipeline", {**SANA, **PAG}),
        recipe("SanaControlNetPipeline", {**SANA, **CONTROL}),
        recipe("SanaSprintPipeline", SPRINT, **SCM),
        recipe("SanaSprintImg2ImgPipeline", {**SPRINT, **IMAGE, "num_inference_steps": 2}, **SCM),
        recipe("PixArtAlphaPipeline", PIXART),
        recipe("PixArtSigmaPipeline", PIXART),
        recipe("PixArtSigmaPAGPipeline", {**PIXART, **PAG}),
        recipe("HunyuanDiTPipeline", FREE, **HUNYUAN),
        recipe("HunyuanDiTPAGPipeline", {**FREE, **PAG}, **HUNYUAN),
        recipe("HunyuanDiTControlNetPipeline", {**FREE, **CONTROL}, **HUNYUAN),
        recipe("CogView3PlusPipeline", {**CFG, **SHORT}),
        recipe("CogView4Pipeline", {**CFG, **SHORT}),
        recipe(
            "CogView4ControlPipeline",
            {**CFG, **SHORT, **CONTROL},
            transformer=lambda: network("CogView4Transformer2DModel", in_channels=8),
        ),
        recipe("ZImagePipeline", {**CFG, **SHORT}),
        recipe("ZImageImg2ImgPipeline", {**CFG, **SHORT, **IMAGE, **STRENGTH}),
        recipe("ZImageInpaintPipeline", {**CFG, **SHORT, **INPAINT, **STRENGTH}),
        recipe("ZImageControlNetPipeline", {**CFG, **SHORT, **CONTROL}),
        recipe(
            "ZImageControlNetInpaintPipeline",
            {**CFG, **SHORT, **INPAINT, **CONTROL},
            controlnet=lambda: network("ZImageControlNetModel", control_in_dim=9),
        ),
        recipe(
            "ZImageOmniPipeline",
            {**CFG, **SHORT},
            transformer=lambda: network("ZImageTransformer2DModel", siglip_feat_dim=16),
        ),
        recipe("BriaPipeline", {**CFG, **SHORT}),
        recipe("BriaFiboPipeline", {**CFG, "height": 128, "width": 128}),
        recipe(
            "BriaFiboEditPipeline",
            {
                **CFG,
                **IMAGE,
                "height": 128,
                "width": 128,
                "prompt": '{"edit_instruction": "a red cat"}',
                "_auto_resize": False,
            },
        ),
        recipe("BriaFibo2Pipeline", CFG, text_encoder=deep_text),
        recipe("ErnieImagePipeline", {**CFG, "use_pe": False}),
        recipe(
            "GlmImagePipeline",
            {
                **TEXT,
                "guidance_scale": 3.0,
                "prompt": "a red 'cat'",
                "prior_token_ids": torch.arange(16)[None] % 8,
            },
            vae=glm_vae,
            processor=None,
            vision_language_encoder=None,
        ),
        recipe(
            "HiDreamImagePipeline",
            {**CFG, "max_sequence_length": 12},
            sizes={"default_sample_size": 8},
        ),
        recipe(
            "HunyuanImagePipeline",
            {**TEXT, **NEGATIVE},
            sizes={"tokenizer_max_length": 16},
            guider=lambda: diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.0),
        ),
        recipe(
            "Ideogram4Pipeline",
            {**TEXT, "guidance_scale": 4.0, "guidance_schedule": None, "max_sequence_length": 32},
            text_encoder=deep_vision,
        ),
        recipe("JoyImageEditPipeline", {**CFG, **IMAGE}, vae=lambda: autoencoder_wan(patch=32)),
        recipe(
            "JoyImageEditPlusPipeline",
            {**CFG, "height": 512, "width": 512, "images": [picture()]},
            vae=lambda: autoencoder_wan(patch=32),
        ),
        recipe(
            "Kandinsky5T2IPipeline",
            {**CFG, **DEEP},
            sizes=RESOLUTIONS,
            vae=lambda: vae(halvings=3),
            text_encoder_2=long_clip,
            transformer=kandinsky,
        ),
        recipe(
            "Kandinsky5I2IPipeline",
            {**CFG, **DEEP, **IMAGE},
            sizes=RESOLUTIONS,
            vae=lambda: vae(halvings=3),
            text_encoder_2=long_clip,
            transformer=lambda: kandinsky(visual_cond=True),
        ),
        recipe("Krea2Pipeline", {**CFG, **SHORT}, text_encoder_select_layers=(1, 2)),
        recipe(
            "LongCatImagePipeline",
            {**CFG, "enable_prompt_rewrite": False},
            vae=lambda: vae(16, shift=0.1),
            transformer=lambda: network("LongCatImageTransformer2DModel", in_channels=64),
        ),
        recipe(
            "LongCatImageEditPipeline",
            {k: v for k, v in CFG.items() if k not in LARGE} | IMAGE,
            vae=deep_vae,
            transformer=lambda: network("LongCatImageTransformer2DModel", in_channels=64),
        ),
        recipe("NucleusMoEImagePipeline", {**CFG, "return_index": -2}),
        recipe("OvisImagePipeline", {**CFG, **SHORT}),
        recipe("PRXPipeline", EMBEDS, vae=lambda: vae(shift=0.1)),
        recipe(
            "PRXPixelPipeline",
            EMBEDS,
            transformer=lambda: network("PRXTransformer2DModel", in_channels=3, bottleneck_size=8),
        ),
        recipe("QwenImage21Pipeline", {**TRUE_CFG, "height": 128, "width": 128}),
        recipe(
            "HunyuanImageRefinerPipeline",
            {**TEXT, **NEGATIVE, "image": picture(64), "height": 64, "width": 64},
            transformer=lambda: network(
                "HunyuanImageTransformer2DModel",
                in_channels=16,
                out_channels=8,
                patch_size=(1, 1, 1),
                text_embed_2_dim=None,
                rope_axes_dim=(4, 2, 2),
            ),
            sizes={"tokenizer_max_length": 64},
            guider=lambda: diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.0),
        ),
        recipe(
            "DiTPipeline", {"class_labels": [1], "guidance_scale": 3.0, "num_inference_steps": 6}
        ),
    ]
)

NOT_BUILT: dict[str, str] = {}
