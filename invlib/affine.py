"""Reading a map that only moves, scales and shifts the elements of a tensor, by probing it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .devices import lifted

LARGE = 64.0  # a power of two: multiplying by it rounds nothing
SLACK = 8  # roundings that a map may make


@dataclass(frozen=True)
class ElementwiseMap:
    r"""A map of which every output element is an affine function of one input element.

    .. math:: y_k = a_k\,x_{j(k)} + b_k

    Packing tokens, reshaping, permuting axes, means and deviations of channels are of this kind.
    Output elements with :math:`a_k = 0` are constant (padding); input elements that no output
    element reads are dropped (cropping).

    Attributes:
        in_shape: shape of the input.
        out_shape: shape of the output.
        source: which element of the flat input each element of the flat output reads, j.
        scale: a, float64, flat.
        shift: b, float64, flat.
        precision: relative round-off of the dtype in which the map was read.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    source: Tensor
    scale: Tensor
    shift: Tensor
    precision: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """The output for an input of ``in_shape``, float64.

        Raises:
            ValueError: if the input has another shape.
        """
        if tuple(x.shape) != self.in_shape:
            raise ValueError(f"this map reads {self.in_shape}, got {tuple(x.shape)}")
        x = lifted(x)
        source, scale, shift = (part.to(x.device) for part in (self.source, self.scale, self.shift))
        return (scale * x.reshape(-1)[source] + shift).reshape(self.out_shape)

    def inverse(self, y: Tensor) -> Tensor:
        """The input for an output of ``out_shape``, float64; constant elements are not looked at.

        Raises:
            ValueError: if the output has another shape, or does not determine the input.
        """
        dropped, repeated = int((self.readers == 0).sum()), int((self.readers > 1).sum())
        if dropped or repeated:
            raise ValueError(
                f"this map is not one-to-one: of {len(self.readers)} input elements it drops "
                f"{dropped} and repeats {repeated}"
            )
        return self.least_squares(y)

    def least_squares(self, y: Tensor) -> Tensor:
        r"""The smallest input whose output is nearest to y, float64; dropped elements are 0.

        .. math:: x_j = \sum_{j(k) = j} a_k (y_k - b_k) \Big/ \sum_{j(k) = j} a_k^2

        Raises:
            ValueError: if the output has another shape.
        """
        if tuple(y.shape) != self.out_shape:
            raise ValueError(f"this map makes {self.out_shape}, got {tuple(y.shape)}")
        y = lifted(y)
        source, scale, shift = (part.to(y.device) for part in (self.source, self.scale, self.shift))
        nothing = scale.new_zeros(math.prod(self.in_shape))
        weight = nothing.index_add(0, source, scale.square())
        pulled = nothing.index_add(0, source, scale * (y.reshape(-1) - shift))
        return (pulled / torch.where(weight > 0, weight, 1.0)).reshape(self.in_shape)

    @property
    def readers(self) -> Tensor:
        """How many output elements read each element of the flat input; 0 where it is dropped."""
        live = self.source[self.scale != 0]
        return torch.bincount(live, minlength=math.prod(self.in_shape))

    @property
    def one_to_one(self) -> bool:
        """Whether the output determines the input, each element from one place."""
        return bool((self.readers == 1).all())

    @property
    def samples(self) -> int:
        """Into how many blocks of rows the map falls, of which none reads another one's input.

        Input and output are cut into so many equal blocks of rows: [B, C, F, H, W] to
        [B F, C, H, W] has B samples, and so have B rows that are mapped row by row.
        """
        most = math.gcd(self.in_shape[0], self.out_shape[0])
        return next(n for n in range(most, 0, -1) if most % n == 0 and self._falls_into(n))

    def _falls_into(self, samples: int) -> bool:
        live = self.scale != 0
        own = torch.arange(samples, device=self.source.device)
        own = own.repeat_interleave(len(self.source) // samples)
        read = self.source // (math.prod(self.in_shape) // samples)
        return bool((own == read)[live].all())

    def rows(self, index: Tensor, samples: int | None = None) -> ElementwiseMap:
        """The map of some of the samples, in the given order.

        Args:
            index: which samples.
            samples: into how many blocks of rows to cut; by default as many as possible.

        Raises:
            ValueError: if blocks of so many rows read each other's input.
            IndexError: if there is no such sample.
        """
        samples = self.samples if samples is None else samples
        if (
            self.in_shape[0] % samples
            or self.out_shape[0] % samples
            or not self._falls_into(samples)
        ):
            raise ValueError(f"this map does not treat {samples} samples one by one")
        if len(index) and not (0 <= int(index.min()) and int(index.max()) < samples):
            raise IndexError(f"this map has {samples} samples, got the indices {index.tolist()}")
        size = math.prod(self.in_shape) // samples
        index = index.to(self.source.device)
        source, scale, shift = (
            part.view(samples, -1)[index] for part in (self.source, self.scale, self.shift)
        )
        source = source % size + size * torch.arange(len(index), device=source.device)[:, None]
        return replace(
            self,
            in_shape=(self.in_shape[0] // samples * len(index), *self.in_shape[1:]),
            out_shape=(self.out_shape[0] // samples * len(index), *self.out_shape[1:]),
            source=source.flatten(),
            scale=scale.flatten(),
            shift=shift.flatten(),
        )


@torch.inference_mode(False)
@torch.no_grad()
def read_elementwise(
    function: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> ElementwiseMap:
    r"""Read a map :math:`y_k = a_k\,x_{j(k)} + b_k` from a few calls.

    At 0 it gives b, at :math:`\pm 64` it gives a, and where the input is 64 or -64 as a bit of the
    element's index is 1 or 0, all bits together give j: :math:`\lceil\log_2 D\rceil + 6` calls in
    all. Such inputs are exact in every dtype. Then the map must hold for random inputs.

    Args:
        function: the map; it is given new tensors only.
        shape: shape of its input.
        dtype: dtype of its input.
        device: device of its input.

    Raises:
        ValueError: if the map is not of this kind; the message says what was seen.
    """
    size = math.prod(shape)
    index = torch.arange(size, device=device)
    out_shape, coarsest = None, torch.finfo(dtype).eps

    def output(x: Tensor) -> Tensor:
        nonlocal out_shape, coarsest
        y = function(x.to(dtype).reshape(shape))
        if not y.is_floating_point():
            raise ValueError(f"not an elementwise affine map: it makes {y.dtype} of {dtype}")
        if out_shape not in (None, tuple(y.shape)):
            raise ValueError("not an elementwise affine map: the shape of its output changes")
        out_shape, coarsest = tuple(y.shape), max(coarsest, torch.finfo(y.dtype).eps)
        if not torch.isfinite(y).all():
            raise ValueError("not an elementwise affine map: it makes NaN or infinity of numbers")
        return y.detach().to(torch.float64, copy=True).flatten()

    nothing = torch.zeros(size, device=device)
    shift, low, high = output(nothing), output(nothing - LARGE), output(nothing + LARGE)
    scale = (high - low) / (2 * LARGE)
    if not torch.equal(output(nothing), shift):
        raise ValueError("not an elementwise affine map: it is random")
    if out_shape is None or not out_shape:
        raise ValueError("not an elementwise affine map: its output is a single number")
    slack = SLACK * coarsest * (LARGE * scale.abs() + shift.abs())
    source = torch.zeros_like(shift, dtype=torch.long)
    for bit in range((size - 1).bit_length()):
        y = output(torch.where(index >> bit & 1 == 1, LARGE, -LARGE))
        if (torch.minimum((y - low).abs(), (y - high).abs()) > slack).any():
            raise ValueError(
                "not an elementwise affine map: an output element depends on several input elements"
            )
        source = source | ((y - high).abs() < (y - low).abs()).long() << bit
    found = ElementwiseMap(shape, out_shape, source, scale, shift, coarsest)
    generator = torch.Generator().manual_seed(0)
    for spread in (1.0, 16.0):
        x = spread * torch.randn(size, generator=generator, dtype=torch.float64)
        x = x.to(device=device, dtype=dtype).double()
        moved = scale * x[source]
        smallest = torch.finfo(dtype).smallest_normal
        slack = SLACK * (coarsest * (moved.abs() + shift.abs()) + smallest)
        if ((output(x) - moved - shift).abs() > slack).any():
            raise ValueError("not an elementwise affine map: its output is not linear in its input")
    return found
