"""The model that ``--model`` names, and the scheduler that ``--scheduler`` names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch

from ..identity import WEIGHTS, Model, folder_hash
from ..portraits import MODELS, load, portraits_denoiser
from ..portraits.load import quiet, verify
from .json_file import read_json

LIBRARIES = ("diffusers", "transformers")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Dtype(StrEnum):
    """What ``--dtype`` takes."""

    float32 = "float32"
    float64 = "float64"
    bfloat16 = "bfloat16"
    float16 = "float16"


def open_model(
    name: str, *, dtype: str = "float32", device: str = "cpu", wanted: str = ""
) -> Model:
    """An embedded model, or the pipeline in a folder; nothing is ever downloaded.

    Weights are read from safetensors alone, and code that a folder brings is never run.

    Args:
        name: ``portraits``, ``portraits-pixel`` or a folder.
        dtype: dtype of its networks.
        device: where to put it.
        wanted: the hash that a folder must have, which is looked at before it is loaded.

    Raises:
        ValueError: if it is neither, another one than wanted, or the device is not there.
        OSError: if its files are missing or damaged.
    """
    check_device(device)
    kind = getattr(torch, dtype)
    if name in MODELS:
        pipe = load(name)
        for module in pipe.components.values():
            if isinstance(module, torch.nn.Module):
                torch.nn.Module.to(module, kind)  # diffusers' own warns about nothing here
        return Model(name, verify(name), pipe.to(device))
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(MODELS)
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"no model {name!r}{hint}: give one of {known}, or the folder of a diffusers pipeline; "
            "a model of a hub must be downloaded first, and given as its folder"
        )
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"{name} is no diffusers pipeline: it has no model_index.json")
    check_folder(folder)
    digest = folder_hash(folder)
    if wanted and not wanted.startswith(WEIGHTS) and digest != wanted:
        raise ValueError(
            f"{name} is not the model that is wanted: its hash is {digest}, not {wanted}; give the "
            "one it was made with"
        )
    from diffusers import DiffusionPipeline

    try:
        with quiet():
            pipe = DiffusionPipeline.from_pretrained(
                folder, local_files_only=True, torch_dtype=kind, use_safetensors=True
            )
    except Exception as error:  # whatever diffusers makes of a damaged folder
        raise ValueError(f"diffusers cannot load {name}: {error}") from error
    pipe.set_progress_bar_config(disable=True)
    return Model(str(folder.resolve()), digest, pipe.to(device))


def check_folder(folder: Path) -> None:
    """Refuse the folder of a pipeline that is more than classes of diffusers and their weights.

    Older versions of diffusers import whatever module ``model_index.json`` names.

    Raises:
        ValueError: if it names something else, or holds weights only that need pickle.
    """
    import diffusers

    index = read_json(folder / "model_index.json", "index of a pipeline")
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ValueError(f"{folder} is no diffusers pipeline: its model_index.json names no class")
    for part, named in index.items():
        if isinstance(named, list) and len(named) == 2 and named != [None, None]:
            library = str(named[0])
            if library not in LIBRARIES and not hasattr(diffusers.pipelines, library):
                raise ValueError(
                    f"the {part} of {folder} is of {library}, which is not diffusers or "
                    "transformers: code of others is not run; load it in Python"
                )
    pickled = [f for f in folder.rglob("*") if f.suffix in PICKLED]
    if pickled and not any(folder.rglob("*.safetensors")):
        raise ValueError(
            f"{folder} has weights in {pickled[0].name} only, which could run code: save them as "
            "safetensors, with pipe.save_pretrained"
        )


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        ValueError: if it is not.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot use the device {device!r}: {reason}") from error


def use_scheduler(model: Model, name: str | None, config: dict[str, Any] | None = None) -> None:
    """Give the pipeline another scheduler, as it would be given in Python.

    Args:
        model: its pipeline is changed.
        name: a scheduler class of diffusers; None leaves the pipeline's own.
        config: its configuration, by default that of the pipeline's own scheduler. Latent
            pipelines set ``clip_sample=False`` in theirs, so it is set here, too.

    Raises:
        ValueError: if there is no such scheduler.
    """
    if name is None:
        return
    import diffusers

    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and hasattr(found, "from_config") and "Scheduler" in name):
        names = [n for n in dir(diffusers) if n.endswith("Scheduler") and n != "Scheduler"]
        lower = {n.lower(): n for n in names}
        close = difflib.get_close_matches(name.lower(), [*lower], n=3, cutoff=0.4)
        near = [lower[n] for n in close]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"diffusers has no scheduler {name!r}{hint}")
    own = dict(model.pipe.scheduler.config) if config is None else config
    latent = config is None and hasattr(model.pipe, "vae")
    fixed = {"clip_sample": False} if latent else {}
    model.pipe.scheduler = found.from_config(own, **fixed)


def check_words(model: Model, call: Mapping[str, Any]) -> None:
    """Refuse words in a call that the portraits model was never taught.

    Raises:
        ValueError: if there is one.
    """
    asked = [call.get("prompt"), call.get("negative_prompt")]
    texts = [text for value in asked for text in (value if isinstance(value, list) else [value])]
    given = [text for text in texts if isinstance(text, str) and text]
    if model.name == "portraits" and given:
        portraits_denoiser(model.pipe, given, 1.0)
