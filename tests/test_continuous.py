"""Continuous schedules: their formulas, grids, orders of convergence, and round trips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import diffusers
import pytest
import torch
from analytic import gaussian_path, mixture, one_gaussian, randn, run_from, slope
from hypothesis import given, settings
from hypothesis import strategies as st

import invlib
from invlib.continuous import ContinuousSchedule
from invlib.denoisers import Mixture
from invlib.flow import flow_euler, flow_midpoint
from invlib.reversible import edict, sample_reversible
from invlib.schedule import FlowSchedule, Grid, Schedule
from invlib.solvers import (
    Solver,
    ddim,
    dpm_solver_1,
    dpm_solver_2m,
    dpm_solver_pp_1,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)

MAKES: dict[str, Callable[[], ContinuousSchedule]] = {
    "vp": ContinuousSchedule.vp,
    "sub-vp": ContinuousSchedule.sub_vp,
    "ve": partial(ContinuousSchedule.ve, 0.01, 20.0),
    "edm": ContinuousSchedule.edm,
}
FULL = {"lower_order_final": False}
SOLVERS: dict[str, tuple[Callable[[Grid], Solver], int]] = {
    "ddim": (ddim, 1),
    "dpm_solver_pp_1": (dpm_solver_pp_1, 1),
    "dpm_solver_1": (dpm_solver_1, 1),
    "dpm_solver_pp_2m": (partial(dpm_solver_pp_2m, **FULL), 2),
    "dpm_solver_pp_2m heun": (partial(dpm_solver_pp_2m, kind="heun", **FULL), 2),
    "dpm_solver_2m": (partial(dpm_solver_2m, **FULL), 2),
    "dpm_solver_pp_3m": (partial(dpm_solver_pp_3m, **FULL), 2),
    "dpm_solver_pp_3m taylor": (partial(dpm_solver_pp_3m, kind="taylor", **FULL), 3),
}
EVERY = pytest.mark.parametrize("name", MAKES)


# Levels


@EVERY
def test_levels_solve_the_diffusion_that_they_are_named_after(name: str) -> None:
    """alpha' / alpha = -beta / 2, and the growth of sigma^2 that the paper's equations give."""
    schedule = MAKES[name]()
    t = torch.linspace(schedule.t_min, schedule.t_max, 41, dtype=torch.float64)[1:-1]
    d = 1e-6 * schedule.times

    def rate(level: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return (level(t + d) - level(t - d)) / (2 * d)

    alpha, sigma = schedule.alpha_t(t), schedule.sigma_t(t)
    drift = rate(schedule.alpha_t) / alpha
    growth = rate(lambda s: schedule.sigma_t(s) ** 2) - 2 * drift * sigma**2  # g^2
    beta = 0.1 + 19.9 * t
    if name in ("vp", "sub-vp"):
        torch.testing.assert_close(drift, -beta / 2, rtol=1e-6, atol=1e-6)
        decay = 1 if name == "vp" else 1 - torch.exp(-2 * (0.1 * t + 9.95 * t**2))
        torch.testing.assert_close(growth, beta * decay, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(alpha, torch.ones_like(t))
        wanted = 0.01 * 2000**t if name == "ve" else t
        torch.testing.assert_close(sigma, wanted, rtol=1e-12, atol=0)


@EVERY
@given(part=st.floats(0, 1))
@settings(max_examples=12, deadline=None)
def test_the_time_of_a_lambda_is_where_lambda_is(name: str, part: float) -> None:
    schedule = MAKES[name]()
    t = torch.tensor(schedule.t_min + part * schedule.times, dtype=torch.float64)
    lambda_ = schedule.lambda_t(t)
    torch.testing.assert_close(schedule.t_lambda(lambda_), t, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(lambda_, schedule.alpha_t(t).log() - schedule.sigma_t(t).log())


# Grids


@EVERY
@given(
    steps=st.integers(1, 40),
    spacing=st.sampled_from(["linspace", "logsnr", "karras"]),
    final=st.sampled_from(["sigma_min", "zero"]),
    start=st.floats(0.3, 1.0),
    end=st.floats(1.0, 3.0),
)
@settings(max_examples=12, deadline=None)
def test_grids_are_uniform_in_what_they_are_named_after(
    name: str, steps: int, spacing: str, final: str, start: float, end: float
) -> None:
    schedule = MAKES[name]()
    t_max = schedule.t_min + start * schedule.times
    t_min = end * max(schedule.t_min, 1e-3)
    grid = schedule.grid(steps, spacing=spacing, final=final, t_max=t_max, t_min=t_min)
    inside = slice(0, steps if final == "zero" else steps + 1)
    lambda_ = grid.lambda_[inside]
    what = {"linspace": grid.t[inside], "logsnr": lambda_, "karras": torch.exp(-lambda_ / 7)}
    gaps = what[spacing].diff()
    if len(gaps):
        torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps), rtol=1e-6, atol=1e-12)
        assert grid.t[inside][-1].item() == t_min
    assert grid.steps == steps and grid.t[0].item() == t_max
    assert grid.schedule.image == t_min == grid.t[-1].item()
    torch.testing.assert_close(grid.schedule.alpha_t(grid.t[inside]), grid.alpha[inside])
    torch.testing.assert_close(grid.schedule.sigma_t(grid.t[inside]), grid.sigma[inside])
    if final == "zero":
        assert grid.sigma[-1] == 0 and grid.alpha[-1] == 1


def test_karras_levels_are_those_of_diffusers() -> None:
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0)
    scheduler.set_timesteps(18)
    grid = ContinuousSchedule.edm().grid(18, spacing="karras", final="zero")
    torch.testing.assert_close(grid.sigma, scheduler.sigmas.double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"steps": 5, "spacing": "trailing"}, "unknown spacing"),
        ({"steps": 5, "final": "one"}, "unknown final"),
        ({"steps": 5, "rho": 3.0}, "no use for rho.*'karras'"),
        ({"steps": 5, "spacing": "logsnr", "rho": 3.0}, "no use for rho"),
        ({"steps": 5, "spacing": "cubic", "rho": 3.0}, "unknown spacing"),
        ({"steps": 5, "t_min": 0.0}, "larger t_min"),
        ({"steps": 5, "t_min": 0.6, "t_max": 0.5}, "must be below"),
    ],
)
def test_grids_refuse(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContinuousSchedule.vp().grid(**options)


def test_bad_schedules_and_times_are_refused() -> None:
    one = torch.ones_like
    with pytest.raises(ValueError, match="must fall with t"):
        ContinuousSchedule(one, lambda t: 2 - t)
    with pytest.raises(ValueError, match="larger t_min"):
        ContinuousSchedule(one, lambda t: t)
    with pytest.raises(ValueError, match="sigma_min"):
        ContinuousSchedule.ve(2.0, 1.0)
    with pytest.raises(ValueError, match="beta_min"):
        ContinuousSchedule.sub_vp(0.0)
    for t in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="time outside"):
            ContinuousSchedule.vp().alpha_t(t)


# Samplers


def flow_end(grid: Grid, y: torch.Tensor, steps: int = 400) -> torch.Tensor:
    """Where the probability flow of the mixture takes ``y``: Runge-Kutta of order 4.

    In u = x / alpha and s = sigma / alpha the flow is du/ds = epsilon, on every schedule that of
    the one whose signal is 1 and whose time is the noise level.
    """
    logs = -grid.lambda_[[0, -1]]
    ends = logs.exp()
    network = mixture(ContinuousSchedule.edm(0.5 * ends[1].item(), 2 * ends[0].item()), std=0.7)

    def rate(u: torch.Tensor, log_s: torch.Tensor) -> torch.Tensor:
        return log_s.exp() * network(u, log_s.exp().expand(len(u)))

    points = torch.linspace(logs[0].item(), logs[1].item(), steps + 1, dtype=torch.float64)
    u = y / grid.alpha[0]
    for log_s, h in zip(points[:-1], points.diff(), strict=True):
        k1 = rate(u, log_s)
        k2 = rate(u + h / 2 * k1, log_s + h / 2)
        k3 = rate(u + h / 2 * k2, log_s + h / 2)
        k4 = rate(u + h * k3, log_s + h)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return grid.alpha[-1] * u


@EVERY
@pytest.mark.parametrize("solver", SOLVERS)
def test_order_of_convergence_on_a_gaussian(name: str, solver: str) -> None:
    """From exact history: the order of the method itself, on any schedule.

    The flow ends half-way, where its derivatives, and with them the leading errors, are not small.
    """
    (build, order), errors, y = SOLVERS[solver], [], randn(5, 3)
    schedule = MAKES[name]()
    steps = [300, 600, 1200] if "3m" in solver else [80, 160, 320]
    for n in steps:
        table = build(schedule.grid(n, spacing="logsnr", t_min=schedule.t_lambda(0.5).item()))
        exact = gaussian_path(table.alpha, table.sigma, table.scale * y)
        start = 2 if "3m" in solver else 1 if "2m" in solver else 0
        image = run_from(table, one_gaussian(schedule), exact, start)
        errors.append((image - exact[-1]).abs().max().item())
    assert abs(slope(steps, errors) - order) < 0.25


@EVERY
@pytest.mark.parametrize("solver", ["ddim", "dpm_solver_pp_2m", "dpm_solver_2m"])
def test_order_of_convergence_on_a_mixture(name: str, solver: str) -> None:
    """From standard normal noise, by the library's own sampling, to the flow's own end."""
    (build, order), errors, steps = SOLVERS[solver], [], [80, 160, 320]
    schedule, y = MAKES[name](), randn(5, 4)
    denoiser = mixture(schedule, std=0.7)
    grids = [schedule.grid(n, spacing="logsnr") for n in steps]
    end = flow_end(grids[0], grids[0].scale * y)
    for grid in grids:
        image = invlib.sample(denoiser, y, build(grid)).image
        errors.append((image - end).abs().max().item())
    assert abs(slope(steps, errors) - order) < 0.25


@EVERY
def test_images_of_standard_noise_have_the_spread_of_the_data(name: str) -> None:
    """A first state of another scale is another distribution: with scale 1 VE fails here."""
    schedule = MAKES[name]()
    solver = ddim(schedule.grid(60, spacing="logsnr", final="zero"))
    image = invlib.sample(one_gaussian(schedule, 1), randn(4000, 1), solver).image
    assert image.std().item() == pytest.approx(0.6, rel=0.1)
    assert image.mean().item() == pytest.approx(0.3, abs=0.06)


def test_the_first_state_is_scaled_where_noise_explodes_and_nowhere_else() -> None:
    for build, _ in SOLVERS.values():
        assert build(ContinuousSchedule.edm(0.1, 30.0).grid(5)).scale == 30
        assert build(ContinuousSchedule.edm(0.1, 0.5).grid(5)).scale == 0.5
        assert build(ContinuousSchedule.vp().grid(5)).scale == 1
        assert build(ContinuousSchedule.sub_vp().grid(5)).scale == 1
        assert build(Schedule.scaled_linear().grid(5)).scale == 1
        assert build(Schedule.scaled_linear().grid(5), scale=7.0).scale == 7
        for wrong in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="scale must be"):
                build(Schedule.scaled_linear().grid(5), scale=wrong)


@EVERY
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "score"])
@pytest.mark.parametrize("build", [ddim, dpm_solver_pp_2m])
def test_noise_is_found_again(name: str, prediction: str, build: Callable[[Grid], Solver]) -> None:
    schedule = MAKES[name]()
    network = mixture(schedule)
    denoiser = Mixture(
        schedule, network.means, network.std, weights=network.weights, prediction=prediction
    )
    for options in ({"spacing": "logsnr"}, {"spacing": "karras", "final": "zero"}):
        solver = build(schedule.grid(12, **options))
        noise = randn(3, 4, seed=4)
        image = invlib.sample(denoiser, noise, solver).image
        result = invlib.invert(denoiser, image, solver)
        again = invlib.sample(denoiser, result.noise, solver).image
        assert (invlib.decibel(invlib.nmse(again, image)) < -180).all()
        assert (invlib.decibel(invlib.nmse(result.noise, noise)) < -120).all()


@EVERY
def test_a_naive_walk_ends_at_the_time_of_the_image(name: str) -> None:
    """Its error falls with the number of steps, of the sampler's own as of finer ones."""
    schedule, noise, errors = MAKES[name](), randn(2, 4), []
    image = invlib.sample(
        mixture(schedule), noise, ddim(schedule.grid(400, spacing="karras"))
    ).image
    for steps, fine in ((20, None), (80, None), (20, 320)):
        solver = ddim(schedule.grid(steps, spacing="karras"))
        found = invlib.naive(mixture(schedule), image, solver, steps=fine)
        errors.append(invlib.nmse(found.noise, noise).mean().item())
    assert errors[1] < 0.5 * errors[0] and errors[2] < errors[0]


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_algorithm_2_walks_inside_the_schedule(name: str) -> None:
    schedule, noise = MAKES[name](), randn(1, 4)
    solver = dpm_solver_pp_2m(schedule.grid(8, spacing="karras"))
    image = invlib.sample(mixture(schedule), noise, solver).image
    found = invlib.invert(mixture(schedule), image, solver, method="algorithm2").noise
    assert (invlib.nmse(found, noise) < 0.1).all()


# What assumes another schedule says so


def test_what_steps_on_another_path_refuses() -> None:
    grid = ContinuousSchedule.edm().grid(5)
    with pytest.raises(ValueError, match="straight path"):
        flow_euler(grid)
    with pytest.raises(ValueError, match="straight path"):
        flow_midpoint(Schedule.linear().grid(5))
    with pytest.raises(ValueError, match="as a Pair"):
        sample_reversible(mixture(grid.schedule), randn(2, 4), edict(grid))


def test_pure_noise_needs_a_solver_that_does_not_divide_by_the_signal() -> None:
    flow, t = FlowSchedule(), torch.linspace(1000, 0, 6).double()
    grid = Grid(t, flow.alpha_t(t), flow.sigma_t(t), flow)
    for build in (ddim, dpm_solver_1, dpm_solver_2m):
        with pytest.raises(ValueError, match="data prediction"):
            build(grid)
    assert dpm_solver_pp_3m(grid).scale == 1


def test_a_schedule_without_noise_at_its_start_is_refused_or_read() -> None:
    lambdas = torch.tensor([torch.inf, 1.0, -1.0], dtype=torch.float64)
    for wrong in (lambdas, -lambdas.flip(0), torch.tensor([1.0, torch.nan, 0.0]).double()):
        with pytest.raises(ValueError, match="lambdas must be finite"):
            Schedule(wrong)
    betas = torch.tensor([0.0, 0.1, 0.2]).numpy()
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=3, trained_betas=betas)
    assert scheduler.alphas_cumprod[0] == 1
    schedule = Schedule.from_scheduler(scheduler)
    assert schedule.lambda_t(0.5).isfinite() and schedule.sigma_t(0.0) < 1e-9
    one = torch.ones(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="must rise"):
        Grid(one, one, torch.tensor([torch.nan, 0.1]).double(), schedule)
