"""Peak memory of inverting a call beside that of making it: ``python -m invlib.rehearsal.peak``.

The network has Stable Diffusion's architecture at its own size, with random weights; the search is
stopped after a few rounds, for its peak is that of one call of the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..markdown import table
from ..memory import in_use, peak, reset_peak
from ..pipelines import Options, invert_latents
from ..pipelines.running import untouched
from ..reproduce.engine.reached import code_of
from ..reproduce.engine.store import write_json
from ..watch import Budget
from .architectures import ARCHITECTURES, random_module
from .formulas import STATE, pairs_at_most
from .zoo.parts import dpm, vae

RESULTS = Path("results/peak.json")


def pipeline(unet: torch.nn.Module) -> Any:
    """A Stable Diffusion pipeline around a UNet, without a text encoder; it takes embeddings."""
    import diffusers

    pipe = diffusers.StableDiffusionPipeline(
        vae=vae(halvings=3),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=dpm(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def measure(arch: str, steps: int, rounds: int) -> dict[str, Any]:
    """Peak memory of one sampling run and of an inversion, beyond the weights, in GB."""
    pipe, device = pipeline(random_module(arch)), torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    width = ARCHITECTURES[arch]["cross_attention_dim"]
    text, none = (torch.randn(1, 77, width, generator=generator) for _ in range(2))
    call = {
        "prompt_embeds": text,
        "negative_prompt_embeds": none,
        "guidance_scale": 5.0,
        "num_inference_steps": steps,
    }
    before = in_use()
    reset_peak(device)
    with untouched(pipe):
        made = pipe(**call, generator=generator, output_type="latent").images
    sampling = peak(device, before)
    budget = Budget(evaluations=steps * (1 + rounds))
    reset_peak(device)
    result = invert_latents(
        pipe, made, options=Options(certificate=False, progress=False, budget=budget), **call
    )
    inversion = peak(device, before)
    state = made.numel() * 8 / 1e9
    return {
        "arch": arch,
        "pixels": 8 * made.shape[-1],
        "steps": steps,
        "guidance": 5.0,
        "rounds": int(result.inversion.iterations.max()),
        "sampling_gb": sampling,
        "inversion_gb": inversion,
        "states_gb": (steps + 1) * state,
        "pair_gb": 2 * steps * state,
    }


def markdown(values: dict[str, Any]) -> str:
    """The rows as a table on a page."""
    first = ("network", "pixels", "sampler")
    head = (*first, "a sampling run", "inversion", "of it states", "a round adds")
    lines = []
    for row in values["rows"]:
        numbers = round(1e9 * row["states_gb"]) // (STATE * (row["steps"] + 1))
        pairs = pairs_at_most(row["steps"], numbers).count
        cells = (
            f"{row['arch']}, {values['device']}",
            f"{row['pixels']} x {row['pixels']}",
            f"2M-{row['steps']}, CFG {row['guidance']:g}",
            f"{row['sampling_gb']:.2f} GB",
            f"{row['inversion_gb']:.2f} GB ({row['rounds']} rounds)",
            f"{1000 * row['states_gb']:.1f} MB",
            f"{1000 * row['pair_gb']:.1f} MB, at most {pairs} times",
        )
        lines.append(cells)
    return table(head, lines)


def main(
    arch: Annotated[str, typer.Option(help=f"of {', '.join(ARCHITECTURES)}")] = "sd21",
    steps: Annotated[int, typer.Option(help="steps of DPM-Solver++(2M)", min=2)] = 20,
    rounds: Annotated[int, typer.Option(help="rounds of the search", min=1)] = 1,
) -> None:
    """Measure, and write ``results/peak.json``."""
    row = measure(arch, steps, rounds)
    print(row)
    values = {"weights": "random", "device": "CPU, float32", "rows": [row]}
    write_json(RESULTS, values, [{"code": code_of(measure)}])


if __name__ == "__main__":
    typer.run(main)
