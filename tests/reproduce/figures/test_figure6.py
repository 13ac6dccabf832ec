"""Figure 6: what it shows of the editing table."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import torch
from made_up_edits import result

from invlib.reproduce.editing import table as editing_table
from invlib.reproduce.editing.cells import ROWS
from invlib.reproduce.editing.errors import errors
from invlib.reproduce.editing.table import KINDS
from invlib.reproduce.figures.figure6 import cells as figure6
from invlib.reproduce.figures.figure6.drawing import draw, spread


def test_the_figure_shows_a_part_of_the_table() -> None:
    part, whole = figure6.cells("tiny"), editing_table.cells("tiny")
    assert part == whole[: len(part)]
    assert {c.options["group"] for c in part} >= {"paper", "ours"}


def test_every_error_map_has_its_number() -> None:
    values = result()
    figure = draw(values)
    try:
        assert len(figure.axes) == (len(figure6.SHOWN) + 1) * 8
        printed = [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()]
        expected = [
            f"{number:.4f}"
            for row in figure6.SHOWN
            for number in errors(values, row)["background"].flatten().tolist()
        ]
        assert sorted(printed) == sorted(expected)
        labels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes]
        assert all(ROWS[row].label in labels for row in figure6.SHOWN)
    finally:
        plt.close(figure)


def test_an_error_map_hides_what_may_change() -> None:
    values = result()
    for row in figure6.SHOWN:  # only the edited part changes
        values[f"{row}/given"] = values["targets"].clone()
    figure = draw(values)
    try:
        shown = torch.from_numpy(figure.axes[8 + 2].images[0].get_array().data)
        assert (shown[:8] == 255).all()
        assert (shown[8:] == 127).all()  # grey: no error
    finally:
        plt.close(figure)


def test_the_spread_has_a_point_for_each_edit() -> None:
    figure = spread({7.5: result(3), 3.0: result(3, seed=1)})
    try:
        for axis in figure.axes:
            points = sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() == "o")
            assert points == len(figure6.SHOWN) * 3 * 2
    finally:
        plt.close(figure)


def test_the_summary_names_the_masks_source() -> None:
    values = figure6.summary({7.5: result()}, "tiny")
    assert json.loads(json.dumps(values)) == values
    assert len(values["rows"]) == len(KINDS) * len(figure6.SHOWN)
    assert {r["mask"] for r in values["rows"]} == {"renderer", "attention"}
    with_state = {r["row"] for r in values["rows"] if "state_db" in r}
    assert with_state == {*figure6.SHOWN} - {"oracle"}
