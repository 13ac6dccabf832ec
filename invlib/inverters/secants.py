"""Secant pairs: what a multisecant method knows of the Jacobian of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..solvers import Solver


@dataclass
class Pairs:
    r"""Secant pairs of every node of every sample, and the Newton step that they give.

    Attributes:
        derivative: derivative of the outputs for Gaussian data, ``[N]``.
        coupling: :math:`T^{-1} b`, how the preconditioned equations depend on the outputs.
        memory: most pairs.
        drop: least new share of a pair.
        dy: differences of states, newest first, ``[k, N, D]`` each.
        dm: differences of outputs less ``derivative`` times ``dy``, likewise.
    """

    derivative: Tensor
    coupling: Tensor
    memory: int
    drop: float
    dy: list[Tensor] = field(default_factory=list)
    dm: list[Tensor] = field(default_factory=list)
    last: tuple[Tensor, Tensor] | None = None

    def add(self, y: Tensor, m: Tensor) -> None:
        """Learn from the states and outputs of a round, ``[k, N, D]``."""
        if self.last is not None:
            dy, dm = y - self.last[0], m - self.last[1]
            size = dy.norm(dim=2, keepdim=True).clamp(min=1e-300)
            dm = dm - self.derivative.to(y)[:, None] * dy
            self.dy = [dy / size, *self.dy][: self.memory]
            self.dm = [dm / size, *self.dm][: self.memory]
        self.last = y, m

    @property
    def count(self) -> int:
        """The number of samples."""
        assert self.last is not None
        return len(self.last[0])

    def keep(self, rows: Tensor) -> None:
        """Forget the other samples."""
        if rows.all():
            return
        if self.last is not None:
            self.last = self.last[0][rows], self.last[1][rows]
        self.dy = [v[rows] for v in self.dy]
        self.dm = [v[rows] for v in self.dm]

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """The pairs of several samples as one; those who know fewer get pairs of zero length."""

        def gathered(lists: list[list[Tensor]]) -> list[Tensor]:
            known = next((v for own in lists for v in own), torch.empty(0))
            empty = [known.new_zeros(part.count, *known.shape[1:]) for part in parts]
            return [
                torch.cat(
                    [
                        own[k] if k < len(own) else zero
                        for own, zero in zip(lists, empty, strict=True)
                    ]
                )
                for k in range(max(map(len, lists)))
            ]

        dy, dm = ([getattr(part, name) for part in parts] for name in ("dy", "dm"))
        return replace(parts[0], dy=gathered(dy), dm=gathered(dm), last=None)

    def step(self, r: Tensor) -> Tensor:
        r"""The step :math:`\delta` for the preconditioned residual r, ``[k, N, D]``.

        .. math:: (I - A\,E\,Q^T)\,\delta = -r, \qquad A = T^{-1} b
        """
        if not self.dy:
            return -r
        q, e = orthogonal(torch.stack(self.dy, 2), torch.stack(self.dm, 2), self.drop)
        k, n, count, dim = q.shape
        flat = (k, n * count, dim)
        coupling = self.coupling.to(r)
        weights = coupling.repeat_interleave(count, 0).repeat_interleave(count, 1)
        small = q.reshape(flat) @ e.reshape(flat).transpose(1, 2) * weights
        right = (q @ r[..., None]).view(k, n * count, 1)
        eye = torch.eye(n * count).to(r)
        z = torch.stack([_solve(eye - s, b) for s, b in zip(small, right, strict=True)])
        change = (z.view(k, n, 1, count) @ e)[:, :, 0]
        return -r - torch.einsum("ij,kjd->kid", coupling, change)


def orthogonal(y: Tensor, m: Tensor, drop: float) -> tuple[Tensor, Tensor]:
    """Gram-Schmidt along axis 2 of ``y [k, N, K, D]``; m takes the same combinations.

    Vectors of which less than ``drop`` is new become zero, and so do theirs in m.
    """
    q, e = torch.zeros_like(y), torch.zeros_like(m)
    for j in range(y.shape[2]):
        new, image = y[:, :, j], m[:, :, j]
        for _ in range(2):  # twice is enough
            h = (q[:, :, :j] @ new[..., None]).transpose(2, 3)
            new = new - (h @ q[:, :, :j])[:, :, 0]
            image = image - (h @ e[:, :, :j])[:, :, 0]
        size = new.norm(dim=2, keepdim=True)
        q[:, :, j] = torch.where(size > drop, new / size, 0)
        e[:, :, j] = torch.where(size > drop, image / size, 0)
    return q, e


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """One system at a time (batched LU of many rows fails in some MKL versions)."""
    solution, info = torch.linalg.solve_ex(matrix, right)
    return torch.zeros_like(right) if info else solution


def gaussian_derivative(solver: Solver, variance: float) -> Tensor:
    """The derivative of the outputs with respect to their states for Gaussian data, ``[N]``.

    It is 0 where a step would forget its state, as the only step of a flow does: from pure noise
    to the mean of the data.
    """
    alpha, sigma = solver.alpha[:-1], solver.sigma[:-1]
    total = alpha**2 * variance + sigma**2
    derivative = {
        "epsilon": sigma / total,
        "sample": alpha * variance / total,
        "v_prediction": alpha * sigma * (1 - variance) / total,
        "flow": (sigma - alpha * variance) / total,
    }[solver.prediction]
    left = solver.a + solver.b.diagonal() * derivative
    return torch.where(left.abs() < 1e-9, 0.0, derivative)
