"""Settings for all tests: reproducible examples, no deadline on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from hypothesis import settings

from invlib.plotting import style

settings.register_profile("invlib", deadline=None, derandomize=True)
settings.load_profile("invlib")


def pytest_configure(config: pytest.Config) -> None:
    # diffusers' own business, thousands of lines of it
    for category in ("DeprecationWarning", "FutureWarning", "UserWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{category}:diffusers")
        config.addinivalue_line("filterwarnings", f"ignore::{category}:torchsde")
        config.addinivalue_line("filterwarnings", f"ignore::{category}:numpy")


@pytest.fixture
def styled() -> Iterator[None]:
    """The style of the book's figures, for one test."""
    with plt.rc_context():
        style()
        yield
