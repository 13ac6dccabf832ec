"""What an edit did to the background, to what it should change, and against the oracle's edit."""

from __future__ import annotations

import numpy as np
from scipy import stats
from torch import Tensor

from ...editing import background_nmse, edit_nmse, pixel_mask
from ...metrics import nmse

DRAWS = 10_000  # resampled sets of portraits


def errors(values: dict[str, Tensor], row: str, kind: str = "given") -> dict[str, Tensor]:
    r"""What the edits of a row did.

    Args:
        values: the results of one guidance scale.
        row: a key of ``ROWS``.
        kind: a key of ``KINDS``.

    Returns:
        NMSE values ``[P, v]`` of P portraits and v edits of each: of the ``background``, outside
        the latents that the renderer's mask touches, whatever mask the edit used; of the
        ``edit``, inside the region where the renderer changes something, against what it draws
        there; and of the whole picture against the ``oracle``'s edit.
    """
    shown = values[f"{row}/{kind}"]
    many, each = shown.shape[:2]

    def flat(name: str) -> Tensor:
        return values[name][:many, :each].flatten(0, 1)

    pictures = shown.flatten(0, 1).double() / 255
    original = values["picture"][:many].repeat_interleave(each, 0).double() / 255
    allowed = pixel_mask(flat("masks")[:, None], (shown.shape[-2], shown.shape[-1]))
    target, oracle = flat("targets").double() / 255, flat(f"oracle/{kind}").double() / 255
    found = {
        "background": background_nmse(pictures, original, allowed),
        "edit": edit_nmse(pictures, target, flat("regions")[:, None]),
        "oracle": nmse(pictures, oracle),
    }
    return {name: value.view(many, each) for name, value in found.items()}


def unedited(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """How well the renderer draws the pictures as they are: what an edit error cannot show.

    Returns:
        NMSE ``[P, V]`` inside the edited ``region`` before the edit, between the picture and the
        rendered portrait; and of the ``edit`` if nothing is changed.
    """
    each = values["regions"].shape[1]
    regions = values["regions"].flatten(0, 1)[:, None]
    original, fit = (
        values[name].repeat_interleave(each, 0).double() / 255 for name in ("picture", "fit")
    )
    targets = values["targets"].flatten(0, 1).double() / 255
    found = {
        "region": edit_nmse(original, fit, regions),
        "edit": edit_nmse(original, targets, regions),
    }
    return {name: value.view(-1, each) for name, value in found.items()}


def overlap(values: dict[str, Tensor], row: str) -> Tensor:
    r"""How well a mask from attention agrees with the renderer's of the first edit, ``[P]``.

    .. math:: |A \cap M| \,/\, |A \cup M|
    """
    seen = values[f"{row}/attention_mask"].flatten(1)
    given = values["masks"][: len(seen), 0].flatten(1)
    return (seen & given).sum(1) / (seen | given).sum(1)


def interval(values: Tensor, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean; portraits are drawn, with all edits of each.

    Args:
        values: one number an edit, ``[P, v]``.
        draws: number of resampled sets.
        seed: of the draws.
    """
    portraits = values.double().mean(1).numpy()
    found = stats.bootstrap(
        (portraits,), np.mean, n_resamples=draws, method="percentile", rng=seed
    ).confidence_interval
    return float(found.low), float(found.high)
