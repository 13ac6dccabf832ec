"""Bytes and operations of a function, counted on tensors without values (device ``meta``)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
CONVOLUTION = torch.ops.aten.convolution.default


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that operations have made and nobody has dropped yet.

    Attributes:
        now: bytes alive.
        most: the most there ever were.
        reordered: whether convolutions work on copies, see :func:`peak_bytes`.
    """

    def __init__(self, *, reordered: bool = False) -> None:
        super().__init__()
        self.now = self.most = 0
        self.reordered = reordered
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the storages that are new."""
        kwargs = kwargs or {}
        given = {self._key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        if func is ATTENTION:  # without the matrix of all pairs of places, as CPUs and GPUs do it
            query, value = args[0], args[2]
            result = query.new_empty(*query.shape[:-1], value.shape[-1])
        else:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is NotImplemented:
                result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and self._key(tensor) not in given:
                self._add(tensor.untyped_storage())
        if self.reordered and func is CONVOLUTION:
            copies = sum(tensor.nbytes for tensor in (args[0], args[1], result))
            self.most = max(self.most, self.now + copies)
        return result

    @staticmethod
    def _key(tensor: torch.Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self.now += size
        self.most = max(self.most, self.now)
        self._known[key] = weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]


def peak_bytes(function: Callable[[], object], *, reordered: bool = False) -> int:
    r"""The most bytes that tensors made by a function ever take together.

    .. math:: \max_k \sum_{s\ \text{alive after operation}\ k} \mathrm{bytes}(s)

    Storages count once, views not at all, and what was there before (weights, inputs) neither.
    Attention counts its result alone. What another kernel needs for itself is not seen.

    Args:
        function: runs under ``torch.inference_mode``; on tensors on ``meta`` it costs nothing.
        reordered: whether a convolution also takes copies of its weights, its input and its result,
            in the blocked order of oneDNN: so it is on a CPU, for tensors in the usual order.
    """
    live = Live(reordered=reordered)
    with torch.inference_mode(), live:
        function()
    return live.most


def flops(function: Callable[[], object]) -> int:
    """Floating-point operations of a function's products and convolutions.

    A product of ``[n, k]`` and ``[k, m]`` has ``2 n k m``: a multiplication and an addition each.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        function()
    return counter.get_total_flops()
