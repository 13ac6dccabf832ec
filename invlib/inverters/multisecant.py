"""All equations at once, by a quasi-Newton method that learns each node's derivative by itself."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..denoisers import Denoiser, Prediction, convert
from ..inversion import Inversion, Tally, floor
from ..rootfind import Search
from ..solvers import Solver
from ..watch import enter
from .secants import Pairs, gaussian_derivative
from .whole_trajectory import along_time, equation_sizes, gaussian_matrix, outputs, residual


def multisecant(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    start: Tensor | None = None,
    tol: float | None = None,
    max_iterations: int = 80,
    patience: int = 25,
    memory: int = 60,
    drop: float = 0.3,
    cap: float = 0.5,
    max_batch: int | None = None,
    variance: float = 0.5,
) -> Inversion:
    r"""Solve the N equations of a trajectory by Newton's method with a learnt Jacobian.

    .. math:: R_i = y_{i+1} - a_i y_i - \sum_{j\le i} b_{ij}\,m(y_j, t_j) = 0, \qquad
              \frac{\partial m}{\partial y}(y_j, t_j) \approx
              J_j = g_j I + (M_j - g_j Y_j)\,Y_j^+

    The only unknown parts of the Jacobian are N blocks, one a node, that do not mix. So every
    round gives N pairs, :math:`\Delta y_j` and :math:`\Delta m_j`, not one long pair as in
    Anderson's or Broyden's method, and the linear system with these blocks is solved exactly
    (Woodbury). :math:`g_j` is the derivative for Gaussian data; pairs are orthogonalised, the
    newest first, so that a stale one yields.

    A round is one batched network call on N states a sample. Started by itself the method makes
    ``iterations + 1`` calls one after the other.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table.
        start: states y_0 ... y_n to start from, ``[n+1, B, ...]``; by default :func:`jump`.
        tol: relative residual, not preconditioned, from which on a sample is done as soon as one
            more round gains less than a factor of 3; round-off of the network by default.
        max_iterations: rounds.
        patience: rounds without 10 % progress before a sample counts as stalled.
        memory: pairs that every node keeps.
        drop: a pair is left out if less than this share of it is new.
        cap: longest step, relative to the states.
        max_batch: most states in one network call.
        variance: variance of the Gaussian data; only the number of rounds depends on it.

    Source: the multi-secant update of Fang and Saad, Numer. Linear Algebra Appl. 2009, on every
    block (partial separability: Griewank and Toint, Numer. Math. 1982).
    """
    tol = floor(denoiser) if tol is None else tol
    tally, image = Tally.start(denoiser, image, solver, max_batch=max_batch)
    states = jump(tally, image) if start is None else start[:-1]
    y = states.transpose(0, 1).contiguous()
    inverse = torch.linalg.inv(gaussian_matrix(solver, variance))
    pairs = Pairs(gaussian_derivative(solver, variance), inverse @ solver.b, memory, drop)
    sizes = torch.full((len(image), solver.steps), torch.inf).double()
    search = Search(y, tol / 1000, max_iterations, patience, goal=tol)
    enter("multisecant")
    while len(search.rows):
        rows = search.rows
        m = outputs(tally, y, rows)
        r = residual(solver, image[rows], y, m)
        equations = equation_sizes(image[rows], y, r)
        pairs.add(y.flatten(2), m.flatten(2))
        best = search.residual[rows]
        go_on = search.observe(y, r)
        now = search.residual[rows]
        better = now < best
        sizes[rows[better].cpu()] = equations[better].cpu()
        settled = (best <= tol) & (now > best / 3)  # round-off: one more round gained little
        search.stop(settled[go_on], "converged")
        go_on &= ~settled
        pairs.keep(go_on)
        y, r = y[go_on], r[go_on]
        if len(y):
            step = pairs.step(along_time(inverse, r).flatten(2))
            size = step.flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1).clamp(min=1e-300)
            shorter = (cap / size.clamp(min=cap))[:, None, None]
            y = y + (shorter * step).view_as(y)
    root = search.root()
    found = torch.cat([root.x.transpose(0, 1), image[None]])
    return Inversion(
        noise=found[0] / solver.scale,
        states=found,
        residuals=sizes,
        iterations=root.iterations,
        nfe=tally.nfe,
        reason=tuple(
            "converged" if size <= tol else why
            for size, why in zip(root.residual.tolist(), root.reason, strict=True)
        ),
        method="multisecant",
    )


def jump(tally: Tally, image: Tensor) -> Tensor:
    r"""Naive steps from the image straight to every node, in one batched call, ``[n, B, ...]``.

    .. math:: y_i = \alpha_i \frac{x - \sigma_n\epsilon_i}{\alpha_n} + \sigma_i\epsilon_i,
              \quad \epsilon_i = \epsilon_\theta(x, t_i)
    """
    solver, count = tally.solver, len(image)
    rows = torch.arange(count, device=image.device).repeat(solver.steps)
    x = image.repeat(solver.steps, *[1] * (image.ndim - 1))

    def each(values: Tensor) -> Tensor:
        return values.to(x).repeat_interleave(count)

    kind: Prediction = getattr(tally.denoiser, "prediction", "epsilon")
    nodes = torch.arange(solver.steps, device=x.device).repeat_interleave(count)
    raw = tally.call(partial(solver.raw, tally.denoiser), x, nodes, rows)
    alpha, sigma = solver.alpha[:-1], solver.sigma[:-1]
    ends = solver.alpha[-1].expand_as(alpha), solver.sigma[-1].expand_as(sigma)
    at = (alpha, sigma) if kind == "sample" and not solver.sigma[-1] else ends
    noise = convert(raw, x, each(at[0]), each(at[1]), kind, "epsilon")
    noise = noise.view(solver.steps, *image.shape)
    data = (image - solver.sigma[-1].item() * noise) / solver.alpha[-1].item()
    shape = (-1, *[1] * image.ndim)
    return alpha.to(x).view(shape) * data + sigma.to(x).view(shape) * noise
