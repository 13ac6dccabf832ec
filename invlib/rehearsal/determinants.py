"""What a likelihood costs at full size: ``python -m invlib.rehearsal.determinants``.

A determinant is nothing but products with the derivative of the network, forward and backward. Both
are timed on a network of published size with random weights, one row, and the rest is counted. One
whole likelihood, search and certificate included, is measured for a sampler of few steps.
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
from ..likelihood import likelihood
from ..likelihood.quadrature import Quadrature
from ..markdown import table
from ..memory import in_use, peak, reset_peak
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import ddim
from .architectures import ARCHITECTURES, random_network
from .measure import Problem

RESULTS = Path("results/determinants.json")
STEPS = 4  # Lanczos steps of a first-order step: what the embedded models take
FEW, VECTORS = 2, 2  # steps of the sampler and random vectors of the likelihood measured whole


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
    return {
        "arch": arch,
        "numbers": y.numel(),
        "guidance": guidance,
        "nodes": nodes,
        "vectors": rule.vectors,
        "load": round(os.getloadavg()[0], 1) if home.type == "cpu" else None,
        **found,
        "determinant_seconds": counted(found, rule.vectors * nodes),
        **whole(problem, before),
        "whole_counted_seconds": counted(found, VECTORS * FEW),
    }


def counted(found: dict[str, Any], passes: int) -> float:
    """Seconds of the products of a determinant: those of every vector at every step."""
    return passes * (STEPS * found["push_seconds"] + (STEPS - 1) * found["pull_seconds"])


def whole(problem: Problem, before: float | None) -> dict[str, Any]:
    """Seconds, memory and evaluations of one likelihood, and whether it found a noise.

    Args:
        problem: a network of random weights, and a noise.
        before: memory in use, the network's included.
    """
    home, solver = problem.states.device, ddim(Schedule.scaled_linear().grid(FEW))
    with torch.no_grad():
        latents = sample(problem.denoiser, problem.states, solver).image
    rule, results = Quadrature(vectors=VECTORS, steps=STEPS), []

    def work() -> None:
        pairs = {"the network": (problem.denoiser, solver)}
        results.append(likelihood(None, latents, pairs, determinant=rule, naive=False))

    reset_peak(home)
    seconds = timed(work, home)
    candidate = results[-1].candidates[0]
    return {
        "whole_nodes": FEW,
        "whole_vectors": VECTORS,
        "whole_seconds": seconds,
        "whole_gb": peak(home, before),
        "whole_nfe": int(candidate.nfe[0]),
        "whole_noises": len(candidate.roots[0]),
    }


def timed(work: Callable[[], Any], device: torch.device) -> float:
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
        few = "not measured" if "whole_nfe" not in row else measured_whole(row)
        lines.append((f"{row['arch']}, {values['device']}", sampler, *parts, whole, few))
    last = f"one likelihood of DDIM-{FEW} with {VECTORS} vectors, measured whole"
    return table((*head, "a determinant, counted", last), lines)


def measured_whole(row: dict[str, Any]) -> str:
    """The likelihood that was measured whole, in a cell of the table."""
    minutes, expected = (row[f"whole_{kind}"] / 60 for kind in ("seconds", "counted_seconds"))
    return (
        f"{minutes:.1f} min ({expected:.1f} counted), {row['whole_gb']:.2f} GB, "
        f"{row['whole_nfe']} evaluations"
    )


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
