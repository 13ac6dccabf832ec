r"""Products with the derivatives of a network, and of a sampler at the states of a run.

No graph of a run is kept: every product goes through the network again, so that the memory is
that of the states and of the graph of one call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .denoisers import Denoiser
from .newton import forward_mode
from .room import Parts, joined
from .sampling import steps
from .solvers import Solver

Product = Callable[[Tensor], Tensor]
BATCH = 2**14  # numbers in the states of one call: as many as in one latent of 512 x 512 pixels


@dataclass(frozen=True)
class Derivatives:
    """Products with the derivatives of a network at states of its nodes, in parts.

    A state costs two evaluations in forward mode (``push``) and three in reverse mode (``pull``).

    Attributes:
        denoiser: the network.
        solver: the sampler's table.
        max_batch: most states in one call, so in one graph; fewer where memory is full.
    """

    denoiser: Denoiser
    solver: Solver
    max_batch: int

    @cached_property
    def parts(self) -> Parts:
        """The parts of its calls."""
        return Parts(self.max_batch)

    def push(self, y: Tensor, nodes: Tensor, rows: Tensor, v: Tensor) -> Tensor:
        """The derivatives along v at states ``y [k, ...]`` of nodes and samples ``[k]``."""

        def part(y: Tensor, nodes: Tensor, rows: Tensor, v: Tensor) -> Tensor:
            return forward_mode(self._at(nodes, rows), y, v)

        with torch.no_grad():
            return joined(self.parts.map(part, y, nodes, rows, v, cost=2))

    def pull(self, y: Tensor, nodes: Tensor, rows: Tensor, u: Tensor) -> Tensor:
        """The transposed derivatives times u, likewise."""

        def part(y: Tensor, nodes: Tensor, rows: Tensor, u: Tensor) -> Tensor:
            return cast(Tensor, cast(Any, torch.func.vjp(self._at(nodes, rows), y))[1](u)[0])

        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # no graph of the parameters
            return joined(self.parts.map(part, y, nodes, rows, u, cost=3))

    def _at(self, nodes: Tensor, rows: Tensor) -> Product:
        return lambda x: self.solver.output(self.denoiser, x, nodes, rows)


def sampler_products(
    network: Derivatives, states: Tensor, count: int = 1
) -> tuple[Product, Product]:
    r"""Products of :math:`\partial y_n/\partial y_0` and its transpose with vectors ``[P B, ...]``.

    .. math:: \dot y_{i+1} = a_i \dot y_i + \sum_{j \le i} b_{ij} J_j \dot y_j, \qquad
              \lambda_i = a_i \lambda_{i+1} + J_i^T \sum_{k \ge i} b_{ki} \lambda_{k+1}

    One node after the other, at the states of the run: no graph of the whole run is kept.

    Args:
        network: its derivatives.
        states: y_0 ... y_n, ``[n+1, B, ...]``.
        count: vectors P of every sample; the vectors of one number stand together.
    """
    solver, weights = network.solver, network.solver.b.tolist()
    rows = torch.arange(states.shape[1], device=states.device).repeat(count)

    def at(i: int) -> tuple[Tensor, Tensor, Tensor]:
        y = states[i].repeat(count, *[1] * (states.ndim - 2))
        return y, torch.full_like(rows, i), rows

    def push(v: Tensor) -> Tensor:
        run = [*steps(solver, lambda y, i: network.push(*at(i), y), v)]
        return run[-1][2]

    def pull(u: Tensor) -> Tensor:
        after = [u]  # lambda_n, lambda_{n-1} ...
        for i in reversed(range(solver.steps)):
            terms = [weights[solver.steps - 1 - k][i] * v for k, v in enumerate(after)]
            back = network.pull(*at(i), torch.stack(terms).sum(0))
            after.append(solver.a[i].item() * after[-1] + back)
        return after[-1]

    return push, pull
