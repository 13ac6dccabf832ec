"""The results store: a cell is computed once, and nothing is half written or lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from invlib.reproduce.engine import store


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
from invlib.reproduce.engine import store
folder = pathlib.Path({str(tmp_path)!r})
store.cell(folder, {{"cell": 1}}, lambda: {{"x": torch.ones(2)}})
store.cell(folder, {{"cell": 2}}, lambda: os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9

    def never() -> dict[str, torch.Tensor]:
        raise AssertionError("the first cell was finished and must not run again")

    assert store.cell(tmp_path, {"cell": 1}, never)["x"].tolist() == [1, 1]
    assert len([*tmp_path.iterdir()]) == 1
