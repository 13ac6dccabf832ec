"""Every option of the call counts: the stock call with the found noise gives the target back.

Where an option has an effect, the same inversion without it must not be exact: else the test would
say nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from stock import FAR, SIZE, clean, draw, gap, there_and_back
from tiny_pipelines import SD, build, dpm
from torch import Tensor, nn

from invlib import nmse
from invlib.autoencoder import DECODERS
from invlib.cli.sample import draw as draw_of_a_seed
from invlib.cli.sample import seed_of
from invlib.likelihood import likelihood
from invlib.noisefile import load_noise
from invlib.pipelines import invert_image, invert_latents, read, regenerate
from invlib.pipelines.options import used
from invlib.pipelines.reading import Reading
from invlib.probing import NotInvertible
from invlib.rehearsal.zoo import catalogue
from invlib.rehearsal.zoo.transformer_recipes import RECIPES as TRANSFORMERS
from invlib.rehearsal.zoo.unet_parts import clip_processor, clip_vision, mask, picture
from invlib.rehearsal.zoo.unet_recipes import RECIPES
from invlib.watch import Budget
from invlib.watermark import embed

DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False)
CAT = {"prompt": "a red cat", "guidance_scale": 2.0, "num_inference_steps": 4, **SIZE}
SHAPE = (1, 4, 8, 8)


def sd(scheduler: Any = DDIM, **options: Any) -> Any:
    return build(tiny.stable_diffusion, scheduler, **options)


def felt(pipe: Any, call: Mapping[str, Any], without: Mapping[str, Any]) -> None:
    """The option changes what the stock call makes of a noise."""
    noise = draw(*shape_of(pipe))
    assert gap(clean(pipe, call, noise), clean(pipe, without, noise)) > 10 * FAR


def shape_of(pipe: Any) -> tuple[int, ...]:
    return (1, 16, 16) if "Flux" in type(pipe).__name__ else SHAPE


def check(pipe: Any, call: dict[str, Any], *options: str, **how: Any) -> Any:
    """There and back with options that are felt."""
    felt(pipe, call, {name: v for name, v in call.items() if name not in options})
    return there_and_back(pipe, shape_of(pipe), call, **how)


# ---- guidance and conditions --------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", [DDIM, dpm()])
def test_guidance_rescale(scheduler: Any) -> None:
    check(sd(scheduler), {**CAT, "guidance_rescale": 0.7}, "guidance_rescale")


def test_clip_skip() -> None:
    check(build(tiny.stable_diffusion_xl, DDIM), {**CAT, "clip_skip": 1}, "clip_skip")


@pytest.mark.parametrize("dropped", [False, True])
def test_prompt_embeds(dropped: bool) -> None:
    """Also where the text encoder was dropped to save memory."""
    pipe = sd()
    text, none = pipe.encode_prompt(["cat"], "cpu", 1, True, negative_prompt=["bad"])
    if dropped:
        pipe.text_encoder = pipe.tokenizer = None
    told = {k: v for k, v in CAT.items() if k != "prompt"}
    call = {**told, "prompt_embeds": text, "negative_prompt_embeds": none}
    there_and_back(pipe, SHAPE, call)
    if dropped:
        for missing in ({**told, "prompt": "cat"}, {**told, "prompt_embeds": text}):
            with pytest.raises(ValueError, match=r"has no text_encoder.*pass prompt_embeds"):
                invert_latents(pipe, draw(*SHAPE), **missing)


def test_prompt_embeds_of_flux() -> None:
    pipe = build(tiny.flux)
    text, pooled, _ = pipe.encode_prompt("red cat", None, max_sequence_length=16)
    pipe.text_encoder = pipe.text_encoder_2 = pipe.tokenizer = pipe.tokenizer_2 = None
    call = {k: v for k, v in CAT.items() if k != "prompt"}
    there_and_back(
        pipe, (1, 16, 16), {**call, "prompt_embeds": text, "pooled_prompt_embeds": pooled}
    )


def test_true_guidance_of_flux() -> None:
    short = {**CAT, "max_sequence_length": 16}
    call = {**short, "true_cfg_scale": 3.0, "negative_prompt": "bad"}
    pipe, noise = build(tiny.flux), draw(1, 16, 16)
    felt(pipe, call, short)
    target = clean(pipe, call, noise)
    few = {"method": "multisecant", "budget": Budget(evaluations=100)}  # it stalls at its floor
    result = invert_latents(pipe, target, options=few, **call)
    assert gap(result.latents, noise) < FAR
    assert gap(clean(pipe, call, result.latents), target) < FAR


def test_second_prompts() -> None:
    call = {**CAT, "prompt_2": "blue dog", "negative_prompt": "bad", "negative_prompt_2": "dog"}
    check(build(tiny.stable_diffusion_xl, DDIM), call, "prompt_2", "negative_prompt_2")


def test_longer_and_shorter_prompts_of_t5() -> None:
    pipe = build(tiny.flux)
    there_and_back(pipe, (1, 16, 16), {**CAT, "max_sequence_length": 16})


def test_a_prompt_that_is_cut_is_cut_in_the_inversion_too() -> None:
    there_and_back(sd(), SHAPE, {**CAT, "prompt": "abcdefghijklmnopqrstuvw"})


# ---- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "times"),
    [
        (diffusers.DDPMScheduler, None),
        (diffusers.EulerDiscreteScheduler, [901, 640, 444, 101, 1]),
        (diffusers.DPMSolverMultistepScheduler, [901, 640, 444, 101, 1]),
    ],
)
def test_custom_timesteps(scheduler: Any, times: list[int] | None) -> None:
    pipe = sd(scheduler(**SD))
    call = {**CAT, "timesteps": times}
    if times is None:
        with pytest.raises(NotInvertible, match="stochastic"):
            invert_latents(pipe, draw(*SHAPE), **call)
        return
    check(pipe, call, "timesteps")
    assert len(read(pipe, call).solver.t) == len(times)


def test_custom_sigmas() -> None:
    pipe = sd(diffusers.EulerDiscreteScheduler(**SD))
    check(pipe, {**CAT, "sigmas": [14.0, 6.0, 2.0, 0.4]}, "sigmas")
    call = {**CAT, "max_sequence_length": 16, "sigmas": [1.0, 0.8, 0.3, 0.1]}
    check(build(tiny.stable_diffusion_3), call, "sigmas")
    check(build(tiny.flux), call, "sigmas")


def test_denoising_end() -> None:
    """The base model makes the first of the steps; what it returns is inverted over these."""
    pipe, call = build(tiny.stable_diffusion_xl), {**CAT, "num_inference_steps": 6}
    result = check(pipe, {**call, "denoising_end": 0.6}, "denoising_end")
    assert 1 < len(result.inversion.states) < 7


def test_tcd_without_noise() -> None:
    pipe = sd(diffusers.TCDScheduler(**SD))
    for call in (CAT, {**CAT, "eta": 0.0}):
        there_and_back(pipe, SHAPE, call)
    with pytest.raises(NotInvertible, match=r"eta=0\.3.*only eta=0 can be inverted"):
        invert_latents(pipe, draw(*SHAPE), **CAT, eta=0.3)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_eta_of_ddim(eta: float) -> None:
    if not eta:
        there_and_back(sd(), SHAPE, {**CAT, "eta": eta})
        return
    for more in ({}, {"generator": torch.Generator().manual_seed(0)}):
        with pytest.raises(NotInvertible, match=r"eta=0\.5.*only eta=0 can be inverted"):
            invert_latents(sd(), draw(*SHAPE), **CAT, eta=eta, **more)


def test_a_consistency_model_in_one_step_and_in_four() -> None:
    recipe = RECIPES["LatentConsistencyModelPipeline"]
    there_and_back(build(recipe.make), SHAPE, recipe.call)
    with pytest.raises(NotInvertible, match="stochastic"):
        invert_latents(build(recipe.make), draw(*SHAPE), **{**CAT, "num_inference_steps": 4})


# ---- sizes --------------------------------------------------------------------------------------


def test_sizes_and_crops_of_xl() -> None:
    call = {
        **CAT,
        "negative_prompt": "bad",
        "original_size": (64, 48),
        "crops_coords_top_left": (3, 5),
        "target_size": (32, 16),
        "negative_original_size": (20, 30),
        "negative_crops_coords_top_left": (1, 2),
        "negative_target_size": (8, 64),
    }
    sizes = [name for name in call if name.endswith(("size", "left"))]
    pipe = build(tiny.stable_diffusion_xl, DDIM)
    check(pipe, call, *sizes)
    check(pipe, call, *(name for name in sizes if name.startswith("negative")))


# ---- what is added to a network -----------------------------------------------------------------


class LowRank(nn.Module):
    """An attention processor with a low-rank update, scaled by ``cross_attention_kwargs``."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.plain = diffusers.models.attention_processor.AttnProcessor2_0()
        self.down, self.up = draw(width, 2, seed=seed), draw(2, width, seed=seed + 1)

    def __call__(
        self,
        attention: Any,
        x: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        lora_scale: float = 1.0,
    ) -> Tensor:
        """Attention, and the update."""
        plain = self.plain(attention, x, encoder_hidden_states, attention_mask)
        return plain + lora_scale * (x @ self.down.to(x) @ self.up.to(x))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_low_rank_updates(scale: float) -> None:
    pipe = sd()
    pipe.unet.set_attn_processor(
        {name: LowRank(8, seed=k) for k, name in enumerate(pipe.unet.attn_processors)}
    )
    call = {**CAT, "cross_attention_kwargs": {"lora_scale": scale}}
    there_and_back(pipe, SHAPE, call)
    felt(pipe, call, {**call, "cross_attention_kwargs": {"lora_scale": 0.25}})


def with_lora() -> Any:
    """A pipeline whose UNet has a LoRA of random weights, as ``load_lora_weights`` adds one."""
    pipe = sd()
    config = LoraConfig(
        r=2,
        lora_alpha=2,
        init_lora_weights=False,
        target_modules=["to_q", "to_k", "to_v", "to_out.0"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe.unet.add_adapter(config)
    pipe.unet.double().requires_grad_(False)
    return pipe


@pytest.mark.parametrize("guidance", [{}, {"guidance_rescale": 0.7}])  # replayed, and run in steps
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_a_lora_at_a_scale_in_the_call(scale: float, guidance: dict[str, float]) -> None:
    pipe = with_lora()
    call = {**CAT, **guidance, "cross_attention_kwargs": {"scale": scale}}
    there_and_back(pipe, SHAPE, call)
    felt(pipe, call, {**call, "cross_attention_kwargs": {"scale": 0.0}})
    felt(pipe, call, {**call, "cross_attention_kwargs": {"scale": 0.75}})


def test_a_lora_at_a_scale_that_the_pipeline_was_given() -> None:
    """By ``set_adapters``, beside the call; it is as before afterwards."""
    pipe, noise = with_lora(), draw(*SHAPE)
    whole = clean(pipe, CAT, noise)
    pipe.set_adapters("default", 0.5)
    there_and_back(pipe, SHAPE, CAT)
    half = clean(pipe, CAT, noise)
    assert gap(half, clean(pipe, {**CAT, "cross_attention_kwargs": {"scale": 1.0}}, noise)) < FAR
    assert gap(half, whole) > 10 * FAR


def test_a_lora_from_a_file(tmp_path: Path) -> None:
    """Loaded under a name, switched off and on: what is inverted is what is on now."""
    pipe, noise = with_lora(), draw(*SHAPE)
    weights = get_peft_model_state_dict(pipe.unet)
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, weights)
    loaded = sd()
    loaded.load_lora_weights(tmp_path, adapter_name="mine")
    loaded.unet.double().requires_grad_(False)
    assert gap(clean(loaded, CAT, noise), target := clean(pipe, CAT, noise)) < FAR
    assert gap(invert_latents(loaded, target, **CAT).latents, noise) < FAR
    loaded.disable_lora()
    assert gap(invert_latents(loaded, clean(sd(), CAT, noise), **CAT).latents, noise) < FAR
    assert gap(clean(loaded, CAT, noise), target) > 10 * FAR


def adapted() -> Any:
    """A pipeline with an IP-Adapter of random weights."""
    pipe = sd()
    unet, width = pipe.unet, tiny.WIDTH
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    key = 1
    for name in unet.attn_processors:
        if name.endswith("attn1.processor"):
            continue
        rows = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        for kind in ("k", "v"):
            weight = torch.randn(rows, width, generator=generator) / 4
            weights[f"{key}.to_{kind}_ip.weight"] = weight
        key += 2
    image = {
        "proj.weight": torch.randn(4 * width, 16, generator=generator) / 4,
        "proj.bias": torch.zeros(4 * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    unet._load_ip_adapter_weights([{"image_proj": image, "ip_adapter": weights}])
    unet.double().requires_grad_(False)
    return pipe


def test_image_embeddings_of_an_ip_adapter() -> None:
    pipe = adapted()
    call = {**CAT, "ip_adapter_image_embeds": [draw(2, 1, 16)]}
    there_and_back(pipe, SHAPE, call)
    felt(pipe, call, {**CAT, "ip_adapter_image_embeds": [draw(2, 1, 16, seed=2)]})
    with pytest.raises(ValueError, match="fails with this call"):
        invert_latents(pipe, draw(*SHAPE), **CAT)


def test_an_image_of_an_ip_adapter() -> None:
    pipe = adapted()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = clip_vision().eval().double().requires_grad_(False)
    pipe.register_modules(image_encoder=encoder, feature_extractor=clip_processor())
    values = (255 * picture()[0]).byte().permute(1, 2, 0).numpy()
    call = {**CAT, "ip_adapter_image": Image.fromarray(values)}
    there_and_back(pipe, SHAPE, call)
    felt(pipe, call, {**CAT, "ip_adapter_image": Image.fromarray(255 - values)})


# ---- other pipelines ----------------------------------------------------------------------------


def recipe(name: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    found = RECIPES[name]
    return build(found.make), {**found.call, **more}


@pytest.mark.parametrize("name", ["StableDiffusionPAGPipeline", "StableDiffusionXLPAGPipeline"])
def test_perturbed_attention(name: str) -> None:
    pipe, call = recipe(name, num_inference_steps=4)
    felt(pipe, call, {**call, "pag_scale": 0.5})
    there_and_back(pipe, SHAPE, call)


def test_adaptive_perturbed_attention() -> None:
    """Its scale falls with time and vanishes on the way."""
    pipe, call = recipe("StableDiffusionPAGPipeline", num_inference_steps=4)
    check(pipe, {**call, "pag_adaptive_scale": 0.003}, "pag_adaptive_scale")


@pytest.mark.parametrize("scheduler", [DDIM, dpm()])
@pytest.mark.parametrize(
    "window", [{}, {"control_guidance_end": 0.6}, {"control_guidance_start": 0.3}]
)
def test_control(scheduler: Any, window: dict[str, float]) -> None:
    pipe, call = recipe("StableDiffusionControlNetPipeline", num_inference_steps=5)
    for parameter in pipe.controlnet.parameters():
        parameter.add_(0.05)  # its last layers begin with zeros, and would do nothing
    pipe.scheduler = type(scheduler).from_config(scheduler.config)
    call |= {"controlnet_conditioning_scale": 0.8}
    check(pipe, {**call, **window}, *window or ["controlnet_conditioning_scale"])


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_as(shape: tuple[int, ...]) -> Tensor:
    """What the generator of the call draws first."""
    return torch.randn(shape, generator=seeded(), dtype=torch.float64)


def test_inpainting() -> None:
    """Nine channels are told of the picture; four have it blended in after every step."""
    pipe, call = recipe("StableDiffusionInpaintPipeline", num_inference_steps=4)
    call["generator"] = seeded()  # the picture's latents are drawn after the noise
    felt(pipe, call, {**call, "mask_image": 1 - mask()})
    target = pipe(**{**call, "generator": seeded()}, output_type="latent")[0]
    result = invert_latents(pipe, target, **call)
    assert gap(result.latents, draw_as(SHAPE)) < FAR
    assert gap(regenerate(pipe, result, output_type="latent"), target) < FAR
    assert any("invlib.regenerate" in note for note in result.notes)
    pipe, call = recipe("StableDiffusionInpaintPipeline: four channels", num_inference_steps=4)
    reason = r"changes its latents between step 1 and step 2 .*blend"
    with pytest.raises(NotInvertible, match=reason):
        invert_latents(pipe, draw(*SHAPE), **call)


def test_pictures_of_pictures() -> None:
    """Inverted over the steps that it makes: back to the noise that it added to the picture."""
    pipe, call = recipe("StableDiffusionImg2ImgPipeline", num_inference_steps=6, strength=0.5)
    target = pipe(**call, generator=seeded(), output_type="latent")[0]
    result = invert_latents(pipe, target, **call, generator=seeded())
    assert len(result.inversion.states) == 4  # half of the steps
    assert gap(regenerate(pipe, result, output_type="latent"), target) < FAR
    assert result.certificate is not None and result.certificate.round_trip.max() < FAR


def test_pictures_of_pictures_whose_noise_is_an_argument() -> None:
    pipe, call = recipe("StableDiffusionXLImg2ImgPipeline", num_inference_steps=6, strength=0.5)
    target = pipe(**call, output_type="latent")[0]
    result = invert_latents(pipe, target, **call)
    assert len(result.inversion.states) == 4
    assert gap(clean(pipe, call, result.latents), target) < FAR


PICTURES_OF_PICTURES = [
    *("StableDiffusionImg2ImgPipeline", "StableDiffusionXLImg2ImgPipeline"),
    *("StableDiffusion3Img2ImgPipeline", "FluxImg2ImgPipeline"),
]


def late(name: str, strength: float = 0.5) -> tuple[Any, dict[str, Any]]:
    """A call whose first state lies between a picture and noise."""
    known = {**RECIPES, **TRANSFORMERS}[name]
    pipe = build(known.make)
    return pipe, {**known.call, "num_inference_steps": 6, "strength": strength}


@pytest.mark.parametrize("name", PICTURES_OF_PICTURES)
def test_what_is_sampled_of_a_picture_is_what_the_call_itself_makes(name: str) -> None:
    """Pure noise was put in place of a state that is half the picture."""
    pipe, call = late(name)
    reading = read(pipe, call)
    assert reading.begins_late and not read(pipe, {**call, "strength": 1.0}).begins_late
    state = draw_of_a_seed(reading, 3)
    torch.manual_seed(3)
    own = pipe(**call, output_type="latent")[0]
    made = regenerate(pipe, state, call, entrance=reading.entrance, output_type="latent")
    assert gap(made, own) < FAR


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["latents", "draw", "first step"])
def test_a_seed_beside_a_generator_is_refused(kind: str, late: bool) -> None:
    """One of them won, and the report told the other."""

    def reading(**call: Any) -> Any:
        stage = SimpleNamespace(call=call)
        had = SimpleNamespace(entrance=SimpleNamespace(kind=kind), begins_late=late)
        takes = cast(Any, Reading.takes_noise).fget(had)
        return SimpleNamespace(stage=stage, takes_noise=takes)

    assert seed_of(reading(), None) == 0 and seed_of(reading(generator=None), 5) == 5
    seeded = reading(generator=torch.Generator().manual_seed(7))
    assert seed_of(seeded, None) is None
    with pytest.raises(ValueError, match="leave out --seed, or the generator"):
        seed_of(seeded, 5)


@pytest.mark.parametrize("name", PICTURES_OF_PICTURES[1::2])
def test_a_state_between_picture_and_noise_is_not_judged_as_noise(name: str) -> None:
    pipe, call = late(name, 0.3)
    picture = pipe(**call, output_type="latent")[0]
    result = invert_latents(pipe, picture, **call)
    assert result.certificate is not None and result.certificate.verdict == ("exact",)
    assert result.certificate.norm_score.isnan().all()
    assert "Gaussian" not in str(result) and "doubt" not in str(result)
    assert any("between a picture and noise" in note for note in result.notes)
    with pytest.raises(ValueError, match="takes no noise in this call"):
        likelihood(pipe, picture, {"cat": {}, "dog": {"strength": 0.4}}, **call)
    with pytest.raises(ValueError, match="has no noise that holds a key"):
        embed(pipe, [], **call)


def test_the_norm_of_a_noise_that_is_mixed_with_a_picture_says_nothing() -> None:
    """The search knew the state alone, and called the picture in it noise that is not Gaussian."""
    pipe, call = recipe("KandinskyV22Img2ImgPipeline", num_inference_steps=6)
    reading = read(pipe, call)
    assert reading.entrance.map.shift.any() and not reading.begins_late
    noise = draw(*reading.entrance.map.in_shape)
    again = regenerate(pipe, noise, call, entrance=reading.entrance, output_type="latent")
    result = invert_latents(pipe, again, **call)
    assert gap(result.latents, noise) < FAR
    assert result.certificate is not None and result.certificate.norm_score.isnan().all()
    assert "Gaussian" not in str(result)


def test_a_wrong_norm_of_noise_is_still_told() -> None:
    target = clean(sd(), CAT, 2 * draw(*SHAPE))
    result = invert_latents(sd(), target, **CAT)
    assert result.certificate is not None and result.certificate.norm_score.abs().min() > 5
    assert "the noise is not Gaussian" in str(result)


def test_pictures_of_pictures_that_nobody_seeded() -> None:
    """What is drawn for the picture's latents shows in the first state only, so that is found."""
    pipe, call = recipe("StableDiffusionImg2ImgPipeline", num_inference_steps=6, strength=0.5)
    target = pipe(**call, output_type="latent")[0]
    result = invert_latents(pipe, target, **call)
    assert result.entrance.kind == "first step"
    assert gap(regenerate(pipe, result, output_type="latent"), target) < FAR


@pytest.mark.parametrize(
    "name", ["StableDiffusionInpaintPipeline", "StableDiffusionUpscalePipeline"]
)
def test_what_is_drawn_beside_the_noise_needs_a_generator(name: str) -> None:
    pipe, call = recipe(name, num_inference_steps=4)
    with pytest.raises(NotInvertible, match="give generator= as in the call that made the image"):
        invert_latents(pipe, draw(*SHAPE), **call)


# ---- callbacks ----------------------------------------------------------------------------------


def moved(pipe: Any, step: int, time: Any, tensors: dict[str, Any], *, by: float) -> dict[str, Any]:
    """A callback that changes the latents in the second step."""
    return {**tensors, "latents": tensors["latents"] * (1 + by * (step == 1))}


@pytest.mark.parametrize("by", [1e-2, 1e-6])
def test_a_callback_that_moves_the_latents_is_refused(by: float) -> None:
    callback = partial(moved, by=by)
    with pytest.raises(NotInvertible, match=rf"between step 2 and step 3 .by {by:.1e}.*callback"):
        invert_latents(sd(), draw(*SHAPE), **CAT, callback_on_step_end=callback)


def test_a_callback_that_moves_the_last_latents_is_refused_or_undone() -> None:
    """After the last step nothing but the returned latents shows it."""

    def last(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": tensors["latents"] * (1.5 if step == 3 else 1.0)}

    call = {**CAT, "callback_on_step_end": last}
    there_and_back(sd(), SHAPE, call)


def test_a_callback_that_looks_is_fine() -> None:
    seen: list[int] = []

    def look(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        assert torch.isfinite(tensors["latents"]).all()
        return {}

    there_and_back(sd(), SHAPE, {**CAT, "callback_on_step_end": look})
    assert max(seen) == 3


@pytest.mark.parametrize("scheduler", [DDIM, dpm()])
def test_a_callback_that_ends_the_guidance(scheduler: Any) -> None:
    """As in diffusers' own documentation: then the network has half as many rows."""

    def end(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 1:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
        return tensors

    told = {"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    check(sd(scheduler), {**CAT, **told, "callback_on_step_end": end}, "callback_on_step_end")


# ---- the number of images, and what is drawn ----------------------------------------------------


def test_several_images_of_one_prompt() -> None:
    there_and_back(sd(), (3, 4, 8, 8), {**CAT, "num_images_per_prompt": 3})


def test_a_generator_in_the_call_is_left_as_it_was() -> None:
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    noise = draw(*SHAPE)
    target = clean(sd(), CAT, noise)
    result = invert_latents(sd(), target, **CAT, generator=generator)
    assert gap(result.latents, noise) < FAR
    assert torch.equal(before, generator.get_state())


def test_a_generator_that_was_used_is_told() -> None:
    """Handed over after it had made the picture, it draws another condition: exact, and wrong."""
    generator = seeded()
    assert not used({**CAT, "generator": generator}) and not used({"generator": [seeded(), None]})
    assert not used({"generator": torch.Generator()})
    target = sd()(**CAT, generator=generator, output_type="latent")[0]
    assert used({"generator": [seeded(), generator]})
    result = invert_latents(sd(), target, **CAT, generator=generator)
    assert any(
        f"has been used since its seed {generator.initial_seed()}:" in n for n in result.notes
    )
    fresh = invert_latents(sd(), target, **CAT, generator=seeded())
    assert not any("used since" in note for note in fresh.notes)


def test_the_call_of_a_result_can_be_used_again_and_again(tmp_path: Path) -> None:
    """The pipeline consumed the generator in it: what was made, or saved, later was another."""
    pipe, call = recipe("StableDiffusionInpaintPipeline", num_inference_steps=2)
    call["generator"] = seeded()
    target = pipe(**{**call, "generator": seeded()}, output_type="latent")[0]
    result = invert_latents(pipe, target, **call)
    for _ in range(2):
        assert result.call["generator"] is not result.call["generator"]
        pipe(**result.call)
    assert torch.equal(result.call["generator"].get_state(), seeded().get_state())
    assert gap(regenerate(pipe, result, output_type="latent"), target) < FAR
    result.save(tmp_path / "noise.safetensors")
    stored = load_noise(tmp_path / "noise.safetensors").call["generator"]
    assert torch.equal(stored.get_state(), seeded().get_state())
    copied = pickle.loads(pickle.dumps(replace(result, call={"prompt": "cat"})))
    assert copied.call == {"prompt": "cat"} and copied.latents.equal(result.latents)


def test_generators_of_equal_seeds_are_one_for_each_image() -> None:
    """The rows of the recorded run are equal then, but they are no copies for guidance."""
    call = {
        **CAT,
        "num_images_per_prompt": 2,
        "generator": [torch.Generator().manual_seed(7) for _ in range(2)],
    }
    there_and_back(sd(), (2, 4, 8, 8), call)
    images = torch.rand(2, 3, 16, 16, generator=seeded())
    found = invert_image(sd(), images, decoder="encoder", method="naive", **call)
    assert found.latents.shape == (2, 4, 8, 8)


def test_generators_of_equal_seeds_where_noise_is_drawn() -> None:
    pipe = build(tiny.pixels)
    call = {"batch_size": 2, "num_inference_steps": 3, "generator": [seeded(), seeded()]}
    images = torch.rand(2, 3, 8, 8, generator=seeded())
    found = invert_image(pipe, images, **call)
    assert gap(regenerate(pipe, found, output_type="latent"), 2 * images.double() - 1) < FAR


def test_equal_pictures_are_made_again_as_many_times() -> None:
    pipe, noise = build(tiny.pixels), draw(1, 3, 8, 8).repeat(2, 1, 1, 1)
    call = {"batch_size": 2, "num_inference_steps": 3}
    target = clean(pipe, call, noise)
    found = invert_latents(pipe, target, **call)
    assert gap(regenerate(pipe, found, output_type="latent"), target) < FAR


def test_a_pipeline_with_neither_latents_nor_kinds_of_output() -> None:
    """Its noise is drawn in a way that cannot be replaced; so the first state is found."""

    class Bare(diffusers.DDPMPipeline):  # type: ignore[misc]
        def __call__(self, rounds: int = 3) -> Any:
            x = torch.empty(1, 3, 8, 8, dtype=torch.float64).normal_()
            self.scheduler.set_timesteps(rounds)
            for t in self.scheduler.timesteps:
                x = self.scheduler.step(self.unet(x, t).sample, t, x).prev_sample
            return diffusers.ImagePipelineOutput(images=x.clamp(-1, 1).permute(0, 2, 3, 1).numpy())

    pipe = build(tiny.pixels)
    target = clean(pipe, {"num_inference_steps": 3}, draw(1, 3, 8, 8))
    pipe.__class__ = Bare
    found = invert_latents(pipe, target)
    assert found.entrance.kind == "first step"
    assert gap(regenerate(pipe, found, output_type="latent"), target) < FAR
    assert found.certificate is not None and found.certificate.norm_score.isnan().all()
    assert "Gaussian" not in str(found)  # nobody knows the law of that state
    with pytest.raises(ValueError, match="takes no noise in this call.*holds a key"):
        embed(pipe, [])


def test_a_pipeline_that_changes_its_arguments_in_place() -> None:
    """Every run has the arguments that were given, and so has the user in the end."""

    class Louder(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
        def __call__(
            self, prompt_embeds: Any = None, extra: Any = None, latents: Any = None, **kwargs: Any
        ) -> Any:
            prompt_embeds.mul_(extra.pop("volume"))
            return super().__call__(prompt_embeds=prompt_embeds, latents=latents, **told, **kwargs)

    pipe = sd()
    text, none = pipe.encode_prompt(["cat"], "cpu", 1, True)
    told = {k: v for k, v in CAT.items() if k != "prompt"} | {"negative_prompt_embeds": none}
    pipe.__class__ = Louder
    noise, kept = draw(*SHAPE), text.clone()
    arguments = {"prompt_embeds": text.clone(), "extra": {"volume": 1.5}}
    target = pipe(**arguments, latents=noise, output_type="latent")[0]
    call = {"prompt_embeds": text, "extra": {"volume": 1.5}}
    assert gap(invert_latents(pipe, target, **call).latents, noise) < FAR
    assert torch.equal(text, kept) and call["extra"] == {"volume": 1.5}


def test_a_condition_that_is_drawn_is_the_generators() -> None:
    """An upscaler draws noise for its small picture, before the noise that it begins with."""
    pipe, call = recipe("StableDiffusionUpscalePipeline", num_inference_steps=4)
    there_and_back(pipe, SHAPE, {**call, "generator": seeded()})
    felt(pipe, {**call, "generator": seeded()}, {**call, "generator": seeded(4)})


def test_an_image_that_was_made_with_an_option_is_another_one() -> None:
    """The sizes of a picture are taken where none are given; all else is the call's."""
    pipe, noise = build(tiny.stable_diffusion_xl, DDIM), draw(*SHAPE)
    call = {**CAT, "clip_skip": 1}
    latents = clean(pipe, call, noise)
    image = pipe(**call, latents=noise, output_type="np").images

    def known(autoencoder: Any, box: Any) -> Any:
        return replace(DECODERS["encoder"](autoencoder, box), latents=latents)

    told = {k: v for k, v in call.items() if k not in SIZE}
    result = invert_image(pipe, image, decoder=known, **told)
    assert gap(result.latents, noise) < FAR
    assert any("height=16 and width=16" in note for note in result.notes)


@pytest.mark.parametrize("steps", [[0, 2], [3], [0, 1, 2, 3]])
def test_what_a_callback_decodes_is_not_the_picture(steps: list[int]) -> None:
    """A preview, even of the last state, whose scale is not the pipeline's own."""

    def look(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step in steps:
            pipe.vae.decode(tensors["latents"])
        return {}

    call = {**CAT, "callback_on_step_end": look}
    image = sd()(**call, latents=draw(*SHAPE), output_type="np").images
    found = invert_image(sd(), image, decoder="encoder", method="naive", **call)
    plain = invert_image(sd(), image, decoder="encoder", method="naive", **CAT)
    assert torch.equal(found.target, plain.target)


def test_a_known_seed_makes_up_for_what_a_call_draws_from_the_global_generator() -> None:
    """Stable Diffusion 3 encodes its control image with random numbers of nobody's."""
    recipes, _ = catalogue()
    recipe = recipes["StableDiffusion3ControlNetPipeline"]
    pipe, noise = build(recipe.make), draw(1, 4, 8, 8)

    def stock(latents: Tensor) -> Tensor:
        torch.manual_seed(5)
        return pipe(**recipe.call, latents=latents, output_type="latent").images

    made = stock(noise)
    with pytest.raises(NotInvertible, match="options="):
        invert_latents(pipe, made, **recipe.call)
    result = invert_latents(pipe, made, options={"seed": 5}, **recipe.call)
    assert nmse(stock(result.latents), made).max() < 1e-11
    assert torch.equal(regenerate(pipe, result, output_type="latent"), stock(result.latents))
