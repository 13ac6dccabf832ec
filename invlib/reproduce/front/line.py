"""Trajectory equations with one parameter, and what was learnt of their derivatives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...denoisers import Denoiser, Guided, convert
from ...evaluator import Tally
from ...inverters.secants import gaussian_derivative, orthonormal
from ...inverters.trajectory import gaussian_matrix, outputs, residual
from ...solvers import Solver


@dataclass
class Line:
    r"""The equations of one trajectory, whose network is on a line: :math:`m = u + w\,d`.

    .. math:: R(y, w) = L y - b\,(u(y) + w\,d(y)) - c

    Secant pairs of u and d are kept apart, so that they serve all w. A subclass says what u and d
    are.

    Attributes:
        tally: network, solver and count.
        image: the image, ``[1, ...]``.
        memory: pairs that every node keeps.
        drop: a pair is left out if less than this share of it is new.
        variance: variance of the Gaussian data that gives the first guess of the derivatives.
    """

    tally: Tally
    image: Tensor
    memory: int = 70
    drop: float = 0.05
    variance: float = 0.5
    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.solver = self.tally.solver
        self.derivative = gaussian_derivative(self.solver, self.variance)
        self.inverse = torch.linalg.inv(gaussian_matrix(self.solver, self.variance))

    @property
    def rounds(self) -> int:
        """Batched network calls so far."""
        return self.tally.counts[0] // self.solver.steps

    def outputs(self, y: Tensor) -> Tensor:
        """u and d at states ``y [N, D]``, side by side, ``[N, 2D]``."""
        raise NotImplementedError

    def mix(self, m: Tensor, w: float) -> Tensor:
        """The guided output of u and d."""
        u, d = m.chunk(2, -1)
        return u + w * d

    def slope(self, m: Tensor) -> Tensor:
        """Minus the derivative of R with respect to w, ``[N, D]``."""
        return self.solver.b @ m.chunk(2, -1)[1]

    def residual(self, y: Tensor, m: Tensor, w: float) -> Tensor:
        """R at states y with outputs m, ``[N, D]``."""
        shape = (1, -1, *self.image.shape[1:])
        guided = self.mix(m, w).view(shape)
        return residual(self.solver, self.image, y.view(shape), guided)[0].flatten(1)

    def learn(self, dy: Tensor, dm: Tensor) -> None:
        """Keep a secant pair of every node."""
        size = dy.norm(dim=1, keepdim=True).clamp(min=1e-300)
        self.pairs = [(dy / size, dm / size), *self.pairs][: self.memory]

    def move(self, y: Tensor, m: Tensor, new: Tensor) -> Tensor:
        """Outputs at the states ``new``; the difference from y is learnt."""
        value = self.outputs(new)
        self.learn(new - y, value - m)
        return value

    def solve(self, w: float, *right: Tensor) -> list[Tensor]:
        """The learnt inverse of the Jacobian times each right-hand side ``[N, D]``."""
        base = torch.stack([self.inverse @ r for r in right])
        if not self.pairs:
            return list(base)
        dy, dm = (torch.stack(v, 1) for v in zip(*self.pairs, strict=True))
        basis = orthonormal(dy @ dy.transpose(1, 2), self.drop)
        q, e = basis @ dy, basis @ dm
        e = self.mix(e, w) - self.derivative[:, None, None] * q
        n, count, dim = q.shape
        coupling = self.inverse @ self.solver.b
        weights = coupling.repeat_interleave(count, 0).repeat_interleave(count, 1)
        small = torch.eye(n * count) - q.reshape(-1, dim) @ e.reshape(-1, dim).T * weights
        sides = (q @ base.permute(1, 2, 0)).reshape(n * count, -1)
        z = torch.linalg.solve(small, sides).T.view(-1, n, 1, count)
        return list(base + torch.einsum("ij,rjd->rid", coupling, (z @ e)[:, :, 0]))

    def tangent(self, y: Tensor, m: Tensor, w: float, tol: float = 0.1, most: int = 6) -> Tensor:
        """dy/dw, by probing along its own estimate until the linear residual is small."""
        right = self.slope(m)
        size, best = (self.inverse @ right).norm(), (torch.inf, right)
        for _ in range(most):
            (x,) = self.solve(w, right)
            sizes = [v.norm(dim=1, keepdim=True) for v in (y, x)]
            scale = 3e-3 * sizes[0] / sizes[1].clamp(min=1e-9 * sizes[0])
            dm = self.outputs(y + scale * x) - m
            self.learn(scale * x, dm)
            shift = torch.cat([x[1:], torch.zeros_like(x[:1])])
            product = shift - self.solver.a[:, None] * x
            product = product - self.solver.b @ self.mix(dm / scale, w)
            error = ((self.inverse @ (right - product)).norm() / size).item()
            best = min(best, (error, x), key=lambda pair: pair[0])
            if error < tol:
                break
        return best[1]


class GuidanceLine(Line):
    """w is the guidance scale: u is the output without the prompt, d what the prompt adds."""

    @classmethod
    def of(cls, denoiser: Guided, image: Tensor, solver: Solver) -> GuidanceLine:
        """The line of a guided denoiser."""
        condition = torch.cat([denoiser.condition, denoiser.null])
        both = replace(denoiser, condition=condition, scale=1.0)
        tally, images = Tally.start(both, torch.cat([image, image]), solver)
        return cls(tally, images[:1])

    def outputs(self, y: Tensor) -> Tensor:
        """u and d at states ``y [N, D]``, side by side, ``[N, 2D]``."""
        states = y.view(1, -1, *self.image.shape[1:])
        both = outputs(self.tally, torch.cat([states, states]), torch.arange(2))
        with_prompt, without = both.flatten(2)
        return torch.cat([without, with_prompt - without], 1)


class StrengthLine(Line):
    r"""The predicted noise is :math:`w\,\epsilon`; at w = 0 the equations are linear."""

    @classmethod
    def of(cls, denoiser: Denoiser, image: Tensor, solver: Solver) -> StrengthLine:
        """The line of any denoiser."""
        tally, image = Tally.start(denoiser, image, solver)
        return cls(tally, image)

    def outputs(self, y: Tensor) -> Tensor:
        """u and d at states ``y [N, D]``, side by side, ``[N, 2D]``."""
        states = y.view(1, -1, *self.image.shape[1:])
        m = outputs(self.tally, states, torch.zeros(1, dtype=torch.long))[0].flatten(1)
        alpha, sigma = self.solver.alpha[:-1], self.solver.sigma[:-1]
        u = convert(torch.zeros_like(y), y, alpha, sigma, "epsilon", self.solver.prediction)
        return torch.cat([u, m - u], 1)
