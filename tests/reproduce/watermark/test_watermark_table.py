"""The watermark table: marks of the pictures, scores of known errors, intervals, cells."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from invlib.denoisers import Denoiser, guided
from invlib.metrics import decibel
from invlib.reproduce.models.problem import Problem, solver_named
from invlib.reproduce.watermark import marked
from invlib.reproduce.watermark.drawing import LADDER, draw_attacks, draw_ladder
from invlib.reproduce.watermark.marked import (
    BITS,
    CHANNEL,
    KEYS,
    SAMPLER,
    keys_named,
    noises,
    recover,
    without_prompt,
)
from invlib.reproduce.watermark.scores import correct, read, student, together, wilson
from invlib.reproduce.watermark.table import (
    ATTACKED,
    LABELS,
    MAIN,
    STRENGTHS,
    cells,
    line,
    parts,
    summary,
)
from invlib.solvers import Solver
from invlib.watermark import ATTACKS

SHAPE = (4, 16, 16)


def disturbed(variance: float, prompt: int = 0, keys: str = "released") -> Tensor:
    """Marked noise with an independent error."""
    generator = torch.Generator().manual_seed(99 + prompt)
    error = torch.randn(KEYS, *SHAPE, generator=generator, dtype=torch.float64)
    return noises(prompt, keys, SHAPE).marked + variance**0.5 * error


def test_key_and_payload_do_not_touch_each_other() -> None:
    made, others = noises(3, "released", SHAPE), noises(4, "released", SHAPE)
    assert torch.equal(made.before[:, 1:], made.marked[:, 1:]) and CHANNEL == 0
    assert not torch.equal(made.before[:, 0], made.marked[:, 0])
    assert len({bytes(p.tolist()) for p in torch.cat([made.payload, others.payload])}) == 2 * KEYS
    assert torch.equal(made.before, noises(3, "official", SHAPE).before)
    for name in ("released", "figure4", "official"):
        assert all(key.mask.sum() == 113 for key in keys_named(name, SHAPE[1:]))


def test_perfect_noise_has_perfect_scores_and_strange_noise_none() -> None:
    scores = read(noises(0, "released", SHAPE).marked, 0, "released")
    assert scores.nmae.max() < 1e-12 and scores.noise.max() < 1e-20
    assert correct(scores.index).all() and scores.detected.all() and scores.whole.all()
    assert (scores.bits == 1).all() and (scores.signs == 1).all() and not scores.alarms.any()
    draws = [torch.randn(KEYS, *SHAPE, dtype=torch.float64) for _ in range(30)]
    strange = together([read(x, p, "released") for p, x in enumerate(draws)])
    assert strange.nmae.shape == (30, KEYS)
    assert strange.detected.double().mean() < 0.08  # 1 % is expected
    assert strange.alarms.double().mean() < 0.05 and strange.alarms.shape == (30, KEYS, 3)
    assert abs(strange.bits.mean().item() - 0.5) < 0.02 and not strange.whole.any()


def test_scores_fall_with_the_error() -> None:
    levels = [
        together([read(disturbed(v, p), p, "released") for p in range(6)]) for v in (0.1, 1.0, 10.0)
    ]
    for name, rising in (("nmae", True), ("bits", False), ("signs", False), ("noise", True)):
        means = [getattr(level, name).mean().item() for level in levels]
        assert means == sorted(means, reverse=not rising), name
    assert levels[-1].signs.mean() > 0.5


@pytest.mark.parametrize(("hits", "count"), [(0, 6), (3, 6), (24, 24), (17, 24)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    """At its ends the share that was seen is 1.96 standard deviations away."""
    low, high = wilson(torch.arange(count) < hits)
    assert low <= hits / count <= high and low < high
    for end in (low, high):
        spread = 1.96 * (end * (1 - end) / count) ** 0.5
        assert abs(hits / count - end) == pytest.approx(spread, abs=1e-4)


@pytest.mark.parametrize(("count", "quantile"), [(3, 4.303), (6, 2.571), (24, 2.069)])
def test_the_other_interval_is_students(count: int, quantile: float) -> None:
    """With the quantiles that printed tables have."""
    values = torch.randn(count, dtype=torch.float64)
    middle, low, high = values.mean().item(), *student(values)
    wanted = quantile * values.std().item() / count**0.5
    assert (high - middle, middle - low) == pytest.approx((wanted, wanted), rel=2e-4)


def test_equal_numbers_have_an_interval_without_width() -> None:
    assert student(torch.ones(6)) == (1.0, 1.0)


def test_without_the_prompt_only_the_empty_one_is_asked() -> None:
    asked = []

    def network(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        asked.append(condition)
        return x

    full = guided(network, torch.ones(2, 3), torch.zeros(1, 3), 3.0, prediction="epsilon")
    without_prompt(full)(torch.zeros(2, 4), torch.zeros(2))
    assert len(asked) == 1 and torch.equal(asked[0], torch.zeros(2, 3))
    with pytest.raises(TypeError, match="no empty prompt"):
        without_prompt(lambda x, t: x)


def once(network: Denoiser, noise: Tensor, solver: Solver) -> SimpleNamespace:
    """One evaluation in the place of a sampler."""
    return SimpleNamespace(image=network(noise, torch.ones(len(noise), device=noise.device)))


def test_pictures_are_made_on_the_device_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        asked, empty = torch.empty(1, 4, 1, 1), torch.empty(1, 4, 1, 1)
        noise, pipe = torch.empty(1, *SHAPE), SimpleNamespace(vae=AutoencoderKL(latent_channels=4))
    network = guided(lambda x, t, c: x * c, asked, empty, 3.0, prediction="epsilon")
    problem = Problem(pipe, solver_named(SAMPLER), network, noise)
    monkeypatch.setattr(Problem, "of", lambda *_: problem)
    monkeypatch.setattr(marked, "sample", once)  # the real one asks whether all is finite
    picture = recover(0, "released", "none", (), "tiny")["picture"]
    assert picture.device.type == "meta" and len(picture) == KEYS


def test_rows_and_figures_of_made_up_results() -> None:
    def cell(routes: list[str], variance: float, prompt: int) -> dict[str, Tensor]:
        found = {r: disturbed(variance, prompt).float() for r in routes}
        return {**found, **{f"{r}/seconds": torch.tensor([1.0, 2.0]) for r in routes}}

    work = parts("tiny")
    results = {
        name: [cell(part[0].options["routes"], 0.3, p) for p in range(2)]
        for name, part in work.items()
    }
    row = line("known", MAIN[0], results["known"])
    assert row["pictures"] == 2 * KEYS and row["seconds"] == 3
    assert row["nmae_ci95"][0] <= row["nmae"] <= row["nmae_ci95"][1]
    error = read(disturbed(0.3), 0, "released").noise
    assert abs(row["noise_db"] - decibel(error).mean().item()) < 1
    values = summary(results, "tiny")
    assert len(values["rows"]) == sum(len(p[0].options["routes"]) for p in work.values())
    assert {at for at in LADDER} <= {(r["part"], r["route"]) for r in values["rows"]}
    for draw in (draw_ladder, draw_attacks):
        plt.close(draw(values["rows"]))


def test_cells_are_well_formed() -> None:
    work = cells("tiny")
    assert len({str(cell.config) for cell in work}) == len(work)
    assert all(route in LABELS for cell in work for route in cell.options["routes"])
    assert set(STRENGTHS) <= set(ATTACKS) and set(ATTACKED) <= set(MAIN) and BITS == 256
    copy = pickle.loads(pickle.dumps(work[0]))
    assert copy.config == work[0].config and copy.work is work[0].work
