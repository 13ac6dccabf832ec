"""The comparison of methods: what a tick means, and that it can be a cross."""

from __future__ import annotations

import json
import math
import pickle
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from twelve import run

from invlib.inversion import invert
from invlib.metrics import nmse
from invlib.reproduce.figures.comparison import cells as comparison
from invlib.reproduce.figures.comparison import comparing
from invlib.reproduce.figures.comparison.cells import COLUMNS, METHODS, OWN, Entry, entries, mark
from invlib.reproduce.figures.comparison.comparing import REVERSIBLE, grid_of, inverter_of, undone
from invlib.reproduce.figures.comparison.drawing import certified, draw, lines
from invlib.reproduce.models.problem import Problem
from invlib.reversible import sample_reversible
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m

GRID = Schedule.scaled_linear().grid


def test_cells_are_distinct_and_travel_to_other_processes() -> None:
    found = comparison.cells("tiny")
    assert len({str(cell.config) for cell in found}) == len(found)
    assert [pickle.loads(pickle.dumps(cell)).config for cell in found] == [c.config for c in found]


def test_every_method_meets_every_column_and_reversible_samplers_their_own_images_too() -> None:
    plain = {(e.method, e.column.label) for e in entries() if e.images != OWN}
    assert plain == {(m, c.label) for m in METHODS for c in COLUMNS}
    assert {e.method for e in entries() if e.images == OWN} == set(REVERSIBLE)


def test_a_tick_needs_nine_images_of_ten() -> None:
    levels = torch.tensor([1e-8] * 9 + [1.0], dtype=torch.float64)
    assert comparison.reached(levels) == pytest.approx(-80)
    assert comparison.reached(torch.cat([levels[:8], levels[-1:], levels[-1:]])) == 0
    assert comparison.reached(levels[-2:]) == 0  # of two images both
    assert [mark(level) for level in (-61, -59, -29, math.inf)] == ["✔", "≈", "✗", "✗"]


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_the_grid_of_a_sampler_is_the_one_it_was_made_from(make: Any) -> None:
    grid = grid_of(make(GRID(10)))
    for name in ("t", "alpha", "sigma"):
        assert torch.equal(getattr(grid, name)[:-1], getattr(GRID(10), name)[:-1])
    assert torch.equal(grid.sigma, GRID(10).sigma)


@pytest.mark.parametrize("name", sorted(REVERSIBLE))
def test_a_reversible_sampler_undoes_its_own_images_but_not_ddims(name: str) -> None:
    solver = ddim(GRID(10))
    denoiser, noise, trajectory = run(2, 1.0, solver)
    theirs = undone(denoiser, trajectory.image, solver, make=REVERSIBLE[name])
    again = sample(denoiser, theirs.noise, solver).image
    assert (nmse(again, trajectory.image) > 1e-6).all()
    assert (theirs.nfe >= solver.steps - 1).all() and theirs.reason == ("explicit",) * 2
    own = sample_reversible(denoiser, noise, REVERSIBLE[name](grid_of(solver)))
    found = undone(denoiser, own.image, solver, make=REVERSIBLE[name])
    assert found.noise.shape == noise.shape and torch.equal(found.states[-1], own.image)


def small(sampler: str, guidance: float) -> tuple[Problem, Solver]:
    solver = ddim(GRID(10)) if sampler.startswith("DDIM") else dpm_solver_pp_2m(GRID(10))
    denoiser, noise, _ = run(2, guidance, solver)
    return Problem(None, solver, denoiser, noise), solver


@pytest.fixture
def analytic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of the cells, on exact networks."""

    class Small:
        @staticmethod
        def of(sampler: str, guidance: float, first: int, count: int, profile: str) -> Problem:
            return small(sampler, guidance)[0]

    monkeypatch.setattr(comparing, "Problem", Small)


@pytest.mark.usefixtures("analytic")
def test_measured_values_are_those_of_the_round_trip() -> None:
    options = {"guidance": 1.0, "first": 0, "count": 2, "profile": "tiny"}
    work = partial(comparing.standard, **options)
    ours, hong = work("ours", "2M-10"), work("hong", "2M-10")
    assert ours["exact"].all() and (ours["round_trip"] < 1e-20).all()
    assert not hong["exact"].any() and (hong["round_trip"] > 1e-12).all()
    assert (work("aidi", "DDIM-10")["noise"] < work("edict", "DDIM-10")["noise"]).all()
    edict = comparing.own("edict", "DDIM-10", **options)
    assert (edict["round_trip"] < 1e-20).all() and edict["exact"].all()
    assert (edict["noise_pair"] < 1e-20).all() and (edict["noise"] > 1e-6).all()


def test_hong_is_algorithm_1_or_2() -> None:
    for sampler, name in (("DDIM-50", "algorithm1"), ("2M-10", "algorithm2")):
        problem, solver = small(sampler, 1.0)
        image = sample(problem.denoiser, problem.noise, solver).image
        found = invert(problem.denoiser, image, solver, method=inverter_of("hong", solver))
        assert found.method == name


def toy(round_trip: float = 1e-7) -> dict[str, Any]:
    def values(entry: Entry) -> dict[str, torch.Tensor]:
        one = torch.ones(entry.count, dtype=torch.float64)
        result = {"round_trip": round_trip * one, "noise": 1e-2 * one, "exact": one > 2}
        pair = {"noise_pair": one} if entry.images == OWN else {}
        return {**result, **pair, "flagged": one > 2, "nfe": 50 * one}

    return comparison.summary([(entry, values(entry)) for entry in entries()], "tiny")


def test_the_page_shows_levels_and_what_the_paper_says() -> None:
    shown = lines(toy())
    assert shown[3]["method"] == "Zhang et al. (BDIA), images of its own"
    assert shown[0][COLUMNS[0].label] == "✔ -70 dB (paper ✗)"
    assert shown[0]["certified"] == "✗ 0 of 4"
    assert shown[3][COLUMNS[0].label] == "not measured"
    assert "paper" not in shown[0][COLUMNS[3].label]  # it does not ask
    assert "paper" not in shown[0][COLUMNS[2].label]  # its tick is for images of EDICT's own
    assert shown[1][COLUMNS[2].label] == "✔ -70 dB (paper ✔)"


def test_numbers_that_were_outgrown_stay_json() -> None:
    values = toy(math.inf)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert lines(values)[0][COLUMNS[0].label] == "✗ not finite (paper ✗)"


def test_the_certificate_counts_columns() -> None:
    assert certified([{"certified": 1.0}, {"certified": 0.89}, None]) == "✗ 1 of 2"
    assert certified([{"certified": 0.9}, None]) == "✔ 1 of 1"


@pytest.mark.usefixtures("styled")
def test_the_figure_shows_every_entry() -> None:
    figure = draw(toy())
    axis = figure.axes[0]
    marks = sum(len(line.get_xdata()) for line in axis.lines if line.get_linestyle() == "None")
    assert marks == len(entries())
    assert len(axis.get_yticklabels()) == len(METHODS) + len(REVERSIBLE)
    plt.close(figure)
