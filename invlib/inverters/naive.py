"""Naive DDIM inversion: run the sampler backwards as if the network's output did not change."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, convert, prediction_of, select, silent_without_noise
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..solvers import Solver
from ..watch import enter, stopped


@torch.no_grad()
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
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    rows = torch.arange(len(image), device=image.device)
    enter("naive")
    states, planned = [image], 0
    length = time_of(solver, 0) - time_of(solver, solver.steps)
    for i in reversed(range(solver.steps)):
        if stopped() and any(evaluator.counts):
            break
        gap = time_of(solver, i) - time_of(solver, i + 1)
        count = 1 if steps is None else max(1, round(steps * gap / length))
        planned += count if solver.sigma[i] != solver.sigma[i + 1] else 0
        states.append(walk(evaluator, states[-1], i + 1, i, count, rows))
    cut = stopped() if len(states) <= solver.steps or evaluator.counts[0] < planned else None
    states = straight(solver, states)
    residuals = torch.full((len(image), solver.steps), torch.nan, dtype=torch.float64)
    return Inversion(
        noise=states[-1] / solver.scale,
        states=torch.stack(states[::-1]),
        residuals=residuals,
        iterations=torch.zeros(len(image), dtype=torch.long),
        nfe=evaluator.nfe,
        reason=(cut or "explicit",) * len(image),
        method="naive" if steps is None else f"naive/{steps}",
    )


def straight(solver: Solver, states: list[Tensor]) -> list[Tensor]:
    r"""The states ``y_n, y_{n-1} ...`` that were found, and the rest without an evaluation.

    .. math:: y_i = \alpha_i d + \sigma_i \epsilon

    with the data d and the noise :math:`\epsilon` that the last two states, of different noise
    levels, are made of.
    """
    if len(states) > solver.steps:
        return states
    levels = [*zip(solver.alpha.tolist(), solver.sigma.tolist(), strict=True)][::-1]
    last = len(states) - 1
    other = next((k for k in reversed(range(last)) if levels[k] != levels[last]), 0)
    (a, s), (a0, s0) = levels[last], levels[other]
    y, y0, size = states[last], states[other], a * s0 - a0 * s
    data, noise = (s0 * y - s * y0) / size, (a * y0 - a0 * y) / size
    return states + [alpha * data + sigma * noise for alpha, sigma in levels[last + 1 :]]


def walk(evaluator: Evaluator, y: Tensor, start: int, end: int, count: int, rows: Tensor) -> Tensor:
    """Naive steps from node ``start`` to the noisier node ``end``, in ``count`` equal times.

    Where a watch has ended the search, the last prediction of the noise serves for the rest.
    """
    solver = evaluator.solver
    if solver.sigma[end] == solver.sigma[start]:  # two stages at one time
        return y
    t = torch.linspace(time_of(solver, start), time_of(solver, end), count + 1, dtype=torch.float64)
    alpha, sigma = solver.schedule.alpha_t(t), solver.schedule.sigma_t(t)
    alpha[0], sigma[0] = solver.alpha[start], solver.sigma[start]
    alpha[-1], sigma[-1] = solver.alpha[end], solver.sigma[end]
    kind = prediction_of(evaluator.denoiser)
    for k in range(count):
        label = t[k + 1].to(y).expand(len(y))
        at = (
            k if sigma[k] or not silent_without_noise(kind) else k + 1
        )  # data and no noise say nothing of noise
        levels = alpha[at].to(y).expand(len(y)), sigma[at].to(y).expand(len(y))
        if not k or not stopped():
            if count == 1:
                nodes = torch.full_like(rows, end)
                raw = evaluator.call(partial(solver.raw, evaluator.denoiser), y, nodes, rows)
            else:
                raw = evaluator.call(
                    lambda y, t, r: select(evaluator.denoiser, r)(y, t), y, label, rows
                )
            noise = convert(raw.to(y.dtype), y, *levels, kind, "epsilon")
        data = (y - sigma[k].item() * noise) / alpha[k].item()
        y = alpha[k + 1].item() * data + sigma[k + 1].item() * noise
    return y


def time_of(solver: Solver, node: int) -> float:
    """Time label of a state; the image is at time 0, unless the schedule says otherwise."""
    if node < solver.steps:
        return solver.t[node].item()
    return solver.schedule.image
