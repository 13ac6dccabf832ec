"""Rivals: how others invert the *standard* sampler, for comparison.

All are re-implementations from the papers' formulas, with the published settings as defaults, and
all solve first-order steps: of a higher-order sampler they invert the DDIM steps on its time
points instead (:func:`first_order`), which is what their authors' code does to such an image.
"""

from ..inverters import Inverter
from .aidi import aidi_a, aidi_e
from .fpi import fpi
from .gnri import gnri, gnri_released
from .ife import ife
from .newton import newton
from .npi import npi
from .null_prompts import NullInversion, with_nulls
from .null_text import null_text
from .renoise import renoise
from .spdinv import spdinv
from .steps import first_order
from .stock import ddim_inverse, dpm_inverse

RIVALS: dict[str, Inverter] = {
    "fpi": fpi,
    "aidi_a": aidi_a,
    "aidi_e": aidi_e,
    "renoise": renoise,
    "gnri": gnri,
    "gnri_released": gnri_released,
    "newton": newton,
    "spdinv": spdinv,
    "ife": ife,
    "null_text": null_text,
    "npi": npi,
    "ddim_inverse": ddim_inverse,
    "dpm_inverse": dpm_inverse,
}

__all__ = [
    "RIVALS",
    "NullInversion",
    "aidi_a",
    "aidi_e",
    "ddim_inverse",
    "dpm_inverse",
    "first_order",
    "fpi",
    "gnri",
    "gnri_released",
    "ife",
    "newton",
    "npi",
    "null_text",
    "renoise",
    "spdinv",
    "with_nulls",
]
