"""Schedules and grids: identities, equality with diffusers, refusals."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import diffusers
import pytest
import torch
from analytic import SD
from hypothesis import given, settings
from hypothesis import strategies as st

from invlib.schedule import AngleSchedule, FlowSchedule, Grid, Schedule

FORMULAS = {
    "scaled_linear": (Schedule.scaled_linear, SD),
    "linear": (Schedule.linear, {"beta_schedule": "linear"}),
    "squaredcos_cap_v2": (Schedule.cosine, {"beta_schedule": "squaredcos_cap_v2"}),
}
betas = st.lists(st.floats(1e-5, 0.2), min_size=2, max_size=60)


def dpm(steps: int, **config: object) -> diffusers.DPMSolverMultistepScheduler:
    scheduler = diffusers.DPMSolverMultistepScheduler(**{**SD, **config})
    scheduler.set_timesteps(steps)
    return scheduler


def test_an_angle_is_zero_at_the_image() -> None:
    levels = AngleSchedule(lambda t: t * torch.pi / 2, times=1)
    for t, alpha in ((levels.image, 1.0), (levels.image + levels.times, 0.0)):
        assert levels.alpha_t(t).item() == pytest.approx(alpha, abs=1e-15)
        assert levels.sigma_t(t).item() == pytest.approx(1 - alpha, abs=1e-15)


@given(betas, st.floats(0, 1))
def test_levels_are_variance_preserving_and_lambda_inverts(
    values: list[float], part: float
) -> None:
    schedule = Schedule.from_betas(torch.tensor(values))
    t = torch.tensor([0.0, part * (schedule.times - 1), schedule.times - 1.0], dtype=torch.float64)
    alpha, sigma, lambda_ = schedule.alpha_t(t), schedule.sigma_t(t), schedule.lambda_t(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.log(alpha / sigma), lambda_, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(schedule.lambda_t(schedule.t_lambda(lambda_)), lambda_)
    torch.testing.assert_close(schedule.t_lambda(lambda_), t, rtol=0, atol=1e-8)
    assert (lambda_.diff() <= 0).all()


@given(betas)
def test_alpha_is_the_product_of_one_minus_beta(values: list[float]) -> None:
    product = 1.0
    schedule = Schedule.from_betas(torch.tensor(values, dtype=torch.float64))
    for t, beta in enumerate(values):
        product *= 1 - beta
        assert schedule.alpha_t(t).item() ** 2 == pytest.approx(product, rel=1e-12)


@given(st.floats(0, 1000), st.floats(1, 1000))
def test_flow_schedule_is_a_straight_path(t: float, times: float) -> None:
    schedule = FlowSchedule(int(times))
    assert (schedule.alpha_t(t) + schedule.sigma_t(t)).item() == pytest.approx(1)
    assert schedule.sigma_t(float(int(times))).item() == 1


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_those_of_diffusers(name: str) -> None:
    formula, config = FORMULAS[name]
    scheduler = diffusers.DPMSolverMultistepScheduler(**config)
    ours, read = formula(), Schedule.from_scheduler(scheduler)
    abar = scheduler.alphas_cumprod.double()
    t = torch.arange(1000.0)
    # diffusers multiplies a thousand float32 numbers; 1 - abar is 1e-4 or less at t = 0
    torch.testing.assert_close(ours.alpha_t(t) ** 2, abar, rtol=2e-5, atol=0)
    torch.testing.assert_close(ours.lambdas, read.lambdas, rtol=0, atol=3e-4)
    torch.testing.assert_close(read.alpha_t(t) ** 2, abar, rtol=1e-12, atol=0)


def test_zero_terminal_snr_is_read() -> None:
    scheduler = diffusers.DDIMScheduler(**SD, rescale_betas_zero_snr=True)
    assert scheduler.alphas_cumprod[-1] == 0
    schedule = Schedule.from_scheduler(scheduler)
    assert schedule.alpha_t(999).item() < 1e-9
    assert torch.isfinite(schedule.lambda_t(998.5))


@pytest.mark.parametrize("final", ["sigma_min", "zero"])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing", "karras"])
@pytest.mark.parametrize("steps", [10, 20, 50])
def test_grids_are_those_of_diffusers(steps: int, spacing: str, final: str) -> None:
    if spacing == "karras":
        scheduler = dpm(steps, use_karras_sigmas=True, final_sigmas_type=final)
    else:
        scheduler = dpm(steps, timestep_spacing=spacing, final_sigmas_type=final)
    times, ratio = scheduler.timesteps.double(), scheduler.sigmas.double()
    if spacing == "karras" and final == "sigma_min":
        # diffusers puts N points down to sigma_min and a step of length zero after them
        assert ratio[-1].item() == pytest.approx(ratio[-2].item(), rel=1e-6)
        steps, times, ratio = steps - 1, times[:-1], ratio[:-1]
    schedule = Schedule.from_scheduler(scheduler)
    grid = schedule.grid(steps, spacing=spacing, final=final, integer_times=True)
    assert grid.t[:-1].tolist() == times.tolist()
    torch.testing.assert_close(grid.sigma / grid.alpha, ratio, rtol=1e-6, atol=0)
    if final == "zero":
        assert grid.sigma[-1] == 0 and grid.alpha[-1] == 1 and grid.lambda_[-1] == torch.inf


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_integer_times_are_those_of_diffusers_for_every_number_of_steps(spacing: str) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **SD, timestep_spacing=spacing, steps_offset=1
    )
    schedule = Schedule.from_scheduler(scheduler)
    for steps in [*range(1, 130), 250, 333, 499]:
        scheduler.set_timesteps(steps)
        grid = schedule.grid(steps, spacing=spacing, offset=int(spacing == "leading"))
        if spacing == "trailing" and len(scheduler.timesteps) == steps + 1:
            continue  # numpy's arange overshoots: diffusers appends the time -1
        assert grid.t[:-1].tolist() == scheduler.timesteps.tolist(), steps


@given(st.integers(1, 60), st.sampled_from(["sigma_min", "zero"]), st.floats(500, 999))
@settings(max_examples=40)
def test_logsnr_is_uniform_in_lambda_and_karras_in_its_root(
    steps: int, final: str, t_max: float
) -> None:
    schedule = Schedule.linear()
    for spacing, warp in (("logsnr", lambda x: x), ("karras", lambda x: torch.exp(-x / 7))):
        grid = schedule.grid(steps, spacing=spacing, final=final, t_max=t_max)
        points = grid.lambda_ if final == "sigma_min" else grid.lambda_[:-1]
        gaps = warp(points).diff()
        if len(gaps):
            torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps), rtol=1e-9, atol=1e-12)
        assert grid.steps == steps and grid.t[0].item() == pytest.approx(t_max, abs=1e-6)
        torch.testing.assert_close(schedule.lambda_t(grid.t[:-1]), grid.lambda_[:-1])


def test_integer_times_round_the_labels_only() -> None:
    schedule = Schedule.scaled_linear()
    exact = schedule.grid(10, spacing="karras")
    rounded = schedule.grid(10, spacing="karras", integer_times=True)
    assert torch.equal(rounded.t, exact.t.round()) and torch.equal(rounded.sigma, exact.sigma)
    torch.testing.assert_close(schedule.sigma_t(exact.t), exact.sigma)  # by default they are exact
    assert not torch.equal(rounded.t, exact.t)


@pytest.mark.parametrize(
    ("alpha", "sigma", "scale"),
    [
        ((1, 1), (80, 0.01), 80),  # variance exploding
        ((1, 1), (0.5, 0.01), 0.5),
        ((0.2, 1), (3, 0.01), 3),  # noise of more than unit size
        ((0.2, 1), (1, 0.01), 1),  # variance preserving, nearly
        ((0.2, 0.9), (0.98, 0.01), 1),
    ],
)
def test_the_first_state_is_scaled_where_noise_drowns_the_signal(
    alpha: tuple[float, float], sigma: tuple[float, float], scale: float
) -> None:
    t, *levels = (torch.tensor(v, dtype=torch.float64) for v in ((1, 0), alpha, sigma))
    assert Grid(t, *levels, FlowSchedule()).scale == scale


def test_a_schedule_and_its_grid_do_not_change() -> None:
    schedule = Schedule.scaled_linear()
    for what in (schedule, schedule.grid(3), FlowSchedule()):
        for field in fields(what):
            with pytest.raises(FrozenInstanceError):
                setattr(what, field.name, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"steps": -3}, "at least 1"),
        ({"steps": 5000}, "fewer steps"),
        ({"steps": 5000, "spacing": "leading"}, "fewer steps"),
        ({"steps": 1500, "spacing": "trailing"}, "fewer steps"),
        ({"steps": 10, "spacing": "leading", "offset": 200}, "outside"),
        ({"steps": 10, "spacing": "cubic"}, "unknown spacing"),
        ({"steps": 10, "final": "one"}, "unknown final"),
        ({"steps": 10, "spacing": "karras", "t_max": 1000.0}, "outside"),
        ({"steps": 10, "spacing": "logsnr", "t_max": 0.0}, "must rise"),
        ({"steps": 10, "t_max": 500.0}, "no use for t_max.*'logsnr' or 'karras'"),
        ({"steps": 10, "spacing": "trailing", "offset": 1}, "no use for offset.*'leading'"),
        ({"steps": 10, "spacing": "logsnr", "rho": 3.0}, "no use for rho.*'karras'"),
        ({"steps": 10, "spacing": "cubic", "rho": 3.0}, "unknown spacing"),
    ],
)
def test_grids_refuse(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule.scaled_linear().grid(**options)


@pytest.mark.parametrize("t", [-0.1, 999.5, 1000, float("nan")])
def test_times_outside_are_refused(t: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        Schedule.scaled_linear().alpha_t(t)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_bad_betas_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Schedule.from_betas(torch.tensor([0.1, bad, 0.2]))


def test_bad_lambdas_grids_and_schedulers_are_refused() -> None:
    for rising in (0.0, 1e-9, 0.5, 1.0):
        with pytest.raises(ValueError, match="decrease"):
            Schedule(torch.tensor([1.0, 1.0 + rising], dtype=torch.float64))
    with pytest.raises(ValueError, match="must be finite"):
        Schedule(torch.tensor([1.0, -torch.inf], dtype=torch.float64))
    for wrong in (torch.ones(1), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="at least two entries"):
            Schedule(wrong.double())
    assert Schedule(torch.tensor([1.0, 0.5], dtype=torch.float64)).times == 2
    with pytest.raises(ValueError, match="float64"):
        Schedule(torch.tensor([2.0, 1.0]))
    with pytest.raises(ValueError, match="alphas_cumprod"):
        Schedule.from_scheduler(diffusers.FlowMatchEulerDiscreteScheduler())
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="at least one step"):
        Grid(one, one / 2, one / 2, Schedule.linear())
