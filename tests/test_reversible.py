"""Reversible samplers: what their algebra gives back, at what order, and what it enlarges."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from analytic import (
    gaussian_path,
    mixture,
    mixture_end,
    noise_prediction,
    one_gaussian,
    randn,
    slope,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from twelve import DIM, SCHEDULE, counted, error_db, prompted, twelve

from invlib.continuous import ContinuousSchedule
from invlib.denoisers import Denoiser, guided
from invlib.reversible import (
    REVERSIBLE,
    Pair,
    Reversible,
    Shear,
    bdia,
    edict,
    growth,
    invert_reversible,
    least_growth,
    o_belm,
    sample_reversible,
)
from invlib.sampling import sample
from invlib.schedule import FlowSchedule, Grid
from invlib.solvers import ddim

Make = Callable[[Grid], Reversible]
# name: (table, order); BDIA below gamma 1 keeps part of DDIM's error
ORDERS: dict[str, tuple[Make, int]] = {
    "edict": (edict, 1),
    "edict, not alternating": (partial(edict, alternate=False), 1),
    "bdia": (bdia, 2),
    "bdia 0.5": (partial(bdia, gamma=0.5), 1),
    "o_belm": (o_belm, 2),
}
MAKES = [make for make, _ in ORDERS.values()]


# Round trips


@pytest.mark.parametrize("make", MAKES, ids=ORDERS)
@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_the_pair_gives_back_the_noise(make: Make, scale: float) -> None:
    denoiser, noise = prompted(6, scale), randn(6, DIM, seed=1)
    for steps, final in ((2, "sigma_min"), (10, "zero"), (20, "sigma_min")):
        sampler = make(SCHEDULE.grid(steps, final=final))
        run = sample_reversible(denoiser, noise, sampler)
        back = invert_reversible(denoiser, run.end, sampler)
        assert (error_db(back.noise, noise) < -200).all()
        assert (error_db(back.start.companion, run.start.companion) < -200).all()
        assert torch.equal(run.noise, noise) and torch.equal(back.image, run.image)
        assert back.from_pair and not run.from_pair and back.finite.all()


@pytest.mark.parametrize("make", MAKES, ids=ORDERS)
@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_the_image_alone_gives_back_itself_but_not_the_noise(make: Make, scale: float) -> None:
    denoiser, noise = prompted(6, scale), randn(6, DIM, seed=1)
    sampler = make(SCHEDULE.grid(20))
    image = sample_reversible(denoiser, noise, sampler).image
    found = invert_reversible(denoiser, image, sampler)
    assert not found.from_pair and torch.equal(found.image, image)
    again = sample_reversible(denoiser, found.start, sampler)
    assert again.from_pair and (error_db(again.image, image) < -200).all()
    assert (error_db(found.noise, noise) > -90).all()  # another noise
    alone = sample_reversible(denoiser, found.noise, sampler)
    assert (error_db(alone.image, image) > -100).all()  # and it needs its companion


@pytest.mark.parametrize("make", MAKES, ids=ORDERS)
def test_any_image_is_reproduced(make: Make) -> None:
    """Also one that the sampler did not make, with a network that is no denoiser."""
    sampler, image = make(SCHEDULE.grid(12)), randn(3, 2, 4, 4, seed=3)

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(3 * x) + torch.cos(t / 100)[:, None, None, None]

    found = invert_reversible(network, image, sampler)
    again = sample_reversible(network, found.start, sampler)
    assert (error_db(again.image, image) < -200).all() and again.image.shape == image.shape


@given(
    st.sampled_from([*REVERSIBLE]),
    st.integers(2, 12),
    st.floats(0.5, 1.0),
    st.sampled_from(["linspace", "trailing", "logsnr", "karras"]),
    st.floats(1.0, 5.0),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_round_trips_at_random(
    name: str, steps: int, weight: float, spacing: str, scale: float, batch: int, seed: int
) -> None:
    option = {"edict": {"p": weight}, "bdia": {"gamma": weight}}.get(name, {})
    sampler = REVERSIBLE[name](SCHEDULE.grid(steps, spacing=spacing), **option)
    classes = torch.arange(batch) % 2
    denoiser = guided(mixture(SCHEDULE), classes, torch.tensor([-1]), scale)
    noise = randn(batch, 4, seed=seed)
    run = sample_reversible(denoiser, noise, sampler)
    assert (error_db(invert_reversible(denoiser, run.end, sampler).noise, noise) < -100).all()
    found = invert_reversible(denoiser, run.image, sampler)
    again = sample_reversible(denoiser, found.start, sampler)
    assert (error_db(again.image, run.image) < -100).all()


def test_a_float32_network_costs_no_exactness() -> None:
    """Both directions call the network at the same states, so its round-off cancels."""
    exact = twelve()

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        return exact(x, t).float()

    noise = randn(4, DIM).float()
    for make in REVERSIBLE.values():
        sampler = make(SCHEDULE.grid(20))
        run = sample_reversible(network, noise, sampler)
        back = invert_reversible(network, run.end, sampler)
        assert back.noise.dtype == torch.float64
        assert (error_db(back.noise, noise.double()) < -200).all()


# Accuracy


@pytest.fixture(scope="module")
def flow_end() -> tuple[Tensor, Tensor]:
    y = randn(5, 4)
    return y, mixture_end(SCHEDULE, mixture(SCHEDULE, std=0.7), y)


def errors(make: Make, flow_end: tuple[Tensor, Tensor], steps: list[int], spacing: str) -> list:
    y, end = flow_end
    samplers = [make(SCHEDULE.grid(n, spacing=spacing)) for n in steps]
    runs = [sample_reversible(mixture(SCHEDULE, std=0.7), y, sampler) for sampler in samplers]
    return [(run.image - end).abs().max().item() for run in runs]


@pytest.mark.parametrize("spacing", ["logsnr", "karras"])
@pytest.mark.parametrize("name", ORDERS)
def test_order(name: str, spacing: str, flow_end: tuple[Tensor, Tensor]) -> None:
    make, order = ORDERS[name]
    steps = [80, 160, 320]
    assert abs(slope(steps, errors(make, flow_end, steps, spacing)) - order) < 0.2


def test_order_on_a_gaussian() -> None:
    y = randn(5, 3)
    for make in (bdia, o_belm):
        found = []
        for n in (40, 80, 160):
            grid = SCHEDULE.grid(n, spacing="logsnr")
            image = sample_reversible(one_gaussian(SCHEDULE), y, make(grid)).image
            found.append((image - gaussian_path(grid.alpha, grid.sigma, y)[-1]).abs().max().item())
        assert abs(slope((40, 80, 160), found) - 2) < 0.2


def test_gamma_keeps_a_part_of_the_error_of_ddim(flow_end: tuple[Tensor, Tensor]) -> None:
    y, end = flow_end
    denoiser, grid = mixture(SCHEDULE, std=0.7), SCHEDULE.grid(320, spacing="logsnr")
    of_ddim = (sample(denoiser, y, ddim(grid)).image - end).abs().max().item()
    for gamma in (0.25, 0.5, 0.75):
        (error,) = errors(partial(bdia, gamma=gamma), flow_end, [320], "logsnr")
        assert error / of_ddim == pytest.approx((1 - gamma) / (1 + gamma), rel=0.05)


def polynomial(degree: int) -> tuple[Denoiser, Callable[[Tensor], Tensor]]:
    """A network that only knows s = sigma / alpha, and the integral of what it says."""

    def level(t: Tensor) -> Tensor:
        return SCHEDULE.sigma_t(t) / SCHEDULE.alpha_t(t)

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        return (level(t) ** degree)[:, None].expand_as(x)

    return network, lambda s: s ** (degree + 1) / (degree + 1)


@pytest.mark.parametrize("spacing", ["linspace", "karras", "logsnr"])
def test_which_noises_are_integrated_exactly(spacing: str) -> None:
    """O-BELM: linear in s, so its local error is of order 3; the others: constant."""
    grid = SCHEDULE.grid(10, spacing=spacing)
    s = grid.sigma / grid.alpha
    for degree in (0, 1, 2):
        network, integral = polynomial(degree)
        x = (grid.alpha * (1 + integral(s)))[:, None, None].expand(-1, 2, 3)
        for name, (make, _) in ORDERS.items():
            copies = "edict" in name
            start = Pair(x[0], x[0] if copies else x[1])
            image = sample_reversible(network, start, make(grid)).image
            exact = error_db(image, x[-1]) < -250
            assert exact.all() == (degree <= (name == "o_belm")), (name, degree)


def test_o_belm_in_the_words_of_the_paper() -> None:
    r"""x_{i-1} from x_{i+1} and x_i, with h_i = s_i - s_{i-1} and time running backwards."""
    grid, denoiser, noise = SCHEDULE.grid(8), mixture(SCHEDULE), randn(3, 4)
    alpha, s = grid.alpha.flip(0), (grid.sigma / grid.alpha).flip(0)
    x = [torch.empty(0)] * 7 + list(sample(denoiser, noise, ddim(grid)).states[[1, 0]])
    for i in range(7, 0, -1):
        h, wide = s[i] - s[i - 1], s[i + 1] - s[i]
        epsilon = denoiser(x[i], grid.t.flip(0)[i].expand(3))
        x[i - 1] = (
            h**2 / wide**2 * alpha[i - 1] / alpha[i + 1] * x[i + 1]
            + (wide**2 - h**2) / wide**2 * alpha[i - 1] / alpha[i] * x[i]
            - h * (h + wide) / wide * alpha[i - 1] * epsilon
        )
    image = sample_reversible(denoiser, noise, o_belm(grid)).image
    torch.testing.assert_close(image, x[0], rtol=1e-12, atol=1e-12)


def test_bdia_with_a_small_gamma_is_ddim() -> None:
    grid, denoiser, noise = SCHEDULE.grid(10), mixture(SCHEDULE), randn(3, 4)
    wanted = sample(denoiser, noise, ddim(grid)).image
    gaps = [
        (sample_reversible(denoiser, noise, bdia(grid, gamma=g)).image - wanted).norm().item()
        for g in (1e-3, 1e-6)
    ]
    assert gaps[1] == pytest.approx(1e-3 * gaps[0], rel=0.01)


def test_edict_without_mixing_is_two_coupled_runs_of_ddim() -> None:
    """One step is DDIM's; more drift off at order 1, less so when the copies take turns."""
    denoiser, noise = mixture(SCHEDULE, std=0.7), randn(3, 4)

    def gap(steps: int, alternate: bool) -> float:
        grid = SCHEDULE.grid(steps, spacing="logsnr")
        sampler = edict(grid, p=1.0, alternate=alternate)
        image = sample_reversible(denoiser, noise, sampler).image
        return (image - sample(denoiser, noise, ddim(grid)).image).abs().max().item()

    assert gap(1, True) < 1e-12 and gap(1, False) < 1e-12
    steps = (80, 160, 320)
    apart = [gap(n, False) for n in steps]
    assert abs(slope(steps, apart) - 1) < 0.2
    assert all(gap(n, True) < 0.1 * wide for n, wide in zip(steps, apart, strict=True))


def test_all_are_ddim_for_a_network_that_sees_no_state() -> None:
    network, noise = polynomial(0)[0], randn(2, 3)
    grid = SCHEDULE.grid(10)
    wanted = sample(network, noise, ddim(grid)).image
    for make in MAKES:
        end = sample_reversible(network, noise, make(grid)).end
        torch.testing.assert_close(end.state, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "flow"])
def test_what_the_network_predicts_does_not_matter(kind: str) -> None:
    noise = randn(3, DIM)
    for make in REVERSIBLE.values():
        sampler = make(SCHEDULE.grid(10, final="zero"))
        wanted = sample_reversible(twelve(), noise, sampler).image
        other = twelve(prediction=kind)  # type: ignore[arg-type]
        run = sample_reversible(other, noise, sampler)
        torch.testing.assert_close(run.image, wanted)
        assert (error_db(invert_reversible(other, run.end, sampler).noise, noise) < -200).all()
        found = [invert_reversible(net, wanted, sampler).noise for net in (other, twelve())]
        torch.testing.assert_close(*found)


# Costs


def test_evaluations_are_counted() -> None:
    """From a pair BDIA and O-BELM save the step that would make it."""
    for name, alone, pair in (("edict", 24, 24), ("bdia", 12, 11), ("o_belm", 12, 11)):
        sampler = REVERSIBLE[name](SCHEDULE.grid(12))
        run = sample_reversible(prompted(3, 2.0), randn(3, DIM), sampler)
        for act, known, calls in (
            (sample_reversible, run.noise, alone),
            (sample_reversible, run.start, pair),
            (invert_reversible, run.image, alone),
            (invert_reversible, run.end, pair),
        ):
            network = counted(prompted(3, 2.0), 3)
            assert act(network, known, sampler).nfe.tolist() == network.per_sample == [calls] * 3


# Stability


def inverse_growth(denoiser: Denoiser, noise: Tensor, sampler: Reversible) -> Tensor:
    end = sample_reversible(denoiser, noise, sampler).end
    return growth(lambda pair: invert_reversible(denoiser, pair, sampler).start, end, probes=4)


def test_growth_of_a_known_map() -> None:
    pair = Pair(randn(3, 2, 2), randn(3, 2, 2, seed=1))
    wider = growth(lambda z: Pair(3 * z.state, 3 * z.companion), pair)
    torch.testing.assert_close(wider, torch.full((3,), 3.0).double(), rtol=1e-6, atol=0)
    one = growth(lambda z: Pair(2 * z.state, 0 * z.companion), pair, probes=2000, size=1e-3)
    torch.testing.assert_close(one, torch.full((3,), 2**0.5).double(), rtol=0.05, atol=0)
    assert growth(lambda z: Pair(z.state / 0, z.companion), pair).isinf().all()
    for wrong in ({"size": 0.0}, {"probes": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            growth(lambda z: z, pair, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", MAKES, ids=ORDERS)
def test_volume_does_not_depend_on_the_network(make: Make) -> None:
    """The determinant is the product of the weights k, once for each number of an image."""
    sampler, denoiser = make(SCHEDULE.grid(5)), mixture(SCHEDULE, dim=3)

    def both(z: Tensor) -> Tensor:
        end = sample_reversible(denoiser, Pair(z[None, :3], z[None, 3:]), sampler).end
        return torch.cat([end.state[0], end.companion[0]])

    jacobian = torch.autograd.functional.jacobian(both, randn(6))
    volume = math.prod(abs(shear.keep) for shear in sampler.shears) ** 3
    assert jacobian.det().abs().item() == pytest.approx(volume, rel=1e-9)
    inverse = torch.linalg.inv(jacobian)
    assert least_growth(sampler) == pytest.approx(inverse.det().abs().item() ** (1 / 6))
    assert inverse.norm().item() / 6**0.5 >= least_growth(sampler)


def test_stability_at_guidance_seven_and_a_half() -> None:
    """Guidance costs the inverses little; a small gamma or p costs every digit."""
    noise = randn(6, DIM, seed=1)
    grid = SCHEDULE.grid(50)
    for make in (edict, bdia, o_belm):
        free = inverse_growth(prompted(6, 1.0), noise, make(grid))
        strong = inverse_growth(prompted(6, 7.5), noise, make(grid))
        assert (free > least_growth(make(grid))).all()
        assert (free < 4).all() and (strong < 8).all()
    small = bdia(grid, gamma=0.5)
    assert (inverse_growth(prompted(6, 7.5), noise, small) > 1e13).all()
    assert (inverse_growth(prompted(6, 7.5), noise, edict(grid, p=0.8)) > 1e5).all()
    run = sample_reversible(prompted(6, 7.5), noise, small)
    back = invert_reversible(prompted(6, 7.5), run.end, small)
    assert (error_db(back.noise, noise) > -100).all()  # algebra, but not in 53 bits


def test_edict_needs_many_steps_under_strong_guidance() -> None:
    """Its copies part; the two-step recursions keep the size of the image."""
    noise, denoiser = randn(6, DIM, seed=1), prompted(6, 7.5)
    sizes = {
        (name, n): sample_reversible(denoiser, noise, make(SCHEDULE.grid(n))).image.std().item()
        for name, make in REVERSIBLE.items()
        for n in (10, 50)
    }
    assert sizes["edict", 10] > 5 and sizes["edict", 50] < 1.3
    assert all(sizes[name, n] < 3 for name in ("bdia", "o_belm") for n in (10, 50))


# Bad input


def test_bad_options_are_refused() -> None:
    grid = SCHEDULE.grid(5)
    for p in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"p must lie in \(0, 1\]"):
            edict(grid, p=p)
    for gamma in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"gamma must lie in \(0, 1\]"):
            bdia(grid, gamma=gamma)
    for make in (bdia, o_belm):
        with pytest.raises(ValueError, match="at least 2 steps"):
            make(SCHEDULE.grid(1))
    with pytest.raises(ValueError, match="keep = 0"):
        Reversible("none", grid, Shear(1, 0, 1), (Shear(1, 0, 1),), Shear(1, 0, 1))


@pytest.mark.parametrize("make", REVERSIBLE.values(), ids=REVERSIBLE)
def test_bad_input_is_refused(make: Make) -> None:
    flow, t = FlowSchedule(), torch.linspace(1000, 0, 6).double()
    with pytest.raises(ValueError, match="no signal"):
        make(Grid(t, flow.alpha_t(t), flow.sigma_t(t), flow))

    sampler, network, x = make(SCHEDULE.grid(5)), mixture(SCHEDULE), randn(2, 4)
    holes = torch.full((2, 4), torch.nan)
    for act, name in ((sample_reversible, "noise"), (invert_reversible, "image")):
        for wrong, message in (
            (holes, f"{name} contains NaN"),
            (Pair(x, holes), f"companion of the {name} contains NaN"),
            (Pair(x, randn(2, 3)), "a pair of"),
            (torch.zeros(3), f"{name} must be a floating-point batch"),
            (torch.zeros(2, 3, dtype=torch.long), "floating-point"),
        ):
            with pytest.raises(ValueError, match=message):
                act(network, wrong, sampler)
        with pytest.raises(ValueError, match="the network returned"):
            act(noise_prediction(lambda x, t: x[:, :2]), x, sampler)
        with pytest.raises(ValueError, match="not finite at its first call, t = "):
            act(noise_prediction(lambda x, t: x * math.nan), x, sampler)
        with pytest.raises(ValueError, match="one condition per row"):
            act(guided(network, torch.zeros(3), torch.zeros(1), 2.0), x, sampler)


@pytest.mark.parametrize("make", REVERSIBLE.values(), ids=REVERSIBLE)
def test_the_noise_is_of_variance_one_where_the_state_explodes(make: Make) -> None:
    grid = ContinuousSchedule.edm(0.1, 20.0).grid(12, spacing="karras")
    network, noise = noise_prediction(lambda x, t: x * (t / (t**2 + 0.25))[:, None]), randn(3, 16)
    sampler = make(grid)
    start = Pair(grid.scale * noise, grid.scale * noise)
    run = sample_reversible(network, start, sampler)
    back = invert_reversible(network, run.end, sampler)
    assert grid.scale > 10
    assert torch.allclose(run.noise, noise) and torch.allclose(back.noise, noise)
    assert torch.equal(run.start.state, grid.scale * noise)


def test_a_sample_that_outgrows_the_network_spoils_no_other() -> None:
    calls, exact, noise = [0], mixture(SCHEDULE), randn(3, 4)

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        calls[0] += 1
        output = exact(x, t)
        if calls[0] == 5:
            output[1] = math.inf
        return output

    for make in REVERSIBLE.values():
        calls[0] = 0
        sampler = make(SCHEDULE.grid(8))
        run = sample_reversible(network, noise, sampler)
        assert run.finite.tolist() == [True, False, True]
        wanted = sample_reversible(exact, noise, sampler)
        torch.testing.assert_close(run.image[[0, 2]], wanted.image[[0, 2]])
