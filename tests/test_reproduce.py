"""The results store and the notebook runner."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from invlib.reproduce.book import pages
from invlib.reproduce.engine import store
from invlib.reproduce.figures.figure2 import cells as figure2
from invlib.reproduce.models.profiles import spaces


def test_a_cell_is_computed_once(tmp_path: Path) -> None:
    calls = []

    def work() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"x": torch.arange(3.0)}

    for _ in range(2):
        assert store.cell(tmp_path, {"a": 1}, work)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 1
    store.cell(tmp_path, {"a": 2}, work)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [b"", b"not a tensor file", None])
def test_a_damaged_result_is_kept_aside_and_made_again(
    tmp_path: Path, damage: bytes | None
) -> None:
    for number in range(2):
        store.cell(tmp_path, {}, lambda: {"x": torch.ones(2)})
        (file,) = tmp_path.glob("*.safetensors")
        broken = file.read_bytes()[:-3] if damage is None else damage
        file.write_bytes(broken)
        with pytest.warns(UserWarning, match=rf"is damaged.*{number}\.damaged"):
            again = store.cell(tmp_path, {}, lambda: {"x": torch.full((2,), 5.0)})
        assert again["x"].tolist() == [5, 5]
        assert store.cell(tmp_path, {}, lambda: {})["x"].tolist() == [5, 5]
        assert file.with_suffix(f".{number}.damaged").read_bytes() == broken


def test_a_result_that_cannot_be_read_now_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cell(tmp_path, {}, lambda: {"x": torch.ones(2)})

    def busy(path: Path) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(store, "load_file", busy)
        with pytest.raises(OSError, match="too many"):
            store.cell(tmp_path, {}, lambda: {})
    assert store.cell(tmp_path, {}, lambda: {})["x"].tolist() == [1, 1]


def test_killed_while_working_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A process that dies in the second cell leaves the first one usable."""
    program = f"""
import os, pathlib, torch
from invlib.reproduce import store
folder = pathlib.Path({str(tmp_path)!r})
store.cell(folder, {{"cell": 1}}, lambda: {{"x": torch.ones(2)}})
store.cell(folder, {{"cell": 2}}, lambda: os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9

    def never() -> dict[str, torch.Tensor]:
        raise AssertionError("the first cell was finished and must not run again")

    assert store.cell(tmp_path, {"cell": 1}, never)["x"].tolist() == [1, 1]
    assert len([*tmp_path.iterdir()]) == 1


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny or paper"):
        spaces("huge", 1)


def test_figure_2_has_the_rows_of_the_paper_and_ours() -> None:
    rows = [(r.sampler, r.steps, r.method, r.inversion_steps) for r in figure2.ROWS]
    assert rows == [
        ("DDIM", 50, "naive", 1000),
        ("DDIM", 50, "algorithm1", 50),
        ("DPM-Solver++(2M)", 10, "naive", 1000),
        ("DPM-Solver++(2M)", 10, "algorithm1", 50),
        ("DPM-Solver++(2M)", 10, "algorithm2", 10),
        ("DPM-Solver++(2M)", 10, "exact", 10),
    ]


def test_stored_results_belong_to_the_shipped_weights() -> None:
    """results/models.json was measured on the weights in the package."""
    from invlib.portraits.load import MODELS, verify

    root = Path(__file__).parents[1]
    measured = json.loads((root / "results" / "models.json").read_text())["weights"]
    assert measured == {name: verify(name) for name in MODELS}


@pytest.mark.parametrize("page", pages.PAGES)
def test_pages_show_the_measured_tables(page: str) -> None:
    root = Path(__file__).parents[1]
    assert (root / page).read_text() == pages.filled(root, page)


def test_the_model_card_meets_its_bar() -> None:
    root = Path(__file__).parents[1]
    measured = json.loads((root / "results" / "models.json").read_text())
    assert measured["psnr"] > 30
    assert min(measured["prompt_accuracy"].values()) >= 0.85
