"""Secant pairs: what a multisecant method knows of the Jacobian of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..solvers import Solver


@dataclass
class Pairs:
    r"""Secant pairs of every node of every sample, and the Newton step that they give.

    A pair is a difference of two states, of length one, and that of the outputs, less what
    Gaussian data would give. The inner products of all pairs are kept, so that a round costs
    those of the new one.

    Attributes:
        derivative: derivative of the outputs for Gaussian data, ``[N]``.
        coupling: :math:`T^{-1} b`, how the preconditioned equations depend on the outputs.
        memory: most pairs of a node.
        drop: least new share of a pair.
        dy: differences of states, newest first, ``[k, N, K, D]``.
        dm: differences of outputs less ``derivative`` times ``dy``, likewise.
        gram: inner products of the ``dy`` of each node, ``[k, N, K, K]``.
        cross: inner products of ``dy`` and ``dm`` of all nodes, ``[k, N, K, N, K]``.
        last: the states and outputs that the next difference is to, ``[k, N, D]`` each.
    """

    derivative: Tensor
    coupling: Tensor
    memory: int
    drop: float
    dy: Tensor
    dm: Tensor
    gram: Tensor
    cross: Tensor
    last: tuple[Tensor, Tensor] | None = None

    @classmethod
    def empty(
        cls,
        derivative: Tensor,
        coupling: Tensor,
        memory: int,
        drop: float,
        y: Tensor,
        dtype: torch.dtype,
    ) -> Pairs:
        """No pairs yet, of states like ``y [k, N, D]``, to be kept in some dtype."""
        k, n, dim = y.shape
        none = y.new_zeros(k, n, 0, dim, dtype=dtype)
        gram, cross = y.new_zeros(k, n, 0, 0), y.new_zeros(k, n, 0, n, 0)
        return cls(derivative.to(y), coupling.to(y), memory, drop, none, none, gram, cross)

    def add(self, y: Tensor, m: Tensor) -> None:
        """Learn from the states and outputs of a round, ``[k, N, D]``."""
        if self.last is not None:
            dy, dm = y - self.last[0], m - self.last[1]
            size = dy.norm(dim=2, keepdim=True).clamp(min=1e-300)
            dm = (dm - self.derivative[:, None] * dy) / size
            self._add((dy / size)[:, :, None].to(self.dy), dm[:, :, None].to(self.dy))
        self.last = y, m

    def _add(self, dy: Tensor, dm: Tensor) -> None:
        """Put a pair, ``[k, N, 1, D]`` each, before the others."""
        old = slice(0, self.memory - 1)
        before = self.dy[:, :, old], self.dm[:, :, old]
        dys, dms = (torch.cat(v, 2) for v in zip((dy, dm), before, strict=True))
        row = (dy @ dys.transpose(2, 3)).to(self.gram)
        below = torch.cat([row[..., 1:].transpose(2, 3), self.gram[:, :, old, old]], 3)
        first = torch.einsum("knad,kmbd->knamb", dy, dms).to(self.cross)
        others = torch.einsum("knad,kmbd->knamb", before[0], dm).to(self.cross)
        rest = torch.cat([others, self.cross[:, :, old][..., old]], 4)
        self.gram, self.cross = torch.cat([row, below], 2), torch.cat([first, rest], 2)
        self.dy, self.dm = dys, dms  # at the end: where memory is full, nothing is half done

    @property
    def count(self) -> int:
        """How many pairs a node has."""
        return self.dy.shape[2]

    def forget(self) -> None:
        """Keep the newer half of the pairs, from here on."""
        new = slice(0, self.count // 2)
        self.dy, self.gram = self.dy[:, :, new].clone(), self.gram[:, :, new, new].clone()
        self.dm, self.cross = self.dm[:, :, new].clone(), self.cross[:, :, new][..., new].clone()
        self.memory = max(self.count, 1)

    def keep(self, rows: Tensor) -> None:
        """Forget the other samples."""
        if rows.all():
            return
        if self.last is not None:
            self.last = self.last[0][rows], self.last[1][rows]
        self.dy, self.dm = self.dy[rows], self.dm[rows]
        self.gram, self.cross = self.gram[rows], self.cross[rows]

    @classmethod
    def join(cls, parts: Sequence[Pairs]) -> Pairs:
        """The pairs of several samples as one; those who know fewer get pairs of length zero."""
        most = max(part.dy.shape[2] for part in parts)

        def padded(value: Tensor, *axes: int) -> Tensor:
            for axis in axes:
                shape = list(value.shape)
                shape[axis] = most - shape[axis]
                value = torch.cat([value, value.new_zeros(shape)], axis)
            return value

        return replace(
            parts[0],
            dy=torch.cat([padded(part.dy, 2) for part in parts]),
            dm=torch.cat([padded(part.dm, 2) for part in parts]),
            gram=torch.cat([padded(part.gram, 2, 3) for part in parts]),
            cross=torch.cat([padded(part.cross, 2, 4) for part in parts]),
            last=None,
        )

    def step(self, r: Tensor) -> Tensor:
        r"""The step :math:`\delta` for the preconditioned residual r, ``[k, N, D]``.

        .. math:: (I - A\,E\,Q^T)\,\delta = -r, \qquad A = T^{-1} b

        where the rows of Q are an orthonormal basis of the ``dy`` of a node, and those of E the
        same combinations of its ``dm``.
        """
        k, n, count, _ = self.dy.shape
        if not count:
            return -r
        basis = orthonormal(self.gram, self.drop)
        cross = torch.einsum("knab,knbmc->knamc", basis, self.cross)
        small = torch.einsum("knamc,kmdc->knamd", cross, basis)
        small = small * self.coupling[:, None, :, None]
        right = basis @ (self.dy @ r[..., None].to(self.dy)).to(r)
        eye = torch.eye(n * count, dtype=r.dtype, device=r.device)
        matrix, vector = small.reshape(k, *eye.shape), right.reshape(k, n * count, 1)
        z = torch.stack([_solve(eye - s, b) for s, b in zip(matrix, vector, strict=True)])
        weights = basis.transpose(2, 3) @ z.view(k, n, count, 1)
        change = (self.dm.transpose(2, 3) @ weights.to(self.dm))[..., 0].to(r)
        return -r - torch.einsum("ij,kjd->kid", self.coupling, change)


def orthonormal(gram: Tensor, drop: float) -> Tensor:
    """Gram-Schmidt in terms of inner products: combinations that make vectors orthonormal.

    Args:
        gram: inner products of vectors of length one, the most important first,
            ``[..., K, K]``.
        drop: a vector of which less than this share is new gets no combination.

    Returns:
        The coefficients, one combination a row, lower triangular ``[..., K, K]``.
    """
    basis = torch.zeros_like(gram)
    for j in range(gram.shape[-1]):
        before = basis[..., :j, : j + 1]
        within = gram[..., : j + 1, : j + 1]
        new = gram.new_zeros(*gram.shape[:-2], 1, j + 1)
        new[..., -1] = 1
        new = new - (new @ within @ before.transpose(-1, -2)) @ before
        size = (new @ within @ new.transpose(-1, -2)).clamp(min=0).sqrt()
        kept = (size > drop) & (within[..., -1:, -1:] > 0.5)
        basis[..., j : j + 1, : j + 1] = torch.where(kept, new / size.clamp(min=1e-300), 0)
    return basis


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """One system at a time (batched LU of many rows fails in some MKL versions)."""
    solution, info = torch.linalg.solve_ex(matrix, right)
    return torch.where(info == 0, solution, 0.0)


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
