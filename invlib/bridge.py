r"""Networks behind NumPy, JAX or ONNX: their values as they are, their derivatives by differences.

PyTorch cannot differentiate what leaves it. A bridged network is evaluated on plain tensors, and
its Jacobian times a direction is a central difference, two more evaluations:

.. math:: J(x)\,v \approx \frac{m(x + hv) - m(x - hv)}{2h}, \qquad
          h = \varepsilon^{1/3}\,\frac{\|x\| + \sqrt D}{\|v\|}

with the round-off :math:`\varepsilon` of its dtype; the relative error is about
:math:`\varepsilon^{2/3}`, 2e-5 in float32. There is no reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy
import torch
from torch import Tensor

from .denoisers import Prediction, check_prediction
from .newton import forward_mode
from .shapes import column

Outside = Callable[..., Any]


@dataclass(frozen=True)
class Bridged:
    """A function outside PyTorch as a denoiser, or as the network of :func:`invlib.guided`.

    Attributes:
        function: ``(x, t)``, or ``(x, t, condition)``, to an array or a tensor like x.
        prediction: what it predicts.
        dtype: what x, t and a floating-point condition are cast to before.
    """

    function: Outside
    prediction: Prediction
    dtype: torch.dtype

    @property
    def difference_error(self) -> float:
        """Relative error of a Jacobian-vector product, to expect."""
        return float(torch.finfo(self.dtype).eps ** (2 / 3))

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The prediction at states ``x [B, ...]``, times ``t [B]``, conditions ``[B, ...]``."""
        return cast(Tensor, _Outside.apply(x, t, condition, self))

    def evaluate(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """The function's values on plain tensors, as a tensor like x."""
        given = [v for v in (x, t, condition) if v is not None]
        given = [
            v.detach().to(self.dtype, copy=True) if v.is_floating_point() else v for v in given
        ]
        with torch.no_grad():
            output = self.function(*given)
        if not isinstance(output, Tensor):
            output = torch.from_numpy(numpy.array(output))
        if output.shape != x.shape:
            raise ValueError(f"the network returned {tuple(output.shape)} for {tuple(x.shape)}")
        return output.detach().to(x)

    def in_float64(self) -> Bridged:
        """Itself: its dtype is not ours to change."""
        return self


def bridged(
    function: Outside, *, prediction: Prediction, dtype: torch.dtype = torch.float32
) -> Bridged:
    """Make a denoiser of a function that leaves PyTorch: of NumPy, JAX, ONNX, a server.

    ``bridged(lambda x, t: run(x.numpy(), t.numpy()), prediction="epsilon")``. All methods of
    :func:`invlib.invert` take it. Where one needs a derivative it is a central difference (see
    :mod:`invlib.bridge`); ``algorithm1`` and ``multisecant`` need none.

    Args:
        function: ``(x, t)``, or ``(x, t, condition)``, to an array or a tensor like x; it gets
            tensors ``x [B, ...]`` and ``t [B]`` without a graph, on the device of the states.
        prediction: what it predicts; see the table of :mod:`invlib.denoisers`.
        dtype: what it computes in; its inputs are cast to it, and the step of a difference
            follows from it.

    Raises:
        ValueError: if the prediction or the dtype is unknown.
    """
    check_prediction(prediction)
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be one of floating-point numbers, got {dtype}")
    return Bridged(function, prediction, dtype)


def subspace_singular_values(
    function: Callable[[Tensor], Tensor], x: Tensor, *, vectors: int
) -> tuple[Tensor, Tensor]:
    r"""Bounds of a Jacobian's singular values by forward-mode products alone, ``[B]`` each.

    .. math:: \sigma_{\min}(J) \le \sigma_{\min}(JV), \qquad
              \sigma_{\max}(JV) \le \sigma_{\max}(J), \qquad V^T V = I

    with ``vectors`` random columns of V; exact if they are as many as x has entries.

    Args:
        function: of states ``[B, ...]``, every row by itself.
        x: where, ``[B, ...]``.
        vectors: columns of V, each a product.

    Returns:
        An upper bound of the smallest and a lower bound of the largest.
    """
    size = x[0].numel()
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(size, min(vectors, size), dtype=torch.float64, generator=generator)
    directions = torch.linalg.qr(v)[0].T.to(x)
    with torch.no_grad():
        columns = [forward_mode(function, x, d.expand(len(x), -1).view_as(x)) for d in directions]
    values = torch.linalg.svdvals(torch.stack(columns, 1).flatten(2))
    return values[:, -1], values[:, 0]


class _Outside(torch.autograd.Function):
    """The bridge in PyTorch's terms: values, a forward mode, several directions at once."""

    @staticmethod
    def forward(x: Tensor, t: Tensor, condition: Tensor | None, network: Bridged) -> Tensor:
        """The values of the function."""
        return network.evaluate(x, t, condition)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what a derivative needs."""
        ctx.inputs = inputs

    @staticmethod
    def jvp(ctx: Any, v: Tensor, *_: Any) -> Tensor:
        """The central difference along v, every row with a step of its own."""
        x, t, condition, network = ctx.inputs
        x, eps = x.detach(), torch.finfo(network.dtype).eps
        size = x.flatten(1).norm(dim=1) + x[0].numel() ** 0.5
        length = v.flatten(1).norm(dim=1)
        h = eps ** (1 / 3) * size / torch.where(length > 0, length, 1.0)
        step = column(h, x) * v
        ends = [cast(Tensor, _Outside.apply(x + s * step, t, condition, network)) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * column(h, x))

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """There is none."""
        raise NotImplementedError(
            "a bridged network has no reverse-mode derivative: choose a method that needs none "
            "(invert by 'multisecant' or 'stepwise', certify with vectors=0), or a PyTorch network"
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        t: Tensor,
        condition: Tensor | None,
        network: Bridged,
    ) -> tuple[Tensor, int]:
        """One evaluation a direction."""

        def part(value: Any, dim: int | None, k: int) -> Any:
            return value if dim is None else value.select(dim, k)

        given = (x, t, condition)
        rows = [
            cast(
                Tensor,
                _Outside.apply(
                    *(part(v, d, k) for v, d in zip(given, in_dims, strict=False)), network
                ),
            )
            for k in range(info.batch_size)
        ]
        return torch.stack(rows), 0
