"""Make the star model from nothing: ``python -m invlib.stars.train``; resumable."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from torch import Tensor

from ..portraits.training import fit
from ..shapes import column
from ..whole import whole
from .architecture import StarScore
from .load import MODEL, TRAINED, WEIGHTS, write_manifest
from .render import star_fields


def train(checkpoint: Path, *, steps: int, batch: int = 64) -> tuple[StarScore, dict]:
    r"""Denoising score matching, every batch new fields.

    .. math:: \min\ \mathrm{E}\,\|\sigma_t\,s(\alpha_t x_0 + \sigma_t\epsilon, t) + \epsilon\|^2

    Args:
        checkpoint: file to resume from.
        steps: optimiser steps of the whole run.
        batch: fields a step.

    Returns:
        The network with averaged weights, and what is known of the training: ``seconds`` of all
        runs, and ``cpu_seconds`` of this process, None if it resumed another one.
    """
    resumed, began = checkpoint.exists(), time.process_time()
    torch.manual_seed(4)
    network = StarScore(TRAINED)

    def loss(step: int) -> Tensor:
        draw = torch.Generator().manual_seed(step)  # a resumed run draws what a whole one does
        x0 = star_fields(batch, draw)
        noise = torch.randn(x0.shape, generator=draw)
        t = torch.rand(batch, generator=draw, dtype=torch.float64) * (TRAINED.times - 1)
        alpha, sigma = (column(v(t).float(), x0) for v in (TRAINED.alpha_t, TRAINED.sigma_t))
        with torch.autocast("cpu", torch.bfloat16):
            score = network(alpha * x0 + sigma * noise, t)
        return (sigma * score + noise).square().mean()

    seconds = fit(network, loss, steps=steps, checkpoint=checkpoint, description="star mixer")
    cpu = None if resumed else time.process_time() - began
    return network, {"seconds": seconds, "cpu_seconds": cpu, "steps": steps, "batch": batch}


def main(
    folder: Annotated[Path, typer.Option(help="where the checkpoint is kept")] = Path(
        ".cache/stars"
    ),
    steps: Annotated[int, typer.Option(help="optimiser steps", min=1)] = 4000,
    weights: Annotated[Path, typer.Option(help="where the finished model goes")] = WEIGHTS,
) -> None:
    """Train on one thread of a CPU and write the weights in half precision."""
    torch.set_num_threads(1)
    network, info = train(folder / f"{MODEL}.safetensors", steps=steps)
    weights.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    with whole(weights / f"{MODEL}.safetensors") as part:
        save_file(tensors, part)
    info |= {"device": "cpu, one thread", "torch": torch.__version__}
    (weights / "training.json").write_text(json.dumps(info, indent=1) + "\n")
    if weights == WEIGHTS:
        write_manifest()


if __name__ == "__main__":
    typer.run(main)
