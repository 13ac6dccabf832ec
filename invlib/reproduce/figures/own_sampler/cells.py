"""Every model as its makers run it, by its own sampler: inverted, and sampled again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....metrics import nmse
from ....pipelines import invert_latents, read
from ....portraits import caption, held_out, load
from ....portraits.quality import noise_for
from ...engine.rounding import level, short
from ...engine.work import FOLDER, Cell, load_all
from ...models import paper_models
from ...models.full_size import few, full_size, rehearsed
from ...models.profiles import device_name

PROMPTS = 2
STEPS, GUIDANCE = 20, 3.0  # of the embedded model
FEWEST = 4  # steps in a rehearsal
LIMIT = -60.0  # dB: what the comparison of methods ticks


def cells(profile: str) -> list[Cell]:
    """The work of the figure: one cell a prompt."""
    return [
        Cell("own_sampler", measure, {"prompt": prompt, "profile": profile})
        for prompt in range(few(profile, PROMPTS))
    ]


def load_stored(profile: str, folder: Path = FOLDER) -> list[dict[str, Tensor]]:
    """The results of the prompts, see :func:`measure`.

    Raises:
        FileNotFoundError: if the work is not done.
    """
    return load_all(cells(profile), folder)


def pipeline_and_call(prompt: int, profile: str) -> tuple[Any, dict[str, Any]]:
    """The pipeline of a profile, and a call with its own steps and guidance."""
    if profile == "tiny":
        words = caption(held_out(prompt + 1)[prompt])
        call: Mapping[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
        return load("portraits"), {"prompt": words, **call}
    model = full_size(profile)
    small = rehearsed(profile)
    call = {
        "num_inference_steps": min(model.steps, FEWEST) if small else model.steps,
        "guidance_scale": model.guidance,
        **(model.small if small else model.call),
    }
    words = paper_models.prompts(profile, prompt + 1)[prompt]
    return paper_models.pipeline(profile), {"prompt": words, **call}


def measure(prompt: int, profile: str) -> dict[str, Tensor]:
    """Call the pipeline with known noise, invert its latents, and call it with what was found.

    Returns:
        ``noise`` and ``image``, NMSE of the noise and of the latents, ``[samples]``; ``exact``,
        the certificate's verdict; ``nfe``; ``seconds``; ``steps`` of the table that was read.
    """
    pipe, call = pipeline_and_call(prompt, profile)
    with torch.no_grad():
        reading = read(pipe, call)
        entrance = reading.entrance
        noise = noise_for(1, entrance.map.in_shape, prompt)[0].to(entrance.dtype)
        target = reading.stage.again(noise)
    began = time.perf_counter()
    result = invert_latents(pipe, target, **call)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        again = reading.stage.again(result.latents)
    proof = result.certificate
    verdicts = proof.verdict if proof else ()
    found = result.latents.to(noise.device)
    return {
        "noise": nmse(found.double(), noise.double()),
        "image": nmse(again.double(), target.double()),
        "exact": torch.tensor([verdict == "exact" for verdict in verdicts]),
        "nfe": result.inversion.nfe,
        "seconds": torch.tensor(seconds),
        "steps": torch.tensor(reading.solver.steps),
    }


def summary(results: list[dict[str, Tensor]], profile: str) -> dict[str, Any]:
    """The numbers of the figure, for ``results/own_sampler.json``."""
    tiny = profile == "tiny"
    return {
        "figure": "own_sampler",
        "profile": profile,
        "model": "portraits" if tiny else full_size(profile).label,
        "guidance": GUIDANCE if tiny else full_size(profile).guidance,
        "seeds": [*range(len(results))],
        "device": device_name(),
        "rows": [
            {
                "prompt": number,
                "space": "own",
                "images": len(result["noise"]),
                "steps": int(result["steps"]),
                "image_db": level(result["image"].max()),
                "noise_db": level(result["noise"].max()),
                "exact": result["exact"].double().mean().item(),
                "nfe": result["nfe"].double().mean().item(),
                "seconds": short(result["seconds"]),
            }
            for number, result in enumerate(results)
        ],
    }
