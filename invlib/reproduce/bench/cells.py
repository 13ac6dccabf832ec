"""The work of the field bench, every method on every sampler, and the rows of its results."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...certificate import certify
from ...inversion import Origin
from ...inverters import Inverter
from ...metrics import decibel, nmse
from ...rivals import NullInversion, first_order, with_nulls
from ...sampling import sample
from ...stars.load import verify
from ..engine.rounding import short
from ..engine.stamps import stamp
from ..engine.table import GUIDANCE, Rows
from ..engine.work import FOLDER, Cell
from ..models.problem import LOGSNR, Problem, solver_named
from .methods import METHODS, Method, methods_for, place

LATENT = ("DDIM-50", "2M-10", "2M-20", "3M-20", "UniPC-10")
PIXEL = ("DDIM-50", "2M-10", "2M-20")
STARS = tuple(name + grid for grid in ("", LOGSNR) for name in PIXEL)
IMAGES = 8
COSTLY = ("naive_1000", "newton", "algorithm2", "algorithm2_tuned")
FEW = 8  # the costly ones get one image where the others get as many
BATCH = 2  # a run on more images adds to what a run on fewer has stored


@dataclass(frozen=True)
class Case:
    """One cell of the bench.

    Attributes:
        model: ``latent``, ``pixel`` or ``stars``.
        sampler: name of the sampler.
        guidance: guidance scale.
    """

    model: str
    sampler: str
    guidance: float

    def problem(self, first: int, count: int) -> Problem:
        """Its samples ``first`` ... ``first + count - 1``."""
        if self.model == "pixel":
            return Problem.pixels(self.sampler, first, count)
        if self.model == "stars":
            return Problem.stars(self.sampler, first, count)
        return Problem.of(self.sampler, self.guidance, first, count)

    @property
    def order_one(self) -> bool:
        """Whether its sampler is of first order."""
        return solver_named(self.sampler.removesuffix(LOGSNR)).order_one


CASES = (
    *(Case("latent", name, scale) for name in LATENT for scale in GUIDANCE),
    *(Case("pixel", name, 1.0) for name in PIXEL),
    *(Case("stars", name, 1.0) for name in STARS),
)


def cells(case: Case, method: str, images: int) -> list[Cell]:
    """The work of a method in a cell of the bench, in batches."""
    batch = BATCH
    if method in COSTLY:
        images, batch = max(images // FEW, 1), 1
    parts = [{"first": i, "count": min(batch, images - i)} for i in range(0, images, batch)]
    depends, uses = {"stars": verify()} if case.model == "stars" else {}, {"method": place(method)}
    return [Cell("bench", attempt, {**asdict(case), **part}, depends, uses) for part in parts]


def all_cells(images: int) -> list[Cell]:
    """The work of the whole bench."""
    return [cell for work in places(images).values() for cell in work]


@lru_cache(2)
def sampled(case: Case, first: int, count: int) -> tuple[Problem, Tensor, float]:
    """Samples of a cell, made once for the methods that one process tries on them.

    Returns:
        The problem, its images, and the processor seconds that an image took.
    """
    problem = case.problem(first, count)
    with torch.no_grad():
        problem.denoiser(problem.noise, problem.solver.t[:1].expand(count).to(problem.noise))
        began = time.process_time()
        image = sample(problem.denoiser, problem.noise, problem.solver).image
    return problem, image, (time.process_time() - began) / count


def attempt(
    model: str, sampler: str, guidance: float, method: Method, first: int, count: int
) -> dict[str, Tensor]:
    """The measured values of a method; of one that raises, its reason."""
    case = Case(model, sampler, guidance)
    problem, image, once = sampled(case, first, count)
    try:
        inverter = method.choose(sampler, problem.solver, guidance)
        return measure(problem, image, inverter, once)
    except Exception as error:  # it is the result, and the page shows it
        reason = str(error).strip().split("\n")[0]
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        return {"note": torch.tensor([*reason.encode()], dtype=torch.uint8)}


def measure(problem: Problem, image: Tensor, inverter: Inverter, once: float) -> dict[str, Tensor]:
    """Invert, sample again, and compare.

    Args:
        problem: the sampler, its network and the true noise.
        image: what it made of that, ``[B, ...]``.
        inverter: the method.
        once: processor seconds of sampling one image.

    Returns:
        For each sample: NMSE of the noise and of the round trip, evaluations, processor seconds,
        these as a multiple of ``once``, and the certificate's verdicts ``exact`` and ``failed``.
    """
    denoiser, solver = problem.denoiser, problem.solver
    began = time.process_time()  # of this process's one thread: what else runs does not matter
    with torch.no_grad():
        inversion = inverter(denoiser, image, solver)
    seconds = (time.process_time() - began) / len(image)
    origin = inversion.origin or Origin(denoiser, solver)
    inversion = replace(inversion, states=image[None], origin=origin)  # what it says is no proof
    sampler: Any = denoiser
    if isinstance(inversion, NullInversion):  # its noise needs its own empty prompts and steps
        solver = first_order(solver)
        sampler = with_nulls(denoiser, solver, inversion.nulls)
    proof = certify(sampler, inversion, solver, vectors=0)
    return {
        "noise": nmse(inversion.noise, problem.noise),
        "image": proof.round_trip,
        "nfe": inversion.nfe.double(),
        "seconds": torch.full((len(image),), seconds, dtype=torch.float64),
        "ratio": torch.full((len(image),), seconds / max(once, 1e-9), dtype=torch.float64),
        "exact": torch.tensor([v == "exact" for v in proof.verdict]),
        "failed": torch.tensor([v == "failed" for v in proof.verdict]),
    }


def summary(case: Case, method: str, parts: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    """One row of the results, from the stored units of a method in a cell."""
    row: dict[str, Any] = {**asdict(case), "method": method, "label": METHODS[method].label}
    row["family"] = METHODS[method].family
    note = next((bytes(part["note"].tolist()).decode() for part in parts if "note" in part), "")
    parts = [part for part in parts if "note" not in part]
    row["images"] = sum(len(part["image"]) for part in parts)
    values: dict[str, list[float]] = {}
    if parts:
        values = {k: torch.cat([p[k].double() for p in parts]).tolist() for k in parts[0]}
    for name in ("noise", "image"):
        found = decibel(torch.tensor(values.get(name, [math.nan]), dtype=torch.float64))
        level = found.nan_to_num(nan=math.inf).tolist()  # not finite is the worst there is
        row[f"{name}_db"] = short(statistics.median(level), 5)
        row[f"{name}_db_worst"] = short(max(level), 5)
    for name in ("nfe", "ratio"):
        row[name] = short(statistics.median(values.get(name, [math.nan])), 5)
    row["nfe_worst"] = short(max(values.get("nfe", [math.nan])), 5)
    for name in ("seconds", "exact", "failed"):
        row[name] = short(statistics.fmean(values.get(name, [math.nan])), 5)
    return {**row, "note": note}


Place = tuple[Case, str]  # a cell of the bench, and a method


def places(images: int) -> dict[Place, list[Cell]]:
    """The work of every row."""
    work = {case: methods_for(case.order_one) for case in CASES}
    return {(case, name): cells(case, name, images) for case in work for name in work[case]}


def by_place(rows: Rows) -> dict[Place, Rows]:
    """The rows of a results file by what they are of."""
    return {
        (Case(row["model"], row["sampler"], row["guidance"]), row["method"]): [row] for row in rows
    }


def rows(images: int, folder: Path = FOLDER) -> dict[Place, Rows]:
    """The rows of everything that is stored in full."""
    result = {}
    for (case, method), work in places(images).items():
        parts = [cell.load(folder) for cell in work]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            result[case, method] = [{**summary(case, method, known), "code": stamp(work)}]
    return result
