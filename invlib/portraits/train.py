"""Make the embedded models from nothing: ``python -m invlib.portraits.train``.

Resumable: run it again after an interruption. The same script serves CPU and GPU.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from diffusers import (
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
)

from .dataset import TRAIN_SEED, portraits, shrink, training_set
from .load import WEIGHTS, write_manifest
from .prompts import build_tokenizer
from .render import caption
from .train_autoencoder import refine_autoencoder, train_autoencoder
from .train_latent import train_latent
from .train_pixel import train_pixel

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def main(
    folder: Annotated[Path, typer.Option(help="checkpoints and drawn pictures")] = Path(
        ".cache/portraits"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    count: Annotated[int, typer.Option(help="number of training pictures")] = 12_000,
    scale: Annotated[float, typer.Option(help="multiply the number of training steps")] = 1.0,
    weights: Annotated[Path, typer.Option(help="where the finished models go")] = WEIGHTS,
) -> None:
    """Draw the pictures, train the three networks, and write them as diffusers pipelines."""
    torch.set_num_threads(1 if device == "cpu" else 4)
    pixels, _ = training_set(folder, count)
    captions = [caption(p) for p in portraits(count, TRAIN_SEED)]
    steps = {k: max(1, round(v * scale)) for k, v in STEPS.items()}
    info: dict[str, Any] = {}
    vae, info["autoencoder"] = train_autoencoder(
        pixels, folder, steps=steps["autoencoder"], device=device
    )
    info["floor"] = refine_autoencoder(vae, pixels, folder, steps=steps["floor"], device=device)
    tokenizer = build_tokenizer()
    unet, text, info["latent"] = train_latent(
        vae, tokenizer, pixels, captions, folder, steps=steps["latent"], device=device
    )
    info["decoder"] = refine_autoencoder(
        vae, pixels, folder, steps=steps["decoder"], decoder_only=True, device=device
    )
    small = np.stack([shrink(p, 32) for p in pixels])
    pixel, info["pixel"] = train_pixel(small, folder, steps=steps["pixel"], device=device)
    info["pictures"] = count
    info["device"] = torch.cuda.get_device_name() if device == "cuda" else "cpu, one thread"
    info["torch"] = torch.__version__
    export(vae, tokenizer, unet, text, pixel, weights, info)


STEPS = {"autoencoder": 3600, "floor": 900, "latent": 2400, "decoder": 900, "pixel": 2600}


def export(
    vae: Any,
    tokenizer: Any,
    unet: Any,
    text: Any,
    pixel: Any,
    weights: Path,
    info: dict,
) -> None:
    """Write both pipelines in half precision, their hashes, and how they were trained."""
    latent = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**SCHEDULE, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False
    )
    pipelines = {"portraits": latent, "portraits-pixel": DDPMPipeline(pixel, scheduler)}
    for name, pipeline in pipelines.items():
        shutil.rmtree(weights / name, ignore_errors=True)
        pipeline.to(torch.float16).save_pretrained(weights / name)
    for config in weights.rglob("config.json"):  # no path of the training machine
        values = json.loads(config.read_text())
        values.pop("_name_or_path", None)
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    (weights / "training.json").write_text(json.dumps(info, indent=1) + "\n")
    if weights == WEIGHTS:
        write_manifest()


if __name__ == "__main__":
    typer.run(main)
