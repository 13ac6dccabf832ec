"""Results of older code are kept only where the present code makes the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from invlib.reproduce import accept, store
from invlib.reproduce.work import FOLDER, Cell


def made(seed: int) -> dict[str, torch.Tensor]:
    return {"x": torch.full((2,), float(seed)), "seconds": torch.rand(1)}


CELLS = [Cell("toy", made, {"seed": seed}) for seed in range(4)]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose core has another comment, with results of three cells."""
    package = tmp_path / "old" / "invlib"
    shutil.copytree(store.PACKAGE, package, ignore=shutil.ignore_patterns("weights", "*.pyc"))
    file = package / "metrics.py"
    file.write_text(file.read_text() + "# older\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accept, "every_cell", lambda: CELLS)
    with accept.other(package):
        for cell in CELLS[:3]:
            cell.put(made(**cell.options))
    assert not any(cell.load() for cell in CELLS)
    return package.parent


def test_the_same_results_are_kept(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accept.main(old)
    assert "kept 3 results" in capsys.readouterr().out
    assert [cell.load() is not None for cell in CELLS] == [True, True, True, False]
    with pytest.raises(SystemExit, match="nothing is stored"):
        accept.main(old)


def test_some_can_be_left_out(old: Path) -> None:
    accept.main(old, skip=["toy 1"])
    assert [cell.load() is not None for cell in CELLS] == [True, False, True, False]


def test_a_changed_result_keeps_nothing(old: Path) -> None:
    with accept.other(old / "invlib"):
        CELLS[1].put({"x": torch.zeros(2), "seconds": torch.ones(1)}, FOLDER / "new")
        (file,) = (FOLDER / "new").iterdir()
    shutil.move(file, FOLDER / file.name)
    with pytest.raises(SystemExit, match="toy 1: x changed"):
        accept.main(old)
    assert not any(cell.load() for cell in CELLS)


def test_every_results_file_has_cells() -> None:
    figures = {cell.figure for cell in accept.every_cell()}
    assert {"bench", "front", "exactness", "decoding", "identical", "flow", "reversible"} < figures


def test_values_are_compared_by_name() -> None:
    one = {"a": torch.tensor([1.0, torch.nan]), "b": torch.ones(1)}
    assert accept.differing(one, {"a": one["a"].clone(), "b": torch.ones(1)}) == []
    assert accept.differing(one, {"a": one["a"]}) == ["b"]
    assert accept.differing(one, RuntimeError("no")) == ["no"]
