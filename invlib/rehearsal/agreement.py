"""Predicted beside measured, at one size that fits here: ``python -m invlib.rehearsal.agreement``.

What the tables of costs say is computed before anything runs. Here it is held against a run: a
Stable Diffusion call on a network of published width with random weights, and its inversion,
certificate included. The number of evaluations is predicted by a twin of the network that is eight
times narrower, which takes seconds; time and memory by the formulas.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..inverters import exact
from ..markdown import table
from ..measured import results
from ..memory import in_use, peak, reset_peak
from ..pipelines import Options, invert_latents
from ..pipelines.replay import BATCH
from ..pipelines.running import untouched
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from .architectures import ARCHITECTURES, DTYPES, random_module, random_unet
from .costs_time import rate
from .formulas import STATE, Pairs, inversion_bytes, pairs_at_most
from .full_size import FULL_SIZE, TOKENS
from .live import flops, peak_bytes
from .peak import pipeline
from .units import size
from .units import time as duration

RESULTS = Path("results/agreement.json")
NARROWER = 8
NUMBERS = ("evaluations", "bytes", "beyond_weights", "cpu_seconds")
ACCEPTED = 0.2  # of the measured value


@dataclass
class Rows:
    """Counts the rows that go through a module; one evaluation has ``each`` of them."""

    each: int
    total: int = 0
    most: int = 0

    @contextmanager
    def of(self, module: torch.nn.Module) -> Iterator[Rows]:
        """Count while inside."""
        handle = module.register_forward_pre_hook(self._count, with_kwargs=True)
        try:
            yield self
        finally:
            handle.remove()

    def _count(self, module: object, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows = len(given[0] if given else named["sample"])
        self.total, self.most = self.total + rows, max(self.most, rows)


def narrow(arch: str) -> dict[str, Any]:
    """The configuration of a UNet with widths ``NARROWER`` times smaller, all else equal."""
    config = dict(ARCHITECTURES[arch])
    config["block_out_channels"] = tuple(w // NARROWER for w in config["block_out_channels"])
    config["cross_attention_dim"] //= NARROWER
    return {**config, "norm_num_groups": 4}


@dataclass(frozen=True)
class Setting:
    """What is called and inverted.

    Attributes:
        arch: a UNet in ``FULL_SIZE``.
        pixels: height and width.
        steps: of DPM-Solver++(2M).
        guidance: guidance scale; above 1 an evaluation is two rows of the network.
        rounds: most rounds of the search.
    """

    arch: str
    pixels: int
    steps: int
    guidance: float
    rounds: int

    @property
    def rows(self) -> int:
        """Rows of the network in an evaluation of one state."""
        return 2 if self.guidance > 1 else 1


def run(pipe: Any, setting: Setting) -> dict[str, dict[str, Any]]:
    """Call a pipeline and invert the call; what both took, by their names.

    Args:
        pipe: Stable Diffusion, which takes embeddings.
        setting: the call, and how long to search.
    """
    generator, found = torch.Generator().manual_seed(0), {}
    width, dtype = pipe.unet.config.cross_attention_dim, pipe.unet.dtype
    text, none = (torch.randn(1, TOKENS, width, generator=generator).to(dtype) for _ in range(2))
    call = {
        "prompt_embeds": text,
        "negative_prompt_embeds": none,
        "guidance_scale": setting.guidance,
        "num_inference_steps": setting.steps,
        "height": setting.pixels,
        "width": setting.pixels,
    }

    def sampling() -> Any:
        with untouched(pipe):
            return pipe(**call, generator=generator, output_type="latent").images

    found["sampling"], made = noted(pipe, setting.rows, sampling)
    # a copy in float64 would not fit
    method = partial(exact, double=False, starts=1, max_rounds=setting.rounds)
    options = Options(progress=False, method=method)
    found["inversion"], result = noted(
        pipe, setting.rows, lambda: invert_latents(pipe, made, options=options, **call)
    )
    found["inversion"] |= {
        "counted": int(result.evaluations.max()),
        "rounds": int(result.inversion.iterations.max()),
        "verdict": result.certificate.verdict[0] if result.certificate else "",
    }
    return found


def noted(pipe: Any, each: int, work: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """What some work took, with ``each`` rows an evaluation, and its result."""
    device, rows = torch.device("cpu"), Rows(each)
    before = in_use()
    reset_peak(device)
    began, clock = time.process_time(), time.perf_counter()
    with rows.of(pipe.unet):
        result = work()
    used = peak(device, before)
    weights = sum(p.nbytes for p in pipe.unet.parameters())
    beyond = None if used is None else round(1e9 * used)
    taken = {
        "evaluations": rows.total / rows.each,
        "most_rows": rows.most,
        "cpu_seconds": time.process_time() - began,
        "clock_seconds": time.perf_counter() - clock,
        "beyond_weights": beyond,
        "bytes": None if beyond is None else weights + beyond,
    }
    return taken, result


def predict(setting: Setting) -> dict[str, dict[str, Any]]:
    """The same numbers before the network is there."""
    arch, steps, each = setting.arch, setting.steps, setting.rows
    shape, edge = FULL_SIZE[arch], setting.pixels // 8
    numbers = shape.channels * edge**2
    together = min(steps, max(1, BATCH // numbers))
    module = random_module(arch, device="meta")
    inputs = partial(shape.inputs, device="meta", dtype=DTYPES["float32"], edge=edge)
    one, many = inputs(each), inputs(each * together)
    work = flops(lambda: module(**one))
    active = [peak_bytes(partial(module, **given), reordered=True) for given in (one, many)]
    weights = sum(p.nbytes for p in module.parameters())
    pairs = Pairs(min(pairs_at_most(steps, numbers).count, setting.rounds), STATE)
    beyond = {
        "sampling": active[0] + STATE * numbers,
        "inversion": inversion_bytes(0, active[1], steps, numbers, pairs),
    }
    twin = run(pipeline(random_unet(narrow(arch))), setting)
    speed = rate(results("costs"))
    return {
        name: {
            "evaluations": twin[name]["evaluations"],
            "cpu_seconds": twin[name]["evaluations"] * work / speed,
            "beyond_weights": beyond[name],
            "bytes": weights + beyond[name],
        }
        for name in beyond
    }


def markdown(values: dict[str, Any]) -> str:
    """Predicted, measured and their ratio."""
    shown = {
        "evaluations": ("evaluations", lambda v: f"{v:.0f}"),
        "bytes": ("memory, weights included", size),
        "beyond_weights": ("memory beyond weights", size),
        "cpu_seconds": ("CPU time, one thread", duration),
    }
    lines = []
    for work in ("sampling", "inversion"):
        for name in NUMBERS:
            title, unit = shown[name]
            guess, real = (values[kind][work][name] for kind in ("predicted", "measured"))
            cells = ["not measured"] * 2 if real is None else [unit(real), f"{guess / real:.2f}"]
            lines.append([f"{work}: {title}", unit(guess), *cells])
    return table(["what", "predicted", "measured", "predicted : measured"], lines)


def loads(values: dict[str, Any], costs: dict[str, Any]) -> str:
    """How busy the machine was for the run, and for the speed behind its prediction."""
    before = sorted(row["load"] for row in costs["measured"].values())
    said = (
        f"CPU time: the run began at a load of {values['load']:g}, and the speed behind its "
        f"prediction was measured at loads of {before[0]:g} to {before[-1]:g}."
    )
    guess, real = values["predicted"], values["measured"]
    short = all(guess[work]["cpu_seconds"] < real[work]["cpu_seconds"] for work in guess)
    if short and values["load"] < before[0]:
        said += (
            " Other work slows memory, so that an undisturbed speed is higher: with it the "
            "prediction is smaller, and further off."
        )
    return said


def misses(values: dict[str, Any]) -> list[str]:
    """Evaluations and peaks that were predicted by more than a fifth wrong."""
    return [
        f"{work}: {name}"
        for work in ("sampling", "inversion")
        for name in ("evaluations", "bytes")
        if (real := values["measured"][work][name]) is not None
        if abs(values["predicted"][work][name] - real) > ACCEPTED * real
    ]


def main(
    arch: Annotated[str, typer.Option(help="sd15 or sd21")] = "sd21",
    pixels: Annotated[int, typer.Option(help="height and width", min=64)] = 256,
    steps: Annotated[int, typer.Option(help="steps of DPM-Solver++(2M)", min=2)] = 3,
    guidance: Annotated[float, typer.Option(help="guidance scale", min=1)] = 1.0,
    rounds: Annotated[int, typer.Option(help="most rounds of the search", min=1)] = 6,
) -> None:
    """Predict, measure, and write ``results/agreement.json``."""
    torch.set_num_threads(1)
    load = round(os.getloadavg()[0], 1)
    setting = Setting(arch, pixels, steps, guidance, rounds)
    with ProcessPoolExecutor(
        1, get_context("spawn")
    ) as pool:  # it leaves no memory to be used here
        predicted = pool.submit(predict, setting).result()
    print(f"predicted: {predicted}", flush=True)
    measured = run(pipeline(random_module(arch)), setting)
    values = {"weights": "random", "device": "CPU, float32", **asdict(setting), "load": load}
    values |= {"predicted": predicted, "measured": measured}
    print(markdown(values))
    print(f"misses: {', '.join(misses(values)) or 'none'}")
    write_json(RESULTS, values, [{"code": code_of(predict)}, {"code": code_of(run)}])


if __name__ == "__main__":
    typer.run(main)
