"""The exact Jacobian of a sampler from the derivatives of its network at every node."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..denoisers import Denoiser
from ..newton import forward_modes
from ..room import Parts
from ..solvers import Solver

CHUNK = 64  # rows of a block that are computed together


def node_blocks(
    denoiser: Denoiser, solver: Solver, states: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    r"""The derivatives :math:`J_i = \partial m(y_i, t_i)/\partial y_i` of all nodes.

    Args:
        denoiser: the network.
        solver: the sampler's table.
        states: states y_0 ... y_n of one sample, ``[n+1, 1, ...]``.
        chunk: rows of a block that are computed together, in reverse mode; fewer where memory is
            full.

    Returns:
        float64 ``[n, D, D]``.
    """
    size, row = states[0].numel(), torch.zeros(1, dtype=torch.long, device=states.device)
    eye = torch.eye(size, dtype=states.dtype, device=states.device).view(size, *states.shape[1:])
    blocks, parts = [], Parts(chunk)
    with sdpa_kernel(SDPBackend.MATH):
        for i, y in enumerate(states[:-1]):

            def output(x: Tensor, node: int = i) -> Tensor:
                return solver.output(denoiser, x, torch.full_like(row, node), row)

            pull_back = cast(Any, torch.func.vjp(output, y))[1]
            [rows] = zip(*parts.map(torch.vmap(pull_back), eye), strict=True)
            blocks.append(torch.cat(rows).view(-1, size))
    return torch.stack(blocks).double()


def forward_blocks(
    denoiser: Denoiser, solver: Solver, states: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """:func:`node_blocks` in forward mode, column by column, for networks without a reverse one."""
    size, row = states[0].numel(), torch.zeros(1, dtype=torch.long, device=states.device)
    eye = torch.eye(size, dtype=states.dtype, device=states.device).view(size, *states.shape[1:])
    blocks, parts = [], Parts(chunk)
    for i, y in enumerate(states[:-1]):

        def output(x: Tensor, node: int = i) -> Tensor:
            return solver.output(denoiser, x, torch.full_like(row, node), row)

        columns = parts.map(partial(forward_modes, output, y), eye)
        blocks.append(torch.cat(columns).reshape(-1, size).T)
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


def log_determinant(solver: Solver, blocks: Tensor) -> tuple[Tensor, Tensor]:
    r"""The sign of :math:`\det \partial y_n/\partial y_0` and the logarithm of its size.

    .. math:: \sum_i \log|\det(a_i I + b_{ii} J_i)|

    where every step uses the newest output only, else by :func:`image_jacobian`. At a fold the
    sign is 0 and the logarithm -inf.

    Args:
        solver: the sampler's table.
        blocks: derivatives of the outputs, ``[n, D, D]``.
    """
    if not solver.order_one:
        whole = torch.linalg.slogdet(image_jacobian(replace(solver, scale=1.0), blocks))
        return whole[0], whole[1]
    eye = torch.eye(blocks.shape[1]).to(blocks)
    steps = zip(solver.a.tolist(), solver.b.diagonal().tolist(), blocks, strict=True)
    each = [torch.linalg.slogdet(a * eye + b * block) for a, b, block in steps]
    return torch.stack([s for s, _ in each]).prod(), torch.stack([v for _, v in each]).sum()
