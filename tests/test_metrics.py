"""The error measures on which every verdict stands."""

from __future__ import annotations

import pytest
import torch

from invlib.metrics import decibel, nmse


def test_an_error_is_relative_to_the_truth_of_its_own_sample() -> None:
    truth = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])
    estimate = torch.tensor([[[3.0, 9.0]], [[4.0, 2.0]]])
    assert nmse(estimate, truth).tolist() == [25 / 25, 16 / 4]
    assert nmse(truth, estimate).tolist() == [25 / 90, 16 / 20]
    assert nmse(truth, truth).tolist() == [0, 0]
    assert nmse(7 * estimate, 7 * truth).tolist() == pytest.approx([1, 4])


def test_squares_are_summed_in_double_precision() -> None:
    """In float16 the squares overflow, and small errors vanish."""
    truth = torch.full((1, 4), 1024.0, dtype=torch.float16)
    error = nmse(truth + 1, truth)
    assert error.dtype == torch.float64 and error.item() == 2.0**-20


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes differ: \(1, 2\) and \(2,\)"):
        nmse(torch.ones(1, 2), torch.ones(2))


def test_decibels_end_at_minus_400() -> None:
    ratios = torch.tensor([10.0, 1.0, 1e-3, 1e-40, 0.0], dtype=torch.float64)
    assert decibel(ratios).tolist() == pytest.approx([10, 0, -30, -400, -400])
