"""The table of reversible samplers: what it measures, and what its page says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from analytic import randn
from twelve import DIM, SCHEDULE, prompted

from invlib.metrics import decibel
from invlib.portraits import held_out, render
from invlib.portraits.quality import ATTRIBUTES, shown
from invlib.reproduce.tables import likeness, reversible
from invlib.reversible import Pair
from invlib.solvers import ddim


def test_the_pair_is_exact_and_the_noise_alone_is_not() -> None:
    denoiser, noise = prompted(8, 3.0), randn(8, DIM)
    for make in reversible.REVERSIBLE.values():
        sampler = make(SCHEDULE.grid(10))
        values = {k: decibel(v) for k, v in reversible.theirs(denoiser, noise, sampler).items()}
        assert (values["noise_pair"] < -180).all() and (values["image_pair"] < -180).all()
        assert (values["noise_image"] > -100).all() and (values["image_noise"] > -100).all()
        assert len(values["noise_pair"]) == 8 and len(values["growth"]) == reversible.PROBED


def test_ours_needs_no_pair() -> None:
    denoiser, noise, solver = prompted(8, 3.0), randn(8, DIM), ddim(SCHEDULE.grid(10))
    values = reversible.ours(denoiser, noise, solver)
    assert (decibel(values["noise_image"]) < -180).all()
    assert (decibel(values["image_noise"]) < -180).all()


def test_numbers_that_outgrew_their_range_are_infinite_errors() -> None:
    sampler = reversible.REVERSIBLE["EDICT"](SCHEDULE.grid(10))
    lost = torch.full((2, DIM), torch.inf).double()
    for start in (lost, Pair(lost, lost)):
        assert reversible.again(prompted(2, 1.0), start, sampler, randn(2, DIM)).isinf().all()


def test_obedience_is_that_of_the_model_card() -> None:
    people, strangers = held_out(4)[:2], held_out(4)[2:]
    drawn = np.stack([render(p) for p in people]) / 255.0
    pictures = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    for asked in (people, strangers):
        right = [
            np.mean([shown(255 * x, p, a) == getattr(p, a) for a in ATTRIBUTES])
            for x, p in zip(drawn, asked, strict=True)
        ]
        assert likeness.obeyed(pictures, asked).tolist() == right
    assert likeness.obeyed(pictures, people).tolist() == [1, 1]


def test_the_distance_is_zero_between_equals_and_one_between_points() -> None:
    data = randn(400, 12)
    same = [likeness.distance(randn(32, 12, seed=s), data) for s in range(1, 20)]
    assert abs(sum(same) / len(same)) < 0.003
    assert likeness.distance(3 * randn(32, 12, seed=1), data) > 0.1
    far = likeness.distance(1e6 + 1e-3 * randn(32, 12, seed=1), data)
    assert far == pytest.approx(1, abs=1e-4)


def test_features_are_brightness_contrast_and_edges() -> None:
    pictures = torch.zeros(2, 3, 8, 8)
    pictures[1, 0, :, 4:] = 1
    values = likeness.features(pictures)
    assert values.shape == (2, 12) and not values[0].any()
    assert values[1].nonzero().flatten().tolist() == [0, 3, 6]  # red: mean, spread, edges across


def test_the_page_says_what_nobody_measured() -> None:
    theirs = {"sampler": "O-BELM-10", "guidance": 1.0, "samples": 8, "noise_pair_db": -250.4}
    theirs |= {"noise_image_db": -3.0, "image_pair_db": -240.0, "image_noise_db": -8.0}
    theirs |= {"nfe_sampling": 10.0, "nfe_inverting": 9.0, "growth": 3.0, "least_growth": 1.5}
    theirs |= {"pictures": 32, "obeyed": 0.9, "distance": 0.01}
    ours = {"sampler": "DDIM-50", "guidance": 1.0, "samples": 0, "pictures": 0}
    known = {"sampler": "DDIM-50", "guidance": 1.0, "samples": 32, "noise_db_median": -131.6}
    known |= {"round_trip_db_median": -136.3, "nfe_per_image": 204.3}
    values = {"rows": [theirs, ours]}
    text = reversible.markdown(values, {"rows": [known]}).splitlines()
    assert "| O-BELM | 10 | 8 | -250 dB | -3 dB | -240 dB | -8 dB | 10 | 9 | 3 (1.5) |" in text
    assert "| DDIM | 50 | 32 | – | -132 dB | – | -136 dB | 50 | 204 | – |" in text
    assert len([line for line in text if "2M | 50" in line and "not measured" in line]) == 3
    text = reversible.markdown_quality(values).splitlines()
    missing = "not measured | not measured"
    assert f"| O-BELM | 10 | 32 | 90% | {missing} | 0.010 | {missing} |" in text
    assert len([line for line in text if line.startswith("| DDIM | 50 | not measured")]) == 1


def test_one_state_samplers_with_few_pictures_are_left_out() -> None:
    assert reversible.shard("2M-50", 3.0, 0) == {}
    (row,) = reversible.summary("2M-50", 3.0, {})
    assert row == {"sampler": "2M-50", "guidance": 3.0, "samples": 0, "pictures": 0}
