"""A hub on loopback with random small weights, and what is made from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_filling import fill
from loopback_hub import Hub, serving

from invlib.reproduce.models.full_size import FULL_SIZE


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    fill(folder, FULL_SIZE)
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rehearsal")
