"""Which call made a picture: the first look, the search, the doubts."""

from __future__ import annotations

import copy
import io
import math
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from analytic import randn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_pipelines import stable_diffusion

import invlib
from invlib.cli.identify import rows, summary
from invlib.identification import Candidate, Phrases, ascend, first_look, identify, surprise
from invlib.identification.candidates import axes_of, by_name
from invlib.identification.law import cosines, excess, fast_cosines
from invlib.identification.result import LEVEL, MISFIT
from invlib.identification.search import _looked_at, _ranked, _target
from invlib.inversion import Inversion
from invlib.likelihood import Problem, Quadrature, likelihood
from invlib.pipelines import Options
from invlib.portraits import held_out
from invlib.portraits.render import caption
from invlib.portraits.vocabulary import vocabulary
from invlib.schedule import Schedule
from invlib.solvers import ddim
from invlib.watch import watching

SCHEDULE = Schedule.scaled_linear()


# --- the law of the noise


@pytest.mark.parametrize(
    "shape", [(4, 16, 16), (3, 32, 32), (20, 8, 8), (100,), (2, 3, 8, 8), (64, 16)]
)
def test_drawn_noise_is_as_surprising_as_the_law_says(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(5)
    found = surprise(torch.randn(300, *shape, generator=draw)).p
    for level in (0.02, 0.2, 0.5):
        share = (found < level).double().mean().item()
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / 300) + 0.02


@pytest.mark.parametrize(
    "change",
    [
        lambda z: 1.15 * z,
        lambda z: 0.85 * z,
        lambda z: z + 0.6 * z.roll(1, -1),
        lambda z: z * torch.linspace(0.7, 1.3, 16),
        lambda z: torch.zeros_like(z),
        lambda z: z + torch.nan,
    ],
)
def test_what_is_not_noise_is_surprising(change: Any) -> None:
    noise = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(8))
    assert (surprise(noise).p > LEVEL).all()
    assert (surprise(change(noise)).p < 1e-3).all()


@given(st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_the_cosine_transform_is_orthonormal(size: int) -> None:
    eye = torch.eye(size, dtype=torch.float64)
    assert torch.allclose(cosines(size) @ cosines(size).T, eye, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 601])
def test_the_fast_cosine_transform_is_the_matrix(size: int) -> None:
    x = randn(3, size, seed=size)
    assert torch.allclose(fast_cosines(x), x @ cosines(size).T, atol=1e-11)


def test_tokens_are_a_plane_of_which_no_large_matrix_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one axis those of Flux would need a matrix of 65536 x 65536 values."""
    law = sys.modules["invlib.identification.law"]
    made: list[int] = []
    monkeypatch.setattr(law, "cosines", lambda size: made.append(size) or cosines(size))
    noise = torch.randn(3, 1024, 64, generator=torch.Generator().manual_seed(2))
    smooth = noise + 0.6 * noise.roll(1, 1)
    assert (excess(smooth) > 10 * excess(noise)).all()
    assert set(made) == {64}
    plane = torch.randn(1, 20, 30, generator=torch.Generator().manual_seed(2))
    assert torch.equal(excess(plane), excess(plane[:, None]))


def test_excess_is_zero_only_where_every_group_has_variance_one() -> None:
    assert excess(torch.ones(1, 64)).item() > 0
    assert excess(2 * torch.ones(1, 64)).item() > excess(torch.ones(1, 64)).item()


# --- the first look


@pytest.mark.parametrize("std", [0.3, 1.0])
def test_the_first_look_at_a_gaussian_is_the_likelihood_at_the_naive_noise(std: float) -> None:
    """A network whose derivative is a number: nothing but naive inversion is rough."""
    solver = ddim(SCHEDULE.grid(100))
    network = invlib.gaussian(SCHEDULE, torch.zeros(16), std)
    image = std * torch.randn(1, 16, generator=torch.Generator().manual_seed(1)).double()
    rough = first_look(Problem.of(network, solver, image))
    exact = likelihood(None, image, [(network, solver)], naive=False).log_p[0, 0].item()
    assert rough.log_p - 8 * math.log(2 * math.pi) == pytest.approx(exact, abs=1.0)
    assert rough.nfe > 100


def test_the_first_look_tells_networks_apart() -> None:
    solver = ddim(SCHEDULE.grid(20))
    networks = [invlib.gaussian(SCHEDULE, torch.full((32,), c), 0.5) for c in (-1.0, 0.0, 1.0)]
    for number, network in enumerate(networks):
        image = invlib.sample(network, randn(1, 32, seed=number), solver).image
        scores = [first_look(Problem.of(other, solver, image)).log_p for other in networks]
        assert max(range(3), key=scores.__getitem__) == number


# --- the search


AXES = st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(), min_size=1, unique=True))


@given(AXES, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_sums_of_scores_are_climbed_to_the_top(axes: dict[str, list[int]], random: Any) -> None:
    """Where the score of one list does not depend on the others."""
    worth = {(n, v): random.random() for n, values in axes.items() for v in values}

    def score(at: tuple[tuple[str, int], ...]) -> float:
        return sum(worth[pair] for pair in at)

    seen = ascend(axes, lambda at: tuple(sorted(at.items())), score)
    best = tuple(sorted((n, max(v, key=lambda x: worth[n, x])) for n, v in axes.items()))
    assert max(seen, key=seen.__getitem__) == best or math.isclose(
        score(best), max(seen.values()), rel_tol=1e-12
    )


def test_long_lists_are_not_multiplied() -> None:
    axes = {name: range(10) for name in "abc"}
    seen = ascend(axes, lambda at: (at["a"], at["b"], at["c"]), lambda c: -abs(c[0] - 3) - c[1])
    assert max(seen, key=seen.__getitem__)[:2] == (3, 0) and len(seen) < 60


def test_the_search_ends_where_a_score_is_none() -> None:
    scores = iter([1.0, 2.0, None])
    assert len(ascend({"a": range(9)}, lambda at: at["a"], lambda c: next(scores))) == 2
    scores = iter([1.0, 2.0, None])
    assert len(ascend({"a": range(99)}, lambda at: at["a"], lambda c: next(scores))) == 2


def test_samplers_are_not_compared_by_the_first_look() -> None:
    """The best of every sampler comes before the second best of any."""
    axes, make = axes_of(["x", "y", "z"], guidance=[1.0, 2.0], steps=[5, 9], schedulers=None)
    worth = {"x": 0.0, "y": 5.0, "z": 3.0}

    def score(c: Candidate) -> float:
        assert c.prompt is not None and c.guidance_scale and c.num_inference_steps
        return worth[c.prompt] + c.guidance_scale + 100 * c.num_inference_steps

    seen = _looked_at(axes, make, score, 2)
    ranked = _ranked(seen)
    assert len(seen) == 6 + 2
    assert [(c.prompt, c.guidance_scale, c.num_inference_steps) for c in ranked[:4]] == [
        *(("y", 2.0, 9), ("y", 2.0, 5), ("y", 1.0, 9), ("y", 1.0, 5)),
    ]
    refused = {**seen, ranked[0]: -math.inf}
    assert ranked[0] not in _ranked(refused)


def test_a_sampler_that_is_refused_does_not_choose_the_prompts() -> None:
    """The next one looks at all of them; with it the last prompt, the best, was not looked at."""
    prompts = [str(number) for number in range(9)]
    axes, make = axes_of(prompts, schedulers=["refused", "a", "b"])

    def score(c: Candidate) -> float:
        return -math.inf if c.scheduler == "refused" else float(c.prompt or 0)

    seen = _looked_at(axes, make, score, 2)
    assert [(c.prompt, c.scheduler) for c in _ranked(seen)[:4]] == [
        *(("8", "a"), ("8", "b"), ("7", "a"), ("7", "b")),
    ]
    assert len(seen) == 9 + 9 + 2
    none = _looked_at(axes, make, lambda c: -math.inf, 2)
    assert len(none) == 27 and _ranked(none) == []


def test_attributes_make_prompts() -> None:
    phrases = Phrases({"a": ("big", "small"), "b": ("cat", "dog")}, lambda v: f"{v['a']} {v['b']}")
    axes, make = axes_of(phrases, guidance=[3.0])
    assert list(axes) == ["guidance_scale", "a", "b"]
    candidate = make({"a": "small", "b": "dog", "guidance_scale": 3.0})
    assert candidate == Candidate("small dog", 3.0)
    assert candidate.name == "'small dog', guidance 3" and Candidate().name == "the call"


@pytest.mark.parametrize("wrong", [{"a", "b"}, {"a": 1}, 3.0, (p for p in "ab")])
def test_what_is_no_list_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="prompt: give a list of candidates, not a"):
        axes_of(wrong)
    with pytest.raises(TypeError, match="guidance_scale: give a list of candidates, not a"):
        axes_of(None, guidance=wrong)


def test_the_vocabulary_of_the_portraits_is_that_of_their_captions() -> None:
    phrases = vocabulary()
    for person in held_out(50):
        values = {name: getattr(person, name) for name in phrases.attributes}
        assert all(values[name] in known for name, known in phrases.attributes.items())
        assert phrases.write(values) == caption(person)
    assert math.prod(len(v) for v in phrases.attributes.values()) > 10**6


# --- schedulers by name


def test_schedulers_are_made_of_names_and_classes() -> None:
    from diffusers import DDIMScheduler, UniPCMultistepScheduler

    pipe = stable_diffusion()
    mine = DDIMScheduler()
    found = by_name(pipe, ["DDIMScheduler", UniPCMultistepScheduler])
    assert [type(s).__name__ for s in found.values()] == list(found)
    assert found["DDIMScheduler"].config.clip_sample is False
    assert by_name(pipe, {"a": mine}) == {"a": mine}
    with pytest.raises(ValueError, match="no scheduler 'Nothing'"):
        by_name(pipe, ["Nothing"])
    with pytest.raises(ValueError, match="one name"):
        by_name(pipe, [mine, mine])


# --- all of it, on a small pipeline


PROMPTS = ("a red cat", "a blue dog", "two old birds")


@pytest.fixture(scope="module")
def pipe() -> Any:
    torch.manual_seed(0)
    made = stable_diffusion()
    made.set_progress_bar_config(disable=True)
    return made


def latents_of(pipe: Any, prompt: str, seed: int = 3, **call: Any) -> torch.Tensor:
    asked: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0} | call
    generator = torch.Generator().manual_seed(seed)
    made = pipe(prompt, generator=generator, height=16, width=16, output_type="latent", **asked)
    return made.images


def test_nothing_is_asked_twice_or_of_several_pictures(pipe: Any) -> None:
    latents = torch.zeros(2, 4, 8, 8)
    for given_, message in (
        ({"prompts": PROMPTS, "prompt": "x"}, "prompt: either known or asked about"),
        ({"prompts": PROMPTS}, "2 rows, not 1"),
        ({"prompts": "a cat"}, "give a list"),
        ({"guidance": []}, "give a list"),
        ({"prompts": PROMPTS, "finalists": 0}, "no finalist"),
    ):
        with pytest.raises(ValueError, match=message):
            identify(pipe, latents, **given_)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one picture at a time"):
        identify(pipe, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), prompt="x")


CHEAP = Quadrature(vectors=2, steps=3)


def test_the_call_that_made_latents_is_named_and_its_noise_found(pipe: Any) -> None:
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0)
    asked = {"num_inference_steps": 3, "determinant": CHEAP, "height": 16, "width": 16}
    found = identify(pipe, latents, prompts=["a red cat"], guidance=[1.0], **asked)
    assert found.best == Candidate("a red cat", 1.0)
    assert found.surprise is not None and found.surprise > LEVEL and found.misfit is None
    assert found.posterior == 1 and found.untried == 0 and found.evaluations > 30
    assert found.sentence() == (
        "Nothing speaks against 'a red cat', guidance 1, which was compared exactly with no other."
    )
    drawn = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    assert found.noise is not None
    assert invlib.nmse(found.noise, drawn.double()).item() < 1e-6
    assert invlib.find_seed(found.noise, range(100)).seed == (3,)


def test_from_eight_bits_no_probability_is_stated(pipe: Any) -> None:
    """Decoded latents are not the true ones: at scale 3 the right scale was named in 3 of 8."""
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0)
    asked = {"num_inference_steps": 3, "determinant": CHEAP, "guidance_scale": 1.0}
    true = identify(pipe, latents, prompts=PROMPTS[:2], height=16, width=16, **asked)
    assert true.calibrated and f"with probability {true.posterior:.3g} among" in true.sentence()
    told = replace(true, reasons=(), surprise=None, misfit=0.9)
    assert "probability" not in told.sentence()
    name = told.finalists[0].name
    assert told.sentence().startswith(
        f"The most likely of these 2 candidates is {name}; from 8 bits its odds against the other "
        "finalists are not calibrated."
    )
    assert summary(told)["probability"] is None and summary(true)["probability"] == true.posterior
    assert {row["probability"] for row in rows(told)} == {None}


def test_latents_of_another_noise_are_none_of_these(pipe: Any) -> None:
    """What a sampler makes of a noise that nobody draws."""
    drawn = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    noise = drawn.cumsum(-1) / 2
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0, latents=noise)
    asked = {"num_inference_steps": 3, "determinant": CHEAP, "height": 16, "width": 16}
    found = identify(pipe, latents, prompt="a red cat", guidance=[1.0], **asked)
    assert found.best is None and found.surprise is not None and found.surprise < 1e-6
    assert "not such as is drawn" in found.reasons[0]
    assert found.sentence().startswith("The one candidate did not make it: its noise is not")


def test_a_scheduler_that_is_refused_is_named_and_changes_no_answer(pipe: Any) -> None:
    """Ancestral steps draw noise, so they have no inverse: the first prompt alone was left."""
    refused, other = "EulerAncestralDiscreteScheduler", "DDIMScheduler"
    own = copy.copy(pipe)
    own.scheduler = by_name(pipe, [other])[other]
    latents = latents_of(own, PROMPTS[2], num_inference_steps=2, guidance_scale=1.0)
    call = {"num_inference_steps": 2, "height": 16, "width": 16, "guidance_scale": 1.0}
    asked = {**call, "prompts": PROMPTS, "determinant": CHEAP, "finalists": 1}
    found = identify(pipe, latents, schedulers=[refused, other], **asked)
    known = identify(pipe, latents, schedulers=[other], **asked)
    assert found.candidates == known.candidates and len(found.candidates) == 3
    assert found.best == known.best and found.untried == known.untried == 0
    [(name, why)] = found.refused
    said = f"refused: {refused} ({why})"
    assert name == refused and said in found.sentence() and said in found.notes
    assert not known.refused and "refused" not in known.sentence()
    none = identify(pipe, latents, schedulers=[refused], **asked)
    assert none.best is None and none.untried == 0 and none.refused == found.refused
    assert none.sentence() == f"No candidate can be compared; {said}."


def test_a_budget_leaves_candidates_over(pipe: Any) -> None:
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0)
    found = identify(
        pipe,
        latents,
        prompts=PROMPTS,
        options={"budget": invlib.Budget(evaluations=5), "progress": False},
        num_inference_steps=3,
        guidance_scale=1.0,
        determinant=CHEAP,
    )
    assert 0 < found.untried < 3 and found.best is None and found.ended == "budget"
    assert found.unfound == tuple((c, "budget") for c in found.candidates[:3])
    name = found.candidates[0].name
    assert f" is known to have made it: no noise was found for {name} (search ended: budget)" in (
        found.sentence()
    )


def test_a_budget_cuts_determinants_short_and_the_answer_says_so(pipe: Any) -> None:
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0)
    asked = {"num_inference_steps": 3, "height": 16, "width": 16, "guidance_scale": 1.0}
    fine = Quadrature(vectors=4, tol=1e-9)
    more = {"options": {"budget": invlib.Budget(evaluations=250), "progress": False}}
    found = identify(pipe, latents, prompts=PROMPTS[:2], determinant=fine, **more, **asked)
    assert found.ended == "budget" and found.evaluations < 500
    assert len(found.finalists) + len(found.unfound) == 2
    assert found.likelihoods is not None and found.likelihoods.candidates[0].error.item() > 1
    assert "all ended early (budget)" in found.sentence()
    assert identify(pipe, latents, prompts=PROMPTS[:2], determinant=CHEAP, **asked).ended is None


@pytest.mark.parametrize("cut", [0, 1])
def test_a_finalist_whose_search_was_cut_off_is_named(
    pipe: Any, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of a finalist's search is spent, of the true one and of another."""
    search = sys.modules["invlib.identification.search"]
    bounds = iter([(1, 0), search.MOST] if cut == 0 else [search.MOST, (1, 0)])
    bounded = search.bounded

    def changed(*given: Any, **more: Any) -> Inversion:
        monkeypatch.setattr(search, "MOST", next(bounds))
        return bounded(*given, **more)

    monkeypatch.setattr(search, "bounded", changed)
    latents = latents_of(pipe, "a red cat", guidance_scale=1.0)
    asked = {"num_inference_steps": 3, "determinant": CHEAP, "height": 16, "width": 16}
    found = identify(pipe, latents, prompts=PROMPTS[:2], guidance_scale=1.0, **asked)
    lost = found.candidates[cut]
    assert found.unfound == ((lost, "budget"),) and found.finalists[1] == lost
    assert found.sentence().endswith(
        f"; no noise was found for {lost.name} (search ended: budget)."
    )


@pytest.fixture(scope="module")
def portraits() -> Any:
    from diffusers import DDIMScheduler

    pipe = invlib.load("portraits")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


def test_a_picture_of_the_decoder_fits_and_a_saved_jpeg_does_not(portraits: Any) -> None:
    call = {"prompt": caption(held_out(1)[0]), "num_inference_steps": 4, "guidance_scale": 1.0}
    picture = portraits(generator=torch.Generator().manual_seed(3), **call).images[0]
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    own, saved = (
        _target(portraits, image, Options(), call) for image in (picture, Image.open(stream))
    )
    assert own.misfit is not None and own.misfit < MISFIT
    assert saved.misfit is not None and saved.misfit > MISFIT
    assert own.size == {"height": 64, "width": 64} and not own.exact


def test_rounds_of_the_decoder_are_watched_once() -> None:
    """They were reported to the callback twice, and the bar was drawn twice."""
    pipe, seen = invlib.load("portraits"), []
    picture = Image.fromarray(torch.zeros(64, 64, 3, dtype=torch.uint8).numpy())
    own = Options(callback=lambda now: seen.append(now.round) or len(seen) >= 6)
    with watching(own.watch(pipe)):
        _target(pipe, picture, own, {"prompt": "a person", "num_inference_steps": 2})
    assert seen == [*range(1, len(seen) + 1)] and len(seen) > 2
