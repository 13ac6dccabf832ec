"""Recipes of the image pipelines that are built on transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import torch

from .assembly import assemble
from .parts import WIDTH, dpm, t5, t5_tokenizer, vae
from .recipe import Recipe
from .transformer_autoencoders import (
    autoencoder_deep,
    autoencoder_glm,
    autoencoder_qwen,
    autoencoder_wan,
)
from .transformer_encoders import clip_of_77, qwen3
from .transformer_networks import network
from .transformer_parts import MAKERS, mask, picture

Arguments = dict[str, Any]

STEPS: Arguments = {"num_inference_steps": 6}
SIZE: Arguments = {"height": 16, "width": 16}
NEGATIVE: Arguments = {"negative_prompt": "bad blue dog"}
TEXT: Arguments = {"prompt": "a red cat", **STEPS, **SIZE}
CFG: Arguments = {**TEXT, **NEGATIVE, "guidance_scale": 4.0}
TRUE_CFG: Arguments = {**TEXT, **NEGATIVE, "true_cfg_scale": 3.0}
EMBEDDED: Arguments = {**TEXT, "guidance_scale": 3.5}
PAG: Arguments = {"pag_scale": 2.0}
SHORT = {"max_sequence_length": 16}
AT_32 = {"height": 32, "width": 32}
AT_64 = {"height": 64, "width": 64}
AT_128 = {"height": 128, "width": 128}
AT_512 = {"height": 512, "width": 512}
IMAGE: Arguments = {"image": picture()}
CONTROL: Arguments = {"control_image": picture()}
INPAINT: Arguments = {**IMAGE, "mask_image": mask()}
STRENGTH: Arguments = {"strength": 0.7}

FREE: Arguments = {**CFG, "use_resolution_binning": False}
PIXART: Arguments = {**FREE, "clean_caption": False}
SANA: Arguments = {**FREE, **AT_32, "complex_human_instruction": None}
KONTEXT: Arguments = {"max_area": 256, "_auto_resize": False}
KLEIN: Arguments = {**TEXT, **SHORT, "guidance_scale": 4.0, "text_encoder_out_layers": (1, 2)}
EDIT: Arguments = {**CFG, **AT_128, **IMAGE, "prompt": '{"edit_instruction": "a red cat"}'}
GLM: Arguments = {**TEXT, "guidance_scale": 3.0, "prompt": "a red 'cat'"}
PRX: Arguments = {
    **STEPS,
    **SIZE,
    "guidance_scale": 4.0,
    "use_resolution_binning": False,
    "prompt_embeds": torch.ones(1, 4, WIDTH, dtype=torch.float64),
    "prompt_attention_mask": torch.ones(1, 4, dtype=torch.bool),
    "negative_prompt_embeds": -torch.ones(1, 4, WIDTH, dtype=torch.float64),
    "negative_prompt_attention_mask": torch.ones(1, 4, dtype=torch.bool),
}

NO_THIRD: Arguments = {"text_encoder_3": None, "tokenizer_3": None}
NO_TEXT: Arguments = {"text_encoder": None, "tokenizer": None}
NO_CHECK: Arguments = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
HUNYUAN: Arguments = {**NO_CHECK, "text_encoder_2": t5, "tokenizer_2": t5_tokenizer}
RESOLUTIONS: Arguments = {"resolutions": [(64, 64)]}
MEGAPIXEL = "It brings its picture to a million pixels, so that its autoencoder halves often."
FTFY = "It is called with embeddings, for it cleans prompts with a package that is not required."


def without(call: Arguments, *names: str) -> Arguments:
    """A call without the arguments that a class does not take."""
    return {name: value for name, value in call.items() if name not in names}


def recipe(
    key: str,
    call: Arguments,
    note: str = "",
    *,
    sizes: Arguments | None = None,
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
        pipe = assemble(getattr(diffusers, key.split(":")[0]), parts, MAKERS)
        for name, size in (sizes or {}).items():
            setattr(pipe, name, size)
        return pipe

    return key, Recipe(make, call, note)


def flux(channels: int) -> Callable[[], Any]:
    """A maker of Flux's transformer that is told more than the latents."""
    return partial(network, "FluxTransformer2DModel", in_channels=channels, out_channels=16)


def chroma() -> Any:
    """Chroma's transformer with Flux's entry on guidance in its configuration."""
    transformer = network("ChromaTransformer2DModel")
    transformer.register_to_config(guidance_embeds=False)
    return transformer


def kandinsky(**options: Any) -> Any:
    """Kandinsky 5's transformer, whose frequencies no change of dtype reaches."""
    transformer = network("Kandinsky5Transformer3DModel", **options)
    transformer.time_embeddings.freqs = transformer.time_embeddings.freqs.double()
    return transformer


def mixed_guidance() -> Any:
    """The guidance of HunyuanImage, as a part of the pipeline."""
    return diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.0)


flow_dpm = partial(dpm, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
deep_qwen = partial(autoencoder_qwen, halvings=5, channels=2)
patched_wan = partial(autoencoder_wan, patch=32)
longcat = partial(network, "LongCatImageTransformer2DModel", in_channels=64)
sprint: Arguments = {
    "scheduler": diffusers.SCMScheduler,
    "transformer": partial(
        network, "SanaTransformer2DModel", guidance_embeds=True, qk_norm="rms_norm_across_heads"
    ),
}
kandinsky5: Arguments = {
    "vae": partial(vae, halvings=3),
    "text_encoder_2": clip_of_77,
    "sizes": RESOLUTIONS,
}

RECIPES: dict[str, Recipe] = dict(
    [
        recipe("StableDiffusion3Pipeline", CFG, **NO_THIRD),
        recipe("StableDiffusion3Img2ImgPipeline", {**CFG, **IMAGE, **STRENGTH}, **NO_THIRD),
        recipe(
            "StableDiffusion3InpaintPipeline",
            {**CFG, **INPAINT, **STRENGTH},
            **NO_THIRD,
            transformer=partial(network, "SD3Transformer2DModel", in_channels=16, out_channels=16),
            vae=partial(vae, 16, shift=0.1),
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
            controlnet=partial(network, "SD3ControlNetModel", extra_conditioning_channels=1),
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
        recipe("Flux2KleinPipeline: with a picture", {**KLEIN, "image": picture(64)}),
        recipe("Flux2KleinInpaintPipeline", {**KLEIN, **INPAINT, **STRENGTH}),
        recipe(
            "Flux2KleinKVPipeline",
            without(KLEIN, "guidance_scale"),
            "It is distilled and takes no guidance.",
        ),
        recipe("Flux2Pipeline", {**KLEIN, "max_sequence_length": 64}),
        recipe("ChromaPipeline", {**CFG, **SHORT}),
        recipe("ChromaImg2ImgPipeline", {**CFG, **SHORT, **IMAGE, **STRENGTH}),
        recipe(
            "ChromaInpaintPipeline",
            {**CFG, **SHORT, **INPAINT, **STRENGTH},
            "It reads an entry of the transformer's configuration that only Flux's has.",
            transformer=chroma,
        ),
        recipe("QwenImagePipeline", TRUE_CFG),
        recipe("QwenImageImg2ImgPipeline", {**TRUE_CFG, **IMAGE, **STRENGTH}),
        recipe("QwenImageInpaintPipeline", {**TRUE_CFG, **INPAINT, **STRENGTH}),
        recipe("QwenImageControlNetPipeline", {**TRUE_CFG, **CONTROL}),
        recipe(
            "QwenImageControlNetInpaintPipeline",
            {**TRUE_CFG, **CONTROL, "control_mask": mask()},
            controlnet=partial(network, "QwenImageControlNetModel", extra_condition_channels=4),
        ),
        recipe("QwenImageEditPipeline", {**TRUE_CFG, **IMAGE, **AT_64}, MEGAPIXEL, vae=deep_qwen),
        recipe(
            "QwenImageEditInpaintPipeline",
            {**TRUE_CFG, **INPAINT, **STRENGTH, **AT_64},
            MEGAPIXEL,
            vae=deep_qwen,
        ),
        recipe(
            "QwenImageEditPlusPipeline", {**TRUE_CFG, **IMAGE, **AT_64}, MEGAPIXEL, vae=deep_qwen
        ),
        recipe(
            "QwenImageLayeredPipeline",
            {**without(TRUE_CFG, *SIZE), **IMAGE, "layers": 1},
            "It takes no size, and its call fails at the output type latent.",
            vae=deep_qwen,
            transformer=partial(
                network,
                "QwenImageTransformer2DModel",
                use_additional_t_cond=True,
                use_layer3d_rope=True,
            ),
        ),
        recipe("QwenImage21Pipeline", {**TRUE_CFG, **AT_128}),
        recipe("AuraFlowPipeline", {**CFG, **SHORT}),
        recipe("LuminaPipeline", {**CFG, **SHORT, **AT_64}),
        recipe("Lumina2Pipeline", {**CFG, **AT_64, "max_sequence_length": 64}),
        recipe("SanaPipeline", SANA, scheduler=flow_dpm),
        recipe("SanaPAGPipeline", {**SANA, **PAG}, scheduler=flow_dpm),
        recipe("SanaControlNetPipeline", {**SANA, **CONTROL}, scheduler=flow_dpm),
        recipe(
            "SanaSprintPipeline",
            {
                **without(SANA, "negative_prompt"),
                "num_inference_steps": 1,
                "intermediate_timesteps": None,
            },
            "Its scheduler draws noise between steps, so that it takes one.",
            **sprint,
        ),
        recipe(
            "SanaSprintImg2ImgPipeline",
            {**without(SANA, "negative_prompt"), **IMAGE, "num_inference_steps": 2},
            "It runs one step of two.",
            **sprint,
        ),
        recipe("PixArtAlphaPipeline", PIXART),
        recipe("PixArtSigmaPipeline", PIXART),
        recipe("PixArtSigmaPAGPipeline", {**PIXART, **PAG}),
        recipe("HunyuanDiTPipeline", FREE, **HUNYUAN),
        recipe("HunyuanDiTPAGPipeline", {**FREE, **PAG}, **HUNYUAN),
        recipe("HunyuanDiTControlNetPipeline", {**FREE, **CONTROL}, **HUNYUAN),
        recipe(
            "CogView3PlusPipeline",
            {**CFG, **SHORT},
            scheduler=partial(diffusers.CogVideoXDDIMScheduler, clip_sample=False),
        ),
        recipe("CogView4Pipeline", {**CFG, **SHORT}),
        recipe(
            "CogView4ControlPipeline",
            {**CFG, **SHORT, **CONTROL},
            transformer=partial(network, "CogView4Transformer2DModel", in_channels=8),
        ),
        recipe("ZImagePipeline", {**CFG, **SHORT}),
        recipe("ZImageImg2ImgPipeline", {**CFG, **SHORT, **IMAGE, **STRENGTH}),
        recipe("ZImageInpaintPipeline", {**CFG, **SHORT, **INPAINT, **STRENGTH}),
        recipe("ZImageControlNetPipeline", {**CFG, **SHORT, **CONTROL}),
        recipe(
            "ZImageControlNetInpaintPipeline",
            {**CFG, **SHORT, **INPAINT, **CONTROL},
            controlnet=partial(network, "ZImageControlNetModel", control_in_dim=9),
        ),
        recipe(
            "ZImageOmniPipeline",
            {**CFG, **SHORT},
            "It is called without a picture, which it would cast to bfloat16.",
            transformer=partial(network, "ZImageTransformer2DModel", siglip_feat_dim=16),
        ),
        recipe("BriaPipeline", {**CFG, **SHORT}),
        recipe("BriaFiboPipeline", {**CFG, **AT_128}),
        recipe("BriaFiboEditPipeline", {**EDIT, "_auto_resize": False}),
        recipe("BriaFibo2Pipeline", CFG, text_encoder=partial(qwen3, num_hidden_layers=36)),
        recipe("ErnieImagePipeline", {**CFG, "use_pe": False}),
        recipe(
            "GlmImagePipeline",
            {**GLM, "prior_token_ids": torch.arange(16)[None] % 8},
            "It is given the tokens that its language model would draw.",
            vae=autoencoder_glm,
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
            "Its guidance is a part of it, at 3.",
            sizes={"tokenizer_max_length": 16, "tokenizer_2_max_length": 8},
            guider=mixed_guidance,
        ),
        recipe(
            "HunyuanImageRefinerPipeline",
            {**TEXT, **NEGATIVE, **AT_64, "image": picture(64)},
            "Its guidance is a part of it, at 3, and noise is drawn on its picture.",
            sizes={"tokenizer_max_length": 64},
            transformer=partial(
                network,
                "HunyuanImageTransformer2DModel",
                in_channels=16,
                out_channels=8,
                patch_size=(1, 1, 1),
                text_embed_2_dim=None,
                rope_axes_dim=(4, 2, 2),
            ),
            guider=mixed_guidance,
        ),
        recipe(
            "Ideogram4Pipeline",
            {
                **TEXT,
                "guidance_scale": 2.0,
                "guidance_schedule": None,
                "max_sequence_length": 32,
            },
            text_encoder=partial(qwen3, "Qwen3VLModel", num_hidden_layers=36),
        ),
        recipe("JoyImageEditPipeline", {**CFG, **IMAGE}, MEGAPIXEL, vae=patched_wan),
        recipe(
            "JoyImageEditPlusPipeline",
            {**CFG, **AT_512, "images": [picture()]},
            MEGAPIXEL,
            vae=patched_wan,
        ),
        recipe("Kandinsky5T2IPipeline", {**CFG, **AT_64}, transformer=kandinsky, **kandinsky5),
        recipe(
            "Kandinsky5I2IPipeline",
            {**CFG, **AT_64, **IMAGE},
            transformer=partial(kandinsky, visual_cond=True),
            **kandinsky5,
        ),
        recipe("Krea2Pipeline", {**CFG, **SHORT}, text_encoder_select_layers=(1, 2)),
        recipe(
            "LongCatImagePipeline",
            {**CFG, "enable_prompt_rewrite": False},
            vae=partial(vae, 16, shift=0.1),
            transformer=longcat,
        ),
        recipe(
            "LongCatImageEditPipeline",
            {**without(CFG, *SIZE), **IMAGE},
            MEGAPIXEL,
            vae=autoencoder_deep,
            transformer=longcat,
        ),
        recipe("NucleusMoEImagePipeline", {**CFG, "return_index": -2}),
        recipe("OvisImagePipeline", {**CFG, **SHORT}),
        recipe("PRXPipeline", PRX, FTFY, vae=partial(vae, shift=0.1), **NO_TEXT),
        recipe(
            "PRXPixelPipeline",
            PRX,
            FTFY,
            transformer=partial(network, "PRXTransformer2DModel", in_channels=3, bottleneck_size=8),
            **NO_TEXT,
        ),
        recipe("DiTPipeline", {**STEPS, "class_labels": [1], "guidance_scale": 3.0}),
    ]
)

TOKENS = "It draws tokens of a vocabulary, not numbers that noise could be recovered from."
MODULAR = "It is assembled from blocks and has no call of this kind."
GENERATOR = "Its call fails unless a generator is given."

NOT_BUILT: dict[str, str] = {
    "AmusedPipeline": TOKENS,
    "AmusedImg2ImgPipeline": TOKENS,
    "AmusedInpaintPipeline": TOKENS,
    "VQDiffusionPipeline": TOKENS,
    "DiffusionGemmaPipeline": TOKENS,
    "LLaDA2Pipeline": TOKENS,
    "DreamLitePipeline": "No small build was made of its text and picture encoder.",
    "DreamLiteMobilePipeline": "No small build was made of its text and picture encoder.",
    "FluxPriorReduxPipeline": "It encodes a picture for another pipeline and runs no sampler.",
    "OmniGenPipeline": "Its processor of pictures needs torchvision.",
    "VisualClozePipeline": GENERATOR,
    "VisualClozeGenerationPipeline": GENERATOR,
    **{name: MODULAR for name in dir(diffusers) if name.endswith("ModularPipeline")},
}
