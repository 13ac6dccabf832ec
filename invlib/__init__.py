"""invlib: exact inversion of diffusion models.

Three nouns (:class:`Schedule`, ``Denoiser``, :class:`Solver`) and two verbs (:func:`sample`,
:func:`invert`); :func:`certify` says how exact a result is, :func:`likelihood` who made it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .bridge import bridged
from .certificate import Certificate
from .certifying import certify
from .continuous import ContinuousSchedule
from .denoisers import Denoiser, Mixture, gaussian, guided, ideal, predicting
from .fixed_rows import compiled
from .inversion import Inversion
from .inverters import (
    algorithm1,
    algorithm2,
    exact,
    invert,
    multisecant,
    naive,
    persistent,
    stepwise,
    whole_trajectory,
)
from .likelihood import Likelihoods, Quadrature, likelihood
from .metrics import decibel, nmse
from .probing import NotInvertible, from_scheduler
from .sampling import Trajectory, sample
from .schedule import FlowSchedule, Grid, Schedule
from .seeds import SeedSearch, find_seed
from .solvers import (
    Solver,
    ddim,
    dpm_solver_1,
    dpm_solver_2m,
    dpm_solver_pp_1,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)
from .split import BatchTimes, batch_times
from .version import __version__ as __version__
from .watch import Budget, Progress, Watch, watching

if TYPE_CHECKING:
    from .editing import EditOptions, ImageEdit, edit_image
    from .identification import FoundPrompt, Identification, find_prompt, identify
    from .noisefile import load_noise
    from .pipelines import ImageInversion, Options, invert_image, invert_latents, regenerate

LAZY = {  # rooms that need an extra: imported when a name of theirs is first used
    "editing": ("EditOptions", "ImageEdit", "edit_image"),
    "identification": ("FoundPrompt", "Identification", "find_prompt", "identify"),
    "noisefile": ("load_noise",),
    "pipelines": ("ImageInversion", "Options", "invert_image", "invert_latents", "regenerate"),
}

__all__ = [
    "BatchTimes",
    "Budget",
    "Certificate",
    "ContinuousSchedule",
    "Denoiser",
    "EditOptions",
    "FlowSchedule",
    "FoundPrompt",
    "Grid",
    "Identification",
    "ImageEdit",
    "ImageInversion",
    "Inversion",
    "Likelihoods",
    "Mixture",
    "NotInvertible",
    "Options",
    "Progress",
    "Quadrature",
    "Schedule",
    "SeedSearch",
    "Solver",
    "Trajectory",
    "Watch",
    "algorithm1",
    "algorithm2",
    "batch_times",
    "bridged",
    "certify",
    "compiled",
    "ddim",
    "decibel",
    "dpm_solver_1",
    "dpm_solver_2m",
    "dpm_solver_pp_1",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_3m",
    "edit_image",
    "exact",
    "find_prompt",
    "find_seed",
    "from_scheduler",
    "gaussian",
    "guided",
    "ideal",
    "identify",
    "invert",
    "invert_image",
    "invert_latents",
    "likelihood",
    "load",
    "load_noise",
    "multisecant",
    "naive",
    "nmse",
    "persistent",
    "predicting",
    "regenerate",
    "sample",
    "stepwise",
    "watching",
    "whole_trajectory",
]


def load(name: str) -> Any:
    """An embedded model as a diffusers pipeline; see :func:`invlib.portraits.load`."""
    from .portraits import load as load_portraits  # diffusers is needed only here

    return load_portraits(name)


def __getattr__(name: str) -> Any:
    """What needs an extra is imported when it is first used."""
    for room, names in LAZY.items():
        if name in names:
            return getattr(import_module(f".{room}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
