"""Workers, nodes and runners that are killed, tested elsewhere and counted here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "rehearsal"), str(TESTS / "reproduce/engine")]
from test_ray import (  # noqa: E402, F401
    nodes,
    test_a_ray_cluster_that_loses_a_worker_ends_as_the_serial_run_does,
    test_two_nodes_one_killed_and_one_slow_end_as_one_process_does,
)
from test_runner import (  # noqa: E402, F401
    test_a_process_that_always_dies_is_reported,
    test_killed_at_a_random_moment_it_resumes_and_ends_equal,
    test_the_work_of_a_killed_process_is_tried_again,
)

# `make test` and `make rehearsal` run them where they stand
pytestmark = [pytest.mark.torture, pytest.mark.tries("faults")]
