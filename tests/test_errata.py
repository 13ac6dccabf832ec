"""Slips of other libraries that the errata page of the book names, as long as they are there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepInverseScheduler
from torch.nn.functional import scaled_dot_product_attention

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def inverse(steps: int, **options: Any) -> DPMSolverMultistepInverseScheduler:
    """The inverse scheduler of diffusers, ready to walk."""
    scheduler = DPMSolverMultistepInverseScheduler(**SD, **options)
    scheduler.set_timesteps(steps)
    return scheduler


def walked(scheduler: DPMSolverMultistepInverseScheduler) -> torch.Tensor:
    """Where it gets to with a linear network."""
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for t in scheduler.timesteps:
        x = scheduler.step(0.5 * x, t, x).prev_sample
    return x


def test_the_inverse_with_karras_levels_ends_with_one_level_twice_and_loses_a_point() -> None:
    for steps, left in ((20, 20), (50, 49)):
        scheduler = inverse(steps, use_karras_sigmas=True)
        assert scheduler.sigmas[-1] == scheduler.sigmas[-2]
        assert len(scheduler.timesteps) == left
        assert walked(scheduler).isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"use_karras_sigmas": True, "solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver++"},
    ],
)
def test_two_inverses_are_not_a_number(options: dict[str, Any]) -> None:
    assert walked(inverse(20)).isfinite().all()
    assert walked(inverse(20, **options)).isnan().any()


def test_the_inverse_with_flow_levels_walks_towards_the_image() -> None:
    levels = inverse(20, use_flow_sigmas=True, prediction_type="flow_prediction").sigmas
    assert levels[0] > 0.99 and levels[-1] < 0.1
    assert inverse(20).sigmas.diff().gt(0)[:-1].all()  # without them it walks to the noise


def test_fast_attention_has_no_forward_mode_derivative_on_a_cpu() -> None:
    x = torch.randn(1, 2, 16, 8)
    with pytest.raises((NotImplementedError, RuntimeError), match="forward"):
        torch.func.jvp(lambda q: scaled_dot_product_attention(q, q, q), (x,), (x,))
