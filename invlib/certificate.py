"""Certificates: what an inversion proves, and what it does not, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .denoisers import Denoiser, select
from .inversion import Inversion, floor
from .metrics import decibel, nmse
from .newton import forward_mode
from .sampling import as_state
from .solvers import Solver

EXACT = {"float64": 1e-20, "float32": 1e-10}  # round-trip NMSE at round-off: -200 and -100 dB


@dataclass(frozen=True)
class Certificate:
    r"""The evidence about every sample of an inversion.

    A round trip at round-off proves *exactness*: this noise gives this image. It does not prove
    that it is *the* noise: the error of the noise is about the error of the image divided by the
    smallest singular value of the sampler's Jacobian, and other noises may give the same image.

    Attributes:
        round_trip: NMSE between the image and the one sampled again from the noise, ``[B]``.
        equations: largest relative residual of the sampler's equations, ``[B]``.
        norm_score: standard scores of the noise's squared norm under N(0, I), ``[B]``.
        sigma_min: estimated smallest singular value of the Jacobian (an upper bound), ``[B]``.
        sigma_max: estimated largest singular value (a lower bound), ``[B]``.
        noise_error: first-order estimate of the noise's relative error, ``[B]``.
        other_roots: whether a search from another start ended at another noise, ``[B]``.
        verdict: ``exact``, ``approximate`` or ``failed``.
        flags: why an exact noise may not be the original one; empty where nothing speaks
            against it.
    """

    round_trip: Tensor
    equations: Tensor
    norm_score: Tensor
    sigma_min: Tensor
    sigma_max: Tensor
    noise_error: Tensor
    other_roots: Tensor
    verdict: tuple[str, ...]
    flags: tuple[str, ...]

    def __str__(self) -> str:
        level = decibel(self.round_trip).tolist()
        rows = zip(self.verdict, level, self.flags, strict=True)
        return "\n".join(f"{v} ({db:.0f} dB){': ' + f if f else ''}" for v, db, f in rows)


def certify(
    denoiser: Denoiser,
    inversion: Inversion,
    solver: Solver,
    *,
    vectors: int = 12,
    other: Inversion | None = None,
    again: Tensor | None = None,
    gap: float = 0.0,
) -> Certificate:
    r"""Check an inversion by running the sampler again, and measure how well posed it was.

    .. math:: \frac{\|\delta y_0\|}{\|y_0\|} \lesssim
              \frac{\|\Phi(y_0) - y_n\|}{\sigma_{\min}(\Phi')\,\|y_0\|}

    Args:
        denoiser: the network that was inverted.
        inversion: what to certify; its last state is the image.
        solver: the sampler's table.
        vectors: Lanczos vectors for the singular values (each costs five sampler runs); 0 skips
            them, and the values are NaN.
        other: another inversion of the same image, from another start or by another method; an
            exact noise of its that differs (in NMSE by more than the square root of what counts
            as exact) is reported as another root.
        again: the image that the sampler itself made of the noise; by default the table is run.
        gap: relative round-off of the steps of what made ``again``, where that is not float64's.
    """
    image, noise = inversion.states[-1], inversion.noise
    limit = EXACT["float64" if max(floor(denoiser), gap) < 1e-10 else "float32"]
    with torch.no_grad():
        again = sample_image(denoiser, noise, solver) if again is None else again.to(image)
        trip = nmse(again, image)
    rows = trip.isfinite().nonzero().flatten()
    size = noise[0].numel()
    score = (noise.flatten(1).square().sum(1) - size) / (2 * size) ** 0.5
    small = torch.full_like(trip, torch.nan)
    large = small.clone()
    if vectors and len(rows):
        values = singular_values(select(denoiser, rows), noise[rows], solver, vectors=vectors)
        small[rows], large[rows] = values
    distance = trip.sqrt().clamp(min=torch.finfo(torch.float64).eps)
    error = distance * image.flatten(1).norm(dim=1) / (small * noise.flatten(1).norm(dim=1))
    roots = torch.zeros_like(trip, dtype=torch.bool)
    if other is not None:
        with torch.no_grad():
            also = nmse(sample_image(denoiser, other.noise, solver), image) < limit
        roots = also & (trip < limit) & (nmse(other.noise, noise) > limit**0.5)
    verdict = tuple(
        "failed" if not v < 0.1 else "exact" if v < limit else "approximate" for v in trip.tolist()
    )
    return Certificate(
        round_trip=trip,
        equations=inversion.residuals.amax(1),
        norm_score=score,
        sigma_min=small,
        sigma_max=large,
        noise_error=error,
        other_roots=roots,
        verdict=verdict,
        flags=tuple(
            _flags(v, *numbers)
            for v, *numbers in zip(verdict, score.tolist(), error.tolist(), roots, strict=True)
        ),
    )


def _flags(verdict: str, score: float, error: float, root: bool) -> str:
    reasons = []
    if abs(score) > 5:
        reasons.append(f"the noise is not Gaussian (norm off by {score:+.0f} standard deviations)")
    if verdict == "exact" and error > 1e-2:  # else the error is not the conditioning's fault
        reasons.append("ill-conditioned: the image hardly fixes the noise")
    if root:
        reasons.append("another noise gives the same image")
    return "; ".join(reasons)


def singular_values(
    denoiser: Denoiser, noise: Tensor, solver: Solver, *, vectors: int = 12
) -> tuple[Tensor, Tensor]:
    """Smallest and largest singular value of the sampler's Jacobian, ``[B]`` each.

    Golub-Kahan-Lanczos with full reorthogonalisation. With as many vectors as the noise has
    entries the values are exact; with fewer, the smallest is estimated from above and the
    largest from below.

    Args:
        denoiser: the network.
        noise: where to take the Jacobian, ``[B, ...]``.
        solver: the sampler's table.
        vectors: Lanczos vectors.
    """
    noise = as_state(noise, "noise")
    vectors = min(vectors, noise[0].numel())

    def image(x: Tensor) -> Tensor:
        return sample_image(denoiser, x, solver)

    with sdpa_kernel(SDPBackend.MATH):
        _, pull_back = cast(Any, torch.func.vjp(image, noise))
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(noise[0].numel(), generator=generator, dtype=torch.float64).to(noise)
        right = [_unit(v.expand(len(noise), -1))]
        left: list[Tensor] = []
        matrix = v.new_zeros(len(noise), vectors, vectors)
        spent = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        for k in range(vectors):
            with torch.no_grad():  # no graph of the network's own parameters
                u = forward_mode(image, noise, right[-1].view_as(noise)).flatten(1)
            size, direction = _orthogonalise(u, left)
            left.append(direction)
            matrix[:, k, k] = torch.where(spent, matrix[:, 0, 0], size)
            if k + 1 == vectors:
                break
            w = pull_back(left[-1].view_as(noise))[0].flatten(1).detach()
            size, direction = _orthogonalise(w, right)
            right.append(direction)
            spent |= size <= 1e-13 * matrix.amax((1, 2))  # all is found, the rest is round-off
            matrix[:, k, k + 1] = torch.where(spent, 0.0, size)
    finite = matrix.isfinite().flatten(1).all(1)
    values = torch.linalg.svdvals(torch.where(finite[:, None, None], matrix, 0.0))
    values = torch.where(finite[:, None], values, torch.nan)
    return values[:, -1], values[:, 0]


def sample_image(denoiser: Denoiser, noise: Tensor, solver: Solver) -> Tensor:
    """The image as a differentiable function of the noise, without checks."""
    y, outputs = noise * solver.scale, []
    rows = torch.arange(len(noise), device=noise.device)
    for i in range(solver.steps):
        outputs.append(solver.output(denoiser, y, torch.full_like(rows, i), rows))
        y = solver.step(i, y, outputs)
    return y


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-300)


def _orthogonalise(x: Tensor, basis: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Norm and direction of x without its parts along the basis."""
    for _ in range(2):
        for b in basis:
            x = x - (x * b).sum(1, keepdim=True) * b
    return x.norm(dim=1), _unit(x)
