"""Peak memory of the decoder inverters: ``python -m invlib.reproduce.tables.decoder_memory``.

Few iterations are enough: none of the methods needs more memory for more of them.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import typer
from tqdm import tqdm

from ...autoencoder import (
    Autoencoder,
    Box,
    DecoderInversion,
    DecoderInverter,
    active_set,
    encoder,
    gauss_newton,
    gradient,
    gradient_free,
    quasi_newton,
)
from ...markdown import table
from ...memory import in_use, peak, reset_peak
from ...portraits import load
from ..engine.reached import code_of
from ..engine.store import write_json
from ..models.profiles import device_name


def dense(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
    """The dense method, one step from the encoder's answer; images go through it one by one."""
    with torch.no_grad():
        start = autoencoder.encode(box.center[:1])
    first = box.rows(torch.tensor([0]))
    return active_set(autoencoder, first, start=start, jacobians=1, steps=1)


METHODS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "gradient (paper)": partial(gradient, iterations=3),
    "gradient-free": partial(gradient_free, iterations=3),
    "Gauss-Newton": partial(gauss_newton, krylov=3),
    "ours, quasi-Newton": partial(quasi_newton, iterations=3),
    "ours, active set": dense,
}
BATCHES = (1, 8)


def measure(name: str, batch: int) -> float | None:
    """Peak memory of one method in GB, beyond the loaded model; in a fresh process."""
    torch.set_num_threads(1)
    autoencoder = Autoencoder.of(load("portraits").vae)
    generator = torch.Generator().manual_seed(0)
    box = Box.of(torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8, generator=generator))
    with torch.no_grad():
        autoencoder.encode(box.center[:1])  # loads what PyTorch needs for it
    cpu = torch.device("cpu")
    reset_peak(cpu)
    before = in_use()
    METHODS[name](autoencoder, box)
    return peak(cpu, before)


def main(output: Path = Path("results/decoder_memory.json")) -> None:
    """Measure all methods."""
    rows: list[dict[str, Any]] = []
    work = [(name, batch) for name in METHODS for batch in BATCHES]
    spawn = get_context("spawn")
    for name, batch in tqdm(work, desc="memory"):
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            gigabytes = pool.submit(measure, name, batch).result()
        rows.append({"decoder": name, "images": batch, "peak_gb": gigabytes})
    values = {"table": "decoder_memory", "device": device_name(), "rows": rows}
    write_json(output, values, [{"code": code_of(measure)}])


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page."""
    known = {(r["decoder"], r["images"]): r["peak_gb"] for r in values["rows"]}
    lines = []
    for name in METHODS:
        found = [known.get((name, batch)) for batch in BATCHES]
        cells = ["not measured" if g is None else f"{1000 * g:.0f} MB" for g in found]
        lines.append([name, *cells])
    return table(["decoder inversion", *(f"{b} at once" for b in BATCHES)], lines)


if __name__ == "__main__":
    typer.run(main)
