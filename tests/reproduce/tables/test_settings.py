"""Which sampler, which guidance: six samplers that differ, and rows that count who came first."""

from __future__ import annotations

from itertools import combinations

import torch

from invlib import Schedule, gaussian, sample
from invlib.metrics import nmse
from invlib.reproduce.tables.settings import BINS, SIX, STEPS, TABLE, markdown, sampler, summary

RIGHT = list(SIX).index("UniPC")


def merged() -> dict[str, torch.Tensor]:
    """Two pictures of UniPC at CFG 3: by the likelihood one is right, by the rest none."""
    told = torch.zeros(2, len(SIX), 3, dtype=torch.float64)
    told[0, RIGHT, 0] = told[1, 0, 0] = 5.0
    scales = torch.zeros(2, len(BINS), 3, dtype=torch.float64)
    scales[:, BINS.index(3.0), 0] = 1.0
    scales[:, 0, 1] = 1.0
    scales[:, BINS.index(3.0), 2] = torch.nan
    nfe = {"sampler/nfe": torch.full((2, 6), 10), "guidance/nfe": torch.full((2, 5), 21)}
    return {"sampler": told, "guidance": scales, **nfe}


def test_the_six_make_different_latents_of_one_noise() -> None:
    network = gaussian(Schedule.scaled_linear(), torch.linspace(-1, 1, 8), 0.3)
    noise = torch.randn(1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solvers = [sampler(name) for name in SIX]
    assert all(solver.steps == STEPS for solver in solvers)
    images = [sample(network, noise * s.scale, s).image for s in solvers]
    assert all(nmse(a, b).item() > 1e-8 for a, b in combinations(images, 2))


def test_a_row_counts_who_came_first() -> None:
    (row,) = summary("UniPC", 3.0, merged())
    assert row["pictures"] == 2 and row["sampler_by_likelihood"] == 0.5
    assert row["sampler_named"] == [1, 0, 0, 0, 1, 0]
    assert row["guidance_by_likelihood"] == 1 and row["guidance_by_norm"] == 0
    assert row["guidance_by_naive"] == row["sampler_by_norm"] == 0  # NaN, and ties, are no finds
    assert row["sampler_nfe"] == 10 and row["guidance_nfe"] == 21


def test_the_page_says_what_was_not_measured() -> None:
    lines = markdown({"rows": summary("UniPC", 3.0, merged())}).splitlines()[2:]
    assert len(lines) == len(SIX) * len(TABLE.guidance)
    known = [line for line in lines if "not measured" not in line]
    assert len(known) == 1 and "UniPC-10" in known[0] and "50%" in known[0] and "15" in known[0]
    assert all(line.count("not measured") == 8 for line in lines if line != known[0])
