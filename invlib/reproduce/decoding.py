"""What an 8-bit picture gives back of latents and noise: ``results/decoding.json``.

Held-out prompts, from the 8-bit picture: ``python -m invlib.reproduce.decoding``. Interrupted, it
resumes.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor
from tqdm import tqdm

from ..autoencoder import (
    Autoencoder,
    Box,
    DecoderInverter,
    encoder,
    gradient,
    gradient_free,
    joint,
    quasi_newton,
    to_bytes,
)
from ..inversion import Inversion, Inverter, invert
from ..inverters import stepwise, whole_trajectory
from ..metrics import decibel, nmse
from ..portraits import caption, held_out, load, portraits_denoiser
from ..portraits.load import verify
from ..portraits.quality import noise_for
from ..sampling import sample
from ..solvers import Solver
from .exactness import GUIDANCE, solver_named
from .profiles import device_name
from .store import cell, code_hash, stored, write_json

SAMPLERS = ("2M-10", "DDIM-50")
DECODERS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "gradient, 100 (paper)": gradient,
    "gradient-free, 60": gradient_free,
    "ours, 60": partial(quasi_newton, iterations=60),
    "ours, 240": partial(quasi_newton, iterations=240, memory=40),
}
FIRST = "ours, 240"  # what joint refinement starts from
SHARD = 8
CACHE = Path(".cache/decoding")


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """All decoder inversions of samples ``first`` ... ``first + SHARD - 1`` of one cell."""
    pipe, solver = load("portraits"), solver_named(name)
    autoencoder = Autoencoder.of(pipe.vae)
    prompts = [caption(p) for p in held_out(first + SHARD)[first:]]
    denoiser = portraits_denoiser(pipe, prompts, guidance)
    noise, search = noise_for(SHARD, seed=first), method(solver)
    with torch.no_grad():
        latents = sample(denoiser, noise, solver).image
        picture = to_bytes(autoencoder.decode(latents))
    box, result = Box.of(picture), {}

    def measure(label: str, z: Tensor, found: Inversion, paid: Tensor, seconds: float) -> None:
        with torch.no_grad():
            again = to_bytes(autoencoder.decode(sample(denoiser, found.noise, solver).image))
        values = {
            "latents": nmse(z, latents),
            "noise": nmse(found.noise, noise),
            "image": nmse(Box.of(again).center, box.center),
            "values": (again == picture).flatten(1).double().mean(1),
            "evaluations": paid.double(),
            "nfe": found.nfe.double(),
            "seconds": torch.tensor([seconds / SHARD] * SHARD, dtype=torch.float64),
        }
        result.update({f"{label}/{key}": value for key, value in values.items()})

    for label, decode in DECODERS.items():
        began = time.perf_counter()
        decoded = decode(autoencoder, box)
        seconds = time.perf_counter() - began
        found = invert(denoiser, decoded.latents, solver, method=search)
        measure(label, decoded.latents, found, decoded.evaluations, seconds)
        if label == FIRST:
            start = (decoded, found, seconds)
    began = time.perf_counter()
    with torch.no_grad():
        refined, found = joint(
            autoencoder, denoiser, box, solver, start[0], start[1], method=search
        )
    seconds = start[2] + time.perf_counter() - began
    measure("joint", refined.latents, found, refined.evaluations, seconds)
    return result


def method(solver: Solver) -> Inverter:
    """Step by step for DDIM, else the whole trajectory without Newton's method.

    The latents are wrong by more than these searches leave.
    """
    return stepwise if solver.order_one else partial(whole_trajectory, finish=None)


def main(
    prompts: Annotated[int, typer.Option(help="number of held-out prompts, in eights")] = 32,
    only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
    report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
    output: Annotated[Path, typer.Option()] = Path("results/decoding.json"),
) -> None:
    """Fill the table, cell by cell."""
    work = [
        (name, scale, first)
        for first in range(0, prompts, SHARD)
        for scale in guidance or GUIDANCE
        for name in only or SAMPLERS
    ]
    parts: dict[tuple[str, float], list[dict[str, Tensor]]] = {}
    for name, scale, first in tqdm(work, desc="decoding", unit="shard"):
        config = {"table": "decoding", "sampler": name, "guidance": scale, "first": first}
        config |= {"model": verify("portraits"), "shard": SHARD}
        config |= {"autoencoder": code_hash(("autoencoder/*.py",))}
        if report and stored(CACHE, config) is None:
            continue
        result = cell(CACHE, config, partial(shard, name, scale, first))
        parts.setdefault((name, scale), []).append(result)
    rows = [row for key, results in parts.items() for row in summary(*key, results)]
    values = {"table": "decoding", "prompts": prompts, "device": device_name(), "rows": rows}
    write_json(output, values)
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3g}"))


def summary(name: str, guidance: float, results: list[dict[str, Tensor]]) -> list[dict[str, Any]]:
    """The rows of one cell of the table, one a decoder inversion."""
    merged = {k: torch.cat([r[k] for r in results]) for k in results[0]}
    rows = []
    for label in (*DECODERS, "joint"):
        part = {k.rpartition("/")[2]: v for k, v in merged.items() if k.startswith(f"{label}/")}
        rows.append(
            {
                "sampler": name,
                "guidance": guidance,
                "decoder": label,
                "samples": len(part["noise"]),
                "latent_db": decibel(part["latents"]).mean().item(),
                "noise_db": decibel(part["noise"]).mean().item(),
                "image_db": decibel(part["image"]).mean().item(),
                "values": part["values"].mean().item(),
                "identical": (part["values"] == 1).double().mean().item(),
                "decoder_evaluations": part["evaluations"].mean().item(),
                "nfe": part["nfe"].mean().item(),
                "seconds": part["seconds"].mean().item(),
            }
        )
    return rows


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page, in parts; a part that nobody measured says so."""
    known = {(r["sampler"], r["guidance"], r["decoder"]): r for r in values["rows"]}
    parts = []
    for name in SAMPLERS:
        for scale in GUIDANCE:
            rows = [known.get((name, scale, label)) for label in (*DECODERS, "joint")]
            parts.append(_part(f"{name}, CFG {scale:g}", [row for row in rows if row is not None]))
    return "\n\n".join(parts)


def _part(title: str, rows: list[dict[str, Any]]) -> str:
    """One sampler at one guidance scale."""
    if not rows:
        return f"**{title}**: not measured."
    head = ["decoder inversion", "latents", "noise", "picture", "values", "identical", "seconds"]
    lines = [f"**{title}**, {rows[0]['samples']} images", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [
            row["decoder"],
            *(f"{row[k]:.1f} dB" for k in ("latent_db", "noise_db", "image_db")),
            f"{row['values']:.1%}",
            f"{row['identical']:.0%}",
            f"{row['seconds']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
