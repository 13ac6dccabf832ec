"""The field bench: every method on every sampler, ``results/bench.json``.

``make bench``, or ``python -m invlib.reproduce.bench``. Interrupted, it resumes.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from ..certificate import certify
from ..inverters import Inverter, invert
from ..metrics import decibel, nmse
from ..rivals import NullInversion, first_order, with_nulls
from ..sampling import sample
from ..stars.load import verify
from .bench_methods import METHODS, methods_for
from .problem import LOGSNR, Problem, solver_named
from .rounding import short
from .runner import processes, run
from .store import write_json
from .table import DEVICE, GUIDANCE, Rows
from .work import FOLDER, Cell

LATENT = ("DDIM-50", "2M-10", "2M-20", "3M-20", "UniPC-10")
PIXEL = ("DDIM-50", "2M-10", "2M-20")
STARS = tuple(name + grid for grid in ("", LOGSNR) for name in PIXEL)
IMAGES = 8
COSTLY = ("naive_1000", "newton", "algorithm2", "algorithm2_tuned")
FEW = 8  # the costly ones get one image where the others get as many
BATCH = 2  # a run on more images adds to what a run on fewer has stored
PAGE, README = Path("book/reference/bench.ipynb"), Path("README.md")


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

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that run on it."""
        return methods_for(self.order_one)


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
    options = {**asdict(case), "method": method}
    parts = [{"first": i, "count": min(batch, images - i)} for i in range(0, images, batch)]
    depends = {"stars": verify()} if case.model == "stars" else {}
    return [Cell("bench", attempt, {**options, **part}, depends) for part in parts]


def all_cells(images: int) -> list[Cell]:
    """The work of the whole bench."""
    return [cell for case in CASES for name in case.methods for cell in cells(case, name, images)]


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
    model: str, sampler: str, guidance: float, method: str, first: int, count: int
) -> dict[str, Tensor]:
    """The measured values of a method; of one that raises, its reason."""
    case = Case(model, sampler, guidance)
    problem, image, once = sampled(case, first, count)
    try:
        inverter = METHODS[method].choose(sampler, problem.solver, guidance)
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


def rows(images: int, folder: Path = FOLDER) -> Rows:
    """The rows of everything that is stored in full."""
    result = []
    for case in CASES:
        for method in case.methods:
            parts = [cell.load(folder) for cell in cells(case, method, images)]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                result.append(summary(case, method, known))
    return result


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
    if not report and not show:
        work = [
            cell
            for case in CASES
            if (not only or case.sampler in only) and case.guidance in (guidance or GUIDANCE)
            for name in case.methods
            if name in (method or METHODS)
            for cell in cells(case, name, images)
        ]
        run(work, partial(processes, workers=workers))
    if not show:
        found = rows(images)
        if not found:
            sys.exit(f"nothing is stored for the present code; {output} stays as it is")
        values = {"table": "bench", "images": images, "device": DEVICE, "rows": found}
        write_json(output, values, [cell.config for cell in all_cells(images)])
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
    from invlib.reproduce.bench import main as command  # cells know their work by its module

    typer.run(command)
