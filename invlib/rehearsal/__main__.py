"""What every profile will take, and then the networks measured: ``python -m invlib.rehearsal``.

One prepared run for a machine with a GPU: ``python -m invlib.rehearsal --device cuda``. Each row is
written as soon as it is there, and a second run goes on with those that are missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..measured import read_results
from . import forecast
from .full_size import FULL_SIZE
from .measure import rehearse
from .table import keep, row_key

RESULTS = Path("results/rehearsal.json")
ON_CPU = (("float32", False), ("bfloat16", False))  # dtype, TF32
ON_GPU = (("float32", False), ("float32", True), ("bfloat16", False), ("float16", False))


def settings(archs: list[str], device: str, size: int | None) -> Iterator[dict[str, Any]]:
    """All that is to be measured on a device, the usual first."""
    kinds = ON_CPU if torch.device(device).type == "cpu" else ON_GPU
    for compile, arch, (dtype, tf32), batch in product((False, True), archs, kinds, (1, 8)):
        own = {"arch": arch, "dtype": dtype, "tf32": tf32, "compile": compile}
        yield {**own, "batch_sizes": (batch,), "device": device, "size": size}


def known(setting: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether a row of a setting is there already, on this very device."""
    device = setting["device"]
    cpu = torch.device(device).type == "cpu"
    name = "CPU" if cpu else torch.cuda.get_device_name(device)
    wanted = {**setting, "device": name, "batch": setting["batch_sizes"][0], "guidance": 1.0}
    wanted["size"] = setting["size"] or FULL_SIZE[setting["arch"]].pixels // 8
    return row_key(wanted) in map(row_key, rows)


def main(
    arch: Annotated[
        list[str] | None, typer.Option(help=f"of {', '.join(FULL_SIZE)}; repeat; default all")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    size: Annotated[int | None, typer.Option(help="height and width of the latents")] = None,
    seconds: Annotated[float, typer.Option(help="begin no row after so many")] = float("inf"),
    measure: Annotated[bool, typer.Option(help="or only say what profiles take")] = True,
    output: Annotated[Path, typer.Option("--output", "-o")] = RESULTS,
) -> None:
    """Say what every profile takes, then measure what is not measured yet."""
    if unknown := {*(arch or ())} - {*FULL_SIZE}:
        raise typer.BadParameter(
            f"unknown: {', '.join(unknown)}; use some of {', '.join(FULL_SIZE)}"
        )
    print(forecast.said(), flush=True)
    began = time.monotonic()
    for setting in settings(arch or [*FULL_SIZE], device, size) if measure else ():
        rows = read_results(output, "rows")["rows"] if output.exists() else []
        if known(setting, rows):
            continue
        if time.monotonic() - began > seconds:
            print("out of time; run it again to go on")
            return
        found = rehearse(**setting, derivative=False)
        keep(output, found)
        print(found[0], flush=True)


if __name__ == "__main__":
    typer.run(main)
