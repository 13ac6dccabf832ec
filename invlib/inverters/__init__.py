"""The inverters: ways to attack the same N equations, and the one door to all of them."""

from __future__ import annotations

import inspect
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser, dtype_of
from ..devices import OnDevice, beside
from ..inversion import Inversion, Origin
from ..precision import SINGLE, limiting
from ..sampling import as_state
from ..solvers import Solver
from ..watch import Budget, Callback, Watch, watching
from .algorithm2 import algorithm2
from .exact import exact
from .implicit import attached
from .multisecant import multisecant
from .naive import naive
from .persistent import persistent
from .stepwise import algorithm1, stepwise
from .whole_trajectory import whole_trajectory, whole_trajectory_finer_start


class Inverter(Protocol):
    """The signature that all inverters share; options are keywords with defaults."""

    def __call__(self, denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        """Invert ``image``."""
        ...


METHODS: dict[str, Inverter] = {
    "exact": exact,
    "naive": naive,
    "algorithm1": algorithm1,
    "algorithm2": algorithm2,
    "stepwise": stepwise,
    "multisecant": multisecant,
    "whole_trajectory": whole_trajectory,
    "whole_trajectory_finer_start": whole_trajectory_finer_start,
    "persistent": persistent,
}


def invert(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    method: str | Inverter = "exact",
    progress: bool | None = False,
    callback: Callback | None = None,
    budget: Budget | None = None,
    differentiable: bool = False,
    max_batch: int | None = None,
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
    * ``whole_trajectory_finer_start``: that from a finer walk; does it end at another noise?
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
        differentiable: whether noise and states carry gradients with respect to the image and to
            what the denoiser keeps, such as a condition or a guidance scale, by the implicit
            function theorem (see :mod:`invlib.inverters.implicit`); where no root was found, a
            warning says that they mean nothing.
        max_batch: most states in one network call; by default as many as a share of the free
            memory has room for (see :mod:`invlib.room`).

    Returns:
        An :class:`Inversion`; :func:`invlib.certify` proves how exact it is. With a bar, a callback
        or a budget the first Ctrl-C, too, ends the search with the best so far, marked in
        ``reason``; without, it is a KeyboardInterrupt as ever.

    Raises:
        ValueError: if the image is not a finite batch or the method is unknown.
        TypeError: if ``max_batch`` is given and the inverter does not take it.

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
    search, network = in_parts(inverter(method), max_batch), beside(denoiser, image)
    with torch.no_grad(), watching(options) if watched else nullcontext():
        if not isinstance(network, OnDevice):
            found = search(network, image, solver)
        else:
            found = search(network, as_state(image, "image"), solver)
            found = replace(found, device=network.device)
    if found.origin is None:
        found = replace(found, origin=Origin(network, solver))
    why = limiting(found.device or image.device, dtype_of(denoiser))
    if why and found.roundoff is not None and bool((found.roundoff.limit > SINGLE).any()):
        warnings.warn(why, stacklevel=2)
    return attached(network, image, solver, found, max_batch) if differentiable else found


def inverter(method: str | Inverter) -> Inverter:
    """The inverter of a name; an inverter stays what it is.

    Raises:
        ValueError: if the name is unknown.
    """
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; use one of {', '.join(METHODS)}")
    return METHODS[method]


def in_parts(search: Inverter, most: int | None) -> Inverter:
    """An inverter with so many states in one call of the network.

    Raises:
        TypeError: if it does not take the number.
    """
    if most is None:
        return search
    told = cast(Any, search)
    if "max_batch" not in inspect.signature(told).parameters:
        raise TypeError(
            f"{getattr(search, '__name__', type(search).__name__)} takes no max_batch: leave it "
            "out, or give the inverter a keyword of this name"
        )
    return cast(Inverter, partial(told, max_batch=most))


__all__ = [*METHODS, "METHODS", "Inverter", "in_parts", "invert", "inverter"]
