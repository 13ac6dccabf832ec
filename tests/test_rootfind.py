"""Root finders: they find the root of every sample on its own, and say why they stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from analytic import randn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from invlib.newton import newton_krylov
from invlib.rootfind import (
    Finder,
    Residual,
    Search,
    anderson,
    fixed_point,
    forward_step_method,
    gradient_descent,
    relative_size,
)

# Each finder with options that solve a well-conditioned problem to 1e-10, with any slope.
FINDERS: dict[str, Finder] = {
    "fixed_point": fixed_point,
    "forward_step_method": partial(forward_step_method, rho=0.25, max_iterations=300),
    "gradient_descent": partial(gradient_descent, rho=0.3, max_iterations=300),
    "anderson": anderson,
    "newton_krylov": newton_krylov,
}
DERIVATIVE_FREE = ("fixed_point", "forward_step_method", "anderson")
every_finder = pytest.mark.parametrize("finder", FINDERS.values(), ids=FINDERS)


class Counted:
    """A residual ``(x, rows)`` that remembers which rows it was called on, and at which x."""

    def __init__(self, residual: Residual) -> None:
        self.residual = residual
        self.calls: list[list[int]] = []
        self.at: list[Tensor] = []

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        self.calls.append(rows.tolist())
        self.at.append(x)
        return self.residual(x, rows)

    def evaluations(self, row: int) -> int:
        return sum(rows.count(row) for rows in self.calls)


def plain(function: Callable[[Tensor], Tensor]) -> Residual:
    """A residual that is the same for every row."""
    return lambda x, rows: function(x)


def smooth_problem(
    seed: int, batch: int, dim: int, bend: float, slope: float = 1.0
) -> tuple[Residual, Tensor]:
    """``slope (A x + bend sin x - target)``, A within .3 of the identity, and its only root."""
    a = randn(batch, dim, dim, seed=seed)
    a = torch.eye(dim).double() + 0.3 * a / torch.linalg.matrix_norm(a, 2)[:, None, None]
    root = 1 + randn(batch, dim, seed=seed + 1)
    target = (a @ root[:, :, None])[:, :, 0] + bend * root.sin()

    def residual(x: Tensor, rows: Tensor) -> Tensor:
        return slope * ((a[rows] @ x[:, :, None])[:, :, 0] + bend * x.sin() - target[rows])

    return residual, root


def error(x: Tensor, root: Tensor) -> Tensor:
    return (x - root).norm(dim=1) / root.norm(dim=1)


# What all of them do


@every_finder
@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 4),
    dim=st.integers(1, 6),
    bend=st.sampled_from([0.0, 0.1]),
    slope=st.sampled_from([1.0, -0.5, 3.0]),
)
def test_finds_the_root_of_every_sample(
    finder: Finder, seed: int, batch: int, dim: int, bend: float, slope: float
) -> None:
    if finder is FINDERS["forward_step_method"] or finder is FINDERS["gradient_descent"]:
        slope = 1.0  # they make no use of it
    residual, root = smooth_problem(seed, batch, dim, bend, slope)
    start = root + randn(batch, dim, seed=seed + 2)
    kept = start.clone()
    found = finder(residual, start, slope=slope, tol=1e-10)
    assert found.reason == ("converged",) * batch and found.converged.all()
    assert (error(found.x, root) < 1e-8).all()
    assert (found.residual <= 1e-10).all() and (found.iterations >= 1).all()
    assert torch.equal(start, kept)


@every_finder
def test_shapes_of_states_are_kept(finder: Finder) -> None:
    target = 1 + randn(2, 3, 4, 5)
    found = finder(lambda x, rows: x - target[rows], torch.zeros(2, 3, 4, 5).double(), tol=1e-10)
    assert found.x.shape == (2, 3, 4, 5)
    assert (error(found.x.flatten(1), target.flatten(1)) < 1e-9).all()


@pytest.mark.parametrize("name", DERIVATIVE_FREE)
def test_finished_rows_are_not_evaluated_again(name: str) -> None:
    residual, root = smooth_problem(0, 4, 5, 0.1)
    scale = torch.tensor([0.0, 1e-8, 1e-3, 1.0]).double()[:, None]  # ever farther from the root
    counted = Counted(residual)
    found = FINDERS[name](counted, root + scale * randn(4, 5, seed=9), tol=1e-10)
    assert found.converged.all()
    assert [counted.evaluations(row) for row in range(4)] == found.iterations.tolist()
    assert found.iterations[0] == 1
    assert (found.iterations.diff() > 0).all()
    for before, after in zip(counted.calls, counted.calls[1:], strict=False):
        assert set(after) <= set(before)


def test_newton_stops_evaluating_finished_rows_inside_gmres_and_line_search() -> None:
    residual, root = smooth_problem(0, 3, 6, 0.1)
    start = root.clone()
    start[1] += 1e-2
    start[2] += 5.0
    counted = Counted(residual)
    found = newton_krylov(counted, start, tol=1e-10)
    assert found.converged.all() and found.iterations[0] == 1
    assert counted.evaluations(0) == 1 < counted.evaluations(1) < counted.evaluations(2)
    assert len({tuple(rows) for rows in counted.calls}) > 1


@every_finder
def test_a_sample_does_not_notice_who_else_is_in_its_batch(finder: Finder) -> None:
    well, root = smooth_problem(3, 4, 5, 0.1)
    start = root + torch.tensor([1e-6, 0.1, 1.0, 5.0]).double()[:, None] * randn(4, 5, seed=1)

    def residual(x: Tensor, rows: Tensor) -> Tensor:  # row 2 has no value, row 3 has no root
        r = well(x, rows)
        r = torch.where((rows == 2)[:, None], math.nan, r)
        return torch.where((rows == 3)[:, None], x.square() + 1, r)

    together = finder(residual, start, tol=1e-10)
    assert together.reason[:3] == ("converged", "converged", "diverged")
    for row in range(4):
        alone = finder(lambda x, rows, row=row: residual(x, rows + row), start[[row]], tol=1e-10)
        assert alone.reason[0] == together.reason[row]
        assert alone.iterations[0] == together.iterations[row]
        if row < 3:
            torch.testing.assert_close(alone.x[0], together.x[row], rtol=1e-12, atol=1e-12)


@every_finder
def test_nan_is_reported_and_the_start_returned(finder: Finder) -> None:
    counted = Counted(plain(lambda x: x * math.nan))
    found = finder(counted, torch.ones(2, 3).double(), tol=1e-10)
    assert found.reason == ("diverged", "diverged")
    assert found.residual.isinf().all() and torch.equal(found.x, torch.ones(2, 3).double())
    assert found.iterations.tolist() == [1, 1]


@every_finder
def test_a_start_that_is_not_finite_does_not_hurt_the_others(finder: Finder) -> None:
    target = 1 + randn(3, 4)
    start = torch.zeros(3, 4).double()
    start[1, 2] = math.nan
    found = finder(lambda x, rows: x - target[rows], start, tol=1e-10)
    assert found.reason == ("converged", "diverged", "converged")


@every_finder
def test_bad_arguments_are_refused(finder: Finder) -> None:
    for options in ({"tol": 0.0}, {"max_iterations": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            finder(plain(lambda x: x), torch.ones(1, 1).double(), **options)


# Why they stop


@every_finder
def test_budget(finder: Finder) -> None:
    residual, root = smooth_problem(1, 2, 4, 0.1)
    finder = finder.func if isinstance(finder, partial) else finder
    found = finder(residual, root + 1, tol=1e-300, max_iterations=2)
    assert found.reason == ("budget", "budget") and found.iterations.tolist() == [2, 2]
    assert not found.converged.any()


def test_stalled_when_the_residual_stays_as_it_is() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    residual = plain(lambda x: x - x @ turn)  # fixed point: a quarter turn, for ever
    found = fixed_point(residual, torch.ones(1, 2).double(), patience=7)
    assert found.reason == ("stalled",) and found.iterations[0] == 8


def test_stalled_at_the_floor_of_the_network() -> None:
    residual, root = smooth_problem(2, 2, 6, 0.1)

    def rounded(x: Tensor, rows: Tensor) -> Tensor:
        return residual(x.float().double(), rows).float().double()

    for finder in (fixed_point, anderson, newton_krylov):
        found = finder(rounded, root + 0.5, tol=1e-13, max_iterations=200)
        if finder is not anderson:  # whose steps are wild once all differences are noise
            assert set(found.reason) == {"stalled"}
        assert not found.converged.any()
        assert (found.residual < 1e-6).all() and (found.iterations < 80).all()


def test_newton_gives_up_at_once_where_no_step_helps() -> None:
    counted = Counted(plain(lambda x: x.square() + 1))
    found = newton_krylov(counted, torch.full((1, 1), 1e-3).double(), halvings=8)
    assert found.reason == ("stalled",)
    assert len(counted.calls) < 30  # and not the same failed search again and again


@pytest.mark.parametrize(("patience", "reason"), [(2, "stalled"), (3, "budget")])
def test_progress_is_a_tenth_since_the_last_progress(patience: int, reason: str) -> None:
    """0.95^3 < 0.9 < 0.95^2: every third round is progress."""
    sizes = iter(0.95**k for k in range(12))
    scripted: Residual = lambda x, rows: torch.full_like(x, next(sizes))  # noqa: E731
    start = torch.full((1, 1), 1e6).double()
    found = fixed_point(scripted, start, patience=patience, max_iterations=12)
    assert found.reason == (reason,) and found.iterations[0] == (3 if patience == 2 else 12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tol": torch.tensor([1e-9, 0.0])},
        {"max_iterations": torch.tensor([5, 0])},
        {"patience": 0},
    ],
)
def test_a_search_without_a_tolerance_or_rounds_for_one_sample_is_refused(wrong: dict) -> None:
    options = {"tol": 1e-9, "max_iterations": 1, "patience": 1}
    assert Search(torch.ones(2, 1), **options).rows.tolist() == [0, 1]
    with pytest.raises(ValueError, match="must be positive"):
        Search(torch.ones(2, 1), **{**options, **wrong})


def test_the_size_of_a_residual_is_relative_to_the_smaller_of_state_and_start() -> None:
    r, x = torch.tensor([[3.0, 4.0]] * 3), torch.tensor([[0.0, 10.0], [1.0, 0.0], [0.0, 0.0]])
    cap = torch.tensor([2.0, 2.0, 2.0]).double()
    assert relative_size(r, x)[:2].tolist() == [0.5, 5.0]
    assert relative_size(r, x, cap)[:2].tolist() == [2.5, 5.0]
    assert relative_size(r, x)[2] > 1e299 and relative_size(0 * r, x).tolist() == [0.0] * 3


def test_every_sample_has_its_own_tolerance_and_rounds() -> None:
    residual, root = smooth_problem(3, 3, 4, 0.1)
    search = Search(
        root + 1, torch.tensor([1e-2, 1e-9, 1e-9]), torch.tensor([50, 50, 3]), patience=50
    )
    x = search.x
    while len(search.rows):
        r = residual(x, search.rows)
        x = (x - r)[search.observe(x, r)]
    found = search.root()
    assert found.reason == ("converged", "converged", "budget") and found.iterations[2] == 3
    assert 1e-9 < found.residual[0] <= 1e-2 and found.residual[1] <= 1e-9
    assert found.converged.tolist() == [True, True, False]


def test_anderson_on_a_problem_without_root_does_not_converge() -> None:
    found = anderson(plain(lambda x: x.square() + 1), torch.full((1, 1), 0.3).double())
    assert found.reason[0] in ("stalled", "diverged") and found.residual[0] > 0.1


def test_diverged_when_the_residual_explodes() -> None:
    found = fixed_point(plain(lambda x: 3 * x), torch.ones(1, 2).double(), max_iterations=1000)
    assert found.reason == ("diverged",)
    assert found.iterations[0] == 1 + math.ceil(math.log2(1e6))
    assert torch.equal(found.x, torch.ones(1, 2).double())  # the best it saw


def test_a_bounded_residual_far_away_is_no_root() -> None:
    """|r| / |x| alone would call any x of size 1e15 a root of a bounded r."""
    search = Search(torch.ones(1, 2).double(), tol=1e-12, max_iterations=10, patience=10)
    far = torch.full((1, 2), 1e15).double()
    assert search.observe(far, torch.ones(1, 2).double()).all()
    assert search.residual[0] == pytest.approx(1.0)
    assert relative_size(torch.ones(1, 2), torch.full((1, 2), math.inf)).isinf()
    found = anderson(plain(lambda x: x.tanh() - 2), torch.ones(1, 1).double())
    assert not found.converged.any()


def test_the_best_iterate_is_kept() -> None:
    sizes = [5.0, 3.0, 4.0, 1.0, 7.0, 2.0, 6.0]
    scripted = iter(sizes)
    counted = Counted(lambda x, rows: torch.full_like(x, next(scripted)))
    found = fixed_point(counted, torch.full((1, 1), 1e3).double(), max_iterations=len(sizes))
    assert found.reason == ("budget",) and found.iterations[0] == len(sizes)
    assert torch.equal(found.x, counted.at[3])
    assert found.residual[0] == pytest.approx(1.0 / found.x.abs().item())


# The slope


@pytest.mark.parametrize("finder", [fixed_point, anderson, newton_krylov])
def test_slope_scales_the_residual(finder: Finder) -> None:
    residual, root = smooth_problem(5, 3, 4, 0.1)
    scaled, _ = smooth_problem(5, 3, 4, 0.1, slope=-7.0)
    one = finder(residual, root + 1, max_iterations=6, tol=1e-300)
    other = finder(scaled, root + 1, max_iterations=6, tol=1e-300, slope=-7.0)
    torch.testing.assert_close(one.x, other.x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(7 * one.residual, other.residual, rtol=1e-2, atol=1e-13)


@pytest.mark.parametrize("finder", [fixed_point, anderson])
def test_the_true_slope_solves_a_scalar_equation_in_one_step(finder: Finder) -> None:
    target = randn(2, 5)
    found = finder(lambda x, rows: 4 * x - target[rows], randn(2, 5, seed=1), slope=4.0)
    assert found.converged.all() and found.iterations.tolist() == [2, 2]


# Fixed-point iteration


@pytest.mark.parametrize("q", [0.2, 0.5, 0.9])
def test_fixed_point_contracts_at_the_rate_of_its_map(q: float) -> None:
    factors = torch.tensor([q, -0.5 * q, 0.3 * q]).double()
    residual = plain(lambda x: (1 - factors) * (x - 1))  # x - r(x) = 1 + factors (x - 1)
    start = torch.full((1, 3), 2.0).double()
    errors = []
    for n in (10, 15):
        counted = Counted(residual)
        fixed_point(counted, start, tol=1e-300, max_iterations=n)
        errors.append((counted.at[-1] - 1).norm().item())
    assert (errors[1] / errors[0]) ** 0.2 == pytest.approx(q, rel=1e-4)


def test_fixed_point_fails_where_guidance_makes_the_map_expand() -> None:
    """x = c + k eps_w(x): a contraction at w = 1, not at w = 7.5; Anderson does not mind."""

    def residual(w: float) -> Residual:
        return plain(lambda x: x - 0.5 - 0.3 * w * torch.cos(x))

    start = torch.zeros(1, 1).double()
    assert fixed_point(residual(1.0), start).converged.all()
    assert not fixed_point(residual(7.5), start, max_iterations=500).converged.any()
    assert anderson(residual(7.5), start).converged.all()


# The forward step method


def test_forward_step_converges_where_the_residual_is_cocoercive() -> None:
    """r = grad of a convex, not strictly convex, function of smoothness 1/beta; rho < 2 beta."""
    a = randn(3, 6)
    root = randn(1, 6, seed=1)
    residual = plain(lambda x: (x - root) @ (a.T @ a))
    beta = 1 / torch.linalg.matrix_norm(a.T @ a, 2).item()
    counted = Counted(residual)
    step = partial(forward_step_method, warm_up=0, plateau=None, max_iterations=3000)
    found = step(counted, randn(1, 6, seed=2), rho=1.9 * beta, tol=1e-10)
    assert found.converged.all()
    distance = torch.stack([(x - root).norm() for x in counted.at])
    assert (distance.diff() <= 1e-12).all()  # Fejer monotone
    assert distance[-1] > 0.1  # towards a root, not this one
    assert step(residual, randn(1, 6, seed=2), rho=2.1 * beta).reason == ("diverged",)


def test_forward_step_fails_where_the_residual_is_only_monotone() -> None:
    """A rotation: <r(x) - r(y), x - y> = 0, so every step size leads away from the root."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    residual, start = plain(lambda x: x @ turn), torch.ones(1, 2).double()
    for rho in (1.0, 0.1, 0.01):
        counted = Counted(residual)
        found = forward_step_method(
            counted, start, rho=rho, warm_up=0, plateau=None, max_iterations=50
        )
        assert torch.equal(found.x, start) and not found.converged.any()
        growth = counted.at[-1].norm() / counted.at[-2].norm()
        assert growth.item() == pytest.approx(math.sqrt(1 + rho**2))
    assert anderson(residual, start).converged.all()


def test_forward_step_warms_up() -> None:
    counted = Counted(plain(lambda x: x - 1))
    start = torch.full((1, 1), 3.0).double()
    forward_step_method(counted, start, rho=0.5, tol=1e-300, max_iterations=41, plateau=None)
    rho = [0.5 * min(1.0, (k + 1) / 20) for k in range(40)]
    assert counted.at[-1].item() - 1 == pytest.approx(2 * math.prod(1 - r for r in rho), rel=1e-9)


def test_forward_step_stops_at_an_absolute_sum_of_squares() -> None:
    """The authors' rule: whatever the size of the state, unless a relative tolerance is given."""
    target = torch.tensor([[1.0, 2.0], [1e4, 2e4]]).double()

    def residual(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x - target[rows]

    found = forward_step_method(residual, 2 * target)
    squares = (found.x - target).square().sum(1)
    assert found.converged.all() and (squares < 1e-3).all() and (squares > 1e-4).all()
    assert found.iterations[1] > found.iterations[0]
    loose = forward_step_method(residual, 2 * target, threshold=1.0)
    assert (loose.iterations < found.iterations).all()
    relative = forward_step_method(residual, 2 * target, tol=1e-3)
    assert relative.iterations[0] == relative.iterations[1]


@pytest.mark.parametrize(("tol", "goal"), [(None, 0.1 / 6), (1e-3, 1e-3)])
def test_who_watches_forward_steps_is_told_at_what_they_are_solved(
    tol: float | None, goal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum of squares of 1e-2, relative to the largest start, of norm 6; or the tolerance."""
    told: list[float] = []
    monkeypatch.setattr("invlib.rootfind.observe", lambda r, goal: told.append(goal.item()))
    start = torch.tensor([[3.0] * 4, [2.0] * 4]).double()
    forward_step_method(plain(lambda x: x - 1), start, tol=tol, threshold=1e-2)
    assert len(told) > 1 and told == [pytest.approx(goal)] * len(told)


def test_forward_step_halves_its_step_like_reduce_lr_on_plateau() -> None:
    """Against torch's scheduler on the same losses, and each sample on its own."""
    n = 200
    sizes = torch.stack(
        [
            torch.ones(n),  # never better
            0.97 ** torch.arange(n),  # always better
            1 + 0.5 * torch.cos(torch.arange(n) / 5) ** 2,  # now and then
        ]
    ).double()
    calls = iter(range(n))
    counted = Counted(lambda x, rows: sizes[rows, next(calls)][:, None])
    start = torch.full((3, 1), 1e6).double()
    forward_step_method(counted, start, rho=1.0, warm_up=0, max_iterations=n, tol=1e-300)
    taken = -torch.stack(counted.at).diff(dim=0)[:, :, 0].T / sizes[:, :-1]
    for row in range(3):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=20)
        steps = []
        for size in sizes[row, :-1]:
            steps.append(optimizer.param_groups[0]["lr"])
            schedule.step(size**2)  # for the next iteration, as in the authors' loop
        torch.testing.assert_close(taken[row], torch.tensor(steps).double(), rtol=1e-5, atol=0)
    assert taken[0, -1] < 1 and taken[1, -1] == pytest.approx(1.0, rel=1e-5)


def test_the_plateau_rule_rescues_a_step_that_is_too_large() -> None:
    residual, start = plain(lambda x: 2.5 * torch.tanh(x)), torch.ones(1, 1).double()
    fixed = forward_step_method(residual, start, rho=1.0, warm_up=0, plateau=None)
    assert fixed.reason == ("budget",)
    assert forward_step_method(residual, start, rho=1.0, warm_up=0).converged.all()


# Gradient descent


def test_gradient_descent_takes_gradient_steps_that_decrease() -> None:
    a = randn(4, 4) / 2
    b = randn(1, 4, seed=1)
    residual = plain(lambda x: x @ a.T - b)
    counted = Counted(residual)
    start = randn(1, 4, seed=2)
    with torch.no_grad():  # as invert() runs it
        gradient_descent(counted, start, rho=0.05, max_iterations=40, tol=1e-300)
    values = [x.detach() for x in counted.at]
    torch.testing.assert_close(values[1], start - 0.1 * (start @ a.T - b) @ a)
    losses = torch.stack([residual(x, torch.tensor([0])).square().sum() for x in values])
    assert (losses.diff() < 0).all()


# Anderson acceleration


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_anderson_solves_a_linear_problem_in_dim_plus_one_steps(dim: int) -> None:
    a = torch.eye(dim).double() + 0.7 * randn(2, dim, dim) / math.sqrt(dim)
    root = randn(2, dim, seed=1)
    residual: Residual = lambda x, rows: (a[rows] @ (x - root[rows])[:, :, None])[:, :, 0]  # noqa: E731
    found = anderson(residual, root + 1, memory=dim, tol=1e-9)
    assert found.converged.all()
    assert (found.iterations <= dim + 2).all()  # the start, dim + 1 steps
    few = anderson(residual, root + 1, memory=dim, tol=1e-9, max_iterations=dim)
    assert not few.converged.any() or dim == 1


def test_anderson_remembers_five_differences_by_default() -> None:
    residual, root = smooth_problem(1, 1, 9, 0.1)
    runs = [Counted(residual) for _ in range(3)]
    for run, memory in zip(runs, ({}, {"memory": 5}, {"memory": 6}), strict=True):
        anderson(run, root + 1, tol=1e-300, max_iterations=9, **memory)
    default, five, six = (torch.stack(run.at) for run in runs)
    assert torch.equal(default, five) and torch.equal(five[:7], six[:7])
    assert not torch.equal(five[7:], six[7:])


def test_anderson_with_one_difference_is_the_secant_method() -> None:
    counted = Counted(plain(lambda x: x**3 - 2))
    anderson(counted, torch.full((1, 1), 1.2).double(), memory=1, slope=5.0, tol=1e-14)
    x = [v.item() for v in counted.at]
    for a, b, c in zip(x, x[1:], x[2:], strict=False):
        if abs(b - a) > 1e-7:
            assert c == pytest.approx(b - (b**3 - 2) * (b - a) / (b**3 - a**3), rel=1e-9)


def test_anderson_survives_equal_iterates_and_more_memory_than_dimensions() -> None:
    residual, root = smooth_problem(8, 2, 2, 0.1)
    found = anderson(residual, root + 1, memory=20, tol=1e-300, patience=40)
    assert (error(found.x, root) < 1e-14).all()


# Newton's method


def test_newton_converges_quadratically() -> None:
    residual, root = smooth_problem(4, 1, 5, 0.0)
    cubic: Residual = lambda x, rows: residual(x, rows) + 0.3 * (x - root[rows]) ** 2  # noqa: E731
    sizes = []
    for n in range(1, 8):
        found = newton_krylov(cubic, root + 0.5, forcing=1e-14, tol=1e-300, max_iterations=n)
        sizes.append(found.residual.item())
    sizes = [s for s in sizes if 1e-14 < s < 0.1]
    assert len(sizes) >= 3
    for before, after in zip(sizes, sizes[1:], strict=False):
        assert after < 5 * before**2


def test_newton_solves_a_linear_problem_in_one_step() -> None:
    residual, root = smooth_problem(6, 3, 6, 0.0)
    found = newton_krylov(residual, root + 3, forcing=1e-14, tol=1e-12)
    assert found.converged.all() and (found.iterations == 2).all()


def test_newton_line_search_reaches_what_full_steps_overshoot() -> None:
    residual, start = plain(torch.atan), torch.full((1, 1), 3.0).double()
    assert newton_krylov(residual, start, forcing=1e-10).converged.all()
    assert not newton_krylov(residual, start, forcing=1e-10, halvings=0).converged.any()


def test_newton_survives_a_derivative_that_is_not_finite() -> None:
    """One row's NaN derivative must not end the search of the others."""
    target = 1 + randn(2, 3)

    def residual(x: Tensor, rows: Tensor) -> Tensor:
        zero = torch.sqrt(x * 0)  # with the derivative 0 / 0
        return x - target[rows] + torch.where((rows == 0)[:, None], zero, 0.0)

    found = newton_krylov(residual, torch.zeros(2, 3).double())
    assert found.reason == ("stalled", "converged")


@pytest.mark.parametrize(("options", "rho"), [({}, 0.5), ({"rho": 0.2}, 0.2)])
def test_the_step_of_the_forward_step_method_grows_over_its_warm_up(
    options: dict, rho: float
) -> None:
    """By default to the 0.5 of the authors' code, over twenty iterations."""
    seen: list[Tensor] = []

    def residual(x: Tensor, rows: Tensor) -> Tensor:
        seen.append(x)
        return torch.ones_like(x) * (1.0 + 0.01 * len(seen))  # which moves it ever further

    forward_step_method(residual, torch.zeros(1, 4), max_iterations=25, plateau=None, **options)
    steps = [(a - b).mean().item() / (1.01 + 0.01 * k) for k, (a, b) in enumerate(pairwise(seen))]
    assert steps == pytest.approx([rho * min(1.0, (k + 1) / 20) for k in range(len(steps))])
    assert len(steps) > 20
