"""Which colour is told for which: ``results/confusions.json``.

Held-out prompts of the embedded latent model, from the sampler's true final latent and from the
8-bit picture. The candidates are the prompts with every hair colour, every garment colour and
every sky: ``python -m invlib.reproduce.tables confusions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import quasi_newton
from ...identification import first_look
from ...inverters import invert
from ...likelihood import Problem as Candidate
from ...likelihood.scores import scores
from ...markdown import table
from ...portraits import Portrait, caption, held_out, portraits_denoiser
from ...portraits.quality import ATTRIBUTES, shown
from ...watermark import confusion
from ..engine.table import SHARD, Rows, Table
from .pictures import Pictures

PARTS = ("latents", "8 bits")
RULES = ("likelihood", "norm", "naive")  # each names the candidate of its smallest value


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """What the rules say of every value, what is true, and what the pictures show."""
    cell = Pictures.of(name, guidance, first)
    decoded = quasi_newton(cell.autoencoder, cell.box).latents
    people = held_out(first + SHARD)[first:]
    pixels = cell.picture.permute(0, 2, 3, 1).double().numpy()
    result: dict[str, Tensor] = {}
    for attribute, values in ATTRIBUTES.items():
        place = {value: k for k, value in enumerate(values)}
        seen = [shown(x, p, attribute) for x, p in zip(pixels, people, strict=True)]
        result[f"{attribute}/seen"] = torch.tensor([place[value] for value in seen])
        result[f"{attribute}/true"] = torch.tensor([place[getattr(p, attribute)] for p in people])
    for part, latents in zip(PARTS, (cell.latents, decoded), strict=True):
        told = [judged(cell, guidance, z[None], p) for z, p in zip(latents, people, strict=True)]
        for attribute in ATTRIBUTES:
            result[f"{attribute}/{part}"] = torch.stack([one[attribute] for one in told])
    return result


def judged(
    cell: Pictures, guidance: float, image: Tensor, person: Portrait
) -> Mapping[str, Tensor]:
    """The scores of the rules for all values of each attribute, ``[values, RULES]``."""
    prompts = {
        name: [caption(replace(person, **{name: value})) for value in values]  # type: ignore[arg-type]
        for name, values in ATTRIBUTES.items()
    }
    every = [*dict.fromkeys(prompt for group in prompts.values() for prompt in group)]
    pipe, solver = cell.problem.pipe, cell.problem.solver
    together = Candidate.of(
        portraits_denoiser(pipe, every, guidance),
        solver,
        image.expand(len(every), *image.shape[1:]),
    )
    found = invert(together.denoiser, together.image, solver, method="naive")
    cheap, _ = scores(together, together.noise(found.states[0]))
    rough = [
        first_look(Candidate.of(portraits_denoiser(pipe, [p], guidance), solver, image)).log_p
        for p in every
    ]
    values = torch.stack([-torch.tensor(rough).double(), cheap.surprise, cheap.naive], 1)
    return {name: values[[every.index(p) for p in group]] for name, group in prompts.items()}


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """A row for each attribute, part and rule; the first rule is to look at the picture."""
    rows = []
    for attribute, values in ATTRIBUTES.items():
        true = merged[f"{attribute}/true"]
        told = {("the picture", "eye"): merged[f"{attribute}/seen"]}
        for part in PARTS:
            for k, rule in enumerate(RULES):
                score = merged[f"{attribute}/{part}"][:, :, k]
                told[part, rule] = score.nan_to_num(torch.inf).argmin(1)
        for (part, rule), named in told.items():
            matrix = confusion(true, named, len(values))
            rows.append(
                {
                    "sampler": name,
                    "guidance": guidance,
                    "attribute": attribute,
                    "from": part,
                    "rule": rule,
                    "pictures": len(true),
                    "right": (named == true).double().mean().item(),
                    "values": list(values),
                    "confusion": [[int(n) for n in line] for line in matrix.tolist()],
                }
            )
    return rows


TABLE = Table("confusions", ("2M-10",), shard, summary, guidance=(1.0, 3.0), prompts=24)
HEAD = {
    ("the picture", "eye"): "by eye",
    ("latents", "likelihood"): "first look, latents",
    ("latents", "norm"): "norm",
    ("latents", "naive"): "naive inversion",
    ("8 bits", "likelihood"): "first look, 8 bits",
    ("8 bits", "norm"): "norm, 8 bits",
    ("8 bits", "naive"): "naive inversion, 8 bits",
}


def markdown(values: dict[str, Any]) -> str:
    """The table as it stands on the page."""
    known = {
        (r["sampler"], r["guidance"], r["attribute"], r["from"], r["rule"]): r
        for r in values["rows"]
    }
    lines = []
    for name in TABLE.samplers:
        for scale in TABLE.guidance:
            for attribute, choices in ATTRIBUTES.items():
                at = [known.get((name, scale, attribute, *column)) for column in HEAD]
                count = at[0]["pictures"] if at[0] else "not measured"
                cells = [f"{row['right']:.0%}" if row else "not measured" for row in at]
                what = f"{attribute.replace('_color', ' colour')}, of {len(choices)}"
                lines.append([name, f"{scale:g}", what, str(count), *cells])
    return table(["sampler", "CFG", "attribute", "pictures", *HEAD.values()], lines)
