"""The methods of the bench: published ones with their published settings, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...denoisers import Denoiser, Guided
from ...inversion import Inversion
from ...inverters import Inverter, algorithm1, algorithm2, exact, naive
from ...rivals import (
    aidi_a,
    aidi_e,
    ddim_inverse,
    dpm_inverse,
    first_order,
    fpi,
    gnri,
    gnri_released,
    ife,
    newton,
    npi,
    null_text,
    renoise,
    spdinv,
)
from ...rootfind import anderson, forward_step_method
from ...schedule import Schedule
from ...solvers import Solver
from ..models.problem import SCHEDULERS

Choose = Callable[[str, Solver, float], Inverter]
BOTH, FIRST, HIGH = (True, False), (True,), (False,)  # does it run on order one, on others
OURS = "ours"


@dataclass(frozen=True)
class Method:
    """One way to invert.

    Attributes:
        label: its name on the page; a dagger marks our re-implementations.
        family: what it is of: ``explicit``, ``fixed point``, ``gradient``, ``editing``,
            ``Algorithms 1, 2`` or ``ours``.
        choose: ``(sampler, its table, guidance) -> inverter``.
        order_one: whether it runs on first-order samplers, on others, or on both.
    """

    label: str
    family: str
    choose: Choose
    order_one: tuple[bool, ...] = BOTH


def ours(sampler: str, solver: Solver, guidance: float) -> Inverter:
    """What users get by default."""
    return exact


def stock(sampler: str, solver: Solver, guidance: float) -> Inverter:
    """The inverse scheduler of diffusers that belongs to the sampler.

    Raises:
        ValueError: if diffusers has none.
    """
    kind = SCHEDULERS.get(sampler, ("DPMSolverMultistepScheduler",))[0]
    if kind != "DPMSolverMultistepScheduler":
        raise ValueError(f"diffusers has no inverse of {kind}")
    schedule = solver.schedule
    if not isinstance(schedule, Schedule) or not _evenly(solver, schedule):
        raise ValueError("for diffusers' inverse the bench knows evenly spaced time points only")
    # no DDIM scheduler has our time points; the default is the nearest
    return ddim_inverse if solver.order_one else dpm_inverse


def _evenly(solver: Solver, schedule: Schedule) -> bool:
    return torch.equal(schedule.grid(solver.steps).t[:-1], solver.t)


def step_by_step(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, method: Inverter = algorithm1
) -> Inversion:
    """Algorithm 1; of a higher-order sampler it inverts the DDIM steps, as the rivals do."""
    return method(denoiser, image, first_order(solver))


def editing(denoiser: Denoiser, image: Tensor, solver: Solver, *, method: Inverter) -> Inversion:
    """A method that fits empty prompts.

    Raises:
        ValueError: without guidance, where there is no empty prompt.
    """
    if not isinstance(denoiser, Guided) or denoiser.scale == 1:
        raise ValueError("without guidance there is no empty prompt to replace")
    return method(denoiser, image, solver)


def _fixed(inverter: Inverter) -> Choose:
    """The same inverter for all samplers."""
    return lambda sampler, solver, guidance: inverter


def _rival(
    inverter: Inverter, label: str, family: str, order_one: tuple[bool, ...] = BOTH
) -> Method:
    """A rival with its published settings, unless the label says otherwise.

    Tuned Algorithm 1 is the forward step method with a step of 1 and no warm-up, halved after 5
    iterations that bring nothing, nearly to round-off. In Algorithm 2 that costs more and gives
    no more than Anderson acceleration to a tolerance below what its frozen term is worth.
    """
    if family == "editing":
        inverter = partial(editing, method=inverter)
    return Method(f"{label} †", family, _fixed(inverter), order_one)


QUICK = partial(forward_step_method, rho=1.0, warm_up=0, plateau=5, max_iterations=100)

NAIVE = Method("naive", "explicit", _fixed(naive))
NAIVE_1000 = Method("naive, 1000 steps", "explicit", _fixed(partial(naive, steps=1000)))
STOCK = Method("diffusers' inverse scheduler", "explicit", stock)
IFE = _rival(ife, "IFE", "explicit")
FPI = _rival(fpi, "FPI", "fixed point")
FPI_100 = _rival(partial(fpi, iterations=100), "FPI, 100 rounds", "fixed point", FIRST)
AIDI_A = _rival(aidi_a, "AIDI_A", "fixed point")
AIDI_A_100 = _rival(partial(aidi_a, iterations=100), "AIDI_A, 100 rounds", "fixed point", FIRST)
AIDI_E = _rival(aidi_e, "AIDI_E", "fixed point")
RENOISE = _rival(renoise, "ReNoise", "fixed point")
GNRI = _rival(gnri, "GNRI, as published", "gradient")
GNRI_RELEASED = _rival(gnri_released, "GNRI, as its code", "gradient")
NEWTON = Method("Newton per step", "gradient", _fixed(newton))
SPDINV = _rival(spdinv, "SPDInv", "gradient")
NPI = _rival(npi, "NPI", "editing")
NULL_TEXT = _rival(null_text, "null-text", "editing")
ALGORITHM1 = _rival(step_by_step, "Algorithm 1", "Algorithms 1, 2")
ALGORITHM1_TUNED = _rival(
    partial(step_by_step, method=partial(algorithm1, finder=QUICK, tol=2e-7)),
    "Algorithm 1, tuned",
    "Algorithms 1, 2",
)
ALGORITHM2 = _rival(algorithm2, "Algorithm 2", "Algorithms 1, 2", HIGH)
ALGORITHM2_TUNED = _rival(
    partial(algorithm2, finder=anderson, tol=1e-4),
    "Algorithm 2, tuned",
    "Algorithms 1, 2",
    HIGH,
)
BY_DEFAULT = Method(OURS, OURS, ours)

METHODS: dict[str, Method] = {
    "naive": NAIVE,
    "naive_1000": NAIVE_1000,
    "stock": STOCK,
    "ife": IFE,
    "fpi": FPI,
    "fpi_100": FPI_100,
    "aidi_a": AIDI_A,
    "aidi_a_100": AIDI_A_100,
    "aidi_e": AIDI_E,
    "renoise": RENOISE,
    "gnri": GNRI,
    "gnri_released": GNRI_RELEASED,
    "newton": NEWTON,
    "spdinv": SPDINV,
    "npi": NPI,
    "null_text": NULL_TEXT,
    "algorithm1": ALGORITHM1,
    "algorithm1_tuned": ALGORITHM1_TUNED,
    "algorithm2": ALGORITHM2,
    "algorithm2_tuned": ALGORITHM2_TUNED,
    OURS: BY_DEFAULT,
}


def place(name: str) -> str:
    """Where a method is defined: what it alone reaches is what its results depend on."""
    return f"reproduce.bench.methods:{'BY_DEFAULT' if name == OURS else name.upper()}"


def methods_for(order_one: bool) -> tuple[str, ...]:
    """The methods that run on samplers of order one, or on others."""
    return tuple(name for name, method in METHODS.items() if order_one in method.order_one)
