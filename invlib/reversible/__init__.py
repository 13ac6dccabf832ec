"""Samplers whose inverse is algebra: EDICT, BDIA and O-BELM.

They make *other* images than DDIM or DPM-Solver, so they invert what they made themselves and
nothing else; and what they invert exactly is a **pair** of states, not an image
(see :func:`invert_reversible`).
"""

from collections.abc import Callable

from ..schedule import Grid
from .bdia import bdia
from .belm import o_belm
from .edict import edict
from .growth import growth, least_growth
from .pair import Pair, ReversibleRun
from .run import invert_reversible, sample_reversible
from .shear import Reversible, Shear
from .two_step import two_step

REVERSIBLE: dict[str, Callable[[Grid], Reversible]] = {
    "edict": edict,
    "bdia": bdia,
    "o_belm": o_belm,
}

__all__ = [
    "REVERSIBLE",
    "Pair",
    "Reversible",
    "ReversibleRun",
    "Shear",
    "bdia",
    "edict",
    "growth",
    "invert_reversible",
    "least_growth",
    "o_belm",
    "sample_reversible",
    "two_step",
]
