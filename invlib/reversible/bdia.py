"""BDIA: DDIM corrected by its own error one step earlier."""

from __future__ import annotations

from ..schedule import Grid
from .shear import Reversible, ddim_weights
from .two_step import two_step


def bdia(grid: Grid, *, gamma: float = 1.0) -> Reversible:
    r"""BDIA, bi-directional integration approximation of DDIM; one evaluation a step.

    .. math:: x_{i+1} = \gamma\bigl(x_{i-1} - \mathrm{DDIM}(x_i: t_i \to t_{i-1})\bigr)
              + \mathrm{DDIM}(x_i: t_i \to t_{i+1})

    Gamma 1 is a leapfrog, of order 2 on a smooth grid; below 1 the order is 1, with
    :math:`(1-\gamma)/(1+\gamma)` of DDIM's error. Undoing it divides by gamma at every step: with
    gamma 0.5 and 50 steps errors grow by :math:`10^{14}`, and not even float64 brings back the
    noise.

    Args:
        grid: time points.
        gamma: weight of the correction in (0, 1]; the authors use 1 at 40 steps, 0.5 at 10.

    Returns:
        The table of shears, for :func:`sample_reversible` and :func:`invert_reversible`.

    Raises:
        ValueError: if gamma is outside (0, 1], there are fewer than two steps, or the grid starts
            without signal.

    Source: Zhang, Lewis, Kleijn, ECCV 2024.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie in (0, 1] (0 is DDIM, not reversible), got {gamma}")

    def weights(i: int) -> tuple[float, float, float]:
        a, b = ddim_weights(grid, i, i + 1)
        back_a, back_b = ddim_weights(grid, i, i - 1)
        return gamma, a - gamma * back_a, b - gamma * back_b

    return two_step("BDIA", grid, weights)
