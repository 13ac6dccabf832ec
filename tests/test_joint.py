"""Joint refinement, its limits, and the minimiser under it, where everything is linear."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from invlib.autoencoder import ROUNDING, Autoencoder, Box, encoder, joint, limits, quasi_newton
from invlib.autoencoder.lbfgs import lbfgs
from invlib.autoencoder.limits import jacobian
from invlib.denoisers import gaussian
from invlib.inverters import invert, stepwise
from invlib.metrics import nmse
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import ddim
from invlib.watch import Budget, Watch, watching

SCHEDULE = Schedule.scaled_linear()
SOLVER = ddim(SCHEDULE.grid(6))


class Posterior:
    def __init__(self, latents: Tensor) -> None:
        self.latents = latents

    def mode(self) -> Tensor:
        return self.latents


class Linear(nn.Module):
    """Decoder and encoder of pictures [1, 4, 4] and latents [1, 2, 3], as matrices."""

    dtype = torch.float64

    def __init__(self, *values: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        left, _ = torch.linalg.qr(torch.randn(16, 6, generator=generator, dtype=torch.float64))
        right, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
        self.matrix = left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T
        self.inverse = torch.linalg.pinv(self.matrix, rtol=1e-2)

    def encode(self, x: Tensor) -> object:
        z = (x.flatten(1) @ self.inverse.T).view(-1, 1, 2, 3)
        return type("Output", (), {"latent_dist": Posterior(z)})

    def decode(self, z: Tensor) -> object:
        return type("Output", (), {"sample": (z.flatten(1) @ self.matrix.T).view(-1, 1, 4, 4)})


VALUES = (0.3, 0.2, 0.1, 0.05, 0.01, 0.001)


def problem(count: int = 3) -> tuple[Autoencoder, object, Tensor, float]:
    """Autoencoder, denoiser, noise, and the number with which the sampler multiplies noise."""
    denoiser = gaussian(SCHEDULE, torch.zeros(1, 2, 3, dtype=torch.float64), 0.5)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)
    z = sample(denoiser, noise, SOLVER).image
    factor = (z / noise).flatten()
    assert factor.std() < 1e-12
    return Autoencoder(Linear(*VALUES)), denoiser, noise, factor[0].item()


def test_joint_refinement_finds_the_most_probable_noise() -> None:
    autoencoder, denoiser, noise, factor = problem()
    picture = autoencoder.decode(sample(denoiser, noise, SOLVER).image)
    generator = torch.Generator().manual_seed(2)
    rough = picture + ROUNDING**0.5 * torch.randn(
        picture.shape, generator=generator, dtype=torch.float64
    )
    box = Box.of(rough)
    first = encoder(autoencoder, box)
    found = invert(denoiser, first.latents, SOLVER, method=stepwise)
    stay = partial(quasi_newton, iterations=0)
    decoded, refined = joint(
        autoencoder, denoiser, box, SOLVER, first, found, method=stepwise, polish=stay
    )
    matrix = autoencoder.vae.matrix * factor
    information = torch.eye(6, dtype=torch.float64) + matrix.T @ matrix / ROUNDING
    wanted = torch.linalg.solve(information, matrix.T @ rough.flatten(1).T / ROUNDING).T
    assert nmse(refined.noise, wanted.view_as(noise)).max() < 1e-8
    assert nmse(refined.noise, noise).mean() < nmse(found.noise, noise).mean()
    assert (refined.nfe > found.nfe).all() and decoded.method == "joint"
    assert (decoded.evaluations > first.evaluations).all()
    held: Any = SimpleNamespace(inversion=found)  # as an ImageInversion holds it
    _, again = joint(autoencoder, denoiser, box, SOLVER, first, held, method=stepwise, polish=stay)
    assert torch.equal(again.noise, refined.noise)
    with watching(Watch(budget=Budget(seconds=1e-9))):
        _, same = joint(autoencoder, denoiser, box, SOLVER, first, held)
        assert same is found


def test_limits_of_a_linear_problem() -> None:
    autoencoder, denoiser, noise, factor = problem(1)
    found = limits(autoencoder, denoiser, noise, SOLVER, spread=factor)
    values = torch.tensor(VALUES, dtype=torch.float64)
    assert torch.allclose(found.decoder_values, values, rtol=1e-6)
    assert torch.allclose(found.sampler_values, torch.full((6,), factor, dtype=torch.float64))
    left = (1 / (1 + (factor * values) ** 2 / ROUNDING)).sum() / noise.square().sum()
    assert abs(found.noise / left - 1) < 1e-6
    # the prior of the two steps is the right one here, so nothing is left to gain
    assert abs(found.two_step_noise / found.noise - 1) < 1e-6
    assert abs(found.two_step_latents / found.latents - 1) < 1e-6
    wrong = limits(autoencoder, denoiser, noise, SOLVER, spread=3 * factor)
    assert wrong.two_step_noise > found.noise


def test_jacobian_of_a_linear_map() -> None:
    matrix = torch.arange(12.0, dtype=torch.float64).view(3, 4)
    x = torch.zeros(1, 2, 2, dtype=torch.float64)
    assert torch.equal(jacobian(lambda y: y.flatten(1) @ matrix.T, x, batch=3), matrix)


def rosenbrock(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, b = x[:, 0], x[:, 1]
    value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    slope = torch.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], 1)
    return value, slope, value < 1e-20


def test_lbfgs_treats_every_sample_alone() -> None:
    starts = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    together = lbfgs(rosenbrock, starts, iterations=200)
    assert "budget" not in together.reason
    assert (together.x - 1).abs().max() < 1e-6
    assert together.evaluations[2] == 1  # it starts at the minimum
    for k, start in enumerate(starts):
        alone = lbfgs(rosenbrock, start[None], iterations=200)
        assert torch.allclose(alone.x[0], together.x[k], atol=1e-12)
        assert alone.evaluations[0] == together.evaluations[k]


def test_lbfgs_never_accepts_a_worse_point_or_nan() -> None:
    def cliff(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value = torch.where(x[:, 0] < 0.5, torch.nan, x[:, 0] ** 2)
        return value, 2 * x, torch.zeros(len(x), dtype=torch.bool)

    found = lbfgs(cliff, torch.tensor([[4.0]], dtype=torch.float64), iterations=50)
    assert 0.5 <= found.x.item() < 4
    assert found.reason == ("stalled",)
