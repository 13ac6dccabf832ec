"""Noise on disk, together with all that it takes to make the picture again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import __version__
from .metrics import decibel
from .pipelines import ImageInversion, Settings
from .pipelines.families import family_of

FORMAT = 1
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
        settings: arguments of the pipeline's call.
        model: name of the model.
        model_hash: its hash; see :class:`Model`.
        dtype: dtype of the model's network.
        scheduler: class name of the scheduler.
        scheduler_config: its configuration.
        verdict: of the certificate, one per image; empty if there was none.
        round_trip_db: round-trip NMSE of each image in dB; empty if there was no certificate.
        pictures: fingerprint of each picture that was inverted; see :func:`fingerprint`.
        notes: what the inversion had to say.
        version: version of invlib that wrote the file.
    """

    latents: Tensor
    settings: Settings
    model: str
    model_hash: str
    dtype: str
    scheduler: str
    scheduler_config: dict[str, Any]
    verdict: tuple[str, ...] = ()
    round_trip_db: tuple[float, ...] = ()
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    version: str = __version__

    def check(self, model: Model) -> None:
        """Refuse a model that is not the one the noise belongs to, and noise that does not fit.

        Raises:
            ValueError: if the hashes differ, or the shape is not the model's.
        """
        if model.hash != self.model_hash:
            raise ValueError(
                f"the noise belongs to the model {self.model} with hash {self.model_hash}, but "
                f"{model.name} has {model.hash}; give the one it was made with"
            )
        family, pipe, asked = family_of(model.pipe), model.pipe, self.settings
        try:
            packed = family.pack(pipe, self.latents)
            family.size(pipe, packed, asked.height, asked.width)
            family.check_size(pipe, asked.height, asked.width)
        except ValueError as error:
            raise ValueError(f"the noise does not fit {model.name}: {error}") from error
        if asked.prompt is not None and len(asked.prompt) != len(self.latents):
            raise ValueError(f"{len(self.latents)} noises, but {len(asked.prompt)} prompts")


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
        result.settings,
        model,
        verdict=() if proof is None else proof.verdict,
        round_trip_db=() if proof is None else tuple(decibel(proof.round_trip).tolist()),
        pictures=pictures,
        notes=result.notes,
    )
    write_noise(path, noise)
    return noise


def describe(latents: Tensor, settings: Settings, model: Model, **more: Any) -> NoiseFile:
    """A noise with its model and the scheduler that the model's pipeline has now."""
    config = json.loads(model.pipe.scheduler.to_json_string())
    return NoiseFile(
        latents=latents.detach().cpu().contiguous(),
        settings=settings,
        model=model.name,
        model_hash=model.hash,
        dtype=str(model.pipe.dtype).removeprefix("torch."),
        scheduler=config["_class_name"],
        scheduler_config=config,
        **more,
    )


def write_noise(path: Path, noise: NoiseFile) -> None:
    """Write a noise file, whole or not at all.

    Raises:
        ValueError: if the noise contains NaN or infinity.
        OSError: if the file cannot be written.
    """
    if not torch.isfinite(noise.latents).all():
        raise ValueError("the noise contains NaN or infinity; nothing was written")
    fields = {f.name: getattr(noise, f.name) for f in dataclasses.fields(noise)}
    fields["settings"] = dataclasses.asdict(noise.settings)
    latents = fields.pop("latents")
    text = json.dumps({"format": FORMAT, **fields}, sort_keys=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({"latents": latents}, temporary, metadata={KEY: text})
        os.replace(temporary, path)
    except SafetensorError as error:  # what safetensors makes of a full or read-only disk
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_noise(path: Path) -> NoiseFile:
    """Read a noise file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, was not written by invlib, or by a later version of it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
            latents = file.get_tensor("latents") if text else torch.empty(0)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error
    if text is None:
        raise ValueError(f"{path} has no metadata of invlib, so its model is unknown")
    try:
        values = json.loads(text)
        written = values.pop("format")
        if written > FORMAT:
            raise Newer(f"{path} has format {written}, this invlib reads {FORMAT}: update invlib")
        settings = Settings(**_tuples(values.pop("settings")))
        noise = NoiseFile(latents, settings, **_tuples(values))
    except Newer:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the metadata of {path} are damaged ({error})") from error
    if not latents.is_floating_point() or latents.ndim < 3 or not len(latents):
        raise ValueError(f"{path} holds no noise: {latents.dtype} {tuple(latents.shape)}")
    if not torch.isfinite(latents).all():
        raise ValueError(f"the noise in {path} contains NaN or infinity")
    return noise


class Newer(ValueError):  # noqa: N818 - it names the fact
    """The file was written by a later version of invlib."""


def fingerprint(pixels: Tensor) -> tuple[str, ...]:
    """SHA-256 of each 8-bit picture ``[B, C, H, W]``, its size included."""
    size = repr(tuple(pixels.shape[1:])).encode()
    return tuple(
        hashlib.sha256(size + p.cpu().contiguous().numpy().tobytes()).hexdigest() for p in pixels
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Values from JSON, whose lists were tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
