"""Every decoder inverter on every kind of autoencoder, and what the pipeline does around it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import tiny_autoencoders as tiny
import torch
from analytic import randn
from tiny_autoencoders import KINDS, Kind, build
from torch import Tensor, nn

from invlib.affine import read_elementwise
from invlib.autoencoder import (
    DECODERS,
    Autoencoder,
    Box,
    DecoderInversion,
    NoEncoder,
    active_set,
    encoder,
    gauss_newton,
    gradient,
    gradient_free,
    quasi_newton,
    to_bytes,
)
from invlib.autoencoder.model import decoder_jacobian
from invlib.newton import forward_mode

SHORT: dict[str, Any] = {
    "encoder": encoder,
    "gradient": partial(gradient, iterations=12, learning_rate=0.05, warm_up=2),
    "gradient_free": partial(gradient_free, iterations=4),
    "gauss_newton": partial(gauss_newton, krylov=6),
    "quasi_newton": partial(quasi_newton, iterations=12),
    "active_set": active_set,
}


def tokens(z: Tensor) -> Tensor:
    """A sampler's state: one token for each place, the channels last."""
    return z.flatten(2).transpose(1, 2)


def to_latents(kind: Kind) -> Any:
    """What a pipeline does with such tokens: unpack, scale and shift by channel."""
    channels = torch.arange(1, 1 + kind.latents[0]).double()
    channels = channels.view(-1, *[1] * (len(kind.latents) - 1))

    def function(state: Tensor) -> Tensor:
        latents = state.transpose(1, 2).unflatten(2, kind.latents[1:])
        return latents / (0.5 + 0.1 * channels.to(latents)) + 0.1 * channels.to(latents)

    return function


def on_tokens(name: str, count: int = 2, dtype: torch.dtype = torch.float64) -> Autoencoder:
    """An autoencoder whose latents a sampler sees as tokens."""
    kind = KINDS[name]
    shape = tuple(tokens(torch.zeros(count, *kind.latents)).shape)
    unpack = read_elementwise(to_latents(kind), shape, dtype=dtype)
    return Autoencoder(build(kind, dtype), to_decoder=unpack, options=kind.options)


def state(name: str, count: int = 2, seed: int = 0) -> Tensor:
    return 0.5 * tokens(randn(count, *KINDS[name].latents, seed=seed))


def picture(autoencoder: Autoencoder, z: Tensor) -> Tensor:
    with torch.no_grad():
        return autoencoder.decode(z)


# Every kind


@pytest.mark.parametrize("name", KINDS)
def test_shapes_and_the_way_the_pipeline_decodes(name: str) -> None:
    kind, z = KINDS[name], state(name)
    autoencoder = on_tokens(name)
    x = picture(autoencoder, z)
    with torch.no_grad():
        stock = autoencoder.vae.decode(to_latents(kind)(z), **kind.options, return_dict=False)[0]
    torch.testing.assert_close(x, stock, rtol=0, atol=1e-5)  # some compute in float32 inside
    assert x.shape == (2, *kind.picture) and x.dtype == torch.float64
    with torch.no_grad():
        again = autoencoder.encode(x)
        code = autoencoder.vae.encode(x, return_dict=False)[0]
        code = code.mode() if not isinstance(code, Tensor) else code
    assert again.shape == z.shape and again.dtype == torch.float64
    torch.testing.assert_close(to_latents(kind)(again), code, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_forward_mode_and_reverse_mode_agree(name: str) -> None:
    autoencoder, z, v = on_tokens(name), state(name), state(name, seed=1)
    push = forward_mode(autoencoder.decode, z, v)
    x = autoencoder.decode(z.requires_grad_())
    w = randn(*x.shape, seed=2)
    (pull,) = torch.autograd.grad(x, z, w)
    assert push.norm() > 0
    torch.testing.assert_close((pull * v).sum(), (w * push).sum(), rtol=1e-5, atol=1e-5)


def box_of(name: str, autoencoder: Autoencoder, z: Tensor) -> Box:
    x = picture(autoencoder, z)
    return Box.point(x) if x.ndim == 3 else Box.of(to_bytes(x))


def distance(autoencoder: Autoencoder, box: Box, z: Tensor) -> Tensor:
    """How far the pictures stick out of the box, for each."""
    return box.excess(picture(autoencoder, z)).flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", KINDS)
def test_every_method_improves_on_its_start(name: str) -> None:
    autoencoder, z = on_tokens(name), state(name)
    box = box_of(name, autoencoder, z)
    first = encoder(autoencoder, box)
    assert first.reason == ("explicit",) * 2 and first.image_nmse.isfinite().all()
    for method in ("gradient", "quasi_newton"):
        result = SHORT[method](autoencoder, box)
        assert result.latents.shape == z.shape and result.method == method
        assert (result.image_nmse < 0.95 * first.image_nmse).all()
    start = z + 0.05 * state(name, seed=1)
    for method in ("gauss_newton", "quasi_newton"):
        result = SHORT[method](autoencoder, box, start=start)
        after = distance(autoencoder, box, result.latents)
        assert (after < 0.7 * distance(autoencoder, box, start)).all()
    free = SHORT["gradient_free"](autoencoder, box)
    with torch.no_grad():
        target = autoencoder.encode(box.center)
        misses = [
            (autoencoder.encode(autoencoder.decode(y)) - target).flatten(1).norm(dim=1)
            for y in (first.latents, free.latents)
        ]
    assert (misses[1] <= misses[0]).all()


@pytest.mark.parametrize("name", [name for name in KINDS if len(KINDS[name].picture) > 2])
def test_the_dense_method_reaches_the_box_of_every_kind(name: str) -> None:
    autoencoder, z = on_tokens(name, 1), state(name, 1)
    box = box_of(name, autoencoder, z)
    start = z + 0.02 * state(name, 1, seed=1)
    before = box.share_inside(picture(autoencoder, start))
    result = active_set(autoencoder, box, start=start)
    assert before < 1 and result.reason == ("converged",) and result.inside == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["AutoencoderTiny", "AutoencoderKLWan"])
def test_low_precision(name: str, dtype: torch.dtype) -> None:
    autoencoder, z = on_tokens(name, dtype=dtype), state(name)
    assert autoencoder.dtype == dtype
    box = box_of(name, autoencoder, z)
    first, result = encoder(autoencoder, box), SHORT["quasi_newton"](autoencoder, box)
    assert result.latents.dtype == torch.float64
    assert (result.image_nmse < first.image_nmse).all()


def test_quantised_latents_are_searched_through_the_quantiser() -> None:
    """Without force_not_quantize the picture is piecewise constant; its derivative passes by."""
    kind = replace(KINDS["VQModel"], options={})
    autoencoder = Autoencoder(build(kind))
    z = 0.5 * randn(2, *kind.latents)
    box = Box.of(to_bytes(picture(autoencoder, z)))
    for method in ("gradient", "quasi_newton"):
        assert SHORT[method](autoencoder, box).image_nmse.isfinite().all()
    near = quasi_newton(autoencoder, box, start=z)
    assert near.reason == ("converged",) * 2
    for method in ("gauss_newton", "active_set"):
        with pytest.raises(ValueError, match="VQModel has no forward-mode derivative: use quasi"):
            SHORT[method](autoencoder, box, start=z + 0.1)


# What surrounds the decoder


def test_maps_before_and_after_the_decoder() -> None:
    """Frames join the batch, and leave it again, as for AnimateDiff."""
    kind = KINDS["AutoencoderKL"]
    vae, frames = build(kind), 3
    c, h, w = kind.latents
    into = read_elementwise(
        lambda z: (z / 0.3).permute(0, 2, 1, 3, 4).flatten(0, 1), (2, c, frames, h, w)
    )
    out = read_elementwise(
        lambda x: x.unflatten(0, (2, frames)).transpose(1, 2), (2 * frames, *kind.picture)
    )
    autoencoder = Autoencoder(vae, to_decoder=into, from_decoder=out)
    z = 0.2 * randn(2, c, frames, h, w)
    x = picture(autoencoder, z)
    plain = Autoencoder(vae, 0.3)
    for frame in range(frames):
        one = picture(plain, z[:, :, frame])
        torch.testing.assert_close(x[:, :, frame], one)
        with torch.no_grad():
            torch.testing.assert_close(
                autoencoder.encode(x)[:, :, frame], plain.encode(x[:, :, frame])
            )
    box = Box.of(to_bytes(x))
    first, result = encoder(autoencoder, box), SHORT["quasi_newton"](autoencoder, box)
    assert (result.image_nmse < 0.9 * first.image_nmse).all()
    with pytest.raises(ValueError, match="shapes differ"):
        quasi_newton(replace(autoencoder, from_decoder=None), box, start=z)


def test_one_frame_is_an_image() -> None:
    kind = KINDS["AutoencoderKLQwenImage"]
    out = read_elementwise(lambda x: x[:, :, 0], (1, *kind.picture))
    autoencoder = Autoencoder(build(kind), from_decoder=out)
    z = 0.5 * randn(1, *kind.latents)
    box = Box.of(to_bytes(picture(autoencoder, z)))
    assert box.center.ndim == 4
    assert quasi_newton(autoencoder, box).image_nmse < encoder(autoencoder, box).image_nmse


@pytest.mark.parametrize("method", ["quasi_newton", "active_set"])
def test_rows_keep_their_own_options(method: str) -> None:
    """A batch is so many single runs, also where the decoder has an argument for each row."""
    kind = KINDS["AutoencoderKLLTXVideo"]
    vae = build(replace(kind, make=partial(tiny.ltx, timestep=True)))
    times = torch.tensor([0.0, 0.5, 0.9]).double()
    shape = tuple(tokens(torch.zeros(3, *kind.latents)).shape)
    unpack = read_elementwise(to_latents(kind), shape)
    autoencoder = Autoencoder(vae, to_decoder=unpack, options={"temb": times})
    z = 0.5 * tokens(randn(3, *kind.latents))
    start = z + 0.02 * tokens(randn(3, *kind.latents, seed=1))
    start[1] = z[1]  # done at once: the batch shrinks
    box = Box.of(to_bytes(picture(autoencoder, z)))
    assert not torch.equal(
        box.center, picture(replace(autoencoder, options={"temb": times.flip(0)}), z)
    )
    batch = SHORT[method](autoencoder, box, start=start)
    assert batch.reason[1] == "converged" and batch.evaluations[1] < batch.evaluations.max()
    for i in range(3):
        row = torch.tensor([i])
        one = SHORT[method](autoencoder.rows(row, 3), box.rows(row), start=start[row])
        assert one.evaluations[0] == batch.evaluations[i] and one.reason[0] == batch.reason[i]
        torch.testing.assert_close(one.latents[0], batch.latents[i], rtol=0, atol=1e-5)


def test_without_anything_special_rows_are_the_same_autoencoder() -> None:
    autoencoder = Autoencoder(build(KINDS["AutoencoderTiny"]), 0.5, 0.1)
    assert autoencoder.rows(torch.tensor([1]), 3) is autoencoder
    mapped = on_tokens("AutoencoderTiny", 3)
    assert mapped.rows(torch.arange(3), 3) is mapped
    assert mapped.rows(torch.tensor([2, 0]), 3).to_decoder.in_shape[0] == 2


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLQwenImage", "AutoencoderDC"])
def test_slices_and_tiles(name: str) -> None:
    kind = KINDS[name]
    vae = build(kind)
    vae.enable_slicing()
    vae.enable_tiling()
    for attribute in ("tile_sample_min_size", "tile_sample_min_height", "tile_sample_min_width"):
        if hasattr(vae, attribute):
            setattr(vae, attribute, 8)
    for attribute in ("tile_latent_min_size", "tile_latent_min_height", "tile_latent_min_width"):
        if hasattr(vae, attribute):
            setattr(vae, attribute, 2)
    for attribute in ("tile_sample_stride_height", "tile_sample_stride_width"):
        if hasattr(vae, attribute):
            setattr(vae, attribute, 4)
    autoencoder = Autoencoder(vae)
    z = 0.5 * randn(2, *kind.latents[:-2], 3, 4)
    tiled = picture(autoencoder, z)
    vae.disable_tiling()
    plain = picture(autoencoder, z)
    assert plain.shape != tiled.shape or not torch.allclose(plain, tiled)
    vae.use_tiling = True
    box = Box.of(to_bytes(tiled))
    start = z + 0.05 * randn(*z.shape, seed=1)
    before = distance(autoencoder, box, start)
    for method in (
        partial(quasi_newton, iterations=3),
        partial(gauss_newton, iterations=1, krylov=3),
    ):
        result = method(autoencoder, box, start=start)
        assert (distance(autoencoder, box, result.latents) < 0.9 * before).all()


def test_the_jacobian_of_a_clip() -> None:
    autoencoder, z = on_tokens("AutoencoderKLWan", 1), state("AutoencoderKLWan", 1)
    with torch.no_grad():
        matrix = decoder_jacobian(autoencoder, z)
    v = state("AutoencoderKLWan", 1, seed=1)
    torch.testing.assert_close(
        matrix @ v.flatten(), forward_mode(autoencoder.decode, z, v).flatten(), rtol=1e-6, atol=1e-6
    )


# No encoder


def test_without_an_encoder_the_search_starts_from_zeros_and_says_so() -> None:
    name = "AutoencoderDC"
    autoencoder, z = on_tokens(name), state(name)
    box = box_of(name, autoencoder, z)
    autoencoder.vae.encoder = None
    zeros = torch.zeros_like(z)
    before = distance(autoencoder, box, zeros)
    for method in ("gradient", "gauss_newton", "quasi_newton"):
        result = SHORT[method](autoencoder, box)
        assert result.note == "AutoencoderDC has no encoder: the search started from zeros"
        after = distance(autoencoder, box, result.latents)
        assert (after <= before).all() and (after < before).any()
    assert (
        result.evaluations.max()
        == quasi_newton(autoencoder, box, iterations=12, start=zeros).evaluations.max()
    )
    for method in ("encoder", "gradient_free"):
        with pytest.raises(NoEncoder, match="AutoencoderDC has no encoder"):
            SHORT[method](autoencoder, box)
    plain = Autoencoder(autoencoder.vae)
    with pytest.raises(ValueError, match="give the first latents as start"):
        quasi_newton(plain, box)
    latents = to_latents(KINDS[name])(zeros)
    assert quasi_newton(plain, box, start=latents, iterations=2).note == ""


def test_an_encoder_of_another_size_is_none() -> None:
    """Three frames are no 4 k + 1: Wan encodes them to one, and would decode that to one."""
    name = "AutoencoderKLWan"
    autoencoder = on_tokens(name)
    out = read_elementwise(lambda x: x[:, :, :3], (2, *KINDS[name].picture))
    short = replace(autoencoder, from_decoder=out)
    x = picture(short, state(name))
    assert x.shape[2] == 3 and encoder(short, Box.of(to_bytes(x))).latents.shape == (2, 8, 4)
    other = read_elementwise(to_latents(replace(KINDS[name], latents=(4, 3, 2, 2))), (2, 12, 4))
    result = quasi_newton(
        replace(autoencoder, to_decoder=other),
        Box.of(torch.zeros(2, 3, 9, 8, 8).byte()),
        iterations=1,
    )
    assert result.note == ""  # nine frames, three latents: they fit
    box = Box.of(torch.zeros(2, 3, 5, 8, 8).byte())
    with pytest.raises(NoEncoder, match=r"encodes to \(2, 4, 2, 2, 2\), but decodes"):
        encoder(replace(autoencoder, to_decoder=other), box)


# What goes wrong


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("method", DECODERS)
def test_a_decoder_that_returns_nan_is_an_error_that_says_what_to_do(
    method: str, dtype: torch.dtype
) -> None:
    kind = KINDS["AutoencoderKL"]
    vae = build(kind, dtype)
    box = Box.of(to_bytes(picture(Autoencoder(vae), randn(2, *kind.latents))))
    hook = vae.decoder.conv_out.register_forward_hook(lambda m, a, out: out * torch.nan)
    with pytest.raises(ValueError, match=r"the decoder returned NaN .*vae.to\(torch.float32\)"):
        SHORT[method](Autoencoder(vae), box)
    hook.remove()
    vae.encoder.conv_out.register_forward_hook(lambda m, a, out: out + torch.inf)
    with pytest.raises(ValueError, match="the encoder returned NaN or infinity"):
        SHORT[method](Autoencoder(vae), box)


@pytest.mark.parametrize("method", DECODERS)
def test_one_image_that_decodes_to_nan_says_so_alone(method: str) -> None:
    kind = KINDS["AutoencoderTiny"]
    vae = build(kind)
    box = Box.of(to_bytes(picture(Autoencoder(vae), randn(2, *kind.latents))))

    def spoil(module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return torch.where(torch.arange(len(out)).view(-1, 1, 1, 1) == 1, torch.nan, out)

    if method == "active_set":  # one image at a time, so that no image is the second one
        return
    vae.decoder.layers[-1].register_forward_hook(spoil)
    result = SHORT[method](Autoencoder(vae), box)
    assert result.reason[1] == "nan" and result.reason[0] != "nan"
    assert result.image_nmse[0].isfinite() and result.image_nmse[1].isnan()


REFUSED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "ConsistencyDecoderVAE": (tiny.consistency, (4, 4, 4)),
    "AutoencoderKLLTXVideo": (partial(tiny.ltx, noise=True), (4, 2, 3, 3)),
}


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_decoders_that_draw_numbers_are_refused(name: str, generator: bool) -> None:
    make, latents = REFUSED[name]
    vae = build(Kind(make, latents, ()), torch.float32)
    for p in vae.parameters():
        p.data.add_(0.01)  # noise that is injected starts with weight 0
    options: dict[str, Any] = {}
    if generator and name == "ConsistencyDecoderVAE":
        options["generator"] = torch.Generator().manual_seed(3)
    autoencoder = Autoencoder(vae, options=options)
    before = torch.get_rng_state()
    with torch.no_grad(), pytest.raises(ValueError, match=f"the decoder {name} draws random"):
        autoencoder.decode(randn(1, *latents))
    assert torch.equal(torch.get_rng_state(), before)
    if options:
        fresh = torch.Generator().manual_seed(3)
        assert torch.equal(options["generator"].get_state(), fresh.get_state())


# Wherever it is called


def alike(a: DecoderInversion, b: DecoderInversion) -> bool:
    return torch.equal(a.latents, b.latents) and a.reason == b.reason


@pytest.mark.parametrize("method", DECODERS)
def test_inference_mode_and_autocast_change_nothing(method: str) -> None:
    name = "AutoencoderKLLTXVideo"
    vae = build(replace(KINDS[name], make=partial(tiny.ltx, timestep=True)), torch.float32)
    wanted = None
    shape = tuple(state(name, 1).shape)
    for inference in (False, True):
        with torch.inference_mode(inference):
            unpack = read_elementwise(to_latents(KINDS[name]), shape, dtype=torch.float32)
            options = {"temb": torch.tensor([0.3])}
            autoencoder = Autoencoder(vae, to_decoder=unpack, options=options)
            box = Box.of(to_bytes(autoencoder.decode(state(name, 1))))
            assert box.center.is_inference() == inference
            searches = method in ("quasi_newton", "gauss_newton", "active_set")
            start = {"start": state(name, 1, seed=2) + 0.0} if searches else {}
            result = SHORT[method](autoencoder, box, **start)
        assert not result.latents.is_inference()
        assert wanted is None or alike(result, wanted)
        wanted = result
        with torch.autocast("cpu", torch.bfloat16):
            assert alike(SHORT[method](autoencoder, box, **start), wanted)


def test_weights_of_inference_mode_are_refused_in_a_sentence() -> None:
    kind = KINDS["AutoencoderTiny"]
    with torch.inference_mode():
        vae = build(kind)
    box = Box.of(torch.zeros(1, *kind.picture, dtype=torch.uint8))
    with pytest.raises(ValueError, match="loaded under torch.inference_mode"):
        quasi_newton(Autoencoder(vae), box)


def test_boxes_of_clips_and_of_sound() -> None:
    clip = torch.randint(0, 256, (2, 3, 5, 4, 4), dtype=torch.uint8)
    box = Box.of(clip)
    assert torch.equal(to_bytes(box.center), clip)
    assert box.share_inside(box.center + 0.9 / 255).tolist() == [1, 1]
    assert (box.excess(box.center + 2 / 255)[clip < 254] > 0).all()
    sound = randn(2, 2, 16)
    assert Box.point(sound).share_inside(sound).tolist() == [1, 1]
    with pytest.raises(ValueError, match="shapes differ"):
        box.excess(torch.zeros(2, 3, 1, 4, 4))
    with pytest.raises(ValueError, match="NaN or infinity"):
        Box.point(sound / 0)
