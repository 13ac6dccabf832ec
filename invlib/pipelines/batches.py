"""How many states of a pipeline go through its network in one call."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor

from ..inverters import Inverter
from ..split import batch_times
from .options import MaxBatch
from .reading import Reading


def check_batch(most: MaxBatch) -> None:
    """Refuse what is no number of states.

    Raises:
        ValueError: with what it may be.
    """
    if most is None or most == "fastest" or (type(most) is int and most >= 1):
        return
    raise ValueError(f'max_batch is {most!r}: give a number from 1 on, "fastest", or leave it out')


def check_number(most: MaxBatch) -> int | None:
    """The most states in one call of the network, where they are a number.

    Raises:
        ValueError: if they would have to be measured, or are no number.
    """
    check_batch(most)
    if most == "fastest":
        raise ValueError(
            'max_batch="fastest" is measured for a single call: give the number that '
            "invlib.batch_times or invert_latents finds"
        )
    return most


def as_a_whole(most: MaxBatch) -> str:
    """What there is to say where no number of states can be asked for."""
    does = "was not measured" if most == "fastest" else "does not count"
    return f"max_batch={json.dumps(most)} {does}: this pipeline runs as a whole"


def in_batches(
    reading: Reading, target: Tensor, search: Inverter, most: MaxBatch
) -> tuple[Reading, Inverter]:
    """A reading and a search with the wanted number of states in one call of the network.

    Args:
        reading: of the call.
        target: last states, ``[samples, ...]``.
        search: the method; it is given the number if it takes one.
        most: the number, ``"fastest"`` to measure it, or None: as it was read.
    """
    if most is None:
        return reading, search
    if reading.network.replay is None:
        return replace(reading, notes=(*reading.notes, as_a_whole(most))), search
    if most == "fastest":
        wide = reading.in_batches(reading.solver.steps * len(target))
        times = batch_times(wide.network, target, reading.solver)
        most = times.max_batch
        reading = replace(
            reading,
            evaluations=reading.evaluations + -(-times.evaluations // len(target)),
            notes=(*reading.notes, f"max_batch={most} was the fastest of {list(times.sizes)}"),
        )
    reading = reading.in_batches(most)
    if "max_batch" not in inspect.signature(cast(Any, search)).parameters:
        return reading, search
    return reading, cast(Inverter, partial(cast(Any, search), max_batch=most))
