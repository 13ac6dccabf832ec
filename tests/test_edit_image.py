"""An edit of a picture: what is kept is the same value, and the seam closes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import invlib
from invlib.affine import read_elementwise
from invlib.autoencoder import Autoencoder, Box, to_bytes
from invlib.cli import app
from invlib.denoisers import Guided
from invlib.editing import (
    ImageEdit,
    across,
    attention_maps,
    attention_to,
    edit,
    edit_image,
    faded,
    given_region,
    joined_to,
    otsu,
    plausible,
    word_tokens,
)
from invlib.editing.picture import _asked, _changed, _check_call
from invlib.editing.region import on_states
from invlib.editing.seam import depth
from invlib.editing.words import _attentions, _read, tokens_of
from invlib.pipelines.reading import Reading, read
from invlib.portraits import caption, held_out, load, portraits_denoiser, render
from invlib.solvers import Solver

OLD = "a sad person with white undercut, black turtleneck, red canyon, pink sky"
NEW = OLD.replace("white", "blue")
CALL: dict[str, Any] = {"prompt": OLD, "guidance_scale": 1.0, "num_inference_steps": 4}
HAIR = torch.zeros(64, 64, dtype=torch.bool)
HAIR[4:32, 16:48] = True


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = load("portraits")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


@pytest.fixture(scope="module")
def picture(pipe: Any) -> Image.Image:
    """A picture that the pipeline made."""
    made = pipe(**CALL, generator=torch.Generator().manual_seed(0)).images[0]
    assert isinstance(made, Image.Image)
    return made


@pytest.fixture(scope="module")
def done(pipe: Any, picture: Image.Image) -> ImageEdit:
    return edit_image(pipe, picture, HAIR, NEW, **CALL)


def drawn(index: int) -> Tensor:
    """A picture that no model made."""
    return torch.from_numpy(render(held_out(index + 1)[index])).permute(2, 0, 1)[None]


def test_the_values_outside_are_the_given_ones_and_those_inside_are_not(
    done: ImageEdit, picture: Image.Image
) -> None:
    before, after = np.array(picture), np.array(done.picture)
    outside = ~HAIR.numpy()
    assert after.dtype == np.uint8
    assert (before[outside] == after[outside]).all()
    assert (before[~outside] != after[~outside]).mean() > 0.5
    assert done.kept.tolist() == [1.0]


def test_the_sentence_and_the_overlay_show_what_was_done(done: ImageEdit) -> None:
    text = str(done)
    assert "100 % of the values outside are the same" in text
    assert f"{HAIR.double().mean():.0%}" in text
    assert "exact for the latents" in text
    seen = np.array(done.overlay())
    before = done.original[0].permute(1, 2, 0).numpy()
    assert (seen[~HAIR.numpy()] == before[~HAIR.numpy()]).all()
    assert (seen[4, 16:48] == 255).all()  # the border
    assert (seen[5:31, 17:47] != before[5:31, 17:47]).any(-1).all()


def test_an_inversion_is_used_again_and_one_of_another_call_is_refused(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    options = {"inversion": done.inversion}
    again = edit_image(pipe, picture, HAIR, NEW, options=options, **CALL)
    assert again.inversion is done.inversion
    assert torch.equal(again.pixels, done.pixels)
    with pytest.raises(ValueError, match="num_inference_steps=4, not 5"):
        edit_image(pipe, picture, HAIR, NEW, options=options, **{**CALL, "num_inference_steps": 5})


def test_an_inversion_of_another_picture_or_scheduler_is_refused(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    options = {"inversion": done.inversion}
    other = pipe(**CALL, generator=torch.Generator().manual_seed(1)).images[0]
    with pytest.raises(ValueError, match="the inversion is one of another picture"):
        edit_image(pipe, other, HAIR, NEW, options=options, **CALL)
    trailing = copy.copy(pipe)
    trailing.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing"
    )
    with pytest.raises(ValueError, match="timestep_spacing of its scheduler was 'linspace'"):
        edit_image(trailing, picture, HAIR, NEW, options=options, **CALL)


def test_the_old_prompt_gives_the_picture_back(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    """Nothing is said anew, so the whole chain must end where it began, to rounding."""
    options = {"inversion": done.inversion}
    same = edit_image(pipe, picture, HAIR, OLD, options=options, **CALL)
    moved = (same.pixels.int() - same.original.int()).abs()
    assert moved.max() <= 3  # a rounding, and what the decoder misses
    assert moved.double().mean() < 0.1
    with pytest.raises(ValueError, match="start=4 of 4 steps"):  # nothing would be said anew
        edit_image(pipe, picture, HAIR, NEW, options={**options, "start": 4}, **CALL)


@pytest.mark.parametrize("name", ["threshold", "grow"])
def test_options_of_found_masks_are_refused_beside_a_given_one(
    pipe: Any, picture: Image.Image, name: str
) -> None:
    """They were left aside without a word."""
    with pytest.raises(ValueError, match=f"{name} of a mask that is given"):
        edit_image(pipe, picture, HAIR, NEW, options={name: 3}, **CALL)


def test_without_a_mask_it_is_where_the_prompts_differ(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    options = {"inversion": done.inversion}
    found = edit_image(pipe, picture, None, NEW, options=options, **CALL)
    seen = found.mask[0, 0]
    assert found.found_by == "differences"
    assert found.kept.tolist() == [1.0]
    assert seen[8:24, 24:40].double().mean() > 0.7  # hair
    assert seen[44:].double().mean() < 0.1  # turtleneck and canyon
    read_ = edit_image(pipe, picture, "white undercut", NEW, options=options, **CALL)
    assert read_.found_by == "attention"
    assert read_.mask[0, 0, 8:24, 24:40].double().mean() > 0.7
    with pytest.raises(ValueError, match="does not contain 'green'"):
        edit_image(pipe, picture, "green", NEW, options=options, **CALL)


def test_a_foreign_picture_gets_the_encoders_latents_and_guidance_one(pipe: Any) -> None:
    autoencoder = Autoencoder.of(pipe.vae)
    made = to_bytes(autoencoder.decode(autoencoder.encode(2 * drawn(0).double() / 255 - 1)))
    both = torch.cat([made, drawn(0)])
    found = plausible(autoencoder, Box.of(both))
    code = autoencoder.encode(Box.of(both).center)
    assert torch.equal(found.latents[1], code[1])
    assert not torch.allclose(found.latents[0], code[0])
    assert found.inside[0] > 0.9 > 0.5 > found.inside[1]
    prompt = caption(held_out(1)[0])
    done = edit_image(
        pipe, drawn(0), HAIR, prompt.replace("white", "blue"), prompt=prompt, num_inference_steps=4
    )
    assert any("guidance_scale was not given" in note for note in done.notes)
    assert any("did not make it" in note for note in done.notes)
    assert done.inversion.call["guidance_scale"] == 1
    assert done.kept.tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"options": {"fether": 3}}, TypeError, "did you mean feather"),
        ({"options": {"feather": 3}, "feather": 3}, TypeError, "given twice"),
        ({"options": 3}, TypeError, "must be a dictionary"),
        ({"where": torch.ones(64, 64)}, ValueError, "all of the picture"),
        ({"where": torch.zeros(64, 64)}, ValueError, "mask is empty"),
        ({"where": torch.ones(32, 64)}, ValueError, "one value for each pixel"),
        ({"where": 3.0}, TypeError, "words of the prompt or None"),
        ({"picture": torch.rand(1, 3, 64, 64)}, TypeError, "8-bit pictures"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_search(
    pipe: Any, picture: Image.Image, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"picture": picture, "where": HAIR, **change}
    first = (given.pop("picture"), given.pop("where"))
    with pytest.raises(error, match=words):
        edit_image(pipe, *first, NEW, **CALL, **given)


def test_prompts_that_do_not_fit_are_refused(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    options = {"inversion": done.inversion}
    with pytest.raises(ValueError, match="2 new prompts for 1"):
        edit_image(pipe, picture, HAIR, [NEW, NEW], options=options, **CALL)
    with pytest.raises(TypeError, match="takes no prmpt"):
        edit_image(pipe, picture, HAIR, {"prmpt": NEW}, options=options, **CALL)


def test_masks_are_read_in_all_forms() -> None:
    shape = (2, 3, 64, 64)
    wanted = HAIR.expand(2, 1, 64, 64)
    grey = Image.fromarray((255 * HAIR.numpy()).astype(np.uint8))
    forms: list[Any] = [
        HAIR,
        HAIR.numpy(),
        HAIR[None, None].double(),
        grey,
        grey.convert("RGB"),
        np.array(grey),
        np.array(grey)[..., None],
        HAIR.numpy().astype(np.uint8),
        torch.stack([HAIR, HAIR]),
        Image.fromarray((65535 * HAIR.numpy()).astype(np.uint16)),
        Image.fromarray((0.6 * HAIR.numpy()).astype(np.float32)),
    ]
    for mask in forms:
        assert torch.equal(given_region(mask, shape), wanted)
    with pytest.raises(ValueError, match="NaN"):
        given_region(torch.full((64, 64), torch.nan), shape)
    for mode in ("RGBA", "LA", "I"):
        with pytest.raises(ValueError, match=f"a mask of mode {mode}: convert it"):
            given_region(grey.convert(mode), shape)


def test_dark_values_of_16_bits_are_no_mask() -> None:
    """They were clipped to white."""
    levels = np.full((64, 64), 1000, np.uint16)
    levels[:32] = 65535
    assert torch.equal(
        given_region(Image.fromarray(levels), (1, 3, 64, 64))[0, 0],
        torch.arange(64)[:, None].expand(64, 64) < 32,
    )


def test_otsu_parts_two_heaps_as_trying_all_thresholds_does() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 1, 20, 20, generator=generator, dtype=torch.float64)
    values[:, :, :5] += 6
    cut = otsu(values)
    assert torch.equal((values > cut)[:, 0].any(2), torch.arange(20).expand(2, 20) < 5)
    skewed = values.exp()
    for sample, tau in zip(skewed.flatten(1), otsu(skewed).flatten(), strict=True):

        def within(t: Tensor, sample: Tensor = sample) -> float:
            parts = [sample[sample <= t], sample[sample > t]]
            return float(sum(len(p) * p.var(unbiased=False) for p in parts))

        least = min(within(t) for t in sample.sort().values[:-1])
        assert within(tau) == pytest.approx(least)


def test_a_mask_follows_the_way_from_states_to_the_decoder() -> None:
    """Packed as Flux packs them: tokens of 2 x 2 latents."""
    reads = read_elementwise(
        lambda x: x.view(1, 2, 2, 3, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, 4, 4), (1, 4, 12)
    )
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[..., 0, 3] = 1
    packed = on_states(mask, reads)
    assert packed.shape == (1, 4, 12)
    assert torch.equal(reads(packed), mask.expand(1, 3, 4, 4))


def test_the_correction_meets_the_border_and_fades() -> None:
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., 4:16, 4:] = True  # open to the right
    deep = depth(mask, 9)[0, 0]
    assert deep[10, 4] == 1
    assert deep[4, 12] == 1
    assert deep[9, 19] == 6  # the edge of the picture is no border
    constant = torch.full((1, 1, 20, 20), 0.3, dtype=torch.float64)
    carried = faded(constant, mask, 4)[0, 0]
    assert carried[~mask[0, 0]].abs().max() == 0
    assert carried[deep == 1].sub(0.3).abs().max() < 1e-12
    assert carried[deep == 3].sub(0.15).abs().max() < 1e-12
    assert carried[deep >= 5].abs().max() == 0
    assert faded(constant, mask, 0).abs().max() == 0


def test_steps_across_a_border_are_counted_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0, 5.0], [0.0, 1.0, 1.0]]).view(1, 1, 2, 3)
    mask = torch.tensor([[False, False, True], [False, False, False]]).view(1, 1, 2, 3)
    assert across(x, mask).tolist() == [4.0]  # one step to the right and one down, both of 4
    with pytest.raises(ValueError, match="no border"):
        across(x, torch.zeros_like(mask))


def test_solving_again_brings_the_decoder_to_what_is_kept(pipe: Any) -> None:
    autoencoder = Autoencoder.of(pipe.vae)
    code = autoencoder.encode(2 * drawn(0).double() / 255 - 1)
    box = Box.of(to_bytes(autoencoder.decode(code)))
    mask = HAIR[None, None]
    edited = code.clone()
    edited[..., 1:8, 4:12] *= 0.5
    outside = (~mask).double()
    found = joined_to(autoencoder, box, mask, edited)

    def missed(z: Tensor) -> float:
        return float((box.excess(autoencoder.decode(z)) * outside).square().sum())

    assert missed(found.latents) < missed(edited) / 4
    plain, kept = to_bytes(autoencoder.decode(edited)), to_bytes(box.center)
    joined = torch.where(mask, to_bytes(found.picture), kept)
    assert across(joined, mask) < across(torch.where(mask, plain, kept), mask)
    with pytest.raises(ValueError, match="at least 0"):
        joined_to(autoencoder, box, mask, edited, feather=-1)


def both_prompts(pipe: Any) -> tuple[Reading, Reading]:
    call = {**CALL, "num_inference_steps": 2}
    return read(pipe, call), read(pipe, {**call, "prompt": NEW})


def test_attention_is_what_recording_its_layers_says(pipe: Any) -> None:
    """Noted in PyTorch's own function, it is the softmax of the layers' own projections."""
    old, new = both_prompts(pipe)
    recording = old.stage.recording
    states = torch.stack([s.double() for s in recording.states])
    result: Any = SimpleNamespace(
        inversion=SimpleNamespace(states=states), target=states[-1], call=old.stage.call
    )
    noted = attention_to("white undercut", old, new, result, ((16, 16), (16, 16)))
    denoiser = portraits_denoiser(pipe, [OLD], 1.0)
    assert isinstance(denoiser, Guided)
    maps = attention_maps(denoiser, result, old.solver)
    tokens = word_tokens(pipe.tokenizer, OLD, "white undercut")
    assert torch.allclose(noted, maps[:, tokens].sum(1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("layers", ["all", "one"])
def test_attention_that_goes_around_pytorch_is_named_and_not_left_out(
    pipe: Any, layers: str
) -> None:
    """Of one layer it was left out of the mean; of all there was no word of the cause."""
    unet = pipe.unet
    own = dict(unet.attn_processors)
    last = [name for name in own if "attn2" in name][-1]
    try:
        other = {n: AttnProcessor() if layers == "all" or n == last else p for n, p in own.items()}
        unet.set_attn_processor(other)
        old, new = both_prompts(pipe)
        states = torch.stack([s.double() for s in old.stage.recording.states])
        result: Any = SimpleNamespace(
            inversion=SimpleNamespace(states=states), target=states[-1], call=old.stage.call
        )
        with pytest.raises(ValueError, match=r"by AttnProcessor, .*AttnProcessor2_0\(\)"):
            attention_to("white undercut", old, new, result, ((16, 16), (16, 16)))
    finally:
        unet.set_attn_processor(own)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_what_holds_a_trajectory_is_edited_like_the_trajectory(pipe: Any, done: ImageEdit) -> None:
    result = done.inversion
    solver: Solver = read(pipe, dict(result.call)).solver
    denoiser = portraits_denoiser(pipe, [NEW], 1.0)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :] = 1
    whole, inner = (edit(denoiser, r, solver, mask).image for r in (result, result.inversion))
    assert torch.equal(whole, inner)


PLACES = {  # builds, and where text stands among the keys of one attention
    "sd": (tiny_pipelines.stable_diffusion, {"guidance_scale": 3.0}, None),
    "sdxl": (tiny_pipelines.stable_diffusion_xl, {"guidance_scale": 3.0}, None),
    "sd3": (tiny_pipelines.stable_diffusion_3, {"guidance_scale": 3.0}, "last"),
    "flux": (tiny_pipelines.flux, {}, "first"),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_a_network_reads_its_text_is_found_by_changing_it(name: str) -> None:
    torch.manual_seed(0)
    make, options, place = PLACES[name]
    pipe: Any = make()
    pipe.set_progress_bar_config(disable=True)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval()
    call: dict[str, Any] = {
        **{"prompt": ["a red cat", "a dog"], "num_inference_steps": 2},
        **{"height": 16, "width": 16, **options},
    }
    old, new = read(pipe, call), read(pipe, {**call, "prompt": ["a blue cat", "a bad dog"]})
    states = old.stage.inputs[0]
    inner = old.stage.recording.inner
    tokens, length = tokens_of(pipe, call, inner, ["red", "dog"])
    plain, negated = (_attentions(old, states, 0, negated=n) for n in (False, True))
    reads = _read(plain, negated, _attentions(new, states, 0), length, 2)
    assert reads.joint == (place is not None)
    assert len(reads.rows) == 2
    if place == "last":
        assert reads.keys == slice(reads.many - length, reads.many)
    else:
        assert reads.keys == slice(0, length)
    weights = [w for a in plain if (w := reads.weights(*a)) is not None]
    assert weights
    for w in weights:
        assert torch.allclose(w.sum(-1), torch.ones_like(w.sum(-1)))
    letters = {"sd": [[2, 3, 4], [2, 3, 4]], "flux": [[1], [1]]}
    assert tokens == letters.get(name, letters["sd"])


def test_words_of_a_negative_prompt_are_none_of_the_prompt(pipe: Any) -> None:
    call: dict[str, Any] = {**CALL, "num_inference_steps": 2, "guidance_scale": 3.0}
    inner = read(pipe, call).stage.recording.inner
    asked = {**call, "negative_prompt": "a happy person with black undercut, white undercut"}
    wanted = tokens_of(pipe, call, inner, ["white undercut"])
    assert tokens_of(pipe, asked, inner, ["white undercut"]) == wanted
    several = {**asked, "prompt": [OLD], "negative_prompt": [asked["negative_prompt"]]}
    assert tokens_of(pipe, several, inner, ["white undercut"]) == wanted
    with pytest.raises(ValueError, match="the prompt does not contain 'happy'"):
        tokens_of(pipe, asked, inner, ["happy"])


def test_words_are_looked_for_in_the_prompt_of_their_own_picture(pipe: Any) -> None:
    """Two prompts with two pictures each: the first two are of the first prompt."""
    call: dict[str, Any] = {**CALL, "prompt": [OLD, NEW], "num_images_per_prompt": 2}
    inner = read(pipe, call).stage.recording.inner
    phrases = ["white", "white", "blue", "blue"]
    found, _ = tokens_of(pipe, call, inner, phrases)
    assert found[0] == found[1] == found[2] == found[3]
    with pytest.raises(ValueError, match="does not contain 'blue'"):
        tokens_of(pipe, call, inner, ["white", "blue", "blue", "blue"])


def test_new_prompts_are_as_many_as_those_of_the_call(pipe: Any) -> None:
    result: Any = SimpleNamespace(call={"prompt": [OLD, OLD], "num_images_per_prompt": 2})
    for new, wanted in (([NEW, OLD], [NEW, OLD]), (NEW, [NEW, NEW]), ([NEW], [NEW, NEW])):
        assert _changed(pipe, result, new, None)["prompt"] == wanted
    with pytest.raises(ValueError, match="4 new prompts for 2 in the call"):
        _changed(pipe, result, [NEW] * 4, None)


def test_arguments_that_the_inversion_does_not_name_are_compared_with_defaults(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    """They were ignored: the picture was that of a call without them."""
    options = {"inversion": done.inversion}
    embeds = torch.zeros(1, 4, 8)
    for name, value, said in (
        ("negative_prompt", "ugly", "negative_prompt=None, not 'ugly'"),
        ("negative_prompt_embeds", embeds, "negative_prompt_embeds=None, not values of shape"),
        ("num_inference_steps", None, "num_inference_steps=4, not None"),
    ):
        with pytest.raises(ValueError, match=said):
            edit_image(pipe, picture, HAIR, NEW, options=options, **{**CALL, name: value})
    _check_call(done.inversion, {**CALL, "eta": 0.0, "negative_prompt": None})
    own: Any = SimpleNamespace(call={"prompt_embeds": embeds}, settings=SimpleNamespace(eta=0.0))
    _check_call(own, {"prompt_embeds": embeds.clone()})
    for other in (embeds + 1, embeds[:, :2], None):
        with pytest.raises(ValueError, match="prompt_embeds=values of shape"):
            _check_call(own, {"prompt_embeds": other})


def test_what_does_not_compare_is_no_argument_of_the_inversion() -> None:
    """Two callbacks, and the generators of two seeds, were taken for the same."""

    def seed(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(number)

    def callback(*given: Any) -> dict[str, Any]:
        return {}

    had = {"callback_on_step_end": callback, "generator": seed(1), "guidance_scale": 3}
    own: Any = SimpleNamespace(call=had, settings=SimpleNamespace())
    same = {**had, "generator": seed(1), "guidance_scale": 3.0}
    _check_call(own, same)
    for changed in ({"callback_on_step_end": print}, {"generator": seed(2)}):
        with pytest.raises(ValueError, match="the inversion is one of a call with"):
            _check_call(own, {**same, **changed})


def test_an_inversion_brings_its_own_guidance_scale(
    pipe: Any, picture: Image.Image, done: ImageEdit
) -> None:
    strong: Any = SimpleNamespace(call={"prompt": OLD, "guidance_scale": 3.0}, seed=None)
    asked = {name: value for name, value in CALL.items() if name != "guidance_scale"}
    assert "guidance_scale" not in _asked(pipe, {"inversion": strong}, asked)[2]
    assert _asked(pipe, None, asked)[2]["guidance_scale"] == 1.0


def test_the_command_line_edits_a_png(tmp_path: Path, picture: Image.Image) -> None:
    given, mask = tmp_path / "a.png", tmp_path / "mask.png"
    picture.save(given)
    Image.fromarray((255 * HAIR.numpy()).astype(np.uint8)).save(mask)
    output, overlay = tmp_path / "b.png", tmp_path / "seen.png"
    asked = ["--prompt", OLD, "--guidance-scale", "1", "--steps", "4", "--to", NEW]
    command = ["edit", str(given), *asked, "--scheduler", "DDIMScheduler", "-o", str(output)]
    result = CliRunner().invoke(app, [*command, "--mask", str(mask), "--overlay", str(overlay)])
    assert result.exit_code == 0, result.output
    assert "100 % of the values outside are the same" in result.stdout
    before, after = np.array(picture), np.array(Image.open(output))
    assert (before == after)[~HAIR.numpy()].all()
    assert Image.open(overlay).size == (64, 64)
    refused = CliRunner().invoke(app, [*command, "--force", "--mask", str(mask), "--words", "red"])
    assert refused.exit_code == 1
    assert "not both" in refused.stderr
    unknown = CliRunner().invoke(app, [*command, "--force", "--to", "a lilac person"])
    assert unknown.exit_code == 1
    assert "lilac" in unknown.stderr


def test_the_command_line_tells_what_it_assumed_and_what_speaks_against_the_file(
    tmp_path: Path, picture: Image.Image
) -> None:
    given, mask = tmp_path / "a.jpg", tmp_path / "mask.png"
    picture.save(given)
    Image.fromarray((255 * HAIR.numpy()).astype(np.uint8)).save(mask)
    command = ["edit", str(given), "--steps", "1", "--to", NEW, "--scheduler", "DDIMScheduler"]
    files = ["--mask", str(mask), "-o", str(tmp_path / "b.png"), "--json"]
    result = CliRunner().invoke(app, [*command, "--method", "naive", *files])
    notes = json.loads(result.stdout)["notes"]
    assert sum("JPEG may be lossy" in note for note in notes) == 1
    assert sum("the empty prompt was assumed" in note for note in notes) == 1


def test_edits_are_at_the_top_level() -> None:
    assert invlib.edit_image is edit_image
    assert invlib.ImageEdit is ImageEdit
