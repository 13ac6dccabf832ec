"""Every small build of the image pipelines on transformers runs, and its call means something."""

import diffusers
import pytest
import torch

from invlib.rehearsal.zoo.parts import build
from invlib.rehearsal.zoo.transformer_recipes import MEGAPIXEL, NOT_BUILT, RECIPES

GUIDANCE = ("guidance_scale", "true_cfg_scale")
CLASSES = {key.split(":")[0] for key in RECIPES}


def _answer(pipe, call, output_type="np"):
    """What a call returns, with the same random numbers each time, as one tensor."""
    torch.manual_seed(0)
    with torch.no_grad():
        answer = pipe(**call, output_type=output_type, return_dict=False)[0]
    while isinstance(answer, list):
        answer = answer[0]
    return torch.as_tensor(answer)


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("key", RECIPES)
def test_the_stock_call_runs_in_float64_and_heeds_its_guidance(key):
    recipe = RECIPES[key]
    pipe = build(recipe.make)
    assert all(
        weight.dtype == torch.float64
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for weight in part.parameters()
    )
    output = "latent" if recipe.note == MEGAPIXEL else "np"  # a million pixels decode for seconds
    answer = _answer(pipe, recipe.call, output)
    assert answer.isfinite().all()
    assert answer.std() > 0
    for name in recipe.call.keys() & GUIDANCE:
        assert recipe.call[name] > 1
        assert not torch.equal(answer, _answer(pipe, {**recipe.call, name: 1.5}, output))


@pytest.mark.parametrize("key", RECIPES)
def test_a_call_leaves_the_noise_to_the_caller(key):
    assert not RECIPES[key].call.keys() & {"latents", "generator", "output_type"}


def test_a_class_is_either_built_or_not():
    assert not CLASSES & NOT_BUILT.keys()
    assert CLASSES | NOT_BUILT.keys() <= set(dir(diffusers))


def test_the_layers_that_a_controlnet_adds_by_are_awake():
    """They start at zero, where the control would say nothing."""
    recipe = RECIPES["StableDiffusion3ControlNetPipeline"]
    pipe = build(recipe.make)
    silent = {**recipe.call, "controlnet_conditioning_scale": 0.0}
    assert not torch.equal(_answer(pipe, recipe.call), _answer(pipe, silent))
