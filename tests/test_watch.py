"""Long work talks: what a watch is told, when it ends a search, and what it leaves behind."""

from __future__ import annotations

import io
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from analytic import randn
from test_autoencoder import Toy, distance, off, random_latents, spread, tanh
from test_decoders import box_of, on_tokens, state
from torch import Tensor
from twelve import SCHEDULE, Counted, counted, run

from invlib import watch as watch_module
from invlib.autoencoder import (
    DECODERS,
    Autoencoder,
    Box,
    DecoderInversion,
    active_set,
    gradient,
    joint,
    quasi_newton,
    to_bytes,
)
from invlib.denoisers import Denoiser, select
from invlib.evaluator import Evaluator
from invlib.inversion import Inversion, retry
from invlib.inverters import METHODS, exact, invert, naive
from invlib.inverters.naive import straight
from invlib.inverters.whole_trajectory import whole_anderson
from invlib.newton import newton_krylov
from invlib.progress_bar import Bar
from invlib.rootfind import anderson, fixed_point, forward_step_method, gradient_descent
from invlib.sampling import sample
from invlib.schedule import FlowSchedule, Schedule
from invlib.solvers import Solver, ddim, dpm_solver_2m, dpm_solver_pp_1, dpm_solver_pp_2m
from invlib.watch import Budget, Progress, Watch, count, enter, observe, stopped, watching

STEPS = 6
FIRST_ORDER = {"algorithm1", "stepwise"}
MEASURING = 2 * 3 + 11  # evaluations of the first sample for the round-off at three nodes


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """Also where the tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def problem(
    method: str = "exact", *, batch: int = 3, scale: float = 3.0, steps: int = STEPS
) -> tuple[Denoiser, Tensor, Solver]:
    """A denoiser, images and a sampler that the method takes."""
    make = dpm_solver_pp_1 if method in FIRST_ORDER else dpm_solver_pp_2m
    solver = make(SCHEDULE.grid(steps))
    denoiser, _, trajectory = run(batch, scale, solver)
    return denoiser, trajectory.image, solver


def same(a: Inversion, b: Inversion) -> bool:
    """Whether two results are the same to the last bit."""
    tensors = all(
        torch.equal(getattr(a, name).nan_to_num(9.0), getattr(b, name).nan_to_num(9.0))
        for name in ("noise", "states", "residuals", "iterations", "nfe")
    )
    return tensors and a.reason == b.reason


def worst(result: Inversion) -> Tensor:
    return result.residuals.nan_to_num(torch.inf).amax(1)


@pytest.fixture(autouse=True)
def nothing_remains() -> Iterator[None]:
    """No watch is on after a test, and the signal handler is the one that was there before it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert watch_module._CURRENT.get() is None and stopped() is None
    assert signal.getsignal(signal.SIGINT) is before


# What is computed does not change


@pytest.mark.parametrize("method", METHODS)
def test_who_only_watches_changes_nothing(method: str) -> None:
    """With a bar and a callback, the results are those without, to the last bit."""
    denoiser, image, solver = problem(method, steps=4)
    alone = invert(denoiser, image, solver, method=method)
    watched = invert(denoiser, image, solver, method=method, progress=True, callback=print)
    assert same(alone, watched)


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_that_is_not_used_up_changes_nothing(method: str) -> None:
    denoiser, image, solver = problem(method, steps=4)
    alone = invert(denoiser, image, solver, method=method)
    rich = Budget(evaluations=int(alone.nfe.max()) + 1, seconds=1e6)
    assert same(alone, invert(denoiser, image, solver, method=method, budget=rich))


# Evaluations


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("evaluations", [1, 20])
def test_a_budget_ends_every_method_with_honest_reasons(method: str, evaluations: int) -> None:
    """A few evaluations give a finite best so far; what was not solved is never called so."""
    denoiser, image, solver = problem(method)
    network = denoiser if method == "persistent" else counted(denoiser, len(image))
    full = invert(denoiser, image, solver, method=method)
    found = invert(network, image, solver, method=method, budget=Budget(evaluations=evaluations))
    if isinstance(network, Counted):  # the long search works with a copy
        assert network.per_sample == found.nfe.tolist()
    if found.nfe.max() == full.nfe.max() and same(found, full):
        return  # it cost less than the budget
    assert "budget" in found.reason and found.states.shape == full.states.shape
    assert found.noise.isfinite().all() and torch.equal(found.states[-1], image)
    assert torch.equal(found.noise, found.states[0] / solver.scale)
    true = equations(denoiser, found, solver)
    for row, reason in enumerate(found.reason):
        if reason == "converged":
            assert true[row] < 1e-3 and not found.residuals[row].isnan().any()
        else:
            assert reason == "budget" or full.reason[row] == reason
    rounds = {"algorithm2": 8, "naive": 1}.get(method, 2 * solver.steps)
    before = {"algorithm1": 0, "algorithm2": 0, "naive": 0, "persistent": 2}.get(method, 1)
    assert found.nfe.max() <= evaluations + rounds + before * (MEASURING + 3)


def equations(denoiser: Denoiser, found: Inversion, solver: Solver) -> list[float]:
    """The largest relative residual of a backward Euler or table step, sample by sample."""
    rows = torch.arange(len(found.noise))
    outputs = [
        solver.output(denoiser, y, torch.full_like(rows, i), rows)
        for i, y in enumerate(found.states[:-1])
    ]
    again = [solver.step(i, y, outputs[: i + 1]) for i, y in enumerate(found.states[:-1])]
    misses = [
        distance(a, b) / b.flatten(1).norm(dim=1)
        for a, b in zip(again, found.states[1:], strict=True)
    ]
    if found.method == "algorithm2":  # approximate by definition
        return [0.0] * len(rows)
    return torch.stack(misses).amax(0).tolist()


@pytest.mark.parametrize("evaluations", [STEPS, 4 * STEPS, 7 * STEPS])
def test_the_budget_is_kept_within_one_round(evaluations: int) -> None:
    """A round of a whole trajectory costs one evaluation a step; the first one begins the search.

    Before it ends, there are the start, this round, and its round-off.
    """
    denoiser, image, solver = problem()
    found = invert(
        denoiser, image, solver, method="multisecant", budget=Budget(evaluations=evaluations)
    )
    begin = 2 * solver.steps + MEASURING
    assert evaluations <= found.nfe.max() <= max(begin, evaluations + solver.steps)


def test_step_by_step_the_budget_is_kept_within_one_evaluation() -> None:
    denoiser, image, solver = problem("stepwise")
    full = invert(denoiser, image, solver, method="stepwise").nfe.max()
    begin = 3 * 2 + 11 + 2  # round-off at two nodes; start and first round of the first step
    for evaluations in range(2, int(full), 3):
        found = invert(
            denoiser, image, solver, method="stepwise", budget=Budget(evaluations=evaluations)
        )
        assert found.nfe.max() in (max(begin, evaluations), evaluations + 1)


def test_more_budget_is_never_worse() -> None:
    """The best so far only gets better, from the start on."""
    denoiser, image, solver = problem()
    tries = [
        invert(denoiser, image, solver, method="multisecant", budget=Budget(evaluations=n))
        for n in range(1, 120, STEPS)
    ]
    for less, more in zip(tries, tries[1:], strict=False):
        assert (worst(more) <= worst(less) * (1 + 1e-9)).all() or more.converged.any()
    assert (worst(tries[-1]) < 1e-3 * worst(tries[0])).all()


def test_steps_that_were_not_reached_are_marked_and_cost_nothing() -> None:
    """Their residuals are NaN; the states before them are those of the search without a budget."""
    denoiser, image, solver = problem("stepwise")
    full = invert(denoiser, image, solver, method="stepwise")
    found = invert(denoiser, image, solver, method="stepwise", budget=Budget(evaluations=31))
    reached = (~found.residuals.isnan()).sum(1)
    assert 1 < reached[0] < STEPS and len(set(reached.tolist())) == 1
    solved = int(reached[0]) - 1  # the last of them was cut off
    assert torch.equal(found.states[-1 - solved :], full.states[-1 - solved :])
    assert set(found.reason) == {"budget"}


@pytest.mark.parametrize("schedule", [SCHEDULE, FlowSchedule()], ids=["vp", "flow"])
def test_unreached_states_are_those_of_a_noise_prediction_that_stays(schedule: Any) -> None:
    """The straight continuation of y = alpha d + sigma e is the same with the same d and e."""
    t = torch.linspace(schedule.times - isinstance(schedule, Schedule), 0, 6).double()
    levels = {"alpha": schedule.alpha_t(t), "sigma": schedule.sigma_t(t)}
    solver = replace(ddim(SCHEDULE.grid(5)), **levels)
    data, noise = randn(2, 3, seed=1), randn(2, 3, seed=2)
    pairs = zip(solver.alpha.tolist(), solver.sigma.tolist(), strict=True)
    states = [a * data + s * noise for a, s in pairs][::-1]
    for known in range(2, 7):
        found = straight(solver, states[:known])
        assert len(found) == 6
        assert torch.allclose(torch.stack(found), torch.stack(states), atol=1e-10)


def test_naive_inversion_is_explicit_only_where_it_got_to_the_end() -> None:
    denoiser, image, solver = problem("naive")
    whole = invert(denoiser, image, solver, method="naive", budget=Budget(evaluations=STEPS))
    part = invert(denoiser, image, solver, method="naive", budget=Budget(evaluations=STEPS - 1))
    assert set(whole.reason) == {"explicit"} and set(part.reason) == {"budget"}
    fine = partial(naive, steps=100)
    cut = invert(denoiser, image, solver, method=fine, budget=Budget(evaluations=37))
    assert cut.nfe.tolist() == [37] * 3 and set(cut.reason) == {"budget"}
    assert torch.allclose(part.states[1:], whole.states[1:], atol=1e-10)


def test_newton_ends_within_a_krylov_space() -> None:
    """A round of Newton's method is long, so that GMRES looks at the budget, too."""
    denoiser, image, solver = problem()
    precise = partial(newton_krylov, forcing=1e-12)
    slow = partial(METHODS["whole_trajectory"], finder=precise, finish=None)  # type: ignore[call-arg]
    full = invert(denoiser, image, solver, method=partial(slow, finder=precise))
    found = invert(denoiser, image, solver, method=slow, budget=Budget(evaluations=4 * STEPS))
    assert set(found.reason) == {"budget"} and found.nfe.max() <= 12 * STEPS
    assert full.converged.all() and full.nfe.min() > 30 * STEPS


@pytest.mark.parametrize(
    "finder", [anderson, fixed_point, forward_step_method, gradient_descent, newton_krylov]
)
def test_every_root_finder_gives_its_best_so_far(finder: Any) -> None:
    """The residual x^3 + x - b from x = 3: after three rounds it is no worse than at the start."""
    b, x = randn(4, 5, seed=3), torch.full((4, 5), 3.0).double()

    def residual(x: Tensor, rows: Tensor) -> Tensor:
        count(dict.fromkeys(rows.tolist(), 1))
        return x**3 + x - b[rows]

    steps = {gradient_descent: {"rho": 1e-4}, forward_step_method: {"rho": 0.05}}
    options = steps.get(finder, {"slope": 30.0})
    with watching(Watch(budget=Budget(evaluations=3))):
        root = finder(residual, x, tol=1e-12, **options)
    start = distance(residual(x, torch.arange(4)), torch.zeros(4, 5)) / x.norm(dim=1)
    assert root.reason == ("budget",) * 4 and (root.residual <= start).all()


def test_samples_pay_on_their_own_account() -> None:
    """What counts is the sample that paid most, also where only some are tried again."""
    denoiser, image, solver = problem(batch=4)
    whole = METHODS["whole_trajectory"]
    rounds = invert(denoiser, image, solver, method=whole).iterations.sort().values.tolist()
    assert rounds[0] < rounds[-1], "all samples are alike"
    short = partial(whole, finder=partial(whole_anderson, max_iterations=rounds[0]))  # type: ignore[call-arg]
    seen: list[Progress] = []
    found = invert(denoiser, image, solver, method=short, callback=seen.append)
    assert found.converged.all() and 0 < seen[-1].samples < 4
    assert seen[-1].evaluations == found.nfe.max() > found.nfe.min()


# Attempts that do not begin


def test_a_spent_budget_starts_no_other_attempt() -> None:
    denoiser, image, solver = problem()
    first = invert(denoiser, image, solver, method="naive")
    first = replace(first, reason=("stalled", "converged", "stalled"))

    def attempt(rows: Tensor) -> Inversion:
        raise AssertionError("no attempt should begin")

    with watching(Watch(budget=Budget(evaluations=1))):
        count({1: 1})
        found = retry(first, attempt)
    assert found.reason == ("budget", "converged", "budget")
    assert torch.equal(found.noise, first.noise) and torch.equal(found.nfe, first.nfe)


def test_an_attempt_that_is_cut_off_leaves_the_better_result_and_says_so() -> None:
    denoiser, image, solver = problem()
    good = invert(denoiser, image, solver, method="multisecant")
    first = replace(good, reason=("stalled", "converged", "stalled"))

    def attempt(rows: Tensor) -> Inversion:
        assert rows.tolist() == [0, 2]
        count({0: 0, 1: 17})  # its second sample is number 2 outside
        return invert(select(denoiser, rows), image[rows], solver, method="multisecant")

    seen: list[Progress] = []
    with watching(Watch(budget=Budget(evaluations=20), callback=seen.append)):
        count({1: 5})
        found = retry(first, attempt)
    assert found.reason == ("budget", "converged", "budget")
    assert torch.equal(found.noise, first.noise)
    paid = found.nfe - first.nfe
    assert seen[-1].evaluations == 17 + paid[2] > paid[0] > paid[2] > paid[1] == 0


# Seconds, and time left


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(watch_module, "monotonic", fake)
    return fake


def test_seconds_are_a_budget(clock: Clock) -> None:
    """Ten seconds a round, 35 seconds: four rounds."""
    denoiser, image, solver = problem()
    seen: list[Progress] = []

    def later(progress: Progress) -> None:
        seen.append(progress)
        clock.now += 10

    found = invert(
        denoiser,
        image,
        solver,
        method="multisecant",
        callback=later,
        budget=Budget(seconds=35),
    )
    assert set(found.reason) == {"budget"} and found.iterations.tolist() == [4] * 3
    assert [p.seconds for p in seen] == [0, 10, 20, 30]
    assert seen[0].seconds_left == 35 and seen[-1].seconds_left <= 5


def test_time_left_is_that_of_a_residual_that_falls_as_fast(clock: Clock) -> None:
    """Ten decibel a second towards -100 dB: what is left is exact from the second round on."""
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        enter("search")
        for k in range(11):
            observe(torch.tensor([10 ** (-k / 2), 1e-9]).double(), 1e-5)
            clock.now += 1
    assert seen[0].seconds_left is None
    left = [p.seconds_left for p in seen[1:]]
    assert left == pytest.approx([*range(9, -1, -1)], abs=1e-6)
    assert [p.residual_db for p in seen] == pytest.approx([-10.0 * k for k in range(11)])
    assert [p.solved for p in seen] == [1] * 10 + [2] and seen[0].samples == 2


def test_time_left_in_parts_that_are_equally_long(clock: Clock) -> None:
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        for part in range(4):
            enter("step", part, 4)
            clock.now += 3
            observe(torch.tensor([1e-9]), 1e-6)
    assert [p.seconds_left for p in seen] == pytest.approx([9, 6, 3, 0])
    assert [p.phase for p in seen] == ["step 1/4", "step 2/4", "step 3/4", "step 4/4"]


def test_time_left_by_the_budget_of_evaluations(clock: Clock) -> None:
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append, budget=Budget(evaluations=10))):
        clock.now += 4
        count({0: 2, 1: 1})
        observe(torch.ones(2))
    assert seen[0].seconds_left == 16 and seen[0].evaluations == 2


def test_a_residual_that_is_not_finite_is_said_to_be_infinite() -> None:
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        observe(torch.tensor([1.0, math.inf]), 1e-6)
        observe(torch.tensor([0.0, 0.0]), 1e-6)
        observe(torch.tensor([math.nan, 1.0]), 1e-6)
    assert seen[0].residual_db == math.inf and seen[0].seconds_left is None
    assert seen[2].residual_db == math.inf and seen[2].solved == 0
    assert seen[1].residual_db == -400 and seen[1].solved == 2


@pytest.mark.parametrize("options", [{"evaluations": 0}, {"seconds": 0.0}, {"seconds": -1.0}])
def test_a_budget_is_positive(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Budget(**options)


# Callbacks


@pytest.mark.parametrize("method", ["stepwise", "multisecant", "exact"])
def test_a_callback_sees_every_round_in_order(method: str) -> None:
    denoiser, image, solver = problem(method)
    seen: list[Progress] = []
    found = invert(denoiser, image, solver, method=method, callback=seen.append)
    assert [p.round for p in seen] == [*range(1, len(seen) + 1)]
    for name in ("evaluations", "seconds"):
        values = [getattr(p, name) for p in seen]
        assert values == sorted(values)
    for a, b in zip(seen, seen[1:], strict=False):
        assert a.phase != b.phase or b.residual_db <= a.residual_db
    assert seen[-1].evaluations == found.nfe.max() and seen[-1].solved == 3
    assert len(seen) >= found.iterations.max()
    if method == "multisecant":
        assert len(seen) == found.iterations.max()


def test_a_callback_that_returns_true_ends_the_search() -> None:
    denoiser, image, solver = problem()
    found = invert(denoiser, image, solver, callback=lambda p: p.round == 3)
    assert set(found.reason) == {"interrupted"} and found.iterations.tolist() == [3] * 3


def test_what_a_callback_evaluates_is_not_counted() -> None:
    denoiser, image, solver = problem()
    plain = invert(denoiser, image, solver, budget=Budget(evaluations=30))
    busy = invert(
        denoiser,
        image,
        solver,
        budget=Budget(evaluations=30),
        callback=lambda p: Evaluator.start(denoiser, image, solver)[0].count(
            torch.zeros(20).long()
        ),
    )
    assert same(plain, busy)


def test_an_outer_watch_goes_on_inside_an_inner_one() -> None:
    """The stricter of two budgets counts; the outer one knows what the inner one has spent."""
    denoiser, image, solver = problem()
    outer: list[Progress] = []
    with watching(Watch(callback=outer.append, budget=Budget(evaluations=30))):
        rich = invert(denoiser, image, solver, budget=Budget(evaluations=1000))
        spent = invert(denoiser, image, solver, method="multisecant")
    assert set(rich.reason) == {"budget"} and 30 <= rich.nfe.max() < 30 + STEPS
    assert set(spent.reason) == {"budget"} and spent.iterations.tolist() == [1] * 3
    assert outer[-1].evaluations == rich.nfe.max() + spent.nfe.max()
    with watching(Watch(budget=Budget(evaluations=1000))):
        poor = invert(denoiser, image, solver, budget=Budget(evaluations=30))
        assert stopped() is None
        free = invert(denoiser, image, solver)
    assert same(poor, rich) and free.converged.all()


# Ctrl-C


def interrupt_at(*rounds: int, seen: list[int]) -> Callable[[Progress], None]:
    """A user who presses Ctrl-C in these rounds, once for each time that they are named."""

    def callback(progress: Progress) -> None:
        seen.append(progress.round)
        for _ in range(rounds.count(progress.round)):
            signal.raise_signal(signal.SIGINT)

    return callback


def test_ctrl_c_ends_the_search_with_the_best_so_far() -> None:
    denoiser, image, solver = problem()
    before, seen = signal.getsignal(signal.SIGINT), []
    found = invert(denoiser, image, solver, callback=interrupt_at(4, seen=seen))
    assert seen == [1, 2, 3, 4] and set(found.reason) == {"interrupted"}
    assert signal.getsignal(signal.SIGINT) is before
    start = invert(denoiser, image, solver, callback=lambda p: True)
    assert (worst(found) <= worst(start)).all()


def test_a_second_ctrl_c_raises_at_once() -> None:
    denoiser, image, solver = problem()
    before, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        invert(denoiser, image, solver, callback=interrupt_at(2, 2, seen=seen))
    assert seen == [1, 2] and signal.getsignal(signal.SIGINT) is before


def test_a_search_that_is_not_watched_is_interrupted_as_ever() -> None:
    denoiser, image, solver = problem()
    with pytest.raises(KeyboardInterrupt), watching(Watch(callback=interrupt_at(2, seen=[]))):
        invert(denoiser, image, solver)


def test_one_ctrl_c_ends_the_outer_work_too() -> None:
    denoiser, image, solver = problem()
    with watching(Watch(interruptible=True)):
        invert(denoiser, image, solver, callback=interrupt_at(2, seen=[]))
        assert stopped() == "interrupted"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    denoiser, image, solver = problem()
    results: list[Inversion] = []

    def work() -> None:
        results.append(invert(denoiser, image, solver, budget=Budget(evaluations=20)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(results[0].reason) == {"budget"}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = invert(denoiser, image, solver, callback=interrupt_at(2, seen=[]))
        assert found.converged.all() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# The bar


def test_the_bar_talks_on_stderr_and_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("invlib.progress_bar.INTERVAL", 0.0)
    denoiser, image, solver = problem()
    found = invert(denoiser, image, solver, progress=True)
    out, err = capsys.readouterr()
    last = err.replace("\n", "\r").strip("\r ").split("\r")[-1]
    assert not out and "exact: 100%" in last and "3/3 solved" in last
    judged = found.nfe.max() + STEPS  # with the run that the certificate need not repeat
    assert f"{judged} evaluations" in last and " dB" in last
    assert " left" in err


def test_without_a_terminal_only_a_bar_that_was_asked_for_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoiser, image, solver = problem()
    for progress, terminal, shown in [
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
    ]:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        invert(denoiser, image, solver, progress=progress)
        assert bool(stream.getvalue()) is shown


def test_the_bar_is_drawn_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr("invlib.progress_bar.monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", stream)
    with watching(Watch(progress=True)):
        for _ in range(1000):
            now[0] += 0.001
            count({0: 1})
    assert 5 <= stream.getvalue().count("evaluations") <= 12


def test_the_bar_is_closed_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, image, solver = problem()
    bars: list[Any] = []
    draw = Bar.draw
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(Bar, "draw", lambda bar, *args: (bars.append(bar._bar), draw(bar, *args)))

    def fail(progress: Progress) -> None:
        raise RuntimeError("the user's own mistake")

    with pytest.raises(RuntimeError, match="own mistake"):
        invert(denoiser, image, solver, progress=True, callback=fail)
    assert bars and all(bar.disable for bar in bars)  # tqdm's mark of a closed bar
    assert sys.stderr.getvalue().endswith("\n")  # type: ignore[attr-defined]


# Decoders


def pictures() -> tuple[Autoencoder, Box]:
    """A bent decoder whose encoder misses, and pictures that are no fixed point of it."""
    autoencoder = Autoencoder(Toy(spread(3.0), m=off(), bend=tanh))
    with torch.no_grad():
        return autoencoder, Box.of(to_bytes(autoencoder.decode(0.3 * random_latents())))


@pytest.mark.parametrize("name", DECODERS)
def test_who_only_watches_changes_no_decoder_search(name: str) -> None:
    autoencoder, box = pictures()
    alone = DECODERS[name](autoencoder, box)
    seen: list[Progress] = []
    with watching(Watch(progress=True, callback=seen.append)):
        watched = DECODERS[name](autoencoder, box)
    assert torch.equal(alone.latents, watched.latents) and alone.reason == watched.reason
    assert torch.equal(alone.evaluations, watched.evaluations)
    assert name == "encoder" or seen[-1].evaluations == alone.evaluations.max()


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("evaluations", [1, 10, 30])
def test_a_budget_ends_every_decoder_search(name: str, evaluations: int) -> None:
    """No worse than where it began; nothing that does not round to the image has converged."""
    autoencoder, box = pictures()
    full, begin = DECODERS[name](autoencoder, box), DECODERS["encoder"](autoencoder, box)
    with watching(Watch(budget=Budget(evaluations=evaluations))):
        found = DECODERS[name](autoencoder, box)
    round_of = {"gauss_newton": 7, "quasi_newton": 18, "active_set": 18}.get(name, 3)
    assert found.evaluations.max() <= evaluations + 1 + round_of
    for reason, inside, whole in zip(found.reason, found.inside, full.reason, strict=True):
        assert (reason == "converged") == (inside == 1 and name != "encoder")
        assert reason in ("converged", "budget", whole)
    if name == "gradient_free":  # its own residual is that of E(D(z)) = E(x)
        return
    assert (found.image_nmse <= begin.image_nmse * (1 + 1e-9)).all()


def test_a_descent_that_goes_astray_gives_its_best() -> None:
    """With steps far too long, what a budget leaves is no worse than the encoder's answer."""
    autoencoder, box = pictures()
    wild = partial(gradient, learning_rate=30.0, warm_up=0)
    begin = DECODERS["encoder"](autoencoder, box).image_nmse
    assert (wild(autoencoder, box, iterations=5).image_nmse > begin).any()
    with watching(Watch(budget=Budget(evaluations=1 + 3 * 5))):
        found = wild(autoencoder, box)
    assert found.evaluations.tolist() == [16] * 3 and (found.image_nmse <= begin).all()


def test_the_dense_method_can_be_interrupted_within_a_jacobian() -> None:
    """It talks while it computes the Jacobian; Ctrl-C leaves the latents that it began with."""
    autoencoder, box = pictures()
    start = DECODERS["encoder"](autoencoder, box).latents
    seen: list[int] = []
    stop = interrupt_at(2, seen=seen)
    with watching(Watch(callback=stop, interruptible=True)):
        found = active_set(autoencoder, box, start=start)
    assert seen == [1, 2] and set(found.reason) == {"interrupted"}
    assert torch.equal(found.latents, start) and found.evaluations.tolist()[1:] == [0, 0]


def test_the_dense_method_looks_up_every_sixteen_columns() -> None:
    """A Jacobian of 48 columns, two evaluations each, is three rounds; between them it can end."""
    autoencoder, truth = on_tokens("AutoencoderKL", 1), state("AutoencoderKL", 1)
    box = box_of("AutoencoderKL", autoencoder, truth)
    dense = partial(active_set, start=0.5 * truth, jacobians=1, steps=1)
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        full = dense(autoencoder, box)
    assert [p.evaluations for p in seen] == [1, 33, 65, 97, 98]
    assert full.evaluations.tolist() == [98]
    with watching(Watch(budget=Budget(evaluations=34))):
        cut = dense(autoencoder, box)
    assert cut.evaluations.tolist() == [65] and cut.reason == ("budget",)


def test_conjugate_gradients_end_within_a_step_that_is_no_worse() -> None:
    """A step of Gauss-Newton is long, so that each of its products looks at the budget."""
    autoencoder, box = pictures()
    begin = DECODERS["encoder"](autoencoder, box).image_nmse
    for products in (1, 2, 5):
        with watching(Watch(budget=Budget(evaluations=1 + 3 + 4 * products))):
            found = DECODERS["gauss_newton"](autoencoder, box)
        assert found.evaluations.tolist() == [1 + 3 + 4 * products + 1] * 3
        assert (found.image_nmse < begin).all()


def test_a_decoder_search_and_an_inversion_are_paid_from_one_budget() -> None:
    """Each sample's evaluations of both are added up, and what both may cost together is kept."""
    denoiser, image, solver = problem()
    autoencoder, box = pictures()
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        decoding = quasi_newton(autoencoder, box)
        found = invert(denoiser, image, solver, method="multisecant")
    assert seen[-1].evaluations == (decoding.evaluations + found.nfe).max()
    paid = int(decoding.evaluations.max())
    with watching(Watch(budget=Budget(evaluations=paid + 5 * STEPS))):
        again = quasi_newton(autoencoder, box)
        cut = invert(denoiser, image, solver, method="multisecant")
    assert torch.equal(again.latents, decoding.latents) and again.reason == decoding.reason
    assert set(cut.reason) == {"budget"}
    assert paid + 5 * STEPS <= (again.evaluations + cut.nfe).max() < paid + 6 * STEPS


class Pressed(Toy):
    """A decoder during whose calls number ``presses`` somebody presses Ctrl-C."""

    calls = 0
    presses: tuple[int, ...] = ()

    def decode(self, z: Tensor) -> Any:
        self.calls += 1
        for _ in range(self.presses.count(self.calls)):
            signal.raise_signal(signal.SIGINT)
        return super().decode(z)


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "encoder"])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_ctrl_c_within_a_decoder(name: str, call: int) -> None:
    """Once: the best so far, judged. Twice, while searching or judging: at once, and unharmed."""
    box, vae = pictures()[1], Pressed(spread(3.0), m=off(), bend=tanh)
    random = torch.get_rng_state()

    def search(*presses: int) -> DecoderInversion:
        vae.calls, vae.presses = 0, presses
        with watching(Watch(interruptible=True)):
            return DECODERS[name](Autoencoder(vae), box)

    alone, whole = search(), vae.calls
    found, judged = search(call), vae.calls
    assert call < judged < whole and "interrupted" in found.reason
    assert set(found.reason) <= {"interrupted", "converged"} and found.latents.isfinite().all()
    for second in (call, judged):
        with pytest.raises(KeyboardInterrupt):
            search(call, second)
        assert vae.calls == second and not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled() and torch.equal(torch.get_rng_state(), random)
    assert torch.equal(search().latents, alone.latents)


def test_a_spent_budget_refines_nothing() -> None:
    """Joint refinement gives back what it was given, rather than something half done."""
    denoiser, image, solver = problem(batch=1)
    autoencoder, box = pictures()
    first = quasi_newton(autoencoder, box)
    inversion = invert(denoiser, image, solver)
    with watching(Watch(budget=Budget(evaluations=1))):
        count({0: 1})
        result = joint(autoencoder, denoiser, box, solver, first, inversion)
    assert result[0] is first and result[1] is inversion


# The whole of it


def test_budgets_are_kept_by_the_methods_of_the_default() -> None:
    """Both kinds of samplers: enough is enough, and too little gives a noise all the same."""
    for make in (ddim, dpm_solver_2m):
        solver = make(SCHEDULE.grid(STEPS))
        denoiser, noise, trajectory = run(2, 3.0, solver)
        found = exact(denoiser, trajectory.image, solver)
        with watching(Watch(budget=Budget(evaluations=int(found.nfe.max()) + 1))):
            again = exact(denoiser, trajectory.image, solver)
        assert again.converged.all() and torch.equal(again.noise, found.noise)
        with watching(Watch(budget=Budget(evaluations=10))):
            short = exact(denoiser, trajectory.image, solver)
        assert not short.converged.any()
        image = sample(denoiser, short.noise, solver).image
        assert image.isfinite().all()
