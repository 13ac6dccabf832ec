"""Costs of five published networks at their own sizes: ``python -m invlib.rehearsal.costs``.

Parameters, bytes and operations are counted on ``meta`` tensors, which have shapes but no values,
so that a network needs no memory. ``--measure sd21`` runs one row through a network with random
weights, and keeps what it took beside the rest.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..measured import read_results
from ..memory import in_use, peak, reset_peak
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from .algebra import algebra
from .architectures import random_module
from .full_size import FULL_SIZE
from .live import flops, peak_bytes

RESULTS = Path("results/costs.json")
ROUND = 20  # steps of the sampler whose rounds are counted


def count(arch: str) -> dict[str, Any]:
    """Parameters of a network, and bytes (float32) and operations of evaluating it.

    Args:
        arch: a name in ``FULL_SIZE``.

    Returns:
        ``parameters``; ``numbers``, those and what else its weights hold; ``state``, numbers in a
        state; ``flops`` of one row; bytes of ``activations`` of an evaluation, which has ``rows``
        rows, and of ``activations_of_a_row``; bytes of the weights of its largest ``convolution``;
        ``algebra``, operations of a round of the search itself in ``ROUND`` steps.
    """
    size, module = FULL_SIZE[arch], random_module(arch, device="meta")
    parameters = sum(p.numel() for p in module.parameters())
    filters = [m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    one, all_rows = (size.inputs(n, "meta", torch.float32) for n in (1, size.at_once or size.rows))
    return {
        "title": size.title,
        "pixels": size.pixels,
        "state": size.state,
        "rows": size.rows,
        "parameters": parameters,
        "numbers": parameters + sum(b.numel() for b in module.buffers()),
        "flops": flops(lambda: module(**one)),
        "activations_of_a_row": peak_bytes(lambda: module(**one)),
        "activations": peak_bytes(lambda: module(**all_rows)),
        "convolution": 4 * max(filters, default=0),
        "algebra": algebra(ROUND, size.state),
    }


def measure(arch: str) -> dict[str, Any]:
    """CPU seconds and bytes beyond the weights of one row, float32, random weights, one thread.

    Args:
        arch: a name in ``FULL_SIZE``.
    """
    torch.set_num_threads(1)
    module = random_module(arch)
    inputs = FULL_SIZE[arch].inputs(1, "cpu", torch.float32)
    device, load = torch.device("cpu"), os.getloadavg()[0]
    before = in_use()
    reset_peak(device)
    began = time.process_time()
    with torch.inference_mode():
        module(**inputs)
    seconds = time.process_time() - began
    used = peak(device, before)
    return {
        "cpu_seconds": round(seconds, 2),
        "bytes": None if used is None else round(1e9 * used),
        "load": round(load, 1),
        "threads": 1,
        "torch": torch.__version__,
    }


def main(
    measured: Annotated[
        list[str] | None,
        typer.Option("--measure", help=f"run one row, of {', '.join(FULL_SIZE)}; repeat"),
    ] = None,
) -> None:
    """Count, measure what is asked for, and write ``results/costs.json``."""
    if unknown := {*(measured or ())} - {*FULL_SIZE}:
        raise typer.BadParameter(
            f"unknown: {', '.join(unknown)}; use one of {', '.join(FULL_SIZE)}"
        )
    known = read_results(RESULTS, "measured")["measured"] if RESULTS.exists() else {}
    networks = {arch: count(arch) for arch in FULL_SIZE}
    fresh = {arch: measure(arch) for arch in measured or ()}
    known = {arch: row for arch in FULL_SIZE if (row := fresh.get(arch, known.get(arch)))}
    values = {"weights": "random", "round": ROUND, "networks": networks, "measured": known}
    write_json(RESULTS, values, [{"code": code_of(count)}, {"code": code_of(measure)}])


if __name__ == "__main__":
    typer.run(main)
