"""What becomes of every pipeline class of diffusers: ``python -m invlib.rehearsal.pipelines``.

Small builds with random weights in float64 are called, read and inverted; the stock call with the
noise that was found is compared with the latents that were inverted.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import diffusers
import torch
import typer
from torch import Tensor

from ..measured import read_results
from ..metrics import decibel, nmse
from ..pipelines import invert_latents, read
from ..pipelines.running import known_seed, untouched
from ..probing import NotInvertible
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from ..watch import Budget
from .zoo import Recipe, catalogue
from .zoo.parts import build

RESULTS = Path("results/pipelines.json")
GOOD = -110.0  # decibel: the stock call gives the latents back
COARSE = 1e-9  # round-off from which on a network in float64 rounds to float32 in parts
ROUNDS = (
    "parts of its network compute in float32, in a build in float64 too: exact to their round-off"
)
SEEDS = {"noise": 7, "generator": 0, "global": 1}


def classes() -> list[str]:
    """Names of the pipeline classes that diffusers exports and can load."""
    return [
        name
        for name in dir(diffusers)
        if "Pipeline" in name and isinstance(getattr(diffusers, name, None), type)
        if name.endswith("Pipeline")
    ]


def examine(recipe: Recipe) -> dict[str, Any]:
    """Build a pipeline, call it with known noise, invert the call, and judge by the stock call."""
    pipe = build(recipe.make)
    try:
        return judge(pipe, recipe.call)
    except NotInvertible as error:
        if "generator=" not in str(error):
            return refused(str(error))
    if "generator" in inspect.signature(type(pipe).__call__).parameters:
        generator = torch.Generator().manual_seed(SEEDS["generator"])
        try:
            row = judge(pipe, {**recipe.call, "generator": generator})
        except NotInvertible:
            pass
        else:
            return {**row, "note": "with a generator in the call"}
    try:
        row = judge(pipe, recipe.call, seed=SEEDS["global"])
    except NotInvertible as error:
        return refused(str(error))
    return {**row, "note": "with the seed of the global generator known"}


def attempt(recipe: Recipe) -> dict[str, Any]:
    """:func:`examine`, but a failure is a row, too: one that the tests do not accept."""
    try:
        return examine(recipe)
    except Exception as error:  # whatever it is, the other classes go on
        return {"outcome": "failed", "sentence": f"{type(error).__name__}: {error}"}


def judge(pipe: Any, call: Mapping[str, Any], *, seed: int | None = None) -> dict[str, Any]:
    """The row of a pipeline and its call, with the seed of the global generator if it matters.

    Raises:
        NotInvertible: if the call is refused.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with untouched(pipe), torch.no_grad(), known_seed(seed):
            reading = read(pipe, call)
            noise = draw(reading.entrance.map.in_shape).to(reading.entrance.dtype)
            target = reading.stage.again(noise)
        options = {"budget": Budget(evaluations=3000), "progress": False, "seed": seed}
        result = invert_latents(pipe, target.double(), options=options, **call)
        with untouched(pipe), torch.no_grad(), known_seed(seed):
            again = reading.stage.again(result.latents)
    proof = result.certificate
    assert proof is not None
    image = decibel(nmse(again.double(), target.double())).max().item()
    coarse = (reading.network.roundoff or 0.0) > COARSE and set(proof.verdict) == {"exact"}
    failed = f"the search ended as {result.inversion.reason[0]}"
    return {
        "outcome": "inverted" if image < GOOD or coarse else "not exact",
        "sentence": ROUNDS if coarse else "" if image < GOOD else failed,
        "scheduler": type(pipe.scheduler).__name__,
        "steps": reading.solver.steps,
        "evaluated": reading.network.mode,
        "noise_by": reading.entrance.kind,
        "verdict": sorted(set(proof.verdict)),
        "image_db": round(image, 1),
        "noise_db": round(decibel(nmse(result.latents.double(), noise.double())).max().item(), 1),
        "evaluations": int(result.inversion.nfe.max()),
    }


def refused(sentence: str) -> dict[str, Any]:
    """The row of a call that is refused."""
    return {"outcome": "refused", "sentence": sentence}


def draw(shape: tuple[int, ...]) -> Tensor:
    """Known noise."""
    generator = torch.Generator().manual_seed(SEEDS["noise"])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def table(names: Iterable[str] | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Rows by recipe and class: those of ``names`` are computed, the others kept."""
    recipes, not_built = catalogue()
    exported, rows = classes(), {}
    for key, recipe in recipes.items():
        name = key.split(":")[0]
        wanted = names is None or any(word in key for word in names)
        if not wanted and key in known:
            rows[key] = known[key]
            continue
        row = attempt(recipe)
        rows[key] = {"class": name, "exported": name in exported, **row}
        if recipe.note:
            rows[key]["build"] = recipe.note
        print(f"{key}: {row['outcome']} {row.get('image_db', row['sentence'])}", flush=True)
    for name in exported:
        if not any(row["class"] == name for row in rows.values()):
            sentence = not_built.get(name) or not_built_kind(name)
            rows[name] = {
                "class": name,
                "exported": True,
                "outcome": "not built here",
                "sentence": sentence,
            }
    return dict(sorted(rows.items()))


def not_built_kind(name: str) -> str:
    """Why no class of a kind is built.

    Raises:
        KeyError: if there is no reason: a class without a recipe needs one.
    """
    if "Modular" in name:
        return "A modular pipeline: blocks, put together by its user, with no call of its own."
    raise KeyError(f"{name} has neither a recipe nor a reason; add one in invlib/rehearsal/zoo")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="parts of the names to compute again; default all")
    ] = None,
) -> None:
    """Invert a small build of every pipeline class, and write ``results/pipelines.json``."""
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    known = read_results(RESULTS, "rows")["rows"] if RESULTS.exists() else {}
    rows = table(names or None, known)
    values = {"diffusers": diffusers.__version__, "weights": "random", "rows": rows}
    write_json(RESULTS, values, [{"code": code_of(table)}])


if __name__ == "__main__":
    typer.run(main)
