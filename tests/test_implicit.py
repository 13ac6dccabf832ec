"""Derivatives of the noise through the root agree with differences of inversions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from analytic import mixture, one_gaussian, randn
from torch import Tensor

from invlib.bridge import bridged
from invlib.denoisers import Denoiser, Prediction, guided, predicting
from invlib.inversion import Inversion
from invlib.inverters import exact, implicit, invert
from invlib.inverters.linear import Product
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.singular import sample_image
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m

SCHEDULE = Schedule.scaled_linear()
SOLVERS = {"DDIM": ddim, "2M": dpm_solver_pp_2m}
ROWS, DIM, COND = 2, 4, 3
IN, OUT = randn(DIM + COND + 1, 16, seed=1) / 3, randn(16, DIM, seed=2) / 4
Family = Callable[[Tensor], Denoiser]


def mlp(x: Tensor, t: Tensor, condition: Tensor, weights: Tensor = OUT) -> Tensor:
    """Two layers; the condition goes in beside the state."""
    return torch.tanh(torch.cat([x, condition, t[:, None] / 1000], 1) @ IN) @ weights


def with_mlp(prediction: Prediction, condition: Tensor, scale: Tensor | float) -> Denoiser:
    plain = guided(mlp, condition, torch.zeros(1, COND).double(), 1.5, prediction=prediction)
    return replace(plain, scale=scale)


def with_weights(weights: Tensor) -> Denoiser:
    condition = randn(1, COND, seed=3)
    return predicting(
        lambda x, t: mlp(x, t, condition.expand(len(x), -1), weights) + 0.5 * x, "epsilon"
    )


# name -> the denoiser as a function of one parameter, and where
FAMILIES: dict[str, tuple[Family, Tensor]] = {
    "Gaussian": (lambda p: replace(one_gaussian(SCHEDULE, DIM), means=p), randn(1, DIM, seed=4)),
    "mixture": (lambda p: replace(mixture(SCHEDULE, DIM), means=p), randn(5, DIM, seed=5)),
    "weights of a network": (with_weights, OUT),
    "condition under guidance": (
        lambda p: with_mlp("epsilon", p, 2.0),
        randn(ROWS, COND, seed=6),
    ),
    "scale of guidance": (
        lambda p: with_mlp("epsilon", randn(ROWS, COND, seed=6), p),
        torch.tensor(2.0).double(),
    ),
    "condition of a velocity": (
        lambda p: with_mlp("v_prediction", p, 1.5),
        randn(ROWS, COND, seed=7),
    ),
}


def made(family: Family, at: Tensor, solver: Solver) -> Tensor:
    """An image that the denoiser at this parameter has made."""
    return sample(family(at), randn(ROWS, DIM, seed=8), solver).image


def difference(function: Callable[[Tensor], Tensor], at: Tensor, along: Tensor) -> float:
    """A central difference with a step that leaves seven digits."""
    ends = [function(at + s * 1e-4 * along) for s in (1, -1)]
    return ((ends[0] - ends[1]) / 2e-4).item()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_differences(name: str, solver: str) -> None:
    """With respect to the image and to a parameter, of the noise and of a state on the way."""
    family, at = FAMILIES[name]
    table = SOLVERS[solver](SCHEDULE.grid(6))
    image, weights = made(family, at, table), randn(2, ROWS, DIM, seed=9)

    def functional(image: Tensor, parameter: Tensor, differentiable: bool = False) -> Tensor:
        found = invert(family(parameter), image, table, differentiable=differentiable)
        assert found.converged.all()
        return (weights[0] * found.noise + weights[1] * found.states[3]).sum()

    x, p = image.clone().requires_grad_(), at.clone().requires_grad_()
    gradients = torch.autograd.grad(functional(x, p, True), (x, p))
    for k, (start, gradient) in enumerate(zip((image, at), gradients, strict=True)):
        along = randn(*start.shape, seed=10 + k) if start.ndim else torch.ones(()).double()
        fixed = partial(functional, parameter=at) if k == 0 else partial(functional, image)
        expected = difference(fixed, start, along)
        assert abs((gradient * along).sum().item() / expected - 1) < 1e-5
        assert abs(expected) > 1e-3


def test_the_gradient_by_the_image_is_the_inverse_of_the_samplers() -> None:
    """Row by row, with the whole Jacobian of the sampler."""
    denoiser, solver = mixture(SCHEDULE, DIM), dpm_solver_pp_2m(SCHEDULE.grid(8))
    noise = randn(1, DIM, seed=11)
    image = sample(denoiser, noise, solver).image
    jacobian = torch.func.jacfwd(lambda z: sample_image(denoiser, z[None], solver)[0])(noise[0])

    def back(x: Tensor) -> Tensor:
        return invert(denoiser, x, solver, differentiable=True).noise

    inverse = torch.autograd.functional.jacobian(back, image)[0, :, 0]
    torch.testing.assert_close(inverse @ jacobian, torch.eye(DIM).double(), rtol=0, atol=1e-9)


def test_the_search_leaves_no_graph_and_rows_do_not_mix() -> None:
    calls: list[bool] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return 0.9 * torch.tanh(x)

    denoiser, solver = predicting(network, "epsilon"), ddim(SCHEDULE.grid(5))
    image = sample(denoiser, randn(2, DIM, seed=12), solver).image.requires_grad_()
    calls.clear()
    found = invert(denoiser, image, solver, differentiable=True)
    assert calls[-1] and not any(calls[:-1])  # one evaluation with a graph, the last
    (gradient,) = torch.autograd.grad(found.noise[0].sum(), image)
    assert gradient[0].norm() > 0
    assert gradient[1].norm() == 0


def test_without_anything_to_differentiate_it_is_the_plain_result() -> None:
    denoiser, solver = mixture(SCHEDULE, DIM), ddim(SCHEDULE.grid(5))
    image = sample(denoiser, randn(1, DIM, seed=13), solver).image
    found = invert(denoiser, image, solver, differentiable=True)
    assert not found.noise.requires_grad
    assert torch.equal(found.noise, invert(denoiser, image, solver).noise)


def test_a_fold_is_told_and_not_hidden() -> None:
    """Where the sampler's derivative is zero no gradient exists."""

    def flat(x: Tensor, t: Tensor) -> Tensor:
        return x * slope

    solver = ddim(SCHEDULE.grid(1))
    slope = (-solver.a[0] / solver.b[0, 0]).item()
    y = torch.ones(1, 1, 2, dtype=torch.float64)

    def matrix() -> Product:
        return implicit.transposed_matrix(predicting(flat, "epsilon"), solver, y)

    with pytest.warns(UserWarning, match="nearly folds"):
        implicit.adjoint(solver, matrix(), torch.ones_like(y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope = 0.5
        implicit.adjoint(solver, matrix(), torch.ones_like(y))


def test_without_a_root_the_gradient_is_warned_of() -> None:
    """One sample is solved, the other's budget is spent; and a method that does not search."""
    denoiser, solver = mixture(SCHEDULE, DIM), ddim(SCHEDULE.grid(5))
    image = sample(denoiser, randn(2, DIM, seed=12), solver).image.requires_grad_()

    def cut(network: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        return replace(exact(network, image, solver), reason=("converged", "budget"))

    with pytest.warns(UserWarning, match=r"sample 1 \(budget\)") as noted:
        invert(denoiser, image, solver, method=cut, differentiable=True)
    assert len(noted) == 1 and "sample 0" not in str(noted[0].message)
    with pytest.warns(UserWarning, match=r"sample 0 \(explicit\), sample 1 \(explicit\)"):
        invert(denoiser, image, solver, method="naive", differentiable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        invert(denoiser, image.detach(), solver, method="naive", differentiable=True)
        invert(denoiser, image, solver, differentiable=True)


def test_what_leaves_pytorch_is_refused() -> None:
    network = bridged(lambda x, t: 0.1 * x.numpy(), prediction="epsilon", dtype=torch.float64)
    solver = ddim(SCHEDULE.grid(3))
    with pytest.raises(NotImplementedError, match="leaves PyTorch"):
        invert(network, randn(1, 2), solver, method="naive", differentiable=True)
