"""Newton's method with Jacobian-vector products, GMRES and a line search, per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .rootfind import Residual, Root, Search


@runtime_checkable
class ForwardMode(Protocol):
    """A residual that has its own Jacobian-vector product."""

    def jvp(self, x: Tensor, v: Tensor, rows: Tensor) -> Tensor: ...


def newton_krylov(
    residual: Residual,
    x: Tensor,
    *,
    slope: float = 1.0,
    tol: float = 1e-12,
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
        rows = search.rows
        direction = _gmres(_product(residual, x, rows, slope), r, krylov, forcing)
        x, r = _line_search(residual, x, r, direction, rows, slope, halvings)
    return search.root()


def forward_mode(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """The derivative of ``function`` at x along v; attention runs in its plain form."""
    with sdpa_kernel(SDPBackend.MATH):
        return cast(Tensor, torch.func.jvp(function, (x,), (v,))[1])


def _product(
    residual: Residual, x: Tensor, rows: Tensor, slope: float
) -> Callable[[Tensor], Tensor]:
    if isinstance(residual, ForwardMode):
        return lambda v: residual.jvp(x, v.view_as(x), rows).flatten(1) / slope
    return lambda v: (
        forward_mode(lambda y: residual(y, rows), x, v.view_as(x)).flatten(1) / slope
    )


def _gmres(product: Callable[[Tensor], Tensor], r: Tensor, krylov: int, forcing: float) -> Tensor:
    """Minimise |J d + r| over a Krylov space, for every row at once, ``[k, D]``."""
    flat = r.flatten(1)
    beta = flat.norm(dim=1)
    basis = [-flat / beta.clamp(min=1e-300)[:, None]]
    h = flat.new_zeros(len(flat), krylov + 1, krylov)
    best = flat.new_zeros(len(flat), 1)
    for j in range(krylov):
        w = product(basis[j])
        stacked = torch.stack(basis, 2)
        for _ in range(2):  # twice is enough (Gram-Schmidt in finite precision)
            c = (w[:, None] @ stacked)[:, 0]
            h[:, : j + 1, j] += c
            w = w - (stacked @ c[:, :, None])[:, :, 0]
        h[:, j + 1, j] = w.norm(dim=1)
        basis.append(w / h[:, j + 1, j].clamp(min=1e-300)[:, None])
        target = flat.new_zeros(len(flat), j + 2, 1)
        target[:, 0, 0] = beta
        hessenberg = h[:, : j + 2, : j + 1]
        best = (torch.linalg.pinv(hessenberg, rtol=1e-13) @ target)[:, :, 0]
        left = (hessenberg @ best[:, :, None] - target)[:, :, 0].norm(dim=1)
        if (left <= forcing * beta).all():
            break
    return (torch.stack(basis[: best.shape[1]], 2) @ best[:, :, None])[:, :, 0]


def _line_search(
    residual: Residual,
    x: Tensor,
    r: Tensor,
    direction: Tensor,
    rows: Tensor,
    slope: float,
    halvings: int,
) -> tuple[Tensor, Tensor]:
    """Halve each sample's step until its residual falls; keep x where it never does."""
    x, r = x.clone(), r.clone()
    before = r.flatten(1).norm(dim=1)
    todo = torch.arange(len(x), device=x.device)
    size = 1.0
    for _ in range(halvings + 1):
        trial = x[todo] + size * direction[todo].view_as(x[todo])
        value = residual(trial, rows[todo]) / slope
        norm = torch.nan_to_num(value.flatten(1).norm(dim=1), nan=math.inf)
        good = norm < (1 - 1e-4 * size) * before[todo]
        x[todo[good]], r[todo[good]] = trial[good], value[good]
        todo, size = todo[~good], size / 2
        if not len(todo):
            break
    return x, r
