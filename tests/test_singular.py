"""Singular values of samplers: step by step without a graph of the run, and the smallest one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from analytic import randn
from diffusers import UniPCMultistepScheduler
from perceptron import WIDTH, Perceptron
from torch import Tensor
from twelve import SCHEDULE, prompted, truth, twelve

from invlib import inverse_iteration
from invlib.certificate import certify
from invlib.denoisers import Denoiser, predicting, select
from invlib.derivatives import Derivatives, sampler_products
from invlib.inverters.linear import preconditioner, products, solved
from invlib.probing import from_scheduler
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.singular import sample_image, sampled_states, singular_values
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m, dpm_solver_pp_3m

SMALL = 12


def unipc(steps: int) -> Solver:
    """A table whose last rows hold older outputs, read from diffusers."""
    scheduler = UniPCMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    return from_scheduler(scheduler, steps)


SOLVERS: dict[str, Callable[[], Solver]] = {
    "DDIM": lambda: ddim(SCHEDULE.grid(8)),
    "2M": lambda: dpm_solver_pp_2m(SCHEDULE.grid(8)),
    "3M": lambda: dpm_solver_pp_3m(SCHEDULE.grid(8)),
    "UniPC": lambda: unipc(8),
}


def jacobians(denoiser: Denoiser, noise: Tensor, solver: Solver) -> Tensor:
    """The dense Jacobian of the sampler at every noise, ``[B, D, D]``, by reverse mode."""

    def one(row: int) -> Tensor:
        part = select(denoiser, torch.tensor([row]))
        function = torch.func.jacrev(lambda z: sample_image(part, z[None], solver)[0].flatten())
        return function(noise[row]).flatten(1)

    return torch.stack([one(row) for row in range(len(noise))])


def steep(gain: float) -> Denoiser:
    """A small network whose derivatives are so large that samplers stretch and shrink a lot."""
    network = Perceptron()
    return predicting(lambda x, t: gain * network(x, t), "epsilon")


@dataclass(frozen=True)
class Joint:
    """Rows of two axes, with a condition each, as packed tokens are."""

    condition: Tensor
    prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        mixed = x.softmax(1) * self.condition[:, None, None] + x.flip(1).tanh()
        return mixed * (1 + t[:, None, None] / 1000)

    def select(self, rows: Tensor) -> Joint:
        return Joint(self.condition[rows])


DENOISERS: dict[str, Callable[[], tuple[Denoiser, tuple[int, ...]]]] = {
    "guided": lambda: (prompted(2, 7.5, mixture=twelve(dim=SMALL)), (SMALL,)),
    "packed": lambda: (Joint(torch.tensor([0.5, 2.0]).double()), (4, 3)),
}


@pytest.mark.parametrize("kind", DENOISERS)
@pytest.mark.parametrize("name", SOLVERS)
def test_products_and_values_are_those_of_the_whole_jacobian(name: str, kind: str) -> None:
    (denoiser, shape), solver = DENOISERS[kind](), SOLVERS[name]()
    noise = randn(2, *shape, seed=3)
    dense = jacobians(denoiser, noise, solver)
    states = sampled_states(denoiser, noise, solver)
    push, pull = sampler_products(Derivatives(denoiser, solver, 1), states)
    v = randn(2, *shape, seed=4)
    for product, matrix in ((push, dense), (pull, dense.transpose(1, 2))):
        expected = (matrix @ v.flatten(1)[:, :, None])[:, :, 0]
        torch.testing.assert_close(solver.scale * product(v).flatten(1), expected)
    wanted = torch.linalg.svdvals(dense)
    small, large = singular_values(denoiser, noise, solver, vectors=SMALL)
    torch.testing.assert_close(small, wanted[:, -1], rtol=1e-8, atol=0)
    torch.testing.assert_close(large, wanted[:, 0], rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", SOLVERS)
def test_linear_systems_of_the_trajectory_are_the_inverse_of_the_sampler(name: str) -> None:
    denoiser, solver = prompted(2, 3.0, mixture=twelve(dim=SMALL)), SOLVERS[name]()
    noise = randn(2, SMALL, seed=3)
    dense = jacobians(denoiser, noise, solver) / solver.scale
    y = sampled_states(denoiser, noise, solver)[:-1].transpose(0, 1)
    push, pull = products(Derivatives(denoiser, solver, 50), y)
    inverse, v = preconditioner(solver), randn(2, SMALL, seed=4)
    for product, inside, first, last, matrix in (
        (push, inverse, -1, 0, dense),
        (pull, inverse.T, 0, -1, dense.transpose(1, 2)),
    ):
        right = torch.zeros_like(y)
        right[:, first] = v
        found, miss = solved(product, inside, right, forcing=1e-12)
        assert (miss < 1e-9).all()
        expected = -torch.linalg.solve(matrix, v[:, :, None])[:, :, 0]
        torch.testing.assert_close(found[:, last], expected, rtol=1e-6, atol=1e-8)


# Memory


class Held:
    """What a graph keeps alive as long as it lives."""


class Kept(torch.autograd.Function):
    """The identity, whose graph holds something that is counted."""

    alive: weakref.WeakSet[Held] = weakref.WeakSet()
    most = 0

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.held = Held()
        Kept.alive.add(ctx.held)
        Kept.most = max(Kept.most, len(Kept.alive))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        assert ctx.held in Kept.alive
        return g.clone()

    @staticmethod
    def jvp(ctx: Any, v: Tensor) -> Tensor:
        return v.clone()


@pytest.fixture
def kept() -> Iterator[type[Kept]]:
    Kept.alive.clear()
    Kept.most = 0
    yield Kept


@pytest.mark.parametrize("inverse", [False, True])
def test_the_graph_of_one_call_is_the_most_that_is_held(kept: type[Kept], inverse: bool) -> None:
    """And not one for each of the steps."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        return 0.9 * torch.tanh(kept.apply(x))  # type: ignore[no-untyped-call]

    solver = dpm_solver_pp_2m(SCHEDULE.grid(20))
    denoiser, noise = predicting(network, "epsilon"), randn(2, SMALL)
    options = {"inverse": True, "max_batch": 2} if inverse else {}
    small, _ = singular_values(denoiser, noise, solver, vectors=4, **options)  # type: ignore[arg-type]
    assert small.isfinite().all()
    assert 1 <= kept.most <= 2, "graphs alive at once"


def test_each_vector_costs_what_is_said() -> None:
    """Calls of a step each: the run, k forward, and k - 1 reverse."""
    calls: list[int] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return 0.9 * torch.tanh(x)

    solver = ddim(SCHEDULE.grid(6))
    for vectors in (1, 3):
        calls.clear()
        singular_values(predicting(network, "epsilon"), randn(2, SMALL), solver, vectors=vectors)
        assert len(calls) == 6 * (1 + vectors + vectors - 1)
        assert set(calls) == {2}


# The smallest


@pytest.mark.parametrize("gain", [4.0, 6.0])
@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_inverse_iteration_finds_what_few_vectors_miss(
    make: Callable[..., Solver], gain: float
) -> None:
    denoiser, solver, noise = steep(gain), make(SCHEDULE.grid(10)), randn(2, WIDTH, seed=1)
    true = torch.linalg.svdvals(jacobians(denoiser, noise, solver))[:, -1]
    few, _ = singular_values(denoiser, noise, solver, vectors=12)
    small, _ = singular_values(denoiser, noise, solver, vectors=12, inverse=True)
    assert (few > 5 * true).all() and (few > 10 * true).any()
    assert (small >= true * (1 - 1e-9)).all()
    assert (small < 1.05 * true).all()
    proof = certify(denoiser, truth(sample(denoiser, noise, solver)), solver, vectors=12)
    torch.testing.assert_close(proof.sigma_min, small)
    assert proof.noise_error.isnan().all()  # a bound from above says nothing about the error


def test_next_to_a_fold_it_is_small_though_twelve_vectors_do_not_see_it() -> None:
    """Between two noises with determinants of two signs there is a noise with a value of zero."""
    denoiser, solver = steep(6.0), ddim(SCHEDULE.grid(4))

    def determinant(noise: Tensor) -> tuple[float, float]:
        values = jacobians(denoiser, noise[None], solver)[0]
        return torch.linalg.slogdet(values)[0].item(), torch.linalg.svdvals(values)[-1].item()

    ends = randn(40, WIDTH, seed=2)
    low = ends[0]
    sign = determinant(low)[0]
    high = next(x for x in ends[1:] if determinant(x)[0] != sign)
    for _ in range(8):  # nearer, the linear systems are not solved in time: only a bound is left
        middle = (low + high) / 2
        low, high = (middle, high) if determinant(middle)[0] == sign else (low, middle)
    true = determinant(low)[1]
    few, _ = singular_values(denoiser, low[None], solver, vectors=12)
    small, _ = singular_values(denoiser, low[None], solver, vectors=12, inverse=True)
    assert true < 1e-5 and few.item() > 1e4 * true
    assert true * 0.99 <= small.item() <= 1.05 * true


def test_where_the_systems_are_not_solved_the_value_of_few_vectors_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what a bad direction gives is a bound all the same."""
    denoiser, solver, noise = steep(4.0), ddim(SCHEDULE.grid(5)), randn(2, WIDTH, seed=1)
    few, large = singular_values(denoiser, noise, solver, vectors=4)
    true = torch.linalg.svdvals(jacobians(denoiser, noise, solver))[:, -1]
    for bad in (torch.nan, 0.0, 1.0):

        def given_up(product: Any, inverse: Tensor, g: Tensor, bad: float = bad, **_: Any) -> Any:
            return torch.full_like(g, bad), torch.ones(len(g))

        monkeypatch.setattr(inverse_iteration, "solved", given_up)
        small, same = singular_values(denoiser, noise, solver, vectors=4, inverse=True)
        assert torch.equal(same, large)
        assert (small <= few * (1 + 1e-12)).all() and (small >= true * (1 - 1e-12)).all()
        if bad != 1.0:
            torch.testing.assert_close(small, few)


def test_samples_without_numbers_do_not_spoil_the_others() -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.where(x[:, :1].abs() > 50, torch.nan, torch.tanh(x))

    denoiser, solver, noise = predicting(network, "epsilon"), ddim(SCHEDULE.grid(5)), randn(3, 20)
    noise[1, 0] = 100.0
    small, _ = singular_values(denoiser, noise, solver, vectors=3, inverse=True)
    assert small.isfinite().tolist() == [True, False, True]
    alone, _ = singular_values(denoiser, noise[[0, 2]], solver, vectors=3, inverse=True)
    torch.testing.assert_close(small[[0, 2]], alone)


def test_a_sampler_that_is_a_multiple_of_the_identity_stays_one() -> None:
    """Nothing is left for a second vector, nor for an iteration."""
    denoiser, solver = predicting(lambda x, t: 0.0 * x, "epsilon"), ddim(SCHEDULE.grid(3))
    small, large = singular_values(denoiser, randn(2, 30), solver, vectors=5, inverse=True)
    expected = torch.full((2,), solver.a.prod().item(), dtype=torch.float64)
    torch.testing.assert_close(small, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(large, expected, rtol=1e-9, atol=0)


def test_the_scale_of_the_first_state_counts() -> None:
    """Values are those by the noise, not by the first state."""
    solver = ddim(Schedule.scaled_linear().grid(5), scale=3.0)
    noise = randn(2, SMALL)
    wanted = torch.linalg.svdvals(jacobians(twelve(dim=SMALL), noise, solver))
    small, _ = singular_values(twelve(dim=SMALL), noise, solver, vectors=3, inverse=True)
    assert (small >= wanted[:, -1] * (1 - 1e-9)).all() and (small < 1.05 * wanted[:, -1]).all()
