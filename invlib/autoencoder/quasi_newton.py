"""Quasi-Newton decoder inversion: a batched L-BFGS on the distance to the box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .box import Box
from .inversion import DecoderInversion, judge
from .model import Autoencoder


@dataclass
class Memory:
    """Pairs of steps and gradient changes, each ``[B, D]``; the newest is the last."""

    steps: list[Tensor]
    changes: list[Tensor]
    size: int

    def push(self, step: Tensor, change: Tensor) -> None:
        """Add a pair; a sample without positive curvature in it adds nothing."""
        good = (step * change).sum(1, keepdim=True) > 1e-14 * change.square().sum(1, keepdim=True)
        self.steps.append(torch.where(good, step, 0.0))
        self.changes.append(torch.where(good, change, 0.0))
        del self.steps[: -self.size], self.changes[: -self.size]

    def keep(self, rows: Tensor) -> None:
        """Forget all samples but ``rows``."""
        self.steps = [s[rows] for s in self.steps]
        self.changes = [c[rows] for c in self.changes]

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient (two-loop recursion)."""
        q, weights = gradient.clone(), []
        for s, y in zip(reversed(self.steps), reversed(self.changes), strict=True):
            curvature = (s * y).sum(1, keepdim=True)
            a = torch.where(curvature > 0, (s * q).sum(1, keepdim=True) / curvature, 0.0)
            q = q - a * y
            weights.append(a.nan_to_num())
        scale = torch.zeros_like(q[:, :1])
        for s, y in zip(self.steps, self.changes, strict=True):
            ratio = (s * y).sum(1, keepdim=True) / y.square().sum(1, keepdim=True)
            scale = torch.where(ratio.nan_to_num() > 0, ratio, scale)
        q = torch.where(scale > 0, scale, 1 / q.norm(dim=1, keepdim=True).clamp(min=1e-300)) * q
        for s, y, a in zip(self.steps, self.changes, reversed(weights), strict=True):
            curvature = (s * y).sum(1, keepdim=True)
            b = torch.where(curvature > 0, (y * q).sum(1, keepdim=True) / curvature, 0.0)
            q = q + (a - b) * s
        return -q


def quasi_newton(
    autoencoder: Autoencoder,
    box: Box,
    *,
    iterations: int = 40,
    margin: float = 0.1,
    memory: int = 20,
    start: Tensor | None = None,
) -> DecoderInversion:
    r"""Latents whose decoding rounds to the image, by L-BFGS from the encoder's answer.

    .. math:: \min_z\ \tfrac12\,\mathrm{dist}\bigl(D(z),\, B_x\bigr)^2,
              \qquad B_x = \{y : \mathrm{round}(y) = x\}

    The objective is zero on a whole set of latents. Starting at the encoder's posterior mode,
    the search keeps the encoder's answer wherever the decoder does not care.

    Args:
        autoencoder: the autoencoder.
        box: the images.
        iterations: most steps; each costs an evaluation and a reverse-mode derivative.
        margin: part of the half width by which the box is made smaller, so that the decoded
            picture comes to lie inside and not on an edge.
        memory: pairs that L-BFGS keeps.
        start: first latents; by default the encoder's.
    """
    counts = torch.zeros(len(box), dtype=torch.long)
    with torch.no_grad():
        z = autoencoder.encode(box.center) if start is None else start.clone()
    counts += start is None
    reason = ["budget"] * len(box)
    rows = torch.arange(len(box))
    history = Memory([], [], memory)
    x, part = z, box
    value, gradient, inside = _objective(autoencoder, part, x, margin)
    counts += 3
    for _ in range(iterations):
        done = inside == 1
        for row in rows[done.cpu()].tolist():
            reason[row] = "converged"
        direction = history.direction(gradient)
        slope = (direction * gradient).sum(1)
        size = torch.where(done, 0.0, 1.0)
        new = x
        new_value, new_gradient, new_inside = value, gradient, inside
        todo = ~done
        for _ in range(6):
            if not todo.any():
                break
            index = todo.nonzero().flatten()
            trial = x[index] + (size[index, None] * direction[index]).view_as(x[index])
            v, g, i = _objective(autoencoder, part.rows(index), trial, margin)
            counts[rows[index.cpu()]] += 3
            good = v <= value[index] + 1e-4 * size[index] * slope[index]
            at = index[good]
            new = new.index_copy(0, at, trial[good])
            new_value = new_value.index_copy(0, at, v[good])
            new_gradient = new_gradient.index_copy(0, at, g[good])
            new_inside = new_inside.index_copy(0, at, i[good])
            todo = todo.index_fill(0, at, False)
            size = size / 4
        history.push((new - x).flatten(1), new_gradient - gradient)
        stalled = todo & ~done
        for row in rows[stalled.cpu()].tolist():
            reason[row] = "stalled"
        x, value, gradient, inside = new, new_value, new_gradient, new_inside
        z = z.index_copy(0, rows.to(z.device), x)
        go_on = (~done & ~stalled).nonzero().flatten()
        if not len(go_on):
            break
        if len(go_on) < len(x):
            x, value, gradient, inside = x[go_on], value[go_on], gradient[go_on], inside[go_on]
            rows, part = rows[go_on.cpu()], part.rows(go_on)
            history.keep(go_on)
    return judge(autoencoder, box, z, counts, tuple(reason), "quasi_newton")


def _objective(
    autoencoder: Autoencoder, box: Box, z: Tensor, margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Half the squared distance to the box, its gradient ``[B, D]``, and the share inside."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        picture = autoencoder.decode(z)
        value = box.excess(picture, margin=margin).square().flatten(1).sum(1) / 2
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient.flatten(1), box.share_inside(picture.detach())
