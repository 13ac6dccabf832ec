"""Editing with the trajectory that inversion recovers: new prompt inside a mask, old outside.

Re-implemented from the papers. The counterfactuals need the extra ``train`` (they are rendered).
"""

from .attention import attention_maps, attention_mask, recording, word_tokens
from .blend import Edit, Recovered, edit, implied_outputs
from .counterfactual import Counterfactuals, counterfactuals, described
from .masks import background_nmse, dilate, edit_nmse, latent_mask, pixel_mask
from .mixing import Mixed, mixed, values_of

__all__ = [
    "Counterfactuals",
    "Edit",
    "Mixed",
    "Recovered",
    "attention_maps",
    "attention_mask",
    "background_nmse",
    "counterfactuals",
    "described",
    "dilate",
    "edit",
    "edit_nmse",
    "implied_outputs",
    "latent_mask",
    "mixed",
    "pixel_mask",
    "recording",
    "values_of",
    "word_tokens",
]
