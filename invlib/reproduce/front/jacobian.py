"""The exact Jacobian of a sampler at a known noise: singular values and determinant's sign."""

from __future__ import annotations

import torch
from torch import Tensor

from ...likelihood.blocks import image_jacobian, node_blocks
from ...sampling import sample
from ...solvers import Solver
from ..models.problem import Problem

DRAWS = 5  # times that the sign is computed again from changed blocks
ERROR = 1e-5  # their relative change, far above the round-off of a float32 network


def measure(name: str, guidance: float, image: int, profile: str) -> dict[str, Tensor]:
    """Singular values ``[D]`` and the determinant's sign at the noise that made an image.

    ``same_sign`` is the share of randomly changed Jacobians with the same sign, ``smallest`` are
    their smallest singular values; ``turned`` counts, step by step, the real negative eigenvalues
    of the step's own Jacobian: directions that the step turns over.
    """
    problem = Problem.of(name, guidance, image, 1, profile)
    solver = problem.solver
    with torch.no_grad():
        states = sample(problem.denoiser, problem.noise, solver).states
        blocks = node_blocks(problem.denoiser, solver, states)
    jacobian = image_jacobian(solver, blocks)
    sign, logarithm = torch.linalg.slogdet(jacobian)
    near = [image_jacobian(solver, changed(blocks, seed)) for seed in range(DRAWS)]
    signs = torch.stack([torch.linalg.slogdet(matrix)[0] for matrix in near])
    return {
        "singular": torch.linalg.svdvals(jacobian),
        "sign": sign,
        "log_determinant": logarithm,
        "same_sign": (signs == sign).double().mean(),
        "smallest": torch.stack([torch.linalg.svdvals(matrix)[-1] for matrix in near]),
        "turned": turned(solver, blocks),
    }


def turned(solver: Solver, blocks: Tensor) -> Tensor:
    r"""Real negative eigenvalues of each step's :math:`a_i I + b_{ii} J_i`, counted, ``[n]``."""
    counts = []
    for i, block in enumerate(blocks):
        values = torch.linalg.eigvals(solver.a[i] * torch.eye(len(block)) + solver.b[i, i] * block)
        counts.append(((values.imag == 0) & (values.real < 0)).sum())
    return torch.stack(counts)


def changed(blocks: Tensor, seed: int) -> Tensor:
    """The blocks with random relative errors of size ``ERROR``."""
    draw = torch.Generator().manual_seed(seed)
    error = torch.randn(blocks.shape, generator=draw, dtype=blocks.dtype)
    size = blocks.flatten(1).norm(dim=1) / error.flatten(1).norm(dim=1)
    return blocks + ERROR * size[:, None, None] * error
