"""Random problems: an inversion is exact and is shown to be, or it says what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from amount import amount, torturing
from drawn import Problem, problems
from hypothesis import HealthCheck, event, given, settings
from torch import Tensor

from invlib import Budget, certify, invert, nmse, sample
from invlib.certificate import Certificate
from invlib.inversion import Inversion
from invlib.precision import COARSEST, DOUBLE, MOST, SINGLE
from invlib.solvers import Solver
from invlib.words import REASONS, VERDICTS

CASES = settings(
    max_examples=amount(120, 6000),
    derandomize=not torturing(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
FAR = 4.0  # mean square of a noise that is hardly drawn
SAID = 30  # letters that an error has at least: it says what is wrong and what to do
OUTCOMES: Counter[str] = Counter()


def image_of(problem: Problem, solver: Solver) -> Tensor:
    """The image to invert, which the network may or may not have made."""
    if problem.origin == "random":
        return problem.noise() * 0.7
    scale = 1.7 if problem.origin == "another guidance" else 1.0
    made = sample(problem.network(solver, scale=scale), problem.noise(), solver).image
    return 8 * made if problem.origin == "scaled" else made


def inverted(problem: Problem, solver: Solver, image: Tensor) -> tuple[Inversion, Certificate]:
    """What the search finds, and its proof by a network that was not called before."""
    budget = Budget(evaluations=min(30 * solver.steps, 180))
    found = invert(problem.network(solver), image, solver, method=problem.method, budget=budget)
    return found, certify(problem.network(solver), found, solver)


def coarsest(problem: Problem, found: Inversion) -> Tensor:
    """The limit that a certificate may have at most, ``[B]``.

    Of a noise far out a float64 network, too, loses digits: data are the difference of two large
    numbers, over a small alpha. It then counts as one in single precision.
    """
    near = found.noise.flatten(1).square().mean(1) < FAR
    double = torch.where(near, MOST * DOUBLE, MOST * SINGLE)
    return double if problem.dtype == torch.float64 else torch.full_like(double, COARSEST)


def check_shapes(problem: Problem, found: Inversion, proof: Certificate) -> None:
    rows = problem.batch
    assert found.noise.shape == (rows, *problem.shape) and found.noise.dtype == torch.float64
    assert len(found.reason) == len(proof.verdict) == len(proof.flags) == rows
    assert {*found.reason} <= {*REASONS} and {*proof.verdict} <= {*VERDICTS}
    assert (found.nfe >= 0).all() and proof.limit.isfinite().all()
    assert (proof.limit <= coarsest(problem, found)).all()


def check_verdicts(
    problem: Problem, solver: Solver, image: Tensor, found: Inversion, proof: Certificate
) -> None:
    """What is exact makes the image again, sampled by itself; what is not says so."""
    for row, verdict in enumerate(proof.verdict):
        OUTCOMES[verdict] += 1
        trip, limit = proof.round_trip[row].item(), proof.limit[row].item()
        if verdict != "exact":
            assert not trip < limit and (verdict == "approximate" or not trip < 0.1)
            continue
        alone = problem.network(solver, torch.tensor([row]))
        again = sample(alone, found.noise[row : row + 1], solver).image
        assert trip < limit and nmse(again, image[row : row + 1]).item() < MOST * limit


@CASES
@given(problem=problems())
def check(problem: Problem, counted: Callable[..., None]) -> None:
    try:
        solver = problem.solver()
        image = image_of(problem, solver)
        found, proof = inverted(problem, solver, image)
    except ValueError as error:
        assert len(str(error)) > SAID
        OUTCOMES["refused"] += 1
        event("refused")
    else:
        event(f"{problem.method}: {proof.verdict[0]}")
        check_shapes(problem, found, proof)
        check_verdicts(problem, solver, image, found, proof)
    counted("cases")


def test_exact_is_exact_and_all_else_says_what_it_is(counted: Callable[..., None]) -> None:
    """And there is something of every kind: a property of nothing but refusals would be none."""
    OUTCOMES.clear()
    check(counted=counted)
    total = OUTCOMES.total()
    assert OUTCOMES["exact"] > 0.2 * total and OUTCOMES["refused"] < 0.5 * total
    assert OUTCOMES["approximate"] and OUTCOMES["failed"]
