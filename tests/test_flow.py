"""Flow matching: orders of samplers and rivals, what they equal, and that only ours is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch
from analytic import diffusers_loop, gaussian_path, mixture, one_gaussian, randn, relative, slope
from torch import Tensor
from twelve import DIM, counted, error_db, image_db, prompted, twelve

from invlib.certificate import certify
from invlib.denoisers import Denoiser, Mixture, predicting, select
from invlib.evaluator import Evaluator
from invlib.flow import (
    FLOW_RIVALS,
    FLOW_SAMPLERS,
    Straight,
    euler_reversed,
    flow_euler,
    flow_fireflow,
    flow_grid,
    flow_midpoint,
    from_vp_noise,
    rf_inversion,
    rf_inversion_sample,
    rf_solver,
    step_grid,
    straight_grid,
    uni_inv,
)
from invlib.flow.fireflow import reused
from invlib.flow.rf_solver import midpoint
from invlib.flow.walk import Field, Rule, walk
from invlib.inverters import Inverter, exact, invert, naive
from invlib.inverters.steps import StepProblem
from invlib.metrics import nmse
from invlib.probing import NotInvertible, from_scheduler, network_prediction
from invlib.rootfind import fixed_point
from invlib.sampling import sample
from invlib.schedule import FlowSchedule, Grid, Schedule
from invlib.solvers import Solver, ddim

FLOW = FlowSchedule()
SAMPLERS: dict[str, Callable[[Grid], Solver]] = {
    "euler": flow_euler,
    "midpoint": flow_midpoint,
    "fireflow": flow_fireflow,
}
INVERTERS: dict[str, Inverter] = {**FLOW_RIVALS, "naive": naive, "exact": exact}


def curved() -> Mixture:
    """A mixture whose flow has no closed form."""
    return replace(mixture(FLOW), prediction="flow")


def network(scale: float, batch: int) -> Any:
    """Twelve Gaussians in 64 dimensions, with guidance."""
    return prompted(batch, scale, mixture=twelve(FLOW, prediction="flow"))


@cache
def flow_end() -> tuple[Tensor, Tensor]:
    """Noise, and where the exact flow of ``curved()`` takes it: Runge-Kutta of order 4."""
    y = noise = randn(6, 4)

    def velocity(y: Tensor, sigma: float) -> Tensor:
        return curved()(y, y.new_full((len(y),), 1000 * sigma))

    for s, e in pairwise(torch.linspace(1, 0, 801, dtype=torch.float64).tolist()):
        h, m = e - s, (s + e) / 2
        k1 = velocity(y, s)
        k2 = velocity(y + h / 2 * k1, m)
        k3 = velocity(y + h / 2 * k2, m)
        k4 = velocity(y + h * k3, e)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return noise, y


def distance(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def order(error: Callable[[Grid], float], *steps: int) -> float:
    return slope(steps, [error(flow_grid(n)) for n in steps])


# Grids and samplers


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_is_the_scheduler_of_diffusers(shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    ours = flow_euler(flow_grid(12, shift=shift))
    levels = torch.linspace(1, 1 / 12, 12).tolist()
    scheduler.set_timesteps(sigmas=levels)
    theirs = from_scheduler(
        scheduler, 12, set_timesteps=lambda s, n: s.set_timesteps(sigmas=levels)
    )
    assert theirs.prediction == ours.prediction == "flow"
    for name in ("a", "b", "t", "alpha", "sigma"):
        value = getattr(ours, name)
        torch.testing.assert_close(getattr(theirs, name), value, rtol=1e-6, atol=1e-6)
    denoiser, noise = curved(), randn(5, 4)
    states = sample(denoiser, noise, ours).states
    assert relative(states, diffusers_loop(scheduler, denoiser, noise)) < 2e-6


def test_ddim_on_the_straight_path_is_euler() -> None:
    grid = flow_grid(10, shift=2.0)
    late = Grid(grid.t[1:], grid.alpha[1:], grid.sigma[1:], grid.schedule)  # DDIM divides by alpha
    noise = randn(3, 4)
    states = sample(curved(), noise, ddim(late)).states
    torch.testing.assert_close(states, sample(curved(), noise, flow_euler(late)).states)


def test_the_label_of_the_last_point_is_on_the_path() -> None:
    sigma = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    for schedule, t in ((FLOW, 1000 * sigma), (FlowSchedule(1, image=1.0), 1 - sigma)):
        grid = Grid(t, 1 - sigma, sigma, schedule)
        torch.testing.assert_close(step_grid(flow_euler(grid)).t, t)


@pytest.mark.parametrize(
    ("make", "wanted"), [(flow_euler, 1), (flow_midpoint, 2), (flow_fireflow, 2)]
)
def test_orders_of_the_samplers(make: Callable[[Grid], Solver], wanted: int) -> None:
    noise, image = flow_end()

    def error(grid: Grid) -> float:
        return distance(sample(curved(), noise, make(grid)).image, image)

    assert abs(order(error, 80, 160, 320) - wanted) < 0.2


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_midpoint_rule_has_order_three_on_a_gaussian(shift: float) -> None:
    r"""Its leading error is :math:`a'' + 6aa' + 4a^3` where a is the log derivative of the
    standard deviation: half the third derivative of the variance over the variance, and the
    variance is quadratic in sigma."""
    denoiser, noise = one_gaussian(FLOW, prediction="flow"), randn(6, 3)

    def error(inverse: bool, steps: int) -> float:
        grid = flow_grid(steps, shift=shift)
        image = gaussian_path(grid.alpha, grid.sigma, noise)[-1]
        if inverse:
            return distance(rf_solver(denoiser, image, flow_euler(grid)).noise, noise)
        return distance(sample(denoiser, noise, flow_midpoint(grid)).image, image)

    for inverse in (False, True):
        errors = [error(inverse, n) for n in (40, 80, 160)]
        assert abs(slope([40, 80, 160], errors) - 3) < 0.1


@pytest.mark.parametrize(("make", "rule"), [(flow_midpoint, midpoint), (flow_fireflow, reused)])
def test_tables_are_the_rules_walked_forwards(make: Callable[[Grid], Solver], rule: Rule) -> None:
    grid, noise = flow_grid(7, shift=3.0), randn(3, 4)
    solver = make(grid)
    trajectory = sample(curved(), noise, solver)
    field = Field(Evaluator(curved(), solver, [0] * 3), grid.t.tolist(), grid.sigma.tolist())
    torch.testing.assert_close(trajectory.image, walk(field, noise, rule)[-1], rtol=1e-12, atol=0)
    assert torch.equal(trajectory.nfe, field.evaluator.nfe)
    assert step_grid(solver) is grid


# Rivals against the differential equation, and against the sampler


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("euler_reversed", 1), ("naive", 1), ("rf_solver", 2), ("fireflow", 2), ("uni_inv", 1)],
)
def test_orders_of_noise_recovery_against_the_exact_flow(name: str, wanted: int) -> None:
    noise, image = flow_end()

    def error(grid: Grid) -> float:
        return distance(INVERTERS[name](curved(), image, flow_euler(grid)).noise, noise)

    assert abs(order(error, 80, 160, 320) - wanted) < 0.2


@pytest.mark.parametrize(
    ("name", "make", "wanted"),
    [
        ("euler_reversed", flow_euler, 1),
        ("naive", flow_euler, 1),
        ("rf_solver", flow_euler, 1),
        ("fireflow", flow_euler, 1),
        ("uni_inv", flow_euler, 2),
        ("rf_solver", flow_midpoint, 3),
        ("fireflow", flow_fireflow, 3),
    ],
)
def test_orders_of_the_round_trip(name: str, make: Callable[[Grid], Solver], wanted: int) -> None:
    """Of the noise behind a sampler's image. A second-order step and the same step back leave
    third order: their leading errors cancel. Uni-Inv is second order, to Euler's noise only."""

    def error(grid: Grid) -> float:
        solver, noise = make(grid), randn(6, 4)
        image = sample(curved(), noise, solver).image
        return distance(INVERTERS[name](curved(), image, solver).noise, noise)

    assert abs(order(error, 80, 160, 320) - wanted) < 0.2


def test_rf_inversion_does_not_converge_to_the_noise() -> None:
    noise, image = flow_end()
    errors = [
        distance(rf_inversion(curved(), image, flow_euler(flow_grid(n))).noise, noise)
        for n in (40, 160)
    ]
    assert min(errors) > 0.5 and abs(errors[1] - errors[0]) < 0.1


def test_uni_inv_is_one_fixed_point_iteration_of_the_exact_inverse() -> None:
    steps = 30
    solver, denoiser = flow_euler(flow_grid(steps)), network(3.5, 4)
    image = sample(denoiser, randn(4, DIM), solver).image
    states = uni_inv(denoiser, image, solver).states
    evaluator, image = Evaluator.start(denoiser, image, solver)
    last = denoiser(image, torch.zeros(4).double())
    for i in reversed(range(steps)):
        step, gap = StepProblem(evaluator, i, states[i + 1]), -solver.b[i, i]
        root = fixed_point(step, states[i + 1] + gap * last, slope=1.0, max_iterations=2)
        torch.testing.assert_close(root.x, states[i], rtol=1e-10, atol=1e-12)
        last = (states[i] - states[i + 1]) / gap


# Exactness


@pytest.mark.parametrize("scale", [1.0, 3.5, 7.5])
@pytest.mark.parametrize("steps", [10, 28])
def test_only_the_exact_inverse_is_exact(scale: float, steps: int) -> None:
    """Rivals make the image with their own samplers; all by more than -90 dB, at any guidance."""
    denoiser, noise = network(scale, 8), randn(8, DIM, seed=1)
    grid = flow_grid(steps, shift=3.0)
    for make in SAMPLERS.values():
        solver = make(grid)
        image = sample(denoiser, noise, solver).image
        result = invert(denoiser, image, solver)
        again = sample(denoiser, result.noise, solver).image
        assert result.converged.all() and (nmse(again, image) < 1e-20).all()
        assert (nmse(result.noise, noise) < 1e-18).all()
        assert certify(denoiser, result, solver, vectors=0).verdict == ("exact",) * 8
        if make is flow_euler:
            assert (result.nfe <= 14 * steps).all()
    for name, rival in FLOW_RIVALS.items():
        solver = FLOW_SAMPLERS[name](grid)
        image = sample(denoiser, noise, solver).image
        result = rival(denoiser, image, solver)
        assert (error_db(result.noise, noise) > -80).all()
        assert (image_db(denoiser, result.noise, solver, image) > -90).all()


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "MiniMaxH3Scheduler"])
def test_rivals_read_the_schedulers_of_diffusers(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    solver = from_scheduler(scheduler, 20)
    denoiser = twelve(solver.schedule, prediction=network_prediction(scheduler))
    noise = randn(4, DIM)
    image = sample(denoiser, noise, solver).image
    errors = {
        name: error_db(f(denoiser, image, solver).noise, noise) for name, f in INVERTERS.items()
    }
    assert (errors["exact"] < -200).all()
    for name in ("euler_reversed", "rf_solver", "fireflow", "uni_inv"):
        assert (errors[name] > -60).all() and (errors[name] < -2).all()
        assert (errors["uni_inv"] <= errors[name]).all()  # it tries the sampler's equation


def test_rivals_follow_a_multistep_sampler_at_its_points() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    )
    solver, denoiser = from_scheduler(scheduler, 20), network(1.0, 4)
    noise = randn(4, DIM)
    image = sample(denoiser, noise, solver).image
    result = rf_solver(denoiser, image, solver)
    assert result.states.shape == (21, 4, DIM)
    assert (error_db(result.noise, noise) < -20).all()


# RF-Inversion's controllers


def test_rf_inversion_without_its_controller_is_euler_reversed() -> None:
    solver, denoiser = flow_euler(flow_grid(8)), curved()
    image = sample(denoiser, randn(3, 4), solver).image
    free = rf_inversion(denoiser, image, solver, gamma=0)
    plain = euler_reversed(denoiser, image, solver)
    assert torch.equal(free.states, plain.states)
    y = image
    for i in reversed(range(8)):
        gap = solver.sigma[i] - solver.sigma[i + 1]
        y = y + gap * denoiser(y, (1000 * solver.sigma[i + 1]).expand(3))
    torch.testing.assert_close(plain.noise, y)


def test_rf_inversion_at_full_strength_forgets_the_image() -> None:
    solver, image = flow_euler(flow_grid(8, shift=3.0)), randn(3, 2, 4, 4)
    denoiser = Mixture(FLOW, randn(3, 2, 4, 4, seed=2), 0.3, prediction="flow")
    for target in (randn(2, 4, 4, seed=1), randn(3, 2, 4, 4, seed=1)):
        result = rf_inversion(denoiser, image, solver, gamma=1, target=target)
        torch.testing.assert_close(result.noise, target.expand(3, 2, 4, 4))
    one, other = (rf_inversion(denoiser, image, solver, seed=s).noise for s in (0, 1))
    assert torch.equal(one, rf_inversion(denoiser, image, solver, seed=0).noise)
    assert not torch.allclose(one, other)


def test_controlled_sampling_lies_between_the_sampler_and_the_reference() -> None:
    solver, denoiser = flow_euler(flow_grid(28)), curved()
    noise, image = randn(3, 4), randn(3, 4, seed=9)
    run = partial(rf_inversion_sample, denoiser, noise, solver, reference=image)
    free = sample(denoiser, noise, solver)
    torch.testing.assert_close(run(eta=0).states, free.states)
    torch.testing.assert_close(run(eta=0).outputs, free.outputs)
    torch.testing.assert_close(run(eta=1, stop=1).image, image)
    published = run()
    assert published.nfe.tolist() == [28] * 3
    x = noise
    for i in range(7):  # the published window is 7 of 28 steps
        v = 0.1 * denoiser(x, solver.t[i].expand(3)) + 0.9 * (x - image) / solver.sigma[i]
        x = x - v / 28
    torch.testing.assert_close(published.states[7], x)
    late = run(start=0.25, stop=0.5)
    torch.testing.assert_close(late.states[:8], free.states[:8])
    assert not torch.allclose(late.states[8], free.states[8])


# Costs, batches, errors


@pytest.mark.parametrize(
    ("name", "cost"),
    [("euler_reversed", 10), ("rf_inversion", 10), ("rf_solver", 20), ("fireflow", 11)]
    + [("uni_inv", 11)],
)
@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_results_have_one_form(name: str, cost: int, make: Callable[[Grid], Solver]) -> None:
    solver = make(flow_grid(10))
    denoiser = counted(network(3.5, 3), 3)
    image = sample(network(3.5, 3), randn(3, DIM), solver).image
    result = FLOW_RIVALS[name](denoiser, image.float(), solver)
    assert result.nfe.tolist() == denoiser.per_sample == [cost] * 3
    assert result.method == name and result.reason == ("explicit",) * 3
    assert result.states.shape == (solver.steps + 1, 3, DIM) and result.states.dtype == torch.double
    assert torch.equal(result.noise, result.states[0])
    assert torch.equal(result.states[-1], image.float().double())
    assert result.residuals.shape == (3, solver.steps) and result.residuals.isnan().all()
    same = FLOW_RIVALS[name](network(3.5, 3), image.float(), flow_euler(flow_grid(10)))
    assert torch.equal(same.noise, result.noise)  # the points count, not the sampler
    rows = torch.tensor([2])
    alone = FLOW_RIVALS[name](select(network(3.5, 3), rows), image.float()[rows], solver)
    assert (error_db(alone.noise, result.noise[rows]) < -200).all()


@pytest.mark.parametrize("name", FLOW_RIVALS)
def test_predictions_are_converted(name: str) -> None:
    whole = flow_grid(6)
    grid = Grid(*(v[1:-1] for v in (whole.t, whole.alpha, whole.sigma)), FLOW)
    image, results = randn(3, 4), []
    for kind in ("flow", "epsilon", "sample", "v_prediction", "reverse_flow"):
        denoiser = replace(mixture(FLOW), prediction=kind)
        results.append(FLOW_RIVALS[name](denoiser, image, flow_euler(grid)).noise)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FLOW_RIVALS)
def test_bad_input_is_named(name: str) -> None:
    rival, solver, image = FLOW_RIVALS[name], flow_euler(flow_grid(5)), randn(2, 4)
    with pytest.raises(ValueError, match="DDIM-5 is no flow-matching sampler"):
        rival(curved(), image, ddim(Schedule.scaled_linear().grid(5)))
    heun = from_scheduler(diffusers.FlowMatchHeunDiscreteScheduler(), 5)
    with pytest.raises(ValueError, match="several stages at one noise level"):
        rival(curved(), image, heun)
    with pytest.raises(ValueError, match="image contains NaN"):
        rival(curved(), image * torch.nan, solver)
    broken: Denoiser = predicting(lambda x, t: x * torch.nan, "flow")
    with pytest.raises(ValueError, match="output is not finite at t = 0"):
        rival(broken, image, solver)
    with pytest.raises(ValueError, match="predicts 'sample' says nothing .* noise level 0:"):
        rival(replace(mixture(FLOW), prediction="sample"), image, solver)
    back = replace(solver, sigma=solver.sigma.flip(0))
    with pytest.raises(ValueError, match="from image to noise"):
        rival(curved(), image, back)
    with pytest.raises(ValueError, match="1 rows of image|rows of image but"):
        rival(network(1.0, 3), randn(2, DIM), solver)


def test_stochastic_schedulers_and_bad_options_are_refused() -> None:
    stochastic = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    with pytest.raises(NotInvertible, match="stochastic"):
        from_scheduler(stochastic, 5)
    for bad, match in (({"steps": 0}, "at least 1"), ({"steps": 3, "shift": 0.0}, "positive")):
        with pytest.raises(ValueError, match=match):
            flow_grid(**bad)
    image, solver = randn(2, 4), flow_euler(flow_grid(5))
    with pytest.raises(ValueError, match="gamma must be between 0 and 1, got 2"):
        rf_inversion(curved(), image, solver, gamma=2)
    for option in ("eta", "start", "stop"):
        with pytest.raises(ValueError, match=f"{option} must be between 0 and 1"):
            rf_inversion_sample(curved(), image, solver, reference=image, **{option: -0.1})
    with pytest.raises(ValueError, match="midpoint-5 is not Euler's method"):
        rf_inversion_sample(curved(), image, flow_midpoint(flow_grid(5)), reference=image)
    with pytest.raises(ValueError, match="reference contains NaN"):
        rf_inversion_sample(curved(), image, solver, reference=image * torch.nan)
    with pytest.raises(ValueError, match="predicts 'epsilon' says nothing .* noise level 1:"):
        uni_inv(mixture(FLOW), image, solver)


# A variance-preserving network as a flow model

VP = Schedule.scaled_linear()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_vp_network_is_the_analytic_flow_denoiser(kind: str) -> None:
    grid, x = straight_grid(VP, 40), randn(41, 4)
    straight = Straight(replace(mixture(VP), prediction=kind), VP)
    torch.testing.assert_close(straight(x, grid.t), curved()(x, grid.t), rtol=1e-9, atol=1e-9)


def test_euler_on_the_straight_path_is_ddim() -> None:
    """The flow time is continuous: DDIM is called between the integer times of its schedule."""
    grid, noise = straight_grid(VP, 12), randn(5, 4)
    times = VP.t_lambda(grid.lambda_)
    vp = Grid(times, VP.alpha_t(times), VP.sigma_t(times), VP)
    assert times[[0, -1]].tolist() == pytest.approx([999, 0], abs=1e-6) and times[5] % 1 > 1e-3
    euler = sample(Straight(mixture(VP), VP), noise, from_vp_noise(flow_euler(grid)))
    states = sample(mixture(VP), noise, ddim(vp)).states
    size = (vp.alpha + vp.sigma)[:, None, None]
    torch.testing.assert_close(euler.states * size, states, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(euler.noise, noise)


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_a_vp_network_is_inverted_on_the_straight_path(make: Callable[[Grid], Solver]) -> None:
    solver, noise = from_vp_noise(make(straight_grid(VP, 10))), randn(4, DIM)
    denoiser = Straight(prompted(4, 3.5), VP)
    image = sample(denoiser, noise, solver).image
    assert (error_db(invert(denoiser, image, solver).noise, noise) < -180).all()
    rival = euler_reversed(denoiser, image, solver).noise
    assert (error_db(rival, noise) > -60).all() and (error_db(rival, noise) < 0).all()
    rows = torch.tensor([2])
    one = Straight(prompted(4, 3.5), VP).select(rows)(image[rows], solver.t[:1])
    whole = denoiser(image, solver.t[:1].expand(4))
    torch.testing.assert_close(one, whole[rows])


def test_the_straight_path_ends_where_the_network_was_trained() -> None:
    straight, x = Straight(mixture(VP), VP), randn(1, 4)
    assert straight_grid(VP, 3).sigma[0] == pytest.approx(1 / (1 + VP.lambdas[-1].exp().item()))
    with pytest.raises(ValueError, match="noise level 0.95 is beyond 0.93"):
        straight(x, torch.tensor([950.0]))
    with pytest.raises(ValueError, match="at least 1"):
        straight_grid(VP, 0)
    assert torch.isfinite(straight(x, torch.zeros(1))).all()  # the label is 0 down to no noise
