"""The noises of many seeds are PyTorch's own, and a wrong seed scores by the normal law."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, LTXPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invlib.seeds import CPU, GENERATORS, cuda, find_seed, mersenne, philox
from invlib.seeds.search import AT_ONCE, SAFE, _Draw

SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5)
DTYPES = st.sampled_from(list(mersenne.LIKE))


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mixed(noise: Tensor, rho: float, seed: int = 99_999_999) -> Tensor:
    return rho * noise + math.sqrt(1 - rho**2) * drawn(seed, *noise.shape)


# --- the generators


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(0, 90), st.integers(1, 50), DTYPES)
def test_values_are_those_of_randn_to_the_last_bit(
    seeds: list[int], start: int, count: int, dtype: torch.dtype
) -> None:
    array = np.array(seeds, np.uint64)
    values = mersenne.normals(array, 16 * start, 16 * count, dtype)
    whole = torch.stack([drawn(s, 16 * (start + count), dtype=dtype) for s in seeds])
    assert torch.equal(values, whole[:, 16 * start :])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_words_are_those_of_the_mersenne_twister(seed: int) -> None:
    """Against NumPy's own, which tempers them."""
    found = mersenne.words(np.array([seed], np.uint64), 0, 700)[:, 0]
    y = found.astype(np.uint64)
    for shift, mask in ((-11, 0xFFFFFFFF), (7, 0x9D2C5680), (15, 0xEFC60000), (-18, 0xFFFFFFFF)):
        moved = y >> np.uint64(-shift) if shift < 0 else y << np.uint64(shift)
        y ^= moved & np.uint64(mask)
    expected = np.random.RandomState(seed).randint(0, 2**32, 700, dtype=np.uint64)
    assert (y == expected).all()


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_vectors(
    counter: list[int], key: list[int], expected: list[int]
) -> None:
    """The three lines ``philox4x32 10`` of Random123's known answers."""
    words = philox.philox(*(np.array(v, np.uint32)[:, None] for v in (counter, key)))
    assert words[:, 0].tolist() == expected


def test_the_noise_of_a_cuda_device_is_as_published() -> None:
    """What PyTorch's users have printed of ``torch.randn(12, device="cuda")`` for seed 0."""
    expected = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564]
    expected += [-0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497]
    found = GENERATORS["torch-cuda"].whole(0, (12,), torch.float32)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)


@pytest.mark.parametrize("threads", [None, 512, 700, 100_000])
def test_elements_of_a_long_draw_lie_as_a_kernel_of_so_many_threads_writes_them(
    threads: int | None,
) -> None:
    """Against loops over threads as in the kernel, four values a turn."""
    numel, seed = 3000, np.array([2**40 + 7], np.uint64)
    most = math.inf if threads is None else threads // 256
    grid = 256 * int(min(-(-numel // 256), most))
    expected = torch.full((numel,), torch.nan)
    for thread in range(grid):
        for turn, start in enumerate(range(thread, numel, 4 * grid)):
            counter = np.array([[turn], [0], [thread], [0]], np.uint32)
            w = philox.philox(counter, np.array([[7], [2**8]], np.uint32))[:, 0].tolist()
            pairs = [((w[j] + 0.5) / 2**32, 2 * math.pi * (w[j + 1] + 0.5) / 2**32) for j in (0, 2)]
            four = [
                math.sqrt(-2 * math.log(u)) * wave(v)
                for u, v in pairs
                for wave in (math.sin, math.cos)
            ]
            for i, place in enumerate(range(start, min(numel, start + 4 * grid), grid)):
                expected[place] = four[i]
    found = philox.normals(seed, 0, numel, numel=numel, threads=threads)[0]
    assert torch.allclose(found, expected, atol=3e-4)
    assert torch.equal(
        philox.normals(seed, 900, 64, numel=numel, threads=threads)[0], found[900:964]
    )


# --- the search


def test_the_seeds_of_several_noises_are_found() -> None:
    seeds = [3, AT_ONCE, 2 * AT_ONCE + 5]
    noise = torch.stack([drawn(s, 4, 8, 8) for s in seeds])
    found = find_seed(3 * noise, range(3 * AT_ONCE), correlation=1)
    assert found.seed == tuple(seeds) and found.tried == 3 * AT_ONCE
    assert torch.allclose(found.correlation, torch.ones(3, dtype=torch.float64))
    assert "Seed 16384 of the 49152" in found.sentence(1) and "normal law" in found.sentence(1)


@pytest.mark.parametrize("generator", ["torch-cpu", "torch-cuda"])
@pytest.mark.parametrize("rho", [0.9, 0.5, 0.3])
def test_a_noise_with_errors_is_found_down_to_the_correlation_asked_for(
    generator: str, rho: float
) -> None:
    whole = GENERATORS[generator].whole
    noise = torch.stack(
        [mixed(whole(s, (4, 16, 16), torch.float32), rho) for s in range(0, 900, 90)]
    )
    found = find_seed(noise, range(1000), generator=generator, correlation=rho)
    assert found.seed == tuple(range(0, 900, 90))
    assert (found.correlation - rho).abs().max() < 0.1


def test_fewer_values_are_drawn_of_better_noises() -> None:
    noise = drawn(1, 1, 4, 16, 16)
    values = [find_seed(noise, range(10), correlation=rho).values for rho in (1, 0.7, 0.4)]
    assert values == sorted(values) and values[0] < values[-1] < noise.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_the_dtype_of_the_draw_matters(dtype: torch.dtype) -> None:
    noise = drawn(31, 1, 4, 8, 8, dtype=dtype).float()
    assert find_seed(noise, range(100), dtype=dtype).seed == (31,)
    assert find_seed(noise, range(100)).seed != (31,) or dtype is not torch.float64


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (3, 1, 9, 9)])
def test_the_place_in_a_batch_is_found(shape: tuple[int, ...]) -> None:
    """Also where noises do not begin with a block of 16."""
    noise = drawn(17, *shape)
    found = find_seed(noise[1:], range(40), shape=shape)
    assert found.seed == (17, 17) and found.position == (1, 2)
    assert "as picture 2 of its draw" in found.sentence()


@pytest.mark.parametrize("correlation", [1.0, 0.999])
def test_exact_noises_are_found_wherever_the_blocks_of_the_generator_begin(
    correlation: float,
) -> None:
    """What is drawn of a noise begins elsewhere at each place, and so do its own values."""
    for shape in ((2, 4, 65, 65), (3, 3, 17, 17)):
        for seed in range(6):
            noise = drawn(seed, *shape)
            found = find_seed(noise, range(12), shape=shape, correlation=correlation)
            assert found.seed == (seed,) * len(noise)
            assert found.position == tuple(range(len(noise)))


def test_the_threshold_is_that_of_the_values_that_are_compared() -> None:
    noise = drawn(3, 2, 1001).double() * torch.linspace(1, 2, 1001).double()
    draw = _Draw(CPU, (2, 1001), torch.float32, noise)
    plan = draw.plan(1.0)
    scale = noise.square().mean(1).sqrt() / (1 - SAFE / math.sqrt(2 * 1001))
    for place in range(2):
        begin = draw.skipped(place)
        part = noise[:, begin : begin + plan.values].norm(dim=1)
        assert torch.allclose(plan.threshold[place], part / scale, atol=2e-3)
    assert draw.skipped(0) != draw.skipped(1)


@pytest.mark.parametrize("size", [1, 2])
def test_packed_noise_is_unpacked_or_cannot_be_told(size: int) -> None:
    """There was said to be no seed for tokens of Flux, which are drawn before they are packed."""
    noise = drawn(7, 3, 16, 8, 12)
    tokens = noise.flatten(2).mT  # of Flux 2
    if size == 2:
        tokens = FluxPipeline._pack_latents(noise, 3, 16, 8, 12)
    found = find_seed(tokens, range(40))
    assert found.seed == (None,) * 3 and "cannot be told" in found.sentence()
    assert "shape=(N, C, H, W)" in found.sentence()
    found = find_seed(tokens, range(40), shape=(3, 16, 8, 12))
    assert found.seed == (7,) * 3 and found.position == (0, 1, 2)
    with pytest.raises(ValueError, match="are no tokens of a draw of shape"):
        find_seed(tokens, range(40), shape=(3, 16, 9, 12))


def test_packed_clips_are_unpacked() -> None:
    noise = drawn(7, 1, 8, 3, 4, 6)
    tokens = LTXPipeline._pack_latents(noise, 2, 1)
    assert find_seed(tokens, range(40), shape=(1, 8, 3, 4, 6)).seed == (7,)


def test_noise_of_three_axes_may_be_as_it_was_drawn() -> None:
    sound = drawn(7, 1, 8, 40)
    assert find_seed(sound, range(40)).seed == (7,)
    assert "No seed" in find_seed(sound, range(5), shape=(1, 8, 40)).sentence()


def test_seeds_that_differ_by_32_bits_are_one_on_a_cpu_and_not_on_a_device() -> None:
    far = 2**32 + 5
    assert find_seed(drawn(far, 1, 4, 8, 8), range(10)).seed == (5,)
    assert find_seed(drawn(-1, 1, 4, 8, 8), [-1, 3]).seed == (-1,)
    device = GENERATORS["torch-cuda"].whole(far, (1, 4, 8, 8), torch.float32)
    assert find_seed(device, range(10), generator="torch-cuda").seed == (None,)
    assert find_seed(device, [far], generator=cuda(10_000)).seed == (far,)


def test_wrong_seeds_score_by_the_normal_law() -> None:
    """However far the noise is from being normal."""
    noise = torch.linspace(0, 1, 256).square()[None]
    draw = _Draw(CPU, (256,), torch.float32, noise.double())
    scores = torch.cat([draw.scores(seed, 0) for seed in range(20_000)])
    for least in (0.0, 1.0, 2.0, 3.0):
        expected = 20_000 * torch.special.ndtr(torch.tensor(-least)).item()
        assert abs((scores > least).sum().item() - expected) < 4 * math.sqrt(expected)
    found = find_seed(noise, range(20_000))
    assert found.seed == (None,) and found.chance > 1e-3
    assert "No seed of the 20000" in found.sentence()


def test_the_first_look_passes_as_many_wrong_seeds_as_planned() -> None:
    noise = mixed(drawn(-5, 1, 1024), 0.6)
    found = find_seed(noise, range(50_000), correlation=0.6)
    draw = _Draw(CPU, (1024,), torch.float32, noise.double())
    expected = 50_000 * torch.special.ndtr(-draw.plan(0.6).threshold).item()
    assert abs(found.finalists - expected) < 4 * math.sqrt(expected) + 1
    assert SAFE >= 3


@pytest.mark.parametrize("threads", [255, 1, 0, -512])
def test_a_device_has_a_block_of_threads_at_least(threads: int) -> None:
    with pytest.raises(ValueError, match=f"256 threads at least, not {threads}: give the number"):
        cuda(threads)


def test_a_device_of_some_threads_is_called_what_it_is() -> None:
    found = find_seed(drawn(1, 1, 64), range(5), generator=cuda(512))
    assert "with torch-cuda of 512 threads" in found.sentence()
    assert find_seed(drawn(1, 1, 64), range(5)).generator == "torch-cpu"
    assert all(kind.name == name for name, kind in GENERATORS.items())


def test_time_ends_the_search() -> None:
    found = find_seed(drawn(-5, 1, 64), range(10**9), seconds=1e-6)
    assert found.tried == AT_ONCE and found.seed == (None,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"generator": "mt"}, "unknown generator: use one of torch-cpu"),
        ({"dtype": torch.int64}, "draws in float32"),
        ({"seeds": []}, "no seeds"),
        ({"shape": (5, 5)}, "does not consist of noises"),
        ({"noise": torch.zeros(1, 64)}, "or is zero"),
        ({"noise": torch.ones(64)}, r"noises are \[B, ...\]"),
        ({"noise": torch.ones(1, 8)}, "32 and more"),
        ({"correlation": 0.0}, "between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    call = {"noise": torch.ones(1, 64), "seeds": range(3)} | given
    with pytest.raises(ValueError, match=message):
        find_seed(**call)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "seeds",
    [
        np.arange(9),
        np.arange(9, dtype=np.uint64),
        torch.arange(9),
        torch.arange(9, dtype=torch.int32),
        [*np.arange(9)],
        (3, torch.tensor(7)),
    ],
)
def test_seeds_are_integers_of_any_library(seeds: object) -> None:
    found = find_seed(drawn(7, 1, 64), seeds)  # type: ignore[arg-type]
    assert found.seed == (7,) and type(found.seed[0]) is int


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": {1, 2}}, "seeds: a range or a list of integers, not a set"),
        ({"seeds": 5}, "seeds: a range or a list of integers, not a int"),
        ({"seeds": "12"}, "seeds: a range or a list of integers, not a str"),
        ({"seeds": np.array(5)}, "seeds: a range or a list of integers, not a ndarray"),
        ({"seeds": [1.5]}, "seeds: a range or a list of integers"),
        ({"seeds": np.array([1.5])}, "seeds: a range or a list of integers"),
        ({"noise": np.ones((1, 64))}, "noise: give result.latents, a tensor, not a ndarray"),
        ({"noise": object()}, "noise: give result.latents"),
    ],
)
def test_what_is_no_noise_or_no_list_of_seeds_is_refused(
    given: dict[str, object], message: str
) -> None:
    call = {"noise": torch.ones(1, 64), "seeds": range(3)} | given
    with pytest.raises(TypeError, match=message):
        find_seed(**call)  # type: ignore[arg-type]


def test_the_chance_of_a_high_score_is_not_zero_and_is_that_of_the_sentence() -> None:
    """Of all places of a draw, too: each of them is one more that might score as much."""
    noise = mixed(drawn(17, 2, 4, 8, 8), 0.7)[1:]
    found = find_seed(noise, range(40), shape=(2, 4, 8, 8))
    assert found.score > 9 and 0 < found.chance < 1e-6
    [power] = re.findall(r"probability 1e(-\d+)", found.sentence())
    assert int(power) == math.floor(math.log10(found.chance.item()))
    log_tail = torch.special.log_ndtr(-found.score)
    assert found.chance.log().item() == pytest.approx(math.log(2 * 40) + log_tail.item())
