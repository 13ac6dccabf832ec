"""What an edit should have made: the embedded data set renders it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..portraits.render import (
    GARMENT_COLORS,
    GARMENTS,
    HAIR_COLORS,
    HAIR_STYLES,
    HILLS,
    MOODS,
    ORBS,
    SKIES,
    Portrait,
    random_portrait,
    render,
)


@dataclass(frozen=True)
class Counterfactuals:
    """Pictures, what they would be with another prompt, and where the two differ.

    Attributes:
        source: pictures of the first prompts, uint8 ``[B, 3, H, W]``.
        target: the same people with what the second prompts say, uint8 ``[B, 3, H, W]``.
        mask: where the two differ, bool ``[B, 1, H, W]``; elsewhere they agree in every bit.
        portraits: the attributes of the pictures.
        edited: the attributes of the counterfactual pictures.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    portraits: tuple[Portrait, ...]
    edited: tuple[Portrait, ...]


def counterfactuals(
    prompts: Sequence[str], edits: Sequence[str], *, seed: int = 0, size: int = 64
) -> Counterfactuals:
    r"""Render pairs of pictures that differ in what their prompts say, and in nothing else.

    .. math:: x = R(\text{prompt}, u), \qquad x^c = R(\text{edit}, u), \qquad
              M = [\,x \neq x^c\,]

    with everything that a prompt does not say - skin, eyes, terrain, jitter - in u.

    Args:
        prompts: prompts as :func:`invlib.portraits.caption` writes them, B of them.
        edits: what each of them is changed to.
        seed: u of pair i is drawn from ``seed + i``.
        size: height and width in pixels.

    Raises:
        ValueError: if a prompt is not one of the portraits', or nothing is changed.
    """
    if len(prompts) != len(edits) or not prompts:
        raise ValueError(f"{len(prompts)} prompts and {len(edits)} edits: give one edit a prompt")
    pairs = []
    for i, (prompt, edited) in enumerate(zip(prompts, edits, strict=True)):
        person = random_portrait(random.Random(seed + i))
        pairs.append((described(prompt, person), described(edited, person)))
        if pairs[-1][0] == pairs[-1][1]:
            raise ValueError(f"the edit says the same as the prompt {prompt!r}")
    first, second = zip(*pairs, strict=True)
    source, target = _pictures(first, size), _pictures(second, size)
    mask = (source != target).any(1, keepdim=True)
    return Counterfactuals(source, target, mask, first, second)


def described(prompt: str, person: Portrait) -> Portrait:
    """A portrait changed to what a prompt says; what it does not say stays.

    Raises:
        ValueError: if the prompt is not one that :func:`invlib.portraits.caption` writes.
    """
    match = _GRAMMAR.fullmatch(prompt.strip())
    if match is None:
        raise ValueError(
            f"{prompt!r} is not a prompt of the portraits; write 'a <mood> person with "
            "<color> <hair>, <color> <garment>, <hills>, <sky>[, <orb>]'"
        )
    said: dict[str, Any] = {**match.groupdict(), "beard": match["beard"] is not None}
    return replace(person, **said)


def _pictures(people: Iterable[Portrait], size: int) -> Tensor:
    return torch.from_numpy(np.stack([render(p, size) for p in people])).permute(0, 3, 1, 2)


def _one_of(name: str, words: Iterable[str | None]) -> str:
    return f"(?P<{name}>{'|'.join(re.escape(w) for w in words if w)})"


_GRAMMAR = re.compile(
    rf"an? {_one_of('mood', MOODS)} person with "
    rf"{_one_of('hair_color', HAIR_COLORS)} {_one_of('hair_style', HAIR_STYLES)}"
    rf"(?P<beard> and a beard)?, "
    rf"{_one_of('garment_color', GARMENT_COLORS)} {_one_of('garment', GARMENTS)}, "
    rf"{_one_of('hills', HILLS)}, {_one_of('sky', SKIES)}(?:, {_one_of('orb', ORBS)})?"
)
