"""The table of flow-matching inversions: what it measures, and what its page says."""

from __future__ import annotations

import json
from typing import Any

from analytic import randn
from chapters import ROOT
from twelve import DIM, prompted

from invlib.flow import FLOW_RIVALS, Straight, flow_euler, from_vp_noise, straight_grid
from invlib.metrics import decibel
from invlib.reproduce.tables import flow
from invlib.sampling import sample
from invlib.schedule import Schedule

VP = Schedule.scaled_linear()


def test_rivals_meet_euler_and_their_own_sampler() -> None:
    assert [*flow.methods("Euler-10", 7.5)] == ["exact", *FLOW_RIVALS]
    assert [*flow.methods("midpoint-10", 1.0)] == ["exact", "rf_solver"]
    assert [*flow.methods("FireFlow-28", 1.0)] == ["exact", "fireflow"]
    assert [*flow.methods("FireFlow-28", 7.5)] == ["fireflow"]  # a search that nobody made


def test_methods_are_measured_on_the_same_images() -> None:
    denoiser, noise = Straight(prompted(4, 3.5), VP), randn(4, DIM)
    solver = from_vp_noise(flow_euler(straight_grid(VP, 10)))
    image, merged = sample(denoiser, noise, solver).image, {}
    for label, method in flow.methods("Euler-10", 3.5).items():
        values = flow.measure(denoiser, solver, noise, image, method)
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


# What the page says

STORED = ROOT / "results" / "flow.json"


def rows() -> dict[tuple[str, float, str], dict[str, Any]]:
    stored = json.loads(STORED.read_text())["rows"]
    return {(r["sampler"], r["guidance"], r["method"]): r for r in stored}


def test_every_search_that_is_not_marked_was_made() -> None:
    wanted = {(n, w, m) for n in flow.SAMPLERS for w in flow.GUIDANCE for m in flow.methods(n, w)}
    assert set(rows()) == wanted


def test_sentences_about_rivals_hold() -> None:
    known = rows()
    for (sampler, scale, method), row in known.items():
        if method != "exact":
            assert row["exact"] == 0
        if method == "rf_inversion":
            assert row["noise_db"] > 0
        if sampler.startswith("Euler") and method == "uni_inv":
            others = [known[sampler, scale, m]["image_db"] for m in FLOW_RIVALS]
            assert row["image_db"] == min(others)
        for rival, own in (("rf_solver", "midpoint"), ("fireflow", "FireFlow")):
            if method == rival and sampler.startswith(own):
                euler = known[sampler.replace(own, "Euler"), scale, rival]
                assert row["image_db"] < euler["image_db"] - 5


def test_sentences_about_ours_hold() -> None:
    ours = {(n, w): r for (n, w, m), r in rows().items() if m == "exact"}
    assert all(r["exact"] == 1 for (_, w), r in ours.items() if w < 7.5)
    assert ours["Euler-10", 7.5]["exact"] == 1
    assert ours["Euler-28", 7.5]["exact"] == 1
    assert all(0 < ours[name, 7.5]["exact"] < 1 for name in ("midpoint-10", "FireFlow-10"))
    for (sampler, scale), row in ours.items():
        if scale < 7.5:
            rival = "uni_inv" if sampler.startswith("Euler") else [*flow.methods(sampler, scale)][1]
            assert 4 < row["nfe"] / rows()[sampler, scale, rival]["nfe"] < 110


def test_sentences_about_the_noise_hold() -> None:
    known = rows()
    for scale in (3.5, 7.5):
        found = known["Euler-10", scale, "exact"]["noise_db"]
        for rival in ("euler_reversed", "rf_solver", "fireflow", "uni_inv"):
            assert known["Euler-10", scale, rival]["noise_db"] < found
    for name in ("midpoint-10", "FireFlow-10"):
        assert (
            known[name, 3.5, "exact"]["noise_db"]
            < -60
            < known["Euler-10", 3.5, "exact"]["noise_db"]
        )
