"""Figure 2: what stands in it."""

from __future__ import annotations

from invlib.reproduce.figures.figure2 import cells as figure2


def test_figure_2_has_the_rows_of_the_paper_and_ours() -> None:
    rows = [(r.sampler, r.steps, r.method, r.inversion_steps) for r in figure2.ROWS]
    assert rows == [
        ("DDIM", 50, "naive", 1000),
        ("DDIM", 50, "algorithm1", 50),
        ("DPM-Solver++(2M)", 10, "naive", 1000),
        ("DPM-Solver++(2M)", 10, "algorithm1", 50),
        ("DPM-Solver++(2M)", 10, "algorithm2", 10),
        ("DPM-Solver++(2M)", 10, "exact", 10),
    ]
