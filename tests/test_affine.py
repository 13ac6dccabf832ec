"""Maps that move, scale and shift elements: what probing reads, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invlib.affine import read_elementwise

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
Map = Callable[[Tensor], Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pack(x: Tensor) -> Tensor:
    """Patches of 2 x 2 become tokens, as for Flux."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, h * w // 4, 4 * c)


def unpack(height: int, width: int) -> Map:
    def function(x: Tensor) -> Tensor:
        b, _, d = x.shape
        x = x.view(b, height // 2, width // 2, d // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(b, d // 4, height, width)

    return function


def channels(x: Tensor) -> Tensor:
    """Mean and deviation of each channel, as for Wan."""
    mean = torch.tensor([-0.7, 0.1, 2.3]).to(x).view(1, 3, *[1] * (x.ndim - 2))
    deviation = torch.tensor([2.8, 0.4, 1.1]).to(x).view(1, 3, *[1] * (x.ndim - 2))
    return x * deviation + mean


def folded(x: Tensor) -> Tensor:
    """Frames join the batch."""
    return (x / 0.18).permute(0, 2, 1, 3, 4).flatten(0, 1)


MAPS: dict[str, tuple[Map, tuple[int, ...]]] = {
    "pack": (pack, (2, 3, 4, 6)),
    "unpack": (lambda x: unpack(4, 6)(x) / 0.36 + 0.11, (2, 6, 12)),
    "channels": (channels, (2, 3, 2, 2, 3)),
    "folded": (folded, (2, 3, 4, 2, 2)),
    "negative": (lambda x: 0.3 - x.transpose(1, 2), (1, 5, 7)),
    "one": (lambda x: x * 3, (1, 1, 1)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MAPS)
def test_what_is_read_is_the_map(name: str, dtype: torch.dtype) -> None:
    function, shape = MAPS[name]
    found = read_elementwise(function, shape, dtype=dtype)
    x = draw(*shape, seed=3)
    y = function(x)
    scale = found.scale.abs().max()
    eps = 4 * torch.finfo(dtype).eps
    assert found.in_shape == shape and found.out_shape == tuple(y.shape)
    torch.testing.assert_close(found(x), y, rtol=eps, atol=float(eps * scale))
    assert found(x).dtype == torch.float64 and found.one_to_one
    torch.testing.assert_close(found.inverse(found(x)), x, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_permutation_scale_and_shift_come_back(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)))
    axes = data.draw(st.permutations(range(len(shape))))
    seed = data.draw(st.integers(0, 1000))
    dtype = data.draw(st.sampled_from(DTYPES))
    out = tuple(shape[a] for a in axes)
    scale = (draw(*out, seed=seed).abs() + 0.01) * data.draw(st.sampled_from([-1, 1]))
    shift = 3 * draw(*out, seed=seed + 1)

    def function(x: Tensor) -> Tensor:
        return x.permute(axes) * scale.to(x) + shift.to(x)

    found = read_elementwise(function, shape, dtype=dtype)
    names = torch.arange(math.prod(shape)).view(shape).permute(axes).flatten()
    assert torch.equal(found.source, names)
    assert torch.equal(found.shift, shift.to(dtype).double().flatten())
    eps = torch.finfo(dtype).eps
    wanted = scale.to(dtype).double().flatten()
    reach = 2 * eps * (wanted.abs() + shift.abs().flatten() / 64)
    assert ((found.scale - wanted).abs() <= reach).all()


def test_padding_and_cropping() -> None:
    padded = read_elementwise(lambda x: torch.nn.functional.pad(2 * x + 1, (0, 2)), (2, 3, 4))
    x = draw(2, 3, 4)
    assert padded.one_to_one and padded.out_shape == (2, 3, 6) and padded.samples == 2
    assert torch.equal(padded(x)[..., 4:], torch.zeros(2, 3, 2).double())
    torch.testing.assert_close(padded.inverse(padded(x) + 0), x)
    cropped = read_elementwise(lambda x: x[:, 1:], (2, 3, 4))
    assert not cropped.one_to_one and (cropped.readers.view(2, 3, 4)[:, 0] == 0).all()
    assert torch.equal(cropped(x), x[:, 1:])
    with pytest.raises(ValueError, match="not one-to-one: of 24 input elements it drops 8"):
        cropped.inverse(cropped(x))
    assert torch.equal(cropped.least_squares(cropped(x))[:, 1:], x[:, 1:])
    assert (cropped.least_squares(cropped(x))[:, 0] == 0).all()
    twice = read_elementwise(lambda x: torch.cat([x, 3 * x], 1), (2, 3, 4))
    with pytest.raises(ValueError, match="drops 0 and repeats 24"):
        twice.inverse(twice(x))
    y = draw(2, 6, 4, seed=4)
    wanted = (y[:, :3] + 3 * y[:, 3:]) / 10  # the normal equations
    torch.testing.assert_close(twice.least_squares(y), wanted)


REFUSED: dict[str, tuple[Map, str]] = {
    "relu": (torch.relu, "not linear"),
    "clamp": (lambda x: x.clamp(-5, 5), "not linear"),
    "tanh": (torch.tanh, "not linear"),
    "square": (torch.square, "not linear"),
    "round": (torch.round, "not linear"),
    "mean": (lambda x: x.mean(2, keepdim=True), "several input elements"),
    "blur": (lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1), "several input elements"),
    "standardised": (lambda x: x - x.mean(0), "several input elements"),
    "neighbours": (lambda x: x + 0.01 * x.roll(1, 0), "several input elements"),
    "random": (lambda x: x + torch.randn_like(x), "random"),
    "logarithm": (torch.log, "NaN or infinity"),
    "sign": (lambda x: x > 0, "makes torch.bool"),
    "sum": (torch.sum, "single number"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", REFUSED)
def test_other_maps_are_refused(name: str, dtype: torch.dtype) -> None:
    function, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"not an elementwise affine map: .*{message}"):
        read_elementwise(function, (2, 3, 4, 4), dtype=dtype)


@pytest.mark.parametrize("name", ["relu", "clamp", "mean", "blur", "standardised"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_maps_are_refused_in_low_precision(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="not an elementwise affine map"):
        read_elementwise(REFUSED[name][0], (2, 3, 4, 4), dtype=dtype)


def test_rows_are_maps_of_their_own() -> None:
    x = draw(3, 3, 4, 2, 2)
    found = read_elementwise(folded, (3, 3, 4, 2, 2))
    assert found.samples == 3 and found.out_shape[0] == 12
    index = torch.tensor([2, 0])
    some = found.rows(index)
    assert some.in_shape == (2, 3, 4, 2, 2) and some.out_shape == (8, 3, 2, 2)
    torch.testing.assert_close(some(x[index]), folded(x[index]))
    torch.testing.assert_close(some.inverse(folded(x[index])), x[index])
    twice = found.rows(torch.tensor([1, 1]))
    torch.testing.assert_close(twice(x[[1, 1]]), folded(x[[1, 1]]))
    assert found.rows(torch.tensor([0]), 1).in_shape == found.in_shape
    with pytest.raises(ValueError, match="does not treat 2 samples one by one"):
        found.rows(torch.tensor([0]), 2)
    with pytest.raises(IndexError, match="3 samples"):
        found.rows(torch.tensor([3]))


def test_rows_that_read_each_other_are_one_sample() -> None:
    swapped = read_elementwise(lambda x: x.flip(0), (4, 3))
    assert swapped.samples == 1
    pairs = read_elementwise(lambda x: x.view(2, 2, 3).flip(1).view(4, 3), (4, 3))
    assert pairs.samples == 2
    transposed = read_elementwise(lambda x: x.permute(2, 1, 0), (2, 3, 4))
    assert transposed.samples == 1
    every = torch.arange(1, 4).double()[:, None]
    different = read_elementwise(lambda x: x * every, (3, 2))
    assert different.samples == 3
    assert torch.equal(different.rows(torch.tensor([1]))(torch.ones(1, 2)), 2 * torch.ones(1, 2))


def test_derivatives_go_through() -> None:
    function, shape = MAPS["unpack"]
    found = read_elementwise(function, shape)
    x, v = draw(*shape), draw(*shape, seed=1)
    push = torch.func.jvp(found, (x,), (v,))[1]
    torch.testing.assert_close(push, torch.func.jvp(function, (x,), (v,))[1])
    pull = torch.func.vjp(found.inverse, found(x))[1](v)[0]
    torch.testing.assert_close((pull * push).sum(), v.square().sum())


def test_reading_leaves_inference_mode_and_draws_nothing() -> None:
    state = torch.get_rng_state()
    with torch.inference_mode():
        found = read_elementwise(lambda x: x * torch.tensor(2.0), (2, 3))
    assert not found.scale.is_inference() and not found.source.is_inference()
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.ones(2, 3, requires_grad=True)
    found(x).sum().backward()
    assert x.grad is not None and (x.grad == 2).all()


def test_shapes_are_checked() -> None:
    found = read_elementwise(pack, (1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"reads \(1, 1, 4, 4\), got \(1, 1, 4, 2\)"):
        found(torch.zeros(1, 1, 4, 2))
    with pytest.raises(ValueError, match=r"makes \(1, 4, 4\), got \(1, 4, 2\)"):
        found.inverse(torch.zeros(1, 4, 2))


def test_a_map_to_whole_numbers_is_not_affine() -> None:
    with pytest.raises(ValueError, match="it makes torch.uint8 of torch.float64"):
        read_elementwise(lambda x: (255 * x).to(torch.uint8), (2, 3))
