"""Decoder inverters: what they reach, where they cannot reach, what they cost and leave alone."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from analytic import randn
from diffusers.image_processor import VaeImageProcessor
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from invlib import dpm_solver_pp_2m, load, nmse, sample
from invlib.autoencoder import (
    DECODERS,
    Autoencoder,
    Box,
    active_set,
    encoder,
    gauss_newton,
    gradient,
    gradient_free,
    quasi_newton,
    to_bytes,
)
from invlib.autoencoder.chance import draws_nothing
from invlib.autoencoder.gradient_free import Rule, adam, inertial, plain
from invlib.autoencoder.lbfgs import Memory
from invlib.autoencoder.model import _code, _picture, _rows
from invlib.portraits import caption, held_out, portraits_denoiser
from invlib.portraits.quality import noise_for
from invlib.schedule import Schedule

PIXELS, LATENTS = (3, 2, 2), (4, 1, 2)
P, L = math.prod(PIXELS), math.prod(LATENTS)


def orthogonal(size: int, seed: int) -> Tensor:
    """Some orthogonal matrix."""
    return torch.linalg.qr(randn(size, size, seed=seed))[0]


class Toy(nn.Module):
    """An autoencoder of which everything is known: D(z) = bend(A z), E(x) = M x + m.

    A has the singular values ``values``; M is its pseudo-inverse, times K if there is one.
    """

    def __init__(
        self,
        values: Tensor,
        *,
        k: Tensor | None = None,
        m: Tensor | None = None,
        bend: Callable[[Tensor], Tensor] = lambda y: y,
        right: Tensor | None = None,
    ) -> None:
        super().__init__()
        right = orthogonal(L, 1) if right is None else right
        a = orthogonal(P, 2)[:, : len(values)] @ values.diag() @ right[:, : len(values)].T
        pinv = torch.linalg.pinv(a, rtol=1e-9)
        self.a = nn.Parameter(a)
        self.m = nn.Parameter(pinv if k is None else k @ pinv)
        self.offset = nn.Parameter(torch.zeros(L).double() if m is None else m)
        self.kernel = right[:, len(values) :]
        self.bend, self.config = bend, {}
        self.encoded = self.decoded = self.reversed = 0

    @property
    def dtype(self) -> torch.dtype:
        return self.a.dtype

    def encode(self, image: Tensor) -> Any:
        self.encoded += len(image)
        mode = (image.flatten(1) @ self.m.T + self.offset).view(-1, *LATENTS)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: mode))

    def decode(self, z: Tensor) -> Any:
        self.decoded += len(z)
        picture = self.bend(z.flatten(1) @ self.a.T).view(-1, *PIXELS)
        if picture.requires_grad and not torch._C._functorch.is_gradtrackingtensor(picture):
            picture.register_hook(self._count)
        return SimpleNamespace(sample=picture)

    def _count(self, gradient: Tensor) -> None:
        self.reversed += len(gradient)


def spread(condition: float, rank: int = L) -> Tensor:
    """Singular values from 0.4 down."""
    return 0.4 * torch.logspace(0, -math.log10(condition), rank, dtype=torch.float64)


def random_latents(count: int = 3, seed: int = 0) -> Tensor:
    return randn(count, *LATENTS, seed=seed)


def off(size: float = 0.3, seed: int = 5) -> Tensor:
    """What makes the encoder miss."""
    return size * randn(L, seed=seed)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """The norm of a difference, for each sample."""
    return (a - b).flatten(1).norm(dim=1)


def tanh(y: Tensor) -> Tensor:
    return torch.tanh(1.5 * y) / 1.5


# What is known to be wrong; xfail_strict has these marks removed together with the fault.

# The box


@given(st.lists(st.floats(-1.6, 1.6), min_size=1, max_size=12))
def test_a_box_holds_what_rounds_to_its_image_and_nothing_else(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)
    shown = to_bytes(x)
    level = (x / 2 + 0.5).clamp(0, 1) * 255
    clear = (level - level.floor() - 0.5).abs() > 1e-4  # not half-way
    every = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 1, x.shape[-1])
    box = Box.of(every)
    inside = (x >= box.lower) & (x <= box.upper)
    assert not ((inside != (shown == every)) & clear).any()
    assert torch.equal(box.share_inside(x), inside.double().flatten(1).mean(1))


def test_all_256_boxes_tile_the_line() -> None:
    box = Box.of(torch.arange(256, dtype=torch.uint8).view(1, 1, 1, -1))
    lower, upper, center = box.lower.flatten(), box.upper.flatten(), box.center.flatten()
    assert lower[0] == -torch.inf and upper[-1] == torch.inf
    torch.testing.assert_close(lower[1:], upper[:-1], rtol=0, atol=1e-15)
    torch.testing.assert_close(center, torch.linspace(-1, 1, 256).double(), rtol=0, atol=1e-7)
    assert torch.equal(to_bytes(box.center).flatten(), torch.arange(256).byte())
    for side in (lower[1:] + 1e-6, upper[:-1] - 1e-6):
        assert len(set(to_bytes(side).tolist())) == 255  # just inside each end


@given(st.integers(0, 255), st.floats(-2, 2), st.floats(-2, 2), st.floats(0, 1), st.floats(0, 1))
def test_excess_is_what_the_nearest_picture_lacks(
    k: int, x: float, y: float, margin: float, wider: float
) -> None:
    box = Box.of(torch.full((1, 1, 1, 1), k, dtype=torch.uint8))
    point = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
    excess = box.excess(point, margin=margin)
    nearest = point - excess
    assert box.excess(nearest, margin=margin).abs() < 1e-15
    other = torch.full_like(point, y)
    other = other - box.excess(other, margin=margin)  # any other picture in the box
    assert (point - other).abs() >= excess.abs() - 1e-15
    low, high = sorted((margin, wider))
    assert box.excess(point, margin=low).abs() <= box.excess(point, margin=high).abs() + 1e-15
    if box.share_inside(point) == 1:
        assert box.excess(point) == 0
    else:
        assert box.excess(point) != 0


def test_margin_one_leaves_the_center_and_keeps_the_open_sides() -> None:
    box = Box.of(torch.tensor([0, 1, 128, 255], dtype=torch.uint8).view(1, 1, 1, -1))
    x = torch.tensor([-3, -1.0, 0.5, 3]).double().view(1, 1, 1, -1)
    wanted = torch.tensor([0.0, -2 / 255, 0.5 - 1 / 255, 0]).double()
    torch.testing.assert_close(box.excess(x, margin=1).flatten(), wanted)
    inner = torch.tensor([-0.9, -0.9, -0.9, 0.9]).double().view(1, 1, 1, -1)
    torch.testing.assert_close(box.excess(inner, margin=1), inner - box.center)


def test_rows_of_a_box_and_boxes_of_float_images() -> None:
    image = torch.randint(0, 256, (4, *PIXELS), dtype=torch.uint8)
    some, index = Box.of(image), torch.tensor([3, 1])
    assert len(some) == 4 and len(some.rows(index)) == 2
    for name in ("center", "lower", "upper"):
        assert torch.equal(getattr(some.rows(index), name), getattr(Box.of(image[index]), name))

    exact = Box.of(randn(2, *PIXELS).float())
    assert exact.center.dtype == torch.float64
    assert torch.equal(exact.lower, exact.center) and torch.equal(exact.upper, exact.center)
    x = randn(2, *PIXELS, seed=1)
    for margin in (0.0, 0.5, 1.0):
        assert torch.equal(exact.excess(x, margin=margin), x - exact.center)
    assert exact.share_inside(exact.center).tolist() == [1, 1]
    assert exact.share_inside(exact.center + 1e-12).tolist() == [0, 0]


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch \[B, C, H, W\], got \(3, 4, 4\)"):
        Box.of(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="uint8 or floating point, got torch.int64"):
        Box.of(torch.zeros(1, 3, 4, 4, dtype=torch.long))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="NaN or infinity"):
            Box.of(torch.full((1, 3, 4, 4), bad))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_to_bytes_is_what_diffusers_does(dtype: torch.dtype) -> None:
    halves = (torch.arange(-2, 514).double() / 255 - 1).view(1, 1, 1, -1).expand(1, 3, -1, -1)
    x = torch.cat([0.8 * randn(1, 3, 300, 516), halves], 2).to(dtype)
    pictures = VaeImageProcessor().postprocess(x, output_type="pil")
    stock = torch.from_numpy(np.stack([np.array(p) for p in pictures])).permute(0, 3, 1, 2)
    assert torch.equal(to_bytes(x), stock)


# Scale, shift and dtypes


def test_decode_is_what_stable_diffusion_and_flux_do() -> None:
    pipe = tiny.build(tiny.stable_diffusion, dtype=torch.float32)
    ask: dict[str, Any] = {"prompt": ["cat"], "num_inference_steps": 2, "height": 16, "width": 16}

    def run(kind: str) -> Tensor:
        return pipe(**ask, generator=torch.Generator().manual_seed(1), output_type=kind)[0]

    with torch.no_grad():
        decoded = Autoencoder.of(pipe.vae).decode(run("latent").double())
        shown = run("pt").double()
        torch.testing.assert_close((decoded / 2 + 0.5).clamp(0, 1), shown, rtol=0, atol=1e-6)

        pipe = tiny.build(tiny.flux, dtype=torch.float32)
        assert pipe.vae.config.shift_factor == 0.1 and pipe.vae.config.scaling_factor == 0.7
        latents = pipe._unpack_latents(run("latent"), 16, 16, pipe.vae_scale_factor)
        decoded = Autoencoder.of(pipe.vae).decode(latents.double())
        shown = run("pt").double()
        torch.testing.assert_close((decoded / 2 + 0.5).clamp(0, 1), shown, rtol=0, atol=1e-6)
        image = 2 * shown - 1
        mode = pipe.vae.encode(image.float()).latent_dist.mode()
        wanted = (mode - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
        torch.testing.assert_close(Autoencoder.of(pipe.vae).encode(image), wanted.double())


def test_scale_and_shift_cancel_in_the_round_trip() -> None:
    toy, z = Toy(spread(3)), random_latents()
    changed = Autoencoder(toy, 0.18, 0.3)
    with torch.no_grad():
        torch.testing.assert_close(changed.encode(changed.decode(z)), z)
        torch.testing.assert_close(changed.decode(z), Autoencoder.of(toy).decode(z / 0.18 + 0.3))


def test_latents_normalised_by_channel_are_refused() -> None:
    for name in ("latents_mean", "latents_std"):
        vae = tiny.vae()
        vae.register_to_config(**{name: [0.5] * 4})
        with pytest.raises(ValueError, match=f"AutoencoderKL sets {name}, which is not supported"):
            Autoencoder.of(vae)
    assert Autoencoder.of(tiny.vae(shift=None)).shift == 0.0
    assert Autoencoder.of(tiny.vae(shift=0.2)).shift == 0.2


HALVES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", DECODERS)
def test_the_network_keeps_its_dtype_and_latents_are_float64(name: str, dtype: torch.dtype) -> None:
    toy, z = Toy(spread(2), m=off(), bend=tanh), random_latents()
    image = Autoencoder.of(toy).decode(z).detach()
    small = Toy(spread(2), m=off(), bend=tanh).to(dtype)
    autoencoder = Autoencoder.of(small)
    assert autoencoder.dtype == dtype
    for box in (Box.of(to_bytes(image)), Box.of(image.to(dtype))):
        first, result = encoder(autoencoder, box), DECODERS[name](autoencoder, box)
        assert result.latents.dtype == result.image_nmse.dtype == torch.float64
        assert result.inside.dtype == torch.float64 and result.evaluations.dtype == torch.int64
        assert result.latents.isfinite().all() and not result.latents.requires_grad
        if name in ("quasi_newton", "gauss_newton", "gradient"):
            assert (result.image_nmse < 0.1 * first.image_nmse).all()


@pytest.mark.parametrize("method", [quasi_newton, gauss_newton])
def test_the_first_latents_may_have_another_dtype(method: Any) -> None:
    toy, z = Toy(spread(3), m=off()), random_latents()
    box = Box.of(Autoencoder.of(toy).decode(z).detach())
    first = (z + 0.2).float()
    result = method(Autoencoder.of(toy), box, start=first)
    assert result.latents.dtype == torch.float64 and torch.equal(first, (z + 0.2).float())
    assert distance(result.latents, z).max() < 1e-3


# Linear decoders, for which all is known


def test_the_pseudo_inverse_as_encoder() -> None:
    """E(D(z)) is z without its part in the kernel; pictures in the range of D come back."""
    toy, z = Toy(spread(3, rank=5)), random_latents()
    autoencoder = Autoencoder.of(toy)
    image = autoencoder.decode(z).detach()
    result = encoder(autoencoder, Box.of(image))
    flat = z.flatten(1)
    wanted = flat - flat @ toy.kernel @ toy.kernel.T
    torch.testing.assert_close(result.latents.flatten(1), wanted)
    assert (result.image_nmse < 1e-28).all()
    assert result.reason == ("explicit",) * 3 and result.evaluations.tolist() == [1] * 3


def test_one_gauss_newton_step_solves_a_linear_problem() -> None:
    """Also least squares, and with as many CG iterations as there are singular values."""
    toy, z = Toy(spread(10), m=off()), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    one = partial(gauss_newton, iterations=1, damping=0.0)
    assert (distance(one(autoencoder, box, krylov=2 * L).latents, z) < 1e-10).all()
    assert (distance(one(autoencoder, box, krylov=L - 4).latents, z) > 1e-6).all()

    three = Toy(torch.tensor([0.4, 0.3, 0.2, 0.2, 0.3, 0.3, 0.4, 0.2]).double(), m=off())
    model = Autoencoder.of(three)  # three different singular values: three CG iterations
    image = model.decode(z).detach()
    found = one(model, Box.of(image), krylov=3)
    assert (distance(found.latents, z) < 1e-10).all()

    image = 0.3 * randn(3, *PIXELS, seed=8)  # in no range
    found = one(autoencoder, Box.of(image), krylov=2 * L)
    wanted = torch.linalg.lstsq(toy.a.detach(), image.flatten(1).T).solution.T
    torch.testing.assert_close(found.latents.flatten(1), wanted, rtol=0, atol=1e-9)


def test_damping_is_relative_to_the_problem() -> None:
    """The damped step is the same for a decoder in other units."""
    z, steps = random_latents(), []
    for unit in (1.0, 1e3):
        toy = Toy(unit * spread(5), m=off())
        autoencoder = Autoencoder.of(toy)
        box = Box.of(autoencoder.decode(z).detach())
        found = gauss_newton(autoencoder, box, iterations=1, krylov=2 * L, damping=0.5)
        steps.append(found.latents)
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=1e-8)
    assert (distance(steps[0], z) > 1e-2).all()


def test_gradient_descends_to_the_least_squares_solution() -> None:
    toy = Toy(spread(2), m=off())
    autoencoder, image = Autoencoder.of(toy), 0.3 * randn(3, *PIXELS, seed=8)
    wanted = torch.linalg.lstsq(toy.a.detach(), image.flatten(1).T).solution.T.view(3, *LATENTS)
    first = distance(encoder(autoencoder, Box.of(image)).latents, wanted)
    errors = [
        distance(gradient(autoencoder, Box.of(image), iterations=n).latents, wanted) / first
        for n in (30, 100, 300)
    ]
    assert (errors[1] < 0.05).all() and (errors[2] < 1e-3).all()
    assert (errors[2] < errors[0]).all()


def test_gradient_is_adam_with_warm_up_and_cosine() -> None:
    """One coordinate, one step: Adam's first step is the sign times the learning rate."""
    toy, z = Toy(spread(2), m=off()), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    start = encoder(autoencoder, box).latents
    none = gradient(autoencoder, box, iterations=1)
    assert torch.equal(none.latents, start)  # the first rate is zero
    once = gradient(autoencoder, box, iterations=2, warm_up=1, learning_rate=0.01)
    slope = ((start - z).flatten(1) @ toy.a.T @ toy.a).detach().view_as(z)
    moved = once.latents - start
    torch.testing.assert_close(moved, -0.01 * slope.sign(), rtol=1e-5, atol=1e-8)


def cocoercive(eigenvalues: Tensor) -> tuple[Toy, Tensor]:
    """A decoder with E(D(z)) = K z, where K is symmetric with these eigenvalues."""
    axes = orthogonal(L, 7)
    k = axes @ eigenvalues.diag() @ axes.T
    return Toy(spread(3), k=k), k


@pytest.mark.parametrize("rho", [0.1, 0.3, 0.9])
def test_forward_steps_contract_as_the_theory_says(rho: float) -> None:
    r"""For E(D(z)) = K z the error after n visits is (I - rho K)^(n-1) times the first one."""
    toy, k = cocoercive(torch.linspace(0.5, 2, L).double())
    autoencoder, z = Autoencoder.of(toy), random_latents()
    image = autoencoder.decode(z).detach()
    first = (autoencoder.encode(image) - z).detach().flatten(1)
    for n in (1, 2, 10, 40):
        found = gradient_free(autoencoder, Box.of(image), iterations=n, rule=plain(rho=rho))
        factor = torch.linalg.matrix_power(torch.eye(L).double() - rho * k, n - 1)
        wanted = z + (first @ factor.T).view_as(z)
        torch.testing.assert_close(found.latents, wanted, rtol=0, atol=1e-12)
        assert found.evaluations.tolist() == [1 + 2 * n] * 3


def test_momentum_beats_plain_steps_where_the_problem_is_stiff() -> None:
    toy, _ = cocoercive(torch.logspace(-1, 0.3, L).double())
    autoencoder, z = Autoencoder.of(toy), random_latents()
    box = Box.of(autoencoder.decode(z).detach())
    first = distance(encoder(autoencoder, box).latents, z)
    by_rule = {
        name: distance(gradient_free(autoencoder, box, rule=rule).latents, z) / first
        for name, rule in {"plain": plain(), "inertial": inertial(), "adam": adam()}.items()
    }
    assert (by_rule["plain"] < 0.1).all()
    assert (by_rule["inertial"] < 0.05 * by_rule["plain"]).all()
    assert (by_rule["adam"] < 0.5).all()


@pytest.mark.parametrize("rule", [plain(), inertial(), adam()], ids=["plain", "inertial", "adam"])
def test_without_cocoercivity_the_best_visited_latents_are_returned(rule: Rule) -> None:
    toy, k = cocoercive(torch.tensor([-1, 0.3, 0.5, 0.7, 1, 1.2, 1.5, 2]).double())
    autoencoder, z = Autoencoder.of(toy), random_latents()
    box = Box.of(autoencoder.decode(z).detach())

    def residual(latents: Tensor) -> Tensor:
        return ((latents - z).flatten(1) @ k.T).norm(dim=1)

    start = encoder(autoencoder, box).latents
    sizes = [residual(start)]
    for n in (1, 5, 20, 60):
        found = gradient_free(autoencoder, box, iterations=n, rule=rule)
        sizes.append(residual(found.latents))
        assert (sizes[-1] <= sizes[-2] * (1 + 1e-12)).all() and found.latents.isfinite().all()
    last = start
    for _ in range(60):
        last = last - 0.3 * ((last - z).flatten(1) @ k.T).view_as(z)
    assert (residual(last) > 1e3).all()  # plain steps alone blow up


@pytest.mark.parametrize("make", [plain, inertial, adam])
def test_a_rule_begins_anew_with_every_image(make: Callable[[], Rule]) -> None:
    toy, _ = cocoercive(torch.linspace(0.5, 2, L).double())
    autoencoder = Autoencoder.of(toy)
    boxes = [Box.of(0.3 * randn(n, *PIXELS, seed=n)) for n in (3, 2)]
    rule = make()
    for box in (*boxes, boxes[0]):
        again = gradient_free(autoencoder, box, iterations=8, rule=rule)
        fresh = gradient_free(autoencoder, box, iterations=8, rule=make())
        assert torch.equal(again.latents, fresh.latents)


def test_quasi_newton_reaches_the_box_of_every_image() -> None:
    toy, z = Toy(spread(10), m=off()), random_latents(12)
    autoencoder = Autoencoder.of(toy)
    pixels = to_bytes(autoencoder.decode(z).detach())
    result = quasi_newton(autoencoder, Box.of(pixels))
    assert result.reason == ("converged",) * 12 and (result.inside == 1).all()
    with torch.no_grad():
        assert torch.equal(to_bytes(autoencoder.decode(result.latents)), pixels)
    start = encoder(autoencoder, Box.of(pixels))
    assert (start.inside < 1).all()
    # decoders do not get the latents back: they are known up to the size of the box
    error = distance(result.latents, z)
    assert (error < math.sqrt(P) / 255 * 2 / toy.a.detach().svd().S.min()).all() and error.min() > 0


def test_quasi_newton_leaves_what_is_inside_alone() -> None:
    toy, z = Toy(spread(3)), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    result = quasi_newton(autoencoder, box, start=z)
    assert torch.equal(result.latents, z) and result.reason == ("converged",) * 3
    assert result.evaluations.tolist() == [3] * 3


@pytest.mark.parametrize(
    "name",
    [
        "quasi_newton",
        "gradient",
        "gradient_free",
        "gauss_newton",
    ],
)
def test_what_rounds_to_the_image_has_converged(name: str) -> None:
    """Whichever method found it, and be it in the last step of the budget."""
    toy, z = Toy(spread(3), k=1.2 * torch.eye(L).double()), random_latents()
    autoencoder, method = Autoencoder.of(toy), DECODERS[name]
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    if name == "gauss_newton":
        method = partial(gauss_newton, margin=0.1)
    seen = 0
    for iterations in (1, 2, 3, 4, 5, 6, 7, 8, 12, 32, 150):
        result = method(autoencoder, box, iterations=iterations)
        converged = torch.tensor([reason == "converged" for reason in result.reason])
        assert torch.equal(converged, result.inside == 1), iterations
        seen += int(converged.sum())
    assert seen


@pytest.mark.parametrize(
    "size",
    [1e-1, 1e-3, 1e-5, 1e-7],
)
def test_quasi_newton_moves_from_latents_that_are_almost_right(size: float) -> None:
    toy, z = Toy(spread(3)), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    first = z + size * random_latents(seed=9)
    result = quasi_newton(autoencoder, box, start=first)
    assert (distance(result.latents, z) < 1e-2 * distance(first, z)).all()


def test_two_loops_are_the_bfgs_formula() -> None:
    """Row by row, with dense matrices; a pair without positive curvature does not count."""
    steps = randn(5, 2, L, seed=1)
    changes = steps + 0.3 * randn(5, 2, L, seed=2)
    changes[3, 1] = -steps[3, 1]
    history = Memory(4)
    for step, change in zip(steps, changes, strict=True):
        history.push(step, change)
    gradient, eye = randn(2, L, seed=3), torch.eye(L).double()
    found = history.direction(gradient, torch.ones(2))
    for row in range(2):
        pairs = [(s, y) for s, y in zip(steps[1:, row], changes[1:, row], strict=True) if s @ y > 0]
        assert len(pairs) == 4 - row
        s, y = pairs[-1]
        h = (s @ y) / (y @ y) * eye
        for s, y in pairs:
            left = eye - torch.outer(s, y) / (s @ y)
            h = left @ h @ left.T + torch.outer(s, s) / (s @ y)
        torch.testing.assert_close(found[row], -h @ gradient[row])


# Where the decoder does not care


KEEPERS: dict[str, Any] = {
    "encoder": encoder,
    "quasi_newton": quasi_newton,
    "gauss_newton": gauss_newton,
    "gradient_free": gradient_free,
    "inertial": partial(gradient_free, rule=inertial()),
    "gradient": gradient,
    "adam": partial(gradient_free, rule=adam()),
}


@pytest.mark.parametrize("name", KEEPERS)
def test_the_kernel_of_the_decoder_stays_as_the_encoder_said(name: str) -> None:
    """Only methods that scale coordinates (Adam) move it, unless it lies along coordinates."""
    kept = randn(3, seed=4)
    for axes, rotated in ((torch.eye(L).double(), False), (orthogonal(L, 1), True)):
        row_space, kernel = axes[:, :5], axes[:, 5:]
        contract = row_space @ torch.linspace(0.5, 1.5, 5).double().diag() @ row_space.T
        m = row_space @ (0.3 * randn(5, seed=6)) + kernel @ kept
        toy = Toy(spread(3, rank=5), k=contract, m=m, right=axes, bend=tanh)
        autoencoder = Autoencoder.of(toy)
        box = Box.of(to_bytes(autoencoder.decode(random_latents()).detach()))
        result = KEEPERS[name](autoencoder, box)
        moved = (result.latents.flatten(1) @ kernel - kept).abs().max()
        if name in ("gradient", "adam") and rotated:
            assert moved > 1e-2
        else:
            assert moved < 1e-12
        first = encoder(autoencoder, box)
        assert (result.image_nmse < 0.5 * first.image_nmse).all() or name == "encoder"


# A decoder that bends


def test_gauss_newton_is_quadratic_near_the_solution() -> None:
    toy, z = Toy(spread(3), bend=tanh), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    step = partial(gauss_newton, autoencoder, box, iterations=1, damping=0.0, krylov=3 * L)
    found, errors = z + 0.2 * random_latents(seed=9), []
    for _ in range(5):
        errors.append(distance(found, z))
        found = step(start=found).latents
    for before, after in zip(errors[:3], errors[1:4], strict=True):
        assert (after < torch.maximum(before**2, torch.tensor(1e-14))).all()
    # log e_{k+1} against log e_k: the slope is the order
    orders = (errors[3] / errors[2]).log() / (errors[2] / errors[1]).log()
    assert (orders > 1.7).all() and (errors[4] < 1e-12).all()
    more = gauss_newton(autoencoder, box, iterations=4, damping=0.0, krylov=3 * L, start=z + 0.1)
    assert (distance(more.latents, z) < 1e-12).all()


def test_gauss_newton_steps_go_on_where_the_last_one_ended() -> None:
    toy, z = Toy(spread(3), m=off(), bend=tanh), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    both = gauss_newton(autoencoder, box, iterations=2, damping=0.0)
    first = gauss_newton(autoencoder, box, iterations=1, damping=0.0)
    second = gauss_newton(autoencoder, box, iterations=1, damping=0.0, start=first.latents)
    torch.testing.assert_close(both.latents, second.latents)


def test_gauss_newton_never_makes_it_worse() -> None:
    """A step that does not reduce the distance is refused; later ones are damped more."""
    toy, z = Toy(10 * spread(30), m=off(3.0), bend=tanh), random_latents(8)
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    first = encoder(autoencoder, box)
    before = first.latents

    def misfit(latents: Tensor) -> Tensor:
        return distance(autoencoder.decode(latents).detach(), box.center)

    refused, resumed = 0, 0
    stuck = torch.zeros(8, dtype=torch.bool)
    for n in range(1, 9):
        found = gauss_newton(autoencoder, box, iterations=n, damping=1e-6)
        assert (misfit(found.latents) <= misfit(before) * (1 + 1e-12)).all()
        same = (found.latents == before).flatten(1).all(1)
        assert all(found.reason[row] == "stalled" for row in same.nonzero().flatten())
        resumed += int((stuck & ~same).sum())
        refused, before, stuck = refused + int(same.sum()), found.latents, same
    assert refused and resumed
    assert (misfit(before) < misfit(first.latents)).any()


def test_quasi_newton_is_superlinear() -> None:
    toy, z = Toy(spread(3), m=off(), bend=tanh), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(autoencoder.decode(z).detach())
    errors = []
    for n in (0, 10, 20, 30):
        found = quasi_newton(autoencoder, box, iterations=n)
        errors.append(distance(autoencoder.decode(found.latents).detach(), box.center))
    assert (errors[3] < 1e-8).all()
    rates = torch.stack(errors).log10().diff(dim=0)
    assert (rates[1] < rates[0]).all()  # more digits in the second ten iterations
    steepest = quasi_newton(autoencoder, box, iterations=30, memory=1)
    slow = distance(autoencoder.decode(steepest.latents).detach(), box.center)
    assert (slow > 10 * errors[3]).all()


# One by one, and what it costs


@pytest.mark.parametrize("name", KEEPERS)
def test_a_batch_is_so_many_single_runs(name: str) -> None:
    toy, z = Toy(spread(5), m=off(), bend=tanh), random_latents()
    autoencoder, method = Autoencoder.of(toy), KEEPERS[name]
    image = autoencoder.decode(z).detach()
    for box in (Box.of(to_bytes(image)), Box.of(to_bytes(0.5 * image))):
        batch = method(autoencoder, box)
        for row in range(3):
            one = method(autoencoder, box.rows(torch.tensor([row])))
            torch.testing.assert_close(one.latents[0], batch.latents[row], rtol=0, atol=1e-9)
            assert one.evaluations[0] == batch.evaluations[row]
            assert one.reason[0] == batch.reason[row]
            assert one.inside[0] == batch.inside[row]


def test_a_finished_image_pays_nothing_more() -> None:
    toy, z = Toy(spread(5), m=off(), bend=tanh), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    start = encoder(autoencoder, box).latents
    start[1] = z[1]
    toy.decoded = toy.reversed = 0
    result = quasi_newton(autoencoder, box, start=start)
    assert result.reason == ("converged",) * 3 and torch.equal(result.latents[1], z[1])
    assert result.evaluations[1] == 3 and (result.evaluations[[0, 2]] > 12).all()
    assert toy.reversed == result.evaluations.sum() / 3 == toy.decoded - 3


def test_evaluations_are_counted_one_by_one() -> None:
    """A forward is one, a forward-mode derivative two, a forward with a reverse mode three."""
    toy, z = Toy(spread(5), m=off(), bend=tanh), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))

    def calls(method: Any, **options: Any) -> tuple[int, int, int, int]:
        toy.encoded = toy.decoded = toy.reversed = 0
        result = method(autoencoder, box, **options)
        judged = len(box)  # one uncounted decoding for the figures of the result
        return toy.encoded, toy.decoded - judged, toy.reversed, int(result.evaluations.sum())

    assert calls(encoder) == (3, 0, 0, 3)
    assert calls(gradient, iterations=7) == (3, 21, 21, 3 + 63)
    assert calls(gradient_free, iterations=7) == (3 + 21, 21, 0, 3 + 42)
    for options in ({}, {"iterations": 3}, {"start": z + 0.1}):
        encoded, decoded, reverse, paid = calls(quasi_newton, **options)
        assert encoded == (0 if "start" in options else 3)
        assert decoded == reverse and paid == encoded + 3 * decoded
    for options in ({}, {"iterations": 3, "krylov": 5}, {"start": z + 0.1}):
        encoded, decoded, _, paid = calls(gauss_newton, **options)
        steps, krylov = options.get("iterations", 2), options.get("krylov", 15)
        assert decoded == 3 * steps * (2 + krylov)  # forward, trial, forward modes
        assert paid == encoded + 3 * steps * (1 + 3 + 4 * krylov)


# The dense method


@pytest.mark.parametrize("bend", [None, tanh])
def test_the_dense_method_gets_into_the_box(bend: Any) -> None:
    """Also where the decoder is nearly blind, and from anywhere near."""
    toy, z = Toy(spread(1e4), m=off(), **({} if bend is None else {"bend": bend})), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    result = active_set(autoencoder, box, start=z + 0.1 * random_latents(seed=3))
    assert result.reason == ("converged",) * 3 and (result.inside == 1).all()
    assert result.method == "active_set"


def test_the_dense_method_moves_no_further_than_it_must() -> None:
    """Latents in the kernel keep their start; latents inside the box stay where they are."""
    toy, z = Toy(spread(3, rank=5)), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    start = z + 0.1 * random_latents(seed=3)
    start[1] = z[1]
    result = active_set(autoencoder, box, start=start)
    move = (result.latents - start).flatten(1)
    assert (result.inside == 1).all() and move[1].norm() == 0 and move[0].norm() > 0
    assert (move @ toy.kernel).norm() < 1e-9 * move.norm()
    assert result.evaluations[1] == 1  # it looked once
    assert (move.norm(dim=1) <= (z - start).flatten(1).norm(dim=1)).all()


def test_the_dense_method_counts_its_jacobians() -> None:
    toy, z = Toy(spread(5), m=off()), random_latents()
    autoencoder = Autoencoder.of(toy)
    box = Box.of(to_bytes(autoencoder.decode(z).detach()))
    result = active_set(autoencoder, box, start=z + 0.1 * random_latents(seed=3))
    # a look, a Jacobian at two evaluations a column, one step into the box
    assert result.evaluations.tolist() == [1 + 2 * L + 1] * 3


def test_the_dense_method_refuses_large_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["invlib.autoencoder.active_set"]  # the name is the function's, too
    monkeypatch.setattr(module, "LARGEST", P * L - 1)
    autoencoder = Autoencoder.of(Toy(spread(5)))
    box = Box.of(to_bytes(autoencoder.decode(random_latents()).detach()))
    with pytest.raises(ValueError, match="Jacobian of this decoder has .* use quasi_newton"):
        active_set(autoencoder, box, start=random_latents())


# What is left alone, and what goes wrong


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("name", DECODERS)
def test_the_autoencoder_is_left_as_it_was(name: str, trainable: bool, grad: bool) -> None:
    torch.manual_seed(0)
    vae = tiny.vae().double().requires_grad_(trainable)
    vae.train(trainable)
    next(vae.parameters()).requires_grad_(True)
    before = copy.deepcopy(vae.state_dict())
    flags = [p.requires_grad for p in vae.parameters()]
    autoencoder = Autoencoder.of(vae)
    box = Box.of(torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8))
    near = {"start": randn(2, 4, 2, 2, seed=1)}  # else it begins with a long search
    options: dict[str, dict[str, Any]] = {
        "encoder": {},
        "quasi_newton": {"iterations": 3},
        "gauss_newton": {"krylov": 2},
        "active_set": {"jacobians": 1, **near},
    }
    method = partial(DECODERS[name], **options.get(name, {"iterations": 5}))
    with nullcontext() if grad else torch.no_grad():
        result = method(autoencoder, box)
    for value in (result.latents, result.image_nmse, result.inside):
        assert not value.requires_grad and value.grad_fn is None
    assert all(torch.equal(before[key], value) for key, value in vae.state_dict().items())
    assert [p.requires_grad for p in vae.parameters()] == flags
    assert all(p.grad is None for p in vae.parameters())
    assert vae.training == trainable and torch.is_grad_enabled()
    assert torch.equal(method(autoencoder, box).latents, result.latents)  # and draws no numbers


class Broken(Toy):
    """Some value of the picture is NaN wherever the first latent is positive."""

    def decode(self, z: Tensor) -> Any:
        picture = super().decode(z).sample
        bad = (z.flatten(1)[:, 0] > 0)[:, None] & (torch.arange(P) == 2)
        return SimpleNamespace(sample=torch.where(bad.view_as(picture), torch.nan, picture))


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_that_fails_on_one_image_fails_there_alone_and_says_so(name: str) -> None:
    toy = Broken(spread(3), bend=tanh, k=1.2 * torch.eye(L).double(), right=torch.eye(L).double())
    z = random_latents()
    z[:, 0, 0, 0] = torch.tensor([-2.0, 2.0, -2.0])
    healthy = Toy(spread(3), bend=tanh, k=1.2 * torch.eye(L).double(), right=torch.eye(L).double())
    box = Box.of(to_bytes(Autoencoder.of(healthy).decode(z).detach()))
    method = DECODERS[name]
    result, wanted = method(Autoencoder.of(toy), box), method(Autoencoder.of(healthy), box)
    assert result.reason[1] != "converged" and result.inside[1] < 1
    assert result.image_nmse[1].isnan()
    fine = torch.tensor([0, 2])
    torch.testing.assert_close(result.latents[fine], wanted.latents[fine], rtol=0, atol=1e-9)
    assert torch.equal(result.inside[fine], wanted.inside[fine])
    assert [result.reason[i] for i in fine] == [wanted.reason[i] for i in fine]
    if name in ("quasi_newton", "gauss_newton", "gradient_free"):
        assert result.latents.isfinite().all()


@pytest.mark.parametrize("name", DECODERS)
def test_an_image_of_a_size_that_the_decoder_does_not_make_is_refused(name: str) -> None:
    autoencoder = Autoencoder.of(tiny.vae())  # halves once: even sizes only
    box = Box.of(torch.zeros(1, 3, 7, 8, dtype=torch.uint8))
    with pytest.raises((ValueError, RuntimeError), match="shapes differ|must match the size"):
        DECODERS[name](autoencoder, box)
    gray = Box.of(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="3 channels"):
        DECODERS[name](autoencoder, gray)


# The embedded model


def test_quasi_newton_beats_the_papers_gradient_descent_on_portraits() -> None:
    """Pictures of the pipeline: nearer latents and nearer pictures, for less."""
    pipe = load("portraits")
    prompts = [caption(person) for person in held_out(2)]
    solver = dpm_solver_pp_2m(Schedule.from_scheduler(pipe.scheduler).grid(10))
    with torch.no_grad():
        latents = sample(portraits_denoiser(pipe, prompts, 1.0), noise_for(2), solver).image
        autoencoder = Autoencoder.of(pipe.vae)
        pixels = to_bytes(autoencoder.decode(latents))
    box = Box.of(pixels)
    ours, paper, first = (m(autoencoder, box) for m in (quasi_newton, gradient, encoder))
    assert (nmse(ours.latents, latents) < nmse(paper.latents, latents)).all()
    assert (nmse(ours.latents, latents) < nmse(first.latents, latents)).all()
    assert (ours.evaluations < paper.evaluations).all()
    assert (ours.image_nmse < paper.image_nmse).all()
    assert (ours.inside > paper.inside).all()


def test_latents_and_pictures_are_found_in_whatever_a_network_returns() -> None:
    tensor = torch.ones(2, 3)
    law = SimpleNamespace(mode=lambda: tensor)
    for code in (
        *(tensor, (tensor, None), SimpleNamespace(latents=tensor), SimpleNamespace(latent=tensor)),
        *(SimpleNamespace(latent_dist=law), (SimpleNamespace(latent_dist=law),)),
    ):
        assert _code(code) is tensor
    for picture in (tensor, (tensor, None), SimpleNamespace(sample=tensor)):
        assert _picture(picture) is tensor


def test_arguments_of_a_decoder_are_those_of_the_rows() -> None:
    index = torch.tensor([1, 1])
    value = torch.arange(4).view(4, 1)  # two for each of two rows
    assert _rows(value, index, 2).flatten().tolist() == [2, 3, 2, 3]
    for whole in (3.0, torch.tensor(1.0), torch.ones(3)):
        assert _rows(whole, index, 2) is whole


def test_a_generator_among_its_arguments_is_watched_and_put_back() -> None:
    generator, module = torch.Generator().manual_seed(3), torch.nn.Identity()
    before, cpu = generator.get_state(), torch.device("cpu")
    with draws_nothing(module, cpu, {"generator": generator, "other": 1}):
        pass
    with pytest.raises(ValueError, match="draws random numbers.*call its eval"):
        with draws_nothing(module, cpu, {"generator": generator}):
            torch.rand(2, generator=generator)
    assert torch.equal(generator.get_state(), before)
    with pytest.raises(ValueError, match="invert clean latents instead"):
        with draws_nothing(module.eval(), cpu, {}):
            torch.rand(2)
