"""Random generators whose noise can be drawn again for many seeds, and who uses which."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from . import mersenne, philox

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Generator:
    """How noise is drawn of a seed.

    Attributes:
        some: ``(seeds, start, count, shape, dtype) -> [seeds, count]``: values of the draw of a
            shape, for many seeds at once.
        whole: ``(seed, shape, dtype) -> noise`` of one seed.
        block: what ``start`` and ``count`` have to be multiples of.
        bits: how many bits of a seed count.
        whole_cost: ``numel -> cost`` of a whole noise, in values of ``some``.
        dtypes: what can be drawn in.
        name: what to call it.
    """

    some: Callable[[np.ndarray, int, int, Shape, torch.dtype], Tensor]
    whole: Callable[[int, Shape, torch.dtype], Tensor]
    block: int
    bits: int
    whole_cost: Callable[[int], float]
    dtypes: tuple[torch.dtype, ...]
    name: str = "a generator of your own"


def _cpu(seeds: np.ndarray, start: int, count: int, _: Shape, dtype: torch.dtype) -> Tensor:
    return mersenne.normals(seeds, start, count, dtype)


def _cpu_whole(seed: int, shape: Shape, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _cuda(
    seeds: np.ndarray,
    start: int,
    count: int,
    shape: Shape,
    dtype: torch.dtype,
    *,
    threads: int | None = None,
) -> Tensor:
    found = philox.normals(seeds, start, count, numel=math.prod(shape), threads=threads)
    return found.to(dtype)


def cuda(threads: int | None = None) -> Generator:
    """PyTorch's generator on a CUDA device.

    Args:
        threads: the threads of the device (multiprocessors times threads of each), needed where a
            draw has more elements than that, as the elements then lie in another order.

    Raises:
        ValueError: if there are fewer threads than one block of PyTorch's kernel has.
    """
    if threads is not None and threads < philox.THREADS:
        raise ValueError(
            f"a device has {philox.THREADS} threads at least, not {threads}: give the number of "
            "its multiprocessors times the threads that each holds, such as 108 * 2048"
        )
    some = partial(_cuda, threads=threads)

    def whole(seed: int, shape: Shape, dtype: torch.dtype) -> Tensor:
        one = np.array([seed], np.uint64)
        return some(one, 0, math.prod(shape), shape, dtype).view(shape)

    kinds = (torch.float32, torch.float16, torch.bfloat16)  # the halves are rounded float32
    name = "torch-cuda" if threads is None else f"torch-cuda of {threads} threads"
    return Generator(some, whole, 1, 64, float, kinds, name)


# About 5 microseconds of CPU time for a seed and its noise, and 16 nanoseconds for a value.
CPU = Generator(
    _cpu, _cpu_whole, mersenne.BLOCK, 32, lambda _: 300.0, tuple(mersenne.LIKE), "torch-cpu"
)
GENERATORS: Mapping[str, Generator] = {kind.name: kind for kind in (CPU, cuda())}
FRONT_ENDS: Mapping[str, tuple[str, str]] = {
    "diffusers, CPU generator": ("torch-cpu", "in the pipeline's dtype; one draw for a batch"),
    "diffusers, list of CPU generators": ("torch-cpu", "in its dtype; one draw a picture"),
    "diffusers, CUDA generator": ("torch-cuda", "in the pipeline's dtype; one draw for a batch"),
    "webui, source CPU": ("torch-cpu", "float32; one draw a picture, of consecutive seeds"),
    "webui, source GPU or NV": ("torch-cuda", "float32; one draw a picture, of consecutive seeds"),
    "ComfyUI": ("torch-cpu", "float32; one draw for a batch"),
}
