"""The picture on the README: ``python -m invlib.reproduce.book.readme_picture``.

Faces of the embedded model, and what comes back from the noise of two methods. The numbers of
the caption are measured in the same run, and stored with the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ...autoencoder import Autoencoder, to_bytes
from ...inverters import invert
from ...metrics import decibel, nmse
from ...plotting import INK, look, style
from ...sampling import sample
from ..models.problem import Problem
from .marks import put

SAMPLER, GUIDANCE, FIRST, COUNT = "2M-10", 3.0, 0, 2  # the first held-out prompts, not chosen
STRONGER = 4  # how much errors are magnified
METHODS = {"naive": "naive", "exact": "ours"}  # what it is drawn as
PICTURE, PAGE = Path("book/images/round_trip.png"), Path("README.md")
CAPTION = "Description"  # the field of the PNG that has the caption


def measure() -> dict[str, Tensor]:
    """Sample, invert, sample again.

    Returns:
        8-bit pictures ``[COUNT, 3, H, W]`` of the ``original`` and of ``naive`` and ``exact``; the
        NMSE of their latents, ``latents/METHOD``, and of the noise, ``noise/METHOD``, ``[COUNT]``.
    """
    problem = Problem.of(SAMPLER, GUIDANCE, FIRST, COUNT)
    network, solver = problem.denoiser, problem.solver
    autoencoder = Autoencoder.of(problem.pipe.vae)
    with torch.no_grad():
        latents = sample(network, problem.noise, solver).image
        values = {"original": to_bytes(autoencoder.decode(latents))}
        for method in METHODS:
            noise = invert(network, latents, solver, method=method).noise
            again = sample(network, noise, solver).image
            values[method] = to_bytes(autoencoder.decode(again))
            values[f"latents/{method}"] = nmse(again, latents)
            values[f"noise/{method}"] = nmse(noise, problem.noise)
    return values


def caption(values: dict[str, Tensor]) -> str:
    """What the picture shows, in numbers."""

    def levels(name: str) -> str:
        numbers = sorted(round(v) for v in decibel(values[name]).tolist())
        return f"between {numbers[0]} and {numbers[-1]} dB"

    same = (values["exact"] == values["original"]).double().mean().item()
    back = "all" if same == 1 else f"{same:.2%}"
    return (
        f"The first {COUNT} held-out prompts of the embedded model, {SAMPLER}, guidance scale "
        f"{GUIDANCE:g}: the original, and what is sampled again from the noise of two methods, "
        f"with errors {STRONGER} times as strong (white: none). The latents come back with an "
        f"error (NMSE) {levels('latents/naive')} by naive inversion, {levels('latents/exact')} by "
        f"exact inversion, which gives {back} of the 8-bit values back. The errors of the noise "
        f"are {levels('noise/naive')} and {levels('noise/exact')}."
    )


def draw(values: dict[str, Tensor]) -> Figure:
    """A row a face: original, naive, its error, exact, its error."""
    style()
    figure, axes = plt.subplots(COUNT, 5, figsize=(5.0, 2.25), squeeze=False)
    columns = [("original", INK, values["original"])]
    for name, kind in METHODS.items():
        error = (values[name].int() - values["original"].int()).abs()
        color = look(kind)["color"]
        columns += [(name, color, values[name])]
        columns += [("error", color, (255 - STRONGER * error).clamp(min=0).byte())]
    for number, (label, color, pictures) in enumerate(columns):
        axes[0, number].set_title(label, color=color, loc="center")
        for axis, picture in zip(axes[:, number], pictures, strict=True):
            axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color=color, linewidth=1.5)
    return figure


def save(figure: Figure, text: str, path: Path) -> None:
    """Write the picture, its caption in it, with a palette: it has few colours."""
    from PIL.PngImagePlugin import PngInfo

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    notes: Any = PngInfo()
    notes.add_text(CAPTION, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    flat.save(path, optimize=True, pnginfo=notes)


def captioned(text: str, words: str) -> str:
    """The text of the page with the picture and its caption."""
    alternative = "Two faces, what two methods make of their noises, and the errors"
    return put(text, "round trip", f"![{alternative}]({PICTURE})\n\n*{words}*")


def main(root: Path = Path(".")) -> None:
    """Make the picture and put its caption into the page."""
    values = measure()
    words = caption(values)
    save(draw(values), words, root / PICTURE)
    page = root / PAGE
    page.write_text(captioned(page.read_text(), words))


if __name__ == "__main__":
    main()
