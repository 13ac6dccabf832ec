"""The long search: it finds what a short one misses, in float64, and pays for what it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from analytic import randn
from torch import Tensor
from twelve import DIM, SCHEDULE, error_db, image_db, prompted, run, twelve

from invlib.denoisers import in_float64, predicting
from invlib.inverters import invert, multisecant, persistent
from invlib.inverters.starts import random_states
from invlib.sampling import sample
from invlib.solvers import dpm_solver_pp_2m

SOLVER = dpm_solver_pp_2m(SCHEDULE.grid(10))


def test_it_finds_what_one_search_misses() -> None:
    """Five steps at guidance 12: the first search of one of eight samples fails."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5))
    denoiser, _, trajectory = run(8, 12.0, solver)
    with torch.no_grad():
        once = multisecant(denoiser, trajectory.image, solver)
        one = persistent(denoiser, trajectory.image, solver, starts=1)
        found = persistent(denoiser, trajectory.image, solver)
    assert not once.converged.all() and found.converged.all()
    assert (image_db(denoiser, found.noise, solver, trajectory.image) < -250).all()
    solved = one.converged
    assert torch.equal(found.noise[solved], one.noise[solved])  # only the others start anew
    assert torch.equal(found.nfe[solved], one.nfe[solved])
    assert (found.nfe > one.nfe)[~solved].all() or solved.all()


def test_nothing_gets_worse_and_all_is_paid() -> None:
    """Searches that stop at once leave everything unsolved."""
    denoiser, _, trajectory = run(2, 3.0, SOLVER)
    with torch.no_grad():
        one = persistent(denoiser, trajectory.image, SOLVER, starts=1, max_iterations=2)
        three = persistent(denoiser, trajectory.image, SOLVER, starts=3, max_iterations=2)
    assert not three.converged.any()
    assert (three.residuals.amax(1) <= one.residuals.amax(1)).all()
    assert (three.nfe == one.nfe + 2 * 20).all()
    measuring = torch.tensor([3 * 3 + 11, 3 * 3])  # the round-off of the network, and of its copy
    assert torch.equal(one.nfe, 10 + 2 * 10 + 2 * measuring)


def test_a_float32_network_is_searched_in_float64() -> None:
    """The noise of a float32 network's image, further than that network could tell."""

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(0.4 * randn(DIM, DIM, seed=5).float() / DIM**0.5)

        def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return torch.tanh(x.to(self.weight) @ self.weight + condition)

    rough = replace(prompted(2, 5.0), network=Layer())
    rough = replace(rough, condition=randn(2, DIM, seed=3).float(), null=torch.zeros(1, DIM))
    fine = in_float64(rough)
    image = sample(rough, randn(2, DIM, seed=1), SOLVER).image
    found = invert(rough, image, SOLVER, method="persistent")
    assert found.converged.all() and found.method == "persistent"
    assert (image_db(fine, found.noise, SOLVER, image) < -180).all()
    assert (image_db(rough, found.noise, SOLVER, image) > -160).all()
    with torch.no_grad():
        same = persistent(rough, image, SOLVER, double=False)
    assert (same.residuals > found.residuals.amax(1, keepdim=True)).any(1).all()


def test_a_copy_in_float64_leaves_the_network_alone() -> None:
    layer = torch.nn.Linear(3, 3)
    rough: Any = replace(prompted(2, 2.0), network=layer)
    fine: Any = in_float64(predicting(rough, "sample"))
    assert layer.weight.dtype == torch.float32
    assert fine.network.condition.dtype == torch.long  # classes stay what they are
    assert torch.equal(fine.network.network.weight, layer.weight.double())

    @dataclass(frozen=True)
    class Holder:
        function: Any

    plain = Holder(twelve)
    assert in_float64(plain) == plain and in_float64(twelve) is twelve


def test_starts_have_the_shape_of_a_trajectory() -> None:
    image = randn(2, 3, 4)
    states = random_states(image, SOLVER, seed=0)
    assert states.shape == (11, 2, 3, 4)
    assert torch.equal(states[-1], image)
    assert not torch.equal(states, random_states(image, SOLVER, seed=1))


def test_no_search_is_refused() -> None:
    with pytest.raises(ValueError, match="starts"):
        persistent(twelve(), randn(1, DIM), SOLVER, starts=0)


def test_the_noise_is_that_of_the_image_where_it_is_the_only_one() -> None:
    denoiser, noise, trajectory = run(3, 3.0, SOLVER)
    found = invert(denoiser, trajectory.image, SOLVER, method="persistent")
    assert (error_db(found.noise, noise) < -200).all()
