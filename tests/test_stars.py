"""The star model: its fields, its weights, and that it folds where a network of its kind does."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import invlib
from invlib import dpm_solver_pp_2m, sample
from invlib.denoisers import in_float64
from invlib.portraits import training
from invlib.portraits.quality import noise_for
from invlib.stars import SCHEDULE, load, star_fields, stars_denoiser
from invlib.stars.architecture import StarScore
from invlib.stars.card import WEIGHTS, card
from invlib.stars.quality import HELD_OUT_SEED, held_out
from invlib.stars.render import FLUX, MEAN, SIDE, SKY, SLOPE, SPREAD, _power_law
from invlib.stars.train import train


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The fields


def test_the_same_seed_draws_the_same_sky() -> None:
    fields = star_fields(3, draw(1))
    assert fields.shape == (3, 1, SIDE, SIDE) and fields.dtype == torch.float32
    assert torch.equal(fields, star_fields(3, draw(1)))
    assert not torch.equal(fields, star_fields(3, draw(2)))


def test_fields_are_standardised_and_of_high_dynamic_range() -> None:
    fields = star_fields(2000, draw(3))
    assert abs(fields.mean()) < 0.05 and abs(fields.std() - 1) < 0.05
    counts = 10 ** (MEAN + SPREAD * fields.double())
    assert counts.max() / counts.median() > 1000
    assert counts.flatten().quantile(0.1) < SKY  # most of a field is noisy sky
    assert 0.1 < (counts < 1.5 * SKY).double().mean() < 0.9


def test_fluxes_follow_the_power_law() -> None:
    """P(F > f) between the ends, against the integral of F**-SLOPE."""
    flux = _power_law(torch.rand(200_000, generator=draw(4), dtype=torch.float64))
    assert flux.min() >= FLUX[0] * (1 - 1e-9) and flux.max() <= FLUX[1] * (1 + 1e-9)
    low, high = (f ** (1 - SLOPE) for f in FLUX)
    for f in (3e2, 1e4, 3e5):
        wanted = (f ** (1 - SLOPE) - high) / (low - high)
        error = math.sqrt(wanted * (1 - wanted) / len(flux))
        assert abs((flux > f).double().mean() - wanted) < 5 * error


def test_the_model_never_saw_the_held_out_fields() -> None:
    """Training draws from the seeds 0 ... steps - 1."""
    module = __import__(load.__module__, fromlist=["WEIGHTS"])
    steps = json.loads((module.WEIGHTS / "training.json").read_text())["steps"]
    assert steps < HELD_OUT_SEED
    assert torch.equal(held_out(2), star_fields(2, draw(HELD_OUT_SEED)))


def test_the_card_is_made_from_the_stored_numbers() -> None:
    quality, told = (
        json.loads((WEIGHTS / f"{name}.json").read_text()) for name in ("quality", "training")
    )
    parameters = sum(p.numel() for p in load().parameters())
    assert card(quality, told, parameters) == (WEIGHTS / "MODEL_CARD.md").read_text()
    timed = {**told, "device": "cpu, one thread", "cpu_seconds": 720.0}
    assert "(cpu, one thread; 12 min of its own time" in card(quality, timed, parameters)


# The network


def test_between_its_folds_the_network_is_linear_and_across_them_it_is_not() -> None:
    """Piecewise linear in the state: second differences vanish where no rectifier switches."""
    network = in_float64(load())
    x = noise_for(1, (1, SIDE, SIDE))
    direction = noise_for(1, (1, SIDE, SIDE), seed=5)
    t = torch.tensor([300.0], dtype=torch.float64)

    def bend(step: float) -> float:
        low, middle, high = (network(x + s * step * direction, t) for s in (-1, 0, 1))
        return ((low - 2 * middle + high).norm() / (high - low).norm()).item()

    assert bend(1e-7) < 1e-3 * bend(0.3)
    assert bend(0.3) > 1e-2


def test_the_denoiser_turns_the_score_into_the_noise() -> None:
    """At the largest time a state is noise: epsilon is about the state, the score minus it."""
    denoiser, x = stars_denoiser(), noise_for(4, (1, SIDE, SIDE))
    t = torch.full((4,), SCHEDULE.times - 1.0, dtype=torch.float64)
    sigma = SCHEDULE.sigma_t(t)[:, None, None, None]
    score = denoiser.network(x, t)
    torch.testing.assert_close(denoiser(x, t).double(), -sigma * score.double(), rtol=1e-6, atol=0)
    assert (invlib.nmse(denoiser(x, t).double(), x) < 0.01).all()


def test_it_predicts_noise_far_better_than_the_best_linear_guess() -> None:
    """Against Wiener's filter of white fields, whose error is alpha^2 / (alpha^2 + sigma^2)."""
    denoiser, x0 = stars_denoiser(), held_out(50)
    noise = noise_for(50, (1, SIDE, SIDE)).float()
    for time in (100.0, 300.0):
        t = torch.full((50,), time, dtype=torch.float64)
        alpha, sigma = SCHEDULE.alpha_t(time).item(), SCHEDULE.sigma_t(time).item()
        error = (denoiser(alpha * x0 + sigma * noise, t) - noise).square().mean()
        assert error < 0.7 * alpha**2


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    module = __import__(load.__module__, fromlist=["WEIGHTS"])
    shutil.copytree(module.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    module.verify.cache_clear()
    file = tmp_path / "weights" / "stars.safetensors"
    if damage == "change":
        file.write_bytes(file.read_bytes() + b" ")
    else:
        file.unlink()
    with pytest.raises((OSError, FileNotFoundError), match=r"stars\.safetensors"):
        load()
    module.verify.cache_clear()


def test_a_resumed_training_is_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_decay", lambda step, steps: 1.0)  # so that steps do not matter
    whole, made = train(tmp_path / "whole.pt", steps=3, batch=2)
    begun, _ = train(tmp_path / "part.pt", steps=2, batch=2)
    resumed, info = train(tmp_path / "part.pt", steps=3, batch=2)
    assert info["steps"] == 3
    assert made["cpu_seconds"] > 0 and info["cpu_seconds"] is None  # a part is not the whole
    for a, b, c in zip(*(n.parameters() for n in (whole, resumed, begun)), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_exact_inversion_without_guidance() -> None:
    denoiser, noise = stars_denoiser(), noise_for(2, (1, SIDE, SIDE))
    solver = dpm_solver_pp_2m(SCHEDULE.grid(20, spacing="logsnr"))
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        found = invlib.invert(denoiser, image, solver)
        again = sample(denoiser, found.noise, solver).image
    assert (invlib.decibel(invlib.nmse(again, image)) < -100).all()


def test_the_network_is_half_a_million_numbers_in_a_small_file() -> None:
    network = StarScore(SCHEDULE)
    assert 0.4e6 < sum(p.numel() for p in network.parameters()) < 0.7e6
    module = __import__(load.__module__, fromlist=["WEIGHTS"])
    assert (module.WEIGHTS / "stars.safetensors").stat().st_size < 2.5e6
