"""One compiled graph for a whole search: a network that sees the same number of rows always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from .devices import lifted
from .metrics import nmse

Call = Callable[..., Any]


@contextmanager
def compiled(module: nn.Module, rows: int, **options: Any) -> Iterator[None]:
    r"""Within, a network runs compiled, on ``rows`` rows at a time.

    A search calls its network on as many rows as are left to solve, so that compiled code would be
    compiled for every such number, and a CUDA graph recorded. Here each call is made of whole parts

    .. math:: n = q R - p, \qquad 0 \le p < R

    of ``R = rows`` rows; the last one is filled up with p copies of its last row, whose answers are
    dropped. What has derivatives runs uncompiled, and so does a copy of the network in float64.

    Args:
        module: the network, such as ``pipe.unet`` or ``pipe.transformer``. Tensors of its arguments
            that are as long as the first one have one entry a row.
        rows: rows of one compiled call. With guidance above 1 a state is two rows, in most
            pipelines.
        options: of :func:`torch.compile`, such as ``mode="reduce-overhead"``, which records CUDA
            graphs, or ``backend``.

    Raises:
        ValueError: if ``rows`` is below 1, the network is compiled already, or, at a call, the
            compiled network answers something else than the network itself, as it does where its
            rows depend on each other. That is looked at once for each number of rows.

    Example:
        >>> net = torch.nn.Linear(3, 3)
        >>> with torch.no_grad(), compiled(net, rows=4, backend="eager"):
        ...     net(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}: give at least 1")
    inside: Any = module
    if isinstance(module, torch._dynamo.OptimizedModule) or inside._compiled_call_impl is not None:
        raise ValueError(
            "the network is compiled already: give the one that torch.compile was given, as it was"
        )
    fast = torch.compile(inside._call_impl, **{"dynamic": False, **options})
    inside._compiled_call_impl = FixedRows(inside._call_impl, fast, rows)
    try:
        yield
    finally:
        inside._compiled_call_impl = None


@dataclass
class FixedRows:
    """A network of which one version takes a fixed number of rows.

    Attributes:
        plain: the network as it is.
        fixed: the same, called on ``rows`` rows always.
        rows: how many.
    """

    plain: Call
    fixed: Call
    rows: int
    _checked: set[int] = field(default_factory=set, repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns, whatever the number of rows."""
        leaves, tree = pytree.tree_flatten((args, kwargs))
        count = next((len(v) for v in leaves if isinstance(v, Tensor) and v.ndim), None)
        if count is None or _differentiated():
            return self.plain(*args, **kwargs)
        parts = [
            self._part([_cut(v, count, at, self.rows) for v in leaves], tree)
            for at in range(0, count, self.rows)
        ]
        result = _joined(parts, self.rows, count)
        if count not in self._checked:
            _check(result, self.plain(*args, **kwargs))
            self._checked.add(count)
        return result

    def _part(self, leaves: list[Any], tree: pytree.TreeSpec) -> Any:
        """One call of the fixed version; its answer is copied, as CUDA graphs write over theirs."""
        torch.compiler.cudagraph_mark_step_begin()
        args, kwargs = pytree.tree_unflatten(leaves, tree)
        answer = self.fixed(*args, **kwargs)
        return pytree.tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, answer)


def _differentiated() -> bool:
    """Whether derivatives are taken, which compiled networks have none of, or other ones."""
    forward = forward_ad._current_level >= 0
    functional = torch._C._functorch.peek_interpreter_stack() is not None
    return torch.is_grad_enabled() or forward or functional


def _cut(value: Any, count: int, at: int, rows: int) -> Any:
    """Rows ``at`` ... ``at + rows - 1`` of an argument, the last one repeated where it ends."""
    if not isinstance(value, Tensor) or not value.ndim or len(value) != count:
        return value
    part = value[at : at + rows]
    missing = rows - len(part)
    return torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part


def _joined(parts: list[Any], rows: int, count: int) -> Any:
    """The answers of all parts as one, without the rows that were filled up."""
    flat, trees = zip(*(pytree.tree_flatten(part) for part in parts), strict=True)
    whole = [
        torch.cat(leaf)[:count] if _has_rows(leaf[0], rows) else leaf[0]
        for leaf in zip(*flat, strict=True)
    ]
    return pytree.tree_unflatten(whole, trees[0])


def _has_rows(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


def _check(found: Any, plain: Any) -> None:
    """Refuse an answer that differs from the network's own by more than half its digits."""
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(plain), strict=True):
        if not isinstance(a, Tensor) or not a.is_floating_point():
            continue
        off = _off(lifted(a), lifted(b))
        if off > torch.finfo(a.dtype).eps ** 0.5:
            raise ValueError(
                f"compiled, on a fixed number of rows, the network answers something else (by "
                f"{off:.1e} of its size): its rows may depend on each other, or an argument is as "
                "long as its batch by chance; use it as it is"
            )


def _off(found: Tensor, plain: Tensor) -> float:
    """By how much of its size an answer is off; what is not finite has to be so in both."""
    if found.shape != plain.shape:
        return 1.0
    lost = ~(found.isfinite() & plain.isfinite())
    if not torch.allclose(found[lost], plain[lost], equal_nan=True):
        return torch.inf
    found, plain = found[~lost], plain[~lost]
    return 0.0 if torch.equal(found, plain) else nmse(found[None], plain[None]).sqrt().item()
