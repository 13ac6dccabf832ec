"""Recipes of pipelines with a prior and a decoder, or with stages of growing size."""

from __future__ import annotations

from functools import partial

import diffusers

from .calls import GUIDANCE, IMAGE, SIZE, SIZED, STEPS, TEXT
from .cascade_parts import (
    decoder_wuerstchen,
    embedding,
    linear_ddim,
    movq,
    multilingual_clip,
    paella,
    prior,
    prior_wuerstchen,
    renderer,
    unet_cascade,
    unet_kandinsky_3,
    unet_of_embeddings,
    unet_of_pixels,
)
from .parts import WIDTH, clip, dpm, t5, t5_tokenizer
from .unet_assembly import recipe
from .unet_parts import clip_processor, clip_vision, mask, photograph, picture

STOCHASTIC = "Its own scheduler draws fresh noise in every step."
PREDICTS_NOISE = "Its prior predicts the noise, as random weights keep no sample that they predict."
BLENDS = "The picture is blended in after every step."

LEARNED = partial(diffusers.DDPMScheduler, variance_type="learned_range")
IF = {
    "unet": unet_of_pixels,
    "text_encoder": t5,
    "tokenizer": t5_tokenizer,
    "scheduler": LEARNED,
}
IF_DPM = {**IF, "scheduler": dpm}
IF_LARGER = {
    **IF_DPM,
    "unet": partial(unet_of_pixels, in_channels=6, class_embed_type="timestep"),
    "image_noising_scheduler": diffusers.DDPMScheduler,
}
RAW = {"clean_caption": False}

EMBEDS = {"image_embeds": embedding(WIDTH), "negative_image_embeds": -embedding(WIDTH)}
DECODED = {**GUIDANCE, **STEPS, **SIZE, **EMBEDS}
HINTED = {**DECODED, "height": 64, "width": 64, "hint": picture(64, 64)}
KANDINSKY = {
    "text_encoder": multilingual_clip,
    "unet": partial(unet_of_embeddings, "text_image", "text_image_proj"),
    "scheduler": linear_ddim,
    "movq": movq,
}
KANDINSKY_22 = {
    "unet": partial(unet_of_embeddings, "image", "image_proj"),
    "scheduler": linear_ddim,
    "movq": movq,
}
KANDINSKY_22_HINT = {
    "unet": partial(unet_of_embeddings, "image_hint", "image_proj", in_channels=8),
    "scheduler": linear_ddim,
    "movq": partial(movq, 3),
}
KANDINSKY_3 = {
    "text_encoder": t5,
    "tokenizer": t5_tokenizer,
    "unet": unet_kandinsky_3,
    "movq": movq,
}
PRIOR = {
    "prior": prior,
    "text_encoder": partial(clip, projection=True),
    "image_encoder": clip_vision,
    "image_processor": clip_processor,
    "scheduler": partial(
        diffusers.UnCLIPScheduler,
        variance_type="fixed_small_log",
        prediction_type="sample",
        num_train_timesteps=1000,
    ),
}
SHAPE = {
    "prior": partial(
        prior,
        num_embeddings=32,
        embedding_dim=8,
        embedding_proj_dim=WIDTH,
        time_embed_dim=16,
        clip_embed_dim=16,
        additional_embeddings=0,
        time_embed_act_fn="gelu",
        norm_in_type="layer",
        encoder_hid_proj_type=None,
        added_emb_type=None,
    ),
    "scheduler": partial(
        diffusers.HeunDiscreteScheduler,
        beta_schedule="exp",
        prediction_type="epsilon",
        use_karras_sigmas=True,
    ),
    "shap_e_renderer": renderer,
}
SHAPE_TEXT = {**SHAPE, "text_encoder": partial(clip, projection=True)}
SHAPE_IMAGE = {
    **SHAPE,
    "image_encoder": partial(clip_vision, projection=False),
    "image_processor": clip_processor,
}
CASCADE_TEXT = {
    "text_encoder": partial(clip, projection=True),
    "scheduler": diffusers.DDPMWuerstchenScheduler,
}
CASCADE = {
    **CASCADE_TEXT,
    "decoder": partial(
        unet_cascade, in_channels=4, out_channels=4, patch_size=1, effnet_in_channels=4
    ),
    "vqgan": paella,
    "latent_dim_scale": 4,
}

CASCADES = [
    recipe("IFPipeline", {**SIZED, **RAW}, IF, note=STOCHASTIC),
    recipe("IFPipeline: DPM-Solver", {**SIZED, **RAW}, IF_DPM),
    recipe("IFImg2ImgPipeline", {**IMAGE, **RAW}, IF, note=STOCHASTIC),
    recipe("IFImg2ImgPipeline: DPM-Solver", {**IMAGE, **RAW}, IF_DPM),
    recipe("IFInpaintingPipeline", {**IMAGE, **RAW, "mask_image": mask()}, IF_DPM, note=BLENDS),
    recipe(
        "IFInpaintingSuperResolutionPipeline",
        {
            **IMAGE,
            **RAW,
            "image": picture(8, 8),
            "original_image": picture(),
            "mask_image": mask(),
        },
        IF_LARGER,
        note=BLENDS,
    ),
    recipe("IFSuperResolutionPipeline", {**SIZED, **RAW, "image": picture(8, 8)}, IF_LARGER),
    recipe(
        "IFImg2ImgSuperResolutionPipeline",
        {**IMAGE, **RAW, "image": picture(8, 8), "original_image": picture()},
        IF_LARGER,
    ),
    recipe("KandinskyPipeline", {**DECODED, "prompt": "red cat"}, KANDINSKY),
    recipe(
        "KandinskyImg2ImgPipeline",
        {**DECODED, "prompt": "red cat", "image": photograph(), "strength": 0.8},
        KANDINSKY,
    ),
    recipe(
        "KandinskyInpaintPipeline",
        {**DECODED, "prompt": "red cat", "image": photograph(), "mask_image": mask()[0, 0].numpy()},
        {
            **KANDINSKY,
            "unet": partial(unet_of_embeddings, "text_image", "text_image_proj", in_channels=9),
        },
    ),
    recipe("KandinskyV22Pipeline", DECODED, KANDINSKY_22),
    recipe(
        "KandinskyV22InpaintPipeline",
        {**DECODED, "image": photograph(), "mask_image": mask()[0, 0].numpy()},
        {
            **KANDINSKY_22,
            "unet": partial(unet_of_embeddings, "image", "image_proj", in_channels=9),
        },
        note=BLENDS,
    ),
    recipe(
        "KandinskyV22Img2ImgPipeline",
        {**DECODED, "image": photograph(), "strength": 0.8},
        KANDINSKY_22,
    ),
    recipe("KandinskyV22ControlnetPipeline", HINTED, KANDINSKY_22_HINT),
    recipe(
        "KandinskyV22ControlnetImg2ImgPipeline",
        {**HINTED, "image": photograph(), "strength": 0.8},
        KANDINSKY_22_HINT,
    ),
    recipe("KandinskyPriorPipeline", TEXT, PRIOR, note=STOCHASTIC),
    recipe("KandinskyV22PriorPipeline", TEXT, PRIOR, note=STOCHASTIC),
    recipe("KandinskyV22PriorEmb2EmbPipeline", IMAGE, PRIOR, note=STOCHASTIC),
    recipe("Kandinsky3Pipeline", SIZED, KANDINSKY_3),
    recipe("Kandinsky3Img2ImgPipeline", IMAGE, KANDINSKY_3),
    recipe(
        "StableCascadePriorPipeline",
        SIZED,
        {
            **CASCADE_TEXT,
            "prior": partial(unet_cascade, in_channels=4, out_channels=4),
            "resolution_multiple": 4,
        },
        note=STOCHASTIC,
    ),
    recipe(
        "StableCascadeDecoderPipeline",
        {**TEXT, "image_embeddings": embedding(4, 2, 2).double()},
        CASCADE,
        note=STOCHASTIC,
    ),
    recipe(
        "WuerstchenPriorPipeline",
        SIZED,
        {
            "prior": prior_wuerstchen,
            "scheduler": diffusers.DDPMWuerstchenScheduler,
            "resolution_multiple": 4,
        },
        note=STOCHASTIC,
    ),
    recipe(
        "WuerstchenDecoderPipeline",
        {**TEXT, "image_embeddings": embedding(4, 2, 2).double()},
        {**CASCADE, "text_encoder": clip, "decoder": decoder_wuerstchen},
        note=STOCHASTIC,
    ),
    recipe("ShapEPipeline", {**TEXT, "frame_size": 4}, SHAPE_TEXT, note=PREDICTS_NOISE),
    recipe(
        "ShapEImg2ImgPipeline",
        {**GUIDANCE, **STEPS, "image": picture(), "frame_size": 4},
        SHAPE_IMAGE,
        note=PREDICTS_NOISE,
    ),
]
