"""The inverters: ways to attack the same N equations."""

from ..inversion import Inverter
from .algorithm2 import algorithm2
from .exact import exact
from .multisecant import multisecant
from .naive import naive
from .persistent import persistent
from .stepwise import algorithm1, stepwise
from .whole_trajectory import second_start, whole_trajectory

METHODS: dict[str, Inverter] = {
    "exact": exact,
    "naive": naive,
    "algorithm1": algorithm1,
    "algorithm2": algorithm2,
    "stepwise": stepwise,
    "multisecant": multisecant,
    "whole_trajectory": whole_trajectory,
    "second_start": second_start,
    "persistent": persistent,
}

__all__ = [*METHODS, "METHODS"]
