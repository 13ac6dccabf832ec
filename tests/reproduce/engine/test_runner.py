"""Cells of work: done once, stored at once, taken up again, the same on every engine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import chores
import pytest
import torch

from invlib.reproduce.engine import work
from invlib.reproduce.engine.runner import Engine, engine_named, on_ray, processes, run, serial
from invlib.reproduce.engine.work import Cell, load_all

TESTS = Path(chores.__file__).parent
TWO = partial(processes, workers=2)


def values(cells: list[Cell], folder: Path) -> list[int]:
    return [int(result["value"]) for result in load_all(cells, folder)]


@pytest.mark.parametrize("engine", [serial, TWO], ids=["serial", "processes"])
def test_every_cell_is_done_and_stored(engine: Engine, tmp_path: Path) -> None:
    cells = chores.squares(5)
    run(cells, engine, tmp_path)
    assert values(cells, tmp_path) == [0, 1, 4, 9, 16]


def test_what_is_stored_is_not_done_again(tmp_path: Path) -> None:
    cells, asked = chores.squares(4), []

    def noting(todo):
        asked.append(len(todo))
        yield from serial(todo)

    run(cells[:3], noting, tmp_path)
    run(cells * 2, noting, tmp_path)  # one that two figures share is done once
    run(cells, noting, tmp_path)
    assert asked == [3, 1, 0]


def test_a_cell_depends_on_its_options_its_function_and_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell("test", chores.square, {"number": 1})
    others = (
        Cell("other", chores.square, {"number": 1}),
        Cell("test", chores.square, {"number": 2}),
        Cell("test", chores.failing, {"number": 1}),
        Cell("test", chores.square, {"number": 1}, {"weights": "others"}),
    )
    assert all(other.config != cell.config for other in others)
    before = cell.config
    monkeypatch.setattr(work, "code_of", lambda function: "new code")
    assert cell.config != before


def test_missing_results_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--only test"):
        load_all(chores.squares(2), tmp_path)


@pytest.mark.parametrize("engine", [serial, TWO], ids=["serial", "processes"])
def test_a_failure_is_told_after_the_rest_is_stored(engine: Engine, tmp_path: Path) -> None:
    bad = Cell("test", chores.failing, {"number": 7})
    cells = chores.squares(3)
    with pytest.raises(RuntimeError, match="1 cells failed.*ZeroDivisionError: no 7 today"):
        run([bad, *cells], engine, tmp_path)
    assert values(cells, tmp_path) == [0, 1, 4]
    assert bad.load(tmp_path) is None


def test_the_work_of_a_killed_process_is_tried_again(tmp_path: Path) -> None:
    store_at = tmp_path / "store"
    deadly = Cell("test", chores.deadly, {"number": 3, "folder": str(tmp_path)})
    cells = [deadly, *chores.squares(4)]
    run(cells, TWO, store_at)
    assert values(cells, store_at) == [9, 0, 1, 4, 9]


def test_a_process_that_always_dies_is_reported(tmp_path: Path) -> None:
    cells = [Cell("test", chores.always_deadly, {"number": 3})]
    with pytest.raises(RuntimeError, match="died 3 times"):
        run(cells, TWO, tmp_path)


PROGRAM = """
import sys; sys.path.insert(0, {tests!r})
from functools import partial
from pathlib import Path
import chores
from invlib.reproduce.engine.runner import processes, run
from invlib.reproduce.engine.work import Cell
if __name__ == "__main__":
    cells = [Cell("test", chores.slow, {{"number": n, "seconds": 0.2}}) for n in range(20)]
    run(cells, partial(processes, workers=2), Path({folder!r}))
"""


def test_killed_at_a_random_moment_it_resumes_and_ends_equal(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(TESTS), folder=str(tmp_path / "store")))
    cells = [Cell("test", chores.slow, {"number": n, "seconds": 0.2}) for n in range(20)]
    child = subprocess.Popen(
        [sys.executable, program], start_new_session=True, stderr=subprocess.DEVNULL
    )
    while not any((tmp_path / "store").glob("*.safetensors")) and child.poll() is None:
        time.sleep(0.02)
    time.sleep(random.random() / 2)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = [cell for cell in cells if cell.load(tmp_path / "store")]
    assert 0 < len(done) < len(cells)
    files = {cell.label: cell.load(tmp_path / "store") for cell in done}
    run(cells, serial, tmp_path / "store")
    run(cells, serial, tmp_path / "alone")
    assert values(cells, tmp_path / "store") == values(cells, tmp_path / "alone")
    for cell in done:  # what was there has not been touched
        assert torch.equal(files[cell.label]["value"], cell.load(tmp_path / "store")["value"])


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="serial, processes, ray"):
        engine_named("moon")


def test_without_ray_the_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"invlib\[cluster\]"):
        next(on_ray(chores.squares(1)))


def test_a_stored_cell_is_not_taken_for_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = chores.squares(2)[1:]
    run([cell], serial, tmp_path)
    models = sys.modules["invlib.portraits.load"]  # the package has a function of that name
    monkeypatch.setattr(models, "verify", lambda name: "another")
    assert cell.load(tmp_path) is None
