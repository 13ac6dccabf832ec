"""Cheaper scores of a candidate, to see what the likelihood adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..inverters.naive import naive
from ..metrics import nmse
from ..room import Parts
from ..singular import sample_image
from .problem import Problem


@dataclass(frozen=True)
class Scores:
    r"""What can be said of a candidate without a derivative, ``[B]`` each.

    Attributes:
        norm: :math:`\|z\|^2/D`; 1 for noise that was drawn, within :math:`\sqrt{2/D}`.
        whiteness: root mean square of the standardised correlations of neighbouring numbers,
            along every axis; about 1 for white noise.
        naive: NMSE of the round trip of naive inversion; NaN where it was not asked for.
    """

    norm: Tensor
    whiteness: Tensor
    naive: Tensor

    @property
    def surprise(self) -> Tensor:
        r"""How far the norm is from that of noise, :math:`|\|z\|^2 - D|/D`, ``[B]``."""
        return (self.norm - 1).abs()


def scores(problem: Problem, noise: Tensor, *, trip: bool = True) -> tuple[Scores, int]:
    """The scores of a noise, and the evaluations of the network that a sample paid for.

    Args:
        problem: the candidate.
        noise: the noise that was found, ``[B, ...]``; NaN where none was.
        trip: whether to make the round trip of naive inversion.
    """
    norm = noise.flatten(1).square().mean(1)
    error, cost = torch.full_like(norm, torch.nan), 0
    if trip:
        most = problem.max_batch
        rough = naive(problem.denoiser, problem.image, problem.solver, max_batch=most)
        with torch.no_grad():
            again = sample_image(problem.denoiser, rough.noise, problem.solver, Parts(most))
        error = nmse(again, problem.image).nan_to_num(torch.inf)
        cost = int(rough.nfe.max()) + problem.solver.steps
    return Scores(norm, whiteness(noise), error), cost


def whiteness(noise: Tensor) -> Tensor:
    r"""How correlated neighbours are, ``[B]``; about 1 if they are not.

    .. math:: \sqrt{\frac1A \sum_a n_a r_a^2}, \qquad
              r_a = \frac{\overline{z_k z_{k+1}}}{\overline{z_k^2}}
              \text{ over the } n_a \text{ pairs of neighbours along axis } a

    Args:
        noise: ``[B, ...]``; axes of length 1 do not count.
    """
    square = noise.flatten(1).square().mean(1)
    found = []
    for axis in range(1, noise.ndim):
        length = noise.shape[axis]
        if length > 1:
            pairs = noise.narrow(axis, 0, length - 1) * noise.narrow(axis, 1, length - 1)
            found.append(pairs[0].numel() * (pairs.flatten(1).mean(1) / square).square())
    return torch.stack(found).mean(0).sqrt() if found else torch.full_like(square, torch.nan)
