"""Too many steps fail in many ways; there is one reason for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .options import defaults


@contextmanager
def few_enough_steps(pipe: Any, call: Mapping[str, Any]) -> Iterator[None]:
    """Where a call fails that has too many steps for its scheduler's times, say that.

    Samplers in continuous time, which work with more steps, are not stopped.

    Raises:
        ValueError: if it fails, and has too many.
    """
    try:
        yield
    except Exception as error:
        steps = defaults(pipe, call).get("num_inference_steps")
        config = getattr(pipe.scheduler, "config", {})
        most = config.get("num_train_timesteps")
        if type(steps) is not int or type(most) is not int or steps < most:
            raise
        if steps == most and not _repeats_times(pipe.scheduler, steps):
            raise
        raise ValueError(
            f"num_inference_steps={steps} is too much for {type(pipe.scheduler).__name__}, which "
            f"has {most} times (num_train_timesteps): give fewer"
        ) from error


def _repeats_times(scheduler: Any, steps: int) -> bool:
    """Whether it has not got as many different times."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps.tolist()
    return len(set(times)) < len(times)
