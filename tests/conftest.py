"""Settings for all tests: reproducible examples, no deadline on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import settings
from slow import slow

from invlib.plotting import style

settings.register_profile("invlib", deadline=None, derandomize=True)
settings.load_profile("invlib")


def pytest_configure(config: pytest.Config) -> None:
    # diffusers' own business, thousands of lines of it
    for category in ("DeprecationWarning", "FutureWarning", "UserWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{category}:diffusers")
        config.addinivalue_line("filterwarnings", f"ignore::{category}:torchsde")
        config.addinivalue_line("filterwarnings", f"ignore::{category}:numpy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make unit` leaves to `make thorough`."""
    names = slow()
    for item in items:
        if item.nodeid in names:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def gradients_stay_on() -> Iterator[None]:
    """What switches gradients off for all that follows is a fault of the test that does it."""
    yield
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert enabled


@pytest.fixture
def styled() -> Iterator[None]:
    """The style of the book's figures, for one test."""
    with plt.rc_context():
        style()
        yield
