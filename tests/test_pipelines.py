"""The door to pipelines: their pictures go back to the noise, and the stock call confirms it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from PIL import Image
from stock import FAR, SIZE, clean, draw, drawing, gap, there_and_back
from tiny_pipelines import SD, build, dpm
from torch import Tensor

from invlib import load, nmse
from invlib.autoencoder import Autoencoder, Box, DecoderInversion, to_bytes
from invlib.autoencoder.inversion import judge
from invlib.inverters import whole_trajectory
from invlib.newton import newton_krylov
from invlib.pipelines import Options, invert_image, invert_latents, read, regenerate

TEXTS = {
    "prompt": ["a red cat", "blue dog"],
    "guidance_scale": 2.0,
    "num_inference_steps": 4,
    **SIZE,
}
NEGATIVE = {**TEXTS, "negative_prompt": ["bad", "bad dog"]}
HALF = {**TEXTS, "num_inference_steps": 2}  # a step of Heun's is two calls of the network
SHORT = {"max_sequence_length": 12}  # T5 pads prompts to it, by default to 256 or 512 tokens
NO_BINS = {"use_resolution_binning": False}
CLASSES = {"class_labels": [3, 7], "guidance_scale": 2.0, "num_inference_steps": 4}
TWO = {"batch_size": 2, "num_inference_steps": 4}
V = {"prediction_type": "v_prediction"}
DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False)
FLOW = diffusers.FlowMatchEulerDiscreteScheduler


@dataclass(frozen=True)
class Case:
    """A pipeline, how it is called, and the shape of its noise."""

    make: Callable[..., Any]
    scheduler: Any = None
    parts: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=lambda: TEXTS)
    shape: tuple[int, ...] = (2, 4, 8, 8)

    def build(self, **options: Any) -> Any:
        """The pipeline."""
        return build(self.make, self.scheduler, **self.parts, **options)


PIXELS = {"call": TWO, "shape": (2, 3, 8, 8)}
SD_PIPE, XL_PIPE = tiny.stable_diffusion, tiny.stable_diffusion_xl
CASES = {
    "SD-DDIM": Case(SD_PIPE, DDIM),
    "SD-2M": Case(SD_PIPE, dpm(), call=NEGATIVE),
    "SD-v": Case(SD_PIPE, dpm(**V)),
    "SD-UniPC": Case(SD_PIPE, diffusers.UniPCMultistepScheduler(**SD)),
    "SD-Euler": Case(SD_PIPE, diffusers.EulerDiscreteScheduler(**SD)),
    "SD-Heun": Case(SD_PIPE, diffusers.HeunDiscreteScheduler(**SD), call=HALF),
    "SD-PNDM": Case(SD_PIPE, diffusers.PNDMScheduler(**SD, skip_prk_steps=True)),
    "SD-embedded-scale": Case(SD_PIPE, DDIM, {"time_cond_proj_dim": 8}),
    "SD-wide": Case(SD_PIPE, DDIM, call={**TEXTS, "width": 24}, shape=(2, 4, 8, 12)),
    "SD-unguided": Case(SD_PIPE, DDIM, call={**TEXTS, "guidance_scale": 1.0}),
    "SDXL-2M": Case(XL_PIPE),
    "SDXL-Euler": Case(XL_PIPE, diffusers.EulerDiscreteScheduler(**SD)),
    "SDXL-negative": Case(XL_PIPE, DDIM, call=NEGATIVE),
    "SDXL-no-zeros": Case(XL_PIPE, DDIM, {"force_zeros_for_empty_prompt": False}),
    "PixArt-2M": Case(tiny.pixart, call={**TEXTS, **NO_BINS}),
    "PixArt-negative": Case(tiny.pixart, DDIM, call={**NEGATIVE, **NO_BINS}),
    "PixArt-told-size": Case(tiny.pixart, DDIM, {"sample_size": 128}, {**TEXTS, **NO_BINS}),
    "PixArt-bin": Case(
        tiny.pixart,
        DDIM,
        {"sample_size": 32, "halvings": 3},
        {"prompt": "red cat", "guidance_scale": 2.0, "num_inference_steps": 4},
        (1, 4, 32, 32),
    ),
    "DiT-DDIM": Case(tiny.dit, call=CLASSES),
    "DiT-2M": Case(tiny.dit, dpm(), call=CLASSES),
    "DDPM-DDIM": Case(tiny.pixels, **PIXELS),
    "DDPM-2M": Case(tiny.pixels, dpm(), **PIXELS),
    "DDIM-DDIM": Case(tiny.pixels, None, {"cls": "DDIMPipeline"}, **PIXELS),
    "SD3": Case(tiny.stable_diffusion_3, call={**NEGATIVE, **SHORT}),
    "SD3-dynamic": Case(
        tiny.stable_diffusion_3,
        FLOW(use_dynamic_shifting=True),
        {"qk_norm": "rms_norm", "third": True},
        {**TEXTS, **SHORT},
    ),
    "Flux": Case(tiny.flux, call={**TEXTS, **SHORT}, shape=(2, 16, 16)),
    "Flux-unscaled": Case(
        tiny.flux,
        FLOW(shift=1.0),
        {"guidance": False},
        {**TEXTS, **SHORT, "guidance_scale": 0.0},
        (2, 16, 16),
    ),
}


@cache
def sd() -> Any:
    return build(tiny.stable_diffusion, DDIM)


@cache
def pixel() -> Any:
    return build(tiny.pixels)


# ---- from the latents back to the noise ---------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_noise_is_found_and_the_stock_call_makes_the_latents_again(name: str) -> None:
    case = CASES[name]
    pipe = case.build()
    result = there_and_back(pipe, case.shape, case.call)
    assert result.latents.dtype == result.inversion.noise.dtype == torch.float64
    assert gap(regenerate(pipe, result, output_type="latent"), result.target) < FAR
    assert result.call == case.call and result.pipeline == type(pipe).__name__
    assert (result.evaluations > result.inversion.nfe).all()  # reading and certificate cost, too


@pytest.mark.parametrize("name", ["SD-DDIM", "SD3"])
def test_what_the_pipelines_own_steps_can_say_is_called_exact(name: str) -> None:
    """DDIM steps in the dtype of its states; flow matching's step rounds them to float32."""
    case = CASES[name]
    pipe = case.build()
    result = there_and_back(pipe, case.shape, case.call)
    assert result.certificate is not None and set(result.certificate.verdict) == {"exact"}
    trip, steps = result.certificate.round_trip.max(), read(pipe, case.call).gap
    assert (trip < 1e-20 and steps < 1e-14) if name == "SD-DDIM" else 1e-8 < steps < 1e-6


def test_data_prediction() -> None:
    """Of a network that depends on its state as a denoiser does; a random one hardly does."""
    pipe = build(tiny.stable_diffusion, dpm(prediction_type="sample"))
    pipe.unet.register_forward_hook(lambda m, x, y: (0.6 * x[0] + 0.1 * y[0],))
    there_and_back(pipe, (2, 4, 8, 8), TEXTS)


@pytest.mark.parametrize("name", ["DiT-2M", "DDPM-2M", "DDIM-DDIM"])
def test_pipelines_that_draw_their_own_noise(name: str) -> None:
    """Fed with the noise, they make the picture that ``regenerate`` makes."""
    case = CASES[name]
    pipe, noise = case.build(), draw(*case.shape)
    result = invert_latents(pipe, clean(pipe, case.call, noise), **case.call)
    assert any("invlib.regenerate" in note for note in result.notes)
    with drawing(pipe, noise):
        theirs = pipe(**case.call, output_type="np").images
    ours = regenerate(pipe, result, output_type="np")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_packed_latents_need_the_size_that_made_them() -> None:
    """Of 8 x 16 pixels in a batch of two; the call's own size is not assumed."""
    pipe, call = build(tiny.flux), {**TEXTS, **SHORT, "height": 8, "width": 16}
    result = there_and_back(pipe, (2, 8, 16), call)
    silent = {k: v for k, v in call.items() if k not in ("height", "width")}
    for size in ({}, {"height": 8}, {"width": 16}):
        with pytest.raises(ValueError, match="give height and width"):
            invert_latents(pipe, result.target, **silent, **size)


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_of_images_is_the_calls(count: int) -> None:
    """One prompt and two images of it; two prompts and two images of each."""
    call = {**TEXTS, "num_images_per_prompt": 2, "prompt": TEXTS["prompt"][:count]}
    result = there_and_back(build(tiny.stable_diffusion, DDIM), (2 * count, 4, 8, 8), call)
    assert len(result.inversion.reason) == 2 * count
    with pytest.raises(ValueError, match="number of images"):
        invert_latents(sd(), result.target[:1], **call)


# ---- from the image -----------------------------------------------------------------------------


def encoder(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
    """The mode of the encoder, which random weights do not make an inverse."""
    latents = autoencoder.encode(box.center)
    ones = torch.ones(len(box), dtype=torch.long)
    return judge(autoencoder, box, latents, ones, ("explicit",) * len(box), "encoder")


def boxed(pictures: list[Image.Image]) -> Box:
    return Box.of(
        torch.stack([torch.from_numpy(np.array(p)) for p in pictures]).permute(0, 3, 1, 2)
    )


@pytest.mark.parametrize("name", ["SD-2M", "SDXL-2M", "PixArt-2M", "DiT-DDIM", "SD3", "Flux"])
def test_an_image_goes_through_the_decoder(name: str) -> None:
    """Given latents of the image, the noise makes the same 8-bit picture again."""
    case = CASES[name]
    pipe, noise = case.build(), draw(*case.shape)
    if name == "DiT-DDIM":
        with drawing(pipe, noise):
            pictures = pipe(**case.call).images
    else:
        pictures = pipe(**case.call, latents=noise).images
    latents = clean(pipe, case.call, noise)

    def oracle(autoencoder: Autoencoder, box: Box) -> DecoderInversion:
        truth = judge(autoencoder, box, latents, torch.zeros(2), ("explicit",) * 2, "truth")
        off = (1 - truth.inside) * box.center[0].numel()
        assert off.max() < 1.5  # what lies before the decoder is the pipeline's, to float32
        assert torch.equal(box.center, boxed(pictures).center)
        return replace(encoder(autoencoder, box), latents=latents.double())

    result = invert_image(pipe, pictures, options={"decoder": oracle}, **case.call)
    assert result.decoding is not None and result.decoding.method == "encoder"
    assert gap(result.latents, noise) < FAR
    for ours, theirs in zip(regenerate(pipe, result), pictures, strict=True):
        off = np.array(ours).astype(int) - np.array(theirs)
        assert abs(off).sum() <= 1  # float32 steps may tip one value that lies at an edge
    assert any("in decoding" in note for note in result.notes)


def calm(scheduler: Any, **options: Any) -> tuple[Any, Tensor]:
    """A pixel pipeline whose network moves little, and noise whose picture is not clamped."""
    pipe = build(tiny.pixels, scheduler, **options)
    pipe.unet.conv_out.weight.mul_(0.2)
    return pipe, 0.2 * draw(2, options.get("channels", 3), 8, 8)


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        (dpm(**V), {}),
        (dpm(**V), {"channels": 1}),
        (diffusers.DDIMScheduler(**SD, **V, clip_sample=False), {"cls": "DDIMPipeline"}),
    ],
)
def test_pixels_need_no_decoder(scheduler: Any, options: dict[str, Any]) -> None:
    pipe, noise = calm(scheduler, **options)
    with drawing(pipe, noise):
        floats, pictures = (pipe(**TWO, output_type=o).images for o in ("np", "pil"))
    result = invert_image(pipe, floats, **TWO)
    assert gap(result.latents, noise) < 1e-12
    assert result.decoding is None and not any("8-bit" in note for note in result.notes)
    result = invert_image(pipe, pictures, **TWO)
    assert any("8-bit" in note for note in result.notes)
    assert gap(result.latents, noise) < 1e-2  # as far as 8 bits tell
    for ours, theirs in zip(regenerate(pipe, result), pictures, strict=True):
        assert ours.mode == theirs.mode == ("L" if "channels" in options else "RGB")
        assert np.array_equal(np.array(ours), np.array(theirs))


def test_all_forms_of_an_image_are_one() -> None:
    array = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(0, 3, 1, 2)
    pictures = [Image.fromarray(a) for a in array]
    options = {"certificate": False, "method": "naive"}
    find = partial(invert_image, pixel(), options=options, num_inference_steps=2)
    expected = find(tensor, batch_size=2).latents
    for form in (array, pictures, list(array), list(tensor), array / 255, tensor.double() / 255):
        assert gap(find(form, batch_size=2).latents, expected) < 1e-20
    one = find(pictures[0])
    assert one.certificate is None and gap(one.latents, expected[:1]) < 1e-20


def test_the_embedded_model_from_its_picture() -> None:
    """With a decoder by name: the noise makes what the latents that it found decode to."""
    pipe, noise = load("portraits"), draw(1, 4, 16, 16).float()
    call = {"prompt": "a happy person", "guidance_scale": 1.0, "num_inference_steps": 10}
    picture = pipe(**call, latents=noise).images
    result = invert_image(pipe, picture, decoder="encoder", **call)
    assert result.decoding is not None and result.decoding.method == "encoder"
    assert result.certificate is not None and result.certificate.verdict == ("exact",)
    decoded = to_bytes(Autoencoder.of(pipe.vae).decode(result.target))[0].permute(1, 2, 0)
    again = np.array(regenerate(pipe, result)[0]).astype(int)
    assert abs(again - decoded.numpy()).max() <= 1


def test_refinement_estimates_latents_and_noise_together() -> None:
    pipe, noise = sd(), draw(1, 4, 8, 8)
    call = {"prompt": "cat", "guidance_scale": 2.0, "num_inference_steps": 4}
    picture = pipe(**call, **SIZE, latents=noise).images
    result = invert_image(pipe, picture, refine=True, **call)
    assert result.decoding is not None and result.decoding.method == "joint"
    assert torch.equal(result.target, result.decoding.latents)
    with pytest.raises(ValueError, match="refine=True is not possible for DDPMPipeline"):
        invert_image(pixel(), np.zeros((8, 8, 3), np.uint8), refine=True, num_inference_steps=2)


def test_a_decoder_that_returns_nan_is_named() -> None:
    """As the autoencoders of SD and SDXL do in half precision: there is no answer at all."""
    pipe = build(tiny.stable_diffusion, DDIM)
    call = {"prompt": "cat", "guidance_scale": 1.0, "num_inference_steps": 4}
    picture = pipe(**call, **SIZE, latents=draw(1, 4, 8, 8)).images
    pipe.vae.decoder.conv_out.register_forward_hook(lambda m, a, out: out * float("nan"))
    for decoder in ("quasi_newton", "gradient_free", "gauss_newton", "gradient"):
        with pytest.raises(ValueError, match=r"decoder.*NaN"):
            invert_image(pipe, picture, decoder=decoder, **call)


# ---- dtypes and batches -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["SD-2M", "SD3", "Flux"])
def test_networks_keep_their_dtype(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    pipe, noise = case.build(dtype=dtype), draw(*case.shape, dtype=dtype)
    target = clean(pipe, case.call, noise)
    assert target.dtype == dtype
    result = invert_latents(pipe, target, **case.call)
    assert result.latents.dtype == dtype and result.inversion.noise.dtype == torch.float64
    again = clean(pipe, case.call, result.latents)
    assert again.dtype == dtype and result.certificate is not None
    torch.testing.assert_close(nmse(again.double(), target.double()), result.certificate.round_trip)
    assert result.certificate.verdict == ("exact", "exact")
    if dtype == torch.float32:
        assert gap(result.latents, noise) < 1e-8
    else:  # exact is what the round-off of the network allows
        assert result.inversion.converged.all()
        assert gap(result.latents, noise) < 1e-2
        assert any("float64 states" in note for note in result.notes)


@pytest.mark.parametrize("name", ["SD-2M", "SDXL-2M", "PixArt-2M", "DiT-2M", "SD3", "Flux"])
def test_a_long_search_runs_on_a_copy_in_float64(name: str) -> None:
    case = CASES[name]
    pipe = case.build(dtype=torch.float32)
    target = clean(pipe, case.call, draw(*case.shape).float())
    result = invert_latents(pipe, target, **case.call, method="persistent")
    assert result.inversion.converged.all() and result.latents.dtype == torch.float32
    assert result.certificate is not None and result.certificate.verdict == ("exact", "exact")
    if name not in ("SD3", "Flux"):  # those compute some of it in float32 in any case
        assert (result.inversion.residuals < 1e-8).all()  # float32 ends near 1e-7
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", ["SD-DDIM", "SDXL-Euler", "PixArt-2M", "DiT-2M", "SD3", "Flux"])
def test_a_batch_is_its_images(name: str) -> None:
    case = CASES[name]
    pipe = case.build()
    target = clean(pipe, case.call, draw(*case.shape))
    both = invert_latents(pipe, target, **case.call, certificate=False)
    for i in range(2):
        mine = {k: [v[i]] if isinstance(v, list) else v for k, v in case.call.items()}
        single = invert_latents(pipe, target[i : i + 1], **mine, certificate=False)
        assert gap(single.latents, both.latents[i : i + 1]) < 1e-12


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_newton_and_singular_values_in_both_memory_formats(form: torch.memory_format) -> None:
    """PyTorch alone has no derivative of the group norm after an attention block."""
    case = CASES["DDPM-DDIM"]
    pipe, noise = case.build(), draw(*case.shape)
    pipe.unet.to(memory_format=form)
    newton = partial(whole_trajectory, finder=newton_krylov, finish=None)
    target = clean(pipe, case.call, noise).to(memory_format=form)
    result = invert_latents(pipe, target, **case.call, method=newton, vectors=2)
    assert gap(result.latents, noise) < 1e-12
    assert result.certificate is not None and result.certificate.sigma_min.isfinite().all()


# ---- results and notes --------------------------------------------------------------------------


def test_the_call_of_a_result_is_enough_to_make_it_again() -> None:
    case = CASES["SD-2M"]
    pipe, noise = case.build(), draw(*case.shape)
    result = invert_latents(pipe, clean(pipe, case.call, noise), **case.call)
    call = json.loads(json.dumps(result.call))
    assert gap(pipe(**call, latents=result.latents, output_type="latent")[0], result.target) < FAR
    assert gap(regenerate(pipe, result.latents, call, output_type="latent"), result.target) < FAR
    assert len(regenerate(pipe, result)) == 2
    assert regenerate(pipe, result, output_type="np").shape == (2, 16, 16, 3)
    assert regenerate(pipe, result, output_type="pt").shape == (2, 3, 16, 16)
    with pytest.raises(TypeError, match="give the call"):
        regenerate(pipe, noise)
    with pytest.raises(ValueError, match="noise is one of StableDiffusionPipeline"):
        regenerate(pixel(), result)


def notes(pipe: Any, latents: Tensor, **call: Any) -> str:
    options = {"method": "naive", "certificate": False}
    return "; ".join(invert_latents(pipe, latents, options=options, **call).notes)


def test_notes_say_what_was_assumed() -> None:
    latents = draw(1, 4, 8, 8)
    told = {"prompt": "cat", "guidance_scale": 2.0, "num_inference_steps": 2}
    assert notes(sd(), latents, **told, **SIZE) == ""
    silent = notes(sd(), latents, prompt="cat", **SIZE)
    assert "pipeline's own defaults: num_inference_steps=50, guidance_scale=7.5" in silent
    other = draw(1, 4, 8, 12)
    assert "height=16 and width=24 were taken from the latents" in notes(sd(), other, **told)


@pytest.mark.parametrize(
    ("make", "shape", "steps", "scale", "more"),
    [
        (tiny.flux, (1, 16, 16), 28, 3.5, SIZE),
        (tiny.stable_diffusion_3, (1, 4, 8, 8), 28, 7.0, SIZE),
        (tiny.pixart, (1, 4, 8, 8), 20, 4.5, {**SIZE, **NO_BINS}),
    ],
)
def test_defaults_are_the_pipelines(
    make: Any, shape: tuple[int, ...], steps: int, scale: float, more: dict[str, Any]
) -> None:
    pipe, call = build(make), {"prompt": "red cat", **more}
    latents = draw(*shape)
    result = invert_latents(pipe, latents, options=Options(method="naive"), **call)
    assert result.settings.num_inference_steps == steps
    assert result.settings.guidance_scale == scale
    assert len(result.inversion.states) == steps + 1
    assert result.certificate is not None  # the stock call in as many steps
    again = clean(pipe, call, result.latents)
    torch.testing.assert_close(nmse(again, latents), result.certificate.round_trip)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("decoder", ["quasi_newton", "gradient"])
def test_gradient_modes_around_it_do_not_matter(context: Any, decoder: str) -> None:
    call = {"prompt": "cat", "guidance_scale": 1.0, "num_inference_steps": 2}
    with context():
        picture = sd()(**call, **SIZE, latents=draw(1, 4, 8, 8)).images
        result = invert_image(sd(), picture, decoder=decoder, **call)
    assert result.certificate is not None and result.certificate.verdict == ("exact",)
    assert not result.latents.is_inference() and not result.latents.requires_grad


def test_autocast_is_named_as_the_limit() -> None:
    pipe = build(tiny.stable_diffusion, DDIM, dtype=torch.float32)
    call = {"prompt": "cat", "guidance_scale": 1.0, "num_inference_steps": 4, **SIZE}
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        target = clean(pipe, call, draw(1, 4, 8, 8).float())
        result = invert_latents(pipe, target, **call)
    told = [*result.notes, *(str(one.message) for one in warned)]
    assert sum("torch.autocast is on" in one for one in told) == 1
    assert result.certificate is not None and result.certificate.round_trip.max() < 1e-2


@pytest.mark.parametrize("door", [invert_image, invert_latents])
def test_a_network_that_is_no_pipeline_is_sent_to_invert(door: Any) -> None:
    with pytest.raises(TypeError, match=r"Linear is no diffusers pipeline.*invlib\.invert"):
        door(torch.nn.Linear(4, 4), torch.zeros(1, 4, 8, 8))
