"""Figure 4: its maps and errors, on noises with a known error."""

from __future__ import annotations

import pickle

import matplotlib.pyplot as plt
import pytest
import torch
from torch import Tensor

from invlib.reproduce.figures.figure4 import cells as figure4
from invlib.reproduce.figures.figure4.cells import PAPER, cells, rows, summary
from invlib.reproduce.figures.figure4.drawing import draw
from invlib.reproduce.watermark.marked import CHANNEL, KEYS, keys_named, noises
from invlib.reproduce.watermark.table import ROUTES
from invlib.watermark import spectrum

SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def result() -> dict[str, Tensor]:
    """Perfect noise on the first route, and one with an impulse of known size on the others."""
    marked = noises(figure4.PROMPT, "figure4", SHAPE).marked
    impulse = marked.clone()
    impulse[:, CHANNEL, 0, 0] += 16 * 0.5  # adds 1/2 to the modulus of every frequency's error
    picture = torch.zeros(KEYS, 3, 64, 64, dtype=torch.uint8)
    return {"picture": picture, **{r: impulse for r in ROUTES}, ROUTES[0]: marked}


def test_maps_and_errors_are_those_of_the_noise(result: dict[str, Tensor]) -> None:
    for i, row in enumerate(rows(result)):
        assert row.embedded.shape == (16, 16)  # the paper's crop is larger than these latents
        perfect, other = ROUTES[0], ROUTES[-1]
        assert row.error[perfect].max() < 1e-12 and row.nmae[perfect] < 1e-12
        torch.testing.assert_close(row.recovered[perfect], row.embedded)
        torch.testing.assert_close(row.error[other], torch.full((16, 16), 0.5).double())
        extent = (row.embedded.max() - row.embedded.min()).item()
        assert row.nmae[other] == pytest.approx(0.5 / extent)
        key = keys_named("figure4", (16, 16))[i]
        assert key.mask.sum() == 113
        shown = spectrum(result[other][i, CHANNEL]).abs()
        torch.testing.assert_close(row.recovered[other], shown)


def test_the_summary_stands_beside_the_paper(result: dict[str, Tensor]) -> None:
    values = summary(rows(result), "tiny")
    assert len(values["rows"]) == KEYS * len(ROUTES)
    assert [r["paper"] for r in values["rows"] if r["route"] == "encoder/naive"] == [
        *PAPER["encoder/naive"]
    ]
    assert values["nmae_mean"][ROUTES[0]] < 1e-10 < values["nmae_mean"][ROUTES[1]]


def test_the_figure_has_a_row_a_key_and_the_nmae_on_every_error(
    result: dict[str, Tensor],
) -> None:
    results = rows(result)
    figure = draw(results)
    assert len(figure.axes) == KEYS * (2 + 2 * len(ROUTES))
    shown = [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()]
    assert shown == [f"{row.nmae[route]:.2f}" for row in results for route in ROUTES]
    plt.close(figure)


def test_the_cell_is_well_formed() -> None:
    (cell,) = cells("tiny")
    assert pickle.loads(pickle.dumps(cell)).config == cell.config
    assert cell.options["keys"] == "figure4" and cell.options["routes"] == [*ROUTES]
