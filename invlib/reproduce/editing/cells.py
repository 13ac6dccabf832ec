"""The work behind Figure 6 and the editing table: edits of what each inversion recovered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...autoencoder import Box, DecoderInverter, encoder, gradient, quasi_newton, to_bytes
from ...editing import attention_maps, attention_mask, edit, mixed, word_tokens
from ...editing.blend import Recovered
from ...inverters import Inverter, invert, naive, stepwise
from ...metrics import nmse
from ...portraits import caption, portraits_denoiser
from ...rootfind import forward_step_method
from ..engine.work import Cell
from ..models import published
from .scenes import BLOCK, GROW, Scenes, drawn, scenes

NODE = 35  # the state that is blended
NEW_FROM = 5  # first step with the new prompt
SCALES = (7.5, 3.0)
PORTRAITS = 8
EXTRAS = 2  # portraits with the further rows: other latents, other masks, other blends
CAP = 100  # iterations a step of Algorithm 1; the authors allow 500


@dataclass(frozen=True)
class Row:
    """A way to recover the trajectory: where the latents come from, and what inverts them.

    Attributes:
        label: how it is called.
        latents: decoder inverter; None for the true latents.
        inverter: inverter; None for the stored trajectory.
    """

    label: str
    latents: DecoderInverter | None
    inverter: Inverter | None


CAPPED = partial(published.algorithm1, finder=partial(forward_step_method, max_iterations=CAP))
ROWS = {
    "oracle": Row("oracle", None, None),
    "naive": Row("naive", encoder, naive),
    "dagger": Row("naive + D\u2020", gradient, naive),
    "algorithm1": Row("Algorithm 1 + D\u2020", gradient, CAPPED),
    "ours": Row("ours", quasi_newton, stepwise),
    "true naive": Row("true latents, naive", None, naive),
    "true ours": Row("true latents, ours", None, stepwise),
}
Latents = dict[DecoderInverter | None, tuple[Tensor, float]]
GROUPS = {
    "paper": ("oracle", "naive", "dagger", "algorithm1"),
    "ours": ("ours",),
    "true": ("true naive", "true ours"),
}


def measure(first: int, guidance: float, group: str, profile: str) -> dict[str, Tensor]:
    """Recover and edit ``BLOCK`` portraits with some methods.

    Args:
        first: number of the first held-out prompt, and seed of its noise.
        guidance: guidance scale.
        group: which rows, a key of ``GROUPS``.
        profile: ``tiny`` or ``paper``.

    Returns:
        For each row, ``"row/given"``: pictures of the edits inside the renderer's mask
        ``[B, V, 3, H, W]``; for some ``"row/attention"`` and ``"row/everywhere"``: the first edit
        inside a mask from attention, and blended at all states; errors and costs of the
        recovered trajectories. In the group ``paper`` also the scenes.
    """
    at = scenes(first, guidance, profile)
    result: dict[str, Tensor] = {}
    if group == "paper":
        size = at.picture.shape[-1]
        result = {"picture": at.picture, "masks": at.masks.bool(), "regions": at.regions}
        result |= {"fit": drawn(at.fits, size)}
        result |= {"targets": torch.stack([drawn(others, size) for others in at.edited])}
    latents: Latents = {}
    for name in GROUPS[group]:
        found, values = recovered(at, ROWS[name], latents)
        values["given"] = edits(at, found, at.masks, {NODE})
        if first < EXTRAS and group != "true":
            seen = looked_at(at, found)
            values["attention"] = edits(at, found, seen, {NODE})
            values["attention_mask"] = seen.bool()
            values["everywhere"] = edits(at, found, at.masks[:, :1], None)
        result |= {f"{name}/{key}": value for key, value in values.items()}
    return result


def recovered(at: Scenes, row: Row, known: Latents) -> tuple[Recovered, dict[str, Tensor]]:
    """The trajectory that a row edits, with its errors and costs; latents are made once."""
    if row.inverter is None:
        return at.run, {}
    if row.latents not in known:
        known[row.latents] = decoded(at, row.latents)
    z, seconds = known[row.latents]
    began = time.process_time()
    found = invert(at.problem.denoiser, z, at.problem.solver, method=row.inverter)
    return found, {
        "latents": nmse(z, at.run.image),
        "state": nmse(found.states[NODE], at.run.states[NODE]),
        "noise": nmse(found.noise, at.run.noise),
        "nfe": found.nfe,
        "solved": found.converged,
        "out_of_budget": torch.tensor([reason == "budget" for reason in found.reason]),
        "seconds_decoder": torch.tensor(seconds),
        "seconds": torch.tensor((time.process_time() - began) / BLOCK),
    }


def decoded(at: Scenes, decoder: DecoderInverter | None) -> tuple[Tensor, float]:
    """Latents of the pictures, the true ones without a decoder inverter, and seconds a picture."""
    if decoder is None:
        return at.run.image, 0.0
    began = time.process_time()
    latents = decoder(at.autoencoder, Box.of(at.picture)).latents
    return latents, (time.process_time() - began) / BLOCK


@dataclass(frozen=True)
class Repeated:
    """Trajectories, each of them several times."""

    states: Tensor
    noise: Tensor


def edits(at: Scenes, found: Recovered, masks: Tensor, nodes: set[int] | None) -> Tensor:
    """The first v edits of each portrait for masks ``[B, v, h, w]``, uint8 ``[B, v, 3, H, W]``."""
    count, problem = masks.shape[1], at.problem
    states = found.states.repeat_interleave(count, 1)
    same = Repeated(states, found.noise.repeat_interleave(count, 0))
    old = [prompt for prompt in problem.prompts for _ in range(count)]
    new = [caption(person) for people in at.edited for person in people[:count]]
    source, target = (portraits_denoiser(problem.pipe, p, at.guidance) for p in (old, new))
    network = mixed(source, target, problem.solver, start=NEW_FROM, stop=problem.solver.steps)
    done = edit(network, same, problem.solver, masks.flatten(0, 1)[:, None], nodes=nodes)
    with torch.no_grad():
        shown = to_bytes(at.autoencoder.decode(done.image))
    return shown.unflatten(0, (-1, count))


def looked_at(at: Scenes, found: Recovered) -> Tensor:
    """The masks from the attention to the edited words, ``[B, 1, h, w]``."""
    problem = at.problem
    tokens = [
        word_tokens(problem.pipe.tokenizer, prompt, words)
        for prompt, words in zip(problem.prompts, at.words, strict=True)
    ]
    nodes = range(0, problem.solver.steps, 5)
    maps = attention_maps(problem.denoiser, found, problem.solver, nodes=nodes)
    return attention_mask(maps, tokens, grow=GROW)


def cells(profile: str, portraits: int = PORTRAITS) -> list[Cell]:
    """The work of the table; that of the figure is its first part."""
    return [
        Cell(
            "editing",
            measure,
            {"first": first, "guidance": scale, "group": group, "profile": profile},
        )
        for first in range(0, portraits, BLOCK)
        for scale in SCALES
        for group in GROUPS
        if group != "true" or first < EXTRAS
    ]
