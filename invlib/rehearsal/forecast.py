"""Hours and memory of every profile, before anything starts: ``python -m invlib.rehearsal``.

Evaluations are those of the embedded model in ``results/bench.json`` and ``results/flow.json``, a
step; what one takes on a GPU is what was measured there, and on a CPU what ``results/costs.json``
has of the network, else a rehearsal, else its operations by the rate of those that were. Where
neither is known the table says so.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..markdown import table
from ..measured import results
from .costs_time import Values, rate
from .formulas import inversion_bytes, pairs_at_most, reading
from .units import COMPUTED, NOT, size, time

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
PROMPTS = 100
PAIRS = f"fewest to most pairs, {COMPUTED}"
MANY = (1, 8, 64)  # GPUs
PAPER = 0.06  # seconds of an evaluation of SD 2.1 on a GPU, as the paper's run times imply


@dataclass(frozen=True)
class Profile:
    """A model, and how its pipeline is called by default.

    Attributes:
        arch: a name in ``FULL_SIZE``.
        pipeline: its class in diffusers.
        scheduler: the one that comes with it.
        stands_in: a sampler of the embedded model that is inverted in its place.
        bench: the file in ``results/`` that has that one.
        dtype: in which it is usually run.
        own: steps and guidance scale, if they are not the defaults of its pipeline.
    """

    arch: str
    pipeline: str
    scheduler: str
    stands_in: str
    bench: str = "bench"
    dtype: str = "float16"
    own: tuple[int, float] | None = None

    @property
    def defaults(self) -> tuple[int, float]:
        """Steps and guidance scale."""
        if self.own is not None:
            return self.own
        import diffusers

        call = inspect.signature(getattr(diffusers, self.pipeline).__call__).parameters
        return call["num_inference_steps"].default, float(call["guidance_scale"].default)


SD, FLOW = "StableDiffusionPipeline", "flow"


def choices(names: Iterable[str]) -> str:
    """What an option ``--profile`` takes: tiny, or some of full size."""
    return f"tiny (embedded models), or one of full size (GPU): {', '.join(names)}"


PROFILES = {
    "paper": Profile("sd21", SD, "2M", "2M-20", dtype="float32", own=(20, 3.0)),
    "sd15": Profile("sd15", SD, "PNDM", "DDIM-50"),
    "sdxl": Profile("sdxl", "StableDiffusionXLPipeline", "Euler", "DDIM-50"),
    "sd3": Profile("sd3", "StableDiffusion3Pipeline", "flow Euler", "Euler-28", FLOW),
    "flux": Profile("flux", "FluxPipeline", "flow Euler", "Euler-28", FLOW, "bfloat16"),
    "wan": Profile("wan", "WanPipeline", "flow UniPC", "UniPC-10", dtype="bfloat16"),
}


@dataclass(frozen=True)
class Forecast:
    """What inverting one picture of a profile takes.

    Attributes:
        steps: of the sampler.
        guidance: guidance scale.
        stand_in: the sampler and guidance scale that the evaluations were counted with, and how
            often that search was exact.
        evaluations: of sampling, reading, search and certificate.
        rows: of the network in an evaluation.
        flops: operations of a row.
        bytes: memory, weights included, with the fewest pairs that a search keeps and the most.
    """

    steps: int
    guidance: float
    stand_in: str
    evaluations: float
    rows: int
    flops: float
    bytes: tuple[int, int]

    def seconds(self, speed: float) -> float:
        """Seconds of one picture at ``speed`` operations a second."""
        return self.evaluations * self.rows * self.flops / speed


def forecast(profile: Profile, costs: Values, bench: Mapping[str, Any]) -> Forecast:
    """What one picture of a profile takes.

    Args:
        profile: the model and its call.
        costs: ``results/costs.json``.
        bench: the file that ``profile.bench`` names.

    Raises:
        KeyError: if no row has its stand-in.
    """
    row, (steps, guidance) = costs["networks"][profile.arch], profile.defaults
    found = [r for r in bench["rows"] if _ours(r) and r["sampler"] == profile.stands_in]
    if not found:
        raise KeyError(f"no row of {profile.stands_in} in results/{profile.bench}.json")
    above = [r for r in found if r["guidance"] >= guidance]
    near = min(above, key=_scale) if above else max(found, key=_scale)
    search = near["nfe"] / int(profile.stands_in.rpartition("-")[2]) * steps
    width = WIDTH[profile.dtype]
    weights, active = width * row["numbers"], row["activations"] * width // 4
    least, most = (
        inversion_bytes(weights, active, steps, row["state"], pairs)
        for free in (0.0, None)
        for pairs in (pairs_at_most(steps, row["state"], free),)
    )
    return Forecast(
        steps,
        guidance,
        f"{profile.stands_in}, CFG {near['guidance']:g} (exact: {near['exact']:.0%})",
        2 * steps + reading(steps) + search,
        row["rows"],
        row["flops"],
        (least, most),
    )


def speeds(rehearsal: Mapping[str, Any], costs: Values) -> dict[tuple[str, str, str], float]:
    """Operations a second that were measured, by network, device and dtype.

    Args:
        rehearsal: ``results/rehearsal.json``; the fastest row of its kind counts.
        costs: ``results/costs.json``.
    """
    found: dict[tuple[str, str, str], float] = {}
    for row in rehearsal["rows"]:
        network = costs["networks"].get(row["arch"])
        own = network is not None and 8 * row["size"] == network["pixels"]
        if network is None or not own or row["sampling"] is None:
            continue
        rows = 2 if row["guidance"] > 1 else 1
        key = row["arch"], row["device"], row["dtype"]
        found[key] = max(found.get(key, 0.0), rows * row["sampling"] * network["flops"])
    return found


def one_after_another(prompts: int, gpus: int, *, at_once: int = 1) -> int:
    r"""Prompts that the busiest of some GPUs does: :math:`s \lceil P / (s G) \rceil`.

    Args:
        prompts: P.
        gpus: G.
        at_once: s, prompts of a cell.
    """
    return min(prompts, at_once * math.ceil(prompts / (at_once * gpus)))


def markdown(bench: Values, flow: Values, costs: Values, rehearsal: Values) -> str:
    """A line for every profile: evaluations and memory of a picture, hours of ``PROMPTS``."""
    files, known = {"bench": bench, "flow": flow}, speeds(rehearsal, costs)
    gpus = sorted({device for _, device, _ in known if device != "CPU"})
    lines = []
    for name, profile in PROFILES.items():
        found = forecast(profile, costs, files[profile.bench])
        cpu = _on_cpu(costs, known, profile.arch)
        times = [found.seconds(cpu), *(_on(found, known, profile, gpu) for gpu in gpus)]
        call = f"{profile.scheduler}-{found.steps}, CFG {found.guidance:g}"
        cells = [time(PROMPTS * t) if t is not None else NOT for t in times]
        none = [] if gpus else [NOT]
        title = f"{costs['networks'][profile.arch]['title']}, {profile.dtype}"
        room = " to ".join(map(size, found.bytes))
        sizes = [f"{found.evaluations:.0f}, as {found.stand_in}", room]
        lines.append([name, title, call, *sizes, *cells, *none])
    head = ["profile", "network", "call", "evaluations a picture, as counted", f"memory, {PAIRS}"]
    hours = [f"{PROMPTS} on one CPU thread, float32", *(gpus or ["on a GPU"])]
    return table([*head, *(f"{head}, {COMPUTED}" for head in hours)], lines)


def _on_cpu(costs: Values, known: Mapping[tuple[str, str, str], float], arch: str) -> float:
    """Operations a second of a network on the CPU: its own as on the page, else measured, else all.

    A row of the network that ``results/costs.json`` has counts before a rehearsal, so that one page
    has one time of it.
    """
    if arch in costs["measured"]:
        return rate(costs, [arch])
    return known.get((arch, "CPU", "float32"), rate(costs))


def _on(found: Forecast, known: Mapping, profile: Profile, device: str) -> float | None:
    """Seconds of a picture on a GPU, if it was measured in any dtype; in the profile's, if so."""
    own = known.get((profile.arch, device, profile.dtype))
    others = [s for (arch, place, _), s in known.items() if (arch, place) == (profile.arch, device)]
    speed = own or max(others, default=None)
    return None if speed is None else found.seconds(speed)


def many(
    bench: Values, costs: Values, gpus: Iterable[int] = MANY, *, prompts: int = PROMPTS
) -> str:
    """How long some prompts take on several GPUs: in times of one prompt, and of the paper's."""
    lines, paper = [], forecast(PROFILES["paper"], costs, bench)
    each = paper.evaluations * PAPER
    for count in gpus:
        single, eight = (one_after_another(prompts, count, at_once=s) for s in (1, 8))
        busy = f"{prompts / (count * single):.0%}"
        speed = f"{prompts / single:.3g}"
        lines.append([str(count), str(single), busy, speed, str(eight), time(single * each)])
    head = ["GPUs", "prompts one after another", "busy", "faster than one by", "in cells of 8"]
    head.append(f"profile paper, if an evaluation takes {PAPER:g} s")
    return table(head, lines)


def said() -> str:
    """All of it, from what is in ``results/`` now; printed before a profile starts."""
    bench, flow, costs, rehearsal = map(results, ("bench", "flow", "costs", "rehearsal"))
    return f"{markdown(bench, flow, costs, rehearsal)}\n\n{many(bench, costs)}\n"


def _ours(row: Mapping[str, Any]) -> bool:
    """Whether a row is of the default method, on latents."""
    return row["method"] in ("ours", "exact") and row.get("model", "latent") == "latent"


def _scale(row: Mapping[str, Any]) -> float:
    return float(row["guidance"])
