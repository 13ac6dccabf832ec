"""The problem of a pipeline's call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..affine import ElementwiseMap
from ..devices import state_device
from ..pipelines.batches import as_a_whole, check_number
from ..pipelines.invert import _quietly, _read_sized
from ..pipelines.options import WATCHED, Options, refuse, split
from ..pipelines.reading import Reading
from ..sampling import as_state
from .problem import Problem


@contextmanager
def opened(
    pipe: Any,
    latents: Tensor,
    call: Mapping[str, Any],
    options: Options | Mapping[str, Any] | None = None,
) -> Iterator[Problem]:
    """The problem of ``pipe(**call)``; afterwards the pipeline is as before.

    Args:
        pipe: a diffusers pipeline.
        latents: what the call returned for ``output_type="latent"``.
        call: its arguments; ``pipe`` and ``scheduler`` in it stand for another pipeline or
            scheduler.
        options: :class:`Options` that have a use here: the seed of the call, ``max_batch`` as a
            number, and how the search is watched. They may stand in ``call``, too.

    Raises:
        TypeError: if an option has no use here.
        ValueError: if the call takes no noise, so that it has no likelihood.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    asked = dict(call)
    pipe = asked.pop("pipe", pipe)
    own = getattr(pipe, "scheduler", None)
    other = asked.pop("scheduler", own)
    own_options, asked = split(pipe, options, asked)
    refuse(own_options, (*WATCHED, "seed", "max_batch"), "the likelihood of a call")
    most = check_number(own_options.max_batch)
    latents = as_state(latents, "latents").to(state_device(pipe._execution_device))
    try:
        pipe.scheduler = other
        with _quietly(pipe, own_options):
            reading, _ = _read_sized(pipe, latents, asked)
            if most is not None and reading.network.replay is None:
                warnings.warn(as_a_whole(most), stacklevel=3)
            problem = problem_of(reading if most is None else reading.in_batches(most), latents)
            yield replace(problem, max_batch=most)
    finally:
        pipe.scheduler = own


def problem_of(reading: Reading, latents: Tensor) -> Problem:
    """The problem of a call that has been read, for latents as the call returns them.

    Raises:
        ValueError: if the call takes no noise.
    """
    if not reading.takes_noise:
        raise ValueError(
            f"{type(reading.stage.pipe).__name__} takes no noise in this call, so that the law of "
            "its first state is not known and there is no likelihood"
        )
    target = reading.target(latents.clone())
    first = reading.stage.scales[0].abs().log().item() * target[0].numel()
    outside = (_log_scale(m) for m in (reading.entrance.map, reading.exit))
    return Problem(
        reading.network,
        reading.solver,
        target,
        lambda y: reading.noise(y),
        first + sum(outside) / len(target),
        reverse=reading.network.replay is not None,
    )


def _log_scale(map_: ElementwiseMap) -> float:
    r"""The logarithm of the determinant of a one-to-one map, of all samples together."""
    live = map_.scale[map_.scale != 0]
    return live.abs().log().sum().item()
