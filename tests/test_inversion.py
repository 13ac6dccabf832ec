"""Inversion: the exact methods are exact, the others are what they say, and the costs are true."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import diffusers
import pytest
import torch
from analytic import one_gaussian, randn, slope
from torch import Tensor
from twelve import (
    DIM,
    SCHEDULE,
    counted,
    error_db,
    image_db,
    prompted,
    run,
    truth,
    twelve,
)

from invlib.certificate import certify
from invlib.denoisers import Denoiser, predicting, select
from invlib.evaluator import Evaluator
from invlib.inversion import Inversion, merge
from invlib.inverters import (
    algorithm1,
    algorithm2,
    exact,
    in_parts,
    invert,
    naive,
    stepwise,
    whole_trajectory,
)
from invlib.inverters.algorithm2 import _paper_finder
from invlib.inverters.naive import walk
from invlib.inverters.rounds import most_pairs
from invlib.inverters.starts import random_states
from invlib.inverters.steps import StepProblem
from invlib.newton import newton_krylov
from invlib.precision import Roundoff, roundoff, step_tolerance
from invlib.probing import from_scheduler, network_prediction
from invlib.rootfind import Finder, anderson, fixed_point, forward_step_method, gradient_descent
from invlib.sampling import sample
from invlib.schedule import Grid
from invlib.singular import sample_image
from invlib.solvers import (
    Solver,
    ddim,
    dpm_solver_2m,
    dpm_solver_pp_1,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)

ORDERS: dict[str, Callable[[Grid], Solver]] = {
    "1M": dpm_solver_pp_1,
    "2M": dpm_solver_pp_2m,
    "3M": dpm_solver_pp_3m,
}
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# The whole trajectory


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_whole_trajectory_finds_the_noise(scale: float) -> None:
    """Below -200 dB for every order and number of steps; another root is certified as such."""
    others = 0
    for make in ORDERS.values():
        for steps in (10, 20, 50):
            solver = make(SCHEDULE.grid(steps))
            denoiser, noise, trajectory = run(12, scale, solver)
            result = whole_trajectory(denoiser, trajectory.image, solver)
            assert result.converged.all() and result.residuals.shape == (12, steps)
            proof = certify(denoiser, result, solver, vectors=0, other=truth(trajectory))
            assert proof.verdict == ("exact",) * 12
            assert (proof.round_trip < 1e-20).all()
            found = error_db(result.noise, noise) < -200
            assert torch.equal(proof.other_roots, ~found)
            assert all("another noise" in proof.flags[row] for row in (~found).nonzero())
            others += int((~found).sum())
    assert others == 0 if scale < 7 else others <= 2  # of 108


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS)
def test_final_sigma_zero(make: Callable[[Grid], Solver]) -> None:
    solver = make(SCHEDULE.grid(20, final="zero"))
    denoiser, noise, trajectory = run(8, 3.0, solver)
    for method in (whole_trajectory, exact):
        result = method(denoiser, trajectory.image, solver)
        assert (error_db(result.noise, noise) < -200).all()


def test_exact_inverses_have_no_order_error() -> None:
    """The round trip is at round-off for every number of steps, from 1 on."""
    denoiser, noise = twelve(), randn(4, DIM)
    for steps in (1, 3, 8, 40):
        for make in (ddim, dpm_solver_pp_2m, dpm_solver_2m):
            solver = make(SCHEDULE.grid(steps))
            image = sample(denoiser, noise, solver).image
            again = sample(denoiser, invert(denoiser, image, solver).noise, solver).image
            assert ((again - image).norm(dim=1) < 1e-10 * image.norm(dim=1)).all(), (steps, solver)


def test_residuals_are_those_of_the_returned_states() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(4, 7.5, solver)
    early: Finder = partial(anderson, max_iterations=6)
    worse: Finder = partial(fixed_point, slope=0.3, max_iterations=6)  # the best is not the last
    newton: Finder = partial(newton_krylov, max_iterations=2, krylov=8)
    for finder, finish in ((early, None), (early, newton), (worse, None)):
        result = whole_trajectory(
            denoiser, trajectory.image, solver, finder=finder, finish=finish, tol=1e-30
        )
        y, rows = result.states, torch.arange(4)
        outputs = [solver.output(denoiser, y[i], torch.full((4,), i), rows) for i in range(10)]
        wanted = [
            (y[i + 1] - solver.step(i, y[i], outputs[: i + 1])).norm(dim=1) / y[i + 1].norm(dim=1)
            for i in range(10)
        ]
        torch.testing.assert_close(result.residuals, torch.stack(wanted, 1), rtol=1e-6, atol=1e-14)
        assert result.residuals.amax() > 1e-9
        assert torch.equal(result.states[0], result.noise)
        assert torch.equal(result.states[-1], trajectory.image)


def test_newton_finishes_what_anderson_leaves() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(4, 3.0, solver)
    solve = partial(
        whole_trajectory,
        denoiser,
        trajectory.image,
        solver,
        finder=partial(anderson, max_iterations=4),
    )
    rough, finished = solve(finish=None), solve()
    assert not rough.converged.any() and (error_db(rough.noise, noise) > -100).all()
    assert finished.converged.all() and (error_db(finished.noise, noise) < -200).all()
    assert (finished.nfe > rough.nfe).all() and (finished.iterations > rough.iterations).all()


def test_the_preconditioner_changes_the_rounds_and_not_the_result() -> None:
    solver = dpm_solver_pp_3m(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(4, 3.0, solver)
    for variance in (0.1, 1.0, 5.0):
        result = whole_trajectory(denoiser, trajectory.image, solver, variance=variance)
        assert (error_db(result.noise, noise) < -200).all()


def test_the_true_trajectory_is_recognised_in_one_round() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 3.0, solver)
    for tol, measuring in ((1e-12, [0, 0, 0]), (None, [3 * 3 + 11, 3 * 3, 3 * 3])):
        result = whole_trajectory(
            denoiser, trajectory.image, solver, start=trajectory.states, tol=tol
        )
        assert result.converged.all() and result.iterations.tolist() == [1] * 3
        assert result.nfe.tolist() == [10 + cost for cost in measuring]


def test_any_root_finder_may_solve_the_trajectory() -> None:
    solver, denoiser = ddim(SCHEDULE.grid(4)), one_gaussian(SCHEDULE, 5)
    noise = randn(2, 5)
    image = sample(denoiser, noise, solver).image
    for finder in (
        fixed_point,
        partial(forward_step_method, rho=0.8, max_iterations=400),
        partial(gradient_descent, rho=0.3, max_iterations=400),
        newton_krylov,
    ):
        result = whole_trajectory(denoiser, image, solver, finder=finder, finish=None, tol=1e-6)
        assert result.converged.all() and (error_db(result.noise, noise) < -100).all()


@pytest.mark.parametrize("method", [whole_trajectory, stepwise, algorithm1, exact])
def test_a_sample_alone_gets_the_same_result(method: Any) -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(9, 7.5, solver)
    together = method(denoiser, trajectory.image, solver)
    for row in (0, 4, 8):
        rows = torch.tensor([row])
        alone = method(select(denoiser, rows), trajectory.image[rows], solver)
        assert error_db(alone.noise, together.noise[rows]) < -200
        # round-off differs with the size of a batch, and may cost a round
        assert abs(alone.iterations[0] - together.iterations[row]) <= 5
        assert alone.reason[0] == together.reason[row]


def test_max_batch_bounds_every_call_and_changes_nothing() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(7, 3.0, solver)
    free, capped = counted(denoiser, 7), counted(denoiser, 7)
    early = partial(anderson, max_iterations=8)  # and Newton
    one = whole_trajectory(free, trajectory.image, solver, finder=early)
    other = whole_trajectory(capped, trajectory.image, solver, finder=early, max_batch=6)
    assert max(free.sizes) == 70 and max(capped.sizes) == 6
    assert (error_db(other.noise, one.noise) < -200).all()
    assert other.converged.all()


# Other samplers, read from diffusers

SCHEDULERS: dict[str, Any] = {
    "UniPC": lambda: diffusers.UniPCMultistepScheduler(**SD),
    "Heun": lambda: diffusers.HeunDiscreteScheduler(**SD),
    "DEIS": lambda: diffusers.DEISMultistepScheduler(**SD),
    "LMS": lambda: diffusers.LMSDiscreteScheduler(**SD),
    "PNDM": lambda: diffusers.PNDMScheduler(**SD, skip_prk_steps=True),
    "singlestep": lambda: diffusers.DPMSolverSinglestepScheduler(**SD),
    "multistep, Karras": lambda: diffusers.DPMSolverMultistepScheduler(
        **SD, use_karras_sigmas=True
    ),
    "KDPM2": lambda: diffusers.KDPM2DiscreteScheduler(**SD),
    "EDM": lambda: diffusers.EDMEulerScheduler(),
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow, Heun": lambda: diffusers.FlowMatchHeunDiscreteScheduler(),
    "v": lambda: diffusers.DDIMScheduler(
        **SD, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False
    ),
    "v, 2M": lambda: diffusers.DPMSolverMultistepScheduler(**SD, prediction_type="v_prediction"),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_probed_schedulers_make_the_round_trip(make: Callable[[], Any]) -> None:
    scheduler = make()
    solver = from_scheduler(scheduler, 10)
    denoiser = twelve(solver.schedule, prediction=network_prediction(scheduler))
    image = sample(denoiser, randn(6, DIM), solver).image
    result = invert(denoiser, image, solver)
    assert result.converged.all()
    assert (image_db(denoiser, result.noise, solver, image) < -200).all()


def test_the_inverse_schedulers_of_diffusers_are_refused() -> None:
    solver = from_scheduler(diffusers.DDIMInverseScheduler(**SD, clip_sample=False), 10)
    with pytest.raises(ValueError, match="from image to noise"):
        invert(twelve(), randn(2, DIM), solver)


# Step by step


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("steps", [10, 50])
def test_stepwise_is_exact_for_ddim(scale: float, steps: int) -> None:
    solver = ddim(SCHEDULE.grid(steps))
    denoiser, noise, trajectory = run(12, scale, solver)
    result = stepwise(denoiser, trajectory.image, solver)
    assert result.converged.all()
    assert (error_db(result.noise, noise) < -200).all()
    assert (error_db(result.states.flatten(1), trajectory.states.flatten(1)) < -200).all()
    measuring = torch.tensor([3 * 2 + 11, *[3 * 2] * 11])  # round-off at two nodes
    assert (result.nfe - measuring <= (14 if steps == 10 else 6) * steps).all()


def test_stepwise_starts_alike_in_every_prediction() -> None:
    """DDIM and DPM-Solver++(1) are one recursion; the extrapolated start is the same state."""
    denoiser, noise, trajectory = run(6, 1.0, ddim(SCHEDULE.grid(20)))
    costs = []
    for make in (ddim, dpm_solver_pp_1):
        solver = make(SCHEDULE.grid(20))
        result = stepwise(denoiser, trajectory.image, solver)
        assert (error_db(result.noise, noise) < -200).all()
        costs.append(result.nfe)
    assert ((costs[1] - costs[0]).abs() <= 5).all()


def test_algorithm1_reaches_its_tolerance() -> None:
    solver = ddim(SCHEDULE.grid(20))
    denoiser, noise, trajectory = run(8, 3.0, solver)
    first = algorithm1(denoiser, trajectory.image, solver)
    assert first.converged.all() and first.method == "algorithm1"
    size = first.states[:-1].flatten(2).norm(dim=2).T  # the residual is relative, the rule is not
    assert (first.residuals * size < 1e-3**0.5).all() and first.residuals.shape == (8, 20)
    assert (first.residuals > 1e-3).any()
    start = naive(denoiser, trajectory.image, solver)
    assert (error_db(first.noise, noise) < error_db(start.noise, noise) - 5).all()
    fine = algorithm1(denoiser, trajectory.image, solver, tol=1e-9)
    assert (error_db(fine.noise, noise) < -120).all()


@pytest.mark.parametrize("finder", [gradient_descent, newton_krylov, fixed_point, anderson])
def test_algorithm1_with_other_finders(finder: Any) -> None:
    solver = ddim(SCHEDULE.grid(20))
    denoiser, noise, trajectory = run(2, 1.0, solver)
    if finder is gradient_descent:
        finder = partial(finder, rho=0.3)
    result = invert(denoiser, trajectory.image, solver, method=partial(algorithm1, finder=finder))
    assert result.converged.all()
    assert (error_db(result.noise, noise) < -30).all()


def test_stepwise_methods_refuse_solvers_with_a_memory() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    for method in (algorithm1, stepwise):
        with pytest.raises(ValueError, match=r"\(2M\)-10 uses older .* or exact$"):
            method(twelve(), randn(2, DIM), solver)


def test_exact_goes_on_with_the_samples_whose_run_misses_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All steps at once; a sample that only looked unsolved is done."""
    solver = ddim(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(6, 3.0, solver)
    weak = partial(stepwise, finder=partial(anderson, max_iterations=17))
    before = weak(denoiser, trajectory.image, solver)
    done = image_db(denoiser, before.noise, solver, trajectory.image) < -200
    assert 0 < done.sum() < 6 and (done >= before.converged).all()
    monkeypatch.setattr(sys.modules["invlib.inverters.exact"], "stepwise", weak)
    result = exact(denoiser, trajectory.image, solver)
    assert result.converged.all() and (error_db(result.noise, noise) < -200).all()
    assert torch.equal(result.nfe[done], before.nfe[done])
    assert (result.nfe[~done] > before.nfe[~done]).all()


@pytest.mark.parametrize("reason", ["converged", "stalled"])
def test_merging_keeps_the_better_of_two_results(reason: str) -> None:
    """Unless the second one converged, which its tolerance says better than a residual."""
    solver = ddim(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 1.0, solver)
    first = replace(stepwise(denoiser, trajectory.image, solver), reason=("stalled",) * 3)
    some = select(denoiser, torch.tensor([0, 2]))
    worse = naive(some, trajectory.image[[0, 2]], solver)
    sizes = first.residuals[[0, 2]] * torch.tensor([[10.0], [0.1]])
    second = replace(worse, residuals=sizes, reason=(reason, reason))
    both = merge(first, second, [0, 2])
    taken = [True, False, True] if reason == "converged" else [False, False, True]
    for row, (at, new) in enumerate(zip((0, None, 1), taken, strict=True)):
        wanted = second.noise[at] if new and at is not None else first.noise[row]
        assert torch.equal(both.noise[row], wanted)
    assert both.reason == tuple(reason if new else "stalled" for new in taken)
    assert (both.nfe[[0, 2]] == first.nfe[[0, 2]] + second.nfe).all()
    assert both.nfe[1] == first.nfe[1]
    assert torch.equal(both.residuals[2], second.residuals[1])


# Approximate methods


def test_algorithm2_has_a_floor() -> None:
    """However well its equations are solved, their frozen term is wrong; but it beats naive."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(8, 1.0, solver)
    start = error_db(naive(denoiser, trajectory.image, solver).noise, noise)
    paper = error_db(algorithm2(denoiser, trajectory.image, solver).noise, noise)
    assert (paper > -60).all() and (paper < -20).all() and (paper < start - 10).all()
    solved = algorithm2(denoiser, trajectory.image, solver, finder=anderson, tol=1e-12)
    assert solved.converged.all() and (error_db(solved.noise, noise) > -70).all()
    coarse = algorithm2(denoiser, trajectory.image, solver, finder=anderson, tol=1e-12, fine=1000)
    assert (error_db(coarse.noise, noise) > error_db(solved.noise, noise) + 5).all()
    guided = run(8, 7.5, solver)
    result = algorithm2(guided[0], guided[2].image, solver, finder=anderson, tol=1e-12)
    assert error_db(result.noise, guided[1]).median() > -40  # and higher with guidance


def test_algorithm2_is_algorithm1_on_first_order_solvers() -> None:
    solver = dpm_solver_pp_1(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 1.0, solver)
    second = algorithm2(denoiser, trajectory.image, solver, finder=anderson, tol=1e-12)
    first = algorithm1(denoiser, trajectory.image, solver, finder=anderson, tol=1e-12)
    assert (error_db(second.noise, first.noise) < -200).all()


def test_algorithm2_refuses_solvers_with_stages() -> None:
    solver = from_scheduler(diffusers.HeunDiscreteScheduler(**SD), 10)
    with pytest.raises(ValueError, match="several stages"):
        algorithm2(twelve(), randn(2, DIM), solver)


def test_one_naive_step_is_equation_7() -> None:
    solver = ddim(SCHEDULE.grid(1))
    denoiser, image = twelve(), randn(3, DIM)
    (a_s, a_t), (s_s, s_t) = solver.alpha, solver.sigma
    noise = denoiser(image, torch.full((3,), 999.0).double())
    wanted = a_s * (image - s_t * noise) / a_t + s_s * noise
    torch.testing.assert_close(naive(denoiser, image, solver).noise, wanted)


def test_naive_has_order_one_towards_the_true_inverse() -> None:
    """Its error falls like 1/N on matching grids, for samplers of any order."""
    denoiser = twelve()
    noise = randn(4, DIM)
    counts = (80, 160, 320)
    for make in (ddim, dpm_solver_pp_2m):
        errors = []
        for steps in counts:
            solver = make(SCHEDULE.grid(steps, spacing="logsnr"))
            image = sample(denoiser, noise, solver).image
            found = naive(denoiser, image, solver).noise
            errors.append((found - noise).norm(dim=1).div(noise.norm(dim=1)).mean().item())
        assert slope(counts, errors) == pytest.approx(1.0, abs=0.2)


def test_more_naive_steps_approach_the_flow_and_not_the_inverse() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser = one_gaussian(SCHEDULE, 8)
    noise = randn(4, 8)
    image = sample(denoiser, noise, solver).image
    results = [naive(denoiser, image, solver, steps=n) for n in (10, 100, 1000)]
    found = [error_db(r.noise, noise).mean().item() for r in results]
    change = (results[2].noise - results[1].noise).norm() / results[2].noise.norm()
    assert found[1] < found[0] and change < 0.05 and found[2] > -30
    assert [r.nfe[0] for r in results] == pytest.approx([10, 100, 1000], rel=0.02)
    assert [r.method for r in results] == ["naive/10", "naive/100", "naive/1000"]


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction", "flow"])
def test_every_kind_of_network_gives_the_same_result(prediction: Any) -> None:
    for final in ("sigma_min", "zero"):
        solver = dpm_solver_pp_2m(SCHEDULE.grid(10, final=final))
        denoiser = twelve(prediction=prediction)
        noise = randn(3, DIM)
        image = sample(denoiser, noise, solver).image
        assert naive(denoiser, image, solver).noise.isfinite().all()
        assert (error_db(invert(denoiser, image, solver).noise, noise) < -200).all()


# What it costs


METHODS: dict[str, tuple[Any, Callable[[Grid], Solver]]] = {
    "naive": (naive, dpm_solver_pp_2m),
    "naive/47": (partial(naive, steps=47), dpm_solver_pp_2m),
    "algorithm1": (algorithm1, ddim),
    "algorithm2": (algorithm2, dpm_solver_pp_2m),
    "stepwise": (stepwise, ddim),
    "exact": (exact, ddim),
    "whole_trajectory": (partial(whole_trajectory, finish=None), dpm_solver_pp_2m),
}


@pytest.mark.parametrize(("method", "make"), METHODS.values(), ids=METHODS)
def test_evaluations_are_counted_one_by_one(method: Any, make: Callable[[Grid], Solver]) -> None:
    solver = make(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(5, 3.0, solver)
    network = counted(denoiser, 5)
    result = method(network, trajectory.image, solver)
    judging = 10 if method is exact else 0  # the run that the certificate need not repeat
    assert (result.nfe + judging).tolist() == network.per_sample
    assert result.nfe.min() >= 10
    if method is naive:
        assert result.nfe.tolist() == [10] * 5


def test_derivatives_cost_two_and_three() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 1.0, solver)
    network = counted(denoiser, 3)
    descent = partial(gradient_descent, rho=0.3)
    result = algorithm1(network, trajectory.image, solver, finder=descent)
    walk = torch.tensor([10] * 3)
    calls = torch.tensor(network.per_sample)
    assert torch.equal(result.nfe, walk + 3 * (calls - walk))
    assert torch.equal(calls - walk, result.iterations)

    network = counted(denoiser, 3)
    result = algorithm1(network, trajectory.image, solver, finder=newton_krylov)
    calls = torch.tensor(network.per_sample)
    assert (calls < result.nfe).all() and (result.nfe < 2 * calls).all()


# What goes wrong is said


def test_images_that_are_none_are_refused() -> None:
    solver, denoiser = ddim(SCHEDULE.grid(4)), twelve()
    image = randn(2, DIM)
    image[1, 3] = torch.nan
    for method in ("exact", "naive", "algorithm1", "algorithm2", "stepwise", "whole_trajectory"):
        with pytest.raises(ValueError, match="image contains NaN"):
            invert(denoiser, image, solver, method=method)
        with pytest.raises(ValueError, match="image must be a floating-point batch.*int64"):
            invert(denoiser, torch.ones(2, DIM, dtype=torch.long), solver, method=method)
        with pytest.raises(ValueError, match="floating-point batch"):
            invert(denoiser, torch.ones(DIM), solver, method=method)


def test_unknown_methods_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown method 'magic'.*exact, naive, algorithm1"):
        invert(twelve(), randn(2, DIM), ddim(SCHEDULE.grid(4)), method="magic")


def test_one_condition_per_image() -> None:
    for batch in (2, 5):
        with pytest.raises(ValueError, match=f"{batch} rows of image but 3 conditions"):
            invert(prompted(3, 2.0), randn(batch, DIM), ddim(SCHEDULE.grid(4)))


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_a_network_that_fails_on_one_sample_hurts_no_other(make: Callable[[Grid], Solver]) -> None:
    solver = make(SCHEDULE.grid(6))
    denoiser, noise, trajectory = run(3, 3.0, solver)

    class Broken:
        prediction = "epsilon"

        def __init__(self, network: Any, rows: Tensor) -> None:
            self.network, self.rows = network, rows

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            bad = (self.rows == 1) & (t > 500)
            return torch.where(bad[:, None], torch.nan, self.network(x, t))

        def select(self, rows: Tensor) -> Any:
            return Broken(select(self.network, rows), self.rows[rows])

    broken = Broken(denoiser, torch.arange(3))
    result = invert(broken, trajectory.image, solver)
    assert result.reason == ("converged", "diverged", "converged")
    assert (error_db(result.noise, noise)[[0, 2]] < -200).all()
    proof = certify(broken, result, solver, vectors=2)
    assert proof.verdict == ("exact", "failed", "exact")


# Precision


def test_a_float32_network_is_inverted_to_its_round_off() -> None:
    class Single:
        prediction, dtype = "epsilon", torch.float32

        def __init__(self, network: Any) -> None:
            self.network = network

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return self.network(x.float().double(), t).float()

        def select(self, rows: Tensor) -> Any:
            return Single(select(self.network, rows))

    for make in (ddim, dpm_solver_pp_2m):
        solver = make(SCHEDULE.grid(10))
        denoiser = Single(prompted(6, 3.0))
        noise = randn(6, DIM, seed=1)
        image = sample(denoiser, noise, solver).image
        result = invert(denoiser, image, solver)
        assert result.noise.dtype == torch.float64 and result.converged.all()
        assert (image_db(denoiser, result.noise, solver, image) < -110).all()
        assert (result.nfe < 350).all()
        assert certify(denoiser, result, solver, vectors=0).verdict == ("exact",) * 6


def measured(denoiser: Denoiser, image: Tensor, solver: Solver) -> Roundoff:
    """The round-off of a network where an image is noised at random."""
    evaluator, image = Evaluator.start(denoiser, image, solver)
    noised = random_states(image, solver, 0)[:-1].transpose(0, 1)
    return roundoff(evaluator, noised, torch.arange(len(image)))


def test_the_tolerance_of_a_step_grows_with_the_round_off_of_guidance() -> None:
    """Guidance w - (w - 1) multiplies that of both predictions, which are almost the same."""

    class Single:
        prediction = "epsilon"

        def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return twelve()(x, t, condition).float()

    solver = ddim(SCHEDULE.grid(10))
    sizes = []
    for scale in (1.0, 7.5):
        denoiser = replace(prompted(4, scale), network=Single())
        image = sample(denoiser, randn(4, DIM, seed=1), solver).image
        found = measured(denoiser, image, solver).outputs
        assert torch.equal(step_tolerance(found), found / 2)
        assert torch.equal(step_tolerance(1e-9 * found), torch.full_like(found, 1e-14))
        sizes.append(found.mean().item())
    assert 3 < sizes[1] / sizes[0] < 14


def test_at_high_guidance_no_step_searches_below_round_off() -> None:
    class Single:
        prediction, dtype = "epsilon", torch.float32

        def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            return (twelve()(x, t, condition) / 1.7e-7).round() * 1.7e-7  # as after many layers

    solver = ddim(SCHEDULE.grid(10))
    denoiser = replace(prompted(2, 7.5), network=Single())
    image = sample(denoiser, randn(2, DIM, seed=1), solver).image
    result = stepwise(denoiser, image, solver)
    lower = stepwise(denoiser, image, solver, tol=1e-8)
    assert result.converged.all() and not lower.converged.all()
    assert (result.nfe < 0.7 * lower.nfe).all()
    assert (image_db(denoiser, result.noise, solver, image) < -110).all()


def test_integer_and_single_precision_states() -> None:
    solver = ddim(SCHEDULE.grid(5))
    image = sample(twelve(), randn(2, DIM), solver).image
    result = invert(twelve(), image.float(), solver)
    assert result.noise.dtype == torch.float64 and result.converged.all()


# Derivatives


def test_the_derivative_of_the_inverse_is_the_inverse_of_the_derivative() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(1, 3.0, solver)
    jacobian = torch.func.jacrev(lambda x: sample_image(denoiser, x, solver))(noise)
    jacobian = jacobian.reshape(DIM, DIM)
    torch.testing.assert_close(sample_image(denoiser, noise, solver), trajectory.image)
    direction = randn(1, DIM, seed=3)
    moved = sample(denoiser, noise + 1e-6 * direction, solver).image - trajectory.image
    torch.testing.assert_close(moved[0] / 1e-6, jacobian @ direction[0], rtol=1e-3, atol=1e-4)
    shift = 1e-6 * randn(1, DIM, seed=4)
    found = invert(denoiser, trajectory.image + shift, solver).noise - noise
    torch.testing.assert_close(
        found[0] / 1e-6, torch.linalg.solve(jacobian, shift[0]) / 1e-6, rtol=1e-3, atol=1e-3
    )


def test_results_carry_no_gradient() -> None:
    solver = ddim(SCHEDULE.grid(4))
    image = sample(twelve(), randn(2, DIM), solver).image.requires_grad_()
    descent = partial(algorithm1, finder=partial(gradient_descent, rho=0.3, max_iterations=3))
    methods: list[Any] = ["exact", "naive", "algorithm1", "algorithm2", "whole_trajectory", descent]
    for method in methods:
        result: Inversion = invert(twelve(), image, solver, method=method)
        assert not result.noise.requires_grad and not result.states.requires_grad


def test_only_the_first_step_of_algorithm_2_halves_its_steps_where_it_stands_still() -> None:
    """As in the authors' code, which gives the last step, next to the image, a rule of its own."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(6))
    rules = [_paper_finder(solver, i).keywords for i in range(6)]
    assert [rule.get("plateau", "default") for rule in rules] == [20, *[None] * 4, "default"]
    assert rules[-1]["rho"] == 1 and 0 < rules[0]["rho"] < rules[3]["rho"] <= 1


def test_a_result_is_printed_without_what_it_knows_beside_the_noise() -> None:
    tensor = torch.zeros(1, 3)
    empty = Inversion(tensor, tensor[None], tensor, *[torch.zeros(1)] * 2, ("budget",), "naive")
    known = {name: tensor for name in ("again", "repeat", "others", "nfe_others", "starts")}
    full = replace(empty, roundoff=Roundoff(tensor, tensor, 0.0), **known)
    assert repr(full) == repr(empty)


def test_between_two_stages_of_one_time_nothing_is_walked() -> None:
    """And nothing is asked of the network."""
    solver, calls = ddim(SCHEDULE.grid(3)), list[int]()
    network = predicting(lambda x, t: calls.append(len(x)) or x, "epsilon")
    y = randn(2, 4)
    evaluator, _ = Evaluator.start(network, y, solver)
    assert walk(evaluator, y, 1, 1, 5, torch.arange(2)) is y and not calls


def test_a_step_that_does_not_ask_the_network_tells_no_noise() -> None:
    evaluator, image = Evaluator.start(twelve(), randn(2, DIM), ddim(SCHEDULE.grid(3)))
    assert not StepProblem(evaluator, 1, image, b=0.0).noise(image).any()


def test_a_batch_is_for_inverters_that_take_one() -> None:
    def mine(denoiser: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        raise AssertionError

    assert in_parts(mine, None) is mine
    assert in_parts(naive, 3).keywords == {"max_batch": 3}  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="mine takes no max_batch: leave it out"):
        in_parts(mine, 3)


@pytest.mark.parametrize(
    ("memory", "steps", "free", "expected"),
    [
        (30, 10, None, (30, torch.float64)),
        (300, 20, None, (100, torch.float64)),  # the pairs of all nodes make one system
        (30, 10, 4 * 3 * 8 * 30 * 1000, (30, torch.float64)),
        (30, 10, 4 * 3 * 8 * 30 * 1000 - 4, (30, torch.float32)),
        (30, 10, 4 * 3 * 4 * 7 * 1000, (7, torch.float32)),
        (30, 10, 0, (4, torch.float32)),
    ],
)
def test_pairs_are_kept_by_what_is_free(
    memory: int, steps: int, free: float | None, expected: tuple[int, torch.dtype]
) -> None:
    assert most_pairs(memory, steps, 1000, free) == expected
