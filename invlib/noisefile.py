"""Noise on disk, together with all that it takes to make the picture again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .identity import Model
from .metrics import decibel
from .packing import NotHere, pack, unpack
from .pipelines.comparison import fingerprint as fingerprint
from .pipelines.entrance import Entrance, Kind
from .pipelines.images import picture_kind
from .pipelines.running import configuration
from .pipelines.state import check_written, other_weights, scales, tables
from .repetition import NoiseFile
from .whole import whole

if TYPE_CHECKING:
    from .pipelines.result import ImageInversion

FORMAT = 2
KEY = "invlib"  # of the one JSON text in the metadata
MOST_TIMES = 100_000  # of a scheduler; those of diffusers have 1000
SEEDS = range(2**64)


def save_noise(
    path: str | PathLike[str],
    result: ImageInversion,
    model: Model | None = None,
    *,
    pictures: tuple[str, ...] | None = None,
) -> NoiseFile:
    """Write the noise of an inversion, whole or not at all.

    Args:
        path: the file; an existing one is replaced.
        result: from :func:`~invlib.pipelines.invert.invert_image`.
        model: what was inverted; by default the pipeline that the result remembers.
        pictures: fingerprints of the pictures; those that the result has by default.

    Returns:
        What was written.

    Raises:
        ValueError: if the result does not remember its pipeline and no model is given, the weights
            are not those that the noise was found with, the noise contains NaN or infinity, the
            call something that is no data, or the scheduler is not that of its configuration.
        OSError: if the file cannot be written.
    """
    check_file(path, result.call)
    if model is None and result.pipe is None:
        raise ValueError("a copy of a result does not know its pipeline: save the original one")
    pipe = result.pipe if model is None else model.pipe
    if said := other_weights(pipe, result.samples):
        raise ValueError(
            f"the pipeline is not as it was when this noise was found: {'; '.join(said)}: save "
            "before changing it, or invert again"
        )
    proof, model = result.certificate, Model.of(pipe) if model is None else model
    if result.scheduler:
        check_written(model.pipe.scheduler, result.scheduler, result.tables)
    noise = describe(
        result.latents,
        result.call,
        model,
        entrance=result.entrance,
        scheduler=result.scheduler,
        verdict=() if proof is None else proof.verdict,
        round_trip_db=() if proof is None else tuple(decibel(proof.round_trip).tolist()),
        pictures=result.fingerprints if pictures is None else pictures,
        reproduced=None if result.picture is None else result.picture.same,
        notes=result.notes,
        seed=result.seed,
    )
    write_noise(path, noise)
    return noise


def describe(
    latents: Tensor,
    call: Mapping[str, Any],
    model: Model,
    *,
    entrance: Entrance | None = None,
    scheduler: str = "",
    **more: Any,
) -> NoiseFile:
    """A noise with its call, its model and its scheduler.

    Args:
        latents: the noise.
        call: the arguments of the pipeline's call.
        model: the model.
        entrance: how the noise gets in; by the argument ``latents`` if that is not said.
        scheduler: its configuration in JSON; by default that which the pipeline has now.
        more: further entries of the :class:`NoiseFile`.

    Raises:
        ValueError: if the pipeline's scheduler is not that of its configuration.
    """
    if not scheduler:
        scheduler = check_scheduler(model.pipe.scheduler)
    config = json.loads(scheduler)
    entrance = Entrance.argument(latents) if entrance is None else entrance
    return NoiseFile(
        latents=latents.detach().to("cpu", entrance.dtype).contiguous(),
        call=dict(call),
        pipeline=type(model.pipe).__name__,
        model=model.name,
        model_hash=model.hash,
        dtype=str(model.pipe.dtype).removeprefix("torch."),
        scheduler=config["_class_name"],
        scheduler_config=config,
        kind=entrance.kind,
        number=entrance.number,
        weights=model.weights,
        scales=scales(model.pipe),
        **more,
    )


def check_scheduler(scheduler: Any) -> str:
    """The configuration of a scheduler, in JSON, if that is all there is to know of it.

    Raises:
        ValueError: if it is not.
    """
    text = configuration(scheduler)
    check_written(scheduler, text, tables(scheduler))
    return text


def check_file(path: str | PathLike[str], call: Mapping[str, Any]) -> None:
    """Refuse a file that cannot be written, or a call that no file can hold.

    Raises:
        TypeError: if it is no name of a file.
        ValueError: if the call holds something that is no data.
        OSError: if there is no such folder, it may not be written to, or the file is a folder.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"give the name of a noise file, not {type(path).__name__}")
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"cannot write {path}: no such folder, or a folder itself")
    if not os.access(path.parent, os.W_OK):
        raise OSError(f"cannot write {path}: the folder may not be written to")
    pack(call)


def write_noise(path: str | PathLike[str], noise: NoiseFile) -> None:
    """Write a noise file, whole or not at all.

    Raises:
        ValueError: if the noise contains NaN or infinity, or the call something that is no data.
        OSError: if the file cannot be written.
    """
    if not torch.isfinite(noise.latents).all():
        raise ValueError("the noise contains NaN or infinity; nothing was written")
    path = Path(path)
    fields = {f.name: getattr(noise, f.name) for f in dataclasses.fields(noise)}
    latents = fields.pop("latents")
    fields["call"], tensors = pack(noise.call)
    text = json.dumps({"format": FORMAT, **fields}, sort_keys=True)
    with whole(path) as part:
        save_file({"latents": latents, **tensors}, part, metadata={KEY: text})


def load_noise(path: str | PathLike[str], *, device: Any = "cpu") -> NoiseFile:
    """Read a noise file, such as ``result.save`` and ``invlib invert`` write.

    Args:
        path: the file.
        device: where those tensors of the call go that were not on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a picture, damaged, not written by invlib, or by another version.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"give the name of a noise file, not {type(path).__name__}")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if picture := picture_kind(path):
        raise ValueError(f"{path} is a picture ({picture}), no noise file; invert it first")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise Foreign(f"{path} has no metadata of invlib, so its model is unknown")
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise Foreign(_other_format(path, values["format"]))
            latents = file.get_tensor("latents")
            values["call"] = unpack(values["call"], file.get_tensor, device)
    except (Foreign, NotHere):
        raise
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error
    except DAMAGES as error:
        raise ValueError(f"the metadata of {path} are damaged ({error})") from error
    return _checked(path, latents, values)


class Foreign(ValueError):  # noqa: N818 - it names the fact
    """The file was not written by this version of invlib."""


DAMAGES = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    OverflowError,
)


def _other_format(path: Path, written: Any) -> str:
    """What to do about a file of another format."""
    if not isinstance(written, int):
        return f"the metadata of {path} are damaged (format {written!r})"
    remedy = "update invlib" if written > FORMAT else "invert the picture again"
    return f"{path} has format {written}, this invlib reads {FORMAT}: {remedy}"


def _checked(path: Path, latents: Tensor, values: dict[str, Any]) -> NoiseFile:
    """The noise file of what was read, if it makes sense."""
    values.pop("format")
    try:
        noise = NoiseFile(latents, **{k: _restored(v) for k, v in values.items()})
    except TypeError as error:
        raise ValueError(f"the metadata of {path} are damaged ({error})") from error
    if noise.kind not in get_args(Kind) or type(noise.number) is not int:
        raise ValueError(f"the metadata of {path} are damaged (entrance {noise.kind!r})")
    if problem := _unfit(noise):
        raise ValueError(f"the metadata of {path} are damaged ({problem})")
    if not latents.is_floating_point() or latents.ndim < 2 or not len(latents):
        raise ValueError(f"{path} holds no noise: {latents.dtype} {tuple(latents.shape)}")
    if not torch.isfinite(latents).all():
        raise ValueError(f"the noise in {path} contains NaN or infinity")
    return noise


def _unfit(noise: NoiseFile) -> str:
    """What an entry of a file cannot be, or nothing."""
    for name, hint in _hints().items():
        if not _is(getattr(noise, name), hint):
            return f"{name} is {str(getattr(noise, name))[:40]!r}"
    if not isinstance(getattr(torch, noise.dtype, None), torch.dtype):
        return f"{noise.dtype[:40]!r} is no dtype"
    if not noise.scheduler.isidentifier() or _is_other(noise.scheduler):
        return f"{noise.scheduler[:40]!r} is no scheduler"
    times = noise.scheduler_config.get("num_train_timesteps", 1)
    if not isinstance(times, int | None) or (times or 0) > MOST_TIMES:
        return f"a scheduler of {times!r} times"
    if noise.number < 0 or (noise.seed is not None and noise.seed not in SEEDS):
        return f"number {noise.number}, seed {noise.seed}"
    return ""


@cache
def _hints() -> dict[str, Any]:
    """The types of the entries."""
    return get_type_hints(NoiseFile)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a type that an entry of a noise file has."""
    if hint is Any or isinstance(value, Tensor):
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_is(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(part, inner[0]) for part in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _is_other(name: str) -> bool:
    """Whether diffusers knows a name that is not one of a scheduler."""
    import diffusers

    return not name.endswith("Scheduler") and hasattr(diffusers, name)


def _restored(value: Any) -> Any:
    """A value from JSON, whose lists were tuples."""
    return tuple(value) if isinstance(value, list) else value
