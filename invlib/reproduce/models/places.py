"""Where models and data are on this machine, in the order in which places are tried."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .full_size import full_size, real

PIXEL_MODEL = (
    "https://openaipublic.blob.core.windows.net/diffusion/march-2021/"
    "imagenet64_uncond_100M_1500K.pt"
)
PROMPTS = "Gustavosta/Stable-Diffusion-Prompts"  # its split "test", column "Prompt"


@dataclass(frozen=True)
class Source:
    """Something to fetch.

    Attributes:
        name: what it is, in words.
        variable: environment variable that names another place: a folder, file, address or id.
        places: where else it is, the first choice first.
        kind: ``model`` or ``dataset`` of a hub, or ``file``.
    """

    name: str
    variable: str
    places: tuple[str, ...]
    kind: str

    @property
    def chosen(self) -> tuple[str, ...]:
        """The place that the environment names, else all that are known."""
        other = os.environ.get(self.variable)
        return (other,) if other else self.places

    @property
    def first_file(self) -> str:
        """A file that each of its repositories has."""
        return "model_index.json" if self.kind == "model" else "README.md"


def text_source(profile: str) -> Source:
    """The pipeline of a full-size profile."""
    model, name = full_size(profile), real(profile).upper()
    return Source(model.label, f"INVLIB_MODEL_{name}", model.places, "model")


def sources(profile: str) -> list[Source]:
    """All that a full-size profile needs."""
    found = [text_source(profile), Source("prompts", "INVLIB_PROMPTS", (PROMPTS,), "dataset")]
    return found + [pixel_source()] if full_size(profile).figures else found


def pixel_source() -> Source:
    """The paper's pixel model."""
    return Source("ImageNet64 checkpoint", "INVLIB_PIXEL_MODEL", (PIXEL_MODEL,), "file")


def stored(source: Source) -> tuple[str, Path] | None:
    """The first place that is on this machine already, and its folder (or file) there."""
    for place in source.chosen:
        path = at(source, place)
        if path is not None:
            return place, path
    return None


def at(source: Source, place: str) -> Path | None:
    """Where a place is on this machine, or None if it has not been fetched."""
    path = Path(place).expanduser()
    if path.exists():
        return path
    if source.kind == "file":
        kept = kept_file(place)
        return kept if kept.exists() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place, source.first_file, repo_type=source.kind)
    return Path(found).parent if isinstance(found, str) else None


def kept_file(address: str) -> Path:
    """Where PyTorch keeps a file from an address."""
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints" / address.rsplit("/", 1)[-1]


def needed(source: Source) -> Path:
    """The folder (or file) of something that was fetched.

    Raises:
        FileNotFoundError: if it is not on this machine.
    """
    found = stored(source)
    if found is None:
        raise FileNotFoundError(
            f"{source.name} is not on this machine: fetch it, or name its place in the environment "
            f"variable {source.variable}"
        )
    return found[1]
