"""Run a full-size profile on a loopback hub: the command that anyone types, in a folder apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from chapters import ROOT
from loopback_hub import Hub

from invlib.reproduce.models.places import PIXEL_MODEL

BLOCKED = ROOT / "tests" / "rehearsal" / "blocked"
UNSET = ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "INVLIB_DEVICE", "INVLIB_PROMPTS")


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """Variables of a process that knows this hub only, and keeps what it fetches in a folder."""
    known = {k: v for k, v in os.environ.items() if k not in UNSET and "INVLIB_MODEL_" not in k}
    path = [str(BLOCKED), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return known | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TORCH_HOME": str(home / "torch"),
        "INVLIB_PIXEL_MODEL": f"{hub.url}/{PIXEL_MODEL.split('/', 3)[3]}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path),
    }


def command(profile: str, folder: Path, names: Sequence[str] = ()) -> list[str]:
    """``make figures`` for some figures of a profile, by default all, in a folder."""
    only = [word for name in names for word in ("--only", name)]
    start = [sys.executable, "-m", "invlib.reproduce", "--profile", profile]
    return [*start, "--folder", str(folder), *only]


def run(
    hub: Hub, home: Path, folder: Path, names: Sequence[str] = (), profile: str = "paper-rehearsal"
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    done = command(profile, folder, names)
    return subprocess.run(done, env=environment(hub, home), capture_output=True, text=True)
