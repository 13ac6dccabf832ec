"""Every recipe of a pipeline on a UNet builds, and its stock call runs in float64."""

from __future__ import annotations

from functools import wraps
from typing import Any

import diffusers
import pytest
import torch

from invlib.rehearsal.zoo.parts import build
from invlib.rehearsal.zoo.unet_recipes import NOT_BUILT, RECIPES

NEVER_STEP = {"StableDiffusionParadigmsPipeline"}
"""Classes that denoise without their scheduler's ``step``."""


@pytest.mark.parametrize("name", RECIPES)
def test_states_of_the_stock_call_are_finite_doubles(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    pipe = build(recipe.make)
    scheduler = type(pipe.scheduler)
    step = scheduler.step
    states = []

    @wraps(step)
    def noted(*arguments: Any, **options: Any) -> Any:
        result = step(*arguments, **options)
        states.append(result[0] if isinstance(result, tuple) else result.prev_sample)
        return result

    monkeypatch.setattr(scheduler, "step", noted)
    torch.manual_seed(0)
    pipe(**recipe.call)
    assert states or name in NEVER_STEP
    assert all(state.isfinite().all() for state in states)
    assert {state.dtype for state in states} <= {torch.float64}


def test_calls_leave_the_noise_and_the_output_to_the_caller() -> None:
    taken = {"latents", "generator", "output_type"}
    assert not {name for name, recipe in RECIPES.items() if taken & set(recipe.call)}


def test_a_class_is_built_or_not_built() -> None:
    built = {name.split(":")[0] for name in RECIPES}
    assert not built & set(NOT_BUILT)
    assert built | set(NOT_BUILT) <= set(dir(diffusers))
