"""Recipes of pipelines of moving pictures on UNets."""

from __future__ import annotations

from functools import partial

import diffusers

from .calls import SIZE, SIZED, STEPS, TEXT
from .motion_parts import (
    FRAMES,
    clip_of_photographs,
    controlnet_sparse,
    motion_adapter,
    unet_3d,
    unet_i2vgen,
    unet_spatiotemporal,
    vae_temporal,
)
from .parts import SD
from .unet_assembly import recipe
from .unet_parts import (
    clip_processor,
    clip_vision,
    controlnet,
    photograph,
    picture,
    unet_xl,
)

FILMED = {**SIZED, "num_frames": FRAMES}
FILM = {**TEXT, "video": clip_of_photographs(), "strength": 0.8}
ADAPTED = {"motion_adapter": motion_adapter}
LINEAR = {"scheduler": partial(diffusers.DDIMScheduler, clip_sample=False)}

MOTIONS = [
    recipe("AnimateDiffPipeline", FILMED, ADAPTED),
    recipe(
        "AnimateDiffSDXLPipeline",
        FILMED,
        {"unet": unet_xl, "motion_adapter": partial(motion_adapter, use_motion_mid_block=False)},
    ),
    recipe("AnimateDiffPAGPipeline", {**FILMED, "pag_scale": 2.0}, ADAPTED),
    recipe(
        "AnimateDiffControlNetPipeline",
        {**FILMED, "conditioning_frames": clip_of_photographs()},
        {**ADAPTED, "controlnet": controlnet},
    ),
    recipe(
        "AnimateDiffSparseControlNetPipeline",
        {**FILMED, "conditioning_frames": [photograph()], "controlnet_frame_indices": [0]},
        {**ADAPTED, "controlnet": controlnet_sparse},
    ),
    recipe("AnimateDiffVideoToVideoPipeline", {**FILM, **SIZE}, ADAPTED),
    recipe(
        "AnimateDiffVideoToVideoControlNetPipeline",
        {**FILM, **SIZE, "conditioning_frames": clip_of_photographs()},
        {**ADAPTED, "controlnet": controlnet},
    ),
    recipe(
        "PIAPipeline",
        {**FILMED, "image": photograph()},
        {"motion_adapter": partial(motion_adapter, conv_in_channels=9)},
    ),
    recipe("TextToVideoSDPipeline", FILMED, {"unet": unet_3d}),
    recipe("VideoToVideoSDPipeline", FILM, {"unet": unet_3d}),
    recipe(
        "TextToVideoZeroPipeline",
        {**SIZED, "video_length": FRAMES, "t0": 3, "t1": 4},
        {"scheduler": partial(diffusers.DDIMScheduler, **SD, clip_sample=False)},
        note="The first frame's chain is left midway, noised, and goes on with every frame.",
    ),
    recipe(
        "TextToVideoZeroSDXLPipeline",
        {**SIZED, "video_length": FRAMES, "t0": 3, "t1": 4},
        {"unet": unet_xl, "scheduler": partial(diffusers.DDIMScheduler, **SD, clip_sample=False)},
        note="The first frame's chain is left midway, noised, and goes on with every frame.",
    ),
    recipe(
        "I2VGenXLPipeline",
        {**FILMED, "image": photograph(), "clip_skip": None},
        {
            "unet": unet_i2vgen,
            "image_encoder": clip_vision,
            "feature_extractor": clip_processor,
            **LINEAR,
        },
    ),
    recipe(
        "StableVideoDiffusionPipeline",
        {
            **STEPS,
            **SIZE,
            "image": picture().double(),
            "num_frames": FRAMES,
            "min_guidance_scale": 1.5,
            "max_guidance_scale": 3.0,
        },
        {
            "vae": vae_temporal,
            "unet": unet_spatiotemporal,
            "image_encoder": clip_vision,
            "feature_extractor": clip_processor,
            "scheduler": partial(
                diffusers.EulerDiscreteScheduler,
                **SD,
                prediction_type="v_prediction",
                timestep_type="continuous",
                use_karras_sigmas=True,
                sigma_min=0.002,
                sigma_max=700.0,
            ),
        },
    ),
]
