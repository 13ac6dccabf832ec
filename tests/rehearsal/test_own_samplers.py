"""The other full-size profiles, each by its own sampler, from download to its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from chapters import ROOT
from loopback_hub import Hub
from rehearsed import run

from invlib.reproduce.models.full_size import FULL_SIZE

OTHERS = [name for name in FULL_SIZE if name != "paper"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_profile_comes_to_its_end(name: str, hub: Hub, place: Path) -> None:
    folder = place / "own"
    done = run(hub, place / "home", folder, ["own_sampler"], f"{name}-rehearsal")
    assert done.returncode == 0, done.stdout + done.stderr
    values = json.loads((folder / f"results/{name}-rehearsal/own_sampler.json").read_text())
    assert values["mark"] == "random weights: rehearsal"
    assert values["models"][0]["place"] == FULL_SIZE[name].places[0]
    (row,) = values["rows"]
    assert row["exact"] == 1.0 and row["image_db"] < -80


def test_the_book_says_which_profiles_are_rehearsed() -> None:
    page = (ROOT / "book/appendix/reproduce.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| rehearsed \|", page, re.MULTILINE)
    assert rows == [*FULL_SIZE]
