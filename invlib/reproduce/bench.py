"""The field bench: every method on every sampler, ``results/bench.json``.

``make bench``, or ``python -m invlib.reproduce.bench``. Interrupted, it resumes.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from tqdm import tqdm

from ..certificate import certify
from ..inversion import Inverter, invert
from ..metrics import decibel, nmse
from ..portraits.load import verify
from ..rivals import NullInversion, first_order, with_nulls
from ..sampling import sample
from .bench_methods import METHODS, methods_for
from .problem import Problem, solver_named
from .store import cell, code_hash, stored, write_json
from .table import GUIDANCE, Rows

LATENT = ("DDIM-50", "2M-10", "2M-20", "3M-20", "UniPC-10")
PIXEL = ("DDIM-50", "2M-10", "2M-20")
IMAGES = 2  # so that all takes less than half an hour on two cores
BATCH = 2  # a run on more images adds to what a run on fewer has stored
FOLDER = Path(".cache") / "bench"
PAGE, README = Path("book/reference/bench.ipynb"), Path("README.md")
IMAGE = ("probing.py", "reproduce/problem.py", "reproduce/profiles.py")
SHARED = (*IMAGE, "reproduce/bench_methods.py")
WEIGHTS = {"latent": "portraits", "pixel": "portraits-pixel"}


@dataclass(frozen=True)
class Case:
    """One cell of the bench.

    Attributes:
        model: ``latent`` or ``pixel``.
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
        return Problem.of(self.sampler, self.guidance, first, count)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that run on it."""
        return methods_for(solver_named(self.sampler).order_one)


CASES = (
    *(Case("latent", name, scale) for name in LATENT for scale in GUIDANCE),
    *(Case("pixel", name, 1.0) for name in PIXEL),
)


@dataclass(frozen=True)
class Unit:
    """What one process does in one go: one method on a few samples of a cell."""

    case: Case
    method: str
    first: int
    count: int

    @property
    def config(self) -> dict[str, Any]:
        """Everything that its result depends on, apart from the core of the library."""
        code = code_hash((*SHARED, *METHODS[self.method].files))
        return {**asdict(self), "model": verify(WEIGHTS[self.case.model]), "methods": code}


@lru_cache(2)
def problem_of(case: Case, first: int, count: int) -> Problem:
    """The samples of a cell, loaded once for the methods that one process tries on them."""
    return case.problem(first, count)


def image_of(case: Case, first: int, count: int, folder: Path) -> Tensor:
    """What the sampler made, ``[B, ...]``; sampled once for all methods."""

    def work() -> dict[str, Tensor]:
        problem = problem_of(case, first, count)
        with torch.no_grad():
            return {"image": sample(problem.denoiser, problem.noise, problem.solver).image}

    config = {"bench": "image", **asdict(case), "first": first, "count": count}
    config |= {"model": verify(WEIGHTS[case.model]), "code": code_hash(IMAGE)}
    return cell(folder, config, work)["image"]


def fill(unit: Unit, folder: Path) -> None:
    """Do one unit of work, unless it is stored."""
    cell(folder, unit.config, partial(_work, unit, folder))


def _work(unit: Unit, folder: Path) -> dict[str, Tensor]:
    """The measured values; of a method that raises, its reason."""
    case = unit.case
    image = image_of(case, unit.first, unit.count, folder)
    problem = problem_of(case, unit.first, unit.count)
    try:
        inverter = METHODS[unit.method].choose(case.sampler, problem.solver, case.guidance)
        return measure(problem, image, inverter)
    except Exception as error:  # it is the result, and the page shows it
        reason = str(error).strip().split("\n")[0]
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        return {"note": torch.tensor([*reason.encode()], dtype=torch.uint8)}


def measure(problem: Problem, image: Tensor, inverter: Inverter) -> dict[str, Tensor]:
    """Invert, sample again, and compare.

    Args:
        problem: the sampler, its network and the true noise.
        image: what it made of that, ``[B, ...]``.
        inverter: the method.

    Returns:
        For each sample: NMSE of the noise and of the round trip, evaluations, seconds, and the
        certificate's verdicts ``exact`` and ``failed``.
    """
    denoiser, solver = problem.denoiser, problem.solver
    began = time.process_time()  # of this process's one thread: what else runs does not matter
    inversion = invert(denoiser, image, solver, method=inverter)
    seconds = (time.process_time() - began) / len(image)
    inversion = replace(inversion, states=image[None])  # what a method says of itself is no proof
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
        row[f"{name}_db"] = _finite(statistics.median(level))
        row[f"{name}_db_worst"] = _finite(max(level))
    for name in ("nfe", "seconds", "exact", "failed"):
        row[name] = _finite(statistics.fmean(values.get(name, [math.nan])))
    return {**row, "note": note}


def _finite(value: float) -> float | None:
    """A number as JSON knows it, rounded; None if it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def units(case: Case, method: str, images: int) -> list[Unit]:
    """The units of a method in a cell."""
    return [Unit(case, method, i, min(BATCH, images - i)) for i in range(0, images, BATCH)]


def configs(images: int) -> list[dict[str, Any]]:
    """What all units of the bench depend on."""
    return [u.config for c in CASES for name in c.methods for u in units(c, name, images)]


def rows(images: int, folder: Path) -> Rows:
    """The rows of everything that is stored in full."""
    result = []
    for case in CASES:
        for method in case.methods:
            parts = [stored(folder, unit.config) for unit in units(case, method, images)]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                result.append(summary(case, method, known))
    return result


def run(work: Sequence[Unit], workers: int, folder: Path) -> None:
    """Do the work in several processes of one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        futures = [pool.submit(fill, unit, folder) for unit in work]
        for future in tqdm(as_completed(futures), "bench", len(futures), unit="method"):
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def main(
    images: Annotated[int, typer.Option(help="images of each cell", min=1)] = IMAGES,
    workers: Annotated[int, typer.Option(help="processes, of one thread each", min=1)] = 2,
    only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
    method: Annotated[list[str] | None, typer.Option(help="methods, default all")] = None,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
    show: Annotated[bool, typer.Option(help="only fill the pages, from the output")] = False,
    pages: Annotated[bool, typer.Option(help="fill the pages that show the results")] = True,
    output: Annotated[Path, typer.Option()] = Path("results/bench.json"),
) -> None:
    """Fill the bench, method by method; interrupted, it resumes."""
    work = [
        unit
        for case in CASES
        if case.sampler in (only or LATENT) and case.guidance in (guidance or GUIDANCE)
        for name in case.methods
        if name in (method or METHODS)
        for unit in units(case, name, images)
    ]
    todo = [unit for unit in work if stored(FOLDER, unit.config) is None]
    if todo and not report and not show:
        run(todo, workers, FOLDER)
    if not show:
        found = rows(images, FOLDER)
        if not found:
            sys.exit(f"nothing is stored for the present code; {output} stays as it is")
        device = f"CPU, {workers} processes of one thread"
        values = {"table": "bench", "images": images, "device": device, "rows": found}
        write_json(output, values, configs(images))
        print(f"wrote {output}: {len(found)} of {sum(len(c.methods) for c in CASES)} rows")
    if pages:
        fill_pages()


def fill_pages() -> None:
    """Put the results into the README, and run the page that plots them."""
    from .__main__ import run_notebook
    from .pages import filled

    README.write_text(filled(Path("."), README.name))
    run_notebook(PAGE, "tiny")


if __name__ == "__main__":
    typer.run(main)
