"""The random calls of small pipelines, many more of them than in `make test`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from amount import amount
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_pipeline_hypothesis import cases, check


@pytest.mark.torture
@settings(
    max_examples=amount(1, 1900),
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=cases(), seed=st.integers(0, 99))
def test_no_error_is_silent(case: Any, seed: int, counted: Callable[..., None]) -> None:
    check.hypothesis.inner_test(case, seed)
    counted("cases")
