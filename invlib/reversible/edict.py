"""EDICT: two coupled DDIM runs that see each other's states."""

from __future__ import annotations

from ..schedule import Grid
from .shear import Reversible, Shear, ddim_weights


def edict(grid: Grid, *, p: float = 0.93, alternate: bool = True) -> Reversible:
    r"""EDICT, exact diffusion inversion by coupled transformations; two evaluations a step.

    .. math:: x' &= a_i x_i + b_i\,\epsilon(y_i, t_i), &
              y' &= a_i y_i + b_i\,\epsilon(x', t_i), \\
              x_{i+1} &= p\,x' + (1-p)\,y', &
              y_{i+1} &= p\,y' + (1-p)\,x_{i+1}

    with DDIM's :math:`a_i, b_i` and :math:`y_0 = x_0`; x is the image. Of order 1. Mixing shrinks
    :math:`x - y`, which the coupled steps let grow, by :math:`p^2` a step; undoing it enlarges
    errors as much. From the image alone, y is a copy of it.

    Args:
        grid: time points.
        p: mixing weight in (0, 1]; 1 does not mix.
        alternate: in every second step move y before x, as the authors do.

    Returns:
        The table of shears, for :func:`sample_reversible` and :func:`invert_reversible`.

    Raises:
        ValueError: if p is outside (0, 1] or the grid starts without signal.

    Source: Wallace, Gokul, Naik, CVPR 2023.
    """
    if not 0 < p <= 1:
        raise ValueError(f"the mixing weight p must lie in (0, 1], got {p}")
    mixing = (Shear(0, p, 1 - p), Shear(1, p, 1 - p))
    shears: list[Shear] = []
    for i in range(grid.steps):
        a, b = ddim_weights(grid, i, i + 1)
        first = i % 2 if alternate else 0
        shears += [Shear(first, a, 0.0, b, i), Shear(1 - first, a, 0.0, b, i), *mixing]
    copy = Shear(1, 0.0, 1.0)
    return Reversible(f"EDICT-{grid.steps}", grid, copy, tuple(shears), copy)
