"""The call of the pipeline, from ``--call`` and from the options that stand for its arguments."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..pipelines.options import OPTIONS
from .files import read_picture
from .json_file import read_json

CallOption = Annotated[
    Path | None,
    typer.Option("--call", help="JSON file with the arguments of the pipeline's call"),
]
PromptOption = Annotated[str | None, typer.Option(help="prompt that made the picture")]
NegativeOption = Annotated[str | None, typer.Option(help="negative prompt")]
GuidanceOption = Annotated[float | None, typer.Option(help="guidance scale")]
StepsOption = Annotated[
    int | None, typer.Option(help="number of steps; default the pipeline's own")
]

SEEDS = range(2**64)
FILES = 'a picture {"picture": FILE} or a tensor {"tensors": FILE, "name": NAME}'


def asked_call(
    pipe: Any,
    path: Path | None,
    *,
    prompt: str | None,
    negative_prompt: str | None,
    guidance_scale: float | None,
    steps: int | None,
) -> dict[str, Any]:
    """The arguments of a call: those in a file, and those that were given as options.

    Args:
        pipe: the pipeline that is called.
        path: a JSON file with arguments.
        prompt: of ``--prompt``.
        negative_prompt: of ``--negative-prompt``.
        guidance_scale: of ``--guidance-scale``.
        steps: of ``--steps``.

    Raises:
        ValueError: if an argument is given twice, or is none that the option may have.
        OSError: if a file is missing.
    """
    if guidance_scale is not None and not (math.isfinite(guidance_scale) and guidance_scale >= 0):
        raise ValueError(f"--guidance-scale must be a finite number >= 0, got {guidance_scale}")
    if steps is not None and steps < 1:
        raise ValueError(f"--steps must be at least 1, got {steps}")
    options = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "guidance_scale": guidance_scale,
        "num_inference_steps": steps,
    }
    given = {name: value for name, value in options.items() if value is not None}
    takes = inspect.signature(type(pipe).__call__).parameters
    for name in given:
        if name not in takes:
            why = "it is unconditional, or its conditions have other names (give them by --call)"
            raise ValueError(f"{type(pipe).__name__} takes no {name}: {why}")
    call = {} if path is None else read_call(path, device=pipe.device)
    for name in call:
        if name in (*OPTIONS, "options") and name not in takes:
            raise ValueError(
                f"{path}: {name!r} is no argument of {type(pipe).__name__}; how to invert is said "
                "by the options of the command"
            )
        if name in given and (type(call[name]) is Tensor or call[name] != given[name]):
            raise ValueError(
                f"{name} is given twice: {call[name]!r} in {path}, {given[name]!r} as an option"
            )
    return {**call, **given}


def with_prompt(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """The call with the empty prompt, where the pipeline takes one and is given none."""
    takes = inspect.signature(type(pipe).__call__).parameters
    told = any(name.startswith("prompt") for name in call)
    return dict(call) if told or "prompt" not in takes else {**call, "prompt": ""}


def unguided(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """The call at guidance scale 1, where the pipeline has one and is given none."""
    takes = inspect.signature(type(pipe).__call__).parameters
    told = "guidance_scale" in call or "guidance_scale" not in takes
    return dict(call) if told else {**call, "guidance_scale": 1.0}


def read_call(path: Path, *, device: Any = "cpu") -> dict[str, Any]:
    """The arguments in a JSON file.

    A value may be a picture or a tensor in another file, in the folder of this one or below, by
    its name relative to it, or the random generator of a seed: ``{"seed": 7}``. Nothing else is
    read, and nothing is run.

    Args:
        path: the file.
        device: where tensors go.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a JSON object, or refers to what is no picture or tensor.
    """
    values = read_json(path, "JSON file with the arguments of a call")
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object: the arguments of the pipeline's call")
    try:
        return {name: _value(value, path, name, device) for name, value in values.items()}
    except RecursionError as error:
        raise ValueError(f"{path} is no call: its values are too deep in each other") from error


def _value(value: Any, path: Path, name: str, device: Any) -> Any:
    """An argument, with what it refers to in its place."""
    if isinstance(value, list):
        return [_value(v, path, f"{name}[{i}]", device) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    match value:
        case {"picture": str(file), **rest} if not rest:
            return read_picture(_beside(path, name, file))
        case {"tensors": str(file), "name": str(entry), **rest} if not rest:
            return _read_tensor(_beside(path, name, file), entry).to(device)
        case {"seed": int(seed), **rest} if not rest and type(seed) is int and seed in SEEDS:
            return torch.Generator().manual_seed(seed)
    if {"picture", "tensors", "seed"} & set(value):
        raise ValueError(
            f"{path}: {name} must be {FILES}, or a random generator "
            f'{{"seed": NUMBER}}, not {json.dumps(value)}'
        )
    return {k: _value(v, path, f"{name}.{k}", device) for k, v in value.items()}


def _beside(path: Path, name: str, file: str) -> Path:
    """The file of a relative name, in the folder of the one that names it, or below."""
    if Path(file).is_absolute():
        raise ValueError(f"{path}: {name} names {file}; give a path relative to {path.name}")
    found, folder = (path.parent / file).resolve(), path.parent.resolve()
    if not found.is_relative_to(folder):
        raise ValueError(f"{path}: {name} names {file}, which is not in its folder: copy it there")
    return path.parent / file


def _read_tensor(path: Path, name: str) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if name in names:
                tensor: Tensor = file.get_tensor(name)
                return tensor
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error
    raise ValueError(f"{path} has no tensor {name!r}, but {', '.join(sorted(names)) or 'none'}")
