"""O-BELM: the explicit two-step recursion of the highest order that both directions can have."""

from __future__ import annotations

from ..schedule import Grid
from .shear import Reversible
from .two_step import two_step


def o_belm(grid: Grid) -> Reversible:
    r"""O-BELM, the optimal bidirectional explicit linear multistep sampler; one evaluation a step.

    In :math:`u = x/\alpha` and :math:`s = \sigma/\alpha` the flow is
    :math:`du/ds = \epsilon`. With :math:`h_i = s_{i-1} - s_i` and :math:`r_i = h_{i+1}/h_i`

    .. math:: \frac{x_{i+1}}{\alpha_{i+1}} = r_i^2 \frac{x_{i-1}}{\alpha_{i-1}}
              + (1 - r_i^2) \frac{x_i}{\alpha_i} - h_{i+1}(1 + r_i)\,\epsilon(x_i, t_i)

    which is exact when :math:`\epsilon` is linear in s: of order 2. Undoing it divides by
    :math:`(h_N/h_1)^2` in all: time points that crowd at the image cost digits.

    Args:
        grid: time points.

    Returns:
        The table of shears, for :func:`sample_reversible` and :func:`invert_reversible`.

    Raises:
        ValueError: if there are fewer than two steps, or the grid starts without signal.

    Source: Wang, Yin, Dong et al., NeurIPS 2024.
    """
    s = grid.sigma / grid.alpha
    h = -s.diff(prepend=s[:1])

    def weights(i: int) -> tuple[float, float, float]:
        r, alpha = h[i + 1] / h[i], grid.alpha[i + 1]
        keep = alpha / grid.alpha[i - 1] * r**2
        other = alpha / grid.alpha[i] * (1 - r**2)
        return keep.item(), other.item(), (-alpha * h[i + 1] * (1 + r)).item()

    return two_step("O-BELM", grid, weights)
