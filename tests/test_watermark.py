"""Watermarks: what is written, what is read, how sure one can be, and what pictures go through."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from analytic import randn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torch import Tensor

from invlib import nmse
from invlib.watermark import (
    ATTACKS,
    OFFICIAL_CENTRE,
    GaussianShading,
    TreeRing,
    add_noise,
    bit_error,
    bits_of,
    blacken,
    blur,
    brightness,
    bytes_of,
    classify,
    confusion,
    crop,
    figure4_keys,
    jpeg,
    mean_modulus,
    mean_square,
    nmae,
    released_keys,
    separation,
    spectrum,
    variance_inside,
    variance_outside,
    window,
)
from invlib.watermark.chi_square import log_cdf
from invlib.watermark.tree_ring import negate

SMALL, LARGE = (16, 16), (64, 64)
sizes = st.tuples(st.integers(4, 17), st.integers(4, 17))


def ks_p(values: Tensor, law: str) -> float:
    """p-value of the Kolmogorov-Smirnov test of numbers against a law."""
    return float(stats.kstest(values.flatten().numpy(), law).pvalue)


def with_error(noise: Tensor, variance: float, seed: int = 9) -> Tensor:
    return noise + math.sqrt(variance) * randn(*noise.shape, seed=seed)


def marked(keys: list[TreeRing], count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noises with the keys in turn, and which key it is."""
    truth = torch.arange(count) % len(keys)
    noise = randn(count, 1, *keys[0].mask.shape, seed=seed)
    for j, key in enumerate(keys):
        noise[truth == j] = key.embed(noise[truth == j])
    return noise, truth


def share(condition: Tensor) -> float:
    return condition.double().mean().item()


# Tree-Ring: what is written


@given(sizes, st.data())
@settings(max_examples=30)
def test_centred_keys_are_symmetric_and_noise_with_them_is_real(
    size: tuple[int, int], data: st.DataObject
) -> None:
    radius = data.draw(st.floats(1, min(size) // 2))
    values = data.draw(st.lists(st.floats(-2, 2), min_size=1, max_size=6))
    noise = randn(1, 1, *size)
    for key in (
        TreeRing.rings(values, size, radius=radius),
        TreeRing.random(size, seed=3, radius=radius),
    ):
        assert key.symmetric and torch.equal(key.mask, negate(key.mask))
        written = torch.fft.ifftshift(key.written(noise), dim=(-2, -1))
        complex_noise = torch.fft.ifft2(written, norm="ortho")
        assert complex_noise.imag.abs().max() < 1e-14
        torch.testing.assert_close(key.embed(noise)[:, 0], complex_noise.real, rtol=0, atol=1e-14)


@given(sizes)
@settings(max_examples=30)
def test_negation_is_the_symmetry_of_real_planes(size: tuple[int, int]) -> None:
    x = spectrum(randn(*size))
    torch.testing.assert_close(negate(x), x.conj(), rtol=0, atol=1e-13)
    assert torch.equal(negate(negate(x)), x)
    torch.testing.assert_close(
        x[size[0] // 2, size[1] // 2].real, randn(*size).sum() / x.numel() ** 0.5
    )
    torch.testing.assert_close(x.abs().square().sum(), randn(*size).square().sum())


@pytest.mark.parametrize("size", [SMALL, LARGE, (15, 20)])
def test_the_key_is_written_on_its_frequencies_and_nowhere_else(size: tuple[int, int]) -> None:
    noise = randn(3, 4, *size)
    for key in (*figure4_keys(size, radius=4), TreeRing.random(size, seed=1, radius=4, channel=3)):
        after = key.embed(noise)
        assert after.dtype == torch.float64 and torch.equal(after[:, :3], noise[:, :3])
        assert torch.equal(noise, randn(3, 4, *size))
        before, y = spectrum(noise[:, 3]), spectrum(after[:, 3])
        wanted = torch.where(key.mask, key.pattern, before)
        torch.testing.assert_close(y, wanted, rtol=0, atol=1e-13)
        torch.testing.assert_close(key.embed(after), after, rtol=0, atol=1e-13)  # twice is once
        one = key.embed(noise[1:2].float())
        torch.testing.assert_close(one[0], after[1], rtol=0, atol=1e-6)


def test_noise_with_a_random_key_is_standard_normal_and_outside_any_key_it_stays_so() -> None:
    every = torch.cat(
        [
            TreeRing.random(SMALL, seed=s).embed(randn(1, 1, *SMALL, seed=s + 500))
            for s in range(300)
        ]
    )
    assert ks_p(every, "norm") > 0.05
    parts = torch.view_as_real(spectrum(every[:, 0])[:, 9, 8]).T  # one frequency of the key
    assert ks_p(parts[0] * 2**0.5, "norm") > 0.05 and ks_p(parts[1] * 2**0.5, "norm") > 0.05
    key = released_keys(SMALL, radius=6)[0]
    outside = spectrum(key.embed(randn(300, 1, *SMALL))[:, 0])[:, 8 + 7, 1:8]
    assert ks_p(torch.view_as_real(outside) * 2**0.5, "norm") > 0.05


def test_a_key_covers_the_same_part_of_the_spectrum_at_every_size() -> None:
    """Frequency k of a small latent has the value of frequency 4 k of a large one."""
    for small, large in zip(released_keys(SMALL), released_keys(LARGE), strict=True):
        assert large.mask.sum() == 113 and small.mask.sum() == 9
        grid = slice(0, 64, 4)
        assert torch.equal(small.mask, large.mask[grid, grid])
        assert torch.equal(small.pattern, large.pattern[grid, grid])
    key = TreeRing.rings([1, 2, 3, 4, 5, 6], LARGE)
    assert key.pattern.real[32, 32:40].tolist() == [1, 1, 2, 3, 4, 5, 6, 0]
    assert key.pattern.real[33, 33] == 2  # sqrt(2) is in the second ring


# The official code's mask


def test_the_official_mask_is_off_centre_and_loses_part_of_the_key() -> None:
    r"""What is left is the mean of the pattern and of what stands at the negative frequency."""
    noise = randn(20, 1, *LARGE)
    losses = []
    for key in released_keys(LARGE, centre=OFFICIAL_CENTRE):
        assert not key.symmetric and key.mask.sum() == 113
        y = spectrum(key.embed(noise)[:, 0])
        written = key.written(noise)
        mirrored = torch.stack([negate(w) for w in written]).conj()
        torch.testing.assert_close(y, (written + mirrored) / 2, rtol=0, atol=1e-13)
        alone = key.mask & ~negate(key.mask)
        assert alone.sum() == 2 * 11 + 2  # ends of columns: of these, half is lost
        power = key.pattern.abs().square().sum()
        losses.append((key.residual(key.embed(noise)).abs().square().sum(1).mean() / power).item())
        assert (key.detect(key.embed(noise)).log10_p > -90).all()
    assert losses == pytest.approx([0.131, 0.105, 0.106], abs=0.01)
    for key in released_keys(LARGE):
        assert mean_modulus(key.embed(noise), key).max() < 1e-14
        assert (key.detect(key.embed(noise)).log10_p < -1000).all()


def test_the_official_mask_has_an_error_in_figure_4_that_no_inversion_can_avoid() -> None:
    noise = randn(30, 4, *LARGE)
    for centre, wanted in ((OFFICIAL_CENTRE, (0.070, 0.058, 0.062)), ((0, 0), (0, 0, 0))):
        for key, value in zip(figure4_keys(LARGE, centre=centre), wanted, strict=True):
            exact = nmae(key.embed(noise), noise, key)
            assert abs(exact.mean().item() - value) < 1.5e-3
            distance = 64 * mean_modulus(key.embed(noise), key).mean().item()
            assert (16 < distance < 25) if value else distance < 1e-12
    assert window(figure4_keys(LARGE, centre=OFFICIAL_CENTRE)[0]) == (slice(22, 41), slice(23, 42))
    assert window(figure4_keys(LARGE)[0]) == (slice(23, 42), slice(23, 42))


def test_with_the_official_mask_the_first_released_key_is_taken_for_the_second() -> None:
    """Neighbouring rings are averaged, and the average is nearer to the second key."""
    official, mended = released_keys(LARGE, centre=OFFICIAL_CENTRE), released_keys(LARGE)
    noise, truth = marked(official, 60)
    table = confusion(truth, classify(noise, official).index, 3)
    assert table[0, 1] >= 19 and table[1:].tolist() == [[0, 20, 0], [0, 0, 20]]
    noise, truth = marked(mended, 60)
    assert torch.equal(classify(noise, mended).index, truth)
    keys = figure4_keys(LARGE, channel=0, centre=OFFICIAL_CENTRE)  # these are further apart
    noise, truth = marked(keys, 60)
    assert torch.equal(classify(noise, keys).index, truth)


def test_the_official_mask_costs_accuracy_at_every_error() -> None:
    for error in (0.1, 0.5, 1.0):
        rates = []
        for centre in ((0, 0), OFFICIAL_CENTRE):
            keys = released_keys(SMALL, radius=6, centre=centre)  # as many frequencies as in SD
            noise, truth = marked(keys, 300)
            rates.append(share(classify(with_error(noise, error), keys).index == truth))
        assert rates[0] - rates[1] > 0.2


# Tree-Ring: p-values


def test_log_cdf_is_scipys_and_goes_on_where_that_ends() -> None:
    x = torch.tensor([0.0, 0.3, 4.0, 40.0, 200.0, 1000.0]).double()
    for degrees in (1, 2, 9, 113):
        for noncentrality in (0.0, 0.5, 30.0, 195.0, 700.0):
            ours = log_cdf(x, degrees, torch.full_like(x, noncentrality))
            theirs = stats.ncx2.cdf(x.numpy(), degrees, noncentrality)
            keep = torch.from_numpy(theirs > 1e-11)
            close = torch.from_numpy(np.log(np.maximum(theirs, 1e-300)))
            torch.testing.assert_close(ours[keep], close[keep], rtol=1e-7, atol=1e-10)
            assert (ours.diff() >= -1e-12).all() and (ours <= 0).all()
    # one degree of freedom: x is the square of N(m, 1)
    root, mean = x[1:4].sqrt(), 45.0
    upper, lower = (torch.special.log_ndtr(s * root - mean) for s in (1, -1))
    closed = upper + torch.log1p(-torch.exp(lower - upper))
    ours = log_cdf(root**2, 1, torch.full_like(root, mean**2))
    assert (ours < -700).all()
    torch.testing.assert_close(ours, closed, rtol=1e-11, atol=0)
    assert log_cdf(x[:1], 3, x[:1] + 1).item() == -torch.inf
    for bad in ((-x, 1, x), (x, 0, x), (x, 1, -x), (x * torch.nan, 1, x)):
        with pytest.raises(ValueError, match="noncentrality >= 0 and degrees >= 1"):
            log_cdf(*bad)


@pytest.mark.parametrize("radius", [1.5, 6.0])
def test_p_values_are_uniform_in_noise_without_the_key(radius: float) -> None:
    noise = randn(1500, 1, *SMALL, seed=1)
    for key in (released_keys(SMALL, radius=radius)[0], TreeRing.random(SMALL, seed=0)):
        assert ks_p(key.detect(noise).p_value, "uniform") > 0.05
        assert ks_p(key.detect(3 * noise, variance=9.0).p_value, "uniform") > 0.05


def test_counting_both_parts_of_all_frequencies_makes_false_alarms() -> None:
    """k and -k are one number: 2 |M| degrees of freedom are twice too many."""
    key, noise = released_keys(SMALL, radius=6)[0], randn(1500, 1, *SMALL, seed=1)
    found = key.detect(noise)
    assert found.degrees == 113
    twice = log_cdf(2 * found.score, 2 * found.degrees, 2 * found.noncentrality).exp()
    assert 0.005 < share(found.p_value < 0.01) < 0.015
    assert 0.035 < share(twice < 0.01) < 0.065  # the normal limit: Phi(-2.33 / sqrt(2)) = 0.05
    assert ks_p(twice, "uniform") < 1e-6


def test_an_estimated_variance_makes_the_p_value_approximate() -> None:
    key, noise = released_keys(SMALL, radius=6)[0], randn(3000, 1, *SMALL, seed=1)
    inside, outside = variance_inside(noise, key), variance_outside(noise, key)
    # means of 113 and of 143 squares
    torch.testing.assert_close(inside.std().item(), (2 / 113) ** 0.5, rtol=0.05, atol=0)
    torch.testing.assert_close(outside.std().item(), (2 / 143) ** 0.5, rtol=0.05, atol=0)
    rates = [share(key.detect(noise, variance=v).p_value < 0.01) for v in (1.0, inside, outside)]
    assert rates[1] < rates[0] < rates[2] < 0.02
    torch.testing.assert_close(variance_outside(key.embed(noise), key), outside)
    power = key.pattern.abs().square().sum().expand(3000) / 113
    torch.testing.assert_close(variance_inside(key.embed(noise), key), power)
    wide = torch.cat([noise[:900].view(100, 9, *SMALL), key.embed(noise[900:1000])], 1)
    many = variance_outside(wide, dataclasses.replace(key, channel=9))  # 2447 squares
    torch.testing.assert_close(many.std().item(), (2 / 2447) ** 0.5, rtol=0.3, atol=0)


def test_the_true_key_is_certain_and_another_is_not() -> None:
    keys = released_keys(SMALL, radius=6)
    noise, truth = marked(keys, 60)
    for error, limit in ((0.1, -40), (0.5, -8)):
        found = [key.detect(with_error(noise, error)).log10_p for key in keys]
        assert (torch.stack(found)[truth, torch.arange(60)] < limit).all()
    # the score of the true key is the error: chi-square with |M| degrees of freedom
    score = keys[0].detect(with_error(keys[0].embed(randn(500, 1, *SMALL)), 0.3)).score / 0.3
    assert float(stats.kstest(score.numpy(), "chi2", args=(113,)).pvalue) > 0.05
    stranger = TreeRing.random(SMALL, seed=8, radius=6)
    assert (stranger.detect(noise).log10_p > -4).all()


# Tree-Ring: whose key


@given(st.sampled_from([SMALL, LARGE, (20, 14)]), st.integers(2, 12), st.integers(0, 99))
@settings(max_examples=20)
def test_exact_noise_is_always_classified(size: tuple[int, int], count: int, seed: int) -> None:
    keys = [TreeRing.random(size, seed=100 * seed + j) for j in range(count)]
    noise, truth = marked(keys, 2 * count, seed)
    for distance in (mean_modulus, mean_square):
        found = classify(noise, keys, distance=distance)
        assert torch.equal(found.index, truth)
        assert torch.equal(confusion(truth, found.index, count), 2 * torch.eye(count).long())
        assert found.distances.shape == (2 * count, count) and (found.log10_p < -3).all()
        assert found.distances.amin(1).max() < 1e-13


@pytest.mark.parametrize("error", [0.3, 1.0, 3.0])
def test_errors_between_two_keys_are_those_of_the_formula(error: float) -> None:
    first, second = released_keys(SMALL, radius=6)[:2]
    noise = with_error(first.embed(randn(2000, 1, *SMALL)), error)
    rate = share(classify(noise, [first, second], distance=mean_square).index == 1)
    s = separation([first, second])[0, 1].item()
    assert math.isclose(s, 2.75, rel_tol=1e-9)
    wanted = math.erfc(s / (2 * math.sqrt(2 * error))) / 2
    assert abs(rate - wanted) < 4 * math.sqrt(wanted / 2000) + 1e-3


def test_the_mean_square_is_the_better_distance_against_normal_errors() -> None:
    keys = released_keys(SMALL, radius=6)
    noise, truth = marked(keys, 1200)
    noise = with_error(noise, 1.0)
    rates = [share(classify(noise, keys, distance=d).index == truth)
             for d in (mean_modulus, mean_square)]  # fmt: skip
    assert 0.8 < rates[0] < rates[1] < 0.95


def test_noise_with_none_of_the_keys_is_rarely_claimed() -> None:
    keys = [TreeRing.random(SMALL, seed=j, radius=3) for j in range(8)]
    found = classify(randn(1000, 1, *SMALL, seed=2), keys)
    rate = share(found.log10_p < -1)
    assert 0.05 < rate < 0.12  # Bonferroni: at most 0.1, and near it as the keys are unrelated


def test_nmae_is_that_of_the_paper() -> None:
    key, noise = figure4_keys(LARGE)[1], randn(3, 4, *LARGE)
    recovered = with_error(key.embed(noise), 0.2)
    a = torch.fft.fftshift(torch.fft.fft2(noise[:, 3]), dim=(1, 2))  # as the paper: not normalised
    a[:, key.mask] = 64 * key.pattern[key.mask]
    b = torch.fft.fftshift(torch.fft.fft2(recovered[:, 3]), dim=(1, 2))
    a, b = a[:, 23:42, 23:42], b[:, 23:42, 23:42]
    wanted = (a - b).abs().mean((1, 2)) / (a.abs().amax((1, 2)) - a.abs().amin((1, 2)))
    torch.testing.assert_close(nmae(recovered, noise, key), wanted)
    assert (nmae(key.embed(noise), noise, key) < 1e-14).all()
    impulse = key.embed(noise)
    impulse[:, 3, 0, 0] += 64 * 0.5  # adds 1/2 to the modulus everywhere, in some phase
    size = a.abs().amax((1, 2)) - a.abs().amin((1, 2))
    torch.testing.assert_close(nmae(impulse, noise, key), 0.5 * 64 / size)


def test_bad_keys_are_refused() -> None:
    for size, radius, centre in ((SMALL, 8.1, (0, 0)), (SMALL, 8, (-1, 0)), (SMALL, 0.5, (0, 0)),
                                 (SMALL, math.nan, (0, 0)), ((4, 64), 3, (0, 0))):  # fmt: skip
        with pytest.raises(ValueError, match="does not fit a spectrum of"):
            TreeRing.rings([1.0], size, radius=radius, centre=centre)
    with pytest.raises(ValueError, match="at least one ring"):
        TreeRing.rings([], SMALL)
    with pytest.raises(ValueError, match="NaN or infinity"):
        TreeRing.rings([1.0, math.nan], SMALL, radius=4)
    mask = torch.ones(4, 4, dtype=torch.bool)
    pattern = torch.zeros(4, 4, dtype=torch.complex128)
    with pytest.raises(ValueError, match="at least one frequency"):
        TreeRing(pattern, ~mask)
    with pytest.raises(ValueError, match=r"must be complex128 \(4, 4\)"):
        TreeRing(pattern.real, mask)
    with pytest.raises(ValueError, match="must not be negative"):
        TreeRing(pattern, mask, -1)


def test_noise_that_does_not_fit_the_key_is_refused() -> None:
    key = TreeRing.rings([1.0], SMALL, channel=3)
    bad = randn(2, 4, *SMALL)
    bad[1, 0, 0, 0] = torch.nan
    for method in (key.embed, key.detect, key.written):
        for shape in ((4, *SMALL), (2, 4, 16, 15), (2, 3, *SMALL)):
            with pytest.raises(ValueError, match=r"for channel 3 of noise \[B, C, 16, 16\]"):
                method(randn(*shape))
        with pytest.raises(ValueError, match="floating-point"):
            method(torch.zeros(2, 4, *SMALL, dtype=torch.long))
    bad[1, 3, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="noise contains NaN"):
        key.detect(bad)
    for variance in (0.0, -1.0, math.nan, torch.tensor([1.0, math.inf])):
        with pytest.raises(ValueError, match="positive and finite"):
            key.detect(randn(2, 4, *SMALL), variance=variance)
    with pytest.raises(ValueError, match="one for each of 2 noises"):
        key.detect(randn(2, 4, *SMALL), variance=torch.ones(3))
    with pytest.raises(ValueError, match="too large; check the variance"):
        key.detect(randn(2, 4, *SMALL), variance=1e-9)
    with pytest.raises(ValueError, match="shapes differ"):
        nmae(randn(1, 4, *SMALL), randn(2, 4, *SMALL), key)


def test_keys_that_cannot_be_told_apart_are_refused() -> None:
    noise, (first, *others) = randn(1, 4, *SMALL), released_keys(SMALL)
    with pytest.raises(ValueError, match="two or more, got 1"):
        classify(noise, [first])
    with pytest.raises(ValueError, match="keys 1 and 3 are equal"):
        classify(noise, [first, *others, others[0]])
    with pytest.raises(ValueError, match="key 1 is on other frequencies"):
        classify(noise, [first, released_keys(SMALL, radius=3)[1]])
    with pytest.raises(ValueError, match="key 1 is on other frequencies"):
        classify(noise, [first, dataclasses.replace(others[0], channel=1)])
    small = [TreeRing.rings(v, SMALL) for v in ([1, 2, 3, 4, 5, 6], [1, 7, 7, 4, 5, 6])]
    with pytest.raises(ValueError, match="equal at this size"):  # they differ in empty rings
        separation(small)
    for truth, index in (([0, 1], [0, 3]), ([0, 1], [0, -1])):
        with pytest.raises(ValueError, match="from 0 to 2"):
            confusion(torch.tensor(truth), torch.tensor(index), 3)
    with pytest.raises(ValueError, match="shapes differ"):
        confusion(torch.tensor([0]), torch.tensor([0, 1]), 3)


# Gaussian Shading


def coins(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 8),
    st.binary(max_size=20),
    st.data(),
)
def test_a_payload_comes_back_from_exact_noise(
    shape: tuple[int, int, int], depth: int, key: bytes, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, depth * math.prod(shape)))
    mark = GaussianShading(shape, length, key, depth)
    payload = torch.tensor(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    noise = mark.embed(randn(2, *shape, seed=length), payload)
    assert noise.dtype == torch.float64 and noise.isfinite().all()
    found = mark.recover(noise)
    assert torch.equal(found.bits, payload.expand(2, -1))
    assert torch.equal(found.votes, 2.0 * payload.double().expand(2, -1) - 1)
    assert torch.equal(mark.recover(noise.float()).bits, found.bits) or depth > 6


@given(st.binary(max_size=40))
def test_bytes_are_bits(data: bytes) -> None:
    assert bytes_of(bits_of(data)) == data and len(bits_of(data)) == 8 * len(data)


def test_not_even_the_ends_of_the_cells_lose_a_bit() -> None:
    ends = torch.tensor([-40.0, -9, -5, -1e-12, 0, 1e-12, 5, 9, 40]).double().view(1, 1, 1, 9)
    for depth in (1, 2, 8):
        mark = GaussianShading((1, 1, 9), 9 * depth, b"key", depth)
        for seed in range(20):
            payload = coins(9 * depth, seed=seed)
            noise = mark.embed(ends, payload)
            assert noise.isfinite().all() and mark.recover(noise).bits[0].equal(payload)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_noise_with_a_random_payload_is_standard_normal(depth: int) -> None:
    mark = GaussianShading((4, 8, 8), 32, b"key", depth)
    noise = mark.embed(randn(200, 4, 8, 8, seed=1), coins(200, 32, seed=2))
    assert ks_p(noise, "norm") > 0.05
    full = GaussianShading((4, 8, 8), 256 * depth, b"key", depth)  # no repetition: independent
    noise = full.embed(randn(200, 4, 8, 8, seed=1), coins(200, 256 * depth, seed=2)).flatten(1)
    assert ks_p(noise, "norm") > 0.05
    assert ks_p((noise[:, ::2] + noise[:, 1::2]) / 2**0.5, "norm") > 0.05
    score = noise.square().sum(1)
    assert float(stats.kstest(score.numpy(), "chi2", args=(256,)).pvalue) > 0.05


def test_the_key_hides_the_repetitions() -> None:
    r"""With a known key the copies of a bit correlate by :math:`\pm 2/\pi`; over keys by 0."""
    known = GaussianShading((1, 4, 4), 4, b"key")
    noise = known.embed(randn(2000, 1, 4, 4, seed=1), coins(2000, 4, seed=2)).flatten(1)
    copies = (noise[:, 0] * noise[:, 4]).mean().abs().item()
    assert abs(copies - 2 / math.pi) < 0.08
    assert abs((noise[:, 0] * noise[:, 1]).mean().item()) < 0.08  # other bits
    payload = coins(4)
    every = [dataclasses.replace(known, key=bytes([i % 256, i // 256])) for i in range(1000)]
    noise = torch.cat([mark.embed(randn(1, 1, 4, 4, seed=i), payload)
                       for i, mark in enumerate(every)]).flatten(1)  # fmt: skip
    assert ks_p(noise, "norm") > 0.05
    off = noise.T @ noise / 1000 - torch.eye(16)
    assert off.abs().max() < 0.2 and off.square().mean() ** 0.5 < 0.045  # 1 / sqrt(1000) = 0.032


def test_one_key_and_one_payload_for_two_images_show() -> None:
    mark, payload = GaussianShading((4, 16, 16), 64, b"key"), coins(64)
    a, b = mark.embed(randn(2, 4, 16, 16), payload).flatten(1)
    assert torch.equal(a > 0, b > 0)
    assert abs((a * b).mean().item() - 2 / math.pi) < 0.08
    other = (
        dataclasses.replace(mark, key=b"another")
        .embed(randn(1, 4, 16, 16, seed=5), payload)
        .flatten()
    )
    assert abs((a * other).mean().item()) < 0.1


@pytest.mark.parametrize("repetitions", [1, 3, 4, 16])
def test_bits_are_lost_as_the_formula_says(repetitions: int) -> None:
    mark = GaussianShading((1, 32, 32), 1024 // repetitions, b"key")
    assert mark.repetitions == repetitions
    payload = coins(40, mark.bits, seed=3)
    noise, count = mark.embed(randn(40, 1, 32, 32), payload), 40 * mark.bits
    for error in (0.0, 0.03, 0.3, 1.0, 10.0):
        recovered = with_error(noise, error)
        torch.testing.assert_close(nmse(recovered, noise).mean().item(), error, rtol=0.02, atol=0)
        rate = share(mark.recover(recovered).bits != payload)
        wanted = bit_error(torch.tensor(error), repetitions).item()
        # 1/3 of 1024 is not whole: one bit has a vote more
        assert abs(rate - wanted) < 4 * math.sqrt(wanted / count) + 1e-3
        assert error or rate == wanted == 0


@given(st.floats(0, 100), st.integers(1, 60))
@settings(max_examples=50)
def test_the_formula_itself(error: float, repetitions: int) -> None:
    nu = torch.tensor(error, dtype=torch.float64)
    q = math.acos(1 / math.sqrt(1 + error)) / math.pi  # from the correlation of z and z + e
    assert math.isclose(bit_error(nu, 1).item(), q, rel_tol=1e-6, abs_tol=1e-8)
    law = stats.binom(repetitions, bit_error(nu, 1).item())
    wanted = law.sf(repetitions // 2) + (repetitions % 2 == 0) * law.pmf(repetitions // 2) / 2
    assert math.isclose(bit_error(nu, repetitions).item(), wanted, rel_tol=1e-7, abs_tol=1e-13)
    assert bit_error(nu, repetitions + 2) <= bit_error(nu, repetitions) + 1e-12
    assert bit_error(nu, repetitions) <= bit_error(2 * nu, repetitions) + 1e-12


def test_capacity_against_safety() -> None:
    """Longer payloads have fewer votes; deeper cells hold more, in bits that are lost sooner."""
    shape, recovered = (4, 16, 16), {}
    for bits, depth in ((32, 1), (256, 1), (1024, 1), (1024, 2), (2048, 2)):
        mark = GaussianShading(shape, bits, b"key", depth)
        payload = coins(20, bits)
        noise = with_error(mark.embed(randn(20, *shape), payload), 0.5)
        recovered[bits, depth] = mark.detect(noise, payload).accuracy.mean().item()
    assert 1 == recovered[32, 1] > recovered[256, 1] > recovered[1024, 1] > 0.75
    assert recovered[1024, 1] > recovered[2048, 2]
    deep = GaussianShading(shape, 2048, b"key", 2)
    payload = coins(20, 2048)
    found = deep.recover(with_error(deep.embed(randn(20, *shape), payload), 0.1)).bits == payload
    sign, fine = share(found[:, :1024]), share(found[:, 1024:])
    assert abs(sign - (1 - math.atan(math.sqrt(0.1)) / math.pi)) < 0.01 and fine < sign - 0.05


def test_a_payload_is_detected_by_the_binomial_tail() -> None:
    mark, payload = GaussianShading((4, 16, 16), 128, b"key"), coins(128)
    stranger = randn(1000, 4, 16, 16)
    found = mark.detect(stranger, payload)
    matches = (128 * found.accuracy).round().numpy()
    wanted = stats.binom.sf(matches - 1, 128, 0.5)
    np.testing.assert_allclose(found.p_value.numpy(), wanted, rtol=1e-9)
    assert share(found.p_value <= 0.01) < 0.02 and abs(found.accuracy.mean().item() - 0.5) < 0.01
    true = mark.detect(mark.embed(stranger[:5], payload), payload)
    assert true.accuracy.tolist() == [1] * 5
    assert (true.log10_p + 128 * math.log10(2)).abs().max() < 1e-9
    wrong = dataclasses.replace(mark, key=b"another")
    assert wrong.detect(mark.embed(stranger, payload), payload).log10_p.min() > -6
    each = coins(1000, 128, seed=4)
    assert share(mark.detect(mark.embed(stranger, each), each).accuracy == 1) == 1


@pytest.mark.parametrize(("bits", "depth"), [(128, 1), (64, 1), (192, 3)])
def test_tied_votes_favour_neither_zeros_nor_ones(bits: int, depth: int) -> None:
    """A noise and its negative hold opposite bits, and false alarms are as rare as p says."""
    mark = GaussianShading((4, 8, 8), bits, b"key", depth)
    noise = randn(400, 4, 8, 8, seed=5)
    read, turned = mark.recover(noise), mark.recover(-noise)
    assert (read.votes == 0).any()
    assert torch.equal(read.bits, ~turned.bits)
    for payload in (torch.zeros(bits), torch.ones(bits)):
        p = mark.detect(noise, payload).p_value
        for level in (0.01, 0.1):
            assert share(p <= level) <= level + 3 * math.sqrt(level / len(noise))


def test_the_first_copy_of_a_bit_decides_a_tie() -> None:
    mark = GaussianShading((1, 2, 4), 4, b"key")
    payload = torch.tensor([0, 1, 1, 0])
    noise = mark.embed(randn(1, 1, 2, 4), payload)
    noise[..., 1, :] *= -1  # the second copies
    read = mark.recover(noise)
    assert not read.votes.any()
    assert torch.equal(read.bits[0], payload.bool())


def test_bad_payloads_are_refused() -> None:
    shape = (4, 16, 16)
    with pytest.raises(ValueError, match="1025 bits does not fit: .* 1 to 1024 bits at depth 1"):
        GaussianShading(shape, 1025, b"")
    assert GaussianShading(shape, 2048, b"", 2).repetitions == 1
    for bits, depth in ((0, 1), (2049, 2)):
        with pytest.raises(ValueError, match="does not fit"):
            GaussianShading(shape, bits, b"", depth)
    for depth in (0, 9):
        with pytest.raises(ValueError, match="depth must be from 1 to 8"):
            GaussianShading(shape, 8, b"", depth)
    with pytest.raises(ValueError, match="shape must be"):
        GaussianShading((16, 16), 8, b"")  # type: ignore[arg-type]
    mark, noise = GaussianShading(shape, 8, b""), randn(2, *shape)
    for payload in (coins(7), coins(3, 8), coins(2, 1, 8)):
        with pytest.raises(ValueError, match=r"must be \[8\] or \[2, 8\]"):
            mark.embed(noise, payload)
    for bad in (2.0, -1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match="zeros and ones"):
            mark.embed(noise, torch.full((8,), bad))
    for method in (mark.recover, lambda x: mark.embed(x, coins(8))):
        with pytest.raises(ValueError, match=r"must be \[B, \*\(4, 16, 16\)\]"):
            method(randn(2, 4, 16, 15))
        with pytest.raises(ValueError, match="NaN or infinity"):
            method(noise / 0)
    with pytest.raises(ValueError, match=r"\[8 n\]"):
        bytes_of(coins(9))
    for error, votes in ((-1.0, 3), (math.nan, 3), (1.0, 0)):
        with pytest.raises(ValueError, match="nmse >= 0 and repetitions >= 1"):
            bit_error(torch.tensor(error), votes)


# Attacks


def pictures(count: int = 2, channels: int = 3, size: tuple[int, int] = (24, 32)) -> Tensor:
    """Smooth pictures with a little grain."""
    coarse = torch.nn.functional.interpolate(randn(count, channels, 4, 4), size, mode="bicubic")
    fine = randn(count, channels, *size, seed=1)
    return (128 + 50 * coarse + 4 * fine).round().clamp(0, 255).to(torch.uint8)


def change(images: Tensor, attack: Callable[[Tensor], Tensor]) -> float:
    return (attack(images).double() - images.double()).square().mean().item()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("channels", [1, 3])
def test_attacks_keep_shape_and_type_and_leave_their_input_alone(name: str, channels: int) -> None:
    images, attack = pictures(3, channels), ATTACKS[name]
    changed = attack(images)
    assert changed.dtype == torch.uint8 and changed.shape == images.shape
    assert changed.is_contiguous() and torch.equal(images, pictures(3, channels))
    assert torch.equal(attack(images), changed)
    assert torch.equal(changed, images) == (name == "none")
    if not name.startswith("noise"):
        assert torch.equal(attack(images[1:2]), changed[1:2])
    assert attack(images[:0]).shape == (0, channels, 24, 32)


def test_jpeg_is_a_jpeg_and_less_quality_is_less() -> None:
    images = pictures()
    file = io.BytesIO()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=60)
    wanted = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(jpeg(images, quality=60)[0], wanted)
    errors = [change(images, lambda x, q=q: jpeg(x, quality=q)) for q in (95, 75, 50, 10)]
    assert errors == sorted(errors) and 0 < errors[0] < errors[-1]


def test_blur_removes_what_is_fine_and_keeps_the_mean() -> None:
    flat = torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(blur(flat, radius=2.0), flat)
    images = pictures()
    assert torch.equal(blur(images, radius=0.0), images)
    rough = []
    for radius in (0.0, 0.5, 1.0, 2.0):
        blurred = blur(images, radius=radius).double()
        rough.append(blurred.diff(dim=3).square().mean().item())
        assert (blurred.mean() - images.double().mean()).abs() < 1
    assert rough == sorted(rough, reverse=True) and rough[-1] < rough[0] / 2


def test_crop_enlarges_the_middle() -> None:
    images = pictures()
    assert torch.equal(crop(images, side=1.0), images)
    ramp = (4 * torch.arange(64)).to(torch.uint8).expand(1, 1, 64, 64).contiguous()
    middle = crop(ramp, side=0.5)[0, 0, 32, 8:-8].double()
    wanted = 4 * (16 + (torch.arange(64) + 0.5) / 2 - 0.5)[8:-8].double()
    assert (middle - wanted).abs().max() <= 1
    upright = crop(ramp.mT.contiguous(), side=0.5)
    assert torch.equal(upright, crop(ramp, side=0.5).mT)


def test_blacken_keeps_the_middle_bit_by_bit() -> None:
    images = pictures().clamp(min=1)
    result = blacken(images, side=0.5)
    assert torch.equal(result[..., 6:18, 8:24], images[..., 6:18, 8:24])
    assert share(result > 0) == 0.25 and torch.equal(blacken(images, side=1.0), images)


def test_noise_has_its_standard_deviation_and_its_seed() -> None:
    gray = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    noisy = add_noise(gray, std=0.05, seed=1)
    error = (noisy.double() - 128) / 255
    assert abs(error.std().item() - 0.05) < 1e-3 and abs(error.mean().item()) < 1e-3
    assert not torch.equal(noisy, add_noise(gray, std=0.05, seed=2))
    assert torch.equal(add_noise(gray, std=0.0), gray)
    assert not torch.equal(noisy[0], noisy[1])


def test_brightness_multiplies() -> None:
    images = pictures()
    assert torch.equal(brightness(images, factor=1.0), images)
    assert not brightness(images, factor=0.0).any()
    for factor in (0.5, 1.25, 6.0):
        wanted = (images.double() * factor).clamp(max=255)
        assert (brightness(images, factor=factor).double() - wanted).abs().max() <= 1


def test_what_no_attack_can_read_is_refused() -> None:
    images = pictures()
    attacks: list[Callable[[Tensor], Tensor]] = [a for n, a in ATTACKS.items() if n != "none"]
    for attack in attacks:
        for bad in (images[0], images.double() / 255, images[:, :2]):
            with pytest.raises(ValueError, match=r"must be uint8 \[B, C, H, W\] with C = 1 or 3"):
                attack(bad)
    for function, option, values in (
        (jpeg, "quality", (0, 96)),
        (blur, "radius", (-1.0, math.nan)),
        (crop, "side", (0.0, 1.1)),
        (blacken, "side", (0.0, 1.1)),
        (add_noise, "std", (-0.1, math.nan)),
        (brightness, "factor", (-0.1, math.inf)),
    ):
        for value in values:
            with pytest.raises(ValueError, match=f"{option} must be from"):
                function(images, **{option: value})  # type: ignore[operator]
