"""Reading a pipeline by running it: what is found, and what is refused with which sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from PIL import Image
from stock import SIZE, clean, draw, gap, there_and_back
from tiny_pipelines import SD, build, dpm
from torch import Tensor

from invlib.evaluator import Evaluator, sampled
from invlib.metrics import nmse
from invlib.pipelines import Options, invert_image, invert_latents, read
from invlib.pipelines.entrance import stock
from invlib.pipelines.images import Pictures
from invlib.pipelines.invert import _moved
from invlib.pipelines.reading import Reading
from invlib.pipelines.recording import first_tensor, record
from invlib.pipelines.replay import NotReplayable, _close, _state_leaf, read_replay
from invlib.pipelines.running import same_again
from invlib.pipelines.state import all_settings, check_written, rebuilt, tables, uncompiled
from invlib.pipelines.steps import few_enough_steps
from invlib.probing import NotInvertible
from invlib.rehearsal.zoo.transformer_recipes import RECIPES as TRANSFORMERS
from invlib.rehearsal.zoo.unet_recipes import RECIPES

DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False)
TEXTS = {
    "prompt": ["a red cat", "blue dog"],
    "guidance_scale": 3.0,
    "num_inference_steps": 4,
    **SIZE,
}
CAT = {"prompt": "cat", "guidance_scale": 2.0, "num_inference_steps": 4, **SIZE}
TWO = {"batch_size": 2, "num_inference_steps": 4}


@cache
def sd() -> Any:
    return build(tiny.stable_diffusion, DDIM)


@cache
def pixel() -> Any:
    return build(tiny.pixels)


# ---- what is found ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "call", "kind", "shape"),
    [
        (tiny.stable_diffusion, TEXTS, "latents", (2, 4, 8, 8)),
        (tiny.flux, TEXTS, "latents", (2, 16, 16)),
        (tiny.pixels, TWO, "draw", (2, 3, 8, 8)),
        (
            tiny.dit,
            {"class_labels": [1, 2], "guidance_scale": 3.0, "num_inference_steps": 3},
            "draw",
            (2, 4, 8, 8),
        ),
    ],
)
def test_the_entrance_puts_the_noise_where_the_stock_call_has_it(
    make: Any, call: dict[str, Any], kind: str, shape: tuple[int, ...]
) -> None:
    pipe, noise = build(make), draw(*shape)
    reading = read(pipe, call)
    assert reading.entrance.kind == kind and reading.samples == 2
    states: list[Tensor] = []
    stock(pipe, call, reading.entrance, noise, note=states.append)
    assert torch.equal(states[-1][:2], clean(pipe, call, noise))
    first = reading.entrance.map(noise)
    assert gap(reading.entrance.noise(first), noise) < 1e-28


def test_a_scheduler_that_scales_the_noise_is_read_with_its_scale() -> None:
    pipe = build(tiny.stable_diffusion, diffusers.EulerDiscreteScheduler(**SD))
    reading = read(pipe, TEXTS)
    noise = draw(2, 4, 8, 8)
    sigma = float(reading.stage.recording.scheduler.init_noise_sigma)
    assert sigma > 5
    torch.testing.assert_close(reading.entrance.map(noise), sigma * noise)
    # the states of the search are network inputs: variance 1 again
    first = reading.solver.scale * noise
    torch.testing.assert_close(reading.noise(first), noise, rtol=1e-6, atol=0)
    assert reading.solver.scale == pytest.approx(sigma / (sigma**2 + 1) ** 0.5, rel=1e-5)


class Turned(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """It returns its latents with rows and columns exchanged, scaled and shifted."""

    def __call__(self, *args: Any, output_type: str = "pil", **kwargs: Any) -> Any:
        result = super().__call__(*args, output_type=output_type, **kwargs)
        if output_type == "latent":
            result.images = 2 * result.images.transpose(-1, -2) + 0.5
        return result

    __call__.__wrapped__ = diffusers.StableDiffusionPipeline.__call__  # type: ignore[attr-defined]


class Unseen(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """It makes no PIL images."""

    def __call__(self, *args: Any, output_type: str = "np", **kwargs: Any) -> Any:
        if output_type == "pil":
            raise NotImplementedError("no PIL images here")
        return super().__call__(*args, output_type=output_type, **kwargs)

    __call__.__wrapped__ = diffusers.StableDiffusionPipeline.__call__  # type: ignore[attr-defined]


def turned() -> Any:
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.__class__ = Turned
    return pipe


def test_the_exit_of_a_pipeline_that_unpacks_its_latents_is_read() -> None:
    """AudioLDM's like return the state; a pipeline may permute, scale and shift it, too."""

    pipe = turned()
    noise = draw(2, 4, 8, 8)
    target = clean(pipe, TEXTS, noise)
    result = invert_latents(pipe, target, **TEXTS)
    assert gap(result.latents, noise) < 1e-20
    assert gap(2 * result.target.mT + 0.5, target) < 1e-28


@pytest.mark.parametrize("name", ["Turned", "Klein"])
def test_a_picture_is_compared_with_that_of_the_last_state_not_of_the_latents_returned(
    name: str,
) -> None:
    """Klein's are unpacked: nothing was compared, and anything exact. Turned ones were decoded."""
    if name == "Turned":
        pipe, call = turned(), CAT
        picture = pipe(**call, latents=draw(1, 4, 8, 8), output_type="np").images
        picture = (255 * picture).round().astype(np.uint8)
    else:
        recipe = TRANSFORMERS["Flux2KleinPipeline"]
        pipe, call = build(recipe.make), dict(recipe.call)
        size = read(pipe, call).stage.pipe.vae_scale_factor * 2
        picture = np.random.default_rng(0).integers(0, 256, (1, 2 * size, 2 * size, 3), np.uint8)
        call |= {"height": 2 * size, "width": 2 * size}
    result = invert_image(pipe, picture, decoder="encoder", **call)
    assert result.certificate is not None and result.certificate.verdict == ("exact",)
    again = pipe(**call, latents=result.latents, output_type="np").images
    share = float(((255 * again).round() == picture).mean())
    assert result.picture is not None and result.picture.share == share < 1
    assert result.verdict == "exact for the latents, not for the picture"


def test_a_picture_that_cannot_be_compared_is_not_exact_and_a_note_says_why() -> None:
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.__class__ = Unseen
    result = invert_image(pipe, RGB, decoder="encoder", **CAT)
    assert result.picture is None and result.certificate is not None
    assert result.certificate.verdict == ("exact",)
    assert result.verdict == "exact for the latents, not for the picture"
    said = "could not be compared (NotImplementedError: no PIL images here)"
    assert any(said in note for note in result.notes)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.5 * x + 0.5 * x.roll(1, -1),
        lambda x: x.clamp(-0.5, 0.5),
        lambda x: x - x.mean(),
    ],
)
def test_latents_that_are_changed_after_the_last_step_are_not_the_last_state(change: Any) -> None:
    """They were searched for as if they were, and called exact."""

    def after(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": change(tensors["latents"])} if step == 3 else {}

    call = {**CAT, "callback_on_step_end": after}
    with pytest.raises(NotInvertible, match=r"changes its latents after the last step \(a callb"):
        invert_latents(sd(), clean(sd(), call, draw(1, 4, 8, 8)), **call)


def test_a_factor_and_a_shift_after_the_last_step_are_undone() -> None:
    def after(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": 0.5 * tensors["latents"] + 1} if step == 3 else {}

    there_and_back(sd(), (1, 4, 8, 8), {**CAT, "callback_on_step_end": after})


# ---- the network, called directly ---------------------------------------------------------------


def replayed(make: Any, call: dict[str, Any], scheduler: Any = None, **options: Any) -> Any:
    reading = read(build(make, scheduler, **options), call)
    assert reading.network.mode == "replay"
    return reading


@pytest.mark.parametrize("name", ["SD", "SDXL", "SD3", "Flux", "PixArt", "DDPM", "DiT"])
def test_replay_is_the_pipelines_own_run(name: str) -> None:
    """At random states, all nodes, rows in any order and repeated."""
    make, call = {
        "SD": (tiny.stable_diffusion, TEXTS),
        "SDXL": (tiny.stable_diffusion_xl, {**TEXTS, "negative_prompt": ["bad", "bad dog"]}),
        "SD3": (tiny.stable_diffusion_3, {**TEXTS, "max_sequence_length": 16}),
        "Flux": (
            tiny.flux,
            {
                **TEXTS,
                "max_sequence_length": 16,
                "true_cfg_scale": 3.0,
                "negative_prompt": ["bad", "dog"],
            },
        ),
        "PixArt": (tiny.pixart, {**TEXTS, "use_resolution_binning": False}),
        "DDPM": (tiny.pixels, TWO),
        "DiT": (tiny.dit, {"class_labels": [1, 2], "num_inference_steps": 4}),
    }[name]
    reading = replayed(make, call)
    stage, n = reading.stage, reading.solver.steps
    states = [draw(*x.shape, seed=i) for i, x in enumerate(stage.inputs)]
    expected = stage.outputs(states)
    nodes = torch.arange(n).repeat_interleave(2)
    rows = torch.tensor([0, 1]).repeat(n)
    order = torch.randperm(2 * n, generator=torch.Generator().manual_seed(0))
    order = torch.cat([order, order[:3]])  # some twice
    y = torch.stack(states).flatten(0, 1)[order]
    found = reading.network.select(rows[order]).at(y, nodes[order])
    wanted = torch.stack(expected).flatten(0, 1)[order]
    wanted = wanted[:, : found.shape[1]]
    assert gap(found, wanted) < 1e-12  # SD3 and Flux embed the time in float32
    one = reading.network.select(torch.tensor([1])).at(y[:1], nodes[order][:1])
    assert len(one) == 1


def test_replay_of_other_rows_is_another_answer() -> None:
    """Each row has its own prompt; so a wrong row would be seen above."""
    reading = replayed(tiny.stable_diffusion, TEXTS, DDIM)
    y, nodes = reading.stage.inputs[1][:1], torch.tensor([1])
    first, second = (reading.network.select(torch.tensor([i])).at(y, nodes) for i in (0, 1))
    assert gap(first, second) > 1e-6


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("together", [True, False])
def test_replay_in_parts_is_replay_at_once(together: bool, most: int) -> None:
    """Node by node, where the network is told the time in another form than a tensor."""
    reading = replayed(tiny.stable_diffusion, TEXTS, DDIM)
    replay = reading.network.replay
    y = draw(7, 4, 8, 8)
    nodes, rows = torch.tensor([3, 0, 2, 0, 1, 3, 0]), torch.tensor([0, 1, 1, 0, 0, 1, 1])
    parts = replace(replay, together=together, most=most)(y, nodes, rows)
    assert gap(parts, replay(y, nodes, rows)) < 1e-26


def test_what_is_not_linear_in_the_networks_answers_goes_through_the_pipeline() -> None:
    call = {**TEXTS, "guidance_rescale": 0.7}
    reading = read(sd(), call)
    assert reading.network.mode == "steps" and reading.network.nodewise
    with pytest.raises(NotReplayable, match="not combined linearly"):
        read_replay(reading.stage)
    states = [draw(*x.shape, seed=i) for i, x in enumerate(reading.stage.inputs)]
    expected = reading.stage.outputs(states)
    nodes, rows = torch.tensor([3, 0, 0, 2]), torch.tensor([0, 1, 0, 1])
    y = torch.stack([states[i][r] for i, r in zip(nodes, rows, strict=True)])
    found = reading.network.select(rows).at(y, nodes)
    wanted = torch.stack([expected[i][r] for i, r in zip(nodes, rows, strict=True)])
    assert gap(found, wanted) < 1e-26


def test_what_depends_on_the_index_of_the_step_takes_whole_runs() -> None:
    recipe = RECIPES["StableDiffusionControlNetPipeline"]
    call = {**recipe.call, "control_guidance_end": 0.6}
    reading = read(build(recipe.make), call)
    assert reading.network.mode == "whole runs" and not reading.network.nodewise
    states = [draw(*x.shape, seed=i) for i, x in enumerate(reading.stage.inputs)]
    expected = reading.stage.outputs(states)
    found = reading.network.select(torch.zeros(2).long()).at(
        torch.stack([states[4][0], states[1][0]]), torch.tensor([4, 1])
    )
    assert gap(found, torch.stack([expected[4][0], expected[1][0]])) < 1e-26
    plain = read(build(recipe.make), recipe.call)
    assert plain.network.nodewise
    assert gap(plain.stage.outputs(states)[5], expected[5]) > 1e-12  # the end is felt


def mixed(module: Any, args: Any, out: Any) -> Any:
    """Every row gets a part of another one."""
    return type(out)(out.sample + 0.1 * out.sample.flip(0))


def test_a_network_that_mixes_its_rows_is_one_sample() -> None:
    pipe = build(tiny.pixels)
    pipe.unet.register_forward_hook(mixed)
    noise = draw(2, 3, 8, 8)
    result = invert_latents(pipe, target := clean(pipe, TWO, noise), **TWO)
    assert any("depend on each other" in note for note in result.notes)
    assert result.inversion.noise.shape == (1, 2, 3, 8, 8)
    assert result.latents.shape == noise.shape and gap(result.latents, noise) < 1e-20
    assert gap(clean(pipe, TWO, result.latents), target) < 1e-20
    assert torch.equal(result.target, target)
    assert result.certificate is not None and result.certificate.verdict == ("exact",)
    assert result.evaluations.shape == result.inversion.nfe.shape == (1,)


def test_pictures_of_a_network_that_mixes_its_rows_are_decoded_one_by_one() -> None:
    pipe, two = build(tiny.stable_diffusion, DDIM), {**TEXTS, "guidance_scale": 1.0}
    pipe.unet.register_forward_hook(lambda m, a, out: (out[0] + 0.1 * out[0].flip(0),))
    result = invert_image(pipe, [RGB, RGB], **two, decoder="encoder", method="naive")
    assert result.decoding is not None and result.certificate is not None
    assert len(result.decoding.reason) == len(result.latents) == len(result.target) == 2
    assert torch.equal(result.target, result.decoding.latents)
    assert len(result.certificate.verdict) == len(result.inversion.reason) == 1
    with pytest.raises(ValueError, match="refine=True is not possible"):
        invert_image(pipe, [RGB, RGB], **two, refine=True)


# ---- encoders are remembered for one inversion only --------------------------------------------


def test_a_text_encoder_runs_once_in_an_inversion_and_again_in_the_next() -> None:
    pipe = build(tiny.stable_diffusion, DDIM)
    calls: list[int] = []
    pipe.text_encoder.register_forward_hook(lambda *args: calls.append(1))
    noise = draw(1, 4, 8, 8)
    for weight in (1.0, 0.5):  # changed between the two, as a LoRA may be
        for parameter in pipe.text_encoder.parameters():
            parameter.mul_(weight)
        target = clean(pipe, CAT, noise)
        stocks = len(calls)
        result = invert_latents(pipe, target, **CAT)
        assert gap(result.latents, noise) < 1e-20
        assert len(calls) - stocks <= 3 * stocks  # recorded, remembered, certified
        calls.clear()


def test_a_module_behind_the_loop_is_not_remembered_with_another_state() -> None:
    class Enhanced(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
        def __call__(
            self, prompt: Any, latents: Any = None, output_type: str = "pil", **kwargs: Any
        ) -> Any:
            last = super().__call__(prompt, latents=latents, output_type="latent", **kwargs)[0]
            return (self.enhancer(last),)

    class Brighter(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            """More of it."""
            return 2 * x + 0.5

    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.__class__ = Enhanced
    pipe.enhancer = Brighter()
    noise = draw(1, 4, 8, 8)
    call = {"prompt": "cat"}
    target = clean(pipe, call, noise)
    result = invert_latents(pipe, target, **call, method="naive")
    assert gap(result.target, (target - 0.5) / 2) < 1e-28


def test_the_same_prompt_in_another_call_is_encoded_anew() -> None:
    noise = draw(1, 4, 8, 8)
    for prompt in ("cat", "dog", "cat"):
        call = {**CAT, "prompt": prompt}
        result = invert_latents(sd(), clean(sd(), call, noise), **call)
        assert gap(result.latents, noise) < 1e-20


# ---- refusals: pipelines and schedulers ---------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (diffusers.DDPMScheduler(**{**SD, "steps_offset": 0}, clip_sample=False), "stochastic"),
        (diffusers.DDIMScheduler(**SD), "clip_sample=True is not affine; set clip_sample=False"),
        (dpm(thresholding=True), "thresholding=True is not affine"),
        (dpm(algorithm_type="sde-dpmsolver++"), "stochastic"),
        (diffusers.EulerAncestralDiscreteScheduler(**SD), "stochastic"),
    ],
)
def test_schedulers_that_cannot_be_inverted(scheduler: Any, message: str) -> None:
    advice = "give the pipeline a deterministic scheduler, e.g. pipe.scheduler = DDIMScheduler"
    pipe = build(tiny.pixels, scheduler)
    with pytest.raises(NotInvertible, match=re.escape(message)) as error:
        invert_image(pipe, torch.rand(1, 3, 8, 8), num_inference_steps=4)
    assert f"{advice}.from_config(pipe.scheduler.config, clip_sample=False)" in str(error.value)


def test_a_flow_that_draws_is_refused_with_a_flow() -> None:
    flow = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    with pytest.raises(NotInvertible, match="= FlowMatchEulerDiscreteScheduler"):
        invert_latents(build(tiny.stable_diffusion_3, flow), draw(1, 4, 8, 8), **CAT)


def test_one_step_less_than_a_pipeline_needs() -> None:
    """PixArt with one step does not scale noise as its scheduler wants: its own matter."""
    call = {**CAT, "use_resolution_binning": False, "num_inference_steps": 1}
    pipe = build(tiny.pixart, DDIM)
    noise = draw(1, 4, 8, 8)
    result = invert_latents(pipe, clean(pipe, call, noise), **call)
    assert gap(result.latents, noise) < 1e-20


def test_networks_that_predict_variances() -> None:
    pipe = build(tiny.pixels)
    double = torch.nn.Conv2d(8, 6, 3, padding=1).double().requires_grad_(False)
    pipe.unet.conv_out = double
    with pytest.raises(ValueError, match="variance|fails with this call"):
        invert_latents(pipe, draw(1, 3, 8, 8), num_inference_steps=2)


def test_a_network_that_overflows_is_named() -> None:
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.unet.register_forward_hook(lambda m, a, out: (out[0] * torch.nan,))
    with pytest.raises(NotInvertible, match="returned NaN or infinity in step 1: load"):
        invert_latents(pipe, draw(1, 4, 8, 8), **CAT)


class Dropped(torch.nn.Module):
    """Draws, as dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        """A noisy copy."""
        return x * (1 + 0.01 * torch.rand_like(x))


def test_a_network_in_training_mode_is_named() -> None:
    pipe = build(tiny.stable_diffusion, DDIM, dropout=0.1)
    pipe.unet.train()
    reason = r"pipe\.unet is in training mode.*pipe\.unet\.eval\(\)"
    with pytest.raises(NotInvertible, match=reason):
        invert_latents(pipe, clean(pipe, CAT, draw(1, 4, 8, 8)), **CAT)
    pipe.unet.eval()
    noise = draw(1, 4, 8, 8)
    assert gap(invert_latents(pipe, clean(pipe, CAT, noise), **CAT).latents, noise) < 1e-20


def restless(module: Any, rate: float = 0.1) -> None:
    """In training mode, with dropout."""
    for part in module.train().modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = rate
        elif isinstance(vars(part).get("dropout"), float):  # of CLIP's attention
            part.dropout = rate


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["text_encoder"], r"pipe\.text_encoder is in .* call pipe\.text_encoder\.eval\(\) first"),
        (["text_encoder_2", "unet"], r"pipe\.text_encoder_2 and pipe\.unet are in training mode"),
    ],
)
def test_encoders_in_training_mode_are_named(names: list[str], said: str) -> None:
    """Those that draw, not the decoder, which is no part of it."""
    pipe = build(tiny.stable_diffusion_xl, DDIM)
    target = clean(pipe, CAT, noise := draw(1, 4, 8, 8))
    for name in names:
        restless(getattr(pipe, name))
    restless(pipe.vae)
    with pytest.raises(NotInvertible, match=f"does not repeat itself: {said}"):
        invert_latents(pipe, target, **CAT)
    for name in names:
        restless(getattr(pipe, name), rate=0.0)
    result = invert_latents(pipe, target, **CAT)  # training mode alone does no harm
    assert gap(result.latents, noise) < 1e-20
    assert not any("training mode" in note for note in result.notes)


def test_an_encoder_of_pictures_in_training_mode_is_noted() -> None:
    """What it draws shows in the first state only, so that is found, and the seed matters."""
    recipe = RECIPES["StableDiffusionImg2ImgPipeline"]
    pipe, call = build(recipe.make), {**recipe.call, "num_inference_steps": 4}
    restless(pipe.vae)
    result = invert_latents(pipe, draw(1, 4, 8, 8), method="naive", **call)
    assert any(r"call pipe.vae.eval() before" in note for note in result.notes)


def test_a_decoder_in_training_mode_is_named() -> None:
    pipe = build(tiny.stable_diffusion, DDIM)
    restless(pipe.vae)
    with pytest.raises(ValueError, match=r"AutoencoderKL draws .* call its eval\(\) first"):
        invert_image(pipe, RGB, **CAT)
    restless(pipe.vae, rate=0.0)
    invert_image(pipe, RGB, **CAT, method="naive", decoder="encoder")


def test_a_random_network_is_refused() -> None:
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.unet.conv_in.register_forward_hook(lambda m, a, out: Dropped()(out))
    with pytest.raises(NotInvertible, match="does not repeat|other outputs at the same states"):
        invert_latents(pipe, draw(1, 4, 8, 8), **CAT)


def keeping(period: int) -> Any:
    """A pipeline whose network gives the same answer ``period`` times, as DeepCache nearly does."""
    pipe, kept = build(tiny.stable_diffusion, DDIM), []

    def cached(module: Any, args: Any, out: Any) -> Any:
        kept.append(out[0])
        return (kept[(len(kept) - 1) // period * period],)

    pipe.unet.register_forward_hook(cached)
    return pipe


def test_a_network_that_keeps_its_last_answer_from_run_to_run_is_refused() -> None:
    pipe = keeping(3)  # and there are 4 steps
    target = clean(pipe, CAT, draw(1, 4, 8, 8))
    with pytest.raises(NotInvertible, match="keeps something from call to call"):
        invert_latents(pipe, target, **CAT)


def test_a_network_that_begins_anew_in_every_run_is_a_function_of_the_states() -> None:
    pipe, noise = keeping(2), draw(1, 4, 8, 8)
    target = clean(pipe, CAT, noise)
    assert read(pipe, CAT).network.mode == "whole runs"
    result = invert_latents(pipe, target, **CAT)
    assert gap(clean(pipe, CAT, result.latents), target) < 1e-20
    assert result.inversion.reason == ("converged",)  # judged in the loop that remembers


def test_a_loop_that_remembers_is_sampled_in_one_run() -> None:
    reading = read(keeping(2), CAT)
    noise = draw(1, 4, 8, 8)
    first = reading.entrance.map(noise) * reading.stage.scales[0].item()
    evaluator, _ = Evaluator.start(reading.network, first, reading.solver)
    runs = reading.stage.runs
    _, _, end = sampled(evaluator, first, torch.tensor([0]))
    assert reading.stage.runs == runs + 1
    assert evaluator.nfe.tolist() == [reading.solver.steps]
    assert gap(end, reading.target(reading.stage.again(noise))) < (10 * reading.gap) ** 2


def test_parts_of_a_network_that_round_more_coarsely_are_measured() -> None:
    """As rotary embeddings in float32 within a network in float64."""
    pipe = build(tiny.stable_diffusion, DDIM)
    fine = read(pipe, CAT).network.roundoff
    assert fine is not None and fine < 1e-14

    def partly(module: Any, args: Any, out: Any) -> Any:
        return ((out[0] + out[0].float()) / 2,)

    pipe.unet.register_forward_hook(partly)
    coarse = read(pipe, CAT).network.roundoff
    assert coarse is not None and 1e-9 < coarse < 1e-6
    target = clean(pipe, CAT, noise := draw(1, 4, 8, 8))
    result = invert_latents(pipe, target, **CAT)
    assert result.inversion.reason == ("converged",) and result.inversion.nfe.item() < 100
    assert gap(result.latents, noise) < 1e-10


class Changed(diffusers.DDIMScheduler):  # type: ignore[misc]
    """A scheduler of a user, with any signature, that changes what its step returns."""

    def step(self, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        """The step, and the change."""
        previous, *rest = super().step(*args, return_dict=False, **kwargs)
        result = SimpleNamespace(prev_sample=self.change(previous))
        return result if return_dict else (result.prev_sample, *rest)

    def change(self, x: Tensor) -> Tensor:
        """Nothing."""
        return x


class Clipped(Changed):
    """Clips without saying so in its configuration."""

    def change(self, x: Tensor) -> Tensor:
        """Clip."""
        return x.clamp(-1.5, 1.5)


class Centred(Changed):
    """Treats channels otherwise than the one that it is probed with."""

    def change(self, x: Tensor) -> Tensor:
        """Take a part of the channels' mean away."""
        return x - 0.01 * x.mean(1, keepdim=True) if x.shape[1] > 1 else x


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (Clipped, "the step is not affine in past states"),
        (Centred, r"step 1 of 4 is not the scheduler's \(it is off by \d"),
    ],
)
def test_steps_that_are_not_the_tables(scheduler: Any, reason: str) -> None:
    pipe = build(tiny.stable_diffusion, scheduler(**SD, clip_sample=False))
    with pytest.raises(NotInvertible, match=reason):
        invert_latents(pipe, draw(1, 4, 8, 8), **CAT)


def test_a_scheduler_of_a_user_with_any_signature() -> None:
    pipe = build(tiny.stable_diffusion, Changed(**SD, clip_sample=False))
    there_and_back(pipe, (1, 4, 8, 8), CAT)


@pytest.mark.parametrize("other", [None, 3, torch.nn.Identity()])
def test_what_is_no_pipeline(other: Any) -> None:
    with pytest.raises(TypeError, match="pipeline"):
        invert_image(other, RGB, prompt="cat")
    with pytest.raises(TypeError, match="pipeline"):
        invert_latents(other, draw(1, 4, 8, 8), prompt="cat")


# ---- refusals: images and latents ---------------------------------------------------------------

RGB = Image.new("RGB", (16, 16))
FLOATS = torch.full((1, 3, 16, 16), 0.5)


@pytest.mark.parametrize("mode", ["P", "I;16", "CMYK", "1", "F", "LA"])
def test_pil_modes(mode: str) -> None:
    with pytest.raises(ValueError, match=rf"mode {mode}; convert it .*convert\('RGB'\)"):
        invert_image(sd(), Image.new(mode, (16, 16)), **CAT)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_pil_modes_of_other_pipelines(mode: str) -> None:
    with pytest.raises(ValueError, match=r"the pipeline 3; convert it .*convert\('RGB'\)"):
        invert_image(sd(), Image.new(mode, (16, 16)), **CAT)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ("cat.png", TypeError, "not str; open it first"),
        ([], ValueError, "the list is empty"),
        (torch.zeros(0, 3, 16, 16), ValueError, "the batch is empty"),
        (Image.new("RGB", (16, 12)), ValueError, "is 12 x 16 (height x width).*makes 16 x 16"),
        ([RGB, Image.new("RGB", (24, 16))], ValueError, "differ in size"),
        ([RGB, FLOATS], ValueError, "differ in size or type"),
        (FLOATS * torch.nan, ValueError, "NaN"),
        (FLOATS * 4, ValueError, "must lie in [0, 1], but these go from 2 to 2"),
        (FLOATS - 1, ValueError, "must lie in [0, 1]"),
        (torch.zeros(1, 16, 16, 3), ValueError, "is no picture [..., C, H, W]"),
        (torch.zeros(1, 1, 16, 16), ValueError, "1 colour channels, the pipeline 3; convert it"),
        (np.zeros((16, 16)), ValueError, "is no picture [..., H, W, C]"),
        (np.zeros((16, 16, 4)), ValueError, "convert('RGB')"),
        (np.zeros((16, 16, 3), dtype=np.uint16), TypeError, "not uint16"),
        (np.zeros((16, 16, 3), dtype=int), TypeError, "not int64"),
        (np.array([["a"]]), TypeError, "not <U1"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.int32), TypeError, "not torch.int32"),
        ([RGB, RGB], ValueError, "(2, 3, 16, 16) were given, but the call makes (1, 3, 16, 16)"),
        (torch.zeros(1, 2, 3, 16, 16), ValueError, "but the call makes (1, 3, 16, 16)"),
        (torch.zeros(1, 1, 1, 3, 16, 16), ValueError, "neither pictures"),
    ],
)
def test_images_that_are_none(image: Any, error: type[Exception], message: str) -> None:
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(error, match=pattern):
        invert_image(sd(), image, **CAT)


def test_a_picture_of_a_decoder_of_colour_and_depth_is_a_part_of_what_it_decodes() -> None:
    """As the message says, its last latents can be had, and inverted."""
    recipe = RECIPES["StableDiffusionLDM3DPipeline"]
    pipe, noise, seen = build(recipe.make), draw(1, 4, 8, 8), []
    with pytest.raises(ValueError, match="decodes 6 in one tensor, such as colour and depth"):
        invert_image(pipe, RGB, **recipe.call)

    def look(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(tensors["latents"])
        return {}

    pipe(**recipe.call, latents=noise.clone(), callback_on_step_end=look)
    assert gap(invert_latents(pipe, seen[-1], **recipe.call).latents, noise) < 1e-11


@pytest.mark.parametrize(
    ("latents", "error", "message"),
    [
        (np.zeros((1, 4, 8, 8)), TypeError, "latents must be a tensor, got ndarray"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.long), ValueError, "floating-point batch"),
        (torch.full((1, 4, 8, 8), torch.inf), ValueError, "NaN or infinity"),
        (torch.zeros(1, 3, 8, 8), ValueError, "the state of the call has (1, 4, 8, 8)"),
        (torch.zeros(4, 8, 8), ValueError, "the call returns (1, 4, 8, 8)"),
        (torch.zeros(1, 4, 4, 16), ValueError, "the call returns (1, 4, 8, 8)"),
        (torch.zeros(2, 4, 8, 8), ValueError, "and the number of images"),
        (torch.zeros(0, 4, 8, 8), ValueError, "number of images"),
    ],
)
def test_latents_that_are_none(latents: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        invert_latents(sd(), latents, **CAT)


def test_sizes_that_do_not_fit() -> None:
    told = {k: v for k, v in CAT.items() if k not in SIZE}
    with pytest.raises(ValueError, match="divisible by 8"):
        invert_latents(sd(), draw(1, 4, 7, 8), **told)
    with pytest.raises(ValueError, match="16 x 16 .height x width., but the call makes 8 x 8"):
        invert_image(pixel(), RGB, num_inference_steps=2)
    dit = {"class_labels": [1], "num_inference_steps": 2}
    with pytest.raises(ValueError, match="24 x 24 .*, but the call makes 16 x 16"):
        invert_image(build(tiny.dit), Image.new("RGB", (24, 24)), **dit)
    with pytest.raises(ValueError, match="give height and width"):
        invert_latents(build(tiny.flux), draw(1, 16, 12), **told)


# ---- refusals: calls ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"prompt": ["a", "b"]}, ValueError, "number of images"),
        ({"negative_prompt": ["a", "b", "c"]}, ValueError, "itself fails with this call"),
        ({"prompt": 3}, ValueError, "`prompt` has to be of type"),
        ({"guidance_scale": "7"}, ValueError, "itself fails with this call"),
        ({"num_inference_steps": 0}, ValueError, "no step|fails with this call"),
        ({"num_inference_steps": 2.5}, ValueError, "fails with this call"),
        ({"latents": draw(1, 4, 8, 8)}, ValueError, "latents is what is looked for"),
        ({"guidance_rescal": 0.5}, TypeError, "did you mean guidance_rescale"),
        ({"num_inference_step": 3}, TypeError, "did you mean num_inference_steps"),
        ({"cfg": 3}, TypeError, "'cfg' is no argument of StableDiffusionPipeline"),
        ({"method": "magic"}, ValueError, "unknown method 'magic'"),
        ({"decoder": "magic"}, ValueError, "unknown decoder 'magic'"),
        ({"options": {"metod": "naive"}}, TypeError, "did you mean method"),
        ({"options": {"prompt": "cat"}}, TypeError, "'prompt' is no option of invlib"),
        ({"options": {3: "cat"}}, TypeError, "3 is no option of invlib"),
        ({"options": "exact"}, TypeError, r"a dictionary such as {'method': 'exact'} .* not str"),
        ({"options": 3}, TypeError, "options must be a dictionary .* not int"),
        ({"options": ["naive"]}, TypeError, "options must be a dictionary .* not list"),
        ({"options": Options}, TypeError, "options must be a dictionary .* not type"),
        *(
            ({"options": options, "vectors": 3}, TypeError, "vectors is given twice: 3 .* and 5 in")
            for options in ({"vectors": 5}, Options(vectors=5))
        ),
        (
            {"options": {"method": "naive"}, "method": "naive"},
            TypeError,
            "'naive' in options; give it once",
        ),
    ],
)
def test_arguments(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    find: Any = invert_image if "decoder" in asked else invert_latents
    given = RGB if "decoder" in asked else draw(1, 4, 8, 8)
    with pytest.raises(error, match=message):
        find(sd(), given, **{**CAT, **asked})


@pytest.mark.parametrize("options", [{"seed": 5}, Options(seed=5)])
def test_options_stand_in_either_place(options: Any) -> None:
    target = clean(sd(), CAT, draw(1, 4, 8, 8))
    found = invert_latents(sd(), target, options=options, method="naive", **CAT)
    assert (found.inversion.reason, found.seed) == (("explicit",), 5)


def test_an_argument_that_is_the_pipelines_is_not_ours() -> None:
    """Attend-and-Excite has a callback and so do we: in the call it is the pipeline's."""

    class Own(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
        def __call__(
            self, prompt: Any = None, budget: float = 1.0, latents: Any = None, **kwargs: Any
        ) -> Any:
            return super().__call__(
                prompt, guidance_scale=2.0 * budget, latents=latents, **CALL, **kwargs
            )

    CALL = {"num_inference_steps": 4, **SIZE}  # noqa: N806
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.__class__ = Own
    noise = draw(1, 4, 8, 8)
    target = pipe(prompt="cat", budget=2.0, latents=noise, output_type="latent")[0]
    result = invert_latents(pipe, target, prompt="cat", budget=2.0)
    assert gap(result.latents, noise) < 1e-20
    assert result.call == {"prompt": "cat", "budget": 2.0}


class Picky(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """Refuses to return latents, where it checks its call or where it makes its result."""

    early = False

    def __call__(self, latents: Any = None, output_type: str = "pil") -> Any:
        if self.early and output_type == "latent":
            raise ValueError("`output_type` must be `pil`")
        result = super().__call__(**CAT, latents=latents, output_type=output_type)
        if output_type == "latent":
            raise ValueError("Only the output type `pil` is supported")
        return result


@pytest.mark.parametrize("early", [True, False])
def test_a_pipeline_that_refuses_to_return_latents_is_asked_for_its_picture(early: bool) -> None:
    pipe, noise = build(tiny.stable_diffusion, DDIM), draw(1, 4, 8, 8)
    target, cost = clean(pipe, CAT, noise), read(pipe, CAT).evaluations
    pipe.__class__ = type("Picky", (Picky,), {"early": early})
    assert read(pipe, {}).evaluations == cost + (0 if early else CAT["num_inference_steps"])
    result = invert_latents(pipe, target)
    assert gap(result.latents, noise) < 1e-20
    assert any("returns no latents" in note for note in result.notes)


@pytest.mark.parametrize(("failing", "runs"), [(0, 1), (2, 3), (3, 8)])
def test_what_fails_between_two_steps_is_not_run_again(failing: int, runs: int) -> None:
    """Only before the first step and after the last one may the kind of output be the reason."""
    pipe, calls = build(tiny.stable_diffusion, DDIM), []
    pipe.unet.register_forward_hook(lambda *args: calls.append(1))

    def fail(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == failing:
            raise ValueError("the disk of previews is full")
        return {}

    with pytest.raises(ValueError, match="itself fails .*the disk of previews is full"):
        invert_latents(pipe, draw(1, 4, 8, 8), **CAT, callback_on_step_end=fail)
    assert len(calls) == runs


def test_prompts_that_a_pipeline_does_not_take() -> None:
    for asked in ({"prompt": "cat"}, {"negative_prompt": "bad"}, {"guidance_scale": 2.0}):
        with pytest.raises(TypeError, match="is no argument of DDPMPipeline"):
            invert_latents(pixel(), draw(1, 3, 8, 8), **asked)
    dit, latents = build(tiny.dit), draw(1, 4, 8, 8)
    with pytest.raises(ValueError, match="fails with this call"):
        invert_latents(dit, latents, class_labels=None)
    with pytest.raises(ValueError, match="fails with this call"):
        invert_latents(dit, latents, class_labels=[1001])
    with pytest.raises(ValueError, match="number of images"):
        invert_latents(dit, latents, class_labels=[1, 2])


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(ValueError, match="Provide either `prompt` or `prompt_embeds`"):
        invert_latents(sd(), draw(1, 4, 8, 8), num_inference_steps=2, **SIZE)
    with pytest.raises(ValueError, match="class_labels"):
        invert_latents(build(tiny.dit), draw(1, 4, 8, 8), num_inference_steps=2)


def test_a_recorded_run_does_not_depend_on_what_was_drawn_before() -> None:
    torch.manual_seed(5)
    one = record(sd(), CAT, seed=3, numbers=None)
    torch.manual_seed(6)
    two = record(sd(), CAT, seed=3, numbers=None)
    assert all(torch.equal(a, b) for a, b in zip(one.states, two.states, strict=True))


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_a_clip_of_as_many_frames_as_colours_keeps_them_apart(frames: int) -> None:
    """Where the shape does not tell them apart, what is known of the decoder does."""
    clip = torch.rand(1, frames, 3, 4, 4, dtype=torch.float64)
    pictures = Pictures.of(clip)
    colours = pictures.box((1, 3, frames, 4, 4), "cpu").center
    assert gap(colours, 2 * clip.transpose(1, 2) - 1) < 1e-28
    clips = pictures.box((1, frames, 3, 4, 4), "cpu", frames_first=True).center
    assert gap(clips, 2 * clip - 1) < 1e-28


@pytest.mark.parametrize("node", [0, 1, 4])
def test_a_network_that_a_callback_switches_for_one_step(node: int) -> None:
    """As FreeU or an adapter that is turned on and off: every node is compared."""
    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.unet.register_forward_hook(lambda m, a, out: (out[0] * (pipe._clip_skip or 1.0),))

    def switch(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._clip_skip = 1.2 if step == node else None  # which every call begins with
        return {}

    call = {**CAT, "num_inference_steps": 6, "callback_on_step_end": switch}
    there_and_back(pipe, (1, 4, 8, 8), call)


def test_as_many_tokens_as_rows() -> None:
    """The places of Flux' tokens look like one entry a row then."""
    call = {**TEXTS, "prompt": ["a", "red"], "num_inference_steps": 2, "height": 4, "width": 8}
    there_and_back(build(tiny.flux), (2, 2, 16), call)


@pytest.mark.parametrize("name", ["step", "scale_model_input", "set_timesteps"])
def test_a_method_that_was_replaced_on_a_scheduler_is_named(name: str) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**SD)
    pipe, own = build(tiny.stable_diffusion, scheduler), getattr(scheduler, name)
    setattr(pipe.scheduler, name, lambda *args, **kwargs: own(*args, **kwargs))
    with pytest.raises(NotInvertible, match=f"the {name} of this Euler.*put it into a subclass"):
        invert_latents(pipe, draw(1, 4, 8, 8), **CAT)


def test_an_inversion_within_an_inversion() -> None:
    """In a callback, of the same pipeline; the hands of the one are not the other's."""
    pipe = build(tiny.stable_diffusion, diffusers.EulerDiscreteScheduler(**SD))
    noise = draw(1, 4, 8, 8, seed=5)
    target, found = clean(pipe, CAT, noise), []

    def within(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 0:
            found.append(invert_latents(pipe, target, **CAT).latents)
        return {}

    call = {**CAT, "num_inference_steps": 2, "callback_on_step_end": within}
    there_and_back(pipe, (1, 4, 8, 8), call)
    assert found and max(gap(latents, noise) for latents in found) < 1e-11


def test_as_many_latents_as_there_are_copies_for_guidance() -> None:
    call = {"class_labels": [1], "guidance_scale": 3.0, "num_inference_steps": 3}
    with pytest.raises(ValueError, match=r"state of the call has \(1, 4, 8, 8\)"):
        invert_latents(build(tiny.dit), draw(2, 4, 8, 8), **call)


def test_pictures_of_a_decoder_of_clips() -> None:
    """Qwen's makes clips of one frame; a batch of pictures is as many clips."""
    recipe = TRANSFORMERS["QwenImagePipeline"]
    pipe, call = build(recipe.make), {**recipe.call, "num_images_per_prompt": 2}
    images = pipe(**call).images
    found = invert_image(pipe, images, decoder="encoder", method="naive", **call)
    assert len(found.latents) == 2


def test_noise_that_is_added_before_the_decoder() -> None:
    """As LTX does: without the generator nobody knows what was decoded."""

    class Grainy(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
        def __call__(
            self, generator: Any = None, latents: Any = None, output_type: str = "pil"
        ) -> Any:
            kind = {**CAT, "generator": generator, "latents": latents, "output_type": "latent"}
            last = super().__call__(**kind)[0]
            if output_type == "latent":
                return (last,)
            grain = torch.randn(last.shape, generator=generator, dtype=last.dtype)
            return (self.vae.decode((last + 0.1 * grain) / 0.7)[0],)

    pipe = build(tiny.stable_diffusion, DDIM)
    pipe.__class__ = Grainy
    find: Any = partial(invert_image, pipe, FLOATS, decoder="encoder", method="naive")
    with pytest.raises(ValueError, match=r"random numbers between .*give generator="):
        find()
    assert len(find(generator=torch.Generator().manual_seed(1)).latents) == 1


class Marked(diffusers.image_processor.VaeImageProcessor):  # type: ignore[misc]
    """Puts a mark on every picture."""

    def postprocess(self, image: Tensor, **kwargs: Any) -> Any:
        """A bright corner."""
        marked = image.clone()
        marked[..., :2, :2] = 1
        return super().postprocess(marked, **kwargs)


@pytest.mark.parametrize("processor", [Marked(), Marked(do_normalize=False)])
def test_pictures_that_are_changed_after_the_decoder_are_flagged(processor: Any) -> None:
    pipe = build(tiny.flux)
    find: Any = partial(invert_image, pipe, FLOATS, decoder="encoder", method="naive", **CAT)
    assert not any("changes what it has decoded" in note for note in find().notes)
    pipe.image_processor = processor
    assert any("changes what it has decoded" in note for note in find().notes)


# ---- the stock call again, every state rounded another way ---------------------------------------


@pytest.mark.parametrize(
    ("make", "call", "shape"),
    [(sd, CAT, (1, 4, 8, 8)), (pixel, {**TWO, "batch_size": 1}, (1, 3, 8, 8))],
)
def test_what_changes_a_state_of_the_stock_call_is_asked_at_every_step(
    make: Callable[[], Any], call: dict[str, Any], shape: tuple[int, ...]
) -> None:
    stage, noise = read(make(), call).stage, draw(*shape)
    plain, seen = stage.again(noise), []

    def change(x: Tensor, by: float) -> Tensor:
        seen.append(x.clone())
        return x + by

    assert torch.equal(stage.again(noise, change=partial(change, by=0.0)), plain)
    steps = call["num_inference_steps"]
    assert len(seen) == steps
    assert not torch.allclose(stage.again(noise, change=partial(change, by=0.1)), plain, atol=0.09)
    # the last change is seen in the end, the first one by what the network makes of it
    assert not torch.equal(seen[steps + 1], seen[1] + 0.1)


def test_a_stock_call_moves_by_its_round_off_another_way_for_another_number() -> None:
    reading, asked = read(sd(), CAT), list[int]()
    noise = draw(1, 4, 8, 8).to(reading.entrance.dtype)
    plain = reading.target(reading.stage.again(noise).double())
    ends = [_moved(reading, noise, asked, number) for number in (1, -1, 1)]
    eps = torch.finfo(noise.dtype).eps
    assert asked == [1, -1, 1] and torch.equal(ends[0], ends[2])
    assert all(0.1 * eps**2 < nmse(end, plain).item() < 1e4 * eps**2 for end in ends)
    assert not torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["latents", "draw", "first step"])
def test_what_gets_in_is_noise_unless_it_is_a_late_or_an_injected_state(
    kind: str, mixed: bool, late: bool
) -> None:
    """At a low strength what ``latents`` takes is half a picture, unless a pipeline mixes it in."""
    shift = torch.tensor([1.0 if mixed else 0.0, 0.0])
    times = torch.tensor([900.0, 500.0, 100.0])
    recording = SimpleNamespace(
        scheduler=SimpleNamespace(timesteps=times),
        loop=SimpleNamespace(labels=lambda scheduler: times[1 if late else 0 :]),
    )
    entrance = SimpleNamespace(kind=kind, map=SimpleNamespace(shift=shift, scale=torch.ones(2)))
    stage: Any = SimpleNamespace(entrance=entrance, recording=recording)
    any_: Any = None
    reading = Reading(stage, any_, any_, any_, 0.0, 0, ())
    begins_late = late and kind != "draw" and not mixed
    assert reading.begins_late == begins_late
    assert reading.takes_noise == (kind != "first step" and not begins_late)
    assert reading.only_scales == (reading.takes_noise and not mixed)
    with pytest.raises(FrozenInstanceError):
        reading.gap = 1.0  # type: ignore[misc]


class Factors(torch.nn.Module):
    """A layer with the factors of FreeU."""

    def __init__(self) -> None:
        super().__init__()
        self.s1, self.s2, self.b1, self.b2 = 0.9, 0.2, 1.5, 1.6


def test_settings_of_a_compiled_network_are_those_of_the_network() -> None:
    """Whether it is compiled as a whole or in parts, its layers keep their names."""
    plain = torch.nn.ModuleDict({"up": Factors(), "down": torch.nn.Linear(1, 1)})
    parts = torch.nn.ModuleDict({"up": torch.compile(Factors()), "down": torch.nn.Linear(1, 1)})
    expected = {"up": {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6}}
    for network in (plain, parts, torch.compile(plain), torch.compile(parts)):
        assert all_settings(network) == expected
    assert uncompiled("_orig_mod.up._orig_mod.weight") == "up.weight"


def test_a_scheduler_is_known_by_its_numbers_and_curves_and_by_no_larger_table() -> None:
    scheduler = dpm()
    before = tables(scheduler)
    assert {"alphas_cumprod", "sigmas", "timesteps"} <= {*before}
    scheduler.square, scheduler.curve = torch.eye(3), torch.ones(3)
    assert {*tables(scheduler)} - {*before} == {"curve"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_that_a_factor_has_rounded_are_still_those_of_the_loop(dtype: torch.dtype) -> None:
    value = torch.tensor([1.0, -3.0, 100.0], dtype=dtype)
    eps = torch.finfo(dtype).eps
    assert _close(value * (1 + 2 * eps), value) and not _close(value * (1 + 20 * eps), value)
    whole = torch.tensor([1, 2**40])
    assert _close(whole, whole) and not _close(whole + 1, whole)


@pytest.mark.parametrize("first", [True, False])
def test_what_a_network_is_given_beside_the_state_is_what_stands_before_or_after_it(
    first: bool,
) -> None:
    states = [torch.randn(2, 4, 3, 3) for _ in range(4)]
    beside = torch.randn(2, 5, 3, 3)
    given = [torch.cat([y, beside] if first else [beside, y], 1) for y in states]
    leaf, chunks = _state_leaf(given[:2], given[2:], states[:2], states[2:], 2)
    assert chunks == 1 and leaf.kind == "state+"
    assert torch.equal(leaf.value, beside)


def test_the_first_tensor_of_what_a_pipeline_returns_is_found() -> None:
    tensor = torch.ones(2)
    for result in (tensor, {"a": tensor}, (tensor, 3), [tensor]):
        assert first_tensor(result) is tensor
    assert torch.equal(first_tensor(([tensor, 2 * tensor],)), torch.stack([tensor, 2 * tensor]))
    for none in (None, 3, "a", ([tensor, torch.ones(3)],), (torch.arange(2),), ([1, 2],), ()):
        assert first_tensor(none) is None


def test_arguments_that_a_run_may_change_are_given_anew_to_each_run() -> None:
    generator = torch.Generator().manual_seed(4)
    given = {"g": generator, "n": np.ones(2), "t": (torch.ones(2), [torch.zeros(1)]), "s": "a"}
    anew = same_again(given)
    assert anew["g"] is not generator and torch.equal(anew["g"].get_state(), generator.get_state())
    anew["n"][0], anew["t"][0][0], anew["t"][1][0][0] = 7, 7, 7
    assert given["n"][0] == given["t"][0][0] == 1 and given["t"][1][0][0] == 0
    assert anew["s"] == "a" and type(anew["t"]) is tuple


@pytest.mark.parametrize(
    ("steps", "most", "fails"), [(30, 20, True), (10, 20, False), (20, 20, False), ("a", 20, False)]
)
def test_too_many_steps_are_named_where_a_call_fails(steps: Any, most: int, fails: bool) -> None:
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=most)

    class Pipe:
        def __call__(self, num_inference_steps: Any = 50) -> None: ...

    pipe: Any = Pipe()
    pipe.scheduler = scheduler
    with few_enough_steps(pipe, {"num_inference_steps": 10**6}):
        pass  # whatever works is not stopped
    error, match = (ValueError, "is too much for DDIM") if fails else (IndexError, "index 7")
    with pytest.raises(error, match=match):
        with few_enough_steps(pipe, {"num_inference_steps": steps}):
            raise IndexError("index 7")


def test_a_scheduler_that_no_file_can_hold_is_refused() -> None:
    own = dpm()
    with pytest.raises(ValueError, match="diffusers has no scheduler 'Mine'"):
        rebuilt(own, {"_class_name": "Mine"})
    other = rebuilt(own, {"_class_name": "DDIMScheduler", "num_train_timesteps": 9})
    assert type(other).__name__ == "DDIMScheduler" and other.config.num_train_timesteps == 9
    with pytest.raises(ValueError, match="no file can hold a DPMSolver"):
        check_written(own, "", {})
