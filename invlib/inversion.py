"""The result of an inversion, and what another attempt adds to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from .denoisers import Denoiser
from .devices import OnDevice
from .precision import Roundoff
from .solvers import Solver
from .watch import samples, stopped
from .words import Reason


class Origin:
    """Which network and which table a search asked, to tell them from others.

    The network is held weakly, so that a result keeps no weights in memory; in a copy of the
    result, such as one that was pickled, there is no origin.
    """

    def __init__(self, denoiser: Denoiser, solver: Solver) -> None:
        network, self._dtypes = _inside(denoiser)
        self._solver = solver
        try:
            self._network: Callable[[], object] = ref(network)
        except TypeError:  # it cannot be held weakly, and is never recognised
            self._network = object

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def is_of(self, denoiser: Denoiser, solver: Solver) -> bool:
        """Whether this very network was asked, and a table with the same numbers."""
        network, dtypes = _inside(denoiser)
        same = self._network() is network and self._dtypes == dtypes
        return same and self._solver.equals(solver)


def _inside(denoiser: object) -> tuple[object, set[torch.dtype]]:
    """A network without what brings states to its device, and the dtypes that this asks it in."""
    dtypes = set()
    while isinstance(denoiser, OnDevice):
        dtypes.add(denoiser.dtype)
        denoiser = denoiser.network
    return denoiser, dtypes


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
            or a callback), ``round-off`` (the equations hold to round-off, and yet the sampler
            misses the image), ``error`` (an attempt raised, with a warning), or ``explicit`` for
            methods that do not search; :mod:`invlib.words` says what to do. Where budget or
            interruption left steps over, the states of these continue those that were found
            without an evaluation, and their residuals are NaN.
        method: name of the method.
        roundoff: that of the network, where the method has measured it.
        again: the image sampled again from the noise, ``[B, ...]``, where the method has done so,
            else NaN; where ``origin`` is the network that the certificate is asked about, it
            repeats only the first step, to see that the weights are the same.
        others: noises, ``[k, B, ...]``, that k more searches from other starts have found to make
            the image, NaN where a search found none; None if nobody looked.
        nfe_others: evaluations that those searches took, out of ``nfe``, ``[B]``.
        repeat: NMSE between two images sampled from the noise and from the noise changed in its
            last place, ``[B]``, where the method has looked, else NaN.
        starts: how many starts the search of each sample made, ``[B]``; None if the method has one.
        device: where the network is, if that device has no float64 and the states are on the CPU;
            else None.
        origin: which network and table were asked.
    """

    noise: Tensor
    states: Tensor
    residuals: Tensor
    iterations: Tensor
    nfe: Tensor
    reason: tuple[Reason, ...]
    method: str
    roundoff: Roundoff | None = field(default=None, repr=False)
    again: Tensor | None = field(default=None, repr=False)
    repeat: Tensor | None = field(default=None, repr=False)
    others: Tensor | None = field(default=None, repr=False)
    nfe_others: Tensor | None = field(default=None, repr=False)
    starts: Tensor | None = field(default=None, repr=False)
    device: torch.device | None = field(default=None, repr=False)
    origin: Origin | None = field(default=None, repr=False, compare=False)

    @property
    def converged(self) -> Tensor:
        """Which samples reached the tolerance, ``[B]``."""
        return torch.tensor([r == "converged" for r in self.reason])


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
    return replace(
        first, reason=tuple(reason), again=None, repeat=None, others=None, starts=None, **put
    )


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


def _ended(result: Inversion, rows: Sequence[int], why: Reason) -> Inversion:
    """The result, with the reason ``why`` for the samples ``rows``."""
    reason = tuple(why if row in rows else r for row, r in enumerate(result.reason))
    return replace(result, reason=reason)
