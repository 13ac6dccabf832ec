"""The noises of an image: what each contributes to its likelihood, and their odds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..certificate import Certificate
from ..inversion import Inversion
from ..metrics import nmse
from .blocks import CHUNK, forward_blocks, log_determinant, node_blocks
from .problem import Problem
from .result import Determinant, Root

Estimate = Callable[[Problem, Tensor, Tensor], tuple[Determinant, ...]]  # see exactly


def runs_of(
    problem: Problem, found: Inversion, proof: Certificate, index: int
) -> tuple[Tensor, ...]:
    """The states ``[n+1, 1, ...]`` of all different noises of a sample that make its image.

    Args:
        problem: the candidate.
        found: its inversion, with what more searches have found.
        proof: its certificate, which says what counts as the same.
        index: the sample.
    """
    first, rows = found.states[:, index : index + 1], slice(index, index + 1)
    others = [] if found.others is None else [*found.others[:, rows]]
    runs = [first] if proof.verdict[index] == "exact" else []
    for noise in others:
        start = noise * problem.solver.scale
        if start.isfinite().all() and all(
            nmse(start, run[0]).item() > proof.limit[index].item() ** 0.5 for run in runs
        ):
            runs.append(problem.states(index, start))
    return tuple(runs)


def weighed(
    problem: Problem, index: int, runs: Sequence[Tensor], determinants: Sequence[Determinant]
) -> tuple[Root, ...]:
    r"""The noises of a sample, the most probable one first.

    .. math:: \log w_k = \log\mathcal N(z_k; 0, I) - \log|\det S'(z_k)|

    Args:
        problem: the candidate.
        index: the sample.
        runs: the states ``[n+1, 1, ...]`` of every noise.
        determinants: :math:`\log|\det \partial y_n/\partial y_0|` of every noise.
    """
    roots = []
    for states, inside in zip(runs, determinants, strict=True):
        batch = torch.zeros_like(problem.image)
        batch[index] = states[0, 0]
        noise = problem.noise(batch).reshape(len(batch), -1)[index]
        normal = -0.5 * (noise.square().sum().item() + problem.size * math.log(2 * math.pi))
        whole = replace(
            inside, value=inside.value + problem.log_scale, draws=inside.draws + problem.log_scale
        )
        roots.append(Root(states[0, 0] / problem.solver.scale, noise, normal, whole))
    return tuple(sorted(roots, key=lambda root: root.log_weight, reverse=True))


def odds(roots: Sequence[Root]) -> Tensor:
    r"""How probable each of several noises of one image is, if they are all there are, ``[R]``.

    .. math:: p_k = w_k \Big/ \sum_l w_l

    Source: chapter 8, :math:`C^1` and proper samplers.
    """
    return log_weights(roots).softmax(0)


def log_weights(roots: Sequence[Root]) -> Tensor:
    """The logarithms of what several noises contribute, ``[R]``."""
    return torch.tensor([root.log_weight for root in roots], dtype=torch.float64)


def exactly(problem: Problem, rows: Tensor, states: Tensor) -> tuple[Determinant, ...]:
    """The determinants from the derivatives of all nodes, D rows each.

    Args:
        problem: the candidate.
        rows: which sample each run belongs to, ``[R]``.
        states: the states of the runs, ``[n+1, R, ...]``.
    """
    derivatives = node_blocks if problem.reverse else forward_blocks
    chunk = min(CHUNK, problem.max_batch or CHUNK)
    cost = 1 + 2 * problem.size if problem.reverse else 2 * problem.size
    found = []
    for run, index in enumerate(rows.tolist()):
        denoiser, _ = problem.row(index)
        with torch.no_grad():
            here = states[:, run : run + 1]
            blocks = derivatives(denoiser, problem.solver, here, chunk=chunk)
        sign, value = (v.item() for v in log_determinant(problem.solver, blocks))
        found.append(Determinant(value, torch.zeros(0), 0.0, problem.solver.steps * cost, sign))
    return tuple(found)
