"""The same question asked in another way gets the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from amount import amount, torturing
from drawn import Problem, problems
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from played_device import DEVICE, There, device_played
from torch import Tensor

from invlib import Budget, certify, invert, nmse, sample
from invlib.certificate import Certificate
from invlib.denoisers import Denoiser, select
from invlib.inversion import Inversion
from invlib.solvers import Solver

CASES = settings(
    max_examples=amount(4, 400),
    derandomize=not torturing(),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# In float64, of few steps and little guidance, so that there is one answer and it is found.
TAME = problems(
    most=4,
    methods=("exact", "multisecant"),
    dtypes=(torch.float64,),
    origins=("sampled",),
    scales=st.floats(1, 1.5),
)
Asked = tuple[Inversion, Certificate]
SAME = 1e-16  # NMSE of noises of which each makes its image again to 1e-20
ENOUGH = 0.5  # share of samples that are exact on both sides, at least
FEW = 0.1  # share of samples that are judged otherwise, or have another exact noise, at most
TALLY: Counter[str] = Counter()
POSED: list[Problem] = []  # the problem that is asked about, at the end
ODD: list[Problem] = []  # those of which a sample is judged otherwise, or has another exact noise


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """Enough samples of a test are exact on both sides; verdicts and noises hardly ever differ.

    Where a search ends by its budget round-off may decide which verdict it gets, and where a
    sampler shrinks differences much, or folds, more than one noise is exact.
    """
    TALLY.clear()
    ODD.clear()
    yield
    check_tally()


def check_tally() -> None:
    assert TALLY["exact"] >= ENOUGH * TALLY["samples"], TALLY
    for what in ("judged otherwise", "apart"):
        assert TALLY[what] <= 1 + FEW * TALLY["samples"], (TALLY, ODD)


def posed(problem: Problem) -> tuple[Solver, Denoiser, Tensor]:
    """Solver, network and image of a problem, where it has any."""
    POSED[:] = [problem]
    try:
        solver = problem.solver()
        network = problem.network(solver)
        return solver, network, sample(network, problem.noise(), solver).image
    except ValueError:
        assume(False)
        raise


def asked(
    network: Denoiser, image: Tensor, solver: Solver, method: str = "exact", most: int = 120
) -> Asked:
    found = invert(network, image, solver, method=method, budget=Budget(evaluations=most))
    return found, certify(network, found, solver)


def same_noise(one: Asked, two: Asked, scale: float = 1.0) -> None:
    """Whether samples that are exact in both have the same noise."""
    pairs = [*zip(one[1].verdict, two[1].verdict, strict=True)]
    for k in (k for k, pair in enumerate(pairs) if pair == ("exact", "exact")):
        gap = nmse(two[0].noise[k : k + 1], scale * one[0].noise[k : k + 1]).item()
        if gap >= SAME:
            TALLY["apart"] += 1
            ODD.extend(POSED)
        TALLY["exact"] += 1
    TALLY["samples"] += len(pairs)


def agree(one: Asked, two: Asked, scale: float = 1.0) -> None:
    """The same noise and the same verdict."""
    same_noise(one, two, scale)
    differ = sum(map(str.__ne__, one[1].verdict, two[1].verdict))
    TALLY["judged otherwise"] += differ
    ODD.extend(POSED * (differ > 0))


def identical(one: Inversion, two: Inversion) -> None:
    """Bit by bit."""
    assert one.reason == two.reason and torch.equal(one.nfe, two.nfe)
    torch.testing.assert_close(one.states, two.states, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(one.residuals, two.residuals, rtol=0, atol=0, equal_nan=True)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@CASES
@given(problem=problems(most=8))
def test_the_same_call_twice_is_the_same_bit_by_bit(
    problem: Problem, counted: Callable[..., None]
) -> None:
    solver, network, image = posed(problem)
    budget = Budget(evaluations=120)
    try:
        once, twice = (
            invert(network, image, solver, method=problem.method, budget=budget) for _ in range(2)
        )
    except ValueError:
        assume(False)
    identical(once, twice)
    counted("cases")


@CASES
@given(problem=TAME)
def test_a_batch_is_its_samples(problem: Problem, counted: Callable[..., None]) -> None:
    solver, network, image = posed(problem)
    whole = asked(network, image, solver)
    for row in range(problem.batch):
        one = torch.tensor([row])
        found, proof = asked(problem.network(solver, one), image[one], solver)
        part = replace(whole[0], noise=whole[0].noise[one])
        agree((part, replace(whole[1], verdict=whole[1].verdict[row : row + 1])), (found, proof))
    counted("cases")


@CASES
@given(problem=TAME, seed=st.integers(0, 99))
def test_another_order_of_the_samples_is_another_order_of_the_answers(
    problem: Problem, seed: int, counted: Callable[..., None]
) -> None:
    solver, network, image = posed(problem)
    order = torch.randperm(problem.batch, generator=torch.Generator().manual_seed(seed))
    found, proof = asked(network, image, solver)
    other = asked(problem.network(solver, order), image[order], solver)
    ordered = replace(found, noise=found.noise[order])
    verdicts = tuple(proof.verdict[k] for k in order.tolist())
    agree((ordered, replace(proof, verdict=verdicts)), other)
    counted("cases")


@CASES
@given(problem=TAME, power=st.integers(-12, 12))
def test_in_other_units_it_is_the_same_answer_in_other_units(
    problem: Problem, power: int, counted: Callable[..., None]
) -> None:
    r"""With :math:`m'(x) = c\,m(x/c)` every state is c times what it was, exactly for c = 2^k."""
    solver, network, image = posed(problem)
    c = 2.0**power
    other = Scaled(network, c)
    scaled = sample(other, c * problem.noise(), solver).image
    assert torch.equal(scaled, c * image)
    agree(asked(network, image, solver), asked(other, scaled, solver), c)
    counted("cases")


class Scaled:
    """A network in other units; guided or not."""

    def __init__(self, network: Denoiser, c: float) -> None:
        self.network, self.c, self.prediction = network, c, network.prediction

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.c * self.network(x / self.c, t)

    def select(self, rows: Tensor) -> Scaled:
        return Scaled(select(self.network, rows), self.c)


@pytest.mark.torture  # threads that wait for each other are slow on a busy machine
@settings(CASES, max_examples=amount(1, 16))
@given(problem=TAME, kind=st.sampled_from(["squash", "wave"]))
def test_the_number_of_threads_changes_round_off_only(
    problem: Problem, kind: str, counted: Callable[..., None]
) -> None:
    """Of states so large that PyTorch shares them among threads, and most of them solved."""
    problem = replace(problem, shape=(4, 96, 96), batch=1, kind=kind, prediction="epsilon")
    solver, network, image = posed(problem)
    answers = []
    for count in (1, 2):
        with threads(count):
            answers.append(asked(network, image, solver))
    agree(*answers)
    counted("cases")


@pytest.mark.torture  # every operation of a played device goes through Python
@settings(CASES, max_examples=amount(1, 60))
@given(problem=TAME, kind=st.sampled_from(["squash", "wave"]))
def test_a_device_changes_round_off_only(
    problem: Problem, kind: str, counted: Callable[..., None]
) -> None:
    """What is asked there stays there, and its answer is the one of the CPU."""
    solver, network, image = posed(replace(problem, kind=kind))
    here = asked(network, image, solver)
    with device_played(float64=True):
        found, proof = asked(network, image.to(DEVICE), solver)
        assert isinstance(found.noise, There) and isinstance(proof.round_trip, There)
        agree(here, (replace(found, noise=found.noise.cpu()), proof))
    counted("cases")


@CASES
@given(problem=TAME, method=st.sampled_from(["stepwise", "multisecant", "whole_trajectory"]))
def test_other_methods_find_the_same_noise(
    problem: Problem, method: str, counted: Callable[..., None]
) -> None:
    solver, network, image = posed(problem)
    assume(method != "stepwise" or solver.order_one)
    same_noise(asked(network, image, solver), asked(network, image, solver, method))
    counted("cases")


def judged(*verdicts: str, noise: float = 1.0) -> Asked:
    """An answer with these verdicts and noises of one number."""
    found = torch.full((len(verdicts), 3), noise, dtype=torch.float64)
    return cast(Asked, (SimpleNamespace(noise=found), SimpleNamespace(verdict=verdicts)))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (judged("failed"), judged("failed")),
        (judged(*["exact"] * 12), judged(*["exact"] * 8, *["failed"] * 4)),
        (judged(*["exact"] * 12), judged(*["exact"] * 12, noise=1 + 1e-6)),
    ],
    ids=["never exact", "judged otherwise", "other noises"],
)
def test_answers_that_are_never_exact_or_differ_are_noticed(one: Asked, two: Asked) -> None:
    agree(one, two)
    with pytest.raises(AssertionError, match="samples"):
        check_tally()
    TALLY.clear()
