"""Figure 1 of the paper: the outline of Algorithm 2, on a trajectory in the plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....denoisers import Denoiser, Mixture
from ....inverters import Inverter, exact, naive
from ....metrics import nmse
from ....sampling import sample
from ....schedule import Schedule
from ....solvers import Solver, dpm_solver_pp_2m
from ...engine.rounding import level, short
from ...engine.work import FOLDER, Cell, load_all
from ...models import published
from ...models.profiles import device_name
from ..watching import Watched

# the authors' rule to stop on latents of theirs; as a sum of squares it is coarse in the plane
METHODS: dict[str, Inverter] = {"naive": naive, "algorithm2": published.algorithm2, "ours": exact}
MEANS = ((1.82, 1.27), (2.72, 4.09))  # where the two clouds of data are
STD = 0.15  # how wide they are
NOISE = (-1.76, 0.58)
STEPS = 6
NODE = 3  # the inset shows how state 3 is found from state 4


@dataclass(frozen=True)
class Step:
    """One step of Algorithm 2, as it happened.

    Attributes:
        fine: states of the fine naive walk from state i+1 to state i-1, ``[k, 2]``.
        rough: its estimates of the states i and i-1, ``[2, 2]``.
        term: high-order term that they fix: what it adds to state i+1, ``[2]``.
        iterates: states that backward Euler tried, ``[m, 2]``.
    """

    fine: Tensor
    rough: Tensor
    term: Tensor
    iterates: Tensor


def cells(profile: str) -> list[Cell]:
    """The work of the figure; it is the same for all profiles, which have no part in it."""
    return [Cell("fig1", trace)]


def load(profile: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """The trajectories, see :func:`trace`.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return load_all(cells(profile), folder)[0]


def problem() -> tuple[Mixture, Solver, Tensor]:
    """A mixture of two clouds in the plane, six steps of 2M, and one noise ``[1, 2]``."""
    schedule = Schedule.scaled_linear()
    means = torch.tensor(MEANS, dtype=torch.float64)
    solver = dpm_solver_pp_2m(schedule.grid(STEPS, spacing="logsnr"))
    return Mixture(schedule, means, STD), solver, torch.tensor([NOISE], dtype=torch.float64)


def trace() -> dict[str, Tensor]:
    """Sample, invert with every method, sample again, and watch one step of Algorithm 2.

    Returns:
        ``states/METHOD`` (and ``states/truth``), ``[n+1, 2]``; ``again/METHOD``, the states
        sampled from the noise that it found, ``[n+1, 2]``; ``nfe/METHOD``, ``[1]``;
        ``step/NAME``, see :class:`Step`.
    """
    denoiser, solver, noise = problem()
    truth = sample(denoiser, noise, solver).states
    result = {"states/truth": truth[:, 0]}
    for name, method in METHODS.items():
        found = method(denoiser, truth[-1], solver)
        result[f"states/{name}"] = found.states[:, 0]
        result[f"again/{name}"] = sample(denoiser, found.noise, solver).states[:, 0]
        result[f"nfe/{name}"] = found.nfe
    step = watch(denoiser, truth[-1], solver, NODE)
    return result | {f"step/{name}": value for name, value in vars(step).items()}


def watch(denoiser: Denoiser, image: Tensor, solver: Solver, i: int) -> Step:
    r"""Run Algorithm 2 and keep what it does to find state i, a step of order 2.

    The sampler's step is :math:`x_{i+1} = a_i x_i + w_i m_i + c`; the high-order term is
    :math:`c = (b_{ii} - w_i)\,m(y_i) + b_{i,i-1}\,m(y_{i-1})` with :math:`w_i = \sum_j b_{ij}`.

    Args:
        denoiser: the network.
        image: one image, ``[1, ...]``.
        solver: DPM-Solver++(2M).
        i: the state, with ``1 <= i < n - 1``.
    """
    watched = Watched(denoiser)
    found = published.algorithm2(watched, image, solver)
    labels = [call.t for call in watched.calls]
    before, near, far = solver.t[[i + 1, i, i - 1]].tolist()
    end = labels.index(far) + 1  # the call for the output at the far end of the walk
    start = end - labels[end::-1].index(before) + 1  # the step before has just ended
    middle = labels.index(near, start) + 1  # the call for the output at the near estimate
    stop = next(k for k in range(end + 1, len(labels)) if labels[k] != near)
    x = [call.x for call in watched.calls]
    rough = torch.cat([x[middle], x[end]])
    nodes = torch.tensor([i, i - 1])
    outputs = solver.output(denoiser, rough, nodes, torch.zeros_like(nodes))
    weights = solver.b[i, nodes] - torch.stack([solver.b[i].sum(), solver.b.new_zeros(())])
    return Step(
        fine=torch.cat(x[start:middle] + x[middle + 1 : end + 1]),
        rough=rough,
        term=weights @ outputs.flatten(1),
        iterates=torch.cat([*x[end + 1 : stop], found.states[i]]),
    )


def summary(result: dict[str, Tensor], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/fig1.json``: distances in the plane."""
    truth = result["states/truth"]
    rows = []
    for name in METHODS:
        states, again = result[f"states/{name}"], result[f"again/{name}"][-1]
        rows.append(
            {
                "method": name,
                "noise_distance": short((states[0] - truth[0]).norm()),
                "largest_distance": short((states - truth).norm(dim=1).max()),
                "image_distance": short((again - truth[-1]).norm()),
                "noise_nmse_db": level(nmse(states[:1], truth[:1])),
                "image_nmse_db": level(nmse(again[None], truth[-1:])),
                "nfe": result[f"nfe/{name}"].item(),
            }
        )
    rough, iterates = result["step/rough"], result["step/iterates"]
    inset = {
        "fine_steps": len(result["step/fine"]) - 1,
        "iterations": len(iterates) - 1,
        "length_of_term": short(result["step/term"].norm()),
        "rough_distance": [short(d) for d in (rough - truth[[NODE, NODE - 1]]).norm(dim=1)],
        "accepted_distance": short((iterates[-1] - truth[NODE]).norm()),
    }
    return {
        "figure": 1,
        "profile": profile,
        "images": 1,
        "seeds": [],
        "device": device_name(),
        "rows": rows,
        "inset": inset,
    }
