"""Words for an unknown prompt: the gradient, the way over embeddings, the words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from analytic import randn
from stock import SIZE, clean, draw
from tiny_pipelines import SD, build
from torch import Tensor

from invlib import Quadrature, find_prompt, invert, likelihood
from invlib.denoisers import Denoiser, predicting
from invlib.identification.gradient import likelihood_gradient
from invlib.identification.prompt import climb
from invlib.identification.wording import Lexicon, Wording
from invlib.likelihood import Problem
from invlib.likelihood.from_pipeline import opened
from invlib.pipelines.conditions import conditioned, conditions
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import ddim, dpm_solver_pp_2m
from invlib.watch import Budget

SOLVERS = {"DDIM": ddim, "2M": dpm_solver_pp_2m}
STEPS, DIM = 3, 2
IN, OUT = randn(2 * DIM + 1, 16, seed=1) / 2, randn(16, DIM, seed=2) / 2
CALL = {"guidance_scale": 2.0, "num_inference_steps": 2, **SIZE}
CHEAP = Quadrature(vectors=2, steps=3)


def told(condition: Tensor) -> Denoiser:
    """Two layers; the condition goes in beside the state."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        whole = torch.cat([x, condition.expand(len(x), -1), t[:, None] / 1000], 1)
        return 0.5 * x + torch.tanh(whole @ IN) @ OUT

    return predicting(network, "epsilon")


@pytest.fixture(scope="module")
def made() -> tuple[Any, Tensor]:
    scheduler = diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=False)
    pipe = build(tiny.stable_diffusion, scheduler)
    return pipe, clean(pipe, {**CALL, "prompt": "a red cat"}, draw(1, 4, 8, 8))


# --- the gradient


@pytest.mark.parametrize("name", SOLVERS)
def test_the_mean_gradient_is_that_of_the_exact_likelihood(name: str) -> None:
    """Over all unit vectors instead of random ones the trace is exact; against differences."""
    solver, at = SOLVERS[name](Schedule.scaled_linear().grid(STEPS)), randn(1, DIM, seed=3)
    image = sample(told(at + 0.3), randn(1, DIM, seed=4), solver).image

    def minus_log_p(condition: Tensor) -> float:
        found = likelihood(None, image, [(told(condition), solver)], naive=False)
        return -found.log_p[0, 0].item()

    leaf, size = at.clone().requires_grad_(), STEPS * DIM
    problem = Problem.of(told(leaf), solver, image.expand(size, -1))
    states = invert(problem.denoiser, problem.image, solver).states
    units = torch.eye(size, dtype=torch.float64).view(size, STEPS, DIM)
    (every,), _ = likelihood_gradient(problem, states, [leaf], units)
    (norms,), _ = likelihood_gradient(problem, states, [leaf], 0 * units)
    gradient = every - norms * (size - 1) / size
    for k in range(DIM):
        step = 1e-4 * torch.eye(DIM, dtype=torch.float64)[k]
        expected = (minus_log_p(at + step) - minus_log_p(at - step)) / 2e-4
        assert gradient[0, k].item() == pytest.approx(expected, rel=1e-6)
        assert abs(norms[0, k].item() / size - expected) > 1e-3 * abs(expected)


def test_token_embeddings_have_the_gradient_of_differences(made: tuple[Any, Tensor]) -> None:
    """Of the norm, through the text encoder, guidance and the root, in float64."""
    pipe, latents = made
    wording = Wording.of(Lexicon.of(pipe), "a dog", 3)
    with opened(pipe, latents, {**CALL, "prompt": wording.text}) as problem:
        network: Any = problem.denoiser
        network = network.in_float64()

        def at(embedding: Tensor) -> Problem:
            values = wording.conditions(embedding.requires_grad_(), network)
            return replace(problem, denoiser=conditioned(network, values))

        def energy(embedding: Tensor) -> float:
            here = at(embedding)
            noise = invert(here.denoiser, here.image, here.solver).noise
            return 0.5 * noise.square().sum().item()

        leaf = wording.start.clone().requires_grad_()
        here = at(leaf)
        states = invert(here.denoiser, here.image, here.solver).states
        probe = torch.zeros_like(states[:-1]).transpose(0, 1)
        (gradient,), cost = likelihood_gradient(here, states, [leaf], probe)
        along = draw(*leaf.shape, seed=5)
        ends = [energy(wording.start + side * 1e-4 * along) for side in (1, -1)]
    expected = (ends[0] - ends[1]) / 2e-4
    assert (gradient * along).sum().item() == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 1e-3 and cost > 0


def test_the_way_over_embeddings_leads_upwards(made: tuple[Any, Tensor]) -> None:
    pipe, latents = made
    wording = Wording.of(Lexicon.of(pipe), "", 2)
    with opened(pipe, latents, {**CALL, "prompt": wording.text}) as problem:
        way = climb(problem, wording, 5)
    assert len(way.path) == 5 and not way.notes
    assert min(way.path[1:]) > way.path[0]
    assert max(way.path) > way.path[0] + 0.1
    assert not torch.equal(way.embedding, wording.start)


# --- words and numbers


PIPELINES = {
    "SD": tiny.stable_diffusion,
    "SDXL": tiny.stable_diffusion_xl,
    "SD 3": tiny.stable_diffusion_3,
}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_embeddings_of_words_give_what_the_words_give(name: str) -> None:
    pipe = build(PIPELINES[name])
    wording = Wording.of(Lexicon.of(pipe), "a red cat", 1)
    steps = {"prompt": wording.text, "num_inference_steps": 2, **SIZE}
    shape = clean(pipe, steps, draw(1, 4, 8, 8))
    with opened(pipe, shape, steps) as problem:
        network: Any = problem.denoiser
        leaf = wording.start.clone().requires_grad_()
        values = wording.conditions(leaf, network)
        known = conditions(network)
        for path, value in values.items():
            torch.testing.assert_close(value, known[path], rtol=0, atol=1e-12)
        with torch.enable_grad():
            total = torch.stack([value.square().sum() for value in values.values()]).sum()
        (moved,) = torch.autograd.grad(total, leaf)
    assert (moved.norm(dim=1) > 0).all()
    assert len(leaf) == len(wording.lexicon.ids("a red cat")) > 1


def test_every_word_is_nearest_to_its_own_embedding_and_fragments_are_no_words() -> None:
    from invlib import load

    pipe = load("portraits")
    lexicon = Lexicon.of(pipe)
    names = ["undercut", "pink", "smiling"]
    rows = lexicon.table[[lexicon.ids(name)[0] for name in names]]
    zero = torch.zeros_like(rows)
    assert [place[0] for place in lexicon.nearest(zero, 3 * rows, 2)] == names
    part = rows.roll(1, 0) + 0.1 * (rows - rows.roll(1, 0))  # a tenth of the way
    assert [place[0] for place in lexicon.nearest(rows.roll(1, 0), part, 2)] == names
    for words in lexicon.nearest(zero, randn(*rows.shape), 100):
        assert len(set(words)) == len(words)
        assert all(len(lexicon.ids(word)) == 1 for word in words)
    few = Lexicon.of(pipe, ["pink", "green"]).nearest(zero, rows, 3)
    assert all(set(words) == {"pink", "green"} for words in few) and few[1][0] == "pink"


# --- the whole


def test_the_words_are_compared_with_the_start(made: tuple[Any, Tensor]) -> None:
    pipe, latents = made
    asked = {"words": 2, "rounds": 2, "nearest": 2, "determinant": CHEAP, **CALL}
    found = find_prompt(pipe, latents, start="a", **asked)
    scores = dict(found.seen)
    assert found.nearest in scores and "a" in scores
    assert found.seen[0][1] == max(scores.values()) >= scores["a"]
    exact = found.identification.likelihoods
    assert exact is not None and exact.log_p[0] >= exact.log_p[-1]
    assert {c.prompt for c in found.identification.finalists} <= {found.seen[0][0], "a"}
    assert found.better == (found.prompt != "a")
    words = "is the most probable, more than 'a'" if found.better else "more probable than 'a'"
    assert words in found.sentence() == str(found)
    doubtful = found.better and exact.difference(0, 1)[0] <= exact.within(0, 1)
    assert ("may be chance" in found.sentence()) == doubtful
    assert len(found.path) == 2 and found.evaluations > 200 and found.ended is None


def test_a_budget_ends_it_early(made: tuple[Any, Tensor]) -> None:
    pipe, latents = made
    options = {"budget": Budget(evaluations=100)}
    found = find_prompt(pipe, latents, words=2, options=options, determinant=CHEAP, **CALL)
    assert found.ended == "budget" and len(found.path) < 20 and not found.better
    assert "All ended early (budget)" in found.sentence()


def test_bad_input_is_told_in_a_sentence(made: tuple[Any, Tensor]) -> None:
    pipe, latents = made
    with pytest.raises(ValueError, match="DDIMPipeline has no text encoder with a tokenizer"):
        find_prompt(build(lambda: tiny.pixels(cls="DDIMPipeline")), torch.zeros(1, 3, 8, 8))
    with pytest.raises(TypeError, match="give a guess of it as start"):
        find_prompt(pipe, latents, prompt="a cat", **CALL)
    with pytest.raises(ValueError, match="words, rounds and nearest must be at least 1"):
        find_prompt(pipe, latents, rounds=0, **CALL)
    with pytest.raises(ValueError, match="words of one token are needed, not 'red cat'"):
        find_prompt(pipe, latents, vocabulary=["red cat", "a"], **CALL)
    with pytest.raises(ValueError, match=r"100 words of text_encoder do not reach the network"):
        find_prompt(pipe, latents, words=100, **CALL)
