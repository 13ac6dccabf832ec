"""The reconstruction table: what its rows invert, and what its numbers mean."""

from __future__ import annotations

import pickle
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from analytic import randn
from twelve import run

from invlib.inversion import Inversion
from invlib.metrics import nmse
from invlib.reproduce.figures.reconstruction import cells as reconstruction
from invlib.reproduce.figures.reconstruction.cells import (
    Row,
    cells,
    likeness,
    numbers,
    rows,
    spread,
)
from invlib.reproduce.figures.reconstruction.drawing import PARTS, draw, lines, part
from invlib.reproduce.figures.reconstruction.recovering import inverted, timed
from invlib.reproduce.models.problem import Problem
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import ddim, dpm_solver_pp_2m

GRID = Schedule.scaled_linear().grid


def test_cells_are_distinct_and_travel_to_other_processes() -> None:
    found = cells("tiny")
    assert len({str(cell.config) for cell in found}) == len(found) == len(rows())
    assert [pickle.loads(pickle.dumps(cell)).config for cell in found] == [c.config for c in found]
    assert all(cell.options["count"] >= 2 for cell in found)  # one image has no spread


def test_the_rows_are_those_of_the_paper_and_ours() -> None:
    plain = {(r.space, r.sampler, r.method) for r in rows() if not r.decoder}
    for space in ("pixel", "latent"):
        for method in ("naive", "fpi", "algorithm1", "ours"):
            assert {(space, "DDIM-50", method), (space, "2M-10", method)} < plain
        assert (space, "2M-10", "algorithm2") in plain
        assert (space, "DDIM-50", "algorithm2") not in plain
    pictures = {(r.decoder, r.method) for r in rows() if r.decoder}
    assert {("encoder", "naive"), ("D†", "algorithm1"), ("D†", "ours"), ("ours", "ours")} < pictures


def test_first_order_methods_take_fifty_steps_whatever_the_sampler() -> None:
    steps = {m: Row("latent", "", "2M-10", m).inversion_steps for m in ("naive", "fpi", "ours")}
    assert steps == {"naive": 50, "fpi": 50, "ours": 10}
    assert Row("pixel", "", "2M-10", "algorithm2").inversion_steps == 10


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_every_method_inverts_what_it_says(make: Any) -> None:
    """On exact networks the paper's order holds: ours, then its algorithms, then naive."""
    solver, fine = make(GRID(8)), ddim(GRID(8 if make is ddim else 16))
    denoiser, noise, trajectory = run(2, 1.0, solver)
    problem = Problem(None, solver, denoiser, noise)

    def error(method: str, tol: float = 2.5e-4) -> tuple[float, Inversion]:
        found = inverted(problem, trajectory.image, fine, method, tol, rough=False)
        again = sample(denoiser, found.noise, solver).image
        return nmse(again, trajectory.image).max().item(), found

    naive, found = error("naive")
    assert found.states.shape[0] == fine.steps + 1
    exact, found = error("ours")
    assert found.states.shape[0] == solver.steps + 1 and exact < 1e-20
    if make is ddim:
        assert exact < error("algorithm1", 1e-7)[0] < error("algorithm1")[0] < naive
        assert error("fpi")[0] < naive
    else:
        assert exact < error("algorithm2")[0] < naive


def test_from_a_rough_image_ours_makes_one_search() -> None:
    solver = dpm_solver_pp_2m(GRID(6))
    denoiser, noise, trajectory = run(2, 1.0, solver)
    problem = Problem(None, solver, denoiser, noise)
    found = inverted(problem, trajectory.image, solver, "ours", 1e-4, rough=True)
    assert found.method == "multisecant"


def test_seconds_are_those_of_one_thread() -> None:
    before = torch.get_num_threads()
    inside, seconds = timed(lambda: torch.get_num_threads())  # type: ignore[arg-type, return-value]
    assert inside == 1 and seconds >= 0 and torch.get_num_threads() == before


def pictures(count: int = 2) -> torch.Tensor:
    x = (randn(count, 3, 32, 32).sigmoid() * 255).round()
    return x.to(torch.uint8)


def measured(again: torch.Tensor, state: float = 1e-4) -> dict[str, torch.Tensor]:
    errors = torch.tensor([1e-2, 3e-2], dtype=torch.float64)
    return {
        "noise": errors,
        "state": torch.full((2,), state, dtype=torch.float64),
        "start": torch.zeros(2, dtype=torch.float64),
        "picture": pictures(),
        "again": again,
        "nfe": torch.tensor([50, 52]),
        "seconds": torch.tensor([1.0, 3.0], dtype=torch.float64),
    }


def test_spread_is_what_the_paper_reports_and_levels() -> None:
    found = spread("noise", torch.tensor([1e-2, 3e-2], dtype=torch.float64))
    assert found["noise_nmse_mean"] == 0.02 and found["noise_nmse_std"] == 0.0141
    assert found["noise_db_low"] == -20 and found["noise_db_high"] == -15.2
    assert found["noise_db_median"] == -17.0


def test_the_image_error_is_that_of_the_state_in_pixel_space_and_of_bytes_in_latent_space() -> None:
    same = measured(pictures())
    pixel = numbers(Row("pixel", "", "DDIM-50", "algorithm2"), same)
    latent = numbers(Row("latent", "", "DDIM-50", "algorithm2"), same)
    assert pixel["image_db_median"] == -40 and latent["image_db_median"] is None
    assert latent["identical"] == 1 and latent["psnr_median"] is None and latent["ssim_mean"] == 1
    assert latent["start_db_median"] is None and latent["nfe"] == 51 and latent["seconds"] == 2


def test_likeness_falls_with_the_error() -> None:
    x = pictures().double() / 255
    near, far = likeness((x + 0.01).clamp(0, 1), x), likeness((x + 0.2).clamp(0, 1), x)
    assert near["psnr_median"] > far["psnr_median"] and near["ssim_mean"] > far["ssim_mean"]
    assert 39.5 < near["psnr_median"] < 41
    assert near["lpips"] is None  # nothing measures it


def toy() -> dict[str, Any]:
    noisy = (pictures().int() + 3).clamp(0, 255).to(torch.uint8)
    return reconstruction.summary([(row, measured(noisy)) for row in rows()], "tiny")


def test_the_page_shows_every_row_and_what_is_not_measured() -> None:
    values = toy()
    shown = [line for title in PARTS for line in lines(values, title)]
    assert len(shown) == len(values["rows"]) == len(rows())
    assert {line["LPIPS"] for line in shown} == {"not measured"}
    assert shown[0]["noise NMSE"] == "0.02 ± 0.01" and shown[0]["inversion"] == "naive / 50"
    titles = [{r["space"] + r["decoder"][:1] for r in part(values, title)} for title in PARTS]
    assert titles == [{"pixel"}, {"latent"}, {"latente", "latentD", "latento"}]


@pytest.mark.usefixtures("styled")
def test_the_figure_names_every_row() -> None:
    figure = draw(toy())
    names = [[t.get_text() for t in axis.get_yticklabels()] for axis in figure.axes]
    assert names[0] == ["naive", "FPI", "Algorithm 1", "Algorithm 2", "ours"] == names[1]
    assert names[2][:2] == ["naive, encoder", "naive, D†"] and names[2][-1] == "ours, our D†"
    plt.close(figure)
