"""The long tables: their cells, their rows, and their command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from invlib.reproduce.engine import runner
from invlib.reproduce.engine.stamps import Rows, stamp
from invlib.reproduce.engine.store import fingerprint
from invlib.reproduce.engine.table import Table
from invlib.reproduce.tables import registry as tables
from invlib.reproduce.tables.__main__ import main


def shard(name: str, guidance: float, first: int) -> dict[str, torch.Tensor]:
    return {"value": guidance * torch.arange(first, first + 8).double()}


def summary(name: str, guidance: float, merged: dict[str, torch.Tensor]) -> Rows:
    value = merged["value"]
    return [{"sampler": name, "guidance": guidance, "samples": len(value), "sum": value.sum()}]


TOY = Table("toy", ("a", "b"), shard, summary, guidance=(1.0, 3.0), prompts=16)


def test_a_cell_is_a_shard_of_eight() -> None:
    cells = TOY.cells(16)
    assert len(cells) == 2 * 2 * 2
    assert [c.options["first"] for c in cells] == [0] * 4 + [8] * 4  # rows grow side by side
    some = TOY.cells(8, ["b"], [3.0])
    assert [dict(c.options) for c in some] == [{"name": "b", "guidance": 3.0, "first": 0}]
    assert some[0].config in [c.config for c in cells]


def test_rows_tell_how_many_samples_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner.run(TOY.cells(16, ["a"]), runner.serial)
    runner.run(TOY.cells(8, ["b"], [3.0]), runner.serial)
    rows = [row for part in TOY.rows(16).values() for row in part]
    found = [(r["sampler"], r["guidance"], r["samples"], r["sum"]) for r in rows]
    assert found == [("a", 1.0, 16, 120), ("a", 3.0, 16, 360), ("b", 3.0, 8, 84)]


def test_a_table_is_filled_part_by_part_on_several_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one has filled stays, and is not measured again, unless the code has changed."""
    file = tmp_path / "toy.json"
    whole = Table("toy", ("a", "b"), shard, written, guidance=(1.0, 3.0), prompts=16)

    def filled(machine: str, table: Table, prompts: int, *only: str) -> list[tuple[str, float]]:
        (tmp_path / machine).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / machine)
        todo = table.missing(prompts, file, only or None)
        runner.run(todo, runner.serial)
        table.write(prompts, file)
        return [(cell.options["name"], cell.options["guidance"]) for cell in todo]

    assert filled("first", whole, 8, "a") == [("a", 1.0), ("a", 3.0)]
    assert filled("second", whole, 8) == [("b", 1.0), ("b", 3.0)]
    assert sums(file) == {("a", 1.0): 28, ("a", 3.0): 84, ("b", 1.0): 28, ("b", 3.0): 84}
    assert filled("third", whole, 16, "b") == [("b", 1.0), ("b", 3.0)] * 2  # more prompts
    assert sums(file) == {("a", 1.0): 28, ("a", 3.0): 84, ("b", 1.0): 120, ("b", 3.0): 360}
    assert not filled("third", whole, 8) and sums(file)["b", 1.0] == 120  # more is kept
    values = json.loads(file.read_text())
    assert values["prompts"] == 16
    assert values["code"] == fingerprint(cell.config for cell in whole.cells(16))

    changed = replace(whole, depends=lambda name, w: {"code": "other"} if name == "a" else {})
    assert filled("fourth", changed, 8, "b") == []  # they are as they were
    assert json.loads(file.read_text())["code"] != fingerprint(c.config for c in changed.cells(16))
    assert filled("fourth", changed, 8) == [("a", 1.0), ("a", 3.0)]
    assert json.loads(file.read_text())["code"] == fingerprint(c.config for c in changed.cells(16))


def written(name: str, guidance: float, merged: dict[str, torch.Tensor]) -> Rows:
    return [{"sum": merged["value"].sum().item()}]


def sums(file: Path) -> dict[tuple[str, float], float]:
    return {tuple(row["cell"]): row["sum"] for row in json.loads(file.read_text())["rows"]}


def test_what_shards_depend_on_is_in_their_key() -> None:
    keys = [
        Table("toy", ("a",), shard, summary, depends=lambda name, w, n=n: {"n": n}).cells(8)[0]
        for n in (1, 2)
    ]
    assert keys[0].config != keys[1].config


def command(*arguments: str) -> Result:
    import typer

    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [*arguments])


def test_the_command_writes_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(name: str, guidance: float, merged: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        return [{"sampler": name, "sum": merged["value"].sum().item()}]

    table = Table("toy", ("a",), shard, rows, guidance=(3.0,), prompts=8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(tables.TABLES, "toy", table)
    nothing = command("toy", "--report")
    assert isinstance(nothing.exception, FileNotFoundError)
    assert "invlib.reproduce.tables toy" in str(nothing.exception)
    runner.run(table.cells(8), runner.serial)
    assert "84" in command("toy").output
    values = json.loads((tmp_path / "results" / "toy.json").read_text())
    code = stamp(table.cells(8))
    assert values["rows"] == [{"sampler": "a", "sum": 84.0, "cell": ["a", 3.0], "code": code}]
    assert values["prompts"] == 8
    assert len(values["code"]) == 12


def test_an_unknown_table_is_refused() -> None:
    result = command("nothing")
    assert result.exit_code == 2 and "use one of exactness" in result.output.replace("\n", " ")
