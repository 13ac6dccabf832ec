"""The paper's graphical abstract: generation, naive inversion and Algorithm 1, as they happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....inversion import Inversion
from ....inverters import algorithm1, naive, stepwise
from ....metrics import nmse
from ....pipelines import decode
from ....sampling import sample
from ....schedule import Schedule
from ....solvers import Solver, ddim
from ...engine.rounding import level, short
from ...engine.work import FOLDER, Cell, load_all
from ...models import published
from ...models.problem import Problem
from ...models.profiles import device_name
from ..watching import Watched, labelled

STEPS, EVERY = 12, 2  # a picture of every second state: seven
GUIDANCE = 3.0
SAMPLE = 3  # the held-out prompt, and the seed of its noise
TIGHT = 1e-6  # tolerance of Algorithm 1 where it is drawn; the authors stop at 2.5e-4
METHODS = ("naive", "algorithm1", "tight", "ours")


def cells(profile: str) -> list[Cell]:
    """The work of the figure."""
    return [Cell("abstract", trace, {"profile": profile})]


def load(profile: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """What the figure shows, see :func:`trace`.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return load_all(cells(profile), folder)[0]


def trace(profile: str) -> dict[str, Tensor]:
    """Sample one picture, and invert it while the root finder is watched.

    Returns:
        ``distance/METHOD``, how far each state is from the true one, ``[n+1]``; ``search``, the
        same for what the tight Algorithm 1 tried in each step, its naive start first, ``[n, K]``,
        filled up with NaN; ``noise_nmse/METHOD`` and ``image_nmse/METHOD`` (of the final
        latent), ``[1]``; ``nfe/METHOD``; and 8-bit pictures ``[k, 3, H, W]``: ``pictures/truth``
        and ``pictures/naive``, of every second state, and ``pictures/again``, sampled from the
        noises that the methods found.
    """
    problem = Problem.of("DDIM-20", GUIDANCE, SAMPLE, 1, profile)
    solver = ddim(Schedule.scaled_linear().grid(STEPS))
    watched = Watched(problem.denoiser)
    with torch.no_grad():
        truth = sample(problem.denoiser, problem.noise, solver).states
        found: dict[str, Inversion] = {
            "naive": naive(problem.denoiser, truth[-1], solver),
            "algorithm1": published.algorithm1(problem.denoiser, truth[-1], solver),
            "tight": algorithm1(watched, truth[-1], solver, tol=TIGHT),
            "ours": stepwise(problem.denoiser, truth[-1], solver),
        }
        again = {k: sample(problem.denoiser, f.noise, solver).image for k, f in found.items()}
        shown = {
            "truth": truth[::EVERY, 0],
            "naive": found["naive"].states[::EVERY, 0],
            "again": torch.cat([again[name] for name in METHODS]),
        }
        result = {f"pictures/{k}": as_bytes(decode(problem.pipe, x)) for k, x in shown.items()}
    for name, inversion in found.items():
        result[f"distance/{name}"] = distance(inversion.states, truth)[:, 0]
        result[f"noise_nmse/{name}"] = nmse(inversion.noise, problem.noise)
        result[f"image_nmse/{name}"] = nmse(again[name], truth[-1])
        result[f"nfe/{name}"] = inversion.nfe
    return result | {"search": searches(watched, solver, truth)}


def searches(watched: Watched, solver: Solver, truth: Tensor) -> Tensor:
    """How far from the true state all tries of a step-by-step search were.

    Args:
        watched: the denoiser, after Algorithm 1 has inverted one image with it.
        solver: a solver of order one.
        truth: the true states, ``[n+1, 1, ...]``.

    Returns:
        Distances, ``[n, K]``, row i those of the tries for state i; filled up with NaN.
    """
    rows = []
    for i, t in enumerate(solver.t.tolist()):
        tries = torch.cat(labelled(watched.calls, t)[1:])  # the first call makes the naive start
        rows.append(distance(tries, truth[i]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)


def distance(x: Tensor, truth: Tensor) -> Tensor:
    """Root mean square difference of states ``[..., C, H, W]``, one number a state."""
    return (x - truth).square().flatten(-3).mean(-1).sqrt()


def as_bytes(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as 8-bit ones."""
    return (pictures * 255).round().to(torch.uint8)


def summary(result: dict[str, Tensor], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/abstract.json``."""
    rows = [
        {
            "method": name,
            "noise_distance": short(result[f"distance/{name}"][0]),
            "noise_nmse_db": level(result[f"noise_nmse/{name}"]),
            "image_nmse_db": level(result[f"image_nmse/{name}"]),
            "nfe": result[f"nfe/{name}"].item(),
        }
        for name in METHODS
    ]
    search = result["search"]
    return {
        "figure": "graphical abstract",
        "profile": profile,
        "images": 1,
        "seeds": [SAMPLE],
        "device": device_name(),
        "sampler": f"DDIM-{STEPS}",
        "guidance": GUIDANCE,
        "tight_tolerance": TIGHT,
        "rows": rows,
        "steps": {
            "naive_start": [round(v, 4) for v in search[:, 0].tolist()],
            "accepted": [round(v, 4) for v in result["distance/tight"][:-1].tolist()],
            "tries": (~search.isnan()).sum(1).tolist(),
        },
    }
