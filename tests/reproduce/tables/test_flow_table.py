"""The table of flow-matching inversions: what it measures, and what its page says."""

from __future__ import annotations

import torch
from analytic import randn
from twelve import DIM, prompted

from invlib.flow import FLOW_RIVALS, Straight, flow_euler, from_vp_noise, straight_grid
from invlib.metrics import decibel
from invlib.reproduce.tables import flow
from invlib.sampling import sample
from invlib.schedule import Schedule

VP = Schedule.scaled_linear()


def test_rivals_meet_euler_and_their_own_sampler() -> None:
    assert [*flow.methods("Euler-10")] == ["exact", *FLOW_RIVALS]
    assert [*flow.methods("midpoint-10")] == ["exact", "rf_solver"]
    assert [*flow.methods("FireFlow-28")] == ["exact", "fireflow"]


def test_methods_are_measured_on_the_same_images() -> None:
    denoiser, noise = Straight(prompted(4, 3.5), VP), randn(4, DIM)
    solver = from_vp_noise(flow_euler(straight_grid(VP, 10)))
    image, merged = sample(denoiser, noise, solver).image, {}
    limit = torch.full((4,), 1e-10, dtype=torch.float64)
    for label, method in flow.methods("Euler-10").items():
        values = flow.measure(denoiser, solver, noise, image, limit, method)
        merged |= {f"{label}/{key}": value for key, value in values.items()}
        assert ((decibel(values["image"]) < -100) == (label == "exact")).all()
    rows = flow.summary("Euler-10", 3.5, merged)
    assert [(r["method"], r["exact"]) for r in rows] == [
        (label, float(label == "exact")) for label in ("exact", *FLOW_RIVALS)
    ]
    assert [r["nfe"] for r in rows[1:]] == [10, 10, 20, 11, 11]
    assert all(r["samples"] == 4 and r["seconds"] > 0 for r in rows)


def test_the_problem_starts_where_the_network_was_trained() -> None:
    denoiser, solver, noise = flow.problem("midpoint-10", 3.5, 0)
    assert solver.steps == 20 and noise.shape == (flow.IMAGES, 4, 16, 16)
    assert 0.93 < solver.sigma[0] < 0.94 and 0.02 < solver.sigma[-1] < 0.03
    y = solver.scale * noise
    assert denoiser(y, solver.t[0].expand(len(y))).isfinite().all()


def test_the_page_says_what_nobody_measured() -> None:
    row = {"sampler": "Euler-10", "guidance": 1.0, "method": "exact", "samples": 4, "exact": 0.75}
    row |= {"noise_db": -120.6, "image_db": -125.4, "nfe": 90.2, "seconds": 0.456}
    text = flow.markdown({"rows": [row]})
    assert "| Euler-10 | 4 | **exact (ours)** | 75% | -121 dB | -125 dB | 90 | 0.46 |" in text
    assert "| FireFlow-28 | not measured | **exact (ours)** | not measured |" in text
    assert text.count("`fireflow`") == 3 * 4 and text.count("`uni_inv`") == 3 * 2
