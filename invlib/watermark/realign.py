"""Looking for the place of a picture that was cropped and resized, without looking at keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..autoencoder import Box, NoEncoder
from .error_model import ErrorModel
from .messages import with_messages
from .placements import Placement, search
from .posterior import whose
from .ratios import Key
from .scene import Scene, pixels_of
from .unlisted import Finding, density, fits, mixed, weights


def size_note(read: Scene, picture: Any) -> str:
    """What was done to pictures of another size than the call makes; nothing for others.

    Args:
        read: the call.
        picture: the pictures.
    """
    pixels = pixels_of(picture)
    (height, width), (h, w) = pixels.shape[-2:], read.shape[-2:]
    if pixels.ndim != 4 or (height, width) == (h, w):
        return ""
    how = "resized" if height * w == width * h else "stretched, which changes its aspect ratio,"
    return (
        f"a picture of {height} x {width} pixels was {how} to the {h} x {w} that the call makes: "
        "give the picture as it was made, neither cropped nor resized, if there is one"
    )


def movable(read: Scene, picture: Any) -> bool:
    """Whether these are pictures, of which a place can be looked for; clips are not.

    Args:
        read: the call.
        picture: the pictures.
    """
    return pixels_of(picture).ndim == 4 and len(read.shape) == 4


def places(
    read: Scene, picture: Any, errors: ErrorModel
) -> tuple[list[list[Placement]], list[Tensor]]:
    """Where pictures fit best, and what is recovered of them there.

    To look for a place takes the encoder and naive inversion, one for each place: with S steps some
    S evaluations of the network each, and up to 64 places and 26 for every halving of the spacing.
    The best places are then inverted as the options say.

    Args:
        read: the call.
        picture: the pictures.
        errors: the measured errors.

    Returns:
        Places, the best first, one for each picture; and the recovered noises.
    """
    pixels = pixels_of(picture)
    made = (read.shape[-2], read.shape[-1])
    cheap = _cheap(read, picture)

    def recovered(scene: Scene, where: Sequence[Placement]) -> Tensor:
        put = torch.cat([p.put(pixels[[b]], made) for b, p in enumerate(where)])
        return scene.recover(scene.states(scene.fitted(put)))

    def score(where: Sequence[Placement]) -> list[float]:
        y = recovered(cheap, where)
        each = torch.stack([density(transfer, y) for transfer in errors.transfers.values()])
        return [float(e) for e in each.logsumexp(0)]

    cell = max(made[0] // read.planes.shape[2], 1)
    found = search(score, len(pixels), (pixels.shape[-2], pixels.shape[-1]), made, cell)
    return found, [recovered(read, where) for where in found]


def looked_again(
    read: Scene,
    picture: Any,
    views: Mapping[str, Tensor],
    keys: Mapping[str, Key] | Sequence[Key],
    errors: ErrorModel,
    *,
    none: float,
    sure: float,
    realign: bool | None,
) -> Finding:
    """The posterior when pictures may have been moved, or changed in a way that is in no list.

    Args:
        read: the call.
        picture: the pictures.
        views: what was recovered of them as they are, for every passage.
        keys: the keys.
        errors: the measured errors.
        none: prior probability that there is no key.
        sure: posterior probability from which a decision is made.
        realign: whether to look for the places of the pictures; None to do so if they are of
            another size than the call makes.
    """
    listed = whose(views, keys, errors, none=none, sure=sure)  # it refuses what cannot be asked
    note = size_note(read, picture)
    asked = bool(note) and movable(read, picture) if realign is None else realign
    where, moved = places(read, picture, errors) if asked else ([], [])
    each = [whose(dict.fromkeys(views, y), keys, errors, none=none, sure=sure) for y in moved]
    share = weights(fits(errors, views), moved=asked or bool(note))
    found, best = mixed(listed, each, [[str(p) for p in some] for some in where], share, none)
    seen = {
        name: torch.stack([([y, *moved, y][int(i)])[b] for b, i in enumerate(best)])
        for name, y in views.items()
    }
    if listed.payload is not None:
        found = replace(found, payload=whose(seen, keys, errors, none=none, sure=sure).payload)
    looked = "; its place in a picture of that size was looked for, too" if asked else ""
    notes = (note + looked,) if note else ()
    return with_messages(Finding(**vars(found), notes=notes), seen, keys, errors)


def _cheap(read: Scene, picture: Any) -> Scene:
    """The call inverted naively, and by the encoder where there is one."""
    quick = replace(read.options, method="naive")
    if read.autoencoder is not None:
        try:
            read.autoencoder.encode(Box.of(read.fitted(picture)).center)
            quick = replace(quick, decoder="encoder")
        except NoEncoder:
            pass
    return replace(read, options=quick)
