"""Likelihoods of a pipeline's calls are those of its network and its table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from stock import SIZE, clean, draw
from tiny_pipelines import SD, build

from invlib import likelihood, nmse
from invlib.inverters import invert
from invlib.likelihood import Problem, Quadrature
from invlib.likelihood.from_pipeline import opened
from invlib.pipelines import read, text_denoiser
from invlib.pipelines.conditions import conditioned, conditions
from invlib.probing import from_scheduler
from invlib.rehearsal.zoo.transformer_recipes import RECIPES as TRANSFORMERS
from invlib.rehearsal.zoo.unet_recipes import RECIPES as UNETS
from invlib.sampling import sample

DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=False)
EULER = diffusers.EulerDiscreteScheduler(**SD)
CALL = {"guidance_scale": 2.0, "num_inference_steps": 2, **SIZE}
PROMPTS = {"cat": {"prompt": "a red cat"}, "dog": {"prompt": "a dog"}}
FEW = Quadrature(vectors=2)


def sd(scheduler: Any = DDIM) -> Any:
    return build(tiny.stable_diffusion, scheduler)


@pytest.fixture(scope="module")
def made() -> tuple[Any, torch.Tensor]:
    pipe = sd()
    return pipe, clean(pipe, {**CALL, **PROMPTS["cat"]}, draw(1, 4, 8, 8))


def test_a_call_has_the_likelihood_of_its_network(made: tuple[Any, torch.Tensor]) -> None:
    """As read by running the call, and as written down by hand; exactly, both prompts."""
    pipe, latents = made
    found = likelihood(pipe, latents, PROMPTS, naive=False, **CALL)
    solver = from_scheduler(DDIM, 2)
    denoisers = [text_denoiser(pipe, [c["prompt"]], 2.0) for c in PROMPTS.values()]
    by_hand = likelihood(None, latents, [(d, solver) for d in denoisers], naive=False)
    torch.testing.assert_close(found.log_p, by_hand.log_p, rtol=0, atol=1e-2)  # of -300, float32
    assert found.names == ("cat", "dog")
    assert found.candidates[0].scores.naive.isnan().all()
    assert pipe.scheduler is DDIM


def test_what_lies_around_the_table_counts(made: tuple[Any, torch.Tensor]) -> None:
    """Euler's first state is many times the noise, and the network gets it scaled down."""
    pipe, latents = made
    call = {**CALL, **PROMPTS["cat"]}
    with opened(pipe, latents, {**call, "scheduler": EULER}) as problem:
        noise = draw(*latents.shape, seed=3)
        reading = read(pipe, call)
        first = float(EULER.init_noise_sigma) * noise
        scale = reading.stage.scales[0].item()
        torch.testing.assert_close(problem.noise(scale * first), noise, rtol=1e-6, atol=0)
        expected = latents.numel() * math.log(scale * float(EULER.init_noise_sigma))
        assert problem.log_scale == pytest.approx(expected, rel=1e-6)
        same = Problem.of(reading.network, reading.solver, problem.image)
        assert same.log_scale == pytest.approx(expected, rel=1e-6)
    assert pipe.scheduler is DDIM


def test_packed_latents_and_rows_keep_their_noise() -> None:
    """Flux packs its latents; two rows of a batch are two samples."""
    pipe = build(tiny.flux)
    call = {"prompt": ["a red cat", "a dog"], "num_inference_steps": 2, **SIZE}
    noise = draw(2, 16, 16)
    latents = clean(pipe, call, noise)
    found = likelihood(pipe, latents, [call], determinant=FEW, naive=False)
    assert found.log_p.shape == (1, 2)
    roots = [roots[0] for roots in found.candidates[0].roots]
    for z, root in zip(noise, roots, strict=True):
        assert root.noise.norm() == pytest.approx(z.norm().item(), rel=1e-5)
        normal = -(z.square() + math.log(2 * math.pi)).sum().item() / 2
        assert root.log_normal == pytest.approx(normal, rel=1e-5)


def test_settings_schedulers_and_models_are_candidates(made: tuple[Any, torch.Tensor]) -> None:
    """Changed for the candidate alone."""
    pipe, latents = made
    call = {**CALL, **PROMPTS["cat"]}
    settings = [{}, {"guidance_scale": 3.0}]
    found = likelihood(pipe, latents, settings, determinant=FEW, naive=False, **call)
    assert found.log_p.isfinite().all()
    assert found.log_p[0] > found.log_p[1]
    assert found.names == ("candidate 1", "guidance_scale=3.0")
    other = sd(EULER)
    latents = clean(other, call, draw(1, 4, 8, 8))
    candidates = {"scheduler": {"scheduler": EULER}, "model": {"pipe": other}}
    found = likelihood(pipe, latents, candidates, determinant=FEW, naive=False, **call)
    assert found.log_p.isfinite().all()
    assert abs(found.difference(0, 1)[0]) < 1e-2  # another pipeline with the same weights
    assert pipe.scheduler is DDIM


def test_a_call_that_takes_no_noise_has_no_likelihood(
    made: tuple[Any, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, latents = made
    monkeypatch.setattr("invlib.pipelines.reading.entrances", only_a_first_step)
    with pytest.raises(ValueError, match="takes no noise"):
        likelihood(pipe, latents, PROMPTS, **CALL)


def only_a_first_step(*given: Any) -> Any:
    from invlib.pipelines.entrance import entrances

    *_, last = entrances(*given)
    assert last.kind == "first step"
    yield last


# ---- gradients -----------------------------------------------------------------------------------


def test_noise_has_gradients_by_the_prompt_and_the_scale_of_a_pipeline() -> None:
    """As differences of inversions say, in float64."""
    pipe = sd()
    call = {**CALL, "num_inference_steps": 3, **PROMPTS["cat"]}
    network = read(pipe, call).network.in_float64()
    solver = read(pipe, call).solver
    (path, prompt), scale = next(iter(conditions(network).items())), torch.tensor(2.0).double()
    image, weight = sample(network, draw(1, 4, 8, 8), solver).image, draw(1, 4, 8, 8, seed=5)

    def value(prompt: torch.Tensor, scale: torch.Tensor, **how: Any) -> torch.Tensor:
        changed = conditioned(network, {path: prompt}, scale=scale)
        return (weight * invert(changed, image, solver, **how).noise).sum()

    given = prompt.clone().requires_grad_(), scale.clone().requires_grad_()
    gradients = torch.autograd.grad(value(*given, differentiable=True), given)
    along = draw(*prompt.shape, seed=6), torch.ones_like(scale)
    for k in range(2):
        h, step = 1e-4, [along[i] * (i == k) for i in range(2)]
        ends = [value(*(v + s * h * d for v, d in zip(given, step, strict=True))) for s in (1, -1)]
        expected = ((ends[0] - ends[1]) / (2 * h)).item()
        assert (gradients[k] * along[k]).sum().item() == pytest.approx(expected, rel=1e-5)


GUIDED = {
    "empty prompt first": ("StableDiffusionPipeline", "guidance_scale", UNETS),
    "prompt first": ("DiTPipeline", "guidance_scale", TRANSFORMERS),
    "two calls": ("FluxPipeline: true CFG", "true_cfg_scale", TRANSFORMERS),
}


@pytest.mark.parametrize("how", GUIDED)
def test_another_scale_and_prompt_are_those_of_a_call_that_was_given_them(how: str) -> None:
    """Networks called twice, or with the prompt first, were guided by 1 - w, and by no prompt."""
    name, scale, recipes = GUIDED[how]
    pipe, call = build(recipes[name].make), {**recipes[name].call, "num_inference_steps": 2}
    low, high = (read(pipe, {**call, scale: w}) for w in (1.5, 4.0))
    y, node = high.stage.inputs[0], torch.zeros(1, dtype=torch.long)
    expected = high.network.at(y, node)
    values = conditions(low.network)
    changed = conditioned(low.network, values, scale=torch.tensor(4.0, dtype=torch.float64))
    assert nmse(changed.at(y, node), expected).max() < 1e-20
    assert nmse(low.network.at(y, node), expected).max() > 1e-15
    if how == "two calls":
        first, second = ([k for k in values if k[0] == ("call", n)] for n in (0, 1))
        assert [k[1:] for k in first] == [k[1:] for k in second] and len(first) > 0
        swapped = {k: values[(("call", 1 - k[0][1]), *k[1:])] for k in values}
        back = conditioned(changed, swapped, scale=torch.tensor(-3.0, dtype=torch.float64))
        assert nmse(back.at(y, node), expected).max() < 1e-20


def test_a_scale_that_changes_from_step_to_step_is_not_replaced() -> None:
    pipe = sd()
    network = read(pipe, {**CALL, **PROMPTS["cat"]}).network
    weights = network.replay.weights.clone()
    weights[0] += torch.tensor([-1.0, 1.0])
    falling = replace(network, replay=replace(network.replay, weights=weights))
    with pytest.raises(ValueError, match="changes from step to step"):
        conditioned(falling, scale=torch.tensor(2.0))


def test_a_condition_that_is_none_is_refused(made: tuple[Any, torch.Tensor]) -> None:
    pipe, _ = made
    plain = read(pipe, {**CALL, **PROMPTS["cat"], "guidance_scale": 1.0}).network
    with pytest.raises(ValueError, match="guidance scale above 1"):
        conditioned(plain, scale=torch.tensor(2.0))
    path = next(iter(conditions(plain)))
    with pytest.raises(ValueError, match="no condition"):
        conditioned(plain, {path: torch.zeros(3)})
    with pytest.raises(ValueError, match="not called directly"):
        conditions(replace(plain, replay=None))
