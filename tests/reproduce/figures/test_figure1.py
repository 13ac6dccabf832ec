"""Figure 1: the watched step of Algorithm 2 is the step that Algorithm 2 makes."""

from __future__ import annotations

import pickle

import matplotlib.pyplot as plt
import pytest
import torch

from invlib import algorithm2
from invlib.reproduce.figures.figure1 import cells as figure1
from invlib.reproduce.figures.figure1 import drawing as figure1_drawing
from invlib.reproduce.figures.watching import Watched


@pytest.fixture(scope="module")
def result() -> dict[str, torch.Tensor]:
    return figure1.trace()


def test_cells_are_well_formed() -> None:
    (cell,) = figure1.cells("tiny")
    assert pickle.loads(pickle.dumps(cell)).config == cell.config


def test_watching_changes_nothing_and_counts_every_call() -> None:
    denoiser, solver, noise = figure1.problem()
    watched = Watched(denoiser)
    plain, seen = (algorithm2(d, noise, solver) for d in (denoiser, watched))
    assert torch.equal(plain.noise, seen.noise)
    assert len(watched.calls) == plain.nfe.item()


def test_the_watched_step_is_the_one_that_was_made(result: dict[str, torch.Tensor]) -> None:
    states, node = result["states/algorithm2"], figure1.NODE
    fine, rough, iterates = (result[f"step/{name}"] for name in ("fine", "rough", "iterates"))
    assert torch.equal(fine[0], states[node + 1])
    assert torch.equal(fine[-1], rough[1])
    assert (fine == rough[0]).all(1).any()
    assert torch.equal(iterates[0], rough[0])
    assert torch.equal(iterates[-1], states[node])


def test_with_its_term_the_accepted_state_solves_the_step(result: dict[str, torch.Tensor]) -> None:
    denoiser, solver, _ = figure1.problem()
    states, node = result["states/algorithm2"], figure1.NODE
    index, x = torch.tensor([node]), states[node][None]
    output = solver.output(denoiser, x, index, torch.zeros_like(index))[0]
    end = solver.a[node] * x[0] + solver.b[node].sum() * output + result["step/term"]
    assert (end - states[node + 1]).norm() < 2.5e-4 * x.norm()


def test_the_term_of_true_states_is_the_true_one() -> None:
    """The sampler's step, with the term computed as in the figure, but from the true states."""
    denoiser, solver, noise = figure1.problem()
    trajectory = figure1.sample(denoiser, noise, solver)
    i = figure1.NODE
    outputs = trajectory.outputs[:, 0]
    total = solver.b[i].sum()
    term = (solver.b[i, i] - total) * outputs[i] + solver.b[i, i - 1] * outputs[i - 1]
    end = solver.a[i] * trajectory.states[i, 0] + total * outputs[i] + term
    torch.testing.assert_close(end, trajectory.states[i + 1, 0])


def test_summary_and_drawing(result: dict[str, torch.Tensor]) -> None:
    rows = {row["method"]: row for row in figure1.summary(result, "tiny")["rows"]}
    assert rows["ours"]["noise_distance"] < 1e-12 < rows["algorithm2"]["noise_distance"]
    assert rows["algorithm2"]["noise_distance"] < rows["naive"]["noise_distance"]
    figure = figure1_drawing.draw(result)
    assert figure.get_figwidth() == 5
    plt.close(figure)
