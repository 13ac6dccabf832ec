"""Figure 5: confusion matrices, of perfect noise and of none."""

from __future__ import annotations

import pickle

import matplotlib.pyplot as plt
import pytest
import torch

from invlib.reproduce.figures.figure5.cells import (
    COLUMNS,
    MASKS,
    OFFICIAL,
    PERFECT,
    PROMPTS,
    Results,
    cells,
    perfect,
    summary,
    table,
)
from invlib.reproduce.figures.figure5.drawing import draw
from invlib.reproduce.watermark.marked import KEYS
from invlib.reproduce.watermark.scores import read, together

SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def results() -> Results:
    """Perfect noise in every column."""
    return {keys: {name: perfect(keys, SHAPE, 8) for name in COLUMNS} for keys in MASKS}


def test_the_mended_mask_classifies_perfect_noise_and_the_official_one_loses_a_key(
    results: Results,
) -> None:
    assert table(results["released"][PERFECT]).tolist() == [[8, 0, 0], [0, 8, 0], [0, 0, 8]]
    official = table(results["official"][PERFECT])
    assert official[0, 1] >= 7 and official[1:].tolist() == [[0, 8, 0], [0, 0, 8]]
    assert results["released"][PERFECT].nmae.max() < 1e-12
    assert results["official"][PERFECT].nmae.min() > 0.01


def test_noise_without_any_key_is_taken_for_some_key() -> None:
    noise = [torch.randn(KEYS, *SHAPE, dtype=torch.float64) for _ in range(4)]
    counts = table(together([read(x, p, "released") for p, x in enumerate(noise)]))
    assert counts.sum(1).tolist() == [4] * KEYS


def test_summary_and_figure_show_the_same_counts(results: Results) -> None:
    values = summary(results, "tiny")
    assert len(values["rows"]) == len(MASKS) * len(COLUMNS)
    for row in values["rows"]:
        diagonal = sum(row["confusion"][i][i] for i in range(KEYS))
        assert row["accuracy"] == pytest.approx(diagonal / row["pictures"], abs=1e-3)
        assert row["accuracy_ci95"][0] < row["accuracy"] <= 1
    figure = draw(results)
    counts = [int(t.get_text()) for axis in figure.axes for t in axis.texts]
    assert counts == [n for r in values["rows"] for line in r["confusion"] for n in line]
    plt.close(figure)


def test_cells_are_well_formed() -> None:
    work = cells("tiny")
    assert len(work) == PROMPTS + OFFICIAL
    assert len({str(cell.config) for cell in work}) == len(work)
    assert pickle.loads(pickle.dumps(work[0])).config == work[0].config
