"""Claims: they print one stable line, or raise; and their values are collected."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from invlib import claims
from invlib.claims import NOT_HERE, RECORD, ROUNDOFF, ClaimError, claim, elsewhere, slack


@pytest.fixture(autouse=True)
def no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RECORD, raising=False)


def test_a_true_claim_prints_its_bound_and_not_its_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    claim("the error is small", 1.234e-9, below=1e-8)
    claim("it is large", 7, above=5)
    claim("it lies between", 0.5, above=0, below=1)
    claim("all are exact", 12, equals=12)
    claim("the verdict", "exact", equals="exact")  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "ok  the error is small < 1e-08",
        "ok  it is large > 5",
        "ok  it lies between < 1 and > 0",
        "ok  all are exact = 12",
        "ok  the verdict = exact",
    ]


@pytest.mark.parametrize(
    ("value", "bound", "message"),
    [
        (2.0, {"below": 1}, "2 is not below 1"),
        (1.0, {"below": 1}, "1 is not below 1"),
        (0.5, {"above": 0.5}, "0.5 is not above 0.5"),
        (-1, {"above": 0, "below": 1}, "-1 is not above 0"),
        (3, {"equals": 4}, "3 is not 4"),
        (math.inf, {"below": 1}, "inf is not below 1"),
        (torch.tensor([0.1, 5.0]), {"below": 1}, "5 is not below 1"),
    ],
)
def test_a_false_claim_raises(
    value: float, bound: dict[str, float], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ClaimError, match=f"false: the sentence: {message}"):
        claim("the sentence", value, **bound)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "value",
    [math.nan, np.float64("nan"), np.float32("nan"), torch.tensor([1.0, math.nan])],
)
@pytest.mark.parametrize("bound", [{"below": 2}, {"above": 0}, {"equals": 1.0}])
def test_what_is_no_number_satisfies_nothing(value: float, bound: dict[str, float]) -> None:
    with pytest.raises(ClaimError, match="not a number"):
        claim("it is", value, **bound)


def test_a_claim_needs_a_bound_and_a_value() -> None:
    with pytest.raises(ValueError, match="no bound"):
        claim("it is", 1.0)
    with pytest.raises(ClaimError, match="no value"):
        claim("it is", torch.zeros(0), below=1)


def test_a_failed_claim_fails_a_test() -> None:
    assert issubclass(ClaimError, AssertionError)


def test_tensors_of_any_shape_and_type() -> None:
    claim("all of them", torch.full((2, 3), 0.5), below=1, above=0)
    claim("a scalar", torch.tensor(0.5), below=1)
    claim("counts", torch.tensor([3, 3]), equals=3)
    claim("every one", torch.tensor([True, True]), equals=True)
    with pytest.raises(ClaimError, match="False is not True"):
        claim("every one", torch.tensor([True, False]), equals=True)
    claim("numpy", np.float32(0.5), below=1)
    claim("an array", np.array([0.5, 0.6]), below=1)
    with pytest.raises(ClaimError):
        claim("an array", np.array([0.5, 1.6]), below=1)


def test_values_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "claims.json"
    monkeypatch.setenv(RECORD, str(file))
    claim("one", 0.25, below=1)
    claim("several", torch.tensor([1, 2]), above=0)
    claim("numpy, in dB", np.float32(-60), below=-20, why="other machines")
    with pytest.raises(ClaimError):
        claim("false", 2.0, below=1)
    known = json.loads(file.read_text())
    places = [entry.pop("at") for entry in known.values()]
    assert known == {
        "one < 1": {"value": 0.25, "slack": 4.0},
        "several > 0": {"value": [1, 2], "slack": 1.0},
        "numpy, in dB < -20": {"value": -60.0, "slack": 100.0, "why": "other machines"},
    }
    assert len({*places}) == 3 and all(place.startswith("test_claims:") for place in places)
    claim("one", 0.75, below=1)  # a rerun replaces
    assert json.loads(file.read_text())["one < 1"]["value"] == 0.75
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("values", "bounds", "level", "room"),
    [
        ([1e-6], {"below": 1e-3}, False, 1000),
        ([0.5, 2.0], {"above": 0.1}, False, 5),  # the nearest counts
        ([0.5, 2.0], {"below": 4}, False, 2),
        ([-30], {"below": -10}, False, 3),
        ([-10], {"above": -30}, False, 3),
        ([4], {"below": 8, "above": 0.1}, False, 40),  # the wider side
        ([-60], {"below": -20}, True, 100),
        ([-3], {"above": -43}, True, 100),
        ([30], {"above": 10}, True, 10),
        ([0.0], {"below": 1e-12}, False, 1e-12 / ROUNDOFF),
        ([-300], {"below": -233.05}, True, 10),  # no lower than round-off
        ([5], {"above": 0}, False, 1),  # a sign
        ([-0.2], {"below": 1e-9}, False, 1),  # a sign, up to round-off
        ([3], {}, False, 1),
    ],
)
def test_slack_is_the_factor_to_the_bound(
    values: list[float], bounds: dict[str, float], level: bool, room: float
) -> None:
    assert slack(values, **bounds, level=level) == pytest.approx(room, rel=1e-2)


def test_on_other_models_a_false_claim_is_shown_and_recorded_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claims, "_elsewhere", [])
    monkeypatch.setenv(RECORD, "")  # put back behind the test
    record = tmp_path / "claims.json"
    elsewhere(record)
    claim("it is small", 2.0, below=1)
    claim("it is a number", math.nan, below=1)
    claim("it is there", torch.empty(0), below=1)
    claim("it is large", 7, above=5)
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == f"{NOT_HERE}it is small: 2 is not below 1"
    assert second.endswith("the value is not a number") and third.endswith("there is no value")
    assert last == "ok  it is large > 5"
    known = json.loads(record.read_text())
    assert known["it is small < 1"] == {"holds": False, "found": "2 is not below 1"}
    assert known["it is large > 5"]["value"] == 7
    with pytest.raises(ValueError, match="has no bound"):
        claim("it has none", 1.0)
