"""What a likelihood costs at full size: ``python -m invlib.rehearsal.determinants``.

A determinant is nothing but products with the derivative of the network, forward and backward. Both
are timed on a network of published size with random weights, one row, and the rest is counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from ..derivatives import Derivatives
from ..likelihood.quadrature import Quadrature
from ..markdown import table
from ..memory import in_use, peak, reset_peak
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from ..schedule import Schedule
from ..solvers import ddim
from .architectures import ARCHITECTURES, random_network
from .measure import Problem

RESULTS = Path("results/determinants.json")
STEPS = 4  # Lanczos steps of a first-order step: what the embedded models take


def measure(arch: str, nodes: int, guidance: float, device: str) -> dict[str, Any]:
    """Seconds and memory of an evaluation and of both products, and of a whole determinant.

    Args:
        arch: name of the network.
        nodes: steps of the sampler, DDIM.
        guidance: guidance scale; above 1 an evaluation is two rows of the network.
        device: where to run.
    """
    home = torch.device(device)
    net = random_network(arch, dtype="float32", device=device)
    edge, channels = net.module.config.sample_size, net.module.config.in_channels
    problem = Problem.of(net, (1, channels, edge, edge), guidance)
    solver = ddim(Schedule.scaled_linear().grid(nodes))
    network = Derivatives(problem.denoiser, solver, 1)
    y, node = problem.states, torch.zeros(1, dtype=torch.long, device=home)
    before = in_use() if home.type == "cpu" else None
    works: dict[str, Callable[[], Tensor]] = {
        "evaluation": lambda: solver.output(problem.denoiser, y, node, node),
        "push": lambda: network.push(y, node, node, y),
        "pull": lambda: network.pull(y, node, node, y),
    }
    found: dict[str, Any] = {}
    for name, work in works.items():
        reset_peak(home)
        found[f"{name}_seconds"] = timed(work, home)
        found[f"{name}_gb"] = peak(home, before)
    rule = Quadrature()
    passes = rule.vectors * nodes
    seconds = STEPS * found["push_seconds"] + (STEPS - 1) * found["pull_seconds"]
    return {
        "arch": arch,
        "numbers": y.numel(),
        "guidance": guidance,
        "nodes": nodes,
        "vectors": rule.vectors,
        "load": round(os.getloadavg()[0], 1) if home.type == "cpu" else None,
        **found,
        "determinant_seconds": passes * seconds,
    }


def timed(work: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of this process' own time; on a GPU those of the second run, by the clock."""
    with torch.no_grad():
        if device.type == "cuda":
            work()
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            work()
            torch.cuda.synchronize(device)
            return time.perf_counter() - began
        began = time.process_time()
        work()
        return time.process_time() - began


def markdown(values: dict[str, Any]) -> str:
    """The rows as a table on a page."""
    head = ("network", "sampler", "an evaluation", "forward product", "backward product")
    lines = []
    for row in values["rows"]:
        parts = [
            f"{row[f'{name}_seconds']:.3g} s, {row[f'{name}_gb']:.2f} GB"
            for name in ("evaluation", "push", "pull")
        ]
        whole = f"{row['determinant_seconds'] / 3600:.1f} h with {row['vectors']} vectors"
        sampler = f"DDIM-{row['nodes']}, CFG {row['guidance']:g}"
        lines.append((f"{row['arch']}, {values['device']}", sampler, *parts, whole))
    return table((*head, "a determinant"), lines)


def main(
    arch: Annotated[str, typer.Option(help=f"of {', '.join(ARCHITECTURES)}")] = "sd21",
    nodes: Annotated[int, typer.Option(help="steps of DDIM", min=1)] = 20,
    guidance: Annotated[float, typer.Option(help="guidance scale", min=1)] = 5.0,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Measure, and write ``results/determinants.json``."""
    row = measure(arch, nodes, guidance, device)
    print(row)
    where = "CPU, float32" if device == "cpu" else torch.cuda.get_device_name(device)
    values = {"weights": "random", "device": where, "rows": [row]}
    write_json(RESULTS, values, [{"code": code_of(measure)}])


if __name__ == "__main__":
    typer.run(main)
