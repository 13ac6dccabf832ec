"""What figures cost on this machine, before the work begins: one evaluation is measured."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from shutil import disk_usage

import torch

from ...markdown import table
from ...measured import results
from ...memory import in_use, reset_peak
from ...rehearsal import units
from ..figures.figure2.cells import SPACES
from ..figures.registry import Figure
from ..models.checking import needs
from ..models.profiles import Space, device_name, spaces
from .plan import Plan

NOT_COUNTED = "not counted"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a network on one sample.

    Attributes:
        seconds: how long it took, the second time.
        memory: most bytes in use, of a GPU with the weights, else of the process.
    """

    seconds: float
    memory: float


def evaluation(space: Space) -> Evaluation:
    """Measure an evaluation at the first time point of a sampler."""
    device = space.noise.device
    at = space.grid(10).t[:1].to(device)
    reset_peak(device)
    space.denoiser(space.noise, at)
    start = _now(device)
    space.denoiser(space.noise, at)
    seconds = _now(device) - start
    if device.type == "cuda":
        return Evaluation(seconds, float(torch.cuda.max_memory_allocated(device)))
    return Evaluation(seconds, 1e9 * (in_use("VmHWM") or float("nan")))


def evaluations(figure: Figure) -> dict[str, float] | None:
    """Evaluations of the embedded networks that filled a figure, by their space.

    Args:
        figure: its rows in ``results/`` name evaluations and images.

    Returns:
        None where nobody counted; empty for a figure without a network.
    """
    if not any("profile" in cell.options for cell in figure.cells("tiny")):
        return {}
    stored = results(figure.name)
    found: dict[str, float] = {}
    for row in stored["rows"]:
        number = row.get("nfe_per_image", row.get("nfe"))
        if number is None:
            return None
        images = row.get("images", row.get("count", stored.get("images")))
        space = row.get("space", "latent")
        found[space] = found.get(space, 0) + number * images
    return found


def measure(profile: str) -> dict[str, Evaluation]:
    """One evaluation of each network of a profile, in a process that ends: it leaves no memory."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, profile).result()


def costs(plan: Plan) -> str:
    """What a plan takes here, in Markdown: work that is left, evaluations, time and memory.

    Evaluations are those of the embedded models, which stand in for others; how long one takes is
    measured now, on this machine.

    Args:
        plan: figures, profile and folder.
    """
    counts = {figure: evaluations(figure) for figure in plan.figures}
    plan.fetch()
    measurable = {space for counted in counts.values() for space in counted or ()} & {*SPACES}
    measured = measure(plan.profile) if measurable else {}
    lines = []
    for figure, counted in counts.items():
        pieces, left = len(plan.cells(figure)), plan.left(figure)
        cells = [figure.name, f"{left} of {pieces}"]
        if counted is None or not counted.keys() <= measured.keys():
            lines.append([*cells, NOT_COUNTED, NOT_COUNTED])
            continue
        seconds = sum(number * measured[space].seconds for space, number in counted.items())
        seconds *= left / pieces / min(plan.workers, left or 1)
        lines.append([*cells, f"{sum(counted.values()):.0f}", units.time(seconds)])
    head = ["figure", "work that is left", "evaluations of all of it", "time of what is left"]
    return "\n\n".join([table(head, lines), _machine(plan, measured)])


def _machine(plan: Plan, measured: dict[str, Evaluation]) -> str:
    """One evaluation of each network, the machine, and what its owner has to know."""
    each = ", ".join(
        f"{name}: {1000 * one.seconds:.3g} ms, {units.size(one.memory)}"
        for name, one in measured.items()
    )
    free = units.size(disk_usage(plan.folder).free)
    words = [f"The folder has {free} free; processes side by side: {plan.workers}."]
    if measured:
        words += [
            f"One evaluation on one sample, measured here on {device_name()}: {each}. Each process "
            "needs such memory, and more where a decoder is inverted."
        ]
    if plan.profile != "tiny":
        words += [needs(plan.profile).replace("\n  * ", "\n* ")]
    if plan.profile == "paper":
        network = results("costs")["networks"]["sd21"]
        weights, active = 4 * network["numbers"], network["activations"]
        words += [
            f"Of that memory, computed: {units.size(weights)} are the weights of the text model's "
            f"network, and {units.size(active)} an evaluation.",
        ]
    return "\n\n".join(words)


def _measure(profile: str) -> dict[str, Evaluation]:
    torch.set_num_threads(1)  # as the work will have
    return {space.name: evaluation(space) for space in spaces(profile, 1)}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
