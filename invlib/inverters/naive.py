"""Naive DDIM inversion: run the sampler backwards as if the network's output did not change."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, Prediction, convert, select
from ..inversion import Inversion, Tally
from ..solvers import Solver


def naive(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    steps: int | None = None,
    max_batch: int | None = None,
) -> Inversion:
    r"""Naive DDIM inversion (the paper's equation 7).

    .. math:: x_{s} = \alpha_s \frac{x_t - \sigma_t\epsilon}{\alpha_t} + \sigma_s\epsilon,
              \quad \epsilon = \epsilon_\theta(x_t, s)

    The noise is evaluated at the known, cleaner state with the label of the wanted, noisier one.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: the sampler whose states are wanted.
        steps: about how many steps in all, spread evenly over time; by default the solver's own.
        max_batch: most states in one network call.
    """
    tally, image = Tally.start(denoiser, image, solver, max_batch=max_batch)
    rows = torch.arange(len(image), device=image.device)
    states = [image]
    y = image
    length = time_of(solver, 0) - time_of(solver, solver.steps)
    for i in reversed(range(solver.steps)):
        gap = time_of(solver, i) - time_of(solver, i + 1)
        count = 1 if steps is None else max(1, round(steps * gap / length))
        y = walk(tally, y, i + 1, i, count, rows)
        states.append(y)
    residuals = torch.full((len(image), solver.steps), torch.nan, dtype=torch.float64)
    return Inversion(
        noise=y / solver.scale,
        states=torch.stack(states[::-1]),
        residuals=residuals,
        iterations=torch.zeros(len(image), dtype=torch.long),
        nfe=tally.nfe,
        reason=("explicit",) * len(image),
        method="naive" if steps is None else f"naive/{steps}",
    )


def walk(tally: Tally, y: Tensor, start: int, end: int, count: int, rows: Tensor) -> Tensor:
    """Naive steps from node ``start`` to the noisier node ``end``, in ``count`` equal times."""
    solver = tally.solver
    if solver.sigma[end] == solver.sigma[start]:  # two stages at one time
        return y
    t = torch.linspace(time_of(solver, start), time_of(solver, end), count + 1, dtype=torch.float64)
    alpha, sigma = solver.schedule.alpha_t(t), solver.schedule.sigma_t(t)
    alpha[0], sigma[0] = solver.alpha[start], solver.sigma[start]
    alpha[-1], sigma[-1] = solver.alpha[end], solver.sigma[end]
    kind: Prediction = getattr(tally.denoiser, "prediction", "epsilon")
    for k in range(count):
        label = t[k + 1].to(y).expand(len(y))
        at = k if sigma[k] or kind != "sample" else k + 1  # data and no noise say nothing of noise
        levels = alpha[at].to(y).expand(len(y)), sigma[at].to(y).expand(len(y))
        if count == 1:
            nodes = torch.full_like(rows, end)
            raw = tally.call(partial(solver.raw, tally.denoiser), y, nodes, rows)
        else:
            raw = tally.call(lambda y, t, r: select(tally.denoiser, r)(y, t), y, label, rows)
        noise = convert(raw.to(y.dtype), y, *levels, kind, "epsilon")
        data = (y - sigma[k].item() * noise) / alpha[k].item()
        y = alpha[k + 1].item() * data + sigma[k + 1].item() * noise
    return y


def time_of(solver: Solver, node: int) -> float:
    """Time label of a state; the image is at time 0, unless the schedule says otherwise."""
    if node < solver.steps:
        return solver.t[node].item()
    return getattr(solver.schedule, "image", 0.0)
