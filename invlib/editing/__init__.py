"""Editing with the trajectory that inversion recovers: new prompt inside a mask, old outside.

Re-implemented from the papers. The counterfactuals need the extra ``train`` (they are rendered).
"""

from .attention import attention_maps, attention_mask, recording, word_tokens
from .blend import Edit, Recovered, edit, implied_outputs
from .counterfactual import Counterfactuals, counterfactuals, described
from .image_edit import ImageEdit
from .masks import background_nmse, dilate, edit_nmse, latent_mask, pixel_mask
from .mixing import Mixed, mixed, values_of
from .picture import EditOptions, edit_image
from .plausible import plausible
from .region import differences, given_region, otsu
from .seam import Joined, across, faded, joined_to
from .words import attention_to

__all__ = [
    "Counterfactuals",
    "Edit",
    "EditOptions",
    "ImageEdit",
    "Joined",
    "Mixed",
    "Recovered",
    "across",
    "attention_maps",
    "attention_mask",
    "attention_to",
    "background_nmse",
    "counterfactuals",
    "described",
    "differences",
    "dilate",
    "edit",
    "edit_image",
    "edit_nmse",
    "faded",
    "given_region",
    "implied_outputs",
    "joined_to",
    "latent_mask",
    "mixed",
    "otsu",
    "pixel_mask",
    "plausible",
    "recording",
    "values_of",
    "word_tokens",
]
