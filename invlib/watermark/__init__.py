"""Watermarks that are written into the noise: Tree-Ring keys and Gaussian Shading payloads.

Both are read by inverting the sampler, so they show what the exactness of an inversion is worth;
``ATTACKS`` is what pictures go through before.
"""

from ..extras import pictures as _needed  # noqa: F401 - or an error that names the extra
from .attacks import ATTACKS, Attack, add_noise, blacken, blur, brightness, crop, jpeg
from .coding import Decoded, ReedSolomon
from .error_model import ErrorModel
from .gaussian_shading import (
    Agreement,
    GaussianShading,
    Message,
    bit_error,
    bits_of,
    bytes_of,
)
from .identify_picture import embed, identify, measure_errors
from .messages import Letter, MessageKey, Messages
from .nearest_key import (
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
from .passages import PASSAGES, Passage
from .posterior import Identification, whose
from .ring_keys import ring_keys
from .shading_key import ShadingKey
from .tree_ring import (
    OFFICIAL_CENTRE,
    Detection,
    TreeRing,
    spectrum,
    variance_inside,
    variance_outside,
)
from .unlisted import Finding

__all__ = [
    "ATTACKS",
    "PASSAGES",
    "OFFICIAL_CENTRE",
    "Agreement",
    "Attack",
    "Classification",
    "Decoded",
    "Detection",
    "ErrorModel",
    "Finding",
    "GaussianShading",
    "Identification",
    "Letter",
    "Message",
    "MessageKey",
    "Messages",
    "Passage",
    "ReedSolomon",
    "ShadingKey",
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
    "embed",
    "figure4_keys",
    "identify",
    "jpeg",
    "mean_modulus",
    "mean_square",
    "measure_errors",
    "nmae",
    "released_keys",
    "ring_keys",
    "separation",
    "spectrum",
    "variance_inside",
    "variance_outside",
    "whose",
    "window",
]
