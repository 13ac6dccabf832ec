"""What BDIA and O-BELM share: each new state replaces the one two steps before it."""

from __future__ import annotations

from collections.abc import Callable

from ..schedule import Grid
from .shear import Reversible, Shear, ddim_weights

Weights = Callable[[int], tuple[float, float, float]]


def two_step(name: str, grid: Grid, weights: Weights) -> Reversible:
    r"""The table of an explicit two-step recursion; one evaluation a step.

    .. math:: x_{i+1} = k_i x_{i-1} + m_i x_i + c_i\,\epsilon(x_i, t_i), \quad 1 \le i < N

    :math:`x_1` is a DDIM step from :math:`x_0`, the noise. The pairs at the two ends are
    :math:`(x_0, x_1)` and :math:`(x_N, x_{N-1})`. From the image alone, :math:`x_{N-1}` is a naive
    DDIM step back: the noise is predicted at the image, with the label :math:`t_{N-1}`.

    Args:
        name: what to print.
        grid: time points.
        weights: :math:`k_i, m_i, c_i` of step i.

    Returns:
        The table of shears, for :func:`sample_reversible` and :func:`invert_reversible`.

    Raises:
        ValueError: if there are fewer than two steps.
    """
    n = grid.steps
    if n < 2:
        raise ValueError(f"{name} is a two-step recursion: it needs at least 2 steps, got {n}")
    shears = tuple(Shear((i + 1) % 2, *weights(i), i) for i in range(1, n))
    opening = Shear(1, 0.0, *ddim_weights(grid, 0, 1), 0)
    a, b = ddim_weights(grid, n, n - 1)
    closing = Shear((n - 1) % 2, 0.0, a, b, n - 1)
    return Reversible(f"{name}-{n}", grid, opening, shears, closing)
