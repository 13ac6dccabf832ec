"""Flow matching: its samplers as tables, and the inversions that others published for it.

The exact inverse needs nothing of its own: ``invlib.invert(denoiser, image, flow_euler(grid))``
solves every Euler step, and ``flow_midpoint`` and ``flow_fireflow`` as one system. The rivals
here walk the grid backwards instead, and all of them are re-implementations from the papers'
formulas. They use the denoiser that they are given: the authors invert without guidance, which
is ``guided(..., scale=1)``. A network of a variance-preserving schedule is a flow model, too:
:class:`Straight`.
"""

from collections.abc import Callable

from ..inverters import Inverter
from ..schedule import Grid
from ..solvers import Solver
from .euler_reversed import euler_reversed
from .fireflow import fireflow
from .grid import flow_grid, step_grid
from .rf_inversion import rf_inversion, rf_inversion_sample
from .rf_solver import rf_solver
from .samplers import FlowSolver, flow_euler, flow_fireflow, flow_midpoint
from .straight import Straight, from_vp_noise, straight_grid
from .uni_inv import uni_inv

FLOW_RIVALS: dict[str, Inverter] = {
    "euler_reversed": euler_reversed,
    "rf_inversion": rf_inversion,
    "rf_solver": rf_solver,
    "fireflow": fireflow,
    "uni_inv": uni_inv,
}

FLOW_SAMPLERS: dict[str, Callable[[Grid], Solver]] = {
    "euler_reversed": flow_euler,
    "rf_inversion": flow_euler,
    "rf_solver": flow_midpoint,
    "fireflow": flow_fireflow,
    "uni_inv": flow_euler,
}
"""The sampler with which each rival's authors make the image again.

RF-Inversion's authors also steer Euler's method to the known image: ``rf_inversion_sample``.
"""

__all__ = [
    "FLOW_RIVALS",
    "FLOW_SAMPLERS",
    "FlowSolver",
    "Straight",
    "euler_reversed",
    "fireflow",
    "flow_euler",
    "flow_fireflow",
    "flow_grid",
    "flow_midpoint",
    "from_vp_noise",
    "rf_inversion",
    "rf_inversion_sample",
    "rf_solver",
    "step_grid",
    "straight_grid",
    "uni_inv",
]
