"""Calls that stay within a share of the memory that is free, and the parts that they are made in.

A GPU says when it is full, so that a call can be made again in smaller parts. Of a CPU's memory
Linux hands out more than there is, and ends the process when it is used: there a call has to be
stopped before. So every call that is not known to be small is watched: what its tensors take is
counted, and it ends, to be made in parts, before that is more than its share. A call that fits is
not touched: it has the rows that it would have had.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .memory import free_bytes, in_use, is_full

SHARE = 0.5  # of the free memory that one call may take
LOOK = 1e-3  # of that share: an operation on so much is looked at before it is made
SURE = 2.0  # times what as many rows took before, for a call that nobody has to watch
OUTSIDE = 3e4  # bytes a number of a state that a network outside PyTorch may take
T = TypeVar("T")


class TooLargeError(MemoryError):
    """A call would take more memory than its share; nothing has failed yet."""


class Within(TorchDispatchMode):
    """Counts the bytes that are alive of a call, and ends it before they are too many.

    Args:
        most: bytes.
        kind: of the device whose memory is counted, such as ``cpu``.
    """

    supports_higher_order_operators = True

    def __init__(self, most: float, kind: str) -> None:
        super().__init__()
        self.most, self.kind = most, kind
        self.live = self.peak = 0
        self._alive: dict[int, Any] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Compiled code stays compiled inside."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func`` where what it returns has room."""
        kwargs = kwargs or {}
        given = [*_tensors(args), *_tensors(kwargs.values())]
        if self.most < math.inf and (not given or sum(map(_bytes, given)) > LOOK * self.most):
            self._check(self.live + _returned(func, args, kwargs))
        before = {id(_storage(v)) for v in given}
        result = func(*args, **kwargs)
        for v in _tensors((result,)):
            if v.device.type == self.kind:
                self._note(_storage(v), before)
        self._check(self.live)
        self.peak = max(self.peak, self.live)
        return result

    def _check(self, live: int) -> None:
        if live > self.most:
            raise TooLargeError(
                f"out of memory: a call would take {live / 1e9:.3g} GB, and may take "
                f"{self.most / 1e9:.3g} GB"
            )

    def _note(self, storage: Any, before: set[int]) -> None:
        """Count what a tensor lies in, once and as long as it lives, unless it was there before."""
        key = id(storage)
        if storage is not None and key not in before and key not in self._alive:
            size = storage.nbytes()
            self._alive[key] = weakref.ref(storage, lambda _: self._gone(key, size))
            self.live += size

    def _gone(self, key: int, size: int) -> None:
        del self._alive[key]
        self.live -= size


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results, in lists too."""
    for v in values:
        if isinstance(v, Tensor):
            yield v
        elif isinstance(v, list | tuple):
            yield from _tensors(v)


def _bytes(v: Tensor) -> int:
    return v.numel() * v.element_size()


def _storage(v: Tensor) -> Any:
    """What a tensor lies in; None for one that does not say."""
    try:
        return v.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _returned(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Bytes of what an operation returns anew; 0 where PyTorch cannot tell without making it."""
    schema = getattr(func, "_schema", None)
    if schema is None or any(r.alias_info is not None for r in schema.returns):
        return 0
    try:
        args, kwargs = tree_map(_on_meta, (args, kwargs))
        return sum(map(_bytes, _tensors(tree_leaves(func(*args, **kwargs)))))
    except Exception:  # whatever an operation says that has no such form
        return 0


def _on_meta(v: Any) -> Any:
    """An argument without what is in it."""
    if isinstance(v, Tensor):
        return torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device="meta")
    return torch.device("meta") if isinstance(v, torch.device) else v


@dataclass
class Parts:
    """How many rows go into one call of a function, and what that took.

    Attributes:
        most: most rows of one call; halved where memory turns out to be full.
        outside: whether the function leaves PyTorch. Then only Linux' account of the process shows
            what it takes, too late to stop it, and it begins with one row, then two, four ...,
            unless there is little to do.
    """

    most: int | None = None
    outside: bool = False
    _took: dict[int, float] = field(default_factory=dict, init=False, repr=False)
    _rows: int = field(default=0, init=False, repr=False)
    _room: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.most is not None and not (isinstance(self.most, int) and self.most >= 1):
            raise ValueError(
                f"max_batch is {self.most!r}: give a number from 1 on, or leave it out"
            )

    def map(self, function: Callable[..., T], *rows: Tensor, cost: int = 1) -> list[T]:
        """``function(*rows)``, some rows after the other; what is computed is kept.

        Args:
            function: of as many tensors.
            rows: tensors with one entry a row.
            cost: tells calls apart that take more memory a row, such as derivatives.
        """
        done: list[T] = []
        at, count = 0, len(rows[0])
        while at < count or not done:
            size, room = self._next(min(self.most or count, count - at), rows[0], cost)
            part = [v[at : at + size] for v in rows]
            try:
                with self._watched(size, room, rows[0].device, cost):
                    done.append(function(*part))
            except (RuntimeError, MemoryError) as error:
                if not is_full(error) or not self.halve(size):
                    raise
                continue
            at += size
        return done

    def _next(self, wanted: int, like: Tensor, cost: int) -> tuple[int, float | None]:
        """How many rows to call next, and what they may take; None if that need not be watched."""
        took = self._took.get(cost)
        tried = not self.outside or wanted <= self._rows
        if took is not None and tried and SURE * took * wanted <= self._room:
            return wanted, None
        free = free_bytes(like.device)
        if free is None:
            return wanted, None
        self._room = SHARE * free
        if took is not None:
            wanted = max(1, min(wanted, int(self._room / max(took, 1.0))))
        if self.outside:
            numbers = like[:1].numel()
            if took is None and wanted * numbers * OUTSIDE <= self._room:
                return wanted, None
            wanted = min(wanted, max(1, 2 * self._rows))  # memory that is used again hides
        if wanted > 1:
            return wanted, self._room
        return wanted, torch.inf if took is None else None  # one row has to be called in any case

    def halve(self, count: int) -> bool:
        """Make parts of ``count`` rows smaller; False where they have one row."""
        before = min(self.most or count, count)
        self.most = (before + 1) // 2
        return before > 1

    @contextmanager
    def _watched(
        self, size: int, room: float | None, device: torch.device, cost: int
    ) -> Iterator[None]:
        """Measure what a call of ``size`` rows takes, and end it before that is too much."""
        if room is None or not size:
            yield
            return
        if self.outside:
            before = in_use() or 0.0
            yield
            highest = (in_use("VmHWM") or 0.0) - before  # or of what was before: then too much
            peak, self._rows = 1e9 * highest, max(size, self._rows)
        else:
            with Within(room, device.type) as seen:
                yield
            peak = float(seen.peak)
        self._took[cost] = max(peak / size, self._took.get(cost, 0.0) if not self.outside else 0.0)


def joined(parts: list[Tensor]) -> Tensor:
    """What several parts have given, as one; what one part has given, as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
