"""Too many steps fail in many ways; there is one reason for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .options import defaults


@contextmanager
def few_enough_steps(pipe: Any, call: Mapping[str, Any]) -> Iterator[None]:
    """Where a call fails that has more steps than its scheduler has times, say that.

    Samplers in continuous time, which work with more steps, are not stopped.

    Raises:
        ValueError: if it fails, and has more.
    """
    try:
        yield
    except Exception as error:
        steps = defaults(pipe, call).get("num_inference_steps")
        config = getattr(pipe.scheduler, "config", {})
        most = config.get("num_train_timesteps")
        if type(steps) is not int or type(most) is not int or steps <= most:
            raise
        raise ValueError(
            f"num_inference_steps={steps} is more than {most}, and "
            f"{type(pipe.scheduler).__name__} has no more times (num_train_timesteps): give fewer"
        ) from error
