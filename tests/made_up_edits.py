"""Made-up results of the editing table, for the tests of it and of Figure 6."""

from __future__ import annotations

import torch
from torch import Tensor

from invlib.reproduce.editing.cells import GROUPS, ROWS


def result(portraits: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Made-up results of one guidance scale: every edit is the target, plus some noise."""
    generator = torch.Generator().manual_seed(seed)

    def picture(*shape: int) -> Tensor:
        shape = (*shape, 3, 16, 16)
        return torch.randint(40, 200, shape, generator=generator, dtype=torch.uint8)

    masks = torch.zeros(portraits, 2, 4, 4, dtype=torch.bool)
    masks[..., :2, :] = True
    regions = torch.zeros(portraits, 2, 16, 16, dtype=torch.bool)
    regions[..., :6, :] = True
    original = picture(portraits)
    targets = torch.where(regions[:, :, None], picture(portraits, 2), original[:, None])
    values = {"picture": original, "fit": original, "masks": masks, "regions": regions}
    values["targets"] = targets
    for row in ROWS:
        values[f"{row}/given"] = targets + picture(portraits, 2) // 40
        if row not in GROUPS["true"]:
            values[f"{row}/attention"] = targets[:, :1] + picture(portraits, 1) // 40
            values[f"{row}/attention_mask"] = masks[:, :1].roll(1, -2)
            values[f"{row}/everywhere"] = targets[:, :1].clone()
        if row != "oracle":
            for name in ("latents", "state", "noise", "seconds", "seconds_decoder"):
                values[f"{row}/{name}"] = torch.rand(portraits, generator=generator)
            values[f"{row}/nfe"] = torch.full((portraits,), 50)
            values[f"{row}/solved"] = torch.ones(portraits, dtype=torch.bool)
    return values
