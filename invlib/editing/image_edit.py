"""The result of an edit of a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..metrics import decibel
from ..pipelines import ImageInversion
from .masks import dilate

TINT = (208, 28, 80)  # of the mask in the overlay
STRENGTH = 0.45


@dataclass(frozen=True)
class ImageEdit:
    """An edited picture, of which the values outside the mask are those of the given one.

    Attributes:
        pixels: the edited pictures, uint8 ``[B, C, H, W]``.
        original: the given pictures, likewise.
        mask: the pixels that were allowed to change, bool ``[B, 1, H, W]``.
        found_by: where the mask comes from: ``given``, ``differences`` or ``attention``.
        inversion: the noise of the original; give it as ``inversion=`` in the options of the next
            edit, and the search is saved.
        latents: the latents of the edit, solved again so that their picture meets what was kept.
        border: by how many levels of 8 bits (root mean square) the decoder misses the kept pixels
            next to the mask; large where no model made the picture, ``[B]``.
        notes: what was assumed.
    """

    pixels: Tensor
    original: Tensor
    mask: Tensor
    found_by: str
    inversion: ImageInversion = field(repr=False)
    latents: Tensor = field(repr=False)
    border: Tensor
    notes: tuple[str, ...] = ()

    @property
    def picture(self) -> Any:
        """The edited picture as a PIL image, or a list of several."""
        return _pil(self.pixels)

    @property
    def kept(self) -> Tensor:
        """Share of the values outside the mask that are those of the given picture, ``[B]``."""
        outside = (~self.mask).expand_as(self.pixels)
        same = (self.pixels == self.original) & outside
        return same.flatten(1).sum(1) / outside.flatten(1).sum(1)

    def overlay(self) -> Any:
        """The given picture with the mask in red and its border in white, as PIL, to look at."""
        colours = self.original.expand(-1, 3, -1, -1) if self.original.shape[1] == 1 else None
        shown = (self.original[:, :3] if colours is None else colours).double()
        tint = torch.tensor(TINT, dtype=torch.float64, device=shown.device).view(1, 3, 1, 1)
        shown = torch.where(self.mask, (1 - STRENGTH) * shown + STRENGTH * tint, shown)
        rim = self.mask & (dilate(~self.mask, 1) > 0)
        return _pil(torch.where(rim, 255.0, shown).round().to(torch.uint8))

    def __str__(self) -> str:
        """One sentence a picture: what changed, what was kept, and how well it was known."""
        return "\n".join(self._sentence(i) for i in range(len(self.pixels)))

    def _sentence(self, i: int) -> str:
        size = f"{self.mask[i].double().mean().item():.0%} of the picture"
        where = {
            "given": f"Edited {size}, the given mask",
            "differences": f"Edited {size}, where the two prompts differ",
            "attention": f"Edited {size}, where the network looks at the words",
        }[self.found_by]
        kept = f"{100 * self.kept[i].item():.4g} % of the values outside are the same"
        border = f"next to the mask the decoder misses them by {self.border[i].item():.1f} levels"
        return f"{where}; {kept}; {border}; {_known(self.inversion, i)}."


def _known(result: ImageInversion, i: int) -> str:
    """How well the noise of a picture is known."""
    proof, decoding = result.certificate, result.decoding
    number = 0 if proof is None else min(i, len(proof.verdict) - 1)
    told = "the noise is not certified"
    if proof is not None:
        error = decibel(proof.round_trip)[number].item()
        told = f"the noise is {proof.verdict[number]} for the latents ({error:.0f} dB)"
    if decoding is None:
        return told
    share = decoding.inside[min(i, len(decoding.inside) - 1)].item()
    return f"{told}, which decode to {share:.0%} of the given values"


def _pil(pixels: Tensor) -> Any:
    """8-bit pictures as PIL images; one alone, or a list."""
    from PIL import Image

    arrays = pixels.cpu().movedim(1, -1).contiguous().numpy()
    images = [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in arrays]
    return images[0] if len(images) == 1 else images
