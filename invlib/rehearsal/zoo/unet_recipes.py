"""Recipes of the pipelines on UNets and their like, and the classes that have none."""

from __future__ import annotations

from .cascades import CASCADES
from .joint import JOINT
from .kolors import KOLORS_FAMILY
from .motions import MOTIONS
from .recipe import Recipe
from .sounds import SOUNDS
from .stable_diffusion import STABLE_DIFFUSION, STABLE_DIFFUSION_XL
from .stable_diffusion_kin import STABLE_DIFFUSION_KIN
from .unconditional import UNCONDITIONAL

RECIPES: dict[str, Recipe] = dict(
    [
        *STABLE_DIFFUSION,
        *STABLE_DIFFUSION_XL,
        *STABLE_DIFFUSION_KIN,
        *CASCADES,
        *UNCONDITIONAL,
        *KOLORS_FAMILY,
        *SOUNDS,
        *MOTIONS,
        *JOINT,
    ]
)
"""Every recipe, by the name of its class, with ": a variant" where there are several."""

STAGES = "Two pipelines in one call: {0}; each is listed by itself."
SINGLE = "It draws its noise in single precision whatever its network's dtype: no float64."
ONNX = "It needs the package onnxruntime, and calls networks that torch does not see."
TOKENS = "Its states are discrete tokens, not numbers on which a sampler is affine."
BLIP = "Its query transformer downloads a tokenizer, and does not run with transformers 5."
CHOOSES = "It only chooses another class, and has no call."

NOT_BUILT: dict[str, str] = {
    "AmusedPipeline": TOKENS,
    "AmusedImg2ImgPipeline": TOKENS,
    "AmusedInpaintPipeline": TOKENS,
    "VQDiffusionPipeline": TOKENS,
    "PNDMPipeline": SINGLE,
    "LDMPipeline": SINGLE,
    "KarrasVePipeline": f"{SINGLE} Its scheduler draws fresh noise in every step, too.",
    "ScoreSdeVePipeline": f"{SINGLE} Its scheduler draws fresh noise in every step, too.",
    "KandinskyCombinedPipeline": STAGES.format("KandinskyPriorPipeline and KandinskyPipeline"),
    "KandinskyImg2ImgCombinedPipeline": STAGES.format(
        "KandinskyPriorPipeline and KandinskyImg2ImgPipeline"
    ),
    "KandinskyInpaintCombinedPipeline": STAGES.format(
        "KandinskyPriorPipeline and KandinskyInpaintPipeline"
    ),
    "KandinskyV22CombinedPipeline": STAGES.format(
        "KandinskyV22PriorPipeline and KandinskyV22Pipeline"
    ),
    "KandinskyV22Img2ImgCombinedPipeline": STAGES.format(
        "KandinskyV22PriorPipeline and KandinskyV22Img2ImgPipeline"
    ),
    "KandinskyV22InpaintCombinedPipeline": STAGES.format(
        "KandinskyV22PriorPipeline and KandinskyV22InpaintPipeline"
    ),
    "StableCascadeCombinedPipeline": STAGES.format(
        "StableCascadePriorPipeline and StableCascadeDecoderPipeline"
    ),
    "WuerstchenCombinedPipeline": STAGES.format(
        "WuerstchenPriorPipeline and WuerstchenDecoderPipeline"
    ),
    "UnCLIPPipeline": "A prior, a decoder and an upscaler sample one after the other in its call.",
    "UnCLIPImageVariationPipeline": "A decoder and an upscaler sample one after the other.",
    "StableDiffusionPix2PixZeroPipeline": "Its call runs the chain twice, from the same noise.",
    "LEditsPPPipelineStableDiffusion": "Its call edits what its own `invert` stored, not noise.",
    "LEditsPPPipelineStableDiffusionXL": "Its call edits what its own `invert` stored, not noise.",
    "VersatileDiffusionPipeline": "It has no call: its methods run the other Versatile classes.",
    "VersatileDiffusionDualGuidedPipeline": (
        "Its transformer does not take an argument that the UNet of diffusers 0.42 gives it."
    ),
    "BlipDiffusionPipeline": BLIP,
    "BlipDiffusionControlNetPipeline": BLIP,
    "AudioDiffusionPipeline": "It needs the package librosa.",
    "SpectrogramDiffusionPipeline": "It needs the package note_seq.",
    "OnnxStableDiffusionPipeline": ONNX,
    "OnnxStableDiffusionImg2ImgPipeline": ONNX,
    "OnnxStableDiffusionInpaintPipeline": ONNX,
    "OnnxStableDiffusionInpaintPipelineLegacy": ONNX,
    "OnnxStableDiffusionUpscalePipeline": ONNX,
    "StableDiffusionOnnxPipeline": ONNX,
    "AutoPipelineForImage2Image": CHOOSES,
    "AutoPipelineForInpainting": CHOOSES,
    "AutoPipelineForText2Audio": CHOOSES,
    "AutoPipelineForText2Image": CHOOSES,
    "DiffusionPipeline": "The base of all classes, without a call.",
}
"""Why there is no recipe for a class."""
