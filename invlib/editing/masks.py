"""Masks between pixels and latents, and errors inside and outside them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..metrics import nmse


def latent_mask(mask: Tensor, size: tuple[int, int], *, grow: int = 0) -> Tensor:
    r"""The latents that a mask of pixels touches.

    .. math:: M_{kl} = \max_{(p, q)\,\in\,\text{block}(k, l)} \mathrm{mask}_{pq}

    Args:
        mask: mask of pixels, bool or in [0, 1], ``[B, 1, H, W]``.
        size: height and width of the latents; they must divide those of the pixels.
        grow: latents by which the mask is made larger on all sides.

    Returns:
        Mask of latents, float64 ``[B, 1, h, w]``.

    Raises:
        ValueError: if the shape or the sizes do not fit.
    """
    _check(mask)
    if mask.shape[2] % size[0] or mask.shape[3] % size[1]:
        raise ValueError(f"a mask of {tuple(mask.shape[2:])} pixels for {size} latents")
    return dilate(functional.adaptive_max_pool2d(mask.double(), size), grow)


def pixel_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of masked latents; a decoder changes a rim around them, too.

    Args:
        mask: mask of latents, ``[B, 1, h, w]``.
        size: height and width of the picture, multiples of those of the latents.

    Returns:
        Mask of pixels, float64 ``[B, 1, H, W]``.

    Raises:
        ValueError: if the shape or the sizes do not fit.
    """
    _check(mask)
    if size[0] % mask.shape[2] or size[1] % mask.shape[3]:
        raise ValueError(f"a mask of {tuple(mask.shape[2:])} latents for {size} pixels")
    return functional.interpolate(mask.double(), size=size, mode="nearest")


def dilate(mask: Tensor, grow: int) -> Tensor:
    """A mask ``[B, 1, h, w]`` made larger by ``grow`` on all sides.

    Raises:
        ValueError: if ``grow`` is negative.
    """
    if grow < 0:
        raise ValueError(f"grow must not be negative, got {grow}")
    return functional.max_pool2d(mask.double(), 2 * grow + 1, stride=1, padding=grow)


def background_nmse(edited: Tensor, original: Tensor, mask: Tensor) -> Tensor:
    r"""How much an edit changed what it should have kept.

    .. math:: \frac{\|(1 - M)(x - x^*)\|^2}{\|(1 - M)\,x^*\|^2}

    Args:
        edited: edited pictures or latents x, ``[B, ...]``; as in the paper, pictures in [0, 1].
        original: original ones :math:`x^*`, of the same shape.
        mask: where the edit was allowed, of the same number of dimensions.

    Returns:
        One number for each picture, ``[B]``.

    Raises:
        ValueError: if shapes differ or a picture has no background.
    """
    return _masked(edited, original, 1 - mask.double(), "background")


def edit_nmse(edited: Tensor, counterfactual: Tensor, mask: Tensor) -> Tensor:
    r"""How far an edit is from what it should have been.

    .. math:: \frac{\|M(x - x^c)\|^2}{\|M\,x^c\|^2}

    Args:
        edited: edited pictures x in [0, 1], ``[B, ...]``.
        counterfactual: what they should show :math:`x^c`; see :func:`counterfactuals`.
        mask: where the two prompts differ, of the same number of dimensions.

    Returns:
        One number for each picture, ``[B]``.

    Raises:
        ValueError: if shapes differ or a mask is empty.
    """
    return _masked(edited, counterfactual, mask.double(), "edited region")


def _masked(estimate: Tensor, truth: Tensor, weight: Tensor, name: str) -> Tensor:
    if weight.ndim != truth.ndim:
        raise ValueError(f"mask {tuple(weight.shape)} for pictures {tuple(truth.shape)}")
    kept = weight * truth
    if not kept.flatten(1).any(1).all():
        raise ValueError(f"a picture has no {name}: the mask leaves nothing to compare")
    return nmse(weight * estimate, kept)


def _check(mask: Tensor) -> None:
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"a mask must be [B, 1, height, width], got {tuple(mask.shape)}")
    if torch.isnan(mask.double()).any():
        raise ValueError("the mask contains NaN")
