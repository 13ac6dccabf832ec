"""Running a reversible sampler, to the image and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..denoisers import Denoiser, check_rows
from ..sampling import as_state
from .pair import Pair, ReversibleRun
from .shear import Reversible, Shear, predict_noise


def sample_reversible(
    denoiser: Denoiser, start: Tensor | Pair, sampler: Reversible
) -> ReversibleRun:
    r"""Make an image with a reversible sampler.

    .. math:: z_j \leftarrow k\,z_j + m\,z_{1-j} + c\,\epsilon(z_{1-j}, t)

    Args:
        denoiser: the network, guidance included; see :mod:`invlib.denoisers`.
        start: noise ``[B, ...]``, or the pair ``inversion.start``. The noise of an inverted image
            alone does not give back that image; the pair does.
        sampler: the table of :func:`edict`, :func:`bdia` or :func:`o_belm`.

    Returns:
        Both ends of the run, pairs of ``[B, ...]`` each.

    Raises:
        ValueError: if the start is not a finite batch, its parts or the conditions do not fit,
            the network fails at its first call, or the noise is not the first state, as it is
            not on a variance exploding grid.
    """
    z, calls = _slots(denoiser, start, "noise"), 0
    if not isinstance(start, Pair):
        if sampler.grid.scale != 1:
            raise ValueError(
                f"on this grid the first state is {sampler.grid.scale:g} times the noise: give "
                "that state, and its companion, as a Pair"
            )
        z, calls = _walk(denoiser, z, sampler, (sampler.opening,))
    end, more = _walk(denoiser, z, sampler, sampler.shears)
    nfe = torch.full((len(z[0]),), calls + more)
    ends = Pair(*z), _ordered(end, sampler.image)
    return ReversibleRun(*ends, nfe, isinstance(start, Pair), sampler.grid.scale)


def invert_reversible(denoiser: Denoiser, end: Tensor | Pair, sampler: Reversible) -> ReversibleRun:
    r"""Go back from an image by undoing a reversible sampler move by move.

    .. math:: z_j \leftarrow \bigl(z_j - m\,z_{1-j} - c\,\epsilon(z_{1-j}, t)\bigr) / k

    From the pair ``run.end`` this is the noise that made the image. **From the image alone it is
    not**: the companion has to be guessed (EDICT: a copy of the image; BDIA and O-BELM: one naive
    DDIM step), and the result is another pair at the noisy end, from which
    :func:`sample_reversible` makes the same image again.

    Args:
        denoiser: the network that made the image, guidance included.
        end: image ``[B, ...]``, or the pair that sampling ended in.
        sampler: the table that made it.

    Returns:
        Both ends of the run, pairs of ``[B, ...]`` each.

    Raises:
        ValueError: if the end is not a finite batch, its parts or the conditions do not fit, or
            the network fails at its first call.
    """
    with torch.no_grad():
        z, calls = _slots(denoiser, end, "image")[:: -1 if sampler.image else 1], 0
        if not isinstance(end, Pair):
            z, calls = _walk(denoiser, z, sampler, (sampler.closing,))
        start, more = _walk(denoiser, z, sampler, sampler.shears[::-1], back=True)
    nfe = torch.full((len(z[0]),), calls + more)
    ends = Pair(*start), _ordered(z, sampler.image)
    return ReversibleRun(*ends, nfe, isinstance(end, Pair), sampler.grid.scale)


def _walk(
    denoiser: Denoiser,
    z: list[Tensor],
    sampler: Reversible,
    shears: Sequence[Shear],
    *,
    back: bool = False,
) -> tuple[list[Tensor], int]:
    """Apply the shears in the given order, or undo them; also the number of network calls."""
    calls = 0
    for shear in shears:
        epsilon: Tensor | float = 0.0
        if shear.noise:
            epsilon = predict_noise(denoiser, z[1 - shear.target], sampler.grid, shear.node)
            if not calls and not torch.isfinite(epsilon).all():
                t = sampler.grid.t[shear.node].item()
                raise ValueError(f"the network's output is not finite at its first call, t = {t:g}")
            calls += 1
        z = shear.undo(z, epsilon) if back else shear.apply(z, epsilon)
    return z, calls


def _slots(denoiser: Denoiser, given: Tensor | Pair, name: str) -> list[Tensor]:
    """The given state and its companion, checked; without one, the state twice."""
    state = as_state(given.state if isinstance(given, Pair) else given, name)
    check_rows(denoiser, state, name)
    if not isinstance(given, Pair):
        return [state, state]
    companion = as_state(given.companion, f"the companion of the {name}")
    if companion.shape != state.shape:
        raise ValueError(f"a pair of {tuple(state.shape)} and {tuple(companion.shape)}")
    return [state, companion]


def _ordered(z: list[Tensor], first: int) -> Pair:
    return Pair(z[first], z[1 - first])
