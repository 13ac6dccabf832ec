"""The result of an inversion, and the one door to all inverters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from .denoisers import Denoiser
from .devices import OnDevice, beside
from .precision import Roundoff
from .sampling import as_state
from .solvers import Solver
from .watch import Budget, Callback, Watch, samples, stopped, watching


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
            else NaN; the certificate does not repeat it.
        others: noises, ``[k, B, ...]``, that k more searches from other starts have found to make
            the image, NaN where a search found none; None if nobody looked.
        nfe_others: evaluations that those searches took, out of ``nfe``, ``[B]``.
        repeat: NMSE between two images sampled from the noise and from the noise changed in its
            last place, ``[B]``, where the method has looked, else NaN.
        device: where the network is, if that device has no float64 and the states are on the CPU;
            else None.
    """

    noise: Tensor
    states: Tensor
    residuals: Tensor
    iterations: Tensor
    nfe: Tensor
    reason: tuple[str, ...]
    method: str
    roundoff: Roundoff | None = field(default=None, repr=False)
    again: Tensor | None = field(default=None, repr=False)
    repeat: Tensor | None = field(default=None, repr=False)
    others: Tensor | None = field(default=None, repr=False)
    nfe_others: Tensor | None = field(default=None, repr=False)
    device: torch.device | None = field(default=None, repr=False)

    @property
    def converged(self) -> Tensor:
        """Which samples reached the tolerance, ``[B]``."""
        return torch.tensor([r == "converged" for r in self.reason])


class Inverter(Protocol):
    """The signature that all inverters share; options are keywords with defaults."""

    def __call__(self, denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        """Invert ``image``."""
        ...


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
    return replace(first, reason=tuple(reason), again=None, repeat=None, others=None, **put)


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

    A method has a name, or is an inverter, such as ``functools.partial(invlib.exact, others=2)``:

    * ``exact``: the default, for every sampler; judged by sampling again, within one budget.
    * ``naive``: no search; for a first look, or as a baseline.
    * ``algorithm1``: the paper's, for first-order samplers; to compare with it.
    * ``algorithm2``: the paper's, for multistep samplers, approximate; to compare with it.
    * ``stepwise``: first-order samplers, step by step to round-off; where memory is short.
    * ``multisecant``: all equations at once from one start; to give a start, or count rounds.
    * ``whole_trajectory``: the same by Anderson and Newton; where few states can be kept.
    * ``second_start``: that from another start; to see whether it ends at another noise.
    * ``persistent``: a long search in float64; for few steps at a high guidance scale.

    Args:
        denoiser: the network that the image was made with, prompt and guidance included.
        image: the image (or latent) that the sampler returned, ``[B, ...]``; on a device without
            float64 its states are on the CPU (see :func:`invlib.devices.on_device`).
        solver: the sampler's table.
        method: one of these names, or an inverter.
        progress: whether to show a bar on stderr; None shows it on a terminal or in a notebook.
        callback: called with a :class:`invlib.watch.Progress` after every round; True ends it.
        budget: the evaluations or seconds after which the best so far comes back.

    Returns:
        An :class:`Inversion`; :func:`invlib.certify` proves how exact it is. With any of the last
        three options the first Ctrl-C, too, ends the search with the best so far, marked in
        ``reason``; without, it is a KeyboardInterrupt as ever.

    Raises:
        ValueError: if the image is not a finite batch or the method is unknown.

    Example:
        >>> import torch, invlib
        >>> network = invlib.predicting(lambda x, t: 0.9 * torch.tanh(x), "epsilon")
        >>> solver = invlib.dpm_solver_pp_2m(invlib.Schedule.scaled_linear().grid(10))
        >>> noise = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
        >>> image = invlib.sample(network, noise, solver).image
        >>> found = invert(network, image, solver)
        >>> found.reason, torch.allclose(found.noise, noise, rtol=1e-9)
        (('converged',), True)
        >>> naive = invert(network, image, solver, method="naive")
        >>> invlib.nmse(naive.noise, noise).item() > 1e-6
        True
    """
    watched = progress is not False or callback is not None or budget is not None
    options = Watch(progress, callback, budget, interruptible=True)
    search, network = inverter(method), beside(denoiser, image)
    with torch.no_grad(), watching(options) if watched else nullcontext():
        if not isinstance(network, OnDevice):
            return search(network, image, solver)
        found = search(network, as_state(image, "image"), solver)
        return replace(found, device=network.device)


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
