r"""Background-preserving editing: sample with a new prompt, keep the rest from the original.

**What a blend does to a multistep solver.** A sampler that remembers outputs is a one-step map of
the pair (state, remembered outputs), so a blend acts on both: where the mask is 0 the state *and*
its history become the original's. The original's outputs are not needed for that; its states
imply them,

.. math:: m^*_i = \frac{1}{b_{ii}} \Bigl(y^*_{i+1} - a_i y^*_i - \sum_{j<i} b_{ij} m^*_j\Bigr),

without a network evaluation, whatever method recovered the states. In a step every value of a
picture depends on its own history only, so with a mask of 0 and 1 that is applied at every node
the history plays no part; it does when blending stops early, or the mask is soft. A soft mask
compounds: after k blends the weight of the edit is :math:`M^k`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Protocol, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..sampling import as_state, sample
from ..solvers import Solver

FOREIGN = 1e-4  # relative; a table read from a scheduler agrees with its loop to 1e-6


class Recovered(Protocol):
    """A trajectory: a :class:`invlib.Trajectory` (the oracle), or an :class:`invlib.Inversion`."""

    @property
    def states(self) -> Tensor:
        """y_0 ... y_n, ``[n+1, B, ...]``."""
        ...

    @property
    def noise(self) -> Tensor:
        """The noise, ``[B, ...]``."""
        ...


class Found(Protocol):
    """What holds a trajectory: an :class:`invlib.ImageInversion`."""

    @property
    def inversion(self) -> Recovered:
        """The trajectory."""
        ...


def trajectory_of(original: Recovered | Found) -> Recovered:
    """The trajectory itself, of whatever holds one."""
    return cast(Recovered, getattr(original, "inversion", original))


@dataclass(frozen=True)
class Edit:
    """An edited image.

    Attributes:
        states: y_0 ... y_n after blending, float64 ``[n+1, B, ...]``.
        noise: what y_0 is the scaled version of, ``[B, ...]``.
        mask: where the edit is allowed, float64 ``[B or 1, ...]``.
        nodes: indices of the states that were blended.
        nfe: network evaluations that each sample paid for, ``[B]``; the trajectory not included.
    """

    states: Tensor
    noise: Tensor
    mask: Tensor
    nodes: tuple[int, ...]
    nfe: Tensor

    @property
    def image(self) -> Tensor:
        """The edited image (or latent), ``[B, ...]``."""
        return self.states[-1]


def edit(
    denoiser: Denoiser,
    original: Recovered | Found,
    solver: Solver,
    mask: Tensor,
    *,
    nodes: Collection[int] | None = None,
    noise: Tensor | None = None,
) -> Edit:
    r"""Sample with a new prompt inside a mask and keep the original outside it.

    .. math:: \tilde y_{i+1} = a_i\,y_i + \sum_{j \le i} b_{ij}\,m(y_j, t_j), \qquad
              y_{i+1} = M\,\tilde y_{i+1} + (1 - M)\,y^*_{i+1}

    With all nodes blended and a mask of 0 and 1, the background is the original's bit for bit at
    every node: its error is that of the trajectory. With fewer nodes it is so up to the last of
    them only, and from there on the network paints the background from what was recovered.

    Args:
        denoiser: the network with the new prompt, or :func:`invlib.editing.mixed`.
        original: trajectory of the original image under ``solver``, recovered or known; or the
            :class:`invlib.ImageInversion` that holds it.
        solver: the sampler's table; any order.
        mask: 1 where the edit is allowed, 0 where the original is kept; bool or float in [0, 1],
            one size for each of the states' dimensions (1: the same along it), for example
            ``[B, 1, h, w]``.
        nodes: states to blend, from 0 (noise) to n (image); by default all.
        noise: starting noise of the edit, ``[B, ...]``; by default the original's.

    Returns:
        The edit; :func:`invlib.editing.background_nmse` says what it did to the background.

    Raises:
        ValueError: if the mask or the nodes do not fit, the trajectory is not one of this solver,
            or anything is not finite.

    Source: blending as in Avrahami et al., CVPR 2022 and SIGGRAPH 2023, and Patashnik et al.,
    ICCV 2023, with the original's trajectory where they add noise to it or know it.
    """
    states = _trajectory(trajectory_of(original), solver)
    weight = _mask(mask, states[0])
    chosen = _nodes(nodes, solver.steps)
    y = states[0] if noise is None else as_state(noise, "noise") * solver.scale
    if y.shape != states[0].shape:
        raise ValueError(f"noise {tuple(y.shape)} for states {tuple(states[0].shape)}")
    outputs = None if solver.order_one else implied_outputs(solver, states)
    table = {f.name: getattr(solver, f.name) for f in fields(Solver)} | {"scale": 1.0}
    blending = _Blending(**table, mask=weight, nodes=chosen, states=states, outputs=outputs)
    with torch.no_grad():
        run = sample(denoiser, blending.blend(0, y), blending)
    return Edit(run.states, run.states[0] / solver.scale, weight, tuple(sorted(chosen)), run.nfe)


@dataclass(frozen=True)
class _Blending(Solver):
    """A sampler whose steps end in a blend: the remembered outputs are blended when they are used.

    Output j has been through the blends of the nodes j+1 ... i when step i uses it, c of them, so
    its weight is the mask to the power c.
    """

    mask: Tensor = torch.ones(())
    nodes: frozenset[int] = frozenset()
    states: Tensor = torch.zeros(())
    outputs: Tensor | None = None

    def step(self, i: int, y: Tensor, outputs: list[Tensor]) -> Tensor:
        """State i+1, blended, from state i and the outputs m_0 ... m_i."""
        if self.outputs is not None:
            outputs = [self._remembered(i, j, m, self.outputs[j]) for j, m in enumerate(outputs)]
        return self.blend(i + 1, super().step(i, y, outputs))

    def blend(self, i: int, y: Tensor) -> Tensor:
        """State i with the original outside the mask, if node i is one of those to blend."""
        return _mix(self.mask, y, self.states[i]) if i in self.nodes else y

    def _remembered(self, i: int, j: int, edited: Tensor, original: Tensor) -> Tensor:
        blends = sum(j < node <= i for node in self.nodes)
        return _mix(self.mask**blends, edited, original) if blends else edited


def implied_outputs(solver: Solver, states: Tensor) -> Tensor:
    r"""The network outputs that a trajectory's states imply, without a network evaluation.

    .. math:: m_i = \frac{1}{b_{ii}} \Bigl(y_{i+1} - a_i y_i - \sum_{j<i} b_{ij} m_j\Bigr)

    Args:
        solver: the sampler's table.
        states: y_0 ... y_n, ``[n+1, B, ...]``.

    Returns:
        m_0 ... m_{n-1}, ``[n, B, ...]``, in the solver's own kind of prediction.

    Raises:
        ValueError: if a step does not use the newest output, but a later one does.
    """
    outputs: list[Tensor] = []
    for i in range(solver.steps):
        newest = solver.b[i, i].item()
        if newest:
            rest = solver.step(i, states[i], [*outputs, torch.zeros_like(states[i])])
            outputs.append((states[i + 1] - rest) / newest)
        elif solver.b[i:, i].any():
            raise ValueError(f"step {i} of {solver.name} does not use its newest output")
        else:
            outputs.append(torch.zeros_like(states[i]))
    return torch.stack(outputs)


def _mix(weight: Tensor, edited: Tensor, original: Tensor) -> Tensor:
    return weight * edited + (1 - weight) * original  # exact where the weight is 0 or 1


def _trajectory(original: Recovered, solver: Solver) -> Tensor:
    """The states of a trajectory, checked against the solver as far as that costs nothing."""
    states, name = original.states, f"{solver.name} passes through {solver.steps + 1} states"
    if states.ndim < 3 or len(states) != solver.steps + 1:
        raise ValueError(
            f"{name}, but the trajectory has shape {tuple(states.shape)}; "
            "give one of the same solver, [n+1, B, ...]"
        )
    states = as_state(states, "the trajectory")
    if _differ(original.noise.to(states) * solver.scale, states[0]):
        raise ValueError(
            f"the trajectory does not start at {solver.scale:g} times its noise, as those of "
            f"{solver.name} do: it belongs to another solver"
        )
    outputs = getattr(original, "outputs", None)
    if isinstance(outputs, Tensor):
        for i in range(solver.steps):
            if _differ(solver.step(i, states[i], [*outputs[: i + 1]]), states[i + 1]):
                raise ValueError(
                    f"the trajectory does not follow step {i} of {solver.name}: "
                    "it belongs to another solver"
                )
    return states


def _differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > FOREIGN * b.abs().max())


def _mask(mask: Tensor, y: Tensor) -> Tensor:
    """The mask as weights that broadcast to a state."""
    fits = mask.ndim == y.ndim and all(
        m in (1, s) for m, s in zip(mask.shape, y.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"mask {tuple(mask.shape)} does not fit states {tuple(y.shape)}: every size must be "
            "the state's or 1 (see invlib.editing.latent_mask for a mask of pixels)"
        )
    weight = mask.to(y)
    if not ((weight >= 0) & (weight <= 1)).all():
        raise ValueError("the mask must lie in [0, 1] and contain no NaN")
    return weight


def _nodes(nodes: Collection[int] | None, steps: int) -> frozenset[int]:
    if nodes is None:
        return frozenset(range(steps + 1))
    wrong = [node for node in nodes if not 0 <= node <= steps]
    if wrong:
        raise ValueError(f"nodes must lie between 0 (noise) and {steps} (image), got {wrong}")
    return frozenset(nodes)
