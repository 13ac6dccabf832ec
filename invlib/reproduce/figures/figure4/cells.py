"""Figure 4 of the paper: Tree-Ring keys in the spectra of recovered noises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....watermark import nmae, window
from ...engine.work import FOLDER, Cell, load_all
from ...models.profiles import device_name
from ...watermark.marked import CHANNEL, GUIDANCE, KEYS, RADIUS, SAMPLER, Noises, keys_named, noises
from ...watermark.table import LABELS, ROUTES, pictures, short

PROMPT = 0
PAPER = {  # NMAE of the three rows in the paper
    "encoder/naive": (0.24, 0.28, 0.26),
    "gradient/naive": (0.21, 0.25, 0.24),
    "gradient/algorithm2": (0.14, 0.17, 0.12),
}


@dataclass(frozen=True)
class Row:
    """One row: a key, the picture that holds it, and what each route reads.

    Attributes:
        picture: 8-bit ``[3, H, W]``.
        embedded: modulus of the spectrum that was written, around the key.
        recovered: modulus of the recovered spectrum, by route.
        error: modulus of the difference of the two spectra, by route.
        nmae: normalised mean absolute error, by route.
    """

    picture: Tensor
    embedded: Tensor
    recovered: dict[str, Tensor]
    error: dict[str, Tensor]
    nmae: dict[str, float]


def cells(profile: str) -> list[Cell]:
    """The work of the figure: one prompt, with all three keys."""
    return pictures("figure4", PROMPT + 1, ROUTES, profile)[PROMPT:]


def load(profile: str, folder: Path = FOLDER) -> list[Row]:
    """The rows of the figure, one a key.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return rows(load_all(cells(profile), folder)[0])


def rows(result: dict[str, Tensor]) -> list[Row]:
    """The rows of the figure, from what was recovered.

    Args:
        result: the 8-bit pictures and the noise that each of ``ROUTES`` found,
            ``[K, C, H, W]``.
    """
    shape = tuple(result[ROUTES[0]].shape[1:])
    made = noises(PROMPT, "figure4", shape)
    return [_row(result, made, i, shape) for i in range(KEYS)]


def _row(result: dict[str, Tensor], made: Noises, i: int, shape: tuple[int, ...]) -> Row:
    key, one = keys_named("figure4", (shape[1], shape[2]))[i], slice(i, i + 1)
    height, width = window(key)
    written = key.written(made.before[one])[0, height, width]
    found = {route: result[route][one].double() for route in ROUTES}
    spectra = {route: key.read(noise)[0, height, width] for route, noise in found.items()}
    return Row(
        picture=result["picture"][i],
        embedded=written.abs(),
        recovered={route: s.abs() for route, s in spectra.items()},
        error={route: (written - s).abs() for route, s in spectra.items()},
        nmae={r: nmae(noise, made.before[one], key).item() for r, noise in found.items()},
    )


def summary(results: list[Row], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig4.json``."""
    table = [
        {
            "row": i + 1,
            "route": route,
            "label": LABELS[route],
            "nmae": short(row.nmae[route]),
            "paper": PAPER[route][i] if route in PAPER else None,
        }
        for i, row in enumerate(results)
        for route in ROUTES
    ]
    return {
        "figure": 4,
        "profile": profile,
        "prompts": [PROMPT],
        "seeds": [*range(KEYS * PROMPT, KEYS * PROMPT + KEYS)],
        "device": device_name(),
        "sampler": SAMPLER,
        "guidance": GUIDANCE,
        "radius": RADIUS,
        "channel": CHANNEL,
        "spread": "none: one picture a row, as in the paper; results/watermark.json has intervals",
        "nmae_mean": {r: short(torch.tensor([x.nmae[r] for x in results]).mean()) for r in ROUTES},
        "rows": table,
    }
