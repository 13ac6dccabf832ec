"""Compare the inverters on the embedded latent model in one run: ``make bench``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm import tqdm

from .denoisers import Denoiser
from .inversion import Inversion, Inverter
from .inverters import algorithm1, algorithm2, exact, naive, stepwise, whole_trajectory
from .metrics import decibel, nmse
from .portraits import caption, held_out, load, portraits_denoiser
from .portraits.quality import noise_for
from .reproduce.exactness import EXACT_DB, solver_named
from .reproduce.profiles import device_name
from .reproduce.store import write_json
from .rootfind import anderson, fixed_point
from .sampling import sample
from .solvers import Solver

Methods = dict[str, Inverter]
fpi = partial(fixed_point, max_iterations=50)
METHODS: dict[str, Methods] = {
    "DDIM-50": {
        "naive": naive,
        "fixed point": partial(algorithm1, finder=fpi, tol=5e-7),
        "Algorithm 1": algorithm1,
        "Anderson per step": partial(algorithm1, finder=anderson, tol=2e-7),
        "ours (stepwise)": stepwise,
        "ours (whole trajectory)": whole_trajectory,
    },
    "2M-10": {
        "naive": naive,
        "naive / 1000": partial(naive, steps=1000),
        "fixed point, history frozen": partial(algorithm2, finder=fpi, tol=5e-7),
        "Algorithm 2": algorithm2,
        "Anderson per step, history frozen": partial(algorithm2, finder=anderson, tol=2e-7),
        "ours (whole trajectory)": exact,
    },
}


def main(
    count: Annotated[int, typer.Option(help="images")] = 2,
    guidance: Annotated[float, typer.Option(help="guidance scale")] = 3.0,
    output: Annotated[Path, typer.Option()] = Path("results/bench.json"),
) -> None:
    """Print evaluations, seconds and errors of every method, as ratios to naive inversion."""
    pipe = load("portraits")
    denoiser = portraits_denoiser(pipe, [caption(p) for p in held_out(count)], guidance)
    rows: list[dict[str, Any]] = []
    work = [(name, key) for name, methods in METHODS.items() for key in methods]
    for sampler, method in tqdm(work, desc="bench"):
        rows.append(_measure(denoiser, solver_named(sampler), METHODS[sampler][method], count))
        rows[-1] = {"sampler": sampler, "method": method, **rows[-1]}
    table = pd.DataFrame(rows)
    for column in ("nfe", "seconds"):
        first = table.groupby("sampler")[column].transform("first")
        table[f"{column} / naive"] = table[column] / first
    print(f"\n{count} images, guidance {guidance:g}, {device_name()}; medians over the images")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.4g}"))
    values = {"table": "bench", "images": count, "guidance": guidance, "device": device_name()}
    write_json(output, {**values, "rows": table.to_dict("records")})


def _measure(
    denoiser: Denoiser,
    solver: Solver,
    method: Callable[[Denoiser, torch.Tensor, Solver], Inversion],
    count: int,
) -> dict[str, float]:
    noise = noise_for(count)
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        began = time.perf_counter()
        inversion = method(denoiser, image, solver)
        seconds = time.perf_counter() - began
        again = torch.full_like(image, torch.nan)
        fine = torch.isfinite(inversion.noise).flatten(1).all(1)
        if fine.all():
            again = sample(denoiser, inversion.noise, solver).image
    trip = decibel(nmse(again, image))
    return {
        "noise dB": decibel(nmse(inversion.noise, noise)).median().item(),
        "image dB": trip.median().item(),
        "exact": (trip < EXACT_DB).double().mean().item(),
        "nfe": inversion.nfe.double().mean().item(),
        "seconds": seconds / count,
    }


if __name__ == "__main__":
    typer.run(main)
