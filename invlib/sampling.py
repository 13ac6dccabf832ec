"""Sampling: from noise to image, by reading a solver's table forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .denoisers import Denoiser, check_rows, differences
from .devices import beside, lifted
from .room import Parts, joined
from .solvers import Solver


@dataclass(frozen=True)
class Trajectory:
    """Everything a sampler passed through.

    Attributes:
        states: y_0 (scaled noise) ... y_n (image), float64 ``[n+1, B, ...]``.
        outputs: network outputs m_0 ... m_{n-1}, ``[n, B, ...]``.
        nfe: network evaluations that each sample paid for, ``[B]``.
        scale: y_0 is ``scale`` times the noise.
    """

    states: Tensor
    outputs: Tensor
    nfe: Tensor
    scale: float

    @property
    def noise(self) -> Tensor:
        """The noise, ``[B, ...]``."""
        return self.states[0] / self.scale

    @property
    def image(self) -> Tensor:
        """The image (or latent) at the end, ``[B, ...]``."""
        return self.states[-1]


def sample(
    denoiser: Denoiser, noise: Tensor, solver: Solver, *, max_batch: int | None = None
) -> Trajectory:
    r"""Run a deterministic sampler.

    .. math:: y_{i+1} = a_i\,y_i + \sum_{j \le i} b_{ij}\,m(y_j, t_j)

    Args:
        denoiser: the network; see :mod:`invlib.denoisers`.
        noise: starting noise, ``[B, ...]``; cast to float64, on the CPU if its device has none
            (see :func:`invlib.devices.on_device`).
        solver: the sampler's table.
        max_batch: most states in one network call; by default as many as a share of the free
            memory has room for (see :mod:`invlib.room`).

    Raises:
        ValueError: if the noise or the network's output is not finite, shapes do not fit, or the
            network does not say what it predicts.

    Example:
        A plain function as the network, which predicts the noise:

        >>> import invlib
        >>> network = invlib.predicting(lambda x, t: 0.9 * torch.tanh(x), "epsilon")
        >>> solver = invlib.dpm_solver_pp_2m(invlib.Schedule.scaled_linear().grid(10))
        >>> made = sample(network, torch.tensor([[1.0, -2.0]]), solver)
        >>> made.states.shape, made.nfe.tolist()
        (torch.Size([11, 1, 2]), [10])
    """
    y = as_state(noise, "noise") * solver.scale
    denoiser = beside(denoiser, noise)
    check_rows(denoiser, y, "noise")
    rows = torch.arange(len(y), device=y.device)

    parts = Parts(max_batch, differences(denoiser) is not None)

    def output(y: Tensor, i: int) -> Tensor:
        call = partial(solver.output, denoiser)
        m = joined(parts.map(call, y, torch.full_like(rows, i), rows))
        if m.shape != y.shape:
            raise ValueError(f"the network returned {tuple(m.shape)} for states {tuple(y.shape)}")
        if not torch.isfinite(m).all():
            raise ValueError(
                f"the network's output is not finite at step {i} (t = {solver.t[i]:g})"
            )
        return m

    states, outputs = [y], []
    for _, m, after in steps(solver, output, y):
        outputs.append(m)
        states.append(after)
    nfe = torch.full((len(y),), solver.steps)
    return Trajectory(torch.stack(states), torch.stack(outputs), nfe, solver.scale)


def steps(
    solver: Solver, output: Callable[[Tensor, int], Tensor], y: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The loop of every sampler: state, output and next state of each step.

    Args:
        solver: the sampler's table.
        output: the network, ``(y_i, i) -> m_i``.
        y: the first state, ``[B, ...]``.
    """
    outputs: list[Tensor] = []
    for i in range(solver.steps):
        outputs.append(output(y, i))
        after = solver.step(i, y, outputs)
        yield y, outputs[-1], after
        y = after


def as_state(x: Tensor, name: str) -> Tensor:
    """Check a batch of states and cast it to float64, on the CPU if its device has none.

    Raises:
        ValueError: if it is not a finite floating-point batch.
    """
    if not x.is_floating_point() or x.ndim < 2:
        raise ValueError(f"{name} must be a floating-point batch [B, ...], got {x.dtype} {x.shape}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} contains NaN or infinity")
    return lifted(x)
