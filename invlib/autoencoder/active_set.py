"""Into the box by a dense Newton method: latents that decode to the very same 8-bit image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..watch import count, enter, observe, samples, stopped
from ..words import Reason
from .box import Box
from .inversion import DecoderInversion, decoder_inverter, judge
from .model import Autoencoder, jacobian_columns
from .quasi_newton import quasi_newton

LARGEST = 2**28  # numbers in a Jacobian


@decoder_inverter
def active_set(
    autoencoder: Autoencoder,
    box: Box,
    *,
    start: Tensor | None = None,
    margin: float = 0.02,
    ridge: float = 1e-8,
    jacobians: int = 2,
    steps: int = 4,
) -> DecoderInversion:
    r"""Move latents into the box, as little as possible, with the whole Jacobian of the decoder.

    .. math:: \min_d\ \tfrac12\,\mathrm{dist}\bigl(D(z) + J d,\ B_x\bigr)^2
              + \tfrac\mu2\,\|z + d - z_0\|^2

    Where the decoder is nearly blind, methods with products of J only need very many of them. The
    linear problem is solved by Newton's method on the values outside the box (its *active set*),
    then the decoder is evaluated again, and its Jacobian if that was not enough. For small
    autoencoders: J has as many rows as the picture has values, and a column for every latent.

    Args:
        autoencoder: the autoencoder; its decoder must allow forward-mode AD.
        box: the images.
        start: first latents :math:`z_0`, near the box; by default those of
            :func:`quasi_newton` after 240 iterations.
        margin: part of the half width by which the box is made smaller.
        ridge: :math:`\mu`.
        jacobians: most Jacobians of an image.
        steps: most evaluations of the decoder with the same Jacobian.

    Raises:
        ValueError: if the Jacobian would be too large.
    """
    evaluations, note = torch.zeros(len(box), dtype=torch.long), ""
    if start is None:
        first = quasi_newton(autoencoder, box, iterations=240, memory=40)
        start, evaluations, note = first.latents, first.evaluations, first.note
    numbers = start[0].numel() * box.center[0].numel()
    if numbers > LARGEST:
        raise ValueError(
            f"the Jacobian of this decoder has {numbers:.1e} numbers, more than {LARGEST:.1e}; "
            "use quasi_newton"
        )
    found, paid, reason = [], [], list[Reason]()
    for i in range(len(box)):
        z, spent = start[i : i + 1], 0
        if not stopped():
            enter("active_set", i, len(box))
            row = torch.tensor([i], device=start.device)
            alone, part = autoencoder.rows(row, len(box)), box.rows(row)
            with samples([i]):
                z, spent = _enter(alone, part, z, margin, ridge, jacobians, steps)
        found.append(z)
        paid.append(spent)
        reason.append(stopped() or "budget")
    evaluations = evaluations + torch.tensor(paid)
    return judge(autoencoder, box, torch.cat(found), evaluations, tuple(reason), "active_set", note)


def _enter(
    autoencoder: Autoencoder,
    box: Box,
    start: Tensor,
    margin: float,
    ridge: float,
    jacobians: int,
    steps: int,
) -> tuple[Tensor, int]:
    """The latents of one image with the fewest values outside, and the evaluations they cost."""
    spent = 0

    def pay(evaluations: int) -> str | None:
        nonlocal spent
        spent += evaluations
        count({0: evaluations})
        away = box.excess(shown).norm() / begin
        return observe(away[None], solved=int(least == 1))

    best, shown = start, autoencoder.decode(start)
    least, begin = box.share_inside(shown).item(), box.excess(shown).norm().clamp(min=1e-300)
    why = pay(1)
    for _ in range(jacobians):
        if least == 1 or why:
            break
        z, picture, inside = best, shown, least
        jacobian = _jacobian(autoencoder, z, pay)
        if jacobian is None:
            break
        for _ in range(steps):
            pull = (z - start).flatten()
            z = z + _solve(box, picture, jacobian, pull, margin, ridge).view_as(z)
            picture = autoencoder.decode(z)
            before, inside = inside, box.share_inside(picture).item()
            if inside > least:
                best, shown, least = z, picture, inside
            why = pay(1)
            if inside == 1 or inside <= before or why:
                break
    return best, spent


def _jacobian(
    autoencoder: Autoencoder, z: Tensor, pay: Callable[[int], str | None]
) -> Tensor | None:
    """The Jacobian of the decoder; None if a watch ends the search before it is complete."""
    columns = []
    for part in jacobian_columns(autoencoder, z):
        columns.append(part)
        if pay(2 * part.shape[1]):
            return None
    return torch.cat(columns, 1)


def _solve(
    box: Box, picture: Tensor, jacobian: Tensor, pull: Tensor, margin: float, ridge: float
) -> Tensor:
    """The step d that minimises the linearised distance, by damped Newton steps."""
    eye = torch.eye(jacobian.shape[1]).to(jacobian)
    step = torch.zeros_like(pull)

    def excess(d: Tensor) -> Tensor:
        moved = picture + (jacobian @ d).view_as(picture)
        return box.excess(moved, margin=margin).flatten()

    def size(outside: Tensor, d: Tensor) -> Tensor:
        return (outside.square().sum() + ridge * (pull + d).square().sum()) / 2

    outside = excess(step)
    value = size(outside, step)
    for _ in range(60):
        active = jacobian[outside != 0]
        slope = jacobian.T @ outside + ridge * (pull + step)
        direction = -torch.linalg.solve(active.T @ active + ridge * eye, slope)
        length, decrease = 1.0, (direction @ slope).item()
        trial = excess(step + direction)
        while size(trial, step + length * direction) > value + 1e-4 * length * decrease:
            length /= 2
            if length < 1e-6:
                return step
            trial = excess(step + length * direction)
        step, outside = step + length * direction, trial
        before, value = value, size(outside, step)
        if value > before * (1 - 1e-6):
            break
    return step
