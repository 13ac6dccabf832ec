"""Stock calls of pipelines from a chosen noise, run by nothing of invlib."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from invlib import nmse
from invlib.pipelines import ImageInversion, invert_latents

FAR = 1e-11  # NMSE of -110 dB: what a round trip in float64 must stay below
SIZE = {"height": 16, "width": 16}


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Reproducible noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def takes_latents(pipe: Any) -> bool:
    """Whether noise is an argument of the pipeline's call."""
    return "latents" in inspect.signature(type(pipe).__call__).parameters


@contextmanager
def steps_of(pipe: Any) -> Iterator[list[Tensor]]:
    """The states that the scheduler's step returns meanwhile."""
    cls, states = type(pipe.scheduler), []
    step = cls.step

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = step(self, *args, **kwargs)
        states.append(result[0])
        return result

    noted.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
    with mock.patch.object(cls, "step", noted):
        yield states


@contextmanager
def drawing(pipe: Any, noise: Tensor) -> Iterator[None]:
    """The pipeline draws this noise meanwhile, and nothing else."""
    module = sys.modules[type(pipe).__module__]
    with mock.patch.object(module, "randn_tensor", lambda *args, **options: noise.clone()):
        yield


def same_again(value: Any) -> Any:
    """A copy of a generator, which the call would advance."""
    if isinstance(value, list):
        return [same_again(part) for part in value]
    return value.clone_state() if isinstance(value, torch.Generator) else value


def clean(pipe: Any, call: Mapping[str, Any], noise: Tensor) -> Tensor:
    """The clean latents, or pixels in [-1, 1], that the stock call makes of a noise."""
    call = {name: same_again(value) for name, value in call.items()}
    if takes_latents(pipe):
        made = pipe(**call, latents=noise.clone(), output_type="latent")[0]
        assert isinstance(made, Tensor)
        return made
    with drawing(pipe, noise), steps_of(pipe) as states:
        pipe(**call)
    return states[-1][: len(noise)]  # some keep two copies of it, for guidance


def gap(x: Tensor, y: Tensor) -> float:
    """The largest NMSE of any sample."""
    return nmse(x.double(), y.double()).max().item()


def there_and_back(
    pipe: Any,
    shape: tuple[int, ...],
    call: Mapping[str, Any],
    *,
    unique: bool = True,
    limit: float = FAR,
    **options: Any,
) -> ImageInversion:
    """Invert what the stock call made of a noise; the stock call makes it again.

    Args:
        pipe: the pipeline.
        shape: shape of its noise.
        call: its call.
        unique: whether the noise must be the original one.
        limit: NMSE that must not be reached.
        options: how to invert.
    """
    noise = draw(*shape)
    target = clean(pipe, call, noise)
    result = invert_latents(pipe, target, options=options, **call)
    assert result.latents.shape == noise.shape
    assert gap(clean(pipe, call, result.latents), target) < limit
    if unique:
        assert gap(result.latents, noise) < limit
    if result.certificate is not None:
        assert "failed" not in result.certificate.verdict
        assert result.certificate.round_trip.max() < limit
    return result
