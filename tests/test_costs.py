"""Costs at full size: bytes and operations as counted by hand, formulas as the search has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines as tiny
import torch
import typer
from stock import SIZE
from torch import nn

from invlib import Schedule
from invlib.denoisers import gaussian
from invlib.evaluator import Evaluator
from invlib.inverters import rounds
from invlib.pipelines import read
from invlib.rehearsal import costs, costs_sizes, costs_time
from invlib.rehearsal.algebra import algebra
from invlib.rehearsal.formulas import (
    MEMORY,
    STATE,
    Pairs,
    inversion_bytes,
    pair_bytes,
    pairs_at_most,
    reading,
    trajectory_bytes,
)
from invlib.rehearsal.full_size import FULL_SIZE, FullSize, unet
from invlib.rehearsal.live import flops, peak_bytes
from invlib.solvers import ddim

ROOT = Path(__file__).parents[1]


def stored(name: str) -> dict:
    return json.loads((ROOT / f"results/{name}.json").read_text())


@pytest.fixture
def layers() -> tuple[nn.Module, nn.Module, torch.Tensor]:
    with torch.device("meta"):
        return nn.Linear(4, 8), nn.Linear(8, 2), torch.empty(3, 4)


def test_what_is_dropped_counts_no_more(layers: tuple) -> None:
    first, second, x = layers
    hidden, out = 4 * 3 * 8, 4 * 3 * 2
    chain = nn.Sequential(first, nn.ReLU(), second)
    assert peak_bytes(lambda: chain(x)) == 2 * hidden  # the layer's output beside its ReLU

    def keeping() -> None:
        y = first(x)
        z = second(y)
        y.relu(), z.view(-1), x.t()  # views are no new bytes

    assert peak_bytes(keeping) == 2 * hidden + out


def test_attention_counts_its_result_alone() -> None:
    q = torch.empty(1, 2, 100, 8, device="meta")
    function = nn.functional.scaled_dot_product_attention
    assert peak_bytes(lambda: function(q, q, q)) == 4 * 2 * 100 * 8
    assert flops(lambda: function(q, q, q)) == 2 * (2 * 2 * 100 * 100 * 8)


def test_a_layer_costs_two_operations_a_weight_and_row(layers: tuple) -> None:
    first, _, x = layers
    assert flops(lambda: first(x)) == 2 * 3 * 4 * 8


@pytest.mark.parametrize("free", [None, 3e6, 3e5, 1e3])
@pytest.mark.parametrize("steps", [5, 50])
def test_pairs_are_those_of_the_search(
    monkeypatch: pytest.MonkeyPatch, free: float | None, steps: int
) -> None:
    monkeypatch.setattr(rounds, "free_bytes", lambda device: free)
    image = torch.zeros(1, 30)
    schedule = Schedule.scaled_linear()
    solver = ddim(schedule.grid(steps))
    evaluator, image = Evaluator.start(gaussian(schedule, image[0], 1.0), image, solver)
    states = torch.zeros(steps, 1, 30, dtype=torch.float64)
    found = rounds.Rounds.start(evaluator, image, states, memory=MEMORY).pairs
    most = pairs_at_most(steps, 30, free)
    assert (found.memory, found.dy.element_size()) == (most.count, most.width)


def test_bytes_are_those_of_tensors() -> None:
    steps, numbers = 6, 10
    states = torch.empty(steps + 1, numbers, dtype=torch.float64)
    pair = torch.empty(2, steps, numbers)
    assert trajectory_bytes(steps, numbers) == states.nbytes
    assert pair_bytes(steps, numbers, 4) == pair.nbytes
    held = 3 * pair.nbytes
    rest = 1000 + states.nbytes + held
    assert inversion_bytes(1000, 7, steps, numbers, Pairs(3, 4)) == rest + held // 2
    assert inversion_bytes(1000, 7777, steps, numbers, Pairs(3, 4)) == rest + 7777


@pytest.mark.parametrize("make", [tiny.stable_diffusion, tiny.stable_diffusion_3, tiny.flux])
def test_reading_a_call_costs_what_the_formula_says(make: Callable[..., Any]) -> None:
    call = {"prompt": "cat", "num_inference_steps": 5, **SIZE}
    assert read(tiny.build(make), call).evaluations == reading(5)


def test_a_network_is_counted_again_as_it_is_stored() -> None:
    values = stored("costs")
    assert list(values["networks"]) == list(FULL_SIZE)
    assert costs.count("sd15") == values["networks"]["sd15"]
    assert values["weights"] == "random"
    for arch, row in values["networks"].items():
        shape = FULL_SIZE[arch]
        assert (row["state"], row["rows"]) == (shape.state, shape.rows)


def test_a_measurement_is_kept_until_it_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = {"tiny": FullSize("tiny", 64, 4, 2, unet("tiny"))}
    monkeypatch.setattr(costs, "FULL_SIZE", tiny)
    monkeypatch.setattr(costs, "RESULTS", tmp_path / "costs.json")
    costs.main(["tiny"])
    first = (tmp_path / "costs.json").read_text()
    assert json.loads(first)["measured"]["tiny"]["cpu_seconds"] >= 0
    costs.main(None)
    assert (tmp_path / "costs.json").read_text() == first
    with pytest.raises(typer.BadParameter, match="unknown: sd9; use one of tiny"):
        costs.main(["sd9"])


def test_cells_are_the_stored_numbers() -> None:
    values, exactness = stored("costs"), stored("exactness")
    (search,) = (
        r["nfe_per_image"]
        for r in exactness["rows"]
        if r["sampler"] == "2M-20" and r["guidance"] == 3
    )
    row = values["networks"]["sd15"]
    table = costs_sizes.networks(values)
    assert f"| {row['parameters'] / 1e6:.1f} M, computed |" in table
    hours = (
        (reading(20) + 20 + search) * row["rows"] * values["measured"]["sd15"]["cpu_seconds"] / 3600
    )
    cell = re.search(r"SD 1\.5 \| \S+ \w+ / (\S+) min", costs_time.seconds(values, exactness))
    assert cell is not None
    assert float(cell[1]) == pytest.approx(60 * hours, abs=0.5)
    assert f"{STATE * 21 * 16384 / 1e6:.3g} MB and 100 x" in costs_sizes.parts(values)


def test_only_what_was_run_is_called_measured() -> None:
    values, peak = stored("costs"), stored("peak")
    of_one = costs_time.evaluation(values)
    for arch, row in values["networks"].items():
        (line,) = (line for line in of_one.splitlines() if row["title"] in line)
        assert line.endswith("measured |") == (arch in values["measured"])
    of_calls = costs_sizes.memory(values, peak)
    run = {FULL_SIZE[row["arch"]].title for row in peak["rows"]}
    assert set(re.findall(r"\| ([^|]*) \| [^|]*, measured \|", of_calls)) == run
    for table in (of_one, of_calls, costs_time.seconds(values, stored("exactness"))):
        assert "on a GPU | not measured" in table


def test_the_page_gives_the_numbers_of_the_search() -> None:
    page = (ROOT / "book/reference/costs.md").read_text()
    assert f"K is {MEMORY}, or ${rounds.UNKNOWNS} / N$" in page
    assert f"at least {rounds.LEAST}" in page
    assert f"{costs_sizes.MACHINE / 1e9:.0f} GB" in page


@pytest.mark.parametrize(("steps", "numbers"), [(200, 7), (500, 5)])
def test_the_algebra_of_a_round_is_what_its_products_are(steps: int, numbers: int) -> None:
    count = pairs_at_most(steps, numbers).count
    n, k, d = steps, count, numbers
    inner = 2 * n * k * d + 2 * n * n * k * d + 2 * n * n * (k - 1) * d  # of the new pair with all
    to_step = 2 * (2 * n * k * d) + 2 * n * n * d  # right-hand side, change, its coupling
    bases = 2 * (2 * n * n * k**3) + 2 * (2 * n * k * k)  # of the cross products, two vectors
    # of row j of Gram-Schmidt: with the inner products, the rows before twice, and again
    gram = sum(
        n * (2 * (j + 1) ** 2 + 2 * (j + 1) * j + 2 * j * (j + 1) + 2 * (j + 1) ** 2 + 2 * (j + 1))
        for j in range(k)
    )
    system = 2 * (n * k) ** 3 // 3
    assert algebra(steps, numbers) == inner + to_step + bases + gram + system


def test_the_algebra_grows_with_the_state_as_its_products_do() -> None:
    one, two, three = (algebra(500, numbers) for numbers in (100, 200, 300))
    assert three - two == two - one > 0
