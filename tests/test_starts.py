"""Searches begin with the image at the end, noised before it, and each of them elsewhere."""

from __future__ import annotations

import pytest
import torch
from analytic import randn
from twelve import SCHEDULE

from invlib.inverters.starts import random_states, scattered_states
from invlib.solvers import dpm_solver_pp_2m

SOLVER = dpm_solver_pp_2m(SCHEDULE.grid(4))
IMAGE = randn(2, 100, 100)


def parts(seed: int) -> tuple[float, float]:
    """How much of the image, and of the noise, there is in a scattered start, by least squares."""
    states = scattered_states(IMAGE, SOLVER, seed)
    clean = SOLVER.alpha[2] / SOLVER.alpha[-1] * IMAGE
    share = (states[2] * clean).sum() / clean.square().sum()
    noise = (states[2] - share * clean) / SOLVER.sigma[2]
    return share.item(), noise.std().item()


def test_starts_of_four_searches_are_four_mixtures_of_image_and_noise() -> None:
    found = [parts(seed) for seed in range(4)]
    for expected in ((2, 1), (0, 2), (1, 2), (0, 1)):
        assert sum(mixture == pytest.approx(expected, abs=0.1) for mixture in found) == 1
    assert parts(4) == pytest.approx(found[0], abs=0.1)  # from the fifth on with another noise
    assert not torch.equal(*(scattered_states(IMAGE, SOLVER, seed)[0] for seed in (0, 4)))


def test_every_level_of_a_scattered_start_has_a_noise_of_its_own() -> None:
    for begin, own in ((scattered_states, True), (random_states, False)):
        states = begin(IMAGE, SOLVER, 1)
        assert torch.equal(states[-1], IMAGE) and len(states) == 5
        image = 0.0 if begin is scattered_states else 1.0
        first, second = (
            (states[i] - image * SOLVER.alpha[i] / SOLVER.alpha[-1] * IMAGE) / SOLVER.sigma[i]
            for i in (0, 1)
        )
        cosine = (first * second).sum() / (first.norm() * second.norm())
        assert cosine.item() == pytest.approx(0.0 if own else 1.0, abs=0.03)
