"""The rehearsal measures cost, survives a lack of memory, and invents nothing."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
import torch

from invlib.memory import STATUS, in_use, peak, reset_peak
from invlib.rehearsal import architectures, keep, markdown, measure, rehearse
from invlib.rehearsal.measure import NUMBERS

PARAMETERS = {  # of the published models
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "sd3": 2_028_328_000,
    "flux": 11_901_408_320,
}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return rehearse("tiny", steps=2, rounds=2, batch_sizes=(1, 2), guidance=3.0)


@pytest.mark.parametrize("arch", PARAMETERS)
def test_architectures_have_the_published_number_of_parameters(arch: str) -> None:
    module = architectures.random_module(arch, device="meta")
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[arch]


def test_every_number_is_measured(rows: list[dict]) -> None:
    assert [row["batch"] for row in rows] == [1, 2]
    for row in rows:
        assert all(row[name] > 0 for name in NUMBERS if name != "peak_gb")
        assert row["peak_gb"] >= 0  # the tiny network is smaller than what memory is counted in
        assert row["parameters"] == 64_796
        assert (row["size"], row["note"]) == (8, "")


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux says what a process uses")
def test_peak_memory_sees_what_was_held_for_a_moment() -> None:
    cpu = torch.device("cpu")
    gc.collect()  # nothing is to be given back meanwhile
    reset_peak(cpu)
    before = in_use()
    held = torch.ones(32, 1_000_000)  # 128 MB, more than any allocator keeps in store
    del held
    assert peak(cpu, before) == pytest.approx(0.128, abs=0.05)
    reset_peak(cpu)
    assert peak(cpu, before) < 0.05  # forgotten


def test_a_network_with_size_conditions_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = architectures.ARCHITECTURES["tiny"] | {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 32,
    }
    monkeypatch.setitem(architectures.ARCHITECTURES, "tiny", config)
    (row,) = rehearse("tiny", steps=1, rounds=1, dtype="bfloat16", size=4)
    assert row["sampling"] > 0
    assert row["size"] == 4


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_a_row(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real = measure._measure

    def measured(problem: measure.Problem, *rest: object) -> dict:
        if len(problem.states) > 1:
            raise error
        return real(problem, *rest)

    monkeypatch.setattr(measure, "_measure", measured)
    first, second = rehearse("tiny", steps=1, rounds=1, batch_sizes=(1, 2))
    assert first["sampling"] > 0
    assert second["note"] == "out of memory"
    assert all(second[name] is None for name in NUMBERS)
    assert "out of memory" in markdown({"rows": [second]})


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(measure, "_measure", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        rehearse("tiny")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arch": "sd9"}, "unknown architecture 'sd9'; use one of tiny, sd15, sd21, sdxl"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"steps": 0}, "at least 1"),
        ({"batch_sizes": (0,)}, "at least 1"),
        ({"size": 0}, "at least 1"),
        ({"guidance": 0.5}, "guidance scale"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rehearse(**{"arch": "tiny", **wrong})


def test_rows_of_the_same_setting_are_replaced(tmp_path: Path, rows: list[dict]) -> None:
    path = tmp_path / "rehearsal.json"
    keep(path, rows)
    values = keep(path, [{**rows[0], "sampling": 5.0}, {**rows[0], "dtype": "float16"}])
    assert json.loads(path.read_text())["rows"] == values["rows"]
    assert [(r["dtype"], r["batch"], r["sampling"] == 5) for r in values["rows"]] == [
        ("float32", 1, True),
        ("float32", 2, False),
        ("float16", 1, False),
    ]
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a results file"):
        keep(path, rows)


def test_what_nobody_ran_says_so(rows: list[dict]) -> None:
    page = markdown({"rows": [{**rows[0], "arch": "sd21"}]})
    assert "| sd21 | CPU, " in page
    assert page.count("| sd21 | GPU | float16 | 8 | not measured |") == 1
    assert "only cost is measured" in page
    assert page.count("not measured |") == 5 * 7


def test_the_stored_rehearsal_is_of_the_published_architecture() -> None:
    root = Path(__file__).parents[1]
    values = json.loads((root / "results" / "rehearsal.json").read_text())
    assert values["weights"] == "random"
    assert {r["parameters"] for r in values["rows"] if r["arch"] == "sd21"} == {PARAMETERS["sd21"]}
    assert markdown(values)
