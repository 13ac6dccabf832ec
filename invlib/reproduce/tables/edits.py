"""Edits of drawn scenes, of which the right answer is known: ``results/edits.json``.

Held-out portraits, and the same with another hair colour, garment, sky or land:
``python -m invlib.reproduce.tables edits``. *Drawn* pictures are edited as the renderer draws them,
so that no model made them; *made* ones are what the pipeline makes of the noise of the drawn ones'
latents, so that their trajectory is known. It is the oracle's in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...autoencoder import Autoencoder, to_bytes
from ...editing import (
    Counterfactuals,
    ImageEdit,
    across,
    edit,
    edit_image,
    edit_nmse,
    latent_mask,
)
from ...inverters import invert
from ...markdown import table
from ...portraits import Portrait, caption, held_out, load, portraits_denoiser, render
from ...schedule import Schedule
from ...solvers import ddim
from ..engine.rounding import short
from ..engine.table import SHARD, Rows, Table

STEPS = 20
KINDS = ("made", "drawn")
CHANGES = {  # what is edited, in turn: to the first value that is not the portrait's own
    "hair_color": ("blue", "blond"),
    "garment_color": ("blue", "red"),
    "sky": ("night sky", "pink sky"),
    "hills": ("red canyon", "snow hills"),
}
WORDS = {  # the attributes whose words stand for what is edited
    "hair_color": ("hair_color", "hair_style"),
    "garment_color": ("garment_color", "garment"),
    "sky": ("sky",),
    "hills": ("hills",),
}


def changed(number: int, person: Portrait) -> tuple[Portrait, str]:
    """The person of a scene with one attribute changed, and the words that name it."""
    name = [*CHANGES][number % len(CHANGES)]
    value = next(v for v in CHANGES[name] if v != getattr(person, name))
    change: Any = replace
    return change(person, **{name: value}), " ".join(getattr(person, n) for n in WORDS[name])


def shard(name: str, guidance: float, first: int) -> dict[str, Tensor]:
    """What the edits of some scenes did, with an exact mask and with those that are found."""
    from diffusers import DDIMScheduler

    people = held_out(first + SHARD)[first:]
    others, words = zip(*(changed(first + i, p) for i, p in enumerate(people)), strict=True)
    old, new = [caption(p) for p in people], [caption(p) for p in others]
    pair = drawn_pair(people, others)
    pipe = load("portraits")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    autoencoder = Autoencoder.of(pipe.vae)
    solver = ddim(Schedule.scaled_linear().grid(STEPS))
    networks = [portraits_denoiser(pipe, prompts, guidance) for prompts in (old, new)]
    with torch.no_grad():
        latents = autoencoder.encode(2 * pair.source.double() / 255 - 1)
        known = invert(networks[0], latents, solver)
        mask = latent_mask(pair.mask, (latents.shape[-2], latents.shape[-1]), grow=1)
        best = to_bytes(autoencoder.decode(edit(networks[1], known, solver, mask).image))
        made = to_bytes(autoencoder.decode(latents))
    picture = pair.source if name == "drawn" else made
    call: dict[str, Any] = {"prompt": old, "guidance_scale": guidance, "num_inference_steps": STEPS}
    given = edit_image(pipe, picture, pair.mask, new, options={"certificate": False}, **call)
    again = {"inversion": given.inversion}
    found = edit_image(pipe, picture, None, new, options=again, **call)
    read = edit_image(pipe, picture, list(words), new, options=again, **call)
    truth = torch.where(pair.mask, pair.target, picture)
    oracle = torch.where(pair.mask, best, picture)
    plain = plainly(autoencoder, given, networks[1], solver, mask)
    result = {
        "noise_variance": given.inversion.inversion.noise.flatten(1).square().mean(1),
        "error": error(given.pixels, pair),
        "error_oracle": error(oracle, pair),
        "error_none": error(picture, pair),
        "kept_decoded": kept(plain, picture, pair.mask),
        "step_oracle": across(oracle, pair.mask) / across(truth, pair.mask),
    }
    for label, done in (("", given), ("_found", found), ("_read", read)):
        result[f"kept{label}"] = done.kept
        result[f"overlap{label}"] = overlap(done.mask, pair.mask)
        result[f"error{label}"] = error(done.pixels, pair)
        result[f"step{label}"] = across(done.pixels, done.mask) / across(truth, done.mask)
    return result


def drawn_pair(people: Sequence[Portrait], others: Sequence[Portrait]) -> Counterfactuals:
    """Pictures of people as they are and as they should become, and where these differ."""
    source, target = (
        torch.stack([torch.from_numpy(render(p)).permute(2, 0, 1) for p in group])
        for group in (people, others)
    )
    mask = (source != target).any(1, keepdim=True)
    return Counterfactuals(source, target, mask, tuple(people), tuple(others))


def error(pixels: Tensor, pair: Counterfactuals) -> Tensor:
    """Error inside the exact mask against the counterfactual, ``[B]``."""
    return edit_nmse(pixels.double() / 255, pair.target.double() / 255, pair.mask)


def kept(pixels: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """Share of the values outside a mask that are those of the picture, ``[B]``."""
    outside = (~mask).expand_as(picture)
    return ((pixels == picture) & outside).flatten(1).sum(1) / outside.flatten(1).sum(1)


def overlap(seen: Tensor, exact: Tensor) -> Tensor:
    """Intersection over union of two masks, ``[B]``."""
    return (seen & exact).flatten(1).sum(1) / (seen | exact).flatten(1).sum(1)


def plainly(
    autoencoder: Autoencoder, done: ImageEdit, network: Any, solver: Any, mask: Tensor
) -> Tensor:
    """What the decoder alone makes of latents that are blended with the original's."""
    with torch.no_grad():
        latents = edit(network, done.inversion, solver, mask).image
        return to_bytes(autoencoder.decode(latents))


def summary(name: str, guidance: float, values: dict[str, Tensor]) -> Rows:
    """Medians and worst cases of all scenes of one kind."""
    ratio = values["error"] / values["error_oracle"]
    row: dict[str, Any] = {
        "pictures": name,
        "guidance": guidance,
        "scenes": len(ratio),
        "noise_variance_median": short(values["noise_variance"].quantile(0.5)),
        "error_none_median": short(values["error_none"].quantile(0.5)),
        "error_oracle_median": short(values["error_oracle"].quantile(0.5)),
        "error_over_oracle_median": short(ratio.quantile(0.5)),
        "error_over_oracle_worst": short(ratio.max()),
        "errors_over_oracle_sum": short(values["error"].sum() / values["error_oracle"].sum()),
        "kept_decoded_median": short(values["kept_decoded"].quantile(0.5)),
        "step_oracle_median": short(values["step_oracle"].quantile(0.5)),
        "step_oracle_worst": short(values["step_oracle"].max()),
    }
    for label in ("", "_found", "_read"):
        row[f"kept{label}_least"] = short(values[f"kept{label}"].min())
        row[f"error{label}_median"] = short(values[f"error{label}"].quantile(0.5))
        row[f"error{label}_worst"] = short(values[f"error{label}"].max())
        row[f"step{label}_median"] = short(values[f"step{label}"].quantile(0.5))
        row[f"step{label}_worst"] = short(values[f"step{label}"].max())
        row[f"smooth{label}"] = int((values[f"step{label}"] <= 1.2).sum())
        row[f"overlap{label}_median"] = short(values[f"overlap{label}"].quantile(0.5))
        row[f"overlap{label}_least"] = short(values[f"overlap{label}"].min())
    return [row]


def markdown(data: dict[str, Any]) -> str:
    """The table of the page of results."""
    columns = {
        "pictures": ("pictures", "{}"),
        "$w$": ("guidance", "{:g}"),
        "scenes": ("scenes", "{}"),
        "variance of the noise": ("noise_variance_median", "{:.2f}"),
        "values kept": ("kept_least", "{:.0%}"),
        "kept by the decoder": ("kept_decoded_median", "{:.0%}"),
        "error / oracle's": ("error_over_oracle_median", "{:.2f}"),
        "worst ratio": ("error_over_oracle_worst", "{:.2f}"),
        "worst error": ("error_worst", "{:.2f}"),
        "step / right step": ("step_median", "{:.2f}"),
        "worst step": ("step_worst", "{:.2f}"),
        "IoU, differences": ("overlap_found_median", "{:.2f}"),
        "IoU, attention": ("overlap_read_median", "{:.2f}"),
    }
    lines = [[form.format(row[name]) for name, form in columns.values()] for row in data["rows"]]
    return table(list(columns), lines, right=list(columns)[1:])


TABLE = Table("edits", KINDS, shard, summary, guidance=(1.0, 3.0), prompts=40)
