"""Watermarks that are written into the noise: Tree-Ring keys and Gaussian Shading payloads.

Both are read by inverting the sampler, so they show what the exactness of an inversion is worth;
``ATTACKS`` is what pictures go through before.
"""

from ..extras import pictures as _needed  # noqa: F401 - or an error that names the extra
from .attacks import ATTACKS, Attack, add_noise, blacken, blur, brightness, crop, jpeg
from .gaussian_shading import (
    Agreement,
    GaussianShading,
    Message,
    bit_error,
    bits_of,
    bytes_of,
)
from .identify import (
    Classification,
    classify,
    confusion,
    figure4_keys,
    mean_modulus,
    mean_square,
    nmae,
    released_keys,
    separation,
    window,
)
from .tree_ring import (
    OFFICIAL_CENTRE,
    Detection,
    TreeRing,
    spectrum,
    variance_inside,
    variance_outside,
)

__all__ = [
    "ATTACKS",
    "OFFICIAL_CENTRE",
    "Agreement",
    "Attack",
    "Classification",
    "Detection",
    "GaussianShading",
    "Message",
    "TreeRing",
    "add_noise",
    "bit_error",
    "bits_of",
    "blacken",
    "blur",
    "brightness",
    "bytes_of",
    "classify",
    "confusion",
    "crop",
    "figure4_keys",
    "jpeg",
    "mean_modulus",
    "mean_square",
    "nmae",
    "released_keys",
    "separation",
    "spectrum",
    "variance_inside",
    "variance_outside",
    "window",
]
