"""Pseudo-arclength continuation: follow the roots of trajectory equations around folds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...denoisers import Denoiser, Guided
from ...inversion import Inversion
from ...inverters import multisecant, naive
from ...solvers import Solver
from .line import GuidanceLine, Line, StrengthLine


@dataclass
class Path:
    """A followed path: its end, and what it passed through."""

    y: Tensor
    parameter: list[float]
    rounds: list[int]


def follow(
    line: Line,
    y: Tensor,
    start: float,
    end: float,
    *,
    max_rounds: int,
    weight: float = 0.1,
    length: float = 0.05,
    longest: float = 0.2,
    tol: float = 1e-4,
    corrections: int = 8,
    bend: float = 0.9,
) -> Path:
    r"""Follow the roots of R(y, w) from ``start`` until w passes ``end``, around folds.

    A predictor along the tangent, then quasi-Newton corrections of y and w in the plane at right
    angles to it. The length of a path is measured by states relative to their norm, and
    ``weight`` times w.

    Args:
        line: the line.
        y: a root at w = ``start``, ``[N, D]``.
        start: w of the root.
        end: the w that is wanted.
        max_rounds: batched network calls.
        weight: weight of w in the length.
        length: first step.
        longest: longest step.
        tol: relative residual that counts as on the path.
        corrections: most corrections of a point.
        bend: least cosine between a step and its predictor.
    """
    w, m, path, before = start, line.outputs(y), Path(y, [start], [line.rounds]), None
    while line.rounds < max_rounds and length > 1e-4 and w != end:
        scale = y.norm()
        ty, tw = _unit(line.tangent(y, m, w) / scale, weight)
        if before is not None and (before[0] * ty).sum() + before[1] * tw < 0:
            ty, tw = -ty, -tw
        moved = w + length * tw / weight
        last = (w - end) * (moved - end) < 0
        share = (end - w) / (moved - w) if last else 1.0
        q, v = y + scale * share * length * ty, end if last else moved
        n, sizes, on = line.move(y, m, q), list[float](), False
        for _ in range(corrections):
            r = line.residual(q, n, v)
            sizes.append((r.norm() / q.norm()).item())
            on = sizes[-1] < tol
            if on or (len(sizes) > 2 and sizes[-1] > 0.7 * sizes[-3]):
                break
            step, along = line.solve(v, -r, line.slope(n))
            down = (ty * along).sum() / scale + weight * tw
            dw = 0.0 if last else (-(ty * step).sum() / scale / down).item()
            step = step + dw * along
            size = max((step.norm() / scale).item(), abs(dw) * weight)
            shorter = min(1.0, max(length, 0.01) / size)
            new = q + shorter * step
            q, n, v = new, line.move(q, n, new), v + shorter * dw
        done = _unit((q - y) / scale, weight * (v - w))
        straight = ((ty * done[0]).sum() + tw * done[1]).item()
        if on and (straight > bend or length < 2e-3):
            y, m, w, before = q, n, v, done
            path.parameter.append(w)
            path.rounds.append(line.rounds)
            path.y = y
            grows = len(sizes) <= 4 and straight > 0.97
            length = min(1.5 * length, longest) if grows else length
        else:
            length /= 2
    return path


def guidance_path(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, start: float = 1.0, rounds: int = 250
) -> Inversion:
    """Invert one image at guidance ``start``, and follow the root to the denoiser's guidance.

    Where the path does not arrive within ``rounds``, the default method starts from its end.

    Raises:
        ValueError: if the denoiser is not guided.
    """
    if not isinstance(denoiser, Guided):
        raise ValueError("a path in guidance needs a guided denoiser")
    low = replace(denoiser, scale=start)
    root = multisecant(low, image, solver, start=naive(low, image, solver).states, tol=1e-5)
    line = GuidanceLine.of(denoiser, image, solver)
    y = root.states[:-1, 0].flatten(1)
    path = follow(line, y, start, denoiser.scale, max_rounds=rounds)
    cost = root.nfe + solver.steps + line.tally.counts[0]
    return finished(denoiser, image, solver, path, cost, "arclength in guidance")


def strength_path(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, rounds: int = 250
) -> Inversion:
    r"""Follow the root from no network to the whole one, by :math:`w\,\epsilon` with w in [0, 1].

    At w = 0 the root is :math:`y_i = \alpha_i x / \alpha_n`, and there is no other. Where the path
    does not arrive within ``rounds``, the default method starts from its end.
    """
    line = StrengthLine.of(denoiser, image, solver)
    y = (solver.alpha[:-1] / solver.alpha[-1])[:, None] * line.image.flatten(1)
    path = follow(line, y, 0.0, 1.0, max_rounds=rounds, weight=1.0)
    return finished(denoiser, image, solver, path, line.tally.nfe, "arclength in strength")


def finished(
    denoiser: Denoiser, image: Tensor, solver: Solver, path: Path, cost: Tensor, name: str
) -> Inversion:
    """The default method from the end of a path, and the cost of both."""
    states = torch.cat([path.y.view(-1, *image.shape), image[None].double()])
    found = multisecant(denoiser, image, solver, start=states)
    return replace(found, nfe=found.nfe + cost, method=name)


def _unit(y: Tensor, w: float) -> tuple[Tensor, float]:
    size = (y.square().sum().item() + w**2) ** 0.5
    return y / size, w / size
