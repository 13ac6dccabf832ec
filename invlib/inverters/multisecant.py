"""All equations at once, by a quasi-Newton method that learns each node's derivative by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..precision import roundoff
from ..solvers import Solver
from ..watch import enter
from .rounds import NEAR, Rounds, converge
from .starts import one_step_states


@torch.no_grad()
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
        start: states y_0 ... y_n to start from, ``[n+1, B, ...]``; by default
            :func:`~invlib.inverters.starts.one_step_states`.
        tol: relative residual, not preconditioned, from which on a sample is done as soon as one
            more round gains less than a factor of 3; by default ten times what the round-off of
            the network makes, measured.
        max_iterations: rounds.
        patience: rounds without 10 % progress before a sample counts as stalled.
        memory: pairs that every node keeps.
        max_batch: most states in one network call.
        variance: variance of the Gaussian data; only the number of rounds depends on it.

    Source: the multi-secant update of Fang and Saad, Numer. Linear Algebra Appl. 2009, on every
    block (partial separability: Griewank and Toint, Numer. Math. 1982).
    """
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    states = one_step_states(evaluator, image) if start is None else start
    rounds = Rounds.start(evaluator, image, states, memory=memory, variance=variance)
    enter("multisecant")
    y, rows = rounds.y, rounds.rows
    r = rounds.evaluate()
    precision, least = None, torch.full_like(r[:, 0].flatten(1)[:, 0], (tol or 0.0) / NEAR)
    if tol is None:
        precision = roundoff(evaluator, y, rows, rounds.outputs)
        least = precision.equations
    found = converge(
        rounds, r, tol=least, goal=NEAR * least, max_iterations=max_iterations, patience=patience
    )
    states = torch.cat([found.y.transpose(0, 1), image[None]])
    return Inversion(
        noise=states[0] / solver.scale,
        states=states,
        residuals=found.sizes.cpu(),
        iterations=found.iterations,
        nfe=evaluator.nfe,
        reason=found.reason,
        method="multisecant",
        roundoff=precision,
    )
