"""Newton's method with Jacobian-vector products, GMRES and a line search, per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from .rootfind import Residual, Root, Search
from .watch import stopped


@runtime_checkable
class ForwardMode(Protocol):
    """A residual that has its own Jacobian-vector product."""

    def jvp(self, x: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        """The Jacobian at x times v."""
        ...


def newton_krylov(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float | Tensor = 1e-12,
    max_iterations: int = 20,
    krylov: int = 30,
    forcing: float = 0.1,
    halvings: int = 8,
    patience: int = 6,
) -> Root:
    r"""Inexact Newton: GMRES on :math:`J\,d = -r` by forward-mode products, then backtracking.

    Args:
        residual: as in :mod:`invlib.rootfind`; its network must allow forward-mode AD.
        x: starting point, ``[B, ...]``.
        slope: number that approximates the Jacobian, used to scale the system.
        tol: relative residual at which a sample is done.
        max_iterations: Newton steps.
        krylov: most Krylov vectors a step.
        forcing: relative linear residual at which GMRES stops early.
        halvings: most halvings of a step in the line search.
        patience: Newton steps without 10 % progress before a sample counts as stalled.
    """
    search = Search(x, tol, max_iterations, patience)
    r = residual(x, search.rows) / slope
    while len(search.rows):
        go_on = search.observe(x, r * slope)
        x, r = x[go_on], r[go_on]
        if not len(x):
            break
        rows = search.rows.to(x.device)
        direction = _gmres(_product(residual, x, rows, slope), r, krylov, forcing)
        x, r, moved = _line_search(residual, x, r, direction, rows, slope, halvings)
        search.stop(~moved.cpu(), "stalled")  # the next step would be the same
        x, r = x[moved], r[moved]
    return search.root()


def forward_mode(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """The derivative of ``function`` at x along v; attention runs in its plain form.

    Autocast is off inside: it has no forward mode, and a derivative need not be rounded alike.
    Dual numbers leave tensors that do not depend on x as they are, so that a pipeline may take
    them to NumPy; ``torch.func.jvp`` wraps them all.
    """
    with _differentiable(x), forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(function(forward_ad.make_dual(x, v)))
        return torch.zeros_like(value) if tangent is None else cast(Tensor, tangent)


def forward_modes(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """The derivatives of ``function`` at x along several directions ``v [k, ...]``, in one call."""
    with _differentiable(x):
        return torch.func.vmap(lambda d: torch.func.jvp(function, (x,), (d,))[1])(v)


@contextmanager
def _differentiable(x: Tensor) -> Iterator[None]:
    """Run networks in a form of which PyTorch has the forward-mode derivative."""
    plain = torch.autocast(x.device.type, enabled=False)
    with sdpa_kernel(SDPBackend.MATH), _ContiguousNorms(), plain:
        yield


class _ContiguousNorms(TorchFunctionMode):
    """Gives group norms contiguous tensors: for others PyTorch lacks the forward-mode derivative.

    Others come out of attention blocks and of networks in ``channels_last`` format.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``, a group norm on contiguous input."""
        if func is torch.nn.functional.group_norm:
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))


def _product(
    residual: Residual, x: Tensor, rows: Tensor, slope: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """The Jacobian times ``v [j, D]``, at those of the states x that ``which [j]`` names."""

    def product(v: Tensor, which: Tensor) -> Tensor:
        at, at_rows = x[which], rows[which]
        v = v.view_as(at)
        if isinstance(residual, ForwardMode):
            w = residual.jvp(at, v, at_rows)
        else:
            w = forward_mode(lambda y: residual(y, at_rows), at, v)
        return torch.nan_to_num(w.flatten(1) / slope, posinf=0.0, neginf=0.0)

    return product


def _gmres(
    product: Callable[[Tensor, Tensor], Tensor], r: Tensor, krylov: int, forcing: float
) -> Tensor:
    """Minimise |J d + r| over a Krylov space for every row, until its forcing, ``[k, D]``."""
    flat = r.flatten(1)
    direction = torch.zeros_like(flat)
    active = torch.arange(len(flat), device=r.device)
    beta = flat.norm(dim=1)
    basis = [-flat / beta.clamp(min=1e-300)[:, None]]
    h = flat.new_zeros(len(flat), krylov + 1, krylov)
    for j in range(krylov):
        w = product(basis[j], active)
        stacked = torch.stack(basis, 2)
        for _ in range(2):  # twice is enough (Gram-Schmidt in finite precision)
            c = (w[:, None] @ stacked)[:, 0]
            h[:, : j + 1, j] += c
            w = w - (stacked @ c[:, :, None])[:, :, 0]
        h[:, j + 1, j] = w.norm(dim=1)
        basis.append(w / h[:, j + 1, j].clamp(min=1e-300)[:, None])
        target = flat.new_zeros(len(active), j + 2, 1)
        target[:, 0, 0] = beta
        hessenberg = h[:, : j + 2, : j + 1]
        best = torch.linalg.pinv(hessenberg, rtol=1e-13) @ target
        left = (hessenberg @ best - target)[:, :, 0].norm(dim=1)
        direction[active] = (stacked @ best)[:, :, 0]
        go_on = left > forcing * beta
        active, beta, h = active[go_on], beta[go_on], h[go_on]
        basis = [b[go_on] for b in basis]
        if not len(active) or stopped():  # the best direction so far is one, too
            break
    return direction


def _line_search(
    residual: Residual,
    x: Tensor,
    r: Tensor,
    direction: Tensor,
    rows: Tensor,
    slope: float,
    halvings: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each sample's step until its residual falls; x, r, and for whom it did fall."""
    x, r = x.clone(), r.clone()
    before = r.flatten(1).norm(dim=1)
    todo, size = torch.arange(len(x), device=x.device), 1.0
    moved = torch.zeros_like(todo, dtype=torch.bool)
    for _ in range(halvings + 1):
        trial = x[todo] + size * direction[todo].view_as(x[todo])
        value = residual(trial, rows[todo]) / slope
        norm = torch.nan_to_num(value.flatten(1).norm(dim=1), nan=math.inf)
        good = norm < (1 - 1e-4 * size) * before[todo]
        x[todo[good]], r[todo[good]], moved[todo[good]] = trial[good], value[good], True
        todo, size = todo[~good], size / 2
        if not len(todo):
            break
    return x, r, moved
