"""What tells one model from another: its files, or the weights that it has in memory."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checked import check
from .pipelines.running import modules_of
from .pipelines.state import all_settings, weights

EMBEDDED = Path(__file__).parent / "portraits" / "weights"
HASHED = {".safetensors", ".bin", ".json", ".txt", ".model"}
WEIGHTS = "weights:"  # how the hash of weights in memory begins


@dataclass(frozen=True)
class Model:
    """A pipeline, and what tells it apart from others.

    Attributes:
        name: ``portraits``, ``portraits-pixel``, the folder of a pipeline, or its name on a hub.
        hash: SHA-256 of its weights and configuration on disk (of an embedded model, the
            beginning), or of its weights in memory (:func:`~invlib.identity.weights_hash`).
        pipe: the diffusers pipeline.
    """

    name: str
    hash: str
    pipe: Any

    @classmethod
    def of(cls, pipe: Any) -> Model:
        """The model of a pipeline that is in memory, as it is there."""
        return cls(name_of(pipe), weights_hash(pipe), pipe)

    @property
    def weights(self) -> str:
        """:func:`~invlib.identity.weights_hash` of its weights in memory."""
        return self.hash if self.hash.startswith(WEIGHTS) else weights_hash(self.pipe)

    def difference(self, known: str, weights: str = "") -> tuple[str, str] | None:
        """A hash that was written down and the one that it has instead; None if it is the same.

        Args:
            known: of files or of weights in memory.
            weights: of weights in memory, beside that of files. Where that was not written, as in
                earlier noise files, weights that came from the same files are taken for the same,
                with a warning if they may have been changed since.
        """
        if known != self.hash:
            told = known.startswith(WEIGHTS)
            own = weights_hash(self.pipe) if told else files_hash(self.pipe)
            if own != known:
                return known, self.hash
            if not told and not weights:
                warnings.warn(
                    f"the file says which files {self.name} had, not which weights were in memory; "
                    "load the model anew if adapters or training may have changed it",
                    stacklevel=2,
                )
        if weights and weights != self.weights:
            return weights, self.weights
        return None


def name_of(pipe: Any) -> str:
    """The name of an embedded model, or what the pipeline was loaded from; else its class."""
    name = str(getattr(pipe, "name_or_path", None) or "")
    folder = Path(name)
    if folder.parent == EMBEDDED:
        return folder.name
    if name and folder.is_dir():
        return str(folder.resolve())
    return name or type(pipe).__name__


def weights_hash(pipe: Any) -> str:
    """SHA-256 over the names, kinds, shapes and values of all weights, adapters included.

    What is set beside the weights counts, too: which adapters are active, disabled or merged, and
    their scales; whether networks are compiled, or where their weights are, does not. Of weights
    whose values nothing here holds only names and shapes count, with a warning.
    """
    total = hashlib.sha256()
    for name, module in sorted(modules_of(pipe).items()):
        absent = 0
        for key, read in sorted(weights(module).items()):
            value = read()
            if isinstance(value, Tensor):
                total.update(f"{name}.{key} {value.dtype} {tuple(value.shape)}\n".encode())
                if value.is_meta:
                    absent += 1
                else:
                    flat = value.detach().cpu().contiguous().reshape(-1)
                    total.update(flat.view(torch.uint8).numpy().data)
        for key, held in all_settings(module).items():
            total.update(f"{name}.{key} {held}\n".encode())
        if absent:
            warnings.warn(
                f"the values of {absent} weights of the {name} are not in memory, so that its hash "
                "does not tell them from others: load the model without offloading",
                stacklevel=2,
            )
    return WEIGHTS + total.hexdigest()


def files_hash(pipe: Any) -> str:
    """The hash of the files that a pipeline was loaded from; nothing if they are not here."""
    folder = Path(str(getattr(pipe, "name_or_path", None) or ""))
    if folder.parent == EMBEDDED:
        return check(EMBEDDED, f"{folder.name}/")
    return folder_hash(folder) if (folder / "model_index.json").is_file() else ""


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and the SHA-256 of all weights and configurations, sorted."""
    total = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.suffix in HASHED):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{digest}  {file.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()
