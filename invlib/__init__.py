"""invlib: exact inversion of diffusion models.

Three nouns (:class:`Schedule`, ``Denoiser``, :class:`Solver`) and two verbs (:func:`sample`,
:func:`invert`); :func:`certify` says how exact a result is, :func:`likelihood` who made it.
"""

from typing import TYPE_CHECKING, Any

from .bridge import bridged
from .certificate import Certificate, certify
from .continuous import ContinuousSchedule
from .denoisers import Denoiser, Mixture, gaussian, guided, ideal, predicting
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
from .watch import Budget, Progress, Watch, watching

if TYPE_CHECKING:
    from .identification import Identification, identify
    from .pipelines import ImageInversion, Options, invert_image, invert_latents, regenerate

__version__ = "0.1.0"

PIPELINES = ("ImageInversion", "Options", "invert_image", "invert_latents", "regenerate")

__all__ = [
    "Budget",
    "Certificate",
    "ContinuousSchedule",
    "Denoiser",
    "FlowSchedule",
    "Grid",
    "Identification",
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
    "bridged",
    "certify",
    "ddim",
    "decibel",
    "dpm_solver_1",
    "dpm_solver_2m",
    "dpm_solver_pp_1",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_3m",
    "exact",
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
    """What needs diffusers is imported when it is first used."""
    if name in PIPELINES:
        from . import pipelines

        return getattr(pipelines, name)
    if name in ("Identification", "identify"):
        from . import identification

        return getattr(identification, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
