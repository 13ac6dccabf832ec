"""The watermark table: what inversions read of the marks in pictures, and after attacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...metrics import decibel
from ..engine.rounding import short
from ..engine.work import FOLDER, Cell, load_all
from ..models.full_size import few
from ..models.profiles import device_name
from .marked import BITS, GUIDANCE, KEYS, RADIUS, SAMPLER, recover
from .scores import ALARM, Scores, correct, read, student, together, wilson

Results = dict[str, list[dict[str, Tensor]]]
LABELS = {  # decoder inversion / inversion of the sampler (/ without the prompt)
    "encoder/naive": "naive",
    "gradient/naive": "naive, D†",
    "gradient/algorithm2": "Algorithm 2, D†",
    "ours/ours": "ours",
    "ours/naive": "naive, our decoder inversion",
    "encoder/naive/empty": "naive, prompt unknown",
    "ours/naive/empty": "naive, our decoder inversion, prompt unknown",
    "ours/ours/empty": "ours, prompt unknown",
    "true/naive": "naive, true latents",
    "true/algorithm2": "Algorithm 2, true latents",
    "true/exact": "ours, true latents",
    "ours240/naive": "naive, our decoder inversion, 240 rounds",
    "ours240/ours": "ours, 240 rounds",
}

ROUTES = (  # the table of the paper
    "encoder/naive",
    "gradient/naive",
    "gradient/algorithm2",
    "ours/ours",
)
MAIN = (*ROUTES, "ours/naive", "encoder/naive/empty", "ours/naive/empty", "ours/ours/empty")
TRUE = ("true/naive", "true/algorithm2", "true/exact")
FINER = ("ours240/naive", "ours240/ours")
ATTACKED = ("encoder/naive", "ours/naive", "ours/ours")
STRENGTHS = (
    *("JPEG 90", "JPEG 50", "blur 0.5", "blur 1", "crop 90 %"),
    *("noise 2 %", "noise 5 %", "brightness 1.25"),
)
PROMPTS, OFFICIAL, TRUTHS, FINE, HARMED = 6, 2, 3, 1, 2  # prompts of each part


def pictures(
    keys: str, prompts: int, routes: Sequence[str], profile: str, attack: str = "none"
) -> list[Cell]:
    """Cells that make the pictures of some prompts and read them; figures share them."""
    return [
        Cell(
            "watermark",
            recover,
            {
                "prompt": prompt,
                "keys": keys,
                "attack": attack,
                "routes": [*routes],
                "profile": profile,
            },
        )
        for prompt in range(few(profile, prompts))
    ]


def parts(profile: str) -> dict[str, list[Cell]]:
    """The cells of each part of the table."""
    return {
        "known": pictures("released", PROMPTS, MAIN, profile),
        "latents": pictures("released", TRUTHS, TRUE, profile),
        **{a: pictures("released", HARMED, ATTACKED, profile, a) for a in STRENGTHS},
        "finer": pictures("released", FINE, FINER, profile),
    }


def cells(profile: str) -> list[Cell]:
    """All the work of the table."""
    return [cell for part in parts(profile).values() for cell in part]


def load(profile: str, folder: Path = FOLDER) -> Results:
    """The stored results of each part, one dictionary a prompt.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return {name: load_all(part, folder) for name, part in parts(profile).items()}


def read_part(part: list[dict[str, Tensor]], route: str, keys: str = "released") -> Scores:
    """The scores of one route on all prompts of a part."""
    return together([read(cell[route], prompt, keys) for prompt, cell in enumerate(part)])


def summary(results: Results, profile: str) -> dict[str, Any]:
    """The numbers of the table, for ``results/watermark.json``."""
    rows = [
        line(name, route, part)
        for name, part in results.items()
        for route in part[0]
        if route in LABELS
    ]
    return {
        "figure": "watermark",
        "profile": profile,
        "sampler": SAMPLER,
        "guidance": GUIDANCE,
        "prompts": few(profile, PROMPTS),
        "keys": KEYS,
        "seeds": [*range(KEYS * few(profile, PROMPTS))],
        "device": device_name(),
        "radius": RADIUS,
        "payload_bits": BITS,
        "detection": f"p below {10**ALARM:g}; false alarms: in channels 1, 2, ... without key",
        "interval": "95 % over pictures: Wilson's for shares of them, else t interval",
        "rows": rows,
    }


def line(part: str, route: str, cells: list[dict[str, Tensor]]) -> dict[str, Any]:
    """One row of the results."""
    scores = read_part(cells, route)
    right = correct(scores.index)
    seconds = torch.stack([cell[f"{route}/seconds"] for cell in cells]).mean(0)
    return {
        "part": part,
        "route": route,
        "label": LABELS[route],
        "pictures": right.numel(),
        "nmae": short(scores.nmae.mean(), 4),
        "nmae_ci95": [short(v, 4) for v in student(scores.nmae)],
        "accuracy": short(right.double().mean(), 4),
        "accuracy_ci95": [short(v, 4) for v in wilson(right)],
        "detected": short(scores.detected.double().mean(), 4),
        "detected_ci95": [short(v, 4) for v in wilson(scores.detected)],
        "false_alarms": [short(v, 4) for v in scores.alarms.double().mean((0, 1))],
        "signs": short(scores.signs.mean(), 4),
        "bits": short(scores.bits.mean(), 4),
        "bits_ci95": [short(min(v, 1.0), 4) for v in student(scores.bits)],
        "whole_payload": short(scores.whole.double().mean(), 4),
        "noise_db": short(decibel(scores.noise).mean(), 4),
        "seconds": short(seconds.sum(), 4),
    }
