"""Where a picture that was cropped and resized stands in the one that a call made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from .passages import resized

LEAST = 0.75  # part of the sides down to which crops are looked for
COARSE = 64  # places on the first grid, at most
KEPT = 3  # places that are looked at closely

Size = tuple[int, int]


@dataclass(frozen=True, order=True)
class Placement:
    """A place of a picture in a larger one, in pixels of the larger one.

    Attributes:
        height: height of the picture there.
        width: width of the picture there.
        top: rows above it.
        left: columns on its left.
    """

    height: int
    width: int
    top: int
    left: int

    def __str__(self) -> str:
        return f"crop to {self.height} x {self.width} at ({self.top}, {self.left})"

    def put(self, pictures: Tensor, size: Size) -> Tensor:
        """Pictures in their place; their edges fill the rest.

        Args:
            pictures: uint8 ``[B, C, H, W]`` of any size.
            size: height and width of what the call makes.
        """
        inner = (self.height, self.width)
        same = tuple(pictures.shape[-2:]) == inner
        small = pictures if same else resized(pictures, size=inner)
        below, right = size[0] - self.top - self.height, size[1] - self.left - self.width
        around = (self.left, right, self.top, below)
        return torch.nn.functional.pad(small.double(), around, mode="replicate").to(torch.uint8)


def coarse(own: Size, made: Size, cell: int) -> tuple[list[Placement], int]:
    """A grid over sizes and places with the picture's own aspect ratio, and its spacing.

    Args:
        own: height and width of the picture.
        made: height and width of what the call makes.
        cell: pixels to a value of the noise, the finest spacing of the grid.

    Returns:
        ``COARSE`` places or fewer, and for a picture that is smaller than what the call makes, its
        places without resizing; the spacing in pixels.
    """
    largest = min(made[0], made[1] * own[0] // own[1])
    spacing, places = 0, list[Placement]()
    while not spacing or len(places) > COARSE:
        spacing += cell
        heights = range(largest, max(int(LEAST * largest), 1) - 1, -spacing)
        sizes = [_like(own, height) for height in heights]
        if own[0] <= made[0] and own[1] <= made[1]:
            sizes.append(own)
        places = [
            Placement(*size, top, left)
            for size in dict.fromkeys(sizes)
            if min(size) > 0 and size[1] <= made[1]
            for top in _spread(made[0] - size[0], spacing)
            for left in _spread(made[1] - size[1], spacing)
        ]
    return places, spacing


def near(place: Placement, own: Size, made: Size, step: int) -> list[Placement]:
    """The neighbours of a place in size and position, one step away.

    Args:
        place: the place.
        own: height and width of the picture.
        made: height and width of what the call makes.
        step: pixels.
    """
    found = []
    for taller, lower, righter in product((-step, 0, step), repeat=3):
        size = _like(own, place.height + taller) if taller else (place.height, place.width)
        top, left = place.top + lower, place.left + righter
        if min(*size, top + 1, left + 1) > 0 and top + size[0] <= made[0]:
            if left + size[1] <= made[1]:
                found.append(Placement(*size, top, left))
    return found


def search(
    score: Callable[[Sequence[Placement]], Sequence[float]],
    rows: int,
    own: Size,
    made: Size,
    cell: int,
) -> list[list[Placement]]:
    """The places of the highest scores, from coarse to fine.

    The grid of ``coarse`` comes first; then, from the best place of each picture on, its
    neighbours, while the spacing is halved down to a quarter of a cell: at most 26 calls a round.

    Args:
        score: how well each picture fits into its place; it must not look at keys.
        rows: B, the pictures.
        own: their height and width.
        made: height and width of what the call makes.
        cell: pixels to a value of the noise.

    Returns:
        The ``KEPT`` best places of each picture or fewer, the best first: lists of B places.
    """
    first, step = coarse(own, made, cell)
    todo = [first] * rows
    seen: list[dict[Placement, float]] = [{} for _ in range(rows)]
    while any(todo):
        for i in range(max(map(len, todo))):
            places = [t[i] if i < len(t) else first[0] for t in todo]
            for known, place, value in zip(seen, places, score(places), strict=True):
                known[place] = value
        best = [max(known, key=known.__getitem__) for known in seen]
        todo = [[]]
        while not any(todo) and (step := step // 2) >= max(cell // 4, 1):
            around = [near(place, own, made, step) for place in best]
            todo = [[p for p in a if p not in k] for a, k in zip(around, seen, strict=True)]
    ranked = [sorted(known, key=known.__getitem__, reverse=True)[:KEPT] for known in seen]
    return [list(places) for places in zip(*ranked, strict=False)]


def _like(own: Size, height: int) -> Size:
    """A size of this height and the picture's aspect ratio."""
    return height, round(height * own[1] / own[0])


def _spread(room: int, spacing: int) -> list[int]:
    """Offsets from 0 to ``room``, both with them, that are ``spacing`` or less apart."""
    count = -(-room // spacing)
    return [round(i * room / count) for i in range(count + 1)] if count else [0]
