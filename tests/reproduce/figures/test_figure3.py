"""Figure 3: the authors' runs are there, and steps are what they are said to be."""

from __future__ import annotations

import json
import pickle

import matplotlib.pyplot as plt
import pytest
import torch
from analytic import mixture, randn

from invlib import Schedule, ddim, sample
from invlib.reproduce.figures.figure3 import cells as figure3
from invlib.reproduce.figures.figure3 import drawing as figure3_drawing
from invlib.reproduce.figures.figure3.cells import HIGH_ORDER, SPACES
from invlib.reproduce.models.profiles import Space

AUTHORS = {
    ("DDIM", "naive"): {50, 100, 250, 500, 1000, 2000, 4000},
    ("DDIM", "algorithm1"): {50},
    (HIGH_ORDER, "naive"): {10, 25, 50, 100, 1000, 2000, 4000},
    (HIGH_ORDER, "algorithm1"): {10, 25, 50, 100},
    (HIGH_ORDER, "algorithm2"): {10},
}


def test_cells_are_well_formed() -> None:
    cells = figure3.cells("tiny")
    assert len({json.dumps(cell.config, sort_keys=True) for cell in cells}) == len(cells)
    assert pickle.loads(pickle.dumps(cells))[0].config == cells[0].config


@pytest.mark.parametrize("number", range(len(SPACES)))
def test_every_run_of_the_authors_is_measured_or_said_to_be_missing(number: int) -> None:
    runs = [figure3._run(c) for c in figure3.cells("tiny") if c.options["space"] == number]
    left_out = figure3.UNMEASURED[SPACES[number]]
    for (sampler, method), wanted in AUTHORS.items():
        here = {r.inversion_steps for r in runs if (r.sampler, r.method) == (sampler, method)}
        missing = {
            r.inversion_steps for r in left_out if (r.sampler, r.method) == (sampler, method)
        }
        assert here | missing == wanted
        assert not here & missing


@pytest.fixture
def space() -> Space:
    schedule = Schedule.scaled_linear()
    return Space(
        name="analytic",
        label="analytic",
        guidance=1.0,
        grid=schedule.grid,
        denoiser=mixture(schedule),
        noise=randn(2, 4),
        picture=lambda x: x,
        noise_picture=lambda x: x,
        model="",
    )


@pytest.mark.parametrize(
    ("method", "steps", "nfe"), [("naive", 8, 8), ("naive", 40, 40), ("exact", 8, None)]
)
def test_naive_steps_are_evaluations(space: Space, method: str, steps: int, nfe: int) -> None:
    solver = ddim(space.grid(8))
    image = sample(space.denoiser, space.noise, solver).image
    found = figure3.inverted(space, image, solver, method, steps)
    if nfe is None:
        assert (found.noise - space.noise).norm() < 1e-8
    else:
        assert found.nfe.tolist() == [nfe, nfe]


def test_a_smaller_tolerance_finds_more(space: Space) -> None:
    solver = ddim(space.grid(8))
    image = sample(space.denoiser, space.noise, solver).image
    error = {
        method: (figure3.inverted(space, image, solver, method, 8).noise - space.noise).norm()
        for method in ("algorithm1", "tight")
    }
    assert error["tight"] < 0.1 * error["algorithm1"]


def fake_points() -> list[dict]:
    """A point for every cell, each with errors that say which one it is."""
    points = []
    for cell in figure3.cells("tiny"):
        run = figure3._run(cell)
        value = 1e-12 if run.method in figure3_drawing.STRIP else 1 / run.inversion_steps
        nmse = value * torch.arange(1.0, run.count + 1, dtype=torch.float64)
        errors = {name: nmse for name in figure3.ERRORS}
        more = {"nfe": torch.full((run.count,), 7), "seconds": torch.tensor(0.5)}
        points.append({"space": SPACES[cell.options["space"]], "run": run, **errors, **more})
    return sorted(points, key=lambda p: p["run"].inversion_steps)


def test_summary_has_median_and_range() -> None:
    values = figure3.summary(fake_points(), "tiny")
    row = next(r for r in values["rows"] if r["method"] == "naive" and r["inversion_steps"] == 100)
    assert row["noise_nmse_db_range"] == [-20.0, -15.23]
    assert -20 < row["noise_nmse_db"] < -15.23
    assert {r["inversion_steps"] for r in values["not measured"]} == {2000, 4000}
    json.dumps(values)


@pytest.mark.parametrize("error", ["noise_nmse", "image_nmse"])
def test_drawing(error: str) -> None:
    figure = figure3_drawing.draw(fake_points(), error)
    assert len(figure.axes) == 8
    assert figure.get_figwidth() == 5
    plt.close(figure)


def test_a_curve_of_fewer_images_is_joined_to_the_same_images() -> None:
    counts = [4, 4, 2, 4, 1, 1]
    points = [{"run": figure3.Run("DDIM", 50, "naive", k, c)} for k, c in enumerate(counts)]
    for count, expected in ((2, [1, 2, 3]), (1, [3, 4, 5])):
        part = figure3_drawing.comparable(points, count)
        assert [p["run"].inversion_steps for p in part] == expected
