"""Every small video and audio pipeline is built, and its own call gives finite numbers."""

import inspect
from collections.abc import Iterator

import diffusers
import numpy as np
import pytest
import torch

from invlib.rehearsal.zoo.parts import build
from invlib.rehearsal.zoo.video_recipes import NOT_BUILT, RECIPES


def numbers(output) -> Iterator[np.ndarray]:
    """All arrays of an output, as deep as they lie."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        for part in output:
            yield from numbers(part)
    elif output is not None:
        yield np.asarray(output, dtype=np.float64)


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_small_pipeline_runs_its_own_call_in_float64_and_is_guided(name):
    recipe = RECIPES[name]
    assert not {"latents", "generator", "output_type"} & set(recipe.call)
    pipe = build(recipe.make)
    assert type(pipe) is getattr(diffusers, name)
    networks = [m for m in pipe.components.values() if isinstance(m, torch.nn.Module)]
    assert {p.dtype for m in networks for p in m.parameters()} == {torch.float64}
    options = inspect.signature(type(pipe).__call__).parameters
    plain = (
        {"output_type": "np"} if "output_type" in options else {}
    )  # 8 bits hide what is not finite

    def run(**changes):
        torch.manual_seed(0)
        return list(numbers(pipe(**{**recipe.call, **plain, **changes})))

    found = run()
    assert found
    assert all(a.size and np.isfinite(a).all() for a in found)
    for guidance in {"guidance_scale", "true_cfg_scale"} & set(recipe.call):
        assert recipe.call[guidance] > 1
        more = run(**{guidance: recipe.call[guidance] + 1})
        assert not np.array_equal(found[0], more[0])


def test_classes_that_are_not_built_exist_and_say_why():
    assert not set(NOT_BUILT) & set(RECIPES)
    for name, reason in NOT_BUILT.items():
        assert hasattr(diffusers, name)
        assert len(reason) > 20
