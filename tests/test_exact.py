"""The default search: whatever a network computes in, it ends with a right verdict, or says why."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from analytic import noise_prediction, randn
from perceptron import WIDTH, Perceptron, networks, preconditioned
from torch import Tensor
from twelve import SCHEDULE, counted, error_db, run

from invlib.certificate import Certificate, certify
from invlib.denoisers import Denoiser, Prediction, predicting, prediction_of, select
from invlib.inversion import Inversion
from invlib.inverters import METHODS, Inverter, exact, invert, multisecant, persistent, stepwise
from invlib.inverters.exact import _Search
from invlib.inverters.secants import Pairs
from invlib.metrics import nmse
from invlib.precision import MOST, ROUGH
from invlib.rootfind import anderson
from invlib.sampling import sample
from invlib.schedule import Grid
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m
from invlib.watch import Progress

NETWORKS = networks()
MAKERS: list[Callable[[Grid], Solver]] = [ddim, dpm_solver_pp_2m]
ENDS = {"converged", "stalled", "diverged", "budget", "round-off"}


def solved(
    denoiser: Denoiser, solver: Solver, *, count: int = 3, **options: Any
) -> tuple[Inversion, Certificate, Tensor]:
    """The inversion of what the network itself has made, its certificate, and the image."""
    image = sample(denoiser, randn(count, WIDTH), solver).image
    found = exact(denoiser, image, solver, **options)
    return found, certify(denoiser, found, solver), image


# What a network computes in


@pytest.mark.parametrize("finest", [True, False])
def test_what_steps_leave_over_is_solved_step_by_step_in_float64(
    finest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of all steps together are for networks that have no copy in float64."""
    weak = partial(stepwise, finder=partial(anderson, max_iterations=3))
    monkeypatch.setattr(sys.modules["invlib.inverters.exact"], "stepwise", weak)
    found, proof, _ = solved(NETWORKS["float32"][0], ddim(SCHEDULE.grid(5)), double=finest)
    assert found.reason == ("converged",) * 3 and proof.verdict == ("exact",) * 3
    assert (found.iterations == 0).all() == finest


@pytest.mark.parametrize("make", MAKERS)
def test_whatever_a_network_computes_in_it_is_inverted_to_that(
    make: Callable[[Grid], Solver],
) -> None:
    """To a coarser round-off it costs no more than in float64."""
    solver = make(SCHEDULE.grid(5))
    most = solved(NETWORKS["float64"][0], solver)[0].nfe.max()
    for denoiser, _ in NETWORKS.values():
        found, proof, _ = solved(denoiser, solver)
        assert found.reason == ("converged",) * 3 and proof.verdict == ("exact",) * 3
        assert found.nfe.max() <= 1.2 * most


@pytest.mark.parametrize("make", MAKERS)
def test_a_network_need_not_be_recognised(make: Callable[[Grid], Solver]) -> None:
    """Behind a lambda or NumPy it costs what it costs as a module."""
    solver = make(SCHEDULE.grid(5))
    module, _, image = solved(NETWORKS["float32"][0], solver)
    for name in ("a lambda over float32", "behind NumPy"):
        found, proof, again = solved(NETWORKS[name][0], solver)
        assert torch.equal(image, again) and proof.verdict == ("exact",) * 3
        assert (found.nfe <= 1.2 * module.nfe).all()
        assert (error_db(found.noise, module.noise) < -100).all()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["float32", "float16", "ten bits"])
def test_preconditioning_in_float64_costs_nothing(
    name: str, make: Callable[[Grid], Solver]
) -> None:
    """A rough network in a wrapper is solved to its own round-off, not to the wrapper's."""
    solver, network = make(SCHEDULE.grid(10)), NETWORKS[name][0]
    found, proof, _ = solved(preconditioned(network, torch.float64, 1.0), solver, double=False)
    same, _, _ = solved(preconditioned(network, torch.float32, 1.0), solver, double=False)
    assert set(found.reason) <= {"converged", "round-off"}
    assert [v == "exact" for v in proof.verdict] == found.converged.tolist()
    assert (found.nfe <= 1.2 * same.nfe.max()).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "ten bits"])
def test_without_a_copy_in_float64_it_says_how_far_it_came(name: str) -> None:
    """The equations hold to round-off; where few steps amplify it, the image is missed a little."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5))
    network = NETWORKS[name][0]
    hidden = predicting(lambda x, t: network(x, t), "epsilon")
    found, proof, image = solved(hidden, solver)
    fine, _, _ = solved(network, solver)
    assert set(found.reason) <= {"converged", "round-off"} and fine.converged.all()
    assert [v == "exact" for v in proof.verdict] == found.converged.tolist()
    assert "failed" not in proof.verdict and (proof.round_trip < 0.01).all()
    assert (found.iterations < 600).all()


# The run that judges


@pytest.mark.parametrize("make", MAKERS)
def test_again_is_the_image_sampled_again_and_is_not_sampled_twice(
    make: Callable[[Grid], Solver],
) -> None:
    """Its cost is the certificate's, whether the search has looked or not."""
    solver = make(SCHEDULE.grid(10))
    denoiser, _, trajectory = run(5, 3.0, solver)
    count = counted(denoiser, 5)
    found = exact(count, trajectory.image, solver)
    assert found.again is not None and found.roundoff is not None
    assert [paid - 10 for paid in count.per_sample] == found.nfe.tolist()
    again = sample(denoiser, found.noise, solver).image
    torch.testing.assert_close(found.again, again, rtol=1e-12, atol=1e-12)
    calls = len(count.sizes)
    proof = certify(count, found, solver)
    assert len(count.sizes) == calls + 1, "one step, to see that the network is the same"
    torch.testing.assert_close(proof.round_trip, nmse(found.again, trajectory.image))
    assert torch.equal(proof.limit, found.roundoff.limit)
    forgotten = certify(denoiser, replace(found, again=None, roundoff=None), solver)
    assert forgotten.verdict == proof.verdict


def test_the_residuals_are_those_of_the_returned_states() -> None:
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5))
    denoiser = NETWORKS["float32"][0]
    found, _, _ = solved(denoiser, solver)
    y, rows = found.states, torch.arange(3)
    m = [solver.output(denoiser, y[i], torch.full((3,), i), rows) for i in range(5)]
    wanted = [
        (y[i + 1] - solver.step(i, y[i], m[: i + 1])).norm(dim=1) / y[i + 1].norm(dim=1)
        for i in range(5)
    ]
    torch.testing.assert_close(found.residuals, torch.stack(wanted, 1), rtol=0.1, atol=1e-6)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "ten bits"])
@pytest.mark.parametrize("double", [True, False])
def test_converged_is_what_the_rule_of_repetition_says(name: str, double: bool) -> None:
    """At the limit; or up to MOST times it, if the sampler repeats itself not much better."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5))
    found, proof, image = solved(NETWORKS[name][0], solver, count=6, double=double)
    assert found.again is not None and found.repeat is not None and found.roundoff is not None
    trip, limit, repeat = nmse(found.again, image), found.roundoff.limit, found.repeat
    rule = (trip <= limit) | ((trip <= MOST * limit) & (trip <= ROUGH * repeat))
    assert rule.tolist() == found.converged.tolist()
    assert [v == "exact" for v in proof.verdict] == found.converged.tolist()
    assert repeat[~found.converged & (trip <= MOST * limit)].isfinite().all()


@pytest.mark.parametrize("make", MAKERS)
def test_a_sampler_that_amplifies_its_own_round_off_is_judged_by_how_it_repeats_itself(
    make: Callable[[Grid], Solver],
) -> None:
    """In one direction, in which the noise has nothing, it grows a thousandfold in float32."""
    solver = make(SCHEDULE.grid(5))
    along = torch.linalg.qr(randn(WIDTH, WIDTH, seed=2))[0][:, 0]
    matrix = (torch.eye(WIDTH).double() / 2 - 10 * torch.outer(along, along)).float()
    network = noise_prediction(lambda x, t: x.float() @ matrix)
    noise = randn(8, WIDTH)
    noise = noise - (noise @ along)[:, None] * along
    image = sample(network, noise, solver).image
    found = exact(network, image, solver, starts=1, max_rounds=100)
    assert found.again is not None and found.repeat is not None and found.roundoff is not None
    trip, limit, repeat = nmse(found.again, image), found.roundoff.limit, found.repeat
    judged = found.converged & (trip > limit)
    assert judged.any() and (trip <= ROUGH * repeat)[judged].all()
    assert (trip <= MOST * limit)[judged].all()
    verdict = certify(network, found, solver).verdict
    assert [v == "exact" for v in verdict] == found.converged.tolist()


# What cannot be solved


def distance(found: Inversion, image: Tensor) -> Tensor:
    """Of the run where there was one, else of the equations; a run is nearer than none."""
    assert found.again is not None
    trip = nmse(found.again, image)
    return torch.where(trip.isnan(), 1e3 + found.residuals.amax(1), trip)


@dataclass(frozen=True)
class Square:
    """Its data prediction is never negative, nor is an image of a sampler that ends at sigma 0."""

    prediction: Prediction = "sample"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return x.square() / 4


@pytest.mark.parametrize("make", MAKERS)
def test_an_image_that_no_noise_makes_ends_with_a_reason_and_the_best(
    make: Callable[[Grid], Solver],
) -> None:
    """The others of the batch lose nothing by it."""
    solver, denoiser = make(SCHEDULE.grid(3, final="zero")), Square()
    image = sample(denoiser, 1 + 0.1 * randn(3, 8), solver).image
    image[1] = -image[1].abs() - 1
    found = exact(denoiser, image, solver, patience=20, starts=2)
    proof = certify(denoiser, found, solver)
    assert found.reason[0] == found.reason[2] == "converged"
    assert found.reason[1] in ENDS - {"converged"}
    assert found.starts is not None and found.starts[0] == 1 and 1 < found.starts[1] <= 4
    assert proof.verdict[0] == proof.verdict[2] == "exact" and proof.verdict[1] != "exact"
    assert found.noise.isfinite().all() and torch.equal(found.states[-1], image)
    for rounds in (1, 5, 25):  # the best so far is never lost
        less = exact(denoiser, image, solver, patience=20, starts=2, max_rounds=rounds)
        before, after = (distance(v, image)[1] for v in (less, found))
        assert after <= before


@pytest.mark.parametrize("rounds", [1, 2, 5, 17])
@pytest.mark.parametrize("make", MAKERS)
def test_max_rounds_is_a_budget_of_all_attempts(
    make: Callable[[Grid], Solver], rounds: int
) -> None:
    """What is not solved within it says so; each round costs one evaluation a step."""
    solver = make(SCHEDULE.grid(3, final="zero"))
    image = -1 - randn(2, 8).abs()
    found = exact(Square(), image, solver, max_rounds=rounds, patience=3)
    assert (found.iterations <= rounds).all()
    assert all(reason in ENDS - {"converged"} for reason in found.reason)
    more = exact(Square(), image, solver, max_rounds=rounds, patience=1000)
    assert (more.iterations <= rounds).all() and more.reason == ("budget",) * 2


# Memory


class Full:
    """A network that has too little memory for more than ``room(calls so far)`` rows."""

    def __init__(
        self,
        network: Denoiser,
        room: Callable[[int], int],
        error: type[Exception],
        calls: list[int],
    ) -> None:
        self.network, self.room, self.error, self.calls = network, room, error, calls

    @property
    def prediction(self) -> Prediction:
        return prediction_of(self.network)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls.append(len(x))
        if len(x) > self.room(len(self.calls)):
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.network(x, t)

    def select(self, rows: Tensor) -> Full:
        return Full(select(self.network, rows), self.room, self.error, self.calls)


ROOMS: dict[str, Callable[[int], int]] = {
    "little": lambda call: 3,
    "one": lambda call: 1,
    "less and less": lambda call: max(1, 40 - call),
    "more and less": lambda call: [50, 7, 20, 1, 13][call % 5],
}


@pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)
@pytest.mark.parametrize("make", MAKERS)
def test_too_little_memory_costs_nothing(
    make: Callable[[Grid], Solver], room: Callable[[int], int]
) -> None:
    """Parts get smaller; results and evaluations stay what they are."""
    solver = make(SCHEDULE.grid(4))
    denoiser, _, trajectory = run(3, 3.0, solver)
    free = exact(denoiser, trajectory.image, solver)
    for error in (RuntimeError, MemoryError):
        network = Full(denoiser, room, error, [])
        found = exact(network, trajectory.image, solver)
        assert found.reason == free.reason == ("converged",) * 3
        assert (error_db(found.noise, free.noise) < -200).all()
        assert (found.nfe - free.nfe).abs().max() <= 2 * 4  # round-off differs with the batch


@pytest.mark.parametrize("make", MAKERS)
def test_memory_may_be_full_at_any_call(make: Callable[[Grid], Solver]) -> None:
    """Whichever call it is that fails: start, round-off, rounds, steps, the run, another start."""
    solver, denoiser = make(SCHEDULE.grid(3)), NETWORKS["float32"][0]
    image = sample(denoiser, randn(2, WIDTH), solver).image
    whole = Full(denoiser, lambda call: 1000, RuntimeError, [])
    others = 1 if make is ddim else 0
    free = exact(whole, image, solver, others=others)
    for failing in (*range(1, 7), *range(7, len(whole.calls) + 1, 12)):
        network = Full(denoiser, lambda n, at=failing: 1 if n == at else 1000, RuntimeError, [])  # type: ignore[misc]
        found = exact(network, image, solver, others=others)
        assert found.reason == free.reason == ("converged",) * 2
        assert (error_db(found.noise, free.noise) < -80).all(), failing
        if found.others is not None and free.others is not None:
            assert torch.equal(found.others.isnan(), free.others.isnan())


@pytest.mark.parametrize("part", ["_add", "step"])
def test_where_memory_is_full_of_pairs_fewer_are_kept(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than three pairs do not fit: it takes more rounds, and ends at the same noise."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(4))
    denoiser, _, trajectory = run(3, 3.0, solver)
    free, work = exact(denoiser, trajectory.image, solver), getattr(Pairs, part)
    failures = []

    def full(pairs: Pairs, *given: Tensor) -> Any:
        if pairs.dy.shape[2] > 3:
            failures.append(pairs.dy.shape[2])
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return work(pairs, *given)

    monkeypatch.setattr(Pairs, part, full)
    found = exact(denoiser, trajectory.image, solver)
    assert found.reason == free.reason == ("converged",) * 3
    assert (error_db(found.noise, free.noise) < -200).all()
    assert failures and (found.iterations >= free.iterations).all()


def test_pairs_give_way_where_the_network_needs_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside more than three pairs the network has no room for a single state."""
    solver, held = dpm_solver_pp_2m(SCHEDULE.grid(4)), [0]
    denoiser, _, trajectory = run(3, 3.0, solver)
    free = exact(denoiser, trajectory.image, solver)
    for name in ("_add", "forget"):
        work = getattr(Pairs, name)

        def noted(pairs: Pairs, *given: Tensor, work: Any = work) -> None:
            work(pairs, *given)
            held[0] = pairs.count

        monkeypatch.setattr(Pairs, name, noted)
    network = Full(denoiser, lambda call: 0 if held[0] > 3 else 1000, RuntimeError, [])
    found = exact(network, trajectory.image, solver)
    assert found.reason == ("converged",) * 3
    assert (error_db(found.noise, free.noise) < -200).all()


def test_full_memory_that_nothing_helps_leaves_what_is_solved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sample is done when the algebra of the two others fails for good."""
    solver, step = dpm_solver_pp_2m(SCHEDULE.grid(4)), Pairs.step
    denoiser, _, trajectory = run(3, 3.0, solver)
    image = trajectory.image * torch.tensor([1.0, 1.0, 5.0], dtype=torch.float64)[:, None]
    free = exact(denoiser, image, solver)

    def full(pairs: Pairs, r: Tensor) -> Tensor:
        if len(r) < 3:
            raise MemoryError
        return step(pairs, r)

    monkeypatch.setattr(Pairs, "step", full)
    with pytest.warns(UserWarning, match="memory is full"):
        found = exact(denoiser, image, solver)
    assert sorted(found.reason) == ["converged", "error", "error"]
    done = found.converged
    assert (error_db(found.noise, free.noise)[done] < -200).all()
    assert found.residuals[~done].isfinite().all()


@pytest.mark.parametrize("make", MAKERS)
def test_max_batch_bounds_every_call(make: Callable[[Grid], Solver]) -> None:
    solver = make(SCHEDULE.grid(3))
    denoiser, _, trajectory = run(7, 1.0, solver)
    free = exact(denoiser, trajectory.image, solver, others=2)
    network = counted(denoiser, 7)
    found = exact(network, trajectory.image, solver, others=2, max_batch=6)
    assert max(network.sizes) == 6
    assert (error_db(found.noise, free.noise) < -200).all()


def test_an_error_that_is_not_about_memory_is_raised() -> None:
    @noise_prediction
    def broken(x: Tensor, t: Tensor) -> Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        exact(broken, randn(2, 4), dpm_solver_pp_2m(SCHEDULE.grid(3)))


# Errors


class Casting(torch.nn.Module):
    """A network that casts its input itself, so that no copy in float64 can be called."""

    prediction = "epsilon"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(16, 64), torch.nn.Linear(64, 16)
        self.requires_grad_(False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x.float())))


@pytest.mark.parametrize("method", [exact, persistent])
def test_a_network_without_a_copy_in_float64_is_searched_without_one(
    method: Inverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak = partial(stepwise, finder=partial(anderson, max_iterations=3))
    monkeypatch.setattr(sys.modules["invlib.inverters.exact"], "stepwise", weak)
    network, solver = Casting(), ddim(SCHEDULE.grid(4))
    image = sample(network, randn(2, 16, seed=1), solver).image
    with pytest.warns(UserWarning, match="no copy in float64") as noted:
        found = method(network, image, solver)
    assert len(noted) == 1 and "double=False" in str(noted[0].message)
    assert found.reason == ("converged",) * 2
    plain = partial(method, double=False)(network, image, solver)  # type: ignore[call-arg]
    assert torch.equal(found.noise, plain.noise)


def test_an_error_while_the_steps_are_judged_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three samples the second makes the sampler fail once the steps have been inverted."""
    solver, network = ddim(SCHEDULE.grid(5)), NETWORKS["float32"][0]
    image = sample(network, randn(3, WIDTH), solver).image
    weak = partial(stepwise, finder=partial(anderson, max_iterations=3))
    monkeypatch.setattr(sys.modules["invlib.inverters.exact"], "stepwise", weak)
    first = weak(network, image, solver)

    def failing(*_: Any) -> None:
        raise RuntimeError("out of order")

    for name in ("sampled", "by_steps"):  # the run, and what follows from it
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["invlib.inverters.exact"], name, failing)
            with pytest.warns(UserWarning, match="out of order"):
                found = exact(network, image, solver)
        assert found.reason == ("error",) * 3
        torch.testing.assert_close(found.noise, first.noise, rtol=1e-2, atol=1e-2)


def test_an_error_leaves_solved_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    solver, denoiser = dpm_solver_pp_2m(SCHEDULE.grid(3, final="zero")), Square()
    image = sample(denoiser, 1 + 0.1 * randn(2, 8), solver).image
    image[1] = -image[1].abs() - 1  # no noise makes it

    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(_Search, "another", failing)
    with pytest.warns(UserWarning, match="out of order"):
        found = exact(denoiser, image, solver, patience=20)
    assert found.reason == ("converged", "error")


# Rounds


@pytest.mark.parametrize("name", ["float32", "float16", "ten bits"])
def test_near_round_off_a_search_ends_as_soon_as_it_gains_no_factor_of_three(name: str) -> None:
    """From ten times round-off on there are three such rounds at most, and one that gains less."""
    solver, denoiser = dpm_solver_pp_2m(SCHEDULE.grid(10)), NETWORKS[name][0]
    for seed in range(4):
        image = sample(denoiser, randn(1, WIDTH, seed=seed), solver).image
        levels: list[float] = []

        def note(progress: Progress, levels: list[float] = levels) -> None:
            levels.append(progress.residual_db)

        found = invert(denoiser, image, solver, method="multisecant", callback=note)
        assert found.converged.all() and found.roundoff is not None
        goal = 20 * math.log10(10 * found.roundoff.equations.item())
        assert 1 <= sum(level <= goal for level in levels) <= 4


# Derivatives


def test_an_inverter_called_by_itself_keeps_no_graph() -> None:
    """Of a network whose parameters want gradients, and of an image that does."""
    network: Any = Perceptron()
    assert all(p.requires_grad for p in network.parameters())
    for name, method in METHODS.items():
        make = ddim if name in ("algorithm1", "stepwise") else dpm_solver_pp_2m
        solver = make(SCHEDULE.grid(2))
        image = sample(network, randn(2, WIDTH), solver).image.requires_grad_()
        found = method(network, image, solver)
        for value in (found.noise, found.states, found.residuals):
            assert not value.requires_grad and value.grad_fn is None, name
    searched = multisecant(network, image, solver)
    assert not searched.noise.requires_grad and searched.noise.grad_fn is None
