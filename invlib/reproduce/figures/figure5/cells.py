"""Figure 5 of the paper, rebuilt: which of three Tree-Ring keys a picture is taken to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....watermark import confusion
from ...engine.work import FOLDER, Cell, load_all
from ...models.full_size import few
from ...models.profiles import device_name
from ...watermark.marked import CHANNEL, GUIDANCE, KEYS, RADIUS, SAMPLER, noises
from ...watermark.scores import Scores, correct, read, together, wilson
from ...watermark.table import LABELS, MAIN, OFFICIAL, PROMPTS, ROUTES, pictures, read_part, short

MASKS = {"released": "mended mask", "official": "official mask"}  # by name of the keys
PERFECT = "perfect"  # the noise itself, without any inversion
COLUMNS = {**{route: LABELS[route] for route in ROUTES}, PERFECT: "perfect noise"}
DRAWS = 100  # prompts of the perfect noise, which costs nothing
Results = dict[str, dict[str, Scores]]


def parts(profile: str) -> dict[str, list[Cell]]:
    """The cells by name of the keys; those of the mended mask are the watermark table's."""
    return {
        "released": pictures("released", PROMPTS, MAIN, profile),
        "official": pictures("official", OFFICIAL, ROUTES, profile),
    }


def cells(profile: str) -> list[Cell]:
    """The work of the figure."""
    return [cell for part in parts(profile).values() for cell in part]


def load(profile: str, folder: Path = FOLDER) -> Results:
    """Scores by name of the keys and by column.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    stored = {keys: load_all(part, folder) for keys, part in parts(profile).items()}
    shape = tuple(stored["released"][0][ROUTES[0]].shape[1:])
    return {
        keys: {
            **{route: read_part(part, route, keys) for route in ROUTES},
            PERFECT: perfect(keys, shape),
        }
        for keys, part in stored.items()
    }


def perfect(keys: str, shape: tuple[int, ...], prompts: int = DRAWS) -> Scores:
    """The scores of the marked noises themselves, which an exact inversion of the latents finds.

    Args:
        keys: name of the keys.
        shape: channels, height and width of the noise.
        prompts: number of prompts.
    """
    return together([read(noises(p, keys, shape).marked, p, keys) for p in range(prompts)])


def table(scores: Scores) -> Tensor:
    """How often each key (row) is taken for each (column), ``[K, K]``."""
    truth = torch.arange(KEYS).expand_as(scores.index)
    return confusion(truth.flatten(), scores.index.flatten(), KEYS)


def summary(results: Results, profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig5.json``."""
    rows = []
    for keys, columns in results.items():
        for route, scores in columns.items():
            right = correct(scores.index)
            rows.append(
                {
                    "mask": MASKS[keys],
                    "route": route,
                    "label": COLUMNS[route],
                    "pictures": right.numel(),
                    "confusion": table(scores).tolist(),
                    "accuracy": short(right.double().mean()),
                    "accuracy_ci95": [short(v) for v in wilson(right)],
                    "nmae": short(scores.nmae.mean()),
                }
            )
    return {
        "figure": 5,
        "profile": profile,
        "prompts": {
            MASKS["released"]: few(profile, PROMPTS),
            MASKS["official"]: few(profile, OFFICIAL),
            PERFECT: DRAWS,
        },
        "keys": KEYS,
        "seeds": [*range(KEYS * few(profile, PROMPTS))],
        "device": device_name(),
        "sampler": SAMPLER,
        "guidance": GUIDANCE,
        "radius": RADIUS,
        "channel": CHANNEL,
        "interval": "95 %, Wilson",
        "rows": rows,
    }
