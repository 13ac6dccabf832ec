"""Where a search for a trajectory begins."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import convert, prediction_of, silent_without_noise
from ..evaluator import Evaluator
from ..precision import Roundoff, roundoff
from ..solvers import Solver

SCATTER = ((2.0, 1.0), (0.0, 2.0), (1.0, 2.0), (0.0, 1.0))  # of the image, of the noise


def one_step_states(evaluator: Evaluator, image: Tensor) -> Tensor:
    r"""Naive steps from the image straight to every node, in one batched call, ``[n, B, ...]``.

    .. math:: y_i = \alpha_i \frac{x - \sigma_n\epsilon_i}{\alpha_n} + \sigma_i\epsilon_i,
              \quad \epsilon_i = \epsilon_\theta(x, t_i)
    """
    solver, count = evaluator.solver, len(image)
    rows = torch.arange(count, device=image.device).repeat(solver.steps)
    x = image.repeat(solver.steps, *[1] * (image.ndim - 1))

    def each(values: Tensor) -> Tensor:
        return values.to(x).repeat_interleave(count)

    kind = prediction_of(evaluator.denoiser)
    nodes = torch.arange(solver.steps, device=x.device).repeat_interleave(count)
    raw = evaluator.call(partial(solver.raw, evaluator.denoiser), x, nodes, rows)
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

    .. math:: y_i = \alpha_i x / \alpha_n + \sigma_i n, \quad y_n = x
    """
    return _noised(image, solver, seed, 1, (1.0, 1.0))


def roundoff_where_noised(evaluator: Evaluator, image: Tensor, *, nodes: int = 3) -> Roundoff:
    """The round-off of the network, measured at :func:`random_states`, at a few nodes."""
    noised = random_states(image, evaluator.solver, 0)[:-1].transpose(0, 1)
    rows = torch.arange(len(image), device=image.device)
    return roundoff(evaluator, noised, rows, nodes=nodes)


def scattered_states(image: Tensor, solver: Solver, seed: int) -> Tensor:
    r"""The image, noised to every level with noise of its own, ``[n+1, B, ...]``.

    .. math:: y_i = u\,\alpha_i x / \alpha_n + v\,\sigma_i n_i, \quad y_n = x

    with (u, v) from ``SCATTER``, by the seed. Searches from here end at different noises,
    where there are several, far more often than those from :func:`random_states`.
    """
    return _noised(image, solver, seed, solver.steps, SCATTER[seed % len(SCATTER)])


def _noised(
    image: Tensor, solver: Solver, seed: int, draws: int, sizes: tuple[float, float]
) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, *image.shape, generator=draw, dtype=torch.float64)
    levels = (sizes[0] * solver.alpha / solver.alpha[-1], sizes[1] * solver.sigma)
    alpha, sigma = (v[:-1].to(noise).view(-1, *[1] * image.ndim) for v in levels)
    states = alpha.to(image.device) * image.double() + (sigma * noise).to(image.device)
    return torch.cat([states, image[None].double()])
