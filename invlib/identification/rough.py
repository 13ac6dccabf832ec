"""A first look at a candidate: its likelihood to the second order, from one random vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoisers import jvp_cost, select
from ..inverters import invert
from ..likelihood import Problem
from ..newton import forward_mode


@dataclass(frozen=True)
class Rough:
    r"""What a first look says of a candidate.

    Attributes:
        log_p: rough :math:`\log p(x \mid c)` in nats, but for the :math:`2\pi` that all share.
        norm: :math:`\|z\|^2/D` of the noise of naive inversion.
        nfe: network evaluations that it cost.
    """

    log_p: float
    norm: float
    nfe: int


@torch.no_grad()
def first_look(problem: Problem, *, seed: int = 0) -> Rough:
    r"""The rough log-likelihood of one sample, at the states of naive inversion.

    .. math:: -\tfrac12\|z\|^2 - D \sum_i
              \Bigl(\log|a_i + w_i\mu_i| - \frac{w_i^2\nu_i}{2 (a_i + w_i\mu_i)^2}\Bigr),
              \qquad w_i = \sum_j b_{ij}

    where :math:`\mu_i` and :math:`\nu_i` are the mean and the variance of the eigenvalues of the
    network's derivative :math:`J_i`, estimated by one random vector v of signs:
    :math:`\mu = v^T J v/D`, :math:`\nu = \|J v - \mu v\|^2/D`. That takes J for symmetric, as ideal
    denoisers have it, neighbouring outputs for equal, and the logarithm to its second order. All
    candidates share v, so that much of the error cancels in comparisons.

    Args:
        problem: the candidate, with one sample.
        seed: of the random vector.
    """
    solver, image = problem.solver, problem.image
    given, most = (problem.denoiser, image, solver), problem.max_batch
    found = invert(*given, method="naive", max_batch=most)
    states, count = found.states[:-1, 0], solver.steps
    draw = torch.Generator().manual_seed(seed)
    signs = 2.0 * torch.randint(0, 2, image.shape[1:], generator=draw) - 1
    v = signs.to(image).expand_as(states)
    rows = torch.zeros(count, dtype=torch.long, device=image.device)
    nodes = torch.arange(count, device=image.device)
    every = select(problem.denoiser, rows)

    def outputs(x: Tensor) -> Tensor:
        return solver.output(every, x, nodes, nodes)

    product = forward_mode(outputs, states, v).flatten(1).double()
    flat = v.flatten(1).double()
    mean = (product * flat).mean(1)
    spread = (product - mean[:, None] * flat).square().mean(1)
    weight = solver.b.sum(1).to(mean)
    factor = solver.a.to(mean) + weight * mean
    size = factor.abs().log() - weight.square() * spread / (2 * factor.square())
    noise = problem.noise(found.states[0])
    log_p = -0.5 * noise.square().sum() - problem.size * size.sum() - problem.log_scale
    value = log_p.item()
    spent = int(found.nfe.max()) + count * jvp_cost(problem.denoiser)
    norm = noise.square().mean().item()
    return Rough(value if math.isfinite(value) else -math.inf, norm, spent)
