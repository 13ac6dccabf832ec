"""Recipes of Stable Diffusion, Stable Diffusion XL and what is built upon them."""

from __future__ import annotations

from functools import partial

import diffusers

from .calls import CONTROLLED, IMAGE, MASKED, SIZED
from .parts import SD, unet
from .unet_assembly import recipe
from .unet_parts import (
    ATTENTION_FIRST,
    XL,
    adapter,
    controlnet,
    controlnet_union,
    controlnet_xs,
    picture,
    unet_xl,
)

CONTROLLED_IMAGE = {**IMAGE, **CONTROLLED, "control_image": picture()}
CONTROLLED_MASKED = {**MASKED, "control_image": picture()}
PAG = {"pag_scale": 2.0}
UNION = {"control_mode": [1], "control_image": [picture()]}

FILL = {"unet": partial(unet, in_channels=9)}
FILL_XL = {"unet": partial(unet_xl, in_channels=9)}
PLAIN_XL = {"unet": unet_xl}
CONTROL = {"controlnet": controlnet}
CONTROL_XL = {"controlnet": partial(controlnet, **XL)}
CONTROL_UNION = {"unet": unet_xl, "controlnet": controlnet_union}
LCM = {
    "unet": partial(unet, time_cond_proj_dim=8),
    "scheduler": partial(diffusers.LCMScheduler, **SD),
}

BLENDS = "The picture is blended in after every step."
FOUR = "The class takes UNets of four channels only: the picture is blended in after every step."

STABLE_DIFFUSION = [
    recipe("StableDiffusionPipeline", SIZED),
    recipe(
        "StableDiffusionPipeline: TCD, eta 0",
        {**SIZED, "eta": 0.0},
        {"scheduler": partial(diffusers.TCDScheduler, **SD)},
    ),
    recipe("StableDiffusionImg2ImgPipeline", IMAGE),
    recipe("StableDiffusionInpaintPipeline", MASKED, FILL),
    recipe("StableDiffusionInpaintPipeline: four channels", MASKED, note=BLENDS),
    recipe("StableDiffusionPAGPipeline", {**SIZED, **PAG}),
    recipe("StableDiffusionPAGImg2ImgPipeline", {**IMAGE, **PAG}),
    recipe("StableDiffusionPAGInpaintPipeline", {**MASKED, **PAG}, FILL),
    recipe("StableDiffusionControlNetPipeline", CONTROLLED, CONTROL),
    recipe("StableDiffusionControlNetImg2ImgPipeline", CONTROLLED_IMAGE, CONTROL),
    recipe("StableDiffusionControlNetInpaintPipeline", CONTROLLED_MASKED, {**FILL, **CONTROL}),
    recipe("StableDiffusionControlNetPAGPipeline", {**CONTROLLED, **PAG}, CONTROL),
    recipe(
        "StableDiffusionControlNetPAGInpaintPipeline",
        {**CONTROLLED_MASKED, **PAG},
        {**FILL, **CONTROL},
    ),
    recipe(
        "StableDiffusionControlNetXSPipeline",
        CONTROLLED,
        {"unet": partial(unet, layers_per_block=2), "controlnet": controlnet_xs},
    ),
    recipe(
        "StableDiffusionAdapterPipeline",
        CONTROLLED,
        {"unet": partial(unet, **ATTENTION_FIRST), "adapter": adapter},
    ),
    recipe(
        "LatentConsistencyModelPipeline",
        {**SIZED, "num_inference_steps": 1},
        LCM,
        note="One step, as further steps draw fresh noise.",
    ),
    recipe("LatentConsistencyModelPipeline: four steps", {**SIZED, "num_inference_steps": 4}, LCM),
    recipe("LatentConsistencyModelImg2ImgPipeline", {**IMAGE, "num_inference_steps": 4}, LCM),
]

STABLE_DIFFUSION_XL = [
    recipe("StableDiffusionXLPipeline", SIZED, PLAIN_XL),
    recipe("StableDiffusionXLImg2ImgPipeline", IMAGE, PLAIN_XL),
    recipe("StableDiffusionXLInpaintPipeline", MASKED, FILL_XL),
    recipe("StableDiffusionXLPAGPipeline", {**SIZED, **PAG}, PLAIN_XL),
    recipe("StableDiffusionXLPAGImg2ImgPipeline", {**IMAGE, **PAG}, PLAIN_XL),
    recipe("StableDiffusionXLPAGInpaintPipeline", {**MASKED, **PAG}, FILL_XL),
    recipe("StableDiffusionXLControlNetPipeline", CONTROLLED, {**PLAIN_XL, **CONTROL_XL}),
    recipe(
        "StableDiffusionXLControlNetImg2ImgPipeline", CONTROLLED_IMAGE, {**PLAIN_XL, **CONTROL_XL}
    ),
    recipe(
        "StableDiffusionXLControlNetInpaintPipeline", CONTROLLED_MASKED, {**FILL_XL, **CONTROL_XL}
    ),
    recipe(
        "StableDiffusionXLControlNetPAGPipeline", {**CONTROLLED, **PAG}, {**PLAIN_XL, **CONTROL_XL}
    ),
    recipe(
        "StableDiffusionXLControlNetPAGImg2ImgPipeline",
        {**CONTROLLED_IMAGE, **PAG},
        {**PLAIN_XL, **CONTROL_XL},
    ),
    recipe("StableDiffusionXLControlNetUnionPipeline", {**SIZED, **UNION}, CONTROL_UNION),
    recipe(
        "StableDiffusionXLControlNetUnionImg2ImgPipeline",
        {**CONTROLLED_IMAGE, **UNION},
        CONTROL_UNION,
    ),
    recipe(
        "StableDiffusionXLControlNetUnionInpaintPipeline",
        {**CONTROLLED_MASKED, **UNION},
        CONTROL_UNION,
        note=FOUR,
    ),
    recipe(
        "StableDiffusionXLControlNetXSPipeline",
        CONTROLLED,
        {
            "unet": partial(unet_xl, layers_per_block=2),
            "controlnet": partial(controlnet_xs, **XL),
        },
    ),
    recipe(
        "StableDiffusionXLAdapterPipeline",
        CONTROLLED,
        {"unet": partial(unet_xl, **ATTENTION_FIRST), "adapter": adapter},
    ),
]
