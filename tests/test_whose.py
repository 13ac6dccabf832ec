"""Whose key: the posterior is Bayes' where errors are known, and honest where it cannot tell."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import MultivariateNormal

from invlib.watermark import (
    ErrorModel,
    GaussianShading,
    Identification,
    ShadingKey,
    TreeRing,
    figure4_keys,
    released_keys,
    ring_keys,
    separation,
    spectrum,
    whose,
)
from invlib.watermark.error_model import KIND, joined
from invlib.watermark.posterior import named_keys
from invlib.watermark.ratios import CellGroup, Group, _cell_ratios, group
from invlib.watermark.saddlepoint import deviate_of_table
from invlib.watermark.transfer import Belief, fit_transfer, plane

SHAPE = (2, 8, 8)
SIZE = SHAPE[1:]


def normal(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def spoilt(noise: Tensor, *, gain: float, std: float, seed: int) -> Tensor:
    """A noise as it comes back: weakened, and with a white error."""
    return gain * noise + std * normal(*noise.shape, seed=seed)


def measured(*, gain: float, std: float, count: int = 64) -> ErrorModel:
    noise = normal(count, *SHAPE, seed=1)
    return ErrorModel(noise, {"none": spoilt(noise, gain=gain, std=std, seed=2)})


def random_keys(count: int, *, radius: float = 3.0) -> list[TreeRing]:
    return [TreeRing.random(SIZE, seed=j, radius=radius) for j in range(count)]


def shading_keys(count: int, *, depth: int = 1) -> list[ShadingKey]:
    payload = torch.arange(16) % 3 == 0
    codes = [GaussianShading((1, *SIZE), 16, bytes([j]), depth) for j in range(count)]
    return [ShadingKey(code, payload, 1) for code in codes]


def one(keys: list) -> Group:
    (found,) = group(keys, SHAPE)
    return found


def marked(noise: Tensor, keys: list, truth: Tensor) -> Tensor:
    """Each noise with the key that its row says; 0 is none."""
    return torch.cat(
        [keys[k - 1].embed(x[None]) if k else x[None] for x, k in zip(noise, truth, strict=True)]
    )


def uniform_gap(p: Tensor) -> float:
    """Kolmogorov-Smirnov distance from the uniform law, times sqrt(n); 1.95 in one of 1000."""
    n = len(p)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    p = p.sort().values
    return math.sqrt(n) * max((steps[1:] - p).max().item(), (p - steps[:-1]).max().item())


# --- the measurement


def test_gain_and_error_are_measured_and_channels_that_mix_too() -> None:
    mix = torch.tensor([[0.6, 0.2], [-0.1, 0.4]], dtype=torch.float64)
    noise = normal(400, *SHAPE, seed=3)
    bias = plane(spectrum(normal(*SHAPE, seed=8)))
    seen = torch.einsum("cd,bdhw->bchw", mix, noise) + 0.5 * normal(400, *SHAPE, seed=4) + bias
    found = fit_transfer(noise, seen)
    assert (found.gain - mix).abs().max() < 0.12  # one frequency at ring 0: 1/20 is its error
    assert (found.error - 0.25 * torch.eye(2)).abs().max() < 0.08
    assert (plane(found.mean) - bias).square().mean() < 0.01
    belief = found.believe(seen, 1.0)
    error = (belief.mean - spectrum(noise)).abs().square().mean()
    assert abs(error / belief.variance.mean() - 1) < 0.05


def test_noise_of_which_nothing_is_left_is_believed_to_be_anything() -> None:
    noise = normal(64, *SHAPE, seed=3)
    belief = fit_transfer(noise, normal(64, *SHAPE, seed=4)).believe(noise, 1.0)
    assert belief.variance.mean() > 0.95


# --- likelihood ratios


def test_the_ratio_of_a_ring_key_is_that_of_two_normal_laws() -> None:
    gain, std, key = 0.7, 0.6, random_keys(1)[0]
    y = spoilt(normal(5, 1, *SIZE, seed=5), gain=gain, std=std, seed=6)
    eye = torch.eye(64, dtype=torch.float64)
    free = plane(torch.where(key.mask, 0, spectrum(eye.view(64, *SIZE)))).flatten(1)
    held = plane(key.pattern).flatten()
    with_key = MultivariateNormal(gain * held, gain**2 * free + std**2 * eye)
    without = MultivariateNormal(torch.zeros(64).double(), (gain**2 + std**2) * eye)
    expected = with_key.log_prob(y.flatten(1)) - without.log_prob(y.flatten(1))
    r = std**2 / (gain**2 + std**2)
    belief = Belief(
        gain / (gain**2 + std**2) * spectrum(y), torch.full((1, 1, *SIZE), r, dtype=torch.float64)
    )
    (rings,) = group([key], (1, *SIZE))
    assert torch.allclose(rings.log_ratios(belief)[:, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["rings", "cells", "deep cells"])
def test_the_mean_ratio_of_random_keys_is_one_however_wrong_the_belief(kind: str) -> None:
    belief = Belief(0.4 * spectrum(normal(1, *SHAPE, seed=7)), 0.8 * torch.ones(1, *SHAPE).double())
    if kind == "rings":
        keys = [TreeRing.random(SIZE, seed=j, radius=1) for j in range(3000)]
        ratios = one(keys).log_ratios(belief).exp()
    else:
        depth = 3 if kind == "deep cells" else 1
        draw = torch.Generator().manual_seed(1)
        some = torch.randint(2**depth, (3000, 64), generator=draw).to(torch.uint8)
        weak = Belief(0.05 * belief.mean, belief.variance)
        cells = CellGroup(torch.arange(3000), some, slice(0, 1), depth)
        ratios = cells.log_ratios(weak).exp()
    error = ratios.std() / math.sqrt(ratios.numel())
    assert error < 0.2
    assert abs(ratios.mean() - 1) < 4 * error


def test_an_unknown_payload_is_the_mean_over_all_payloads() -> None:
    code = GaussianShading((1, *SIZE), 4, b"k")
    belief = fit_transfer(n := normal(64, *SHAPE, seed=1), spoilt(n, gain=0.5, std=1, seed=2))
    seen = belief.believe(spoilt(normal(3, *SHAPE, seed=3), gain=0.5, std=1, seed=4), 1.0)
    every = [torch.tensor(bits) for bits in itertools.product([0, 1], repeat=4)]
    known = one([ShadingKey(code, bits, 1) for bits in every]).log_ratios(seen)
    unknown = one([ShadingKey(code, None, 1)]).log_ratios(seen)[:, 0]
    assert torch.allclose(unknown, torch.logsumexp(known, 1) - math.log(16), rtol=1e-9)


def test_streams_of_keys_are_drawn_once_and_their_bits_are_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They were drawn again for every belief; and keys of different lengths were not compared."""
    keys = [ShadingKey(GaussianShading((1, *SIZE), 8, bytes([j])), None, 1) for j in range(3)]
    belief = Belief(0.4 * spectrum(normal(2, *SHAPE, seed=7)), 0.8 * torch.ones(1, *SHAPE).double())
    table, expected = _cell_ratios(belief, slice(1, 2), 1), []
    for key in keys:
        cells, places = key.cells(torch.ones(8)).flatten(), torch.arange(64)
        votes = torch.stack([table[:, places, 1 - cells], table[:, places, cells]], -1)
        expected.append(torch.zeros(2, 8, 2).double().index_add_(1, places % 8, votes))
    stream, drawn = GaussianShading._stream, []
    monkeypatch.setattr(
        GaussianShading, "_stream", lambda c, n: drawn.append(c.key) or stream(c, n)
    )
    found = one(keys)
    assert torch.equal(found.bits(belief), torch.stack(expected))
    assert torch.equal(found.bits(belief), torch.stack(expected)) and len(drawn) == len(keys)
    longer = ShadingKey(GaussianShading((1, *SIZE), 16, b"k"), None, 1)
    assert len(group([*keys, longer], SHAPE)) == 2


def test_odds_of_many_keys_take_no_square_of_their_number() -> None:
    posterior = torch.tensor([[0.2, 1e-30, 0.8 - 1e-30], [1e-25, 1.0, 1e-20]]).double()
    found = Identification(posterior, posterior[:, 1:], posterior[:, 0], ("", ""), ("a", "b"))
    expected = [[1e-30, 0.8 / 0.2], [1 / (1e-25 + 1e-20), 1e-20]]
    assert torch.allclose(found.log_odds, torch.tensor(expected).double().log(), rtol=1e-6)
    many = torch.full((1, 100_001), 1e-5).double()
    many[0, 0] = 0
    huge = Identification(many, many[:, 1:], many[:, 0], ("",), ("a",) * 100_000)
    assert torch.allclose(huge.log_odds, torch.tensor(1e-5 / (1 - 1e-5)).double().log())


# --- p-values


def test_the_saddlepoint_finds_the_tail_of_a_binomial() -> None:
    table = torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(200, 2)
    ones = torch.tensor([90, 100, 120, 150, 180])
    found = torch.special.log_ndtr(
        -deviate_of_table(2.0 * ones - 200 - 1, table)
    ).exp()  # at the half: continuity
    j = torch.arange(201, dtype=torch.float64)
    choose = math.lgamma(201) - torch.lgamma(j + 1) - torch.lgamma(201 - j)
    exact = torch.stack([(choose[k:] - 200 * math.log(2)).exp().sum() for k in ones])
    off = (found / exact).log10().abs()
    assert off[:2].max() < 0.001  # in the middle
    assert off.max() < 0.1  # down to 1e-33


@pytest.mark.parametrize("kind", ["random", "far rings", "shading"])
def test_p_values_of_noise_without_a_key_are_uniform(kind: str) -> None:
    errors = measured(gain=0.5, std=0.8)
    made = {"random": random_keys(3), "far rings": ring_keys(3, SIZE, seed=1, radius=3)}
    keys = made.get(kind) or shading_keys(3)
    noise = spoilt(normal(800, *SHAPE, seed=11), gain=0.5, std=0.8, seed=12)
    result = whose({"none": noise}, keys, errors)
    assert uniform_gap(10**result.log10_p) < 2.2
    assert (result.index > 0).double().mean() < 0.2


@pytest.mark.parametrize("bits", [1, 4])
def test_p_values_of_keys_with_unknown_payloads_are_bounds(bits: int) -> None:
    noise, size = normal(96, 1, *SIZE, seed=1), (1, *SIZE)
    errors = ErrorModel(noise, {"none": spoilt(noise, gain=0.4, std=0.9, seed=2)})
    keys = [ShadingKey(GaussianShading(size, bits, bytes([j]))) for j in range(8)]
    y = spoilt(normal(1000, *size, seed=3), gain=0.4, std=0.9, seed=4)
    p = 10 ** whose({"none": y}, keys, errors).log10_p
    for level in (0.001, 0.01):
        assert (p <= level).double().mean() <= level + 3 * math.sqrt(level / len(y))


# --- the posterior


def decisions(
    errors: ErrorModel, keys: list, *, gain: float, stds: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Posteriors, and the truth, of which half is none."""
    count = len(stds)
    truth = torch.arange(count) % 2 * (1 + torch.arange(count) // 2 % len(keys))
    x = marked(normal(count, *SHAPE, seed=seed), keys, truth)
    y = gain * x + stds[:, None, None, None] * normal(count, *SHAPE, seed=seed + 1)
    return whose({"none": y}, keys, errors).posterior, truth


@pytest.mark.parametrize("kind", ["random", "shading"])
def test_probabilities_are_frequencies_where_errors_have_many_sizes(kind: str) -> None:
    keys = random_keys(3) if kind == "random" else shading_keys(3)
    draw = torch.Generator().manual_seed(5)
    stds = torch.tensor([0.5, 1.0, 2.0])[torch.randint(3, (800,), generator=draw)].double()
    noise = normal(96, *SHAPE, seed=1)
    seen = 0.5 * noise + stds[:96, None, None, None] * normal(96, *SHAPE, seed=2)
    errors = ErrorModel(noise, {"none": seen})
    posterior, truth = decisions(errors, keys, gain=0.5, stds=stds, seed=20)
    best, right = posterior.amax(1), (posterior.argmax(1) == truth).double()
    assert 0.4 < right.mean() < 0.99
    for part in best.argsort().split(200):
        slack = 0.05 + 2 * math.sqrt(best[part].mean() * (1 - best[part].mean()) / 200)
        assert abs(best[part].mean() - right[part].mean()) < slack


def test_nothing_left_means_cannot_tell() -> None:
    errors = measured(gain=0.0, std=1.0)
    result = whose({"none": normal(9, *SHAPE, seed=30)}, random_keys(3), errors, none=0.25)
    assert result.decision == ("cannot tell",) * 9
    assert (result.posterior - 0.25).abs().max() < 0.2


@pytest.mark.parametrize("sure", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_a_level_that_is_no_probability_is_refused(sure: float) -> None:
    errors = ErrorModel(normal(4, *SHAPE, seed=1), {"none": normal(4, *SHAPE, seed=2)})
    with pytest.raises(ValueError, match="sure must be a probability above 0 and below 1, got"):
        whose({"none": normal(1, *SHAPE, seed=3)}, random_keys(1), errors, sure=sure)


@pytest.mark.parametrize("name", ["A\u2028B", "A\nB", "A\r", "\n"])
def test_a_name_of_several_lines_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has a line break: rename it"):
        named_keys({name: random_keys(1)[0]})
    assert [*named_keys({"": random_keys(1)[0]})] == [""]


def test_a_negative_channel_is_refused() -> None:
    """Channels -2 and 2 of four are one place, and would count as two."""
    with pytest.raises(ValueError, match="must not be negative, got -2"):
        ShadingKey(GaussianShading((1, *SIZE), 8, b"k"), None, -2)


def test_a_mark_is_found_its_owner_named_and_the_sentence_says_so() -> None:
    errors = measured(gain=0.7, std=0.5)
    keys = dict(zip(("Ann", "Ben"), random_keys(2), strict=True))
    x = torch.cat([keys["Ben"].embed(normal(1, *SHAPE, seed=41)), normal(1, *SHAPE, seed=42)])
    result = whose({"none": spoilt(x, gain=0.7, std=0.5, seed=43)}, keys, errors)
    assert result.decision == ("Ben", "none")
    assert result.posterior.shape == (2, 3)
    assert torch.allclose(result.posterior.sum(1), torch.ones(2).double())
    assert str(result).startswith("picture 0: Ben (Ben ")
    assert "| Ben " in result.markdown()
    assert result.log_odds[0, 1] > 3 > 0 > result.log_odds[0, 0]
    assert (result.margin > 3).all()
    assert result.log10_p[0] < -4 < -2 < result.log10_p[1]


def test_keys_in_different_channels_are_both_named() -> None:
    """The posterior is one of a single key, so that each speaks against the other."""
    errors = measured(gain=0.9, std=0.3)
    keys = dict(zip(("Ann", "Ben", "Eve"), [*random_keys(2), *shading_keys(1)], strict=True))
    both = keys["Eve"].embed(keys["Ben"].embed(normal(1, *SHAPE, seed=41)))
    x = torch.cat([both, keys["Ben"].embed(normal(1, *SHAPE, seed=42)), normal(1, *SHAPE, seed=7)])
    found = whose({"none": spoilt(x, gain=0.9, std=0.3, seed=43)}, keys, errors)
    beside = {2: ("Eve",), 3: ("Ben",)}[int(found.index[0])]
    assert found.also == (beside, (), ()) and found.decision[1:] == ("Ben", "none")
    assert found.own_odds is not None
    assert (found.own_odds[0, 1:] > 10).all() and found.own_odds[0, 0] < 0
    first, *others = str(found).splitlines()
    assert f"in other channels also {beside[0]} (odds of 1e" in first
    assert not any("also" in line for line in others)


def test_the_likeliest_passage_is_named_and_its_error_used() -> None:
    noise = normal(64, *SHAPE, seed=1)
    views = {
        "weak": spoilt(noise, gain=0.9, std=0.3, seed=2),
        "strong": spoilt(noise, gain=0.3, std=2.0, seed=3),
    }
    errors = ErrorModel(noise, views)
    y = spoilt(normal(20, *SHAPE, seed=50), gain=0.3, std=2.0, seed=51)
    result = whose({"weak": y, "strong": y}, random_keys(2), errors)
    assert result.passage == ("strong",) * 20


def test_thousands_of_keys_take_seconds() -> None:
    keys = random_keys(5000)
    errors = measured(gain=0.9, std=0.2)
    truth = torch.tensor([4999])
    x = spoilt(marked(normal(1, *SHAPE, seed=60), keys, truth), gain=0.9, std=0.2, seed=61)
    began = time.process_time()
    result = whose({"none": x}, keys, errors)
    assert time.process_time() - began < 5
    assert result.index.tolist() == [4999]


def test_bits_of_an_unknown_payload_are_read_softly() -> None:
    errors = measured(gain=0.8, std=0.4)
    key = ShadingKey(GaussianShading((1, *SIZE), 8, b"k"), None, 1)
    bits = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    x = spoilt(key.embed(normal(1, *SHAPE, seed=70), bits), gain=0.8, std=0.4, seed=71)
    result = whose({"none": x}, [key], errors)
    assert result.payload is not None
    assert torch.equal(result.payload[0] > 0, bits.bool())
    assert result.decision == ("key 1",)


def test_bits_are_right_at_least_as_often_as_is_stated_where_errors_of_copies_agree() -> None:
    r"""Another payload of the key shines through, so that all copies of a bit err together.

    Then calibration pictures without the key seem to hold it, too: as often as those that do, and
    the power of ratios that tell nothing is 0. What is left of it, and of the bits' log-odds, which
    have the same power, is the mean :math:`\sum_b b\,e^{-L(b)} / \sum_b e^{-L(b)}` that so few
    pictures allow, so that little more than 1/2 may be stated.
    """
    size, count = (1, 16, 16), 200
    key = ShadingKey(GaussianShading(size, 16, b"k"))

    def bits_of(n: int, seed: int) -> Tensor:
        return torch.randint(2, (n, 16), generator=torch.Generator().manual_seed(seed))

    def holding(bits: Tensor, seed: int) -> Tensor:
        noise = normal(len(bits), *size, seed=seed)
        return torch.cat([key.embed(n[None], b) for n, b in zip(noise, bits, strict=True)])

    def seen(noise: Tensor, seed: int) -> Tensor:
        share = torch.linspace(0.5, 1.2, len(noise)).view(-1, 1, 1, 1)
        other = holding(bits_of(len(noise), seed), seed + 1)
        return noise + share * other + 0.3 * normal(*noise.shape, seed=seed + 2)

    known, truth = normal(48, *size, seed=1), bits_of(count, 3)
    errors = ErrorModel(known, {"none": seen(known, 10)})
    result = whose({"none": seen(holding(truth, 4), 20)}, [key], errors)
    assert result.payload is not None
    stated, right = result.payload.abs().sigmoid(), (result.payload > 0) == truth.bool()
    share = right.double().mean().item()
    assert 0.55 < stated.mean().item() < share + 2 * (share * (1 - share) / right.numel()) ** 0.5


@pytest.mark.parametrize("depth", [1, 2])
def test_cells_of_a_key_are_those_that_it_writes(depth: int) -> None:
    key = shading_keys(1, depth=depth)[0]
    written = key.embed(normal(1, *SHAPE, seed=80))
    cells = (2**depth * torch.special.ndtr(written[0, 1:])).floor().long()
    assert torch.equal(cells, key.cells())
    held = one([key]).held_by(written)
    assert isinstance(held, CellGroup)
    assert torch.equal(held.cells[0].long(), key.cells().flatten())


def test_ring_keys_that_are_drawn_are_further_apart_than_the_released_ones() -> None:
    far = ring_keys(3, (16, 16), seed=0, radius=6)
    for near in (released_keys((16, 16), radius=6), figure4_keys((16, 16), radius=6)):
        closest = [separation(k)[[0, 0, 1], [1, 2, 2]].min() for k in (far, near)]
        assert closest[0] > 1.5 * closest[1]


# --- files and refusals


def test_an_error_model_is_saved_and_loaded(tmp_path: Path) -> None:
    errors = measured(gain=0.5, std=0.5, count=8)
    errors.save(tmp_path / "errors.safetensors")
    again = ErrorModel.load(str(tmp_path / "errors.safetensors"))
    assert torch.equal(again.noise, errors.noise.float())
    assert again.recovered.keys() == errors.recovered.keys()
    assert len(joined([errors, again]).noise) == 16
    named = replace(errors, call={"guidance_scale": "3"})
    named.save(tmp_path / "named.safetensors")
    assert ErrorModel.load(tmp_path / "named.safetensors").call == named.call
    with pytest.raises(ValueError, match="those of one call"):
        joined([errors, named])
    (tmp_path / "wrong.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="no safetensors file"):
        ErrorModel.load(tmp_path / "wrong.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        ErrorModel.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("call", [None, "[1]", '{"guidance_scale": 3}'])
def test_files_need_not_say_their_call_but_must_not_say_nonsense(
    tmp_path: Path, call: str | None
) -> None:
    """Files of earlier versions do not say it."""
    path = tmp_path / "errors.safetensors"
    about = {"kind": KIND, "passages": '["none"]', "made": ""}
    noise = normal(4, *SHAPE, seed=1)
    save_file({"noise": noise, "0": noise + 1}, path, about | ({"call": call} if call else {}))
    if call is None:
        assert not ErrorModel.load(path).call
    else:
        with pytest.raises(ValueError, match="metadata of .* are damaged"):
            ErrorModel.load(path)


@pytest.mark.parametrize("name", ["none", "no key", "cannot tell"])
def test_a_key_cannot_have_the_name_of_another_answer(name: str) -> None:
    errors, (ring, other) = measured(gain=0.5, std=0.5, count=8), random_keys(2)
    views = {"none": ring.embed(normal(1, *SHAPE, seed=0))}
    with pytest.raises(ValueError, match=f"no key can be named '{name}'"):
        whose(views, {name: ring, "Ben": other}, errors)


def test_what_does_not_fit_is_refused() -> None:
    errors = measured(gain=0.5, std=0.5, count=8)
    views = {"none": normal(1, *SHAPE, seed=0)}
    with pytest.raises(ValueError, match="at least one key"):
        whose(views, [], errors)
    with pytest.raises(ValueError, match="but the noise of this call"):
        whose(views, [TreeRing.random((16, 16), seed=0)], errors)
    with pytest.raises(ValueError, match="not symmetric"):
        whose(views, released_keys(SIZE, radius=2, centre=(-1, 0)), errors)
    with pytest.raises(ValueError, match="none must be a probability"):
        whose(views, random_keys(2), errors, none=1.0)
    with pytest.raises(ValueError, match="after each of none"):
        whose({"JPEG 75": views["none"]}, random_keys(2), errors)
    with pytest.raises(ValueError, match="four noises"):
        fit_transfer(normal(2, *SHAPE, seed=0), normal(2, *SHAPE, seed=0))
    with pytest.raises(ValueError, match="has no payload"):
        ShadingKey(GaussianShading((1, *SIZE), 8, b"k")).embed(normal(1, *SHAPE, seed=0))
    with pytest.raises(TypeError, match="is a TreeRing or a ShadingKey"):
        whose(views, ["key"], errors)  # type: ignore[list-item]
