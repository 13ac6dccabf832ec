"""Networks outside PyTorch: their values, their derivatives by differences, what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from analytic import mixture, randn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from twelve import SCHEDULE, image_db

import invlib
from invlib.bridge import Bridged, bridged, subspace_singular_values
from invlib.denoisers import (
    Denoiser,
    Differences,
    differences,
    dtype_of,
    guided,
    jvp_cost,
    predicting,
)
from invlib.newton import forward_mode, forward_modes, newton_krylov
from invlib.schedule import Grid
from invlib.singular import sample_image, singular_values
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m

EXACT = mixture(SCHEDULE)
DTYPES = (torch.float64, torch.float32)


def outside(x: Tensor, t: Tensor) -> np.ndarray:
    """The mixture as somebody's NumPy function, in the dtype of its input."""
    states, times = x.detach().numpy(), t.detach().numpy()
    assert states.dtype == times.dtype
    found = EXACT(torch.from_numpy(states).double(), torch.from_numpy(times).double())
    return found.numpy().astype(states.dtype)


def bridge(dtype: torch.dtype) -> Bridged:
    return bridged(outside, prediction="epsilon", dtype=dtype)


def image_of(denoiser: Denoiser, solver: Solver) -> Callable[[Tensor], Tensor]:
    return lambda y: sample_image(denoiser, y, solver)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_the_functions_own(dtype: torch.dtype) -> None:
    x, t = randn(3, 4), torch.tensor([10.0, 500.0, 900.0]).double()
    found, tolerance = bridge(dtype)(x, t), 4 * torch.finfo(dtype).eps
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, EXACT(x, t), rtol=tolerance, atol=tolerance)
    assert dtype_of(predicting(bridge(dtype), "epsilon")) == dtype


@given(st.sampled_from(DTYPES), st.floats(-6, 6), st.floats(-4, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_difference_is_as_exact_as_it_says(
    dtype: torch.dtype, size: float, length: float, seed: int
) -> None:
    """Whatever the length of the direction, at states of any usual size."""
    x, t = 2**size * randn(3, 4, seed=seed), torch.full((3,), 400.0).double()
    v, network = 10**length * randn(3, 4, seed=seed + 1), bridge(dtype)
    wanted = forward_mode(lambda y: EXACT(y, t), x, v)
    found = forward_mode(lambda y: network(y, t), x, v)
    error = (found - wanted).norm(dim=1) / v.norm(dim=1)
    assert (error < 100 * network.difference_error * (1 + 2**size)).all()


def test_differences_have_the_sampler_s_derivative_in_all_forward_modes() -> None:
    solver, network = dpm_solver_pp_2m(SCHEDULE.grid(8)), bridge(torch.float64)
    x, v = randn(3, 4), randn(2, 3, 4, seed=1)
    exact, here = image_of(EXACT, solver), image_of(network, solver)
    wanted = forward_modes(exact, x, v)
    assert wanted.norm() > 1
    for found in (
        torch.stack([forward_mode(here, x, d) for d in v]),
        torch.stack([torch.func.jvp(here, (x,), (d,))[1] for d in v]),
        forward_modes(here, x, v),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    still = forward_mode(here, x, torch.zeros_like(x))
    assert torch.equal(still, torch.zeros_like(x))


@pytest.mark.parametrize("build", [ddim, dpm_solver_pp_2m])
@pytest.mark.parametrize("method", ["exact", "whole_trajectory", "multisecant", "persistent"])
def test_every_exact_method_takes_a_bridged_network(
    build: Callable[[Grid], Solver], method: str
) -> None:
    solver, network, noise = build(SCHEDULE.grid(10)), bridge(torch.float32), randn(3, 4)
    image = invlib.sample(network, noise, solver).image
    result = invlib.invert(network, image, solver, method=method)
    assert result.converged.all()
    assert (image_db(network, result.noise, solver, image) < -100).all()
    assert invlib.certify(network, result, solver, vectors=0).verdict == ("exact",) * 3


def test_newton_s_method_runs_on_differences() -> None:
    """It has no other source of digits; with a zero derivative it does not converge."""
    solver, network, noise = dpm_solver_pp_2m(SCHEDULE.grid(6)), bridge(torch.float64), randn(2, 4)
    image = invlib.sample(network, noise, solver).image
    found = invlib.whole_trajectory(network, image, solver, finder=newton_krylov, finish=None)
    assert found.converged.all() and (found.iterations < 15).all()
    assert (invlib.nmse(found.noise, noise) < 1e-17).all()


def test_plain_functions_that_leave_pytorch_work_where_no_derivative_is_needed() -> None:
    network = predicting(lambda x, t: torch.from_numpy(outside(x, t)), "epsilon")
    for build in (ddim, dpm_solver_pp_2m):
        solver, noise = build(SCHEDULE.grid(10)), randn(3, 4)
        image = invlib.sample(network, noise, solver).image
        result = invlib.invert(network, image, solver)
        assert (image_db(network, result.noise, solver, image) < -200).all()
        for ask in (
            lambda y, s=solver: forward_mode(image_of(network, s), y, torch.ones_like(y)),
            lambda y, s=solver: torch.func.vjp(image_of(network, s), y),
            lambda y, s=solver: singular_values(network, y, s),
        ):
            with pytest.raises(NotImplementedError, match=r"invlib\.bridged"):
                ask(noise)
    with pytest.raises(TypeError, match=r"ndarray.*invlib\.bridged"):
        invlib.sample(predicting(outside, "epsilon"), noise, solver)


def test_a_constant_network_keeps_its_derivative() -> None:
    """Its output has no tangent, and that is right: only what moves with x lost one."""
    solver, x = ddim(SCHEDULE.grid(3)), randn(2, 4)
    constant = predicting(lambda x, t: torch.ones_like(x), "epsilon")
    found = forward_mode(image_of(constant, solver), x, torch.ones_like(x))
    torch.testing.assert_close(found, torch.full_like(x, solver.a.prod().item()))


def test_there_is_no_reverse_mode_and_that_is_said() -> None:
    network, x = bridge(torch.float64), randn(2, 4)
    solver = ddim(SCHEDULE.grid(3))
    with pytest.raises(NotImplementedError, match="vectors=0"):
        y = x.requires_grad_()
        sample_image(network, y, solver).sum().backward()


def test_singular_values_on_a_subspace_are_bounds_and_exact_on_the_whole() -> None:
    solver, x = ddim(SCHEDULE.grid(10)), randn(3, 4)
    full = singular_values(EXACT, x, solver, vectors=4)
    here = image_of(bridge(torch.float64), solver)
    for found, wanted in zip(subspace_singular_values(here, x, vectors=9), full, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    small, large = subspace_singular_values(here, x, vectors=2)
    slack = 1 + 1e-6
    assert (small * slack >= full[0]).all() and (large <= full[1] * slack).all()


def test_guidance_around_a_bridge_gives_conditions_in_its_dtype() -> None:
    def network(x: Tensor, t: Tensor, c: Tensor) -> np.ndarray:
        assert x.dtype == t.dtype == c.dtype == torch.float32
        return x.numpy() * c.numpy()

    inner = bridged(network, prediction="v_prediction")
    denoiser = guided(inner, torch.full((2, 1), 3.0).double(), torch.ones(1, 1).double(), 2.0)
    assert denoiser.prediction == "v_prediction"
    x = randn(2, 4)
    torch.testing.assert_close(denoiser(x, torch.ones(2)), 5 * x, rtol=1e-6, atol=1e-6)
    assert differences(denoiser) is inner and isinstance(inner, Differences)
    assert jvp_cost(denoiser) == 3 and jvp_cost(EXACT) == 2 and differences(EXACT) is None


def test_bad_bridges_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown prediction"):
        bridged(outside, prediction="noise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="floating-point"):
        bridged(outside, prediction="epsilon", dtype=torch.int32)
    short = bridged(lambda x, t: x[:, :1].numpy(), prediction="epsilon")
    with pytest.raises(ValueError, match=r"returned \(2, 1\)"):
        short(randn(2, 4), torch.ones(2))
