"""What a likelihood costs: one is measured whole, and nearly costs what is counted."""

from __future__ import annotations

from invlib.rehearsal.determinants import FEW, VECTORS, markdown, measure


def test_one_likelihood_is_measured_whole_beside_what_is_counted() -> None:
    row = measure("tiny", 4, 1.0, "cpu")
    assert row["whole_noises"] == 1  # the search has found the noise, so there is a determinant
    least = VECTORS * FEW * 3  # of every vector and step three products, forward and backward
    assert row["whole_nfe"] > 2 * least
    assert row["whole_seconds"] > 0 and row["determinant_seconds"] > row["push_seconds"]
    line = markdown({"device": "CPU", "rows": [row]}).splitlines()[-1]
    assert f"{row['whole_nfe']} evaluations" in line and "counted" in line
