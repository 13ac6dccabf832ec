"""Where an edit may act: a given mask, or one from what the two prompts say of the picture."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..affine import ElementwiseMap
from ..autoencoder import Autoencoder
from ..denoisers import Denoiser, convert, evaluated, prediction_of
from ..solvers import Solver

LOOKS = 5  # nodes at which two prompts are compared


def given_region(mask: Any, shape: tuple[int, ...]) -> Tensor:
    """A mask in any form as the pixels that may change.

    Args:
        mask: a PIL image, an array or a tensor of one picture's size, with or without axes for
            the batch and for one colour; bool, or white (at least half of the range) where the
            edit is allowed. Pictures of 16 bits or floats are taken as such, and no picture may
            be transparent.
        shape: shape of the pictures, ``[B, C, H, W]``.

    Returns:
        bool ``[B, 1, H, W]``.

    Raises:
        TypeError: if it is no mask.
        ValueError: if its shape or its values do not fit, or nothing or all may change.
    """
    if hasattr(mask, "getbands"):  # PIL
        mask = _levels(mask)
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(np.ascontiguousarray(mask))
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"a mask is a PIL image, an array or a tensor, not {type(mask).__name__}; words of the "
            "prompt or None find one"
        )
    if mask.ndim > 2 and mask.shape[-1] == 1 and shape[-1] != 1:
        mask = mask[..., 0]
    count, (height, width) = shape[0], shape[-2:]
    if mask.shape[-2:] != (height, width) or mask.numel() not in (
        height * width,
        count * height * width,
    ):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} for {count} pictures of {height} x {width}: give "
            "one value for each pixel"
        )
    values = mask.reshape(-1, 1, height, width).double()
    if not ((values >= 0) & (values <= (255 if mask.dtype == torch.uint8 else 1))).all():
        raise ValueError("a mask is bool, 8-bit, or from 0 to 1, without NaN")
    whole = 255 if mask.dtype == torch.uint8 and values.max() > 1 else 1
    return checked(2 * values >= whole).expand(count, -1, -1, -1)


def _levels(mask: Any) -> np.ndarray:
    """The grey levels of a PIL image: 8-bit, or from 0 to 1."""
    if mask.mode == "F":
        return np.array(mask)
    if mask.mode.startswith("I;16"):
        return np.array(mask) / 65535
    if mask.mode == "I" or "A" in mask.getbands() or "transparency" in mask.info:
        raise ValueError(
            f"a mask of mode {mask.mode}: convert it to one that says by its grey levels alone "
            "where the edit is allowed, such as L"
        )
    return np.array(mask.convert("L"))


def checked(region: Tensor) -> Tensor:
    """The same region.

    Raises:
        ValueError: if it is empty, or all of a picture.
    """
    if not region.flatten(1).any(1).all():
        raise ValueError("the mask is empty: nothing may change")
    if region.flatten(1).all(1).any():
        raise ValueError("the mask is all of the picture: nothing is left to keep")
    return region


def otsu(values: Tensor) -> Tensor:
    r"""The threshold that parts the values of each sample best into two classes.

    .. math:: \tau = \arg\max_\tau\ w_0(\tau)\,w_1(\tau)\,\bigl(\mu_0(\tau) - \mu_1(\tau)\bigr)^2

    with the shares :math:`w` and means :math:`\mu` of the values below and above.

    Args:
        values: ``[B, ...]``.

    Returns:
        One threshold a sample, ``[B, 1, ...]``.

    Source: Otsu, IEEE Transactions on Systems, Man and Cybernetics, 1979.
    """
    v = values.flatten(1).double().sort(1).values
    total, count = v.cumsum(1), v.shape[1]
    below = torch.arange(1, count, device=v.device)
    mean_below = total[:, :-1] / below
    mean_above = (total[:, -1:] - total[:, :-1]) / (count - below)
    between = below * (count - below) * (mean_below - mean_above).square()
    best = between.argmax(1, keepdim=True)
    middle = (v.gather(1, best) + v.gather(1, best + 1)) / 2
    return middle.view(-1, *[1] * (values.ndim - 1))


def differences(
    old: Denoiser,
    new: Denoiser,
    states: Tensor,
    solver: Solver,
    autoencoder: Autoencoder | None,
    *,
    nodes: Collection[int] | None = None,
) -> Tensor:
    r"""How differently two prompts would paint each pixel, along a trajectory.

    .. math:: d_p = \Bigl(\operatorname{mean}_{i,\,\text{window}}
              \bigl\|D(\hat x_{c'}(y_i)) - D(\hat x_c(y_i))\bigr\|_p\Bigr)^{1/2}

    with the pictures :math:`\hat x` that the network predicts. Decoded, differences have the
    resolution of pixels; the window is as large as a latent, and the root makes the spread of
    large and of small ones alike, so that one threshold (:func:`otsu`) parts them.

    Args:
        old: the network with the prompt of the original.
        new: the network with the new prompt.
        states: y_0 ... y_n, ``[n+1, B, ...]``.
        solver: the sampler's table.
        autoencoder: what decodes; None where states are pixels.
        nodes: states to look at, from 0 to n-1; by default five to nine of them, evenly spread.

    Returns:
        float64 ``[B, 1, H, W]``.

    Source: after Couairon et al., ICLR 2023, who compare predictions of noise at one level.
    """
    steps = solver.steps
    chosen = range(0, steps, max(1, steps // LOOKS)) if nodes is None else nodes
    total: Tensor | None = None
    for i in chosen:
        one, other = (_foreseen(d, i, states, solver, autoencoder) for d in (old, new))
        gap = (other - one).square().sum(1, keepdim=True).sqrt()
        total = gap if total is None else total + gap
    if total is None:
        raise ValueError("no nodes to look at")
    shrink = 1 if autoencoder is None else total.shape[-1] // code_shape(autoencoder)[-1]
    return _smoothed(total / len(chosen), (shrink - 1) // 2).sqrt()


def _foreseen(
    denoiser: Denoiser, i: int, states: Tensor, solver: Solver, autoencoder: Autoencoder | None
) -> Tensor:
    """The picture that a network predicts at state i, clamped to [-1, 1]."""
    y = states[i]
    rows = len(y)
    output = evaluated(lambda x: denoiser(x, solver.t[i].to(x).expand(rows)), y)
    alpha, sigma = (v[i].to(y).expand(rows) for v in (solver.alpha, solver.sigma))
    kind = prediction_of(denoiser)
    code = convert(output.to(y), y, alpha, sigma, kind, "sample")
    code = code[0] if autoencoder is not None and joined(autoencoder, code) else code
    return (code if autoencoder is None else autoencoder.decode(code)).clamp(-1, 1)


def joined(autoencoder: Autoencoder, code: Tensor) -> bool:
    """Whether latents have one more axis: the rows of the batch are one sample."""
    reads = autoencoder.to_decoder
    return reads is not None and code.ndim == len(reads.in_shape) + 1


def code_shape(autoencoder: Autoencoder) -> tuple[int, ...]:
    """Shape of what the decoder takes, ``[B, c, h, w]``.

    Raises:
        ValueError: if it is not known.
    """
    if autoencoder.to_decoder is None:
        raise ValueError("the shape of the latents is not known: read the decoder of a pipeline")
    return autoencoder.to_decoder.out_shape


def on_states(mask: Tensor, reads: ElementwiseMap) -> Tensor:
    """A mask of what the decoder takes as one of the states, whatever the pipeline does between.

    Args:
        mask: ``[B, 1, h, w]`` for the decoder's ``[B, c, h, w]``.
        reads: from the last state to the decoder.

    Returns:
        Of the shape of the state; what the decoder does not read is 0.
    """
    whole = mask.expand(reads.out_shape).reshape(-1)
    nothing = whole.new_zeros(len(reads.readers))
    return nothing.scatter_reduce(0, reads.source.to(whole.device), whole, "amax").view(
        reads.in_shape
    )


def _smoothed(values: Tensor, radius: int) -> Tensor:
    """The mean of a window around every pixel."""
    if radius < 1:
        return values
    padded = functional.pad(values, [radius] * 4, mode="replicate")
    return functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
