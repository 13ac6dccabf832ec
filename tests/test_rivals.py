"""Rivals: what each paper claims of its method, and how far it is true; and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import diffusers
import pytest
import torch
from analytic import SD, randn, slope
from torch import Tensor
from twelve import DIM, SCHEDULE, counted, error_db, image_db, prompted, run, twelve

from invlib.denoisers import Guided, gaussian, guided, predicting
from invlib.inversion import Inversion
from invlib.inverters import invert, naive
from invlib.probing import from_scheduler
from invlib.rivals import (
    RIVALS,
    NullInversion,
    aidi_a,
    aidi_e,
    ddim_inverse,
    dpm_inverse,
    first_order,
    fpi,
    gnri,
    gnri_released,
    ife,
    newton,
    npi,
    null_text,
    renoise,
    spdinv,
    with_nulls,
)
from invlib.rivals.adam import Adam
from invlib.sampling import sample
from invlib.schedule import Grid
from invlib.solvers import Solver, ddim, dpm_solver_pp_1, dpm_solver_pp_2m, dpm_solver_pp_3m

Method = Callable[..., Inversion]


def one_step(before: float, after: float) -> Solver:
    """DDIM's single step between two times."""
    t = torch.tensor([before, after], dtype=torch.float64)
    return ddim(Grid(t, SCHEDULE.alpha_t(t), SCHEDULE.sigma_t(t), SCHEDULE))


ONE = one_step(500, 450)


def linear(rates: Tensor) -> Guided:
    """A linear network for which the step's fixed point contracts by ``rates [B, DIM]``."""
    scale = -ONE.a[0] / ONE.b[0, 0] * rates
    null = torch.zeros_like(scale[:1])
    return guided(lambda x, t, c: c * x, scale, null, 1.0, prediction="epsilon")


def linear_error(method: Method, rates: Tensor) -> tuple[Tensor, Inversion]:
    """Error of a method's one step per coordinate, over that of its start, and the result."""
    denoiser, noise = linear(rates), randn(*rates.shape)
    image = sample(denoiser, noise, ONE).image
    result = method(denoiser, image, ONE)
    return (result.noise - noise) / (image - noise), result


def embedded(batch: int, scale: float) -> Guided:
    """The mixture, moved to where a float embedding says, guided."""
    mixture = twelve()

    def network(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return mixture(x - mixture.schedule.alpha_t(t)[:, None] * c, t)

    condition, null = 0.3 * randn(batch, DIM, seed=11), torch.zeros(1, DIM).double()
    return guided(network, condition, null, scale, prediction="epsilon")


# Fixed points


@pytest.mark.parametrize("rate", [0.5, -0.5, 0.9])
def test_fpi_contracts_at_the_lipschitz_constant(rate: float) -> None:
    rates = torch.full((2, DIM), rate, dtype=torch.float64)
    for iterations in (3, 9):
        error, _ = linear_error(partial(fpi, iterations=iterations), rates)
        torch.testing.assert_close(error, rates**iterations)


def test_fpi_says_that_it_diverged() -> None:
    rates = torch.tensor([0.1, 1.01, -3.0], dtype=torch.float64)[:, None].expand(3, DIM)
    error, result = linear_error(partial(fpi, tol=1e-12), rates)
    assert result.reason == ("converged", "budget", "diverged")
    assert result.residuals[0] < 1e-12 and (result.residuals[1:] > 1e-3).all()
    assert (error[0].abs() < 1e-9).all() and (error[1:].abs() > 0.5).all()


def test_aidi_a_solves_linear_steps_in_as_many_iterations_as_they_have_rates() -> None:
    rates = torch.tensor([0.8, 0.4, -1.7], dtype=torch.float64).repeat(2, 22)[:, :DIM]
    error, result = linear_error(partial(aidi_a, tol=1e-12), rates)
    assert result.converged.all() and (result.iterations <= 5).all() and (result.nfe <= 6).all()
    assert (error.abs() < 1e-11).all()
    plain = partial(fpi, iterations=100, tol=1e-12)
    assert not linear_error(plain, rates)[1].converged.any()
    assert (linear_error(plain, rates.clamp(min=0))[1].iterations > 50).all()


@pytest.mark.parametrize("rate", [-1.6, -1.2, -0.4, 0.5, 0.9])
def test_aidi_e_trades_one_sign_for_the_other(rate: float) -> None:
    """Its error falls with the roots of mu^2 = rate (mu + 1) / 2, all below 1 for -2 < rate < 1."""
    rates = torch.full((1, DIM), rate, dtype=torch.float64)
    speed = torch.linalg.eigvals(torch.tensor([[rate / 2, rate / 2], [1, 0]])).abs().max().item()
    error, result = linear_error(partial(aidi_e, iterations=600, tol=1e-11), rates)
    assert result.converged.all() and (error.abs() < 1e-8).all()
    assert (speed < abs(rate)) == (rate < -0.5)
    few, many = (linear_error(partial(aidi_e, iterations=k), rates)[0].norm() for k in (8, 24))
    assert (many / few).item() ** (1 / 16) == pytest.approx(speed, rel=0.15)
    assert not linear_error(aidi_e, torch.full_like(rates, 1.1))[1].converged.any()


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_aidi_a_beats_fpi_at_equal_cost(scale: float) -> None:
    solver = ddim(SCHEDULE.grid(20))
    denoiser, noise, trajectory = run(4, scale, solver)
    plain = fpi(denoiser, trajectory.image, solver, iterations=5)
    fast = aidi_a(denoiser, trajectory.image, solver)
    mean = aidi_e(denoiser, trajectory.image, solver)
    errors = [error_db(r.noise, noise).median() for r in (fast, plain, mean)]
    assert errors[0] < errors[1] - 30 and errors[1] < errors[2] - 10  # in this order on this model
    full = aidi_a(denoiser, trajectory.image, solver, iterations=40)
    assert full.converged.all() and (error_db(full.noise, noise) < -180).all()


def test_renoise_averages_its_window() -> None:
    rates = torch.tensor([0.7, -0.7], dtype=torch.float64)[:, None].expand(2, DIM)
    powers = [rates**k for k in range(1, 11)]
    error, result = linear_error(renoise, rates)
    torch.testing.assert_close(error, (powers[8] + powers[9]) / 2)
    assert result.reason == ("budget",) * 2 and result.residuals.isnan().all()
    assert error[1].abs().max() < powers[9][1].abs().max()  # alternating errors cancel
    assert error[0].abs().min() > powers[9][0].abs().max()  # others do not
    error, _ = linear_error(partial(renoise, early=1001.0), rates)
    torch.testing.assert_close(error, torch.stack(powers[:5]).mean(0))
    error, _ = linear_error(partial(renoise, iterations=1), rates)
    torch.testing.assert_close(error, powers[1])


# Newton


def step_errors(method: Method, rounds: range) -> list[float]:
    """Worst relative error of the state before a long step, after so many iterations."""
    solver = one_step(700, 600)
    denoiser, noise, trajectory = run(3, 1.0, solver)
    results = [method(denoiser, trajectory.image, solver, iterations=k) for k in rounds]
    return [((r.noise - noise).norm(dim=1) / noise.norm(dim=1)).max().item() for r in results]


def test_newton_converges_quadratically() -> None:
    errors = step_errors(partial(newton, forcing=1e-12, krylov=DIM, tol=1e-15), range(1, 6))
    for before, after in zip(errors, errors[1:], strict=False):
        assert after < max(10 * before**2, 1e-13)
    assert errors[-1] < 1e-12 < errors[1]


def test_gnri_does_not() -> None:
    """Its prior keeps it from the root; without it, it converges slowly or not at all."""
    for method in (gnri, gnri_released):
        with_prior = step_errors(method, range(2, 22, 6))
        assert min(with_prior) > 1e-3
        without = step_errors(partial(method, prior=0.0), range(1, 12))
        assert all(b > 0.5 * a for a, b in zip(without, without[1:], strict=False))
        assert without[-1] > 1e-3


def test_gnri_is_newtons_method_for_one_unknown_and_its_code_is_not() -> None:
    solver, mixture = one_step(700, 500), twelve(dim=1)
    noise = randn(1, 1)
    image = sample(mixture, noise, solver).image

    def errors(method: Method) -> list[float]:
        find = partial(method, mixture, image, solver, prior=0.0)
        return [(find(iterations=k).noise - noise).abs().item() for k in range(1, 8)]

    newtons, codes = errors(gnri), errors(gnri_released)
    assert newtons[-1] < 1e-14 and any(1e-10 < e < 1e-2 for e in newtons)
    for before, after in zip(newtons, newtons[1:], strict=False):
        assert after < max(10 * before**2, 1e-14)
    assert codes[-1] > 1e-8


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_newton_is_exact_where_gnri_is_not(scale: float) -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(3, scale, solver)
    exact = newton(denoiser, trajectory.image, solver)
    assert exact.converged.all() and (error_db(exact.noise, noise) < -200).all()
    start = error_db(naive(denoiser, trajectory.image, solver).noise, noise)
    for method in (gnri, gnri_released):
        found = error_db(method(denoiser, trajectory.image, solver).noise, noise)
        assert (found < start).all() and (found > -40).all()


# Gradients


def test_spdinv_lowers_the_residual_to_its_threshold() -> None:
    denoiser, _, trajectory = run(3, 1.0, one_step(700, 600))
    find = partial(spdinv, denoiser, trajectory.image, one_step(700, 600))
    found = [find(iterations=k, threshold=1e-12).residuals for k in (1, 2, 4, 8, 16, 32)]
    assert all((b < a).all() for a, b in zip(found, found[1:], strict=False))
    solver = ddim(SCHEDULE.grid(20))
    denoiser, _, trajectory = run(2, 1.0, solver)
    result = spdinv(denoiser, trajectory.image, solver, iterations=200)
    assert result.converged.all()
    assert (result.residuals <= 5e-6**0.5 * solver.a).all()


def test_spdinv_moves_a_state_by_three_hundredths_at_most() -> None:
    """25 rounds of AdamW at 1e-3: with few steps the start is further away than that."""
    solver = ddim(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(3, 1.0, solver)
    start = naive(denoiser, trajectory.image, solver)
    result = spdinv(denoiser, trajectory.image, solver)
    assert (result.states[-2] - start.states[-2]).abs().max() < 0.03
    assert not result.converged.any()
    gain = error_db(start.noise, noise) - error_db(result.noise, noise)
    assert (gain > 0).all() and (gain < 20).all()


def test_25_rounds_of_adam_can_move_a_number_by_more_than_25_steps() -> None:
    """Gradients that grow by a tenth in every round are the worst case, by 9 %."""
    x, rows = torch.zeros(1, 1, dtype=torch.float64), torch.arange(1)
    adam = Adam(x, 1e-3)
    for growth in range(25):
        x = adam.step(x, torch.full_like(x, -(1.1**growth)), rows)
    assert 0.0271 < x.item() < 0.0272


# Editing


def test_null_text_keeps_to_the_pivot_and_plain_guidance_does_not() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser = embedded(3, 7.5)
    image = sample(replace(denoiser, scale=1.0), randn(3, DIM), solver).image
    result = null_text(denoiser, image, solver)
    again = sample(with_nulls(denoiser, solver, result.nulls), result.noise, solver)
    plain = sample(denoiser, result.noise, solver)
    assert (error_db(again.image, image) < error_db(plain.image, image) - 10).all()
    for i in range(2, 11):
        pivot = result.states[i]
        assert (error_db(again.states[i], pivot) < error_db(plain.states[i], pivot)).all()
    missed = (again.states[1:] - result.states[1:]).norm(dim=2) / result.states[1:].norm(dim=2)
    torch.testing.assert_close(result.residuals, missed.T)
    assert (error_db(again.image, image) > -60).all()  # its thresholds are no better than that
    more = null_text(denoiser, image, solver, iterations=50, stop=-1.0)
    assert (more.residuals.amax(1) < result.residuals.amax(1)).all()


def test_npi_undoes_guidance() -> None:
    solver = ddim(SCHEDULE.grid(20))
    denoiser = embedded(3, 7.5)
    single = replace(denoiser, scale=1.0)
    image = sample(single, randn(3, DIM), solver).image
    result = npi(denoiser, image, solver)
    again = sample(with_nulls(denoiser, solver, result.nulls), result.noise, solver)
    torch.testing.assert_close(again.states, sample(single, result.noise, solver).states)
    torch.testing.assert_close(result.noise, naive(single, image, solver).noise)
    assert result.nulls.shape == (20, 3, DIM)


def test_other_inverters_work_with_the_found_prompts() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser = embedded(3, 3.0)
    image = sample(replace(denoiser, scale=1.0), randn(3, DIM), solver).image
    result = null_text(denoiser, image, solver)
    fitted = with_nulls(denoiser, solver, result.nulls)
    for method in ("exact", "whole_trajectory"):
        found = invert(fitted, image, solver, method=method)
        assert found.converged.all() and (image_db(fitted, found.noise, solver, image) < -200).all()


def test_null_prompts_need_a_guided_embedding() -> None:
    solver, image = ddim(SCHEDULE.grid(4)), randn(2, DIM)
    for method in (null_text, npi):
        with pytest.raises(ValueError, match="made by invlib.guided"):
            method(twelve(), image, solver)
    with pytest.raises(ValueError, match="int64 cannot be optimised"):
        null_text(prompted(2, 3.0), image, solver)
    assert npi(prompted(2, 3.0), image, solver).nulls.dtype == torch.long


# Explicit methods


def test_ife_is_exact_where_the_data_prediction_is_constant() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, noise = gaussian(SCHEDULE, randn(DIM), 0.0), randn(3, DIM, seed=1)
    image = sample(denoiser, noise, solver).image
    assert (error_db(ife(denoiser, image, solver).noise, noise) < -200).all()
    assert (error_db(naive(denoiser, image, solver).noise, noise) > -20).all()


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_ife_has_order_one(make: Any) -> None:
    denoiser, noise, counts = twelve(), randn(4, DIM), (80, 160, 320)
    errors = []
    for steps in counts:
        solver = make(SCHEDULE.grid(steps, spacing="logsnr"))
        image = sample(denoiser, noise, solver).image
        found = ife(denoiser, image, solver).noise
        errors.append(((found - noise).norm(dim=1) / noise.norm(dim=1)).mean().item())
    assert slope(counts, errors) == pytest.approx(1.0, abs=0.2)


def test_two_stock_schedulers_by_other_names() -> None:
    """DDIMInverseScheduler is naive inversion; DPM-Solver's at order 1 is IFE as we derive it."""
    solver = dpm_solver_pp_1(SCHEDULE.grid(20))
    denoiser, _, trajectory = run(4, 3.0, solver)
    image = trajectory.image
    assert (
        error_db(dpm_inverse(denoiser, image, solver).noise, ife(denoiser, image, solver).noise)
        < -100
    ).all()
    assert (
        error_db(ddim_inverse(denoiser, image, solver).noise, naive(denoiser, image, solver).noise)
        < -60
    ).all()


def test_the_order_of_the_stock_inverse_is_no_exactness() -> None:
    for make, bound in ((dpm_solver_pp_1, -25), (dpm_solver_pp_2m, -60), (dpm_solver_pp_3m, -60)):
        solver = make(SCHEDULE.grid(20))
        denoiser, noise, trajectory = run(8, 1.0, solver)
        found = error_db(dpm_inverse(denoiser, trajectory.image, solver).noise, noise).median()
        assert bound < found < -8
        assert (error_db(invert(denoiser, trajectory.image, solver).noise, noise) < -200).all()


def test_the_default_final_sigma_costs_the_stock_inverse_20_db() -> None:
    """Since diffusers 0.26 samplers end at no noise; their inverse starts at the smallest level."""
    found = {}
    for final in ("zero", "sigma_min"):
        scheduler = diffusers.DPMSolverMultistepScheduler(**SD, final_sigmas_type=final)
        solver = from_scheduler(scheduler, 20)
        denoiser, noise, trajectory = run(8, 1.0, solver)
        result = dpm_inverse(denoiser, trajectory.image, solver, scheduler=scheduler)
        assert (result.nfe == 20).all() and result.reason == ("explicit",) * 8
        found[final] = error_db(result.noise, noise).median()
    assert -20 < found["zero"] < -5 and found["sigma_min"] < found["zero"] - 15
    assert found["sigma_min"] > -60


def test_stock_schedulers_need_a_grid_that_diffusers_has() -> None:
    solver = ddim(SCHEDULE.grid(10, spacing="leading", offset=1))
    denoiser, noise, trajectory = run(3, 1.0, solver)
    for method, name in ((ddim_inverse, "DDIM"), (dpm_inverse, "DPMSolverMultistep")):
        with pytest.raises(ValueError, match="give the scheduler"):
            method(denoiser, trajectory.image, solver)
        options = SD | {"timestep_spacing": "leading", "steps_offset": 1}
        options |= {"clip_sample": False} if name == "DDIM" else {"final_sigmas_type": "sigma_min"}
        scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
        pair = from_scheduler(scheduler, 10)
        image = sample(denoiser, noise, pair).image
        result = method(denoiser, image, pair, scheduler=scheduler)
        assert (error_db(result.noise, noise) < -3).all()
    with pytest.raises(ValueError, match="no prediction 'flow'"):
        ddim_inverse(predicting(twelve(), "flow"), randn(2, DIM), ddim(SCHEDULE.grid(10)))


# All of them


def test_first_order_keeps_first_order_solvers_and_the_grid_of_others() -> None:
    grid = SCHEDULE.grid(10)
    assert first_order(solver := ddim(grid)) is solver
    same, other = dpm_solver_pp_1(grid), first_order(dpm_solver_pp_2m(grid))
    torch.testing.assert_close(other.a, same.a)
    torch.testing.assert_close(other.b, same.b)
    assert other.name == "DDIM on DPM-Solver++(2M)-10"
    rising = replace(dpm_solver_pp_2m(grid), sigma=grid.sigma.roll(1))
    with pytest.raises(ValueError, match="noise level rises"):
        first_order(rising)


def test_flow_matching_is_first_order_too() -> None:
    solver = from_scheduler(diffusers.FlowMatchEulerDiscreteScheduler(), 8)
    denoiser, noise = twelve(solver.schedule, prediction="flow"), randn(2, DIM, seed=1)
    image = sample(denoiser, noise, solver).image
    assert (error_db(newton(denoiser, image, solver).noise, noise) < -180).all()
    assert not fpi(denoiser, image, solver, iterations=100).converged.any()
    with pytest.raises(ValueError, match="give the scheduler"):
        dpm_inverse(denoiser, image, solver)


SAMPLERS: dict[str, Callable[[], Solver]] = {
    "3M, final sigma 0": lambda: dpm_solver_pp_3m(SCHEDULE.grid(5, final="zero")),
    "UniPC": lambda: from_scheduler(diffusers.UniPCMultistepScheduler(**SD), 5),
    "Heun": lambda: from_scheduler(diffusers.HeunDiscreteScheduler(**SD), 3),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_every_rival_attacks_every_table(make: Callable[[], Solver]) -> None:
    solver = make()
    denoiser = embedded(2, 2.0)
    image = sample(denoiser, randn(2, DIM), solver).image
    for name, method in RIVALS.items():
        result = invert(denoiser, image, solver, method=method)
        assert result.noise.shape == image.shape and result.noise.isfinite().all(), name
        assert len(result.reason) == len(result.nfe) == 2 and result.method == name
        assert result.states.shape[1:] == image.shape and torch.equal(result.states[-1], image)
        assert not result.noise.requires_grad and not result.states.requires_grad


def test_on_higher_orders_the_rivals_solve_another_equation() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(4, 1.0, solver)
    result = newton(denoiser, trajectory.image, solver)
    assert result.converged.all() and (error_db(result.noise, noise) > -50).all()
    again = sample(denoiser, result.noise, first_order(solver))
    assert (error_db(again.image, trajectory.image) < -200).all()


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_every_kind_of_network_gives_the_same_root(kind: Any) -> None:
    solver = ddim(SCHEDULE.grid(8))
    noise = randn(2, DIM)
    image = sample(twelve(), noise, solver).image
    result = newton(twelve(prediction=kind), image, solver)
    assert result.converged.all() and (error_db(result.noise, noise) < -200).all()
    for other in (ife, renoise, gnri_released):
        found = [
            other(network, image, solver).noise for network in (twelve(), twelve(prediction=kind))
        ]
        assert (error_db(found[1], found[0]) < -200).all()


def test_a_sample_that_fails_hurts_no_other() -> None:
    solver = ddim(SCHEDULE.grid(4))
    denoiser = embedded(3, 2.0)
    image = sample(denoiser, randn(3, DIM), solver).image
    condition = denoiser.condition.clone()
    condition[1] = torch.nan
    for name, method in RIVALS.items():
        whole = invert(denoiser, image, solver, method=method)
        broken = invert(replace(denoiser, condition=condition), image, solver, method=method)
        torch.testing.assert_close(broken.noise[[0, 2]], whole.noise[[0, 2]], msg=name)
        assert broken.nfe[[0, 2]].tolist() == whole.nfe[[0, 2]].tolist(), name
        assert broken.reason[0] == whole.reason[0] and broken.reason[1] != "converged"


# Costs


@pytest.mark.parametrize(
    "name", ["fpi", "aidi_a", "aidi_e", "renoise", "gnri_released", "ife", "ddim_inverse"]
)
def test_evaluations_are_counted_one_by_one(name: str) -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 3.0, solver)
    network = counted(denoiser, 3)
    result = RIVALS[name](network, trajectory.image, solver)
    assert result.nfe.tolist() == network.per_sample


def test_derivatives_cost_two_and_three() -> None:
    solver = ddim(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 3.0, solver)
    for method, starts in ((spdinv, 10), (gnri, 0)):
        network = counted(denoiser, 3)
        result = method(network, trajectory.image, solver)
        wanted = [starts + 3 * (calls - starts) for calls in network.per_sample]
        assert result.nfe.tolist() == wanted
    network = counted(denoiser, 3)
    result = newton(network, trajectory.image, solver)
    assert all(c < n < 2 * c for c, n in zip(network.per_sample, result.nfe.tolist(), strict=True))


def test_published_costs() -> None:
    solver = ddim(SCHEDULE.grid(20))
    near = int((solver.t < 250).sum())
    denoiser = embedded(2, 3.0)
    image = sample(denoiser, randn(2, DIM), solver).image
    wanted = {"renoise": 6 * near + 10 * (20 - near), "gnri": 6 * 20, "gnri_released": 2 * 20}
    wanted |= dict.fromkeys(("ife", "npi", "ddim_inverse", "dpm_inverse"), 20)
    for name, cost in wanted.items():
        assert RIVALS[name](denoiser, image, solver).nfe.tolist() == [cost, cost], name
    for method, rounds in ((fpi, 20), (aidi_a, 5), (aidi_e, 5)):
        result = method(denoiser, image, solver, tol=1e-13)  # without one round-off is measured
        assert torch.equal(result.nfe, 20 + result.iterations)
        assert (result.iterations <= 20 * rounds).all()
    result = null_text(denoiser, image, solver)
    assert torch.equal(result.nfe, 2 * 20 + 3 * result.iterations)
    assert (result.iterations <= 20 * 10).all() and isinstance(result, NullInversion)
