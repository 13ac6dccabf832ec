"""Where a search for a trajectory begins."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import convert, prediction_of, silent_without_noise
from ..evaluator import Tally
from ..solvers import Solver


def jump(tally: Tally, image: Tensor) -> Tensor:
    r"""Naive steps from the image straight to every node, in one batched call, ``[n, B, ...]``.

    .. math:: y_i = \alpha_i \frac{x - \sigma_n\epsilon_i}{\alpha_n} + \sigma_i\epsilon_i,
              \quad \epsilon_i = \epsilon_\theta(x, t_i)
    """
    solver, count = tally.solver, len(image)
    rows = torch.arange(count, device=image.device).repeat(solver.steps)
    x = image.repeat(solver.steps, *[1] * (image.ndim - 1))

    def each(values: Tensor) -> Tensor:
        return values.to(x).repeat_interleave(count)

    kind = prediction_of(tally.denoiser)
    nodes = torch.arange(solver.steps, device=x.device).repeat_interleave(count)
    raw = tally.call(partial(solver.raw, tally.denoiser), x, nodes, rows)
    alpha, sigma = solver.alpha[:-1], solver.sigma[:-1]
    ends = solver.alpha[-1].expand_as(alpha), solver.sigma[-1].expand_as(sigma)
    at = (alpha, sigma) if silent_without_noise(kind) and not solver.sigma[-1] else ends
    noise = convert(raw, x, each(at[0]), each(at[1]), kind, "epsilon")
    noise = noise.view(solver.steps, *image.shape)
    data = (image - solver.sigma[-1].item() * noise) / solver.alpha[-1].item()
    shape = (-1, *[1] * image.ndim)
    return alpha.to(x).view(shape) * data + sigma.to(x).view(shape) * noise


def random_states(image: Tensor, solver: Solver, seed: int) -> Tensor:
    r"""The image, noised to every level, ``[n+1, B, ...]``.

    .. math:: y_i = \alpha_i x / \alpha_n + \sigma_i n_i, \quad y_n = x
    """
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(image.shape, generator=draw, dtype=torch.float64).to(image.device)
    levels = (solver.alpha / solver.alpha[-1], solver.sigma)
    alpha, sigma = (v.to(noise).view(-1, *[1] * image.ndim) for v in levels)
    return torch.cat([alpha[:-1] * image + sigma[:-1] * noise, image[None].double()])
