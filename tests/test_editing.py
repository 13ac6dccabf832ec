"""Editing: what is kept is kept to the bit, and what is recovered bounds what is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from analytic import SD, mixture, randn
from diffusers import HeunDiscreteScheduler, PNDMScheduler, UniPCMultistepScheduler
from diffusers.models.attention_processor import (
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnProcessor,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invlib import editing
from invlib.denoisers import Guided, guided, predicting
from invlib.editing import (
    attention_maps,
    attention_mask,
    background_nmse,
    counterfactuals,
    edit,
    edit_nmse,
    implied_outputs,
    latent_mask,
    mixed,
    pixel_mask,
    recording,
    values_of,
    word_tokens,
)
from invlib.inverters import invert
from invlib.metrics import nmse
from invlib.portraits import caption, held_out, load, portraits_denoiser
from invlib.portraits.quality import noise_for
from invlib.probing import from_scheduler
from invlib.sampling import Trajectory, sample
from invlib.schedule import Schedule
from invlib.solvers import Solver, ddim, dpm_solver_2m, dpm_solver_pp_2m, dpm_solver_pp_3m

DIM, STEPS = 6, 7
SCHEDULE = Schedule.scaled_linear()
GRID = SCHEDULE.grid(STEPS)
NOISE = randn(3, DIM, seed=1)
HALF = torch.tensor([[True, False, True, False, False, True]])
SOLVERS = {s.name: s for s in (ddim(GRID), dpm_solver_pp_2m(GRID), dpm_solver_pp_3m(GRID))} | {
    "noise prediction": dpm_solver_2m(GRID),
    "Heun": from_scheduler(HeunDiscreteScheduler(**SD), STEPS),
    "PNDM": from_scheduler(PNDMScheduler(**SD), STEPS),
    "UniPC": from_scheduler(UniPCMultistepScheduler(**SD), STEPS),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
masks = st.lists(st.booleans(), min_size=DIM, max_size=DIM).map(lambda m: torch.tensor([m]))


def prompt(label: int, scale: float = 2.0, rows: int = 3) -> Guided:
    """The network with one of two prompts."""
    classes = torch.full((rows,), label)
    return guided(mixture(SCHEDULE, DIM), classes, torch.tensor([-1]), scale)


OLD, NEW = prompt(0), prompt(1)
EVEN = ddim(GRID)
ORIGINALS = {name: sample(OLD, NOISE, solver) for name, solver in SOLVERS.items()}
ORIGINAL = ORIGINALS[EVEN.name]


def step_by_step(solver: Solver, original: Trajectory, mask: Tensor, nodes: set[int]) -> Tensor:
    """An edit in words: at a blend the state and all remembered outputs are blended."""
    rows = torch.arange(original.states.shape[1])
    y = original.states[0]
    remembered: list[Tensor] = []
    for i in range(solver.steps):
        remembered.append(solver.output(NEW, y, torch.full_like(rows, i), rows))
        y = solver.step(i, y, remembered)
        if i + 1 in nodes:
            y = mask * y + (1 - mask) * original.states[i + 1]
            remembered = [
                mask * m + (1 - mask) * old
                for m, old in zip(remembered, original.outputs, strict=False)
            ]
    return y


# ---- the blend ---------------------------------------------------------------------------------


@every_solver
def test_an_empty_mask_returns_the_original_to_the_bit(solver: Solver) -> None:
    original = sample(OLD, NOISE, solver)
    result = edit(NEW, original, solver, torch.zeros(1, DIM))
    assert torch.equal(result.states, original.states)
    assert torch.equal(result.image, original.image)
    assert result.nfe.tolist() == [solver.steps] * 3


@every_solver
def test_a_full_mask_is_plain_sampling_with_the_new_prompt_to_the_bit(solver: Solver) -> None:
    original = sample(OLD, NOISE, solver)
    noise = randn(3, DIM, seed=2)
    result = edit(NEW, original, solver, torch.ones(3, DIM, dtype=torch.bool), noise=noise)
    assert torch.equal(result.states, sample(NEW, noise, solver).states)


@every_solver
def test_a_full_mask_continues_from_the_noise_of_the_original(solver: Solver) -> None:
    original = sample(OLD, NOISE, solver)
    result = edit(NEW, original, solver, torch.ones(1, 1))
    torch.testing.assert_close(result.image, sample(NEW, NOISE, solver).image)


@settings(max_examples=15)
@given(mask=masks, name=st.sampled_from(list(SOLVERS)))
def test_outside_the_mask_every_state_is_the_originals_to_the_bit(mask: Tensor, name: str) -> None:
    original = ORIGINALS[name]
    result = edit(NEW, original, SOLVERS[name], mask)
    keep = ~mask.expand(3, DIM)
    assert torch.equal(result.states[:, keep], original.states[:, keep])


@settings(max_examples=25)
@given(mask=masks, size=st.floats(1e-6, 1.0), seed=st.integers(0, 10**6))
def test_the_background_is_wrong_by_the_trajectorys_error_and_no_more(
    mask: Tensor, size: float, seed: int
) -> None:
    error = size * randn(*ORIGINAL.states.shape, seed=seed)
    wrong = invert(OLD, ORIGINAL.image, EVEN, method="naive")
    states = ORIGINAL.states + error
    wrong = dataclasses.replace(wrong, states=states, noise=states[0])
    result = edit(NEW, wrong, EVEN, mask)
    difference = result.states - ORIGINAL.states
    assert torch.equal((~mask) * difference, (~mask) * (states - ORIGINAL.states))


def test_a_recovered_trajectory_keeps_the_given_image_but_not_the_way_to_it() -> None:
    """Blending up to the image hides every error of the inversion; that of the way remains."""
    for method in ("naive", "algorithm1", "exact"):
        found = invert(OLD, ORIGINAL.image, EVEN, method=method)
        result = edit(NEW, found, EVEN, HALF)
        assert (background_nmse(result.image, ORIGINAL.image, HALF) == 0).all()
        way = nmse(result.states[:, :, ~HALF[0]], ORIGINAL.states[:, :, ~HALF[0]]).max()
        assert (way < 1e-20) == (method == "exact")


def test_the_more_exact_the_inversion_the_nearer_the_edit_is_to_the_oracles() -> None:
    oracle = edit(NEW, ORIGINAL, EVEN, HALF).image
    naive, exact = (
        nmse(edit(NEW, invert(OLD, ORIGINAL.image, EVEN, method=m), EVEN, HALF).image, oracle)
        for m in ("naive", "exact")
    )
    assert (exact < 1e-20).all()
    assert (naive > 1e4 * exact).all()


def test_after_the_last_blend_exact_inversion_keeps_the_background_best() -> None:
    """As in local prompt mixing: one blend on the way, the old prompt after it."""
    half_way = mixed(OLD, NEW, EVEN, start=1, stop=4)

    def background(trajectory: Any) -> Tensor:
        result = edit(half_way, trajectory, EVEN, HALF, nodes=[6])
        return background_nmse(result.image, ORIGINAL.image, HALF)

    found = {m: invert(OLD, ORIGINAL.image, EVEN, method=m) for m in ("naive", "exact")}
    oracle, exact, naive = map(background, (ORIGINAL, found["exact"], found["naive"]))
    torch.testing.assert_close(exact, oracle, rtol=1e-6, atol=1e-20)
    assert (naive.mean() > oracle.mean()).all()


@pytest.mark.parametrize("solver", [s for s in SOLVERS.values() if s.scale == 1])
@pytest.mark.parametrize("nodes", [set(range(STEPS)), {3}, {2, 5}, set()], ids=str)
def test_a_blend_acts_on_the_state_and_on_its_history(solver: Solver, nodes: set[int]) -> None:
    original = sample(OLD, NOISE, solver)
    soft = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0, 0.9]], dtype=torch.float64)
    result = edit(NEW, original, solver, soft, nodes=nodes)
    torch.testing.assert_close(result.image, step_by_step(solver, original, soft, nodes))
    assert result.nodes == tuple(sorted(nodes))


def test_with_hard_masks_blended_everywhere_the_history_plays_no_part() -> None:
    """Every value is a recursion of its own, so other histories outside the mask are not seen."""
    solver = dpm_solver_pp_3m(GRID)
    original = sample(OLD, NOISE, solver)
    other = dataclasses.replace(original, states=original.states.clone())
    y, rows = original.states[0], torch.arange(3)
    outputs = []
    for i in range(STEPS):  # outputs are never blended here
        outputs.append(solver.output(NEW, y, torch.full_like(rows, i), rows))
        y = torch.where(HALF, solver.step(i, y, outputs), other.states[i + 1])
    assert torch.equal(edit(NEW, original, solver, HALF).image, y)


@every_solver
def test_the_states_imply_the_outputs(solver: Solver) -> None:
    original = sample(OLD, NOISE, solver)
    implied = implied_outputs(solver, original.states)
    used = [i for i in range(solver.steps) if solver.b[:, i].any()]
    torch.testing.assert_close(implied[used], original.outputs[used], rtol=1e-8, atol=1e-8)


def test_editing_to_the_same_prompt_is_regeneration() -> None:
    result = edit(OLD, ORIGINAL, EVEN, HALF)
    torch.testing.assert_close(result.image, ORIGINAL.image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.ones(3, DIM + 1)}, "does not fit states"),
        ({"mask": torch.ones(DIM)}, "does not fit states"),
        ({"mask": torch.full((1, DIM), torch.nan)}, "no NaN"),
        ({"mask": torch.full((1, DIM), 1.5)}, r"in \[0, 1\]"),
        ({"nodes": [STEPS + 1]}, "between 0"),
        ({"noise": randn(2, DIM)}, "noise"),
        ({"noise": torch.full((3, DIM), torch.nan)}, "NaN"),
        ({"solver": ddim(SCHEDULE.grid(STEPS + 1))}, "same solver"),
        ({"solver": dpm_solver_pp_2m(GRID)}, "another solver"),
        ({"solver": dataclasses.replace(EVEN, scale=2.0)}, "another solver"),
        ({"original": dataclasses.replace(ORIGINAL, states=ORIGINAL.states / 0)}, "infinity"),
        ({"denoiser": prompt(1, rows=2)}, "one condition per row"),
    ],
    ids=lambda v: v if isinstance(v, str) else next(iter(v)),
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"denoiser": NEW, "original": ORIGINAL, "solver": EVEN, "mask": HALF, **change}
    rest = {k: v for k, v in arguments.items() if k in ("nodes", "noise")}
    first = [arguments[k] for k in ("denoiser", "original", "solver", "mask")]
    with pytest.raises(ValueError, match=message):
        edit(*first, **rest)


# ---- prompt mixing -----------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, STEPS), (2, 5)])
def test_mixing_uses_the_new_prompt_in_its_steps_only(start: int, stop: int) -> None:
    run = sample(mixed(OLD, NEW, EVEN, start=start, stop=stop), NOISE, EVEN)
    for i in range(STEPS):
        expected = (NEW if start <= i < stop else OLD)(run.states[i], EVEN.t[i].expand(3))
        assert torch.equal(run.outputs[i], expected)


def test_a_mixture_may_be_asked_for_any_times_and_rows() -> None:
    """An inverter calls it on some rows, and on several times at once."""
    both = mixed(OLD, NEW, EVEN, start=2, stop=5)
    rows, nodes = torch.tensor([2, 0, 0, 1]), torch.tensor([1, 2, 4, 5])
    x, t = NOISE[rows], EVEN.t[nodes]
    expected = [
        (OLD, NEW, NEW, OLD)[k].select(rows[k : k + 1])(x[k : k + 1], t[k : k + 1])
        for k in range(4)
    ]
    torch.testing.assert_close(both.select(rows)(x, t), torch.cat(expected))
    image = sample(both, NOISE, EVEN).image
    found = invert(both, image, EVEN)
    assert (nmse(sample(both, found.noise, EVEN).image, image) < 1e-18).all()


def test_mixing_refuses_other_steps_and_other_predictions() -> None:
    with pytest.raises(ValueError, match="start <= stop"):
        mixed(OLD, NEW, EVEN, start=5, stop=STEPS + 1)
    with pytest.raises(ValueError, match="v_prediction"):
        mixed(OLD, predicting(NEW, "v_prediction"), EVEN, start=0, stop=1)


# ---- masks and errors --------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), grow=st.integers(0, 2))
def test_a_latent_mask_covers_its_pixels(seed: int, grow: int) -> None:
    pixels = randn(2, 1, 16, 24, seed=seed) > 2
    latents = latent_mask(pixels, (4, 6), grow=grow)
    assert (pixel_mask(latents, (16, 24)) >= pixels.double()).all()
    if grow == 0:  # and no latent without a pixel
        blocks = pixels.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4).any(-1)
        assert torch.equal(latents.bool(), blocks)


def test_errors_of_background_and_edit_are_apart() -> None:
    picture, other = torch.rand(2, 3, 4, 4) + 0.1, torch.rand(2, 3, 4, 4) + 0.1
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    merged = mask * other + (1 - mask) * picture
    assert (background_nmse(merged, picture, mask) == 0).all()
    assert (edit_nmse(merged, other, mask) == 0).all()
    torch.testing.assert_close(
        edit_nmse(merged, picture, mask), nmse(other[..., :2], picture[..., :2])
    )
    with pytest.raises(ValueError, match="no background"):
        background_nmse(picture, other, torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match="no edited region"):
        edit_nmse(picture, other, torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("call", [latent_mask, pixel_mask])
def test_masks_that_do_not_divide_are_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="mask of"):
        call(torch.ones(1, 1, 6, 6), (4, 4))
    with pytest.raises(ValueError, match="must be"):
        call(torch.ones(6, 6), (3, 3))


# ---- counterfactuals ---------------------------------------------------------------------------

PEOPLE = held_out(4)
PROMPTS = [caption(p) for p in PEOPLE]


def changed(attribute: str, first: str, second: str) -> list[str]:
    """The prompts with one attribute changed to the first of two values that is new."""
    values = [second if getattr(p, attribute) == first else first for p in PEOPLE]
    pairs = zip(PEOPLE, values, strict=True)
    return [caption(dataclasses.replace(p, **{attribute: v})) for p, v in pairs]


@pytest.mark.parametrize(
    "change",
    [("hair_color", "pink", "black"), ("sky", "night sky", "pink sky"), ("mood", "sad", "angry")],
    ids=lambda c: c[0],
)
def test_counterfactuals_differ_inside_the_mask_only(change: tuple[str, str, str]) -> None:
    edits = changed(*change)
    pair = counterfactuals(PROMPTS, edits, seed=5)
    outside = ~pair.mask.expand_as(pair.source)
    assert pair.source.shape == (4, 3, 64, 64)
    assert torch.equal(pair.source[outside], pair.target[outside])
    assert (pair.source != pair.target).any(1, keepdim=True)[pair.mask].all()
    assert (pair.mask.flatten(1).any(1) & ~pair.mask.flatten(1).all(1)).all()
    assert [caption(p) for p in pair.portraits] == PROMPTS
    assert [caption(p) for p in pair.edited] == edits


def test_the_counterfactual_of_the_counterfactual_is_the_picture() -> None:
    edits = changed("garment_color", "red", "blue")
    there, back = counterfactuals(PROMPTS, edits), counterfactuals(edits, PROMPTS)
    assert torch.equal(there.source, back.target)
    assert torch.equal(there.target, back.source)


def test_prompts_that_cannot_be_rendered_are_refused() -> None:
    with pytest.raises(ValueError, match="not a prompt"):
        counterfactuals(["a zebra"], PROMPTS[:1])
    with pytest.raises(ValueError, match="says the same"):
        counterfactuals(PROMPTS[:1], PROMPTS[:1])
    with pytest.raises(ValueError, match="one edit a prompt"):
        counterfactuals(PROMPTS, PROMPTS[:1])


# ---- attention ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """Pictures of the embedded model, and where it looked."""

    pipe: Any
    denoiser: Guided
    solver: Solver
    run: Trajectory
    maps: Tensor


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    pipe = load("portraits")
    denoiser = portraits_denoiser(pipe, PROMPTS, 2.0)
    solver = dpm_solver_pp_2m(SCHEDULE.grid(4))
    with torch.no_grad():
        run = sample(denoiser, noise_for(4), solver)
    yield Case(pipe, denoiser, solver, run, attention_maps(denoiser, run, solver))


def test_attention_maps_sum_to_one_over_the_tokens(case: Case) -> None:
    assert case.maps.shape == (4, case.pipe.tokenizer.model_max_length, 16, 16)
    assert case.maps.min() >= 0
    torch.testing.assert_close(case.maps.sum(1), torch.ones(4, 16, 16).double(), rtol=0, atol=1e-6)


def test_recording_changes_no_bit_and_leaves_the_pipeline_as_it_was(case: Case) -> None:
    unet, x = case.pipe.unet, case.run.states[1]
    before = dict(unet.attn_processors)
    with torch.no_grad():
        plain = case.denoiser(x, case.solver.t[1].expand(4))
        with recording(unet) as notes:
            recorded = case.denoiser(x, case.solver.t[1].expand(4))
        with pytest.raises(RuntimeError, match="stop"), recording(unet):
            raise RuntimeError("stop")
    assert torch.equal(plain, recorded)
    assert len(notes) == 7  # one for each cross-attention layer
    after = unet.attn_processors
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


def rank(score: Tensor, mask: Tensor) -> float:
    """Chance that a place inside a mask scores higher than one outside (0.5: no better)."""
    inside, outside = score[mask], score[~mask]
    return (inside[:, None] > outside[None]).double().mean().item()


@pytest.mark.parametrize(
    ("attribute", "phrase", "least"),
    [
        ("hair_color", "{p.hair_color} {p.hair_style}", 0.85),
        ("garment_color", "{p.garment_color} {p.garment}", 0.8),
    ],
)
def test_words_are_read_where_they_are_drawn(
    case: Case, attribute: str, phrase: str, least: float
) -> None:
    pair = counterfactuals(PROMPTS, changed(attribute, "red", "black"))
    where = latent_mask(pair.mask, (16, 16)).bool()
    scores = []
    for i, person in enumerate(PEOPLE):
        tokens = word_tokens(case.pipe.tokenizer, PROMPTS[i], phrase.format(p=person))
        scores.append(rank(case.maps[i, tokens].mean(0), where[i, 0]))
        mask = attention_mask(case.maps[i : i + 1], [tokens])
        hit = (mask.bool() & where[i]).sum() / mask.sum()
        assert hit > where[i].double().mean()  # better than a mask thrown at random
    assert sum(scores) / len(scores) > least


def test_an_attention_mask_grows_and_shrinks_as_told(case: Case) -> None:
    tokens = [[3]] * 4
    small, large = (attention_mask(case.maps, tokens, threshold=t) for t in (0.7, 0.3))
    grown = attention_mask(case.maps, tokens, threshold=0.7, grow=1)
    assert (small <= large).all()
    assert (small <= grown).all()
    assert small.flatten(1).any(1).all()
    assert torch.equal(attention_mask(3 * case.maps, tokens, threshold=0.7), small)
    with pytest.raises(ValueError, match="tokens must lie"):
        attention_mask(case.maps, [[99]] * 4)
    with pytest.raises(ValueError, match="at least one token"):
        attention_mask(case.maps, [[]] * 4)
    with pytest.raises(ValueError, match="threshold"):
        attention_mask(case.maps, tokens, threshold=1.0)


def test_word_tokens_finds_a_phrase_and_all_places_of_a_word(case: Case) -> None:
    text = "a sad person with red bun, red dress, green hills, blue sky"
    assert word_tokens(case.pipe.tokenizer, text, "red") == [5, 8]
    assert word_tokens(case.pipe.tokenizer, text, "red dress") == [8, 9]
    with pytest.raises(ValueError, match="does not contain 'moon'"):
        word_tokens(case.pipe.tokenizer, text, "moon")


def test_attention_needs_a_network_that_has_it(case: Case) -> None:
    with pytest.raises(ValueError, match="diffusers network"):
        attention_maps(OLD, ORIGINAL, EVEN)
    with pytest.raises(ValueError, match="nodes"):
        attention_maps(case.denoiser, case.run, case.solver, nodes=[4])


class Louder(AttnProcessor2_0):  # type: ignore[misc]
    """It reads the text by keys of its own."""

    def __call__(self, attn: Any, hidden_states: Tensor, text: Any = None, *more: Any) -> Any:
        return super().__call__(attn, hidden_states, None if text is None else -text, *more)


def test_attention_of_other_processors_is_refused_and_not_made_up(case: Case) -> None:
    """The maps were those of keys that the network did not use."""
    unet = case.pipe.unet
    own = dict(unet.attn_processors)
    try:
        for processor in (Louder(), SlicedAttnProcessor(2)):
            unet.set_attn_processor(processor)
            name = type(processor).__name__
            with pytest.raises(ValueError, match=rf"{name} at .*AttnProcessor2_0\(\)\) first"):
                attention_maps(case.denoiser, case.run, case.solver, nodes=[0])
            assert set(unet.attn_processors.values()) == {processor}
        unet.set_attn_processor(AttnProcessor())
        maps = attention_maps(case.denoiser, case.run, case.solver)
    finally:
        unet.set_attn_processor(own)
    torch.testing.assert_close(maps, case.maps, rtol=0, atol=1e-5)


def test_values_of_the_same_prompt_change_nothing_and_of_another_something(case: Case) -> None:
    x, t = case.run.states[2], case.solver.t[2].expand(4)
    other = portraits_denoiser(case.pipe, changed("hair_color", "red", "black"), 2.0)
    with torch.no_grad():
        plain, new = case.denoiser(x, t), other(x, t)
        torch.testing.assert_close(values_of(case.denoiser, case.denoiser)(x, t), plain)
        local = values_of(case.denoiser, other)(x, t)
        assert torch.equal(case.denoiser(x, t), plain)  # the processors are back
    assert (nmse(local, new) < nmse(plain, new)).all()  # most of the edit is in the values
    with pytest.raises(ValueError, match="scale"):
        values_of(case.denoiser, dataclasses.replace(other, scale=3.0))
    with pytest.raises(ValueError, match=r"invlib\.guided"):
        values_of(case.denoiser, predicting(OLD, "epsilon"))


def test_editing_the_embedded_model_keeps_the_background_latents(case: Case) -> None:
    edits = changed("hair_color", "red", "black")
    mask = latent_mask(counterfactuals(PROMPTS, edits).mask, (16, 16), grow=1)
    new = portraits_denoiser(case.pipe, edits, 2.0)
    result = edit(new, case.run, case.solver, mask)
    keep = (mask == 0).expand_as(case.run.image)
    assert torch.equal(result.image[keep], case.run.image[keep])
    assert (edit_nmse(result.image, case.run.image, mask) > 1e-3).all()


def test_the_package_exports_what_it_names() -> None:
    assert all(hasattr(editing, name) for name in editing.__all__)
