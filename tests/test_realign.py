"""Pictures that were moved or changed in unlisted ways: a key is found, or it cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import invlib
from invlib import watermark
from invlib.watermark import ErrorModel, GaussianShading, ShadingKey, TreeRing, whose
from invlib.watermark.placements import COARSE, KEPT, Placement, coarse, search
from invlib.watermark.unlisted import CHANGED, POOR, UNKNOWN, density, fits, mixed, weights

SHAPE = (2, 8, 8)


def normal(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def spoilt(noise: Tensor, seed: int, std: float = 0.4) -> Tensor:
    """A noise as it comes back: weakened, and with a white error of another size for each."""
    size = std * (0.3 * normal(len(noise), 1, 1, 1, seed=seed + 1)).exp()
    return 0.8 * noise + size * normal(*noise.shape, seed=seed)


@pytest.fixture(scope="module")
def errors() -> ErrorModel:
    noise = normal(24, *SHAPE, seed=1)
    return ErrorModel(noise, {"none": spoilt(noise, 2)})


KEYS = [TreeRing.random(SHAPE[1:], seed=j, radius=3.0) for j in range(3)]


# --- places


@pytest.mark.parametrize("own", [(58, 58), (58, 64), (64, 64), (128, 100), (30, 90)])
@pytest.mark.parametrize(("made", "cell"), [((64, 64), 4), ((512, 768), 8)])
def test_places_lie_in_the_picture_and_keep_its_aspect(
    own: tuple[int, int], made: tuple[int, int], cell: int
) -> None:
    places, spacing = coarse(own, made, cell)
    assert 0 < len(places) <= COARSE
    assert spacing % cell == 0
    for p in places:
        assert min(p.top, p.left) >= 0
        assert p.top + p.height <= made[0]
        assert p.left + p.width <= made[1]
        assert abs(p.width - p.height * own[1] / own[0]) <= 0.5
    smaller = own[0] <= made[0] and own[1] <= made[1]
    assert any((p.height, p.width) == own for p in places) or not smaller


def test_a_picture_is_put_where_it_was_cropped_from() -> None:
    whole = (torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 255).byte()
    put = Placement(15, 17, 2, 5).put(whole[..., 2:17, 5:22], (20, 24))
    assert torch.equal(put[..., 2:17, 5:22], whole[..., 2:17, 5:22])
    assert torch.equal(put[..., 0, 5:22], whole[..., 2, 5:22])


def test_the_search_finds_the_place_of_every_picture_at_its_cost() -> None:
    own, made, cell = (64, 64), (64, 64), 4
    true = [Placement(58, 58, 0, 0), Placement(55, 55, 6, 3), Placement(64, 64, 0, 0)]
    calls = 0

    def score(places: list[Placement]) -> list[float]:
        nonlocal calls
        calls += 1
        both = zip(places, true, strict=True)
        return [
            -math.dist((p.top, p.left), (t.top, t.left))
            - math.dist((p.top + p.height, p.left + p.width), (t.top + t.height, t.left + t.width))
            for p, t in both
        ]

    found = search(score, len(true), own, made, cell)
    assert len(found) == KEPT
    for t, place in zip(true, found[0], strict=True):
        gaps = (place.top - t.top, place.left - t.left, place.height - t.height)
        assert max(map(abs, gaps)) <= 1
    assert calls <= COARSE + 2 * 26


# --- an unknown change


def test_pictures_of_the_call_fit_as_often_as_stated(errors: ErrorModel) -> None:
    y = spoilt(normal(600, *SHAPE, seed=10), 11)
    shares = fits(errors, {"none": y})
    assert (shares < POOR).double().mean() < 0.03
    assert 0.25 < (shares < 0.5).double().mean() < 0.75
    assert fits(errors, {"none": 2 * y}).median() < 1e-3
    few = ErrorModel(errors.noise[:5], {"none": errors.recovered["none"][:5]})
    assert torch.equal(fits(few, {"none": 2 * y[:3]}), torch.ones(3).double())


def test_an_unknown_change_counts_only_where_the_fit_is_poor_or_a_move_is_possible() -> None:
    shares = torch.tensor([1.0, 0.3, POOR, 0.9 * POOR, 1e-6], dtype=torch.float64)
    still = weights(shares, moved=False)
    assert torch.equal(still[:3, 0], torch.ones(3).double())
    assert 0.5 < still[3, 2] < 0.9
    assert still[4, 2] > 0.999
    moved = weights(shares, moved=True)
    assert torch.allclose(moved.sum(1), torch.ones(5).double())
    assert math.isclose(moved[0, 2], UNKNOWN)
    assert (moved[1:, 0] <= moved[:-1, 0]).all()


def test_without_a_place_or_a_poor_fit_nothing_changes(errors: ErrorModel) -> None:
    listed = whose({"none": spoilt(normal(4, *SHAPE, seed=20), 21)}, KEYS, errors)
    found, best = mixed(listed, [], [], weights(torch.ones(4).double(), moved=False), 0.5)
    assert torch.equal(found.log_ratios, listed.log_ratios)
    assert torch.allclose(found.posterior, listed.posterior)
    assert torch.equal(found.log10_p, listed.log10_p)
    assert (found.passage, best.tolist()) == (listed.passage, [0] * 4)


def test_a_badly_fitting_picture_cannot_be_told_instead_of_none(errors: ErrorModel) -> None:
    marked = torch.cat([KEYS[1].embed(x[None]) for x in normal(20, *SHAPE, seed=30)])
    y = {"none": 1.6 * spoilt(marked, 31).roll((3, 2), (-2, -1))}
    listed = whose(y, KEYS, errors)
    assert listed.decision.count("none") > 15
    found, _ = mixed(listed, [], [], weights(fits(errors, y), moved=False), 0.5)
    assert found.decision == ("cannot tell",) * 20
    assert set(found.passage) == {CHANGED}


def test_where_no_place_was_looked_for_its_share_is_that_of_an_unknown_change(
    errors: ErrorModel,
) -> None:
    """The ratios of listed passages are 0: what is left is 1 times the share of all others."""
    y = {"none": 1.6 * spoilt(normal(5, *SHAPE, seed=30), 31)}
    listed = whose(y, KEYS, errors)
    listed = replace(listed, log_ratios=torch.full_like(listed.log_ratios, -math.inf))
    share = weights(fits(errors, y), moved=True)
    found, _ = mixed(listed, [], [], share, 0.8)
    others = (share[:, 1] + share[:, 2])[:, None].expand_as(found.log_ratios)
    torch.testing.assert_close(found.log_ratios.exp(), others)
    assert set(found.decision) == {"cannot tell"}


# --- both


def moved_and_looked_for(
    noise: Tensor, errors: ErrorModel, seed: int
) -> tuple[Tensor, list[Tensor]]:
    """What is recovered of moved pictures, and in the three places of 16 where they fit best."""
    spots = [(a, b) for a in range(4) for b in range(4)]
    right = spoilt(noise, seed)
    views = [right + 0.5 * (a + b) * normal(*noise.shape, seed=seed + 2 + a) for a, b in spots]
    views = [y.roll((a, b), (-2, -1)) for y, (a, b) in zip(views, spots, strict=True)]
    scores = torch.stack([density(errors.transfers["none"], y) for y in views])
    order = scores.topk(KEPT, dim=0).indices
    every, rows = torch.stack(views), torch.arange(len(noise))
    return views[-1], [every[order[k], rows] for k in range(KEPT)]


def test_a_key_is_found_where_the_picture_fits(errors: ErrorModel) -> None:
    marked = torch.cat([KEYS[1].embed(x[None]) for x in normal(30, *SHAPE, seed=40)])
    still, places = moved_and_looked_for(marked, errors, 41)
    listed = whose({"none": still}, KEYS, errors)
    each = [whose({"none": y}, KEYS, errors) for y in places]
    names = [[f"place {k}"] * 30 for k in range(KEPT)]
    share = weights(fits(errors, {"none": still}), moved=True)
    found, best = mixed(listed, each, names, share, 0.5)
    assert found.own_odds is not None
    torch.testing.assert_close(found.own_odds, found.log_ratios - math.log(len(found.names)))
    assert set(found.decision) <= {"key 2", "cannot tell"}
    assert found.decision.count("key 2") > 20
    assert found.passage[found.decision.index("key 2")] == "place 0"


def test_looking_for_a_place_raises_no_false_alarms(errors: ErrorModel) -> None:
    count, level, alarms, owners, ratios = 200, 0.05, 0, 0, []
    for i in range(3):
        keys = [TreeRing.random(SHAPE[1:], seed=100 + 3 * i + j, radius=3.0) for j in range(3)]
        still, places = moved_and_looked_for(normal(count, *SHAPE, seed=50 + i), errors, 70 + i)
        listed = whose({"none": still}, keys, errors)
        each = [whose({"none": y}, keys, errors) for y in places]
        share = weights(fits(errors, {"none": still}), moved=True)
        found, _ = mixed(listed, each, [["place"] * count] * KEPT, share, 0.5)
        alarms += int((10**found.log10_p < level).sum())
        owners += sum(decision.startswith("key") for decision in found.decision)
        ratios.append(found.log_ratios.exp())
    drawn = 3 * count
    assert alarms <= level * drawn + 3 * math.sqrt(level * (1 - level) * drawn)
    assert owners <= 0.01 * drawn
    assert torch.cat(ratios).mean() < 1.2


# --- a picture of a pipeline


CALL = {"prompt": "a sad person with white undercut", "guidance_scale": 1.0}
CALL |= {"num_inference_steps": 4}
QUICK = {"decoder": "encoder"}


@pytest.fixture(scope="module")
def shop() -> tuple[Any, ErrorModel, dict[str, ShadingKey], Image.Image]:
    pipe = invlib.load("portraits")
    payload = torch.arange(64) % 3 == 0
    keys = {
        name: ShadingKey(GaussianShading((4, 16, 16), 64, name.encode()), payload)
        for name in ("Ann", "Ben", "Cleo")
    }
    known = watermark.measure_errors(pipe, pictures=12, options=QUICK, **CALL)
    noise = watermark.embed(pipe, keys["Ben"], **CALL)
    return pipe, known, keys, pipe(**CALL, latents=noise).images[0]


def test_an_enlarged_crop_that_nobody_looks_for_cannot_be_told(shop: Any) -> None:
    pipe, known, keys, picture = shop
    crop = picture.crop((0, 0, 58, 58)).resize((64, 64), Image.Resampling.BICUBIC)
    found = watermark.identify(pipe, crop, keys, errors=known, options=QUICK, **CALL)
    assert found.decision == ("cannot tell",)
    assert found.passage == (CHANGED,)
    assert found.notes == ()


def test_the_place_of_a_crop_from_a_corner_is_found_and_its_owner_named(shop: Any) -> None:
    pipe, known, keys, picture = shop
    crop = picture.crop((0, 0, 58, 58))
    found = watermark.identify(pipe, crop, keys, errors=known, options=QUICK, **CALL)
    assert found.decision == ("Ben",)
    assert found.passage == ("crop to 58 x 58 at (0, 0)",)
    assert "58 x 58 pixels was resized to the 64 x 64" in str(found)


def test_a_clip_has_no_place(shop: Any) -> None:
    pipe, known, keys, _ = shop
    clip = torch.zeros(1, 2, 3, 64, 64, dtype=torch.uint8)
    asked = {"options": QUICK, "realign": True, **CALL}
    with pytest.raises(ValueError, match="the place of a clip cannot be looked for"):
        watermark.identify(pipe, clip, keys, errors=known, **asked)
