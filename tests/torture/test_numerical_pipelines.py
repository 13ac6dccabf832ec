"""The faults of networks and decoders in pipelines, tested elsewhere and counted here."""

from __future__ import annotations

import pytest
from test_decoders import (  # noqa: F401
    test_a_decoder_that_returns_nan_is_an_error_that_says_what_to_do,
    test_decoders_that_draw_numbers_are_refused,
    test_one_image_that_decodes_to_nan_says_so_alone,
)
from test_pipelines import test_a_decoder_that_returns_nan_is_named  # noqa: F401
from test_reading import (  # noqa: F401
    test_a_decoder_in_training_mode_is_named,
    test_a_network_in_training_mode_is_named,
    test_a_network_that_keeps_its_last_answer_from_run_to_run_is_refused,
    test_a_network_that_overflows_is_named,
    test_a_random_network_is_refused,
    test_an_encoder_of_pictures_in_training_mode_is_noted,
    test_encoders_in_training_mode_are_named,
)

# `make test` runs them where they stand
pytestmark = [pytest.mark.torture, pytest.mark.tries("faults")]
