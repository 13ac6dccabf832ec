"""The exact Jacobian of a sampler at a known noise: singular values and determinant's sign."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...denoisers import Denoiser
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


def node_blocks(denoiser: Denoiser, solver: Solver, states: Tensor, *, chunk: int = 64) -> Tensor:
    r"""The derivatives :math:`J_i = \partial m(y_i, t_i)/\partial y_i` of all nodes.

    Args:
        denoiser: the network.
        solver: the sampler's table.
        states: states y_0 ... y_n of one sample, ``[n+1, 1, ...]``.
        chunk: rows of a block that are computed together, in reverse mode.

    Returns:
        float64 ``[n, D, D]``.
    """
    size, row = states[0].numel(), torch.zeros(1, dtype=torch.long, device=states.device)
    eye = torch.eye(size, dtype=states.dtype, device=states.device).view(size, *states.shape[1:])
    blocks = []
    with sdpa_kernel(SDPBackend.MATH):
        for i, y in enumerate(states[:-1]):

            def output(x: Tensor, node: int = i) -> Tensor:
                return solver.output(denoiser, x, torch.full_like(row, node), row)

            pull_back = cast(Any, torch.func.vjp(output, y))[1]
            rows = [torch.vmap(pull_back)(e)[0].view(-1, size) for e in eye.split(chunk)]
            blocks.append(torch.cat(rows))
    return torch.stack(blocks).double()


def image_jacobian(solver: Solver, blocks: Tensor) -> Tensor:
    r"""The derivative of the image with respect to the noise, ``[D, D]``.

    .. math:: P_{i+1} = a_i P_i + \sum_{j \le i} b_{ij} J_j P_j
    """
    states = solver.scale * torch.eye(blocks.shape[1]).to(blocks)
    outputs: list[Tensor] = []
    for i, block in enumerate(blocks):
        outputs.append(block @ states)
        states = solver.step(i, states, outputs)
    return states


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
