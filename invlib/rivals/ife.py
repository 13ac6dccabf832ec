"""The iteration-free fixed-point estimator, a re-implementation."""

from __future__ import annotations

from torch import Tensor

from ..denoisers import Denoiser, convert, prediction_of, select
from ..evaluator import Evaluator
from ..inversion import Inversion
from ..inverters.naive import time_of, walk
from ..solvers import Solver
from .steps import all_rows, explicit, first_order


def ife(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
    r"""IFE: the closed form of a step's fixed point, with the data-prediction error of the last.

    .. math:: x_i = \frac{\sigma_i}{\sigma_{i+1}} x_{i+1}
              + \Bigl(\alpha_i - \frac{\sigma_i}{\sigma_{i+1}}\alpha_{i+1}\Bigr)
              (x_0 + \delta_i), \qquad
              \delta_i = D(x_i, t_i) - x_0 \approx \delta_{i+1}

    with :math:`x_0` the image: exact if :math:`\delta_i` were known, one evaluation a step.
    We had the paper's abstract and summaries of it, not its formulas; this is the derivation that
    they describe. In it :math:`x_0` cancels: the method is the explicit step with the label of
    the *known* state, DPM-Solver++(1) on the reversed grid. It keeps the order of naive inversion.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: any table; of a higher-order one the DDIM steps on its time points. From a state
            without noise, where D says nothing of the noise, it takes a naive step.

    Source: Chen et al., arXiv 2512.08547.
    """
    solver = first_order(solver)
    evaluator, image = Evaluator.start(denoiser, image, solver)
    rows = all_rows(image)
    kind = prediction_of(denoiser)
    states = [image]
    for i in reversed(range(solver.steps)):
        y = states[-1]
        alpha, sigma = solver.alpha[i + 1].to(y), solver.sigma[i + 1].to(y)
        if sigma == 0 or sigma == solver.sigma[i]:
            states.append(walk(evaluator, y, i + 1, i, 1, rows))
            continue
        label = y.new_full((len(y),), time_of(solver, i + 1))
        raw = evaluator.call(lambda y, t, r: select(denoiser, r)(y, t), y, label, rows)
        levels = alpha.expand(len(y)), sigma.expand(len(y))
        error = convert(raw.to(y.dtype), y, *levels, kind, "sample") - image
        ratio = solver.sigma[i].to(y) / sigma
        states.append(ratio * y + (solver.alpha[i].to(y) - ratio * alpha) * (image + error))
    return explicit(states, evaluator, "ife")
