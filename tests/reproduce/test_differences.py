"""Two folders of results are compared number by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from invlib.reproduce import differences

ROW = {"noise_db": -40.0, "floor_db": [-120.0, -95.0], "nfe": 200, "seconds": 1.0, "name": "ours"}


def folders(tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    for name, row in (("old", ROW), ("new", ROW | changes)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text(json.dumps({"rows": [row], "code": name}))
    return tmp_path / "old", tmp_path / "new"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seconds": 9.0},
        {"noise_db": -39.2},
        {"floor_db": [-110.0, -133.0]},  # both are round-off
        {"nfe": 208},
    ],
)
def test_what_is_within_the_tolerance_passes(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SystemExit) as end:
        differences.main(*folders(tmp_path, **changes))
    assert not end.value.code


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"noise_db": -38.0}, "a.json rows 0 noise_db"),
        ({"floor_db": [-80.0, -95.0]}, "rows 0 floor_db 0"),
        ({"floor_db": [-120.0]}, "rows 0 floor_db"),
        ({"nfe": 220}, "rows 0 nfe"),
        ({"name": "naive"}, "rows 0 name"),
        ({"noise_db": None}, "rows 0 noise_db"),
        ({"more": 1}, "rows 0 more"),
    ],
)
def test_what_differs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(SystemExit) as end:
        differences.main(*folders(tmp_path, **changes))
    assert end.value.code
    assert place in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = folders(tmp_path)
    (new / "a.json").unlink()
    with pytest.raises(SystemExit):
        differences.main(old, new)
    assert "a.json: missing" in capsys.readouterr().out
