"""Whose key is in a portrait? ``results/whose.json``.

``python -m invlib.reproduce.tables whose``. Pictures are identified with errors that are measured
as a user measures them: on other pictures of the cell, without any key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ...markdown import table
from ...watermark import ErrorModel, Identification, ShadingKey, TreeRing, whose
from ...watermark.ratios import Key
from ..engine.table import SHARD, Rows, Table
from .marked_portraits import CODES, DECODERS, PAYLOAD, RANDOM, rings_of, shard

GUIDANCE = (1.0, 3.0)
FILES = ("PNG", "JPEG 75")
ALARM = 0.01
EDGES = (0.0, 0.5, 0.7, 0.9, 0.97, 1.0)  # of the bins of probabilities
HELD = 1e-3  # distance from a key, in noise that is stored as float32
PARTS = 6  # of a cell: errors are measured on the pictures of all others
FAMILIES: dict[str, Sequence[Key]] = {
    "released rings": rings_of(0),
    "drawn rings": rings_of(SHARD),
    "random": RANDOM,
    "Gaussian Shading": [ShadingKey(code, PAYLOAD, 2) for code in CODES],
}


def truth_of(noise: Tensor, keys: Sequence[Key]) -> Tensor:
    """Which key each noise holds, counted from 1; 0 for none."""
    held = [_holds(noise, key) for key in keys]
    return sum((j * h.long() for j, h in enumerate(held, 1)), torch.zeros(len(noise)).long())


def _holds(noise: Tensor, key: Key) -> Tensor:
    if isinstance(key, TreeRing):
        return key.residual(noise).abs().amax(1) < HELD
    cells = (noise[:, key.channels] > 0).long() == key.cells()
    return cells.flatten(1).all(1)


def decided(
    merged: Mapping[str, Tensor], decoder: str, keys: Sequence[Key], plain: Tensor
) -> dict[str, Identification]:
    """Whose key the pictures of a cell hold, for each file, as its other parts tell of errors.

    Args:
        merged: the values of all shards of a cell.
        decoder: how the decoder was inverted.
        keys: the keys.
        plain: which pictures hold no key of any family, bool ``[n]``: errors are measured on them.
    """
    noise = merged["noise"].double()
    seen = {file: merged[f"{file}/{decoder}"].double() for file in FILES}
    parts, order = [], []
    part_of = torch.arange(len(noise)) // SHARD % PARTS
    for k in part_of.unique():
        own, others = part_of == k, plain & (part_of != k)
        errors = ErrorModel(noise[others], {file: y[others] for file, y in seen.items()})
        both = torch.cat([y[own] for y in seen.values()])  # one file after the other
        parts.append(whose(dict.fromkeys(FILES, both), keys, errors))
        order += [i * len(noise) + own.nonzero()[:, 0] for i in range(len(FILES))]
    at = torch.cat(order).argsort().view(len(FILES), -1)
    return {file: _of(parts, at[i]) for i, file in enumerate(FILES)}


def _of(parts: Sequence[Identification], which: Tensor) -> Identification:
    """Some of the pictures of several identifications."""
    passages = [p for part in parts for p in part.passage]
    return Identification(
        posterior=torch.cat([p.posterior for p in parts])[which],
        log_ratios=torch.cat([p.log_ratios for p in parts])[which],
        log10_p=torch.cat([p.log10_p for p in parts])[which],
        passage=tuple(passages[i] for i in which.tolist()),
        names=parts[0].names,
    )


def bins(stated: Tensor, right: Tensor) -> list[list[float]]:
    """For each bin the decisions in it, the sum of their probabilities, and how many were right."""
    found = []
    for low, high in pairwise(EDGES):
        one = (stated > low) & (stated <= high)
        found.append([float(one.sum()), stated[one].sum().item(), right[one].double().sum().item()])
    return found


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """The rows of one cell: a family of keys, a file and a way of inverting each."""
    rows: Rows = []
    noise = merged["noise"].double()
    if len(noise) <= 2 * SHARD:  # the unmarked pictures of a single shard tell too little of errors
        return rows
    every = torch.stack([truth_of(noise, keys) for keys in FAMILIES.values()])
    plain = (every == 0).all(0)
    for (family, keys), truth in zip(FAMILIES.items(), every, strict=True):
        for decoder in DECODERS:
            for file, found in decided(merged, decoder, keys, plain).items():
                at = {"sampler": name, "guidance": guidance, "file": file, "decoder": decoder}
                rows.append(at | {"keys": family} | row(found, truth, plain))
    return rows


def row(found: Identification, truth: Tensor, plain: Tensor) -> dict[str, Any]:
    """What is said of pictures with a key, and of those without any.

    Probabilities have a prior of one half on no key. So they are compared with frequencies in those
    shards of which one half holds keys of this family.
    """
    marked = truth > 0
    shard_of = torch.arange(len(truth)) // SHARD
    some = marked | plain & torch.isin(shard_of, shard_of[marked])
    right = found.index == truth
    named = found.posterior[:, 1:].argmax(1) + 1 == truth
    return {
        "marked": int(marked.sum()),
        "right": int(right[marked].sum()),
        "right_among_keys": int(named[marked].sum()),
        "unmarked": int(plain.sum()),
        "unmarked_right": int(right[plain].sum()),
        "alarms": int((10 ** found.log10_p[plain] < ALARM).sum()),
        "bins": bins(found.posterior.amax(1)[some], right[some]),
    }


TABLE = Table("whose", ("2M-10", "DDIM-50"), shard, summary, guidance=GUIDANCE, prompts=120)


def markdown(values: dict[str, Any]) -> str:
    """Shares of right answers, one line a cell, file and way of inverting."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for r in values["rows"]:
        at = (r["sampler"], f"{r['guidance']:g}", r["file"], r["decoder"])
        lines.setdefault(at, [*at]).append(_shares(r))
    head = ["sampler", "CFG", "file", "decoder", *FAMILIES]
    return table(head, lines.values(), right=("CFG", *FAMILIES))


def _shares(r: Mapping[str, Any]) -> str:
    return f"{r['right_among_keys']}, {r['right']} of {r['marked']}"


def reliability(values: dict[str, Any]) -> str:
    """Stated probabilities against frequencies, pooled over all decisions; and false alarms."""
    pooled = [
        torch.tensor([r["bins"] for r in values["rows"] if r["decoder"] == d]).sum(0)
        for d in DECODERS
    ]
    lines = []
    for decoder, rows in zip(DECODERS, pooled, strict=True):
        for (low, high), (count, stated, right) in zip(pairwise(EDGES), rows.tolist(), strict=True):
            if count:
                shares = (f"{100 * stated / count:.0f} %", f"{100 * right / count:.0f} %")
                lines.append([decoder, f"{low:g} to {high:g}", f"{count:.0f}", *shares])
    head = ["decoder", "probability", "decisions", "stated", "right"]
    return table(head, lines, right=head[2:])


def alarms(values: dict[str, Any]) -> str:
    """False alarms at p < .01 among pictures without any key."""
    lines = []
    for family in FAMILIES:
        own = [r for r in values["rows"] if r["keys"] == family]
        tests, found = sum(r["unmarked"] for r in own), sum(r["alarms"] for r in own)
        lines.append([family, str(tests), str(found), f"{100 * found / max(tests, 1):.1f} %"])
    return table(["keys", "tests", "p < .01", "share"], lines, right=("tests", "p < .01", "share"))
