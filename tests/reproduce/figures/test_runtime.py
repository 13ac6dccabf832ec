"""The run-time table: which cells it shares, and what its ratios mean."""

from __future__ import annotations

import pickle
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from invlib.reproduce.figures.reconstruction import cells as reconstruction
from invlib.reproduce.figures.reconstruction.cells import Row
from invlib.reproduce.figures.runtime import cells as runtime
from invlib.reproduce.figures.runtime.drawing import draw

COST = {"naive": 50, "naive_1000": 1000, "fpi": 350, "algorithm1": 700, "algorithm2": 3000}


def measured(row: Row) -> dict[str, torch.Tensor]:
    nfe = float(COST.get(row.method, 200))
    picture = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    one = torch.ones(2, dtype=torch.float64)
    return {
        "noise": 1e-3 * one,
        "state": 1e-4 * one,
        "start": 0 * one,
        "picture": picture,
        "again": picture + 1,
        "nfe": nfe * one,
        "seconds": 0.02 * nfe * one,
    }


def toy() -> dict[str, Any]:
    return runtime.summary([(row, measured(row)) for row in runtime.rows()], "tiny")


def test_cells_are_distinct_and_mostly_those_of_the_reconstruction_table() -> None:
    found = [str(cell.config) for cell in runtime.cells("tiny")]
    shared = {str(cell.config) for cell in reconstruction.cells("tiny")}
    assert len(set(found)) == len(found)
    assert len(set(found) - shared) == 1  # the walk in 1000 steps
    assert all(pickle.loads(pickle.dumps(cell)).options for cell in runtime.cells("tiny"))


def test_every_method_that_the_paper_timed_has_a_row() -> None:
    methods = {row.method for row in runtime.rows()}
    assert methods == {*runtime.PAPER_SECONDS, "ours"}
    assert all(row.space == "latent" and not row.decoder for row in runtime.rows())


def test_ratios_are_relative_to_fifty_naive_steps_of_the_same_sampler() -> None:
    rows = {(r["sampler"], r["method"]): r for r in toy()["rows"]}
    first, fine = rows["DDIM-50", "naive"], rows["DDIM-50", "naive_1000"]
    assert first["nfe_ratio"] == first["seconds_ratio"] == first["paper_ratio"] == 1
    assert fine["nfe_ratio"] == 20 and fine["paper_ratio"] == 19.7
    assert fine["name"] == "naive / 1000" and fine["ms_per_evaluation"] == 20
    assert rows["2M-10", "algorithm2"]["paper_ratio"] == 53
    assert rows["2M-10", "ours"]["paper_seconds"] is None


@pytest.mark.usefixtures("styled")
def test_the_figure_shows_the_paper_beside_us() -> None:
    figure = draw(toy())
    names = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert names[0] == "naive / 50" and names[-1] == "ours / 10 (2M)"
    marks = [line for line in figure.axes[1].lines if line.get_marker() == "|"]
    assert len(marks) == len(runtime.PAPER_SECONDS) + 1  # and the legend's
    plt.close(figure)
