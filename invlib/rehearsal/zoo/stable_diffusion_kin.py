"""Recipes of pipelines that guide, condition or edit Stable Diffusion in their own way."""

from __future__ import annotations

from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.pipelines.deprecated.alt_diffusion import RobertaSeriesModelWithTransformation
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
)
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import (
    PaintByExampleImageEncoder,
)
from diffusers.pipelines.stable_diffusion import CLIPImageProjection
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
    StableUnCLIPImageNormalizer,
)

from .calls import CONTROLLED, GUIDANCE, IMAGE, SIZE, SIZED, STEPS, TEXT
from .cascade_parts import prior
from .parts import SD, TOKENS, WIDTH, clip, clip_tokenizer, unet, vae
from .recipe import Recipe
from .unet_assembly import filled, recipe
from .unet_parts import (
    ATTENTION_FIRST,
    changed,
    clip_processor,
    clip_vision,
    mask,
    photograph,
    picture,
    unet_xl,
)

EYES = {"image_encoder": clip_vision, "feature_extractor": clip_processor}
BOXES = {"gligen_phrases": ["cat"], "gligen_boxes": [[0.1, 0.2, 0.6, 0.7]]}
DDIM = {
    "scheduler": partial(diffusers.DDIMScheduler, **SD, clip_sample=False, set_alpha_to_one=False)
}


def roberta() -> Any:
    """The text encoder of AltDiffusion."""
    return RobertaSeriesModelWithTransformation(
        RobertaSeriesConfig(
            vocab_size=54,
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            project_dim=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TOKENS + 2,
        )
    )


def ldm3d() -> Any:
    """A StableDiffusionLDM3DPipeline that leaves depth an array."""
    given = {"vae": lambda: changed(vae(), in_channels=6, out_channels=6)}
    pipe = filled("StableDiffusionLDM3DPipeline", given)
    pipe.image_processor.numpy_to_depth = lambda images: images[..., 3:]
    return pipe


UNCLIP = {
    "image_normalizer": partial(StableUnCLIPImageNormalizer, embedding_dim=WIDTH),
    "image_noising_scheduler": diffusers.DDPMScheduler,
    "unet": partial(
        unet, class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH
    ),
}

STABLE_DIFFUSION_KIN = [
    recipe("StableDiffusionSAGPipeline", {**SIZED, "sag_scale": 0.75}),
    recipe(
        "StableDiffusionAttendAndExcitePipeline",
        {**SIZED, "token_indices": [2, 4], "attn_res": (8, 8)},
        {"unet": partial(unet, **ATTENTION_FIRST)},
        note="The state itself is moved before every step.",
    ),
    recipe(
        "StableDiffusionGLIGENPipeline",
        {**SIZED, **BOXES, "gligen_scheduled_sampling_beta": 1.0},
        {"unet": partial(unet, attention_type="gated")},
    ),
    recipe(
        "StableDiffusionGLIGENTextImagePipeline",
        {**SIZED, **BOXES, "gligen_images": [photograph()], "gligen_scheduled_sampling_beta": 1.0},
        {
            "unet": partial(unet, attention_type="gated-text-image"),
            "processor": clip_processor,
            "image_encoder": clip_vision,
            "image_project": partial(CLIPImageProjection, hidden_size=WIDTH),
        },
    ),
    (
        "StableDiffusionLDM3DPipeline",
        Recipe(
            ldm3d, SIZED, "Depth stays an array: its call cannot make a file of it with Pillow 13."
        ),
    ),
    recipe(
        "StableDiffusionPanoramaPipeline",
        {**SIZED, "width": 576},
        {"vae": partial(vae, halvings=3)},
        note="Two views, each with its own step.",
    ),
    recipe("StableDiffusionPanoramaPipeline: one view", SIZED, {"vae": partial(vae, halvings=3)}),
    recipe(
        "SemanticStableDiffusionPipeline",
        {**SIZED, "editing_prompt": "dog", "edit_warmup_steps": 2},
    ),
    recipe("StableDiffusionPipelineSafe", SIZED),
    recipe(
        "StableDiffusionDepth2ImgPipeline",
        {**IMAGE, "depth_map": picture(channels=1)[0]},
        {"unet": partial(unet, in_channels=5), "depth_estimator": None},
        note="The depth is given, not estimated.",
    ),
    recipe(
        "StableDiffusionInstructPix2PixPipeline",
        {**TEXT, "image": picture(), "image_guidance_scale": 1.5},
        {"unet": partial(unet, in_channels=8)},
    ),
    recipe(
        "StableDiffusionXLInstructPix2PixPipeline",
        {**CONTROLLED, "image_guidance_scale": 1.5},
        {"unet": partial(unet_xl, in_channels=8)},
    ),
    recipe(
        "StableDiffusionImageVariationPipeline",
        {**GUIDANCE, **STEPS, **SIZE, "image": picture()},
        EYES,
    ),
    recipe(
        "StableDiffusionUpscalePipeline",
        {**TEXT, "image": picture(8, 8), "noise_level": 20},
        {
            "unet": partial(unet, in_channels=7, num_class_embeds=350),
            "low_res_scheduler": diffusers.DDPMScheduler,
        },
    ),
    recipe(
        "StableDiffusionLatentUpscalePipeline",
        {**TEXT, "image": picture()},
        {
            "unet": partial(unet, in_channels=8, out_channels=5, time_cond_proj_dim=128 + WIDTH),
            "scheduler": partial(diffusers.EulerDiscreteScheduler, **SD),
        },
    ),
    recipe(
        "StableDiffusionDiffEditPipeline",
        {
            **TEXT,
            "mask_image": mask(8, 8),
            "image_latents": torch.stack([picture(8, 8, 4)] * 5, 1),
            "inpaint_strength": 0.9,
        },
        {"inverse_scheduler": diffusers.DDIMInverseScheduler},
        note="The latents of the picture are blended in after every step.",
    ),
    recipe("StableUnCLIPImg2ImgPipeline", CONTROLLED, {**UNCLIP, **EYES}),
    recipe(
        "StableUnCLIPPipeline",
        {**SIZED, "prior_num_inference_steps": 2},
        {
            **UNCLIP,
            "prior": prior,
            "prior_text_encoder": partial(clip, projection=True),
            "prior_tokenizer": clip_tokenizer,
            "prior_scheduler": partial(diffusers.DDPMScheduler, prediction_type="sample"),
        },
        note="Its prior draws fresh noise, so the seed belongs to the call.",
    ),
    recipe(
        "PaintByExamplePipeline",
        {
            **GUIDANCE,
            **STEPS,
            **SIZE,
            "example_image": picture(),
            "image": picture(),
            "mask_image": mask(),
        },
        {
            "unet": partial(unet, in_channels=9),
            "image_encoder": lambda: PaintByExampleImageEncoder(
                clip_vision().config, proj_size=WIDTH
            ),
            "feature_extractor": clip_processor,
        },
    ),
    recipe(
        "CycleDiffusionPipeline",
        {**IMAGE, "source_prompt": "blue cat", "eta": 0.1},
        DDIM,
        note="Two chains at once, with the noise of the first.",
    ),
    recipe(
        "StableDiffusionInpaintPipelineLegacy",
        {**IMAGE, "mask_image": mask()},
        note="The picture is blended in after every step.",
    ),
    recipe("StableDiffusionModelEditingPipeline", SIZED, {"with_to_k": True, "with_augs": []}),
    recipe(
        "StableDiffusionParadigmsPipeline",
        {**SIZED, "parallel": 3},
        {"scheduler": partial(diffusers.DDIMParallelScheduler, **SD, clip_sample=False)},
        note="Steps windows of nodes at once, until they agree to a tolerance.",
    ),
    recipe("AltDiffusionPipeline", SIZED, {"text_encoder": roberta}),
    recipe("AltDiffusionImg2ImgPipeline", IMAGE, {"text_encoder": roberta}),
]
