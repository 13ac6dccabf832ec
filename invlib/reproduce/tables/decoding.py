"""What an 8-bit picture gives back of latents and noise: ``results/decoding.json``.

Held-out prompts, from the 8-bit picture: ``python -m invlib.reproduce.tables decoding``, and
``identical`` for the row that ends with the dense method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from ...autoencoder import (
    DecoderInversion,
    DecoderInverter,
    active_set,
    encoder,
    gradient,
    gradient_free,
    quasi_newton,
)
from ...inversion import Inversion
from ...inverters import invert, stepwise, whole_trajectory
from ...markdown import table
from ...metrics import decibel
from ...newton import newton_krylov
from ..engine.table import GUIDANCE, Rows, Table
from ..models.problem import solver_named
from .pictures import Pictures

SAMPLERS = ("2M-10", "DDIM-50")
DECODERS: dict[str, DecoderInverter] = {
    "encoder": encoder,
    "gradient, 100 (paper)": gradient,
    "gradient-free, 60": gradient_free,
    "ours, 60": partial(quasi_newton, iterations=60),
    "ours, 240": partial(quasi_newton, iterations=240, memory=40),
}
FIRST = "ours, 240"  # what joint refinement starts from
JOINT = "joint"
INSIDE = "joint, active set"
Measured = dict[str, Tensor]
T = TypeVar("T")


def shard(name: str, guidance: float, first: int) -> Measured:
    """All decoder inversions of samples ``first`` ... ``first + SHARD - 1`` of one cell."""
    cell = Pictures.of(name, guidance, first)
    result: Measured = {}
    for label, decode in DECODERS.items():
        decoded, seconds = timed(partial(decode, cell.autoencoder, cell.box))
        found = cell.invert(decoded.latents)
        result |= cell.measure(label, decoded, found, seconds)
        if label == FIRST:
            start = (decoded, found, seconds)
    (refined, found), seconds = timed(lambda: cell.joint(start[0], start[1]))
    return result | cell.measure(JOINT, refined, found, start[2] + seconds)


FINISH = partial(newton_krylov, max_iterations=20, patience=3)
LAST = partial(whole_trajectory, finish=FINISH)


def shard_inside(name: str, guidance: float, first: int) -> Measured:
    """Joint refinement that ends with the dense method, and inversion with Newton's method."""
    cell = Pictures.of(name, guidance, first)

    def work() -> tuple[DecoderInversion, Inversion]:
        decoded = DECODERS[FIRST](cell.autoencoder, cell.box)
        return cell.joint(decoded, cell.invert(decoded.latents), polish=active_set)

    (refined, found), seconds = timed(work)
    problem = cell.problem
    found = invert(
        problem.denoiser,
        refined.latents,
        problem.solver,
        method=stepwise if problem.solver.order_one else LAST,
    )
    return cell.measure(INSIDE, refined, found, seconds)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of some work, and the seconds of CPU time that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def summary(name: str, guidance: float, merged: Measured) -> Rows:
    """The rows of one cell of the table, one a decoder inversion."""
    rows = []
    for label in dict.fromkeys(key.rpartition("/")[0] for key in merged):
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


def depends_inside(name: str, guidance: float) -> dict[str, Any]:
    """What else a shard depends on: the budget of Newton's method."""
    return {} if solver_named(name).order_one else {"finish": str(FINISH.keywords)}


TABLE = Table("decoding", SAMPLERS, shard, summary)
IDENTICAL = Table("identical", SAMPLERS, shard_inside, summary, depends_inside, (1.0,), 8)


def markdown(*tables: dict[str, Any]) -> str:
    """The table as it stands on the page, in parts; a part that nobody measured says so."""
    known = {(r["sampler"], r["guidance"], r["decoder"]): r for t in tables for r in t["rows"]}
    parts = []
    for name in SAMPLERS:
        for scale in GUIDANCE:
            rows = [known.get((name, scale, label)) for label in (*DECODERS, JOINT, INSIDE)]
            parts.append(_part(f"{name}, CFG {scale:g}", [row for row in rows if row is not None]))
    return "\n\n".join(parts)


def _part(title: str, rows: list[dict[str, Any]]) -> str:
    """One sampler at one guidance scale."""
    if not rows:
        return f"**{title}**: not measured."
    head = ["decoder inversion", "latents", "noise", "picture", "values", "identical", "seconds"]
    lines = [
        [
            row["decoder"],
            *(f"{row[k]:.1f} dB" for k in ("latent_db", "noise_db")),
            "no error" if row["identical"] == 1 else f"{row['image_db']:.1f} dB",
            f"{row['values']:.1%}",
            f"{row['identical']:.0%}",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    return f"**{title}**, {rows[0]['samples']} images\n\n{table(head, lines)}"
