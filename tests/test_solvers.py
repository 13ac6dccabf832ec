"""Solvers: order of convergence, equality with diffusers' own loops, the sampling loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial

import diffusers
import numpy as np
import pytest
import torch
from analytic import (
    SD,
    diffusers_loop,
    gaussian_path,
    mixture,
    mixture_end,
    noise_prediction,
    one_gaussian,
    randn,
    relative,
    run_from,
    slope,
)
from torch import Tensor

from invlib.denoisers import guided, predicting
from invlib.sampling import sample
from invlib.schedule import Grid, Schedule
from invlib.solvers import (
    Solver,
    ddim,
    dpm_solver_1,
    dpm_solver_2m,
    dpm_solver_pp_1,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)

SCHEDULE = Schedule.scaled_linear()
FULL = {"lower_order_final": False}
# name: (table, order with exact history, order of the whole from its own first-order first step);
# 3M as diffusers has it is of order 2, because a factor 2 is missing (see dpm_solver_pp_3m).
SOLVERS: dict[str, tuple[Callable[[Grid], Solver], int, int]] = {
    "ddim": (ddim, 1, 1),
    "dpm_solver_pp_1": (dpm_solver_pp_1, 1, 1),
    "dpm_solver_1": (dpm_solver_1, 1, 1),
    "dpm_solver_pp_2m midpoint": (partial(dpm_solver_pp_2m, **FULL), 2, 2),
    "dpm_solver_pp_2m heun": (partial(dpm_solver_pp_2m, kind="heun", **FULL), 2, 2),
    "dpm_solver_2m midpoint": (partial(dpm_solver_2m, **FULL), 2, 2),
    "dpm_solver_2m heun": (partial(dpm_solver_2m, kind="heun", **FULL), 2, 2),
    "dpm_solver_pp_3m diffusers": (partial(dpm_solver_pp_3m, **FULL), 2, 2),
    "dpm_solver_pp_3m taylor": (partial(dpm_solver_pp_3m, kind="taylor", **FULL), 3, 2),
}


def outputs_used(name: str) -> int:
    return 3 if "3m" in name else 2 if "2m" in name else 1


def gaussian_slope(name: str, start: int) -> float:
    """Order of the image; the first ``start`` states and outputs are given exactly."""
    build, errors, y = SOLVERS[name][0], [], randn(5, 3)
    steps = [500, 1000, 2000] if "taylor" in name else [40, 80, 160, 320]
    for n in steps:
        solver = build(SCHEDULE.grid(n, spacing="logsnr"))
        exact = gaussian_path(solver.alpha, solver.sigma, y)
        image = run_from(solver, one_gaussian(SCHEDULE), exact, start)
        errors.append((image - exact[-1]).abs().max().item())
    return slope(steps, errors)


@pytest.mark.parametrize("name", SOLVERS)
def test_order_with_exact_history(name: str) -> None:
    measured = gaussian_slope(name, outputs_used(name) - 1)
    assert abs(measured - SOLVERS[name][1]) < 0.2


@pytest.mark.parametrize("name", SOLVERS)
def test_order_from_its_own_start(name: str) -> None:
    assert abs(gaussian_slope(name, 0) - SOLVERS[name][2]) < 0.2


@pytest.fixture(scope="module")
def flow_end() -> tuple[Tensor, Tensor]:
    y = randn(5, 4)
    return y, mixture_end(SCHEDULE, mixture(SCHEDULE, std=0.7), y)


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_mixture(name: str, flow_end: tuple[Tensor, Tensor]) -> None:
    (y, end), errors, steps = flow_end, [], [80, 160, 320]
    for n in steps:
        solver = SOLVERS[name][0](SCHEDULE.grid(n, spacing="logsnr"))
        image = sample(mixture(SCHEDULE, std=0.7), y, solver).image
        errors.append((image - end).abs().max().item())
    assert abs(slope(steps, errors) - SOLVERS[name][2]) < 0.2


def test_first_order_solvers_are_one_map() -> None:
    y, grid = randn(5, 4), SCHEDULE.grid(20)
    runs = [sample(mixture(SCHEDULE), y, f(grid)) for f in (ddim, dpm_solver_pp_1, dpm_solver_1)]
    for run in runs[1:]:
        torch.testing.assert_close(run.states, runs[0].states, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("name", SOLVERS)
def test_constant_data_and_noise_stay_constant(name: str, final: str) -> None:
    solver = SOLVERS[name][0](SCHEDULE.grid(20, spacing="karras", final=final))
    data, noise = randn(2, 3), randn(2, 3, seed=1)
    y = solver.alpha[0] * data + solver.sigma[0] * noise
    outputs: list[Tensor] = []
    for i in range(solver.steps):
        outputs.append(data if solver.prediction == "sample" else noise)
        y = solver.step(i, y, outputs)
        level = solver.alpha[i + 1] * data + solver.sigma[i + 1] * noise
        torch.testing.assert_close(y, level, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_tables_are_banded(name: str) -> None:
    table = SOLVERS[name][0](SCHEDULE.grid(10)).b
    used = outputs_used(name)
    assert [int((row != 0).sum()) for row in table] == [min(i + 1, used) for i in range(10)]
    assert torch.equal(table, table.tril().triu(1 - used))
    assert SOLVERS[name][0](SCHEDULE.grid(10)).order_one == (used == 1)


@pytest.mark.parametrize("build", [dpm_solver_pp_2m, dpm_solver_2m, dpm_solver_pp_3m])
def test_lower_order_final(build: Callable[..., Solver]) -> None:
    def last(steps: int, final: str = "sigma_min", **options: bool) -> list[int]:
        b = build(SCHEDULE.grid(steps, final=final), **options).b
        return [int((row != 0).sum()) for row in b[-2:]]

    full = 3 if build is dpm_solver_pp_3m else 2
    assert last(10) == [2, 1] and last(14) == [2, 1]  # by default when there are few steps
    assert last(15) == [full, full] and last(10, lower_order_final=False) == [full, full]
    assert last(20, lower_order_final=True) == [2, 1]
    assert last(20, "zero") == [full, 1]  # lambda is infinite at the end


@pytest.mark.parametrize(
    ("build", "degree"),
    [
        (partial(dpm_solver_2m, kind="heun"), 1),
        (partial(dpm_solver_pp_2m, kind="heun"), 1),
        (partial(dpm_solver_pp_3m, kind="taylor"), 2),
    ],
)
def test_outputs_that_are_polynomials_of_lambda_are_integrated_exactly(
    build: Callable[..., Solver], degree: int
) -> None:
    """x_n/c_n - x_m/c_m = +- the integral of e^(+-lambda) times the output, c = sigma or -alpha."""
    grid = SCHEDULE.grid(5)
    solver = build(grid, lower_order_final=False)
    sign, c = (1, grid.sigma) if solver.prediction == "sample" else (-1, grid.alpha)
    points, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(20))

    def output(lambda_: Tensor) -> Tensor:
        return sum((0.3 * lambda_ - 0.7) ** k for k in range(degree + 1))

    for i in range(degree, 5):  # with so many outputs before
        start, end = grid.lambda_[i], grid.lambda_[i + 1]
        at = (start + end) / 2 + points * (end - start) / 2
        integral = (weights * torch.exp(sign * at) * output(at)).sum() * (end - start) / 2
        step = solver.a[i] * 1.3 + solver.b[i] @ output(grid.lambda_[:-1])
        exact = c[i + 1] * (1.3 / c[i] + sign * integral)
        torch.testing.assert_close(step, exact, rtol=1e-12, atol=1e-12)


# diffusers' DPMSolverMultistepScheduler: (our table, its options)
DPM: dict[str, tuple[Callable[[Grid], Solver], dict]] = {
    "++1": (dpm_solver_pp_1, {"solver_order": 1}),
    "++2 midpoint": (dpm_solver_pp_2m, {"solver_order": 2}),
    "++2 heun": (partial(dpm_solver_pp_2m, kind="heun"), {"solver_type": "heun"}),
    "++3": (dpm_solver_pp_3m, {"solver_order": 3}),
    "1": (dpm_solver_1, {"solver_order": 1, "algorithm_type": "dpmsolver"}),
    "2 midpoint": (dpm_solver_2m, {"algorithm_type": "dpmsolver"}),
    "2 heun": (
        partial(dpm_solver_2m, kind="heun"),
        {"solver_type": "heun", "algorithm_type": "dpmsolver"},
    ),
}


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing", "karras"])
@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("name", DPM)
def test_trajectories_are_those_of_diffusers(name: str, spacing: str, final: str) -> None:
    build, options = DPM[name]
    if final == "zero" and "algorithm_type" in options:
        with warnings.catch_warnings(), pytest.raises(ValueError, match="zero"):
            warnings.simplefilter("ignore")
            diffusers.DPMSolverMultistepScheduler(**SD, **options, final_sigmas_type="zero")
        return
    where = {"use_karras_sigmas": True} if spacing == "karras" else {"timestep_spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = diffusers.DPMSolverMultistepScheduler(
            **SD, **options, **where, final_sigmas_type=final
        )
    schedule = Schedule.from_scheduler(scheduler)
    denoiser, y = mixture(schedule), randn(3, 4)
    for steps in (10, 20, 50):
        scheduler.set_timesteps(steps)
        theirs = diffusers_loop(scheduler, denoiser, y)
        if spacing == "karras" and final == "sigma_min":
            # diffusers repeats the last point: a step of length zero, which does nothing or 0/0
            same = (theirs[-1] - theirs[-2]).abs() < 1e-5
            assert (same | theirs[-1].isnan()).all()
            grid = schedule.grid(steps - 1, spacing=spacing, final=final, integer_times=True)
            solver = build(grid) if name[-1] == "1" else build(grid, lower_order_final=False)
            ours, theirs = sample(denoiser, y, solver).states[:-1], theirs[:-2]
        else:
            grid = schedule.grid(steps, spacing=spacing, final=final, integer_times=True)
            ours = sample(denoiser, y, build(grid)).states
        assert relative(ours, theirs) < 1e-6  # their states are float32


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [10, 20, 50])
def test_ddim_is_that_of_diffusers(steps: int, spacing: str, final: str) -> None:
    scheduler = diffusers.DDIMScheduler(
        **SD,
        clip_sample=False,
        timestep_spacing=spacing,
        set_alpha_to_one=final == "zero",
        steps_offset=int(spacing == "leading"),
    )
    schedule = Schedule.from_scheduler(scheduler)
    scheduler.set_timesteps(steps)
    if spacing == "trailing":
        grid = schedule.grid(steps, spacing=spacing, final=final)
    else:  # DDIM's leading times are not those of the multistep schedulers
        t = torch.cat([scheduler.timesteps, torch.zeros(1)]).double()
        alpha, sigma = schedule.alpha_t(t), schedule.sigma_t(t)
        if final == "zero":
            alpha[-1], sigma[-1] = 1.0, 0.0
        grid = Grid(t, alpha, sigma, schedule)
    assert grid.t[:-1].tolist() == scheduler.timesteps.tolist()
    denoiser, y = mixture(schedule), randn(3, 4)
    states = sample(denoiser, y, ddim(grid)).states
    assert relative(states, diffusers_loop(scheduler, denoiser, y)) < 1e-6  # its table is float32
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    assert relative(states, diffusers_loop(scheduler, denoiser, y)) < 1e-12


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_step_needs_the_outputs_of_all_states_so_far(count: int) -> None:
    """Also where their weights are zero: who gives too few or too many has lost count."""
    solver, y = ddim(SCHEDULE.grid(4)), randn(2, 3)
    assert solver.step(1, y, [y, y]).shape == y.shape
    with pytest.raises(ValueError, match="argument 2"):
        solver.step(1, y, [y] * count)


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        dpm_solver_pp_3m(SCHEDULE.grid(5), kind="midpoint")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown kind"):
        dpm_solver_pp_2m(SCHEDULE.grid(5), kind="euler")  # type: ignore[arg-type]


def test_sampling_counts_evaluations_and_keeps_everything() -> None:
    calls = []

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append((len(x), t))
        return mixture(SCHEDULE)(x, t)

    y, solver = randn(3, 4), dpm_solver_pp_2m(SCHEDULE.grid(12))
    run = sample(network, y, solver)
    assert run.nfe.tolist() == [12, 12, 12] and [n for n, _ in calls] == [3] * 12
    assert [t[0].item() for _, t in calls] == solver.t.tolist()
    assert run.states.shape == (13, 3, 4) and run.outputs.shape == (12, 3, 4)
    assert torch.equal(run.noise, y) and torch.equal(run.image, run.states[-1])
    image = run_from(solver, network, run.states, 0)
    assert torch.equal(image, run.image)


def test_sampling_a_batch_is_sampling_its_rows() -> None:
    y, solver = randn(4, 4), dpm_solver_pp_3m(SCHEDULE.grid(10))
    classes, null = torch.tensor([0, 1, -1, 1]), torch.tensor([-1])
    both = sample(guided(mixture(SCHEDULE), classes, null, 3.0), y, solver)
    for i in range(4):
        one = sample(guided(mixture(SCHEDULE), classes[i : i + 1], null, 3.0), y[i : i + 1], solver)
        torch.testing.assert_close(one.image, both.image[i : i + 1], rtol=1e-12, atol=1e-12)


def test_state_is_float64_and_the_network_keeps_its_dtype() -> None:
    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == torch.float64
        return x.float() * 0.5

    run = sample(network, randn(2, 3).float(), ddim(SCHEDULE.grid(5)))
    assert run.states.dtype == torch.float64


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "flow"])
def test_what_the_network_predicts_does_not_matter(kind: str) -> None:
    noise = mixture(SCHEDULE)
    other = type(noise)(SCHEDULE, noise.means, noise.std, weights=noise.weights, prediction=kind)
    y = randn(2, 4)
    for build in (ddim, dpm_solver_pp_2m, dpm_solver_2m):
        solver = build(SCHEDULE.grid(10))
        expected = sample(noise, y, solver).states
        torch.testing.assert_close(sample(other, y, solver).states, expected)
        wrapped = predicting(lambda x, t: other(x, t), kind)
        torch.testing.assert_close(sample(wrapped, y, solver).states, expected)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (torch.tensor([[0.0, float("nan")]]), "NaN or infinity"),
        (torch.tensor([[0.0, float("inf")]]), "NaN or infinity"),
        (torch.zeros(3), "batch"),
        (torch.zeros(2, 3, dtype=torch.long), "floating-point"),
    ],
)
def test_bad_noise_is_refused(noise: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(mixture(SCHEDULE), noise, ddim(SCHEDULE.grid(5)))


def test_bad_networks_are_refused() -> None:
    solver, y = ddim(SCHEDULE.grid(5)), randn(2, 4)
    with pytest.raises(ValueError, match="not finite at step 0"):
        sample(noise_prediction(lambda x, t: x * float("nan")), y, solver)
    with pytest.raises(ValueError, match=r"not finite at step 2 \(t = 599\)"):
        sample(noise_prediction(lambda x, t: x / (t[:, None] != 599)), y, solver)
    with pytest.raises(ValueError, match="returned"):
        sample(noise_prediction(lambda x, t: x[:, :2]), y, solver)
    with pytest.raises(ValueError, match="one condition per row"):
        sample(guided(mixture(SCHEDULE), torch.zeros(3), torch.zeros(1), 2.0), y, solver)


def test_what_a_sampler_passed_through_cannot_be_changed() -> None:
    made = sample(predicting(lambda x, t: 0 * x, "epsilon"), randn(1, 4), ddim(SCHEDULE.grid(2)))
    with pytest.raises(FrozenInstanceError):
        made.scale = 2.0  # type: ignore[misc]


def test_tables_are_equal_by_their_numbers_whatever_they_are_called() -> None:
    solver = ddim(SCHEDULE.grid(3))
    assert solver.equals(replace(solver, name="another"))
    others = [
        *(replace(solver, scale=2.0), replace(solver, prediction="sample")),
        *(
            replace(solver, **{n: 2 * getattr(solver, n)})
            for n in ("a", "b", "t", "alpha", "sigma")
        ),
        *(ddim(SCHEDULE.grid(4)), dpm_solver_pp_1(SCHEDULE.grid(3))),
    ]
    assert not any(solver.equals(other) for other in others)
