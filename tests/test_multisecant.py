"""The multisecant method: as exact as the others in fewer rounds, and honest about itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import pytest
import torch
from analytic import SD, STD, noise_prediction, one_gaussian, randn
from torch import Tensor
from twelve import DIM, SCHEDULE, counted, error_db, image_db, run, truth, twelve

from invlib.certificate import certify
from invlib.denoisers import predicting, select
from invlib.inverters import whole_trajectory
from invlib.inverters.multisecant import multisecant
from invlib.inverters.secants import Pairs, gaussian_derivative, orthonormal
from invlib.inverters.trajectory import gaussian_matrix
from invlib.probing import from_scheduler, network_prediction
from invlib.sampling import sample
from invlib.schedule import Grid
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m, dpm_solver_pp_3m])
def test_finds_the_noise(make: Callable[[Grid], Solver], scale: float) -> None:
    """Below -200 dB, or (rarely, and only at guidance 7.5) another noise, or unsolved."""
    others = unsolved = 0
    for steps in (10, 20):
        solver = make(SCHEDULE.grid(steps))
        denoiser, noise, trajectory = run(12, scale, solver)
        result = multisecant(denoiser, trajectory.image, solver)
        assert result.residuals.shape == (12, steps)
        found = result.converged
        assert (result.residuals[found] < 1e-11).all()
        proof = certify(denoiser, result, solver, vectors=0, other=truth(trajectory))
        assert [v == "exact" for v in proof.verdict] == found.tolist()
        others += int((found & (error_db(result.noise, noise) > -200)).sum())
        unsolved += int((~found).sum())
    assert others + unsolved <= (2 if scale > 7 else 0)  # of 24


def test_takes_fewer_rounds_than_anderson() -> None:
    """On data with 64 different variances, where one number a node is a poor derivative."""
    variances = torch.logspace(-2, 0.5, DIM, dtype=torch.float64)

    @noise_prediction
    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = SCHEDULE.alpha_t(t)[:, None], SCHEDULE.sigma_t(t)[:, None]
        return sigma * x / (alpha**2 * variances + sigma**2)

    solver, noise = dpm_solver_pp_2m(SCHEDULE.grid(10)), randn(4, DIM)
    image = sample(denoiser, noise, solver).image
    here = multisecant(denoiser, image, solver)
    there = whole_trajectory(denoiser, image, solver, finish=None)
    assert (error_db(here.noise, noise) < -200).all()
    assert (error_db(there.noise, noise) < -200).all()
    assert here.iterations.max() < there.iterations.min()


def test_costs_are_counted_and_a_round_is_one_call() -> None:
    """Round-off is measured in two more calls: at three nodes, and eleven states of a sample."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(5, 3.0, solver)
    count = counted(denoiser, 5)
    result = multisecant(count, trajectory.image, solver)
    assert result.nfe.tolist() == count.per_sample
    measuring = torch.tensor([2 * 3 + 11, *[2 * 3] * 4])
    assert torch.equal(result.nfe, 10 * (result.iterations + 1) + measuring)  # and the start
    assert len(count.sizes) == result.iterations.max() + 1 + 2
    given = multisecant(denoiser, trajectory.image, solver, tol=1e-12)
    assert torch.equal(given.nfe, 10 * (given.iterations + 1))
    small = counted(denoiser, 5)
    other = multisecant(small, trajectory.image, solver, max_batch=6)
    assert max(small.sizes) == 6 and (error_db(other.noise, result.noise) < -200).all()


def test_a_sample_alone_gets_the_same_result() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(6, 3.0, solver)
    together = multisecant(denoiser, trajectory.image, solver)
    for row in (0, 5):
        rows = torch.tensor([row])
        alone = multisecant(select(denoiser, rows), trajectory.image[rows], solver)
        assert error_db(alone.noise, together.noise[rows]) < -200
        assert abs(alone.iterations[0] - together.iterations[row]) <= 2


def test_residuals_are_those_of_the_best_states() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(4, 7.5, solver)
    for rounds in (1, 2, 5):
        result = multisecant(denoiser, trajectory.image, solver, max_iterations=rounds)
        assert result.reason == ("budget",) * 4 and result.iterations.tolist() == [rounds] * 4
        y, rows = result.states, torch.arange(4)
        outputs = [solver.output(denoiser, y[i], torch.full((4,), i), rows) for i in range(10)]
        wanted = [
            (y[i + 1] - solver.step(i, y[i], outputs[: i + 1])).norm(dim=1) / y[i + 1].norm(dim=1)
            for i in range(10)
        ]
        torch.testing.assert_close(result.residuals, torch.stack(wanted, 1), rtol=1e-6, atol=1e-14)
        assert torch.equal(result.states[-1], trajectory.image)


def test_reasons() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 3.0, solver)
    from_truth = multisecant(denoiser, trajectory.image, solver, start=trajectory.states)
    assert from_truth.converged.all() and from_truth.iterations.max() <= 3
    stuck = multisecant(denoiser, trajectory.image, solver, tol=1e-30, patience=5)
    assert set(stuck.reason) == {"stalled"} and (stuck.residuals < 1e-11).all()
    broken = predicting(lambda x, t: x * torch.nan, "epsilon")
    assert multisecant(broken, trajectory.image, solver).reason == ("diverged",) * 3


def test_gaussian_data_needs_no_pairs() -> None:
    """There the preconditioner is the inverse Jacobian: one Newton step."""
    solver, denoiser = dpm_solver_pp_2m(SCHEDULE.grid(10)), one_gaussian(SCHEDULE, 5)
    noise = randn(2, 5)
    image = sample(denoiser, noise, solver).image
    result = multisecant(denoiser, image, solver, variance=STD**2)
    assert (error_db(result.noise, noise) < -200).all() and result.iterations.max() <= 4


def test_pairs_learn_a_linear_map() -> None:
    """With as many pairs as dimensions the step is Newton's, whatever came before."""
    solver, dim = dpm_solver_pp_2m(SCHEDULE.grid(4)), 3
    inverse = torch.linalg.inv(gaussian_matrix(solver, 0.5))
    derivative, coupling = gaussian_derivative(solver, 0.5), inverse @ solver.b
    like = torch.zeros(2, 4, dim).double()
    pairs = Pairs.empty(derivative, coupling, 5, 1e-6, like, torch.float64)
    blocks = randn(2, 4, dim, dim, seed=1)
    for seed in range(2, 9):
        y = randn(2, 4, dim, seed=seed)
        pairs.add(y, (blocks @ y[..., None])[..., 0])
    assert pairs.dy.shape[2] == pairs.dm.shape[2] == 5
    r = randn(2, 4, dim, seed=9)
    step = pairs.step(torch.einsum("ij,kjd->kid", inverse, r))
    eye = torch.diag(torch.ones(3, dtype=torch.float64), 1) - torch.diag(solver.a)
    change = torch.einsum("ij,kjd->kid", eye, step)
    change = change - torch.einsum("ij,kjd->kid", solver.b, (blocks @ step[..., None])[..., 0])
    torch.testing.assert_close(change, -r, rtol=1e-8, atol=1e-8)


def test_orthonormal_leaves_out_what_is_not_new() -> None:
    """Combinations of vectors, from their inner products; the same ones keep secant equations."""
    y, m = randn(3, 5, seed=1), randn(3, 5, seed=2)
    y = y / y.norm(dim=1, keepdim=True)
    y[2] = 0.6 * y[0] + 0.8 * y[1]
    y[2] = y[2] / y[2].norm() + 0.001 * randn(5, seed=3)
    basis = orthonormal(y @ y.T, 0.05)
    q, e = basis @ y, basis @ m
    torch.testing.assert_close(q @ q.T, torch.diag(torch.tensor([1.0, 1.0, 0.0])).double())
    torch.testing.assert_close(y[1] @ q.T @ e, m[1])
    assert not basis[2].any() and not basis.triu(1).any()


def test_orthonormal_vectors_are_so_to_round_off_where_vectors_are_almost_alike() -> None:
    """Where a share of 1e-3 is new, inner products tell it to eps / 1e-6."""
    new = 1e-3
    y = randn(1, 40, seed=1) + new * randn(12, 40, seed=2)
    y = y / y.norm(dim=1, keepdim=True)
    q = orthonormal(y @ y.T, 1e-6) @ y
    off = 100 * torch.finfo(torch.float64).eps / new**2
    torch.testing.assert_close(q @ q.T, torch.eye(12).double(), rtol=0, atol=off)


SCHEDULERS: dict[str, Any] = {
    "Heun": diffusers.HeunDiscreteScheduler,
    "UniPC": diffusers.UniPCMultistepScheduler,
    "LMS": diffusers.LMSDiscreteScheduler,
    "v": partial(
        diffusers.DDIMScheduler,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
    ),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_probed_schedulers(make: Callable[..., Any]) -> None:
    scheduler = make(**SD)
    solver = from_scheduler(scheduler, 10)
    denoiser = twelve(solver.schedule, prediction=network_prediction(scheduler))
    image = sample(denoiser, randn(6, DIM), solver).image
    result = multisecant(denoiser, image, solver)
    assert result.converged.all()
    assert (image_db(denoiser, result.noise, solver, image) < -200).all()


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_final_sigma_zero(prediction: Any) -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(20, final="zero"))
    denoiser, noise = twelve(prediction=prediction), randn(4, DIM)
    image = sample(denoiser, noise, solver).image
    assert (error_db(multisecant(denoiser, image, solver).noise, noise) < -200).all()


def test_the_older_half_of_the_pairs_is_forgotten() -> None:
    """And what is kept of their products is that of the pairs that are left, the newest first."""
    y, nothing = randn(2, 3, 5), torch.zeros(3, dtype=torch.float64)
    pairs = Pairs.empty(nothing, nothing, 6, 1e-12, y, torch.float64)
    for k in range(5):
        pairs.add(randn(2, 3, 5, seed=k), randn(2, 3, 5, seed=10 + k))
    assert pairs.count == 4
    dy, dm = pairs.dy[:, :, :2].clone(), pairs.dm[:, :, :2].clone()
    pairs.forget()
    assert pairs.count == pairs.memory == 2
    assert torch.equal(pairs.dy, dy) and torch.equal(pairs.dm, dm)
    torch.testing.assert_close(pairs.gram, dy @ dy.transpose(2, 3))
    torch.testing.assert_close(pairs.cross, torch.einsum("knad,kmbd->knamb", dy, dm))
