"""Whether a full-size profile can run here, before anything is fetched."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from importlib.util import find_spec
from pathlib import Path

import torch

from ...rehearsal import units
from .fetching import Offer, offer
from .full_size import full_size, rehearsed
from .paper_models import DEVICE, device
from .places import sources

SECONDS = 9.0  # that all places together may take for an answer
PACKAGES = {  # what work and pages import, and what installs it
    "diffusers": "diffusers",
    "transformers": "diffusers",
    "accelerate": "diffusers",
    "datasets": "paper",
    "torchmetrics": "book",
    "papermill": "book",
    "ipykernel": "book",
    "pandas": "all",
    "matplotlib": "cli",
    "scipy": "book",
    "tabulate": "book",
    "textalloc": "book",
}


def needs(profile: str) -> str:
    """What a full-size profile needs, in words."""
    model = full_size(profile)
    lines = [f"{model.label} ({model.places[0]}), about {model.gigabytes:.0f} GB to fetch,"]
    if model.figures:
        lines.append("the checkpoint imagenet64_uncond_100M_1500K.pt, about 0.5 GB,")
    hours = "; about 4 hours of that GPU, at the 0.06 s an evaluation of the paper's run times"
    return "\n".join(
        [
            f'Profile "{profile}" uses',
            *(f"  * {line}" for line in lines),
            "  * the prompts of Gustavosta/Stable-Diffusion-Prompts (pip install 'invlib[paper]');",
            f"  * a CUDA GPU with about {model.memory} GB of memory, since everything is in float32"
            + (hours if model.figures else "")
            + ".",
            "These are estimates: nobody has run it yet on its real models. It has been rehearsed "
            "to its end on random weights in small.",
            "It resumes when it is interrupted.",
        ]
    )


def check(profile: str) -> list[Offer]:
    """Look whether a full-size profile can run here: packages, device, models, disk.

    Returns:
        Where everything comes from; nothing has been fetched.

    Raises:
        RuntimeError: in one sentence that says what to do.
    """
    check_packages(PACKAGES)
    check_device(profile)
    offers = reached(profile)
    check_disk(offers, cache_folder())
    return offers


def check_packages(packages: Iterable[str]) -> None:
    """Look whether what will be imported is installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(PACKAGES[name] for name in missing))
        raise RuntimeError(
            f"{', '.join(missing)} cannot be imported: pip install 'invlib[{extras}]'"
        )


def check_device(profile: str) -> None:
    """Look whether the device is there, and warn where it is smaller than the estimate."""
    where = device(profile)
    if where.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError(
            f"profile {profile!r} needs a CUDA GPU, and PyTorch finds none here; for another "
            f"device, name it in the environment variable {DEVICE}"
        )
    if where.startswith("cuda"):
        there, asked = torch.cuda.get_device_properties(where).total_memory, full_size(profile)
        if there < 1e9 * asked.memory:
            warnings.warn(
                f"this GPU has {units.size(there)}, and profile {profile!r} is estimated to need "
                f"about {asked.memory} GB: work that finds no room fails by itself, and all else "
                "is stored; nothing has been fetched yet",
                stacklevel=2,
            )


def reached(profile: str) -> list[Offer]:
    """The places that everything comes from, asked side by side, within seconds."""
    pool = ThreadPoolExecutor()
    try:
        answers = [pool.submit(offer, source) for source in sources(profile)]
        return [answer.result(SECONDS) for answer in answers]
    except TimeoutError as error:
        raise RuntimeError(
            f"the hub gave no answer within {SECONDS:.0f} s: profile {profile!r} needs it, or a "
            "copy in its cache; profile 'tiny' needs neither"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def cache_folder() -> Path:
    """Where the hub's files are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(os.environ.get("HF_HUB_CACHE", HF_HUB_CACHE))


def check_disk(offers: Iterable[Offer], folder: Path) -> None:
    """Look whether there is room for what is to be fetched."""
    bytes_ = sum(offered.missing for offered in offers)
    place = next(f for f in (folder, *folder.parents) if f.exists())
    free = shutil.disk_usage(place).free
    if bytes_ > free:
        raise RuntimeError(
            f"{units.size(bytes_)} are to be fetched, and {place} has {units.size(free)} free: "
            "make room, or set HF_HOME to a larger disk"
        )


def ready(profile: str) -> None:
    """Check a full-size profile, and say what it needs; ``tiny`` needs nothing."""
    if profile == "tiny":
        return
    if not rehearsed(profile):
        print(needs(profile), flush=True)
    check(profile)
