"""Noise on disk, together with all that it takes to make the picture again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import __version__
from .memory import is_full
from .metrics import decibel
from .packing import NotHere, pack, unpack
from .pipelines import ImageInversion
from .pipelines.entrance import Entrance, Kind
from .pipelines.first_state import first_state

FORMAT = 2
KEY = "invlib"  # of the one JSON text in the metadata


@dataclass(frozen=True)
class Model:
    """A pipeline, and what tells it apart from others.

    Attributes:
        name: ``portraits``, ``portraits-pixel``, or the folder of a pipeline.
        hash: SHA-256 of its weights and configuration (of an embedded model, the beginning).
        pipe: the diffusers pipeline.
    """

    name: str
    hash: str
    pipe: Any


@dataclass(frozen=True)
class NoiseFile:
    """What a noise file holds.

    Attributes:
        latents: the noise, in the layout and dtype that the pipeline takes, ``[B, ...]``.
        call: all arguments of the pipeline's call but the noise.
        pipeline: name of the pipeline's class.
        model: name of the model.
        model_hash: its hash; see :class:`Model`.
        dtype: dtype of the model's network.
        scheduler: class name of the scheduler.
        scheduler_config: its configuration.
        kind: how the noise gets into the pipeline; see
            :class:`~invlib.pipelines.entrance.Entrance`.
        number: which of the random tensors that the pipeline draws the noise is.
        verdict: of the certificate, one per sample: per image, or one for a batch whose rows
            depend on each other; empty if there was none.
        round_trip_db: round-trip NMSE of each sample in dB; empty if there was no certificate.
        pictures: fingerprint of each picture that was inverted; see :func:`fingerprint`.
        notes: what the inversion had to say.
        version: version of invlib that wrote the file.
    """

    latents: Tensor
    call: dict[str, Any]
    pipeline: str
    model: str
    model_hash: str
    dtype: str
    scheduler: str
    scheduler_config: dict[str, Any]
    kind: Kind = "latents"
    number: int = 0
    verdict: tuple[str, ...] = ()
    round_trip_db: tuple[float, ...] = ()
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    version: str = __version__

    @property
    def entrance(self) -> Entrance:
        """How the noise gets into the pipeline."""
        return replace(Entrance.argument(self.latents), kind=self.kind, number=self.number)

    def check(self, model: Model) -> None:
        """Refuse a model that is not the one the noise belongs to, and noise that does not fit.

        The pipeline is run as far as its first step, with its own noise and with this one.

        Raises:
            ValueError: if the hashes or the classes differ, or the noise is none of the call's.
        """
        if model.hash != self.model_hash:
            raise ValueError(
                f"the noise belongs to the model {self.model} with hash {self.model_hash}, but "
                f"{model.name} has {model.hash}; give the one it was made with"
            )
        pipe, noise = model.pipe, self.latents
        if type(pipe).__name__ != self.pipeline:
            raise ValueError(
                f"the noise belongs to a {self.pipeline}, but {model.name} is a "
                f"{type(pipe).__name__}; give the one it was made with"
            )
        try:
            drawn = first_state(pipe, self.call).shape
            if self.kind == "first step":
                made = (len(noise) * (drawn[0] // len(noise)), *noise.shape[1:])
            else:
                made = first_state(pipe, self.call, entrance=self.entrance, noise=noise).shape
        except Exception as error:  # whatever a pipeline makes of noise that it does not take
            if is_full(error):
                raise
            raise ValueError(f"the noise does not fit {model.name}: {error}") from error
        if tuple(made) != tuple(drawn):
            raise ValueError(
                f"the noise does not fit {model.name}: its shape is {tuple(noise.shape)}, and the "
                f"call begins with {tuple(drawn)}"
            )


def save_noise(
    path: Path, result: ImageInversion, model: Model, *, pictures: tuple[str, ...] = ()
) -> NoiseFile:
    """Write the noise of an inversion, whole or not at all.

    Args:
        path: the file; an existing one is replaced.
        result: from :func:`~invlib.pipelines.invert.invert_image`.
        model: what was inverted; its pipeline still has the scheduler that was inverted.
        pictures: fingerprints of the pictures.

    Returns:
        What was written.
    """
    proof = result.certificate
    noise = describe(
        result.latents,
        result.call,
        model,
        entrance=result.entrance,
        verdict=() if proof is None else proof.verdict,
        round_trip_db=() if proof is None else tuple(decibel(proof.round_trip).tolist()),
        pictures=pictures,
        notes=result.notes,
    )
    write_noise(path, noise)
    return noise


def describe(
    latents: Tensor,
    call: Mapping[str, Any],
    model: Model,
    *,
    entrance: Entrance | None = None,
    **more: Any,
) -> NoiseFile:
    """A noise with its call, its model, and the scheduler that the model's pipeline has now.

    Args:
        latents: the noise.
        call: the arguments of the pipeline's call.
        model: the model.
        entrance: how the noise gets in; by the argument ``latents`` if that is not said.
        more: further entries of the :class:`NoiseFile`.
    """
    config = json.loads(model.pipe.scheduler.to_json_string())
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
        **more,
    )


def write_noise(path: Path, noise: NoiseFile) -> None:
    """Write a noise file, whole or not at all.

    Raises:
        ValueError: if the noise contains NaN or infinity, or the call something that is no data.
        OSError: if the file cannot be written.
    """
    if not torch.isfinite(noise.latents).all():
        raise ValueError("the noise contains NaN or infinity; nothing was written")
    fields = {f.name: getattr(noise, f.name) for f in dataclasses.fields(noise)}
    latents = fields.pop("latents")
    fields["call"], tensors = pack(noise.call)
    text = json.dumps({"format": FORMAT, **fields}, sort_keys=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({"latents": latents, **tensors}, temporary, metadata={KEY: text})
        os.replace(temporary, path)
    except SafetensorError as error:  # what safetensors makes of a full or read-only disk
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_noise(path: Path, *, device: Any = "cpu") -> NoiseFile:
    """Read a noise file.

    Args:
        path: the file.
        device: where those tensors of the call go that were not on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, was not written by invlib, or by another version of it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
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


DAMAGES = (ValueError, KeyError, TypeError, AttributeError, RuntimeError)


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
    if not latents.is_floating_point() or latents.ndim < 2 or not len(latents):
        raise ValueError(f"{path} holds no noise: {latents.dtype} {tuple(latents.shape)}")
    if not torch.isfinite(latents).all():
        raise ValueError(f"the noise in {path} contains NaN or infinity")
    return noise


def _restored(value: Any) -> Any:
    """A value from JSON, whose lists were tuples."""
    return tuple(value) if isinstance(value, list) else value


def fingerprint(pixels: Tensor) -> tuple[str, ...]:
    """SHA-256 of each 8-bit picture ``[B, C, H, W]``, its size included."""
    size = repr(tuple(pixels.shape[1:])).encode()
    return tuple(
        hashlib.sha256(size + p.cpu().contiguous().numpy().tobytes()).hexdigest() for p in pixels
    )
