"""The graphical abstract: what is said to be an iterate was one."""

from __future__ import annotations

import pickle

import matplotlib.pyplot as plt
import torch
from analytic import mixture, noise_prediction, randn

from invlib import Schedule, algorithm1, ddim, naive, sample
from invlib.reproduce.figures.abstract import cells as abstract
from invlib.reproduce.figures.abstract import drawing as abstract_drawing
from invlib.reproduce.figures.watching import Watched

SHAPE = (1, 2, 2)


def flat_mixture(schedule: Schedule):
    """A denoiser of states that look like small pictures."""
    inner = mixture(schedule)
    return noise_prediction(lambda x, t: inner(x.flatten(1), t).view_as(x))


def test_cells_are_well_formed() -> None:
    (cell,) = abstract.cells("tiny")
    assert pickle.loads(pickle.dumps(cell)).config == cell.config


def test_searches_start_at_the_naive_step_and_end_at_the_accepted_state() -> None:
    schedule = Schedule.scaled_linear()
    solver, watched = ddim(schedule.grid(5)), Watched(flat_mixture(schedule))
    truth = sample(watched.network, randn(1, *SHAPE), solver).states
    found = algorithm1(watched, truth[-1], solver, tol=1e-10)
    first = naive(watched.network, truth[-1], solver).states[-2]
    search = abstract.searches(watched, solver, truth)
    assert search.shape[0] == 5
    assert (~search.isnan()).sum() == found.iterations.sum()
    assert torch.equal(search[-1, 0], abstract.distance(first, truth[-2])[0])
    ends = torch.stack([row[~row.isnan()][-1] for row in search])
    torch.testing.assert_close(
        ends, abstract.distance(found.states, truth)[:-1, 0], atol=1e-9, rtol=0
    )


def test_distance_is_the_root_mean_square() -> None:
    x = torch.zeros(3, 2, *SHAPE)
    y = x.clone()
    y[1, 0] = 2.0
    expected = torch.zeros(3, 2)
    expected[1, 0] = 2.0
    assert torch.equal(abstract.distance(x, y), expected)


def test_bytes_are_rounded() -> None:
    assert abstract.as_bytes(torch.tensor([0.0, 0.4999, 1.0])).tolist() == [0, 127, 255]


def test_summary_and_drawing() -> None:
    n, shape = abstract.STEPS, (3, 8, 8)
    result = {"search": torch.full((n, 4), torch.nan)}
    result["search"][:, :3] = torch.tensor([0.3, 0.2, 0.1])
    for k, name in enumerate(abstract.METHODS):
        result[f"distance/{name}"] = torch.linspace(0.5 / 10**k, 0, n + 1)
        result[f"noise_nmse/{name}"] = result[f"image_nmse/{name}"] = torch.tensor([0.1**k])
        result[f"nfe/{name}"] = torch.tensor([n])
    for name in ("truth", "naive"):
        result[f"pictures/{name}"] = torch.zeros(7, *shape, dtype=torch.uint8)
    values = abstract.summary(result, "tiny")
    assert [row["noise_nmse_db"] for row in values["rows"]] == [0, -10, -20, -30]
    assert values["steps"]["tries"] == [3] * n
    plt.close(abstract_drawing.draw(result))
