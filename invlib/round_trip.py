"""A demonstration on the embedded model: an image, its noise by two methods, and the image again.

What ``invlib demo`` measures, says and draws; with its defaults that is the picture on the README
and on the first page of the course.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .autoencoder import Autoencoder, to_bytes
from .certificate import Certificate, certify
from .inverters import invert
from .metrics import decibel, nmse
from .plotting import INK, look, style
from .portraits import caption as describe
from .portraits import held_out, load, portraits_denoiser
from .portraits.quality import noise_for
from .sampling import sample
from .schedule import Schedule
from .solvers import ddim, dpm_solver_pp_2m, dpm_solver_pp_3m
from .watch import Watch, watching

SAMPLERS = {"ddim": ddim, "2m": dpm_solver_pp_2m, "3m": dpm_solver_pp_3m}
METHODS = {"naive": "naive", "exact": "ours"}  # how they are drawn: a look of the figures
STRONGER = 8  # how much differences of pictures are magnified
BLACK = 2.0  # a difference of noises, in standard deviations, that is drawn black
CAPTION = "Description"  # the field of the PNG that has the caption


@dataclass(frozen=True)
class Setting:
    """What is sampled.

    Attributes:
        prompt: by default the first one that the model was not trained on.
        sampler: a name in :data:`SAMPLERS`.
        steps: number of steps.
        guidance: guidance scale.
        seed: of the noise.
    """

    prompt: str = field(default_factory=lambda: describe(held_out(1)[0]))
    sampler: str = "2m"
    steps: int = 10
    guidance: float = 3.0
    seed: int = 0

    def __str__(self) -> str:
        name = f"{self.sampler.upper()}-{self.steps}"
        return f"{name}, guidance scale {self.guidance:g}, seed {self.seed}"


@dataclass(frozen=True)
class RoundTrip:
    """From the image to a noise and back by one method.

    Attributes:
        picture: of the latents that are sampled again, uint8 ``[3, H, W]``.
        same: share of the 8-bit values of the original picture that come back.
        noise_off: the noise that was found, less the one that the image was made from,
            ``[4, h, w]``.
        noise_error: its NMSE.
        certificate: of the latents.
        evaluations: of the network, while it searched.
        seconds: that the search took.
    """

    picture: Tensor
    same: float
    noise_off: Tensor
    noise_error: float
    certificate: Certificate
    evaluations: int
    seconds: float

    @property
    def error_db(self) -> float:
        """Error of the latents that come back, NMSE in decibel."""
        return float(decibel(self.certificate.round_trip)[0])

    @property
    def noise_error_db(self) -> float:
        """Error of the noise, NMSE in decibel."""
        return float(decibel(torch.tensor(self.noise_error)))


@dataclass(frozen=True)
class Comparison:
    """The original picture, uint8 ``[3, H, W]``, and a round trip for each of :data:`METHODS`."""

    setting: Setting
    original: Tensor
    trips: dict[str, RoundTrip]


def compare(setting: Setting, *, progress: bool | None = False) -> Comparison:
    """Sample, invert by both methods, and sample again.

    Args:
        setting: what is sampled.
        progress: whether to show a bar; None shows it on a terminal.

    Raises:
        ValueError: if the model does not know a word of the prompt, or there is no such sampler.
    """
    if setting.sampler not in SAMPLERS:
        raise ValueError(f"no sampler {setting.sampler!r}; use one of {', '.join(SAMPLERS)}")
    pipe = load("portraits")
    network = portraits_denoiser(pipe, [setting.prompt], setting.guidance)
    solver = SAMPLERS[setting.sampler](Schedule.scaled_linear().grid(setting.steps))
    autoencoder = Autoencoder.of(pipe.vae)
    noise = noise_for(1, seed=setting.seed)
    trips = {}
    with torch.no_grad(), watching(Watch(progress, interruptible=True)):
        latents = sample(network, noise, solver).image
        original = to_bytes(autoencoder.decode(latents))
        for method in METHODS:
            began = perf_counter()
            found = invert(network, latents, solver, method=method)
            seconds = perf_counter() - began
            again = sample(network, found.noise, solver).image
            picture = to_bytes(autoencoder.decode(again))
            trips[method] = RoundTrip(
                picture=picture[0],
                same=(picture == original).double().mean().item(),
                noise_off=(found.noise - noise)[0],
                noise_error=nmse(found.noise, noise).item(),
                certificate=certify(network, found, solver, again=again),
                evaluations=int(found.nfe.max()),
                seconds=seconds,
            )
    return Comparison(setting, original[0], trips)


def share(value: float) -> str:
    """A share of the 8-bit values in words: all only if it is all."""
    return "all" if value == 1 else f"{min(value, 0.9999):.2%}" if value > 0.99 else f"{value:.0%}"


def level(db: float) -> str:
    """A number of decibels, with a minus sign."""
    return f"{db:.0f} dB".replace("-", "−")


def caption(shown: Comparison) -> str:
    """What the picture shows, in numbers."""
    naive, exact = shown.trips["naive"], shown.trips["exact"]
    words = shown.setting.prompt
    title = f"“{words[0].upper()}{words[1:]}”" if words else "No prompt"
    return (
        f"{title}, by the embedded model ({shown.setting}), and what comes back from its noise as "
        f"naive and exact inversion find it. The noise is off by {level(naive.noise_error_db)} and "
        f"{level(exact.noise_error_db)}, the latents by {level(naive.error_db)} and "
        f"{level(exact.error_db)}; {share(naive.same)} and {share(exact.same)} of the 8-bit values "
        f"of the picture are the same. Differences of pictures are {STRONGER} times as strong; "
        "white is none."
    )


COLUMNS = ("sampled again", "difference", "of the noise")


def draw(shown: Comparison) -> Figure:
    """The original; beside it, for each method, what is sampled again, and what is off."""
    style()
    rows = [["", "", *(f"{name} {column}" for column in COLUMNS)] for name in METHODS]
    figure, axes = plt.subplot_mosaic(rows, figsize=(5.0, 2.15))
    _show(axes[""], shown.original, INK, "the image")
    for name, kind in METHODS.items():
        trip, color = shown.trips[name], look(kind)["color"]
        pictures = (trip.picture, *differences(trip, shown.original))
        for column, picture in zip(COLUMNS, pictures, strict=True):
            title = column if name == next(iter(METHODS)) else ""
            _show(axes[f"{name} {column}"], picture, color, title)
        axes[f"{name} {COLUMNS[0]}"].set_ylabel(
            f"{name}\n{level(trip.error_db)}", color=color, fontsize=9
        )
    return figure


def differences(trip: RoundTrip, original: Tensor) -> tuple[Tensor, Tensor]:
    """Of the picture and of the noise, uint8 ``[3, ...]``; the noise by its first 3 channels."""
    picture = STRONGER * (trip.picture.int() - original.int()).abs()
    noise = 255 / BLACK * trip.noise_off[:3].abs()
    return (255 - picture).clamp(min=0).byte(), (255 - noise).clamp(min=0).round().byte()


def _show(axis: Axes, picture: Tensor, color: str, title: str) -> None:
    axis.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, loc="center", fontsize=9)
    for spine in axis.spines.values():
        spine.set(visible=True, color=color, linewidth=1.5)


def save(figure: Figure, words: str, path: Path) -> None:
    """Write the picture as a PNG, its caption in it, with a palette: it has few colours."""
    from PIL.PngImagePlugin import PngInfo

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
    plt.close(figure)
    notes: Any = PngInfo()
    notes.add_text(CAPTION, words)
    flat = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    flat.save(path, format="PNG", optimize=True, pnginfo=notes)
