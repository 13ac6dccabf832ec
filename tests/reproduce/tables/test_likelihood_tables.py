"""Which candidate comes first: one that nothing tells from others does not."""

from __future__ import annotations

import math

import pytest
import torch

from invlib.reproduce.tables import likelihood, who

LOST = torch.full((2, 8), -math.inf).double()


def test_scores_that_are_equal_or_none_name_nobody() -> None:
    scores = torch.tensor(
        [
            *([2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 1.0, 0.0], [-math.inf] * 3),
            *([1.0, math.nan, 0.0], [math.nan, 1.0, 0.0], [math.nan] * 3),
        ]
    )
    assert likelihood.comes_first(scores).tolist() == [True, *[False] * 3, True, False, False]
    assert likelihood.comes_first(scores, 1).tolist() == [False, True, *[False] * 3, True, False]


def test_no_noise_of_any_candidate_is_no_success() -> None:
    """The first candidate is the true one, so that the first of equal scores was a success."""
    lost = torch.full((2, 8), math.nan).double()
    values = {
        "norm": lost,
        "whiteness": lost,
        "naive": lost,
        "error": lost,
        "nfe": lost.nan_to_num(),
    }
    merged = {"log_p": LOST, "lead": lost[:, 1:], "lead_error": lost[:, 1:], **values}
    [row] = likelihood.summary("DDIM-20", 1.0, merged)
    assert row["without_noise"] == 16
    assert all(row[name] == 0 for name in row if name.startswith("top1_"))


@pytest.mark.parametrize("guidance", who.BINS[:2])
def test_refused_calls_are_no_success(guidance: float) -> None:
    lost = torch.stack([LOST, -LOST, torch.zeros(2, 8).double()], 2)
    merged = {f"{part}/prompts": lost for part in who.PARTS}
    merged |= {f"{part}/guidance": lost[:, :5] for part in who.PARTS}
    for row in who.summary("DDIM-20", guidance, merged):
        assert all(row[n] == 0 for n in row if n.startswith(("prompts", "bins")))
