"""The training and held-out pictures, drawn once and cached."""

from __future__ import annotations

import json
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..whole import whole
from .render import Portrait, caption, random_portrait, render

TRAIN_SEED, HELD_OUT_SEED = 0, 1_000_003


def portraits(count: int, seed: int) -> list[Portrait]:
    """The first ``count`` portraits of a seed."""
    rng = random.Random(seed)
    return [random_portrait(rng) for _ in range(count)]


def held_out(count: int) -> list[Portrait]:
    """Portraits that no model was trained on."""
    return portraits(count, HELD_OUT_SEED)


def training_set(folder: Path, count: int = 12_000, size: int = 64) -> tuple[np.ndarray, list[str]]:
    """Pictures ``uint8 [count, size, size, 3]`` and captions, drawn at the first call."""
    path = Path(folder) / f"portraits-{size}-{count}.npz"
    if not path.exists():
        people = portraits(count, TRAIN_SEED)
        with ProcessPoolExecutor() as pool:
            drawn = pool.map(render, people, chunksize=50)
            pixels = np.stack([*tqdm(drawn, total=count, desc="drawing portraits")])
        if size != 64:
            pixels = np.stack([shrink(p, size) for p in pixels])
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part, part.open("wb") as file:
            np.savez(file, pixels=pixels, captions=json.dumps([caption(p) for p in people]))
    stored = np.load(path)
    return stored["pixels"], json.loads(str(stored["captions"]))


def shrink(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize one picture with a Lanczos filter."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
