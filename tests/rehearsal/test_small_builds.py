"""The small builds of pipelines that take longest."""

from __future__ import annotations

import pytest
from test_rehearsal_pipelines import INVERTED, SLOW, inverted_again


@pytest.mark.parametrize("name", SLOW)
def test_a_small_build_is_inverted_again(name: str) -> None:
    assert name in INVERTED
    inverted_again(name)
