"""The long tables: their cells, their rows, and their command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from invlib.reproduce.engine import runner
from invlib.reproduce.engine.table import Rows, Table
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
    found = [(r["sampler"], r["guidance"], r["samples"], r["sum"]) for r in TOY.rows(16)]
    assert found == [("a", 1.0, 16, 120), ("a", 3.0, 16, 360), ("b", 3.0, 8, 84)]


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
    assert values["rows"] == [{"sampler": "a", "sum": 84.0}] and values["prompts"] == 8
    assert len(values["code"]) == 12


def test_an_unknown_table_is_refused() -> None:
    result = command("nothing")
    assert result.exit_code == 2 and "use one of exactness" in result.output.replace("\n", " ")
