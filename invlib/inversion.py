"""The result of an inversion, and the one door to all inverters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor

from .denoisers import Denoiser, Guided
from .newton import forward_mode
from .sampling import as_state
from .solvers import Solver
from .watch import Budget, Callback, Watch, count, samples, stopped, watching

FLOORS = {torch.float64: 1e-13, torch.float32: 5e-7, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@dataclass(frozen=True)
class Inversion:
    """The noise that an image came from, as far as a method could find it.

    Attributes:
        noise: recovered noise, float64 ``[B, ...]``.
        states: recovered y_0 ... y_n, ``[n+1, B, ...]``.
        residuals: size of each equation's residual relative to its state, ``[B, n]``; NaN where
            a method does not evaluate it.
        iterations: iterations of the root finder, summed over the steps, ``[B]``.
        nfe: network evaluations that each sample paid for, ``[B]``.
        reason: why each sample's search ended: ``converged``, ``stalled``, ``diverged``,
            ``budget`` (iterations, evaluations or seconds are used up), ``interrupted`` (by Ctrl-C
            or a callback), or ``explicit`` for methods that do not search. Where budget or
            interruption left steps over, the states of these continue those that were found
            without an evaluation, and their residuals are NaN.
        method: name of the method.
    """

    noise: Tensor
    states: Tensor
    residuals: Tensor
    iterations: Tensor
    nfe: Tensor
    reason: tuple[str, ...]
    method: str

    @property
    def converged(self) -> Tensor:
        """Which samples reached the tolerance, ``[B]``."""
        return torch.tensor([r == "converged" for r in self.reason])


class Inverter(Protocol):
    """The signature that all inverters share; options are keywords with defaults."""

    def __call__(self, denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        """Invert ``image``."""
        ...


@dataclass
class Tally:
    """A denoiser, a solver, and the evaluations that every sample paid for.

    One evaluation is one call on one sample; with guidance the conditional and the empty prompt
    go in one batch and count once. A forward-mode derivative counts as two, a reverse-mode one
    as three.
    """

    denoiser: Denoiser
    solver: Solver
    counts: list[int]
    max_batch: int | None = None
    cost: int = field(default=1, init=False)

    @classmethod
    def start(
        cls, denoiser: Denoiser, image: Tensor, solver: Solver, *, max_batch: int | None = None
    ) -> tuple[Tally, Tensor]:
        """Check the image and begin a count."""
        image = as_state(image, "image")
        if solver.sigma[0] <= solver.sigma[-1]:
            raise ValueError(f"{solver.name} goes from image to noise: give the sampler itself")
        if len(getattr(denoiser, "condition", image)) != len(image):
            raise ValueError(f"{len(image)} images: give one condition per image")
        return cls(denoiser, solver, [0] * len(image), max_batch), image

    @property
    def nfe(self) -> Tensor:
        """Evaluations that each sample paid for, ``[B]``."""
        return torch.tensor(self.counts)

    def output(self, y: Tensor, node: int | Tensor, rows: Tensor) -> Tensor:
        """Outputs of the network at states ``y [k, ...]`` of samples ``rows``, nodes counted."""
        nodes = torch.full_like(rows, node) if isinstance(node, int) else node
        return self.call(partial(self.solver.output, self.denoiser), y, nodes, rows)

    def call(self, function: Callable[..., Tensor], y: Tensor, *more: Tensor) -> Tensor:
        """``function(y, *more, rows)``, rows last, in parts of ``max_batch`` and counted."""
        self.count(more[-1])
        size = self.max_batch or max(len(y), 1)
        parts = zip(*[v.split(size) for v in (y, *more)], strict=True)
        return torch.cat([function(*part) for part in parts])

    def count(self, rows: Tensor) -> None:
        """Note one evaluation of each of the samples ``rows``."""
        times = Counter(rows.tolist())  # no tensors: may run inside a derivative
        paid = {row: self.cost * number for row, number in times.items()}
        for row, number in paid.items():
            self.counts[row] += number
        count(paid)

    @contextmanager
    def derivative(self, cost: int) -> Iterator[None]:
        """Count evaluations ``cost`` times: 2 with a forward-mode, 3 with a reverse-mode pass."""
        self.cost = cost
        try:
            yield
        finally:
            self.cost = 1

    def jvp(self, function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
        """A forward-mode product through the network, at the cost of two evaluations."""
        with self.derivative(2):
            return forward_mode(function, x, v)


def floor(denoiser: Denoiser) -> float:
    """Relative residual at round-off of the network's dtype.

    The dtype is what the denoiser, or a ``network`` inside it, calls its ``dtype``, or that of
    its parameters; else float64. A denoiser that has measured its ``roundoff`` to be far coarser
    than its dtype (parts in a lower precision, autocast) is taken at its word.
    """
    network: object = denoiser
    while network is not None:
        dtype = getattr(network, "dtype", None)
        if dtype is None and isinstance(network, torch.nn.Module):
            dtype = next((p.dtype for p in network.parameters()), None)
        if dtype is not None:
            measured = 2 * cast(float, getattr(network, "roundoff", 0.0))
            return measured if measured > 10 * FLOORS[dtype] else FLOORS[dtype]
        network = getattr(network, "network", None)
    return FLOORS[torch.float64]


def step_tolerance(denoiser: Denoiser) -> float:
    r"""Relative residual at which one step of many is solved.

    .. math:: \frac{\mathrm{floor}}{5}\,\max\Bigl(1, \frac{2w - 1}{5}\Bigr)

    A fifth of :func:`floor`, since the errors of the steps add up. Guidance multiplies the
    round-off of the two outputs by up to :math:`w + |1 - w| = 2w - 1`, so that above w = 3 no
    search would get there.
    """
    scale, network = 1.0, cast(object, denoiser)
    while network is not None:
        if isinstance(network, Guided):
            scale = network.scale
        network = getattr(network, "network", None)
    return floor(denoiser) / 5 * max(1.0, (2 * scale - 1) / 5)


def merge(first: Inversion, second: Inversion, rows: Sequence[int]) -> Inversion:
    """Put the results ``second`` of the samples ``rows`` into ``first``; costs add up.

    A sample keeps its first result if the second one has not converged and is worse.
    """
    index = torch.tensor(list(rows))
    before, after = (r.residuals.nan_to_num(torch.inf).amax(1) for r in (first, second))
    better = second.converged | ~(before[index] < after)
    reason = list(first.reason)
    for row, new, why in zip(rows, better.tolist(), second.reason, strict=True):
        reason[row] = why if new else reason[row]
    kept, put = better.nonzero().flatten(), {}
    for name, axis in (("noise", 0), ("states", 1), ("residuals", 0)):
        value, found = getattr(first, name).clone(), getattr(second, name)
        part = found.index_select(axis, kept.to(found.device))
        put[name] = value.index_copy_(axis, index[kept].to(value.device), part)
    for name in ("iterations", "nfe"):
        put[name] = getattr(first, name).index_add(0, index, getattr(second, name))
    return replace(first, reason=tuple(reason), **put)


def retry(result: Inversion, attempt: Callable[[Tensor], Inversion]) -> Inversion:
    """Try the unsolved samples again, ``attempt(rows)``, and :func:`merge` what it finds.

    Where a watch has ended the search, no attempt begins, and what it has cut off says why.
    """
    unsolved = (~result.converged).nonzero().flatten()
    if not len(unsolved):
        return result
    rows, why = unsolved.tolist(), stopped()
    if why:
        return _ended(result, rows, why)
    with samples(rows):
        second = attempt(unsolved.to(result.states.device))
    why = stopped()
    cut = [row for row, reason in zip(rows, second.reason, strict=True) if reason == why]
    merged = merge(result, second, rows)
    return _ended(merged, cut, why) if why else merged


def _ended(result: Inversion, rows: Sequence[int], why: str) -> Inversion:
    """The result, with the reason ``why`` for the samples ``rows``."""
    reason = tuple(why if row in rows else r for row, r in enumerate(result.reason))
    return replace(result, reason=reason)


def invert(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    method: str | Inverter = "exact",
    progress: bool | None = False,
    callback: Callback | None = None,
    budget: Budget | None = None,
) -> Inversion:
    r"""Find the noise from which ``solver`` made ``image``.

    .. math:: \text{given } y_n,\ \text{solve } y_{i+1} = a_i y_i + \sum_{j\le i} b_{ij} m(y_j)
              \text{ for } y_0 \dots y_{n-1}

    Args:
        denoiser: the network that the image was made with, prompt and guidance included.
        image: the image (or latent) that the sampler returned, ``[B, ...]``.
        solver: the sampler's table.
        method: ``exact`` (default), ``naive``, ``algorithm1``, ``algorithm2``, or any inverter.
        progress: whether to show a bar on stderr; None shows it on a terminal or in a notebook.
        callback: called with a :class:`invlib.watch.Progress` after every round; True ends it.
        budget: the evaluations or seconds after which the best so far comes back.

    Returns:
        An :class:`Inversion`; :func:`invlib.certify` proves how exact it is. With any of the last
        three options the first Ctrl-C, too, ends the search with the best so far, marked in
        ``reason``; without, it is a KeyboardInterrupt as ever.

    Raises:
        ValueError: if the image is not a finite batch or the method is unknown.
    """
    watched = progress is not False or callback is not None or budget is not None
    options = Watch(progress, callback, budget, interruptible=True)
    with torch.no_grad(), watching(options) if watched else nullcontext():
        return inverter(method)(denoiser, image, solver)


def inverter(method: str | Inverter) -> Inverter:
    """The inverter of a name; an inverter stays what it is.

    Raises:
        ValueError: if the name is unknown.
    """
    from .inverters import METHODS

    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; use one of {', '.join(METHODS)}")
    return METHODS[method]
