"""The portraits that are edited, the renderer's masks, and what the edits should have made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, to_bytes
from ...editing import latent_mask
from ...metrics import nmse
from ...portraits import Portrait, difference_mask, held_out, render
from ...portraits.render import EYES, SKINS, TERRAINS
from ...sampling import Trajectory, sample
from ..models.problem import Problem

SAMPLER = "DDIM-50"
BLOCK = 2  # portraits of one cell
VARIANTS = 2  # edits of each
GROW = 1  # latents, the 3 x 3 dilation of local prompt mixing
EDITS = {  # what is changed: to the first colours that are not the portrait's own
    "hair_color": ("hair_style", ("blue", "blond", "red")),
    "garment_color": ("garment", ("blue", "red", "yellow")),
}


@dataclass(frozen=True)
class Scenes:
    """Portraits that the sampler drew, and the edits that are asked for.

    Attributes:
        problem: sampler, network and noise of B portraits.
        guidance: guidance scale.
        run: their true trajectories.
        autoencoder: the autoencoder.
        picture: the 8-bit pictures, ``[B, 3, H, W]``.
        fits: the rendered portraits that are most like them.
        attributes: what is edited of each.
        edited: the attributes of the edits, V for each portrait.
    """

    problem: Problem
    guidance: float
    run: Trajectory
    autoencoder: Autoencoder
    picture: Tensor
    fits: tuple[Portrait, ...]
    attributes: tuple[str, ...]
    edited: tuple[tuple[Portrait, ...], ...]

    @property
    def regions(self) -> Tensor:
        """Where the renderer changes something, bool ``[B, V, H, W]``."""
        size = self.picture.shape[-1]
        masks = [
            [torch.from_numpy(difference_mask(fit, other, size)) for other in others]
            for fit, others in zip(self.fits, self.edited, strict=True)
        ]
        return torch.stack([torch.stack(row) for row in masks])

    @property
    def masks(self) -> Tensor:
        """The latents that may change, ``[B, V, h, w]``."""
        height, width = self.run.image.shape[-2:]
        flat = latent_mask(self.regions.flatten(0, 1)[:, None], (height, width), grow=GROW)
        return flat.view(len(self.fits), -1, height, width)

    @property
    def words(self) -> list[str]:
        """The words of each prompt that are edited."""
        return [
            f"{getattr(fit, name)} {getattr(fit, EDITS[name][0])}"
            for fit, name in zip(self.fits, self.attributes, strict=True)
        ]


@lru_cache(1)
def scenes(first: int, guidance: float, profile: str) -> Scenes:
    """Draw held-out prompts; hair is edited in every second one, the garment in the others.

    Raises:
        ValueError: for other models than the embedded one, whose pictures nobody can render.
    """
    if profile != "tiny":
        raise ValueError(
            f"profile {profile}: only the embedded portraits have a renderer; use tiny"
        )
    problem = Problem.of(SAMPLER, guidance, first, BLOCK, profile)
    autoencoder = Autoencoder.of(problem.pipe.vae)
    with torch.no_grad():
        run = sample(problem.denoiser, problem.noise, problem.solver)
        picture = to_bytes(autoencoder.decode(run.image))
    people = held_out(first + BLOCK)[first:]
    fits = tuple(fitted(x, p) for x, p in zip(picture, people, strict=True))
    names = tuple([*EDITS][(first + i) % len(EDITS)] for i in range(BLOCK))
    edited = tuple(recolored(fit, name) for fit, name in zip(fits, names, strict=True))
    return Scenes(problem, guidance, run, autoencoder, picture, fits, names, edited)


def recolored(person: Portrait, attribute: str) -> tuple[Portrait, ...]:
    """The portrait in ``VARIANTS`` other colours of its hair or garment."""
    change: Any = replace
    others = [c for c in EDITS[attribute][1] if c != getattr(person, attribute)]
    return tuple(change(person, **{attribute: color}) for color in others[:VARIANTS])


def fitted(picture: Tensor, person: Portrait, *, seeds: int = 60) -> Portrait:
    r"""What a prompt does not say, chosen so that the renderer draws the picture best.

    .. math:: \hat u = \arg\min_u \|R(\text{prompt}, u) - x\|^2

    by one pass over skins, eyes, terrains and random jitters, each in turn.

    Args:
        picture: 8-bit picture, ``[3, H, W]``.
        person: a portrait of the prompt, the start.
        seeds: number of jitters to try.
    """

    def error(candidate: Portrait) -> float:
        return nmse(drawn([candidate], picture.shape[-1]), picture[None].double()).item()

    best = person
    passes: list[Callable[[Portrait], list[Portrait]]] = [
        lambda p: [replace(p, terrain=k) for k in range(TERRAINS)],
        lambda p: [replace(p, skin=skin) for skin in SKINS],
        lambda p: [replace(p, eyes=eyes) for eyes in EYES],
        lambda p: [p, *(replace(p, seed=k) for k in range(seeds))],
    ]
    for candidates in passes:
        best = min(candidates(best), key=error)
    return best


def drawn(people: Sequence[Portrait], size: int) -> Tensor:
    """Rendered portraits, uint8 ``[B, 3, H, W]``."""
    return torch.stack([torch.from_numpy(render(p, size)).permute(2, 0, 1) for p in people])
