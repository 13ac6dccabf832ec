"""Certificates: singular values, verdicts, and every reason to doubt an exact noise."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from analytic import noise_prediction, one_gaussian, randn
from torch import Tensor
from twelve import DIM, SCHEDULE, run, truth, twelve

from invlib.certificate import certify
from invlib.denoisers import Denoiser, Mixture, gaussian, guided, predicting, select
from invlib.devices import on_device
from invlib.editing import mixed
from invlib.inversion import Inversion, Origin, merge
from invlib.inverters import algorithm2, exact, invert, naive, whole_trajectory
from invlib.metrics import nmse
from invlib.newton import forward_mode
from invlib.precision import Roundoff
from invlib.sampling import sample
from invlib.schedule import Grid
from invlib.singular import sample_image, singular_values
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m

SMALL = 16


def jacobian(denoiser: Denoiser, noise: Tensor, solver: Solver) -> Tensor:
    """The sampler's Jacobian of one sample, ``[D, D]``, by reverse mode."""
    size = noise.numel()
    return torch.func.jacrev(lambda x: sample_image(denoiser, x, solver))(noise).view(size, size)


@pytest.fixture(scope="module")
def true_values() -> Tensor:
    """All singular values of three samples of a small mixture under 2M-10, ``[3, D]``."""
    noise = randn(3, SMALL)
    rows = [
        jacobian(twelve(dim=SMALL), x[None], dpm_solver_pp_2m(SCHEDULE.grid(10))) for x in noise
    ]
    return torch.linalg.svdvals(torch.stack(rows))


# Singular values


def test_with_all_vectors_the_singular_values_are_exact(true_values: Tensor) -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    for vectors in (SMALL, 10 * SMALL):
        small, large = singular_values(twelve(dim=SMALL), randn(3, SMALL), solver, vectors=vectors)
        torch.testing.assert_close(small, true_values[:, -1], rtol=1e-8, atol=0)
        torch.testing.assert_close(large, true_values[:, 0], rtol=1e-8, atol=0)


def test_with_few_vectors_they_are_bounds_that_tighten(true_values: Tensor) -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    before = torch.full((3,), math.inf).double(), torch.zeros(3).double()
    for vectors in (1, 2, 4, 8):
        small, large = singular_values(twelve(dim=SMALL), randn(3, SMALL), solver, vectors=vectors)
        assert (small >= true_values[:, -1] * (1 - 1e-12)).all()
        assert (large <= true_values[:, 0] * (1 + 1e-12)).all()
        assert (small <= before[0] * (1 + 1e-12)).all() and (large >= before[1] * (1 - 1e-12)).all()
        before = small, large
    assert (before[1] > 0.9 * true_values[:, 0]).all()


def test_the_jacobian_of_a_gaussian_is_known() -> None:
    """For Gaussian data the sampler is affine: one singular value, as often as dimensions."""
    solver = ddim(SCHEDULE.grid(5))
    denoiser, noise = one_gaussian(SCHEDULE, 6), randn(2, 6)
    spread = sample(denoiser, noise + 1, solver).image - sample(denoiser, noise, solver).image
    for vectors in (1, 6):  # the Krylov space is exhausted after one
        small, large = singular_values(denoiser, noise, solver, vectors=vectors)
        torch.testing.assert_close(large, spread[:, 0].abs(), rtol=1e-9, atol=0)
        torch.testing.assert_close(small, large, rtol=1e-9, atol=0)


def test_the_jacobian_of_a_network_that_does_nothing() -> None:
    """A multiple of the identity: nothing is left for a second Lanczos vector to find."""
    solver, nothing = ddim(SCHEDULE.grid(1)), noise_prediction(lambda x, t: 0.0 * x)
    for size in range(1, 60):  # in some of them the rest is exactly zero
        small, large = singular_values(nothing, randn(1, size), solver)
        assert small.item() == pytest.approx(solver.a.prod().item(), rel=1e-9)
        assert large.item() == pytest.approx(solver.a.prod().item(), rel=1e-9)


def test_each_sample_has_its_own_condition() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5))
    denoiser, noise, _ = run(3, 7.5, solver)
    small, large = singular_values(denoiser, noise, solver, vectors=6)
    for row in range(3):
        rows = torch.tensor([row])
        alone = singular_values(select(denoiser, rows), noise[rows], solver, vectors=6)
        assert alone[0][0] == pytest.approx(small[row].item(), rel=1e-9)
        assert alone[1][0] == pytest.approx(large[row].item(), rel=1e-9)


# Verdicts


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m, dpm_solver_pp_3m])
def test_verdicts(make: Callable[[Grid], Solver]) -> None:
    solver = make(SCHEDULE.grid(10))
    denoiser, noise, trajectory = run(4, 1.0, solver)
    image = trajectory.image
    found = certify(denoiser, exact(denoiser, image, solver, others=2), solver)
    assert found.verdict == ("exact",) * 4 and found.flags == ("",) * 4
    assert (found.round_trip < 1e-20).all() and (found.equations < 1e-12).all()
    assert (found.noise_error < 1e-10).all() and (found.norm_score.abs() < 5).all()
    assert not found.other_roots.any()
    assert found.uniqueness == ("unique as far as searched",) * 4

    one = certify(denoiser, exact(denoiser, image, solver, others=1), solver)
    assert one.uniqueness == ("unique as far as searched",) * 4
    assert one.noise_error.isnan().all()  # one distance says too little, see below

    alone = certify(denoiser, exact(denoiser, image, solver), solver, vectors=4)
    assert alone.verdict == ("exact",) * 4 and alone.uniqueness == ("not searched",) * 4
    assert alone.noise_error.isnan().all()  # the smallest singular value may be smaller yet

    rough = certify(denoiser, naive(denoiser, image, solver), solver, vectors=4)
    assert rough.verdict == ("approximate",) * 4
    assert rough.equations.isnan().all()  # it does not look at them
    assert rough.flags == ("",) * 4  # the method is to blame, not the problem

    wrong = replace(truth(trajectory), noise=-noise)
    assert certify(denoiser, wrong, solver, vectors=0).verdict == ("failed",) * 4


def test_algorithm_2_is_never_called_exact() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(3, 1.0, solver)
    result = algorithm2(denoiser, trajectory.image, solver)
    assert certify(denoiser, result, solver, vectors=0).verdict == ("approximate",) * 3


def test_what_counts_as_exact_depends_on_the_precision() -> None:
    """The round-off of the network is measured; what its dtype is called does not matter."""

    @noise_prediction
    def single(x: Tensor, t: Tensor) -> Tensor:
        return twelve()(x.float().double(), t).float()

    class Named:
        prediction, dtype = "epsilon", torch.float32

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return twelve()(x, t)

    solver = ddim(SCHEDULE.grid(5))
    for denoiser, most, verdict in (
        (twelve(), 1e-20, "approximate"),
        (Named(), 1e-20, "approximate"),
        (single, 1e-10, "exact"),
    ):
        close = truth(sample(denoiser, randn(2, DIM), solver))
        close = replace(close, noise=close.noise * (1 + 1e-7))
        proof = certify(denoiser, close, solver)
        assert proof.verdict == (verdict,) * 2
        assert proof.limit.tolist() == [most] * 2
        assert (proof.round_trip > 1e-20).all()


def test_at_most_twenty_decibels_are_left_to_a_sampler_that_repeats_itself_badly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four times the NMSE of a repetition counts as round-off, up to 100 times the network's."""
    monkeypatch.setattr("invlib.certificate._faults", lambda *_: {})  # of those that miss
    solver = ddim(SCHEDULE.grid(2))
    least = 1.6e-7  # (4 rho)^2
    cases = [  # round trip, repetition, limit
        (1e-7, math.nan, least),
        (1e-6, 1e-6, 4e-6),
        (1e-6, 1e-8, least),
        (1e-5, 1e-3, 100 * least),
        (1e-4, 1.0, least),
    ]
    trip, repeat, limit = torch.tensor(cases, dtype=torch.float64).unbind(1)
    calls, states, count = [], randn(3, 5, DIM), len(cases)

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.zeros_like(x)

    nodes = torch.zeros(count, dtype=torch.long)
    states[1] = solver.a[0] * states[0]
    states[1] += solver.b[0, 0] * solver.output(network, states[0], nodes, nodes)
    calls.clear()
    result = Inversion(
        noise=states[0],
        states=states,
        residuals=torch.zeros(count, 2),
        iterations=torch.ones(count),
        nfe=torch.ones(count),
        reason=("converged",) * count,
        method="none",
        roundoff=Roundoff(torch.full((count, 2), 1e-4).double(), torch.ones(count), 1e-6),
        again=states[-1] * (1 + trip.sqrt()[:, None]),
        repeat=repeat,
        origin=Origin(network, solver),
    )

    proof = certify(network, result, solver)
    assert calls == [count], "what the search knows is not evaluated again, but for one state each"
    torch.testing.assert_close(proof.limit, limit)
    torch.testing.assert_close(proof.round_trip, trip)
    assert proof.verdict == ("exact", "exact", "approximate", "exact", "approximate")


def test_two_more_searches_are_needed_for_a_bound() -> None:
    """Errors along one direction, drawn: how often four times the largest distance is too small."""
    first, second, third = randn(3, 200_000)
    near, other = (second - first).abs(), (third - first).abs()
    one, two = (
        (first.abs() > 4 * distance).double().mean().item()
        for distance in (near, torch.maximum(near, other))
    )
    assert one == pytest.approx(1 / (4 * math.pi), abs=0.004)
    assert two == pytest.approx(1 / (24 * math.pi * 3**0.5), abs=0.001)


def test_the_noise_error_is_estimated_to_first_order() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser = twelve(dim=SMALL)
    noise = randn(2, SMALL)
    trajectory = sample(denoiser, noise, solver)
    near = replace(truth(trajectory), noise=noise + 1e-7 * randn(2, SMALL, seed=1))
    proof = certify(denoiser, near, solver, vectors=SMALL)
    true = (near.noise - noise).norm(dim=1) / near.noise.norm(dim=1)
    assert (true <= proof.noise_error * (1 + 1e-4)).all()  # with all vectors: a bound
    assert (proof.noise_error < 30 * true).all()


def test_without_vectors_nothing_is_said_about_the_condition() -> None:
    solver = ddim(SCHEDULE.grid(5))
    denoiser, _, trajectory = run(2, 1.0, solver)
    proof = certify(denoiser, truth(trajectory), solver, vectors=0)
    assert proof.sigma_min.isnan().all() and proof.sigma_max.isnan().all()
    assert proof.noise_error.isnan().all()
    assert proof.verdict == ("exact",) * 2 and proof.flags == ("",) * 2


def test_it_prints_a_line_per_sample() -> None:
    solver = ddim(SCHEDULE.grid(5))
    denoiser, noise, trajectory = run(2, 1.0, solver)
    result = truth(trajectory)
    result.noise[1] *= 3
    lines = str(certify(denoiser, result, solver, vectors=0)).splitlines()
    assert lines[0].startswith("exact (-") and lines[0].endswith(" dB)")
    assert "failed (" in lines[1] or "approximate (" in lines[1]
    assert "not Gaussian" in lines[1]


# Reasons to doubt


def test_a_noise_of_the_wrong_length_is_not_gaussian() -> None:
    """Exactly inverted, but no sampler would have started there."""
    solver = ddim(SCHEDULE.grid(10))
    denoiser, noise, _ = run(3, 1.0, solver)
    scale = torch.tensor([1.0, 3.0, 0.3]).double()[:, None]
    image = sample(denoiser, scale * noise, solver).image
    proof = certify(denoiser, invert(denoiser, image, solver), solver, vectors=0)
    assert proof.verdict == ("exact",) * 3
    assert ["not Gaussian" in flag for flag in proof.flags] == [False, True, True]
    assert proof.norm_score[1] > 5 and proof.norm_score[2] < -5
    score = (noise.square().sum(1) - DIM) / math.sqrt(2 * DIM)
    assert proof.norm_score[0].item() == pytest.approx(score[0].item())


@pytest.mark.parametrize("std", [0.0, 1e-14])
def test_an_image_that_does_not_depend_on_the_noise_is_ill_conditioned(std: float) -> None:
    solver = ddim(SCHEDULE.grid(10, final="zero"))
    denoiser = gaussian(SCHEDULE, randn(8), std)
    trajectory = sample(denoiser, randn(2, 8), solver)
    proof = certify(denoiser, truth(trajectory), solver, vectors=8)
    assert proof.verdict == ("exact",) * 2
    assert all("ill-conditioned" in flag for flag in proof.flags)
    assert (proof.sigma_min < 1e-12).all() and (proof.noise_error > 1e-2).all()


class Fold:
    """Three steps with guidance 7.5 on two Gaussians on a line: the image turns back."""

    def __init__(self) -> None:
        self.solver = dpm_solver_pp_2m(SCHEDULE.grid(3))
        means = torch.tensor([[-1.0], [1.0]]).double()
        mixture = Mixture(SCHEDULE, means, 0.2, torch.tensor([0, 1]))
        self.denoiser = guided(mixture, torch.tensor([1]), torch.tensor([-1]), 7.5)

    def image(self, x: Tensor) -> Tensor:
        """Images of many noises ``[n]``."""
        rows = torch.zeros(len(x), dtype=torch.long)
        return sample(self.denoiser.select(rows), x[:, None], self.solver).image[:, 0]

    def zeros(
        self, function: Callable[[Tensor], Tensor], low: float = -3, high: float = 3
    ) -> Tensor:
        """Where a function of the noise changes its sign, by bisection."""
        x = torch.linspace(low, high, 601, dtype=torch.float64)
        sign = function(x).sign()
        cells = (sign[1:] != sign[:-1]).nonzero().flatten()
        low, high, left = x[cells], x[cells + 1], sign[cells]
        for _ in range(60):
            middle = (low + high) / 2
            same = function(middle).sign() == left
            low, high = torch.where(same, middle, low), torch.where(same, high, middle)
        return low

    def slope(self, x: Tensor) -> Tensor:
        return torch.func.jvp(self.image_of, (x,), (torch.ones_like(x),))[1]

    def image_of(self, x: Tensor) -> Tensor:
        network = self.denoiser.select(torch.zeros(len(x), dtype=torch.long))
        return sample_image(network, x[:, None], self.solver)[:, 0]


def test_two_noises_of_one_image_are_reported() -> None:
    fold = Fold()
    roots = fold.zeros(lambda x: fold.image(x) - 1.2)
    assert len(roots) == 2 and roots.diff().abs() > 0.1
    assert fold.slope(roots).prod() < 0  # one on each side of the fold
    one, other = (truth(sample(fold.denoiser, root.view(1, 1), fold.solver)) for root in roots)
    alone = certify(fold.denoiser, one, fold.solver)
    assert alone.verdict == ("exact",) and alone.flags == ("",)  # nothing in it speaks of the other
    for first, second in ((one, other), (other, one)):
        proof = certify(fold.denoiser, first, fold.solver, other=second)
        assert proof.verdict == ("exact",) and proof.other_roots.all()
        assert proof.flags == ("another noise gives the same image",)
    assert not certify(fold.denoiser, one, fold.solver, other=one).other_roots.any()

    # and the solver ends at the one it starts near
    for result in (one, other):
        found = whole_trajectory(
            fold.denoiser, one.states[-1], fold.solver, start=result.states * (1 + 1e-3)
        )
        assert found.converged.all()
        assert (found.noise - result.noise).abs() < 1e-9


def test_at_the_fold_itself_the_image_hardly_fixes_the_noise() -> None:
    fold = Fold()
    turn = fold.zeros(fold.slope)
    assert len(turn) == 1
    result = truth(sample(fold.denoiser, turn.view(1, 1), fold.solver))
    proof = certify(fold.denoiser, result, fold.solver, vectors=1)
    assert proof.verdict == ("exact",) and proof.sigma_min < 1e-13
    assert "ill-conditioned" in proof.flags[0]

    # a noise within the precision is no other root, one that is close but farther is
    def other(x: Tensor) -> bool:
        second = truth(sample(fold.denoiser, x.view(1, 1), fold.solver))
        return certify(fold.denoiser, result, fold.solver, other=second).other_roots.item()

    assert not other(turn + 1e-8)
    level = fold.image(turn) + 1e-9
    pair = fold.zeros(lambda x: fold.image(x) - level, turn.item() - 1e-3, turn.item() + 1e-3)
    assert len(pair) == 2 and pair.diff() < 1e-3
    result = truth(sample(fold.denoiser, pair[:1, None], fold.solver))
    assert other(pair[1])


def test_an_inexact_other_noise_is_no_other_root() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(2, 1.0, solver)
    rough = naive(denoiser, trajectory.image, solver)
    proof = certify(denoiser, truth(trajectory), solver, vectors=0, other=rough)
    assert not proof.other_roots.any()
    assert not certify(
        denoiser, rough, solver, vectors=0, other=truth(trajectory)
    ).other_roots.any()


# Numbers that are none


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_a_noise_that_is_no_noise_fails_and_hurts_no_other(bad: float) -> None:
    solver = ddim(SCHEDULE.grid(5))
    denoiser, noise, trajectory = run(3, 3.0, solver)
    result = truth(trajectory)
    result.noise[1] = bad
    proof = certify(denoiser, result, solver, vectors=3, other=result)
    assert proof.verdict == ("exact", "failed", "exact")
    assert not proof.round_trip[1] < 0.1 and not proof.other_roots.any()
    assert proof.sigma_min[[0, 2]].isfinite().all()
    good = torch.tensor([0, 2])
    alone = certify(
        select(denoiser, good),
        replace(truth(trajectory), noise=noise[good], states=trajectory.states[:, good]),
        solver,
        vectors=0,
    )
    torch.testing.assert_close(alone.norm_score, proof.norm_score[good])
    assert len(str(proof).splitlines()) == 3


def test_all_failed() -> None:
    solver = ddim(SCHEDULE.grid(5))
    _, _, trajectory = run(2, 1.0, solver)
    result = replace(truth(trajectory), noise=torch.full((2, DIM), math.nan).double())
    proof = certify(twelve(), result, solver)
    assert proof.verdict == ("failed", "failed") and proof.sigma_min.isnan().all()


def test_singular_values_of_a_network_that_fails_are_nan() -> None:
    class Broken:
        prediction = "epsilon"

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.where((x[:, :1] > 50) & (t > 500)[:, None], math.nan, twelve()(x, t))

    noise = randn(2, DIM)
    noise[1, 0] = 100.0
    small, large = singular_values(Broken(), noise, ddim(SCHEDULE.grid(5)), vectors=3)
    assert small.isnan().tolist() == large.isnan().tolist() == [False, True]


def test_forward_mode_through_a_group_norm_of_channels_last_tensors():
    norm = torch.nn.GroupNorm(2, 4, dtype=torch.float64)
    x, v = (torch.randn(2, 3, 5, 4, dtype=torch.float64).permute(0, 3, 1, 2) for _ in range(2))
    step = 1e-6
    expected = (norm(x + step * v) - norm(x - step * v)) / (2 * step)
    assert (forward_mode(norm, x, v) - expected).abs().max() < 1e-7


def test_forward_mode_leaves_what_does_not_depend_on_the_state_to_numpy():
    """As the schedulers of diffusers do, whose set_timesteps goes through NumPy."""

    def function(x):
        times = (1000 - torch.arange(3)).numpy()
        return x * float(times[1])

    x, v = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(forward_mode(function, x, v), 999 * v)
    assert not forward_mode(lambda x: torch.ones(2), x, v).any()


def test_a_noise_that_was_changed_is_sampled_again() -> None:
    denoiser, solver = twelve(), ddim(SCHEDULE.grid(10))
    image = sample(denoiser, randn(2, DIM), solver).image
    found = invert(denoiser, image, solver)
    assert found.again is not None and certify(denoiser, found, solver).verdict == ("exact",) * 2
    assert "exact" not in certify(denoiser, replace(found, noise=-found.noise), solver).verdict


def test_the_run_of_another_network_is_not_believed() -> None:
    solver, noise = dpm_solver_pp_2m(SCHEDULE.grid(10)), randn(3, SMALL)
    network, other = twelve(dim=SMALL), one_gaussian(SCHEDULE, SMALL)
    found = invert(network, sample(network, noise, solver).image, solver, method=exact)
    assert found.again is not None
    assert certify(network, found, solver).verdict == ("exact",) * 3
    assert "exact" not in certify(other, found, solver).verdict


def half(x: Tensor, t: Tensor) -> Tensor:
    return 0.9 * torch.tanh(x)


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_a_network_that_agrees_at_the_first_step_alone_is_not_believed(
    make: Callable[[Grid], Solver],
) -> None:
    solver, noise = make(SCHEDULE.grid(10)), randn(2, SMALL)
    network, other = predicting(half, "epsilon"), predicting(lambda x, t: half(x + 2, t), "epsilon")
    found = invert(network, sample(network, noise, solver).image, solver)
    wrong = mixed(network, other, solver, start=1, stop=10)
    truth = nmse(sample(wrong, found.noise, solver).image, found.states[-1])
    for inversion in (found, replace(found, origin=None), merge(found, found, [0, 1])):
        proof = certify(wrong, inversion, solver)
        assert "exact" not in proof.verdict
        torch.testing.assert_close(proof.round_trip, truth)


def test_a_table_that_agrees_in_the_first_step_alone_is_not_believed() -> None:
    network = predicting(half, "epsilon")
    solver, other = (
        dpm_solver_pp_2m(SCHEDULE.grid(10), lower_order_final=v) for v in (True, False)
    )
    found = invert(network, sample(network, randn(2, SMALL), solver).image, solver)
    assert "exact" not in certify(network, found, other).verdict
    both = exact(network, found.states[-1], solver, others=1)
    assert not certify(network, found, other, other=both).other_roots.any()


def test_the_round_off_of_another_network_is_not_believed() -> None:
    solver = ddim(SCHEDULE.grid(10))
    rough = predicting(lambda x, t: half(x.float(), t).to(x), "epsilon")
    fine = predicting(half, "epsilon")
    found = invert(rough, sample(rough, randn(2, SMALL), solver).image, solver, method="stepwise")
    assert certify(rough, found, solver).verdict == ("exact",) * 2
    proof = certify(fine, found, solver)
    assert proof.verdict == ("approximate",) * 2 and (proof.limit == 1e-20).all()


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_the_network_of_the_search_is_asked_once_a_sample_whatever_became_of_the_result(
    scale: float,
) -> None:
    solver, calls = ddim(SCHEDULE.grid(10), scale=scale), list[int]()

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return half(x, t)

    network = predicting(counted, "epsilon")
    image = sample(network, randn(2, SMALL), solver).image
    for method in ("exact", exact):
        found = invert(network, image, solver, method=method)
        again = ddim(SCHEDULE.grid(10), scale=scale)
        for result, times in ((replace(found, method="mine"), 1), (copy.deepcopy(found), 10)):
            calls.clear()
            assert certify(network, result, again).verdict == ("exact",) * 2
            assert sum(calls) == 2 * times
    stored = pickle.loads(pickle.dumps(found))
    assert stored.origin is None and torch.equal(stored.noise, found.noise)


@pytest.mark.parametrize("says", ["nothing", "first residual", "second residual", "round-off"])
def test_a_run_is_believed_if_its_first_equation_holds_as_well_as_the_search_says(
    says: str,
) -> None:
    """The network has changed by 1e-7: that is a residual, or a round-off, of its first step."""
    solver, calls, change = ddim(SCHEDULE.grid(10)), list[int](), [1.0]

    def drifting(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return change[0] * half(x, t)

    network = predicting(drifting, "epsilon")
    found = invert(network, sample(network, randn(2, SMALL), solver).image, solver)
    assert found.roundoff is not None
    residuals, rough = found.residuals.clone(), found.roundoff.outputs.clone()
    if "residual" in says:
        residuals[:, 0 if says == "first residual" else 1] = 1e-5
    if says == "round-off":
        rough[:, 0] = 1e-6
    change[0] = 1 + 1e-7
    calls.clear()
    known = replace(found.roundoff, outputs=rough)
    certify(network, replace(found, residuals=residuals, roundoff=known), solver, vectors=0)
    believed = sum(calls) == 2
    assert believed == (says in ("first residual", "round-off"))


def test_what_brings_states_to_its_device_does_not_make_another_network() -> None:
    network, solver = predicting(half, "epsilon"), ddim(SCHEDULE.grid(3))
    origin = Origin(on_device(network, "cpu"), solver)
    assert origin.is_of(on_device(network, "cpu"), ddim(SCHEDULE.grid(3)))
    for other in (network, on_device(network, "cpu", dtype=torch.float32)):
        assert not origin.is_of(other, solver)
    assert not origin.is_of(on_device(network, "cpu"), ddim(SCHEDULE.grid(4)))


def test_a_result_does_not_keep_its_network() -> None:
    network = predicting(half, "epsilon")
    solver, alive = ddim(SCHEDULE.grid(3)), weakref.ref(network)
    found = invert(network, randn(1, SMALL), solver)
    del network
    gc.collect()
    assert alive() is None and found.origin is not None


def missed(trip: float, *, change: float = 1e-6) -> tuple[Denoiser, Solver, Inversion]:
    """A linear sampler, and a noise of it whose image misses by an NMSE of ``trip``.

    The round-off of the network is 1e-4, so an NMSE of 1.6e-7 is the least that counts as exact.
    """
    solver = ddim(SCHEDULE.grid(3))
    network = noise_prediction(lambda x, t: 0.4 * x)
    result = truth(sample(network, randn(2, DIM), solver))
    rough = Roundoff(torch.full((2, 3), 1e-4).double(), torch.ones(2), change)
    return network, solver, replace(result, noise=result.noise * (1 + trip**0.5), roundoff=rough)


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        (1e-6, 1.6e-7),  # it repeats itself well
        (3e-4, 4 * 9e-8),  # one change is enough: 4 h^2 explains the round trip
        (1.9e-4, 4 * 2 * 3.61e-8),  # the mean of (1, 1, 4) h^2 is
        (1.5e-4, 4 * 2.5 * 2.25e-8),  # that of all four changes is
    ],
)
def test_how_well_a_sampler_repeats_itself_is_measured_where_nobody_has(
    change: float, limit: float
) -> None:
    network, solver, found = missed(2e-7, change=change)
    proof = certify(network, found, solver)
    torch.testing.assert_close(proof.limit, torch.full_like(proof.limit, limit), rtol=1e-5, atol=0)
    assert proof.verdict == ("exact" if limit > 2e-7 else "approximate",) * 2


@pytest.mark.parametrize(
    ("trip", "gap", "repeat", "limit"),
    [
        (1e-6, 0.0, 1e-8, 1.6e-7),
        (1e-6, 0.0, 1e-6, 4e-6),
        (1e-6, 1e-3, 0.0, 1.6e-5),  # (4 gap)^2 of the steps themselves
        (1e-6, 9e-11, 0.0, 1.6e-7),
        (1e-4, 0.0, 1.0, 1.6e-7),  # more than 20 dB off: nobody asks
        (1e-7, 0.0, 1.0, 1.6e-7),  # exact already
    ],
)
def test_an_image_that_the_sampler_itself_made_has_the_round_off_of_its_own_run(
    trip: float, gap: float, repeat: float, limit: float
) -> None:
    network, solver, found = missed(trip)
    image, asked = found.states[-1] * (1 + trip**0.5), []

    def moved(c: int) -> Tensor:
        asked.append(c)
        return image * (1 + repeat**0.5)

    proof = certify(network, found, solver, again=image, moved=moved, gap=gap)
    torch.testing.assert_close(proof.round_trip, torch.full((2,), trip).double())
    torch.testing.assert_close(proof.limit, torch.full((2,), limit).double())
    doubtful = max(1.6e-7, (4 * gap) ** 2) <= trip < 1.6e-5
    assert asked == ([1, -1, 2, -2][: 1 if trip < limit else 4] if doubtful else [])
    assert (
        certify(network, found, solver, again=image).limit.tolist() == [pytest.approx(1.6e-7)] * 2
    )


def test_however_rough_the_steps_are_nothing_above_a_thousandth_is_exact() -> None:
    network, solver, found = missed(1e-6)
    for trip, verdict in ((5e-4, "exact"), (2e-3, "approximate")):
        image = found.states[-1] * (1 + trip**0.5)
        proof = certify(network, found, solver, again=image, gap=0.05)
        assert proof.verdict == (verdict,) * 2 and proof.limit.tolist() == [1e-3] * 2


@pytest.mark.parametrize("drift", [1e-6, 1e-2])
def test_a_network_that_drifts_from_call_to_call_is_named(drift: float) -> None:
    network, solver, found = missed(1e-3)
    calls: list[int] = []

    @noise_prediction
    def drifting(x: Tensor, t: Tensor) -> Tensor:
        calls.append(1)
        return network(x, t) * torch.where(t == solver.t[0], 1, 1 + drift * len(calls))[:, None]

    flags = certify(drifting, found, solver).flags
    said = ["does not repeat itself (up to" in flag for flag in flags]
    assert said == [drift > 1e-4] * 2
    assert certify(network, found, solver).flags == ("", "")
