"""The rehearsal measures cost, survives a lack of memory, and invents nothing."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from invlib import fixed_rows
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
        assert all(row[name] > 0 for name in NUMBERS if not name.endswith("_gb"))
        assert (
            row["peak_gb"] >= row["sampling_gb"] >= 0
        )  # the tiny network is smaller than what memory is counted in
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


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 2), (3.0, 4)])
def test_a_compiled_network_sees_one_number_of_rows(
    monkeypatch: pytest.MonkeyPatch, guidance: float, rows: int
) -> None:
    compiled: set[int] = set()

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        compiled.update(v.shape[0] for v in inputs if v.ndim == 4 and v.shape[-1] == 8)
        return graph.forward

    named = partial(fixed_rows.compiled, backend=backend)
    monkeypatch.setattr("invlib.rehearsal.measure.compiled", named)
    setting = {"rounds": 1, "batch_sizes": (2,), "guidance": guidance, "derivative": False}
    (row,) = rehearse("tiny", compile=True, **setting)
    assert (row["compile"], row["note"]) == (True, "")
    assert compiled == {rows}


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
    assert "| sd21 | 8 | CPU, " in page
    assert page.count("| flux | its own | GPU | float32, TF32, ") == 1
    assert "only cost is measured" in page
    lines = [line for line in page.splitlines() if line.count("not measured") == 7]
    assert len(lines) == 1 + 6  # bfloat16 on the CPU, and each network on a GPU
    on_gpu = {**rows[0], "arch": "flux", "device": "H100", "dtype": "float32", "tf32": True}
    page = markdown({"rows": [on_gpu]})
    assert "| flux | 8 | H100" in page and "| float32, TF32 | 1 |" in page
    assert "| flux | its own | GPU |" not in page


def test_tf32_is_a_setting_of_its_own(tmp_path: Path, rows: list[dict]) -> None:
    older = {name: value for name, value in rows[0].items() if name != "tf32"}
    path = tmp_path / "rehearsal.json"
    keep(path, [older])
    assert len(keep(path, [rows[0]])["rows"]) == 1  # it was off before it was a setting
    assert len(keep(path, [{**rows[0], "tf32": True}])["rows"]) == 2


def test_products_are_rounded_inside_only() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    with measure._rounded(not before):
        assert torch.backends.cuda.matmul.allow_tf32 is not before
    assert torch.backends.cuda.matmul.allow_tf32 is before


@pytest.mark.parametrize("arch", ["sd3", "flux", "wan"])
def test_a_transformer_is_rehearsed_as_a_unet_is(
    monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    """With two layers, on small latents: all else is that of the published one."""
    name, config = architectures.TRANSFORMERS[arch]
    few = (
        dict.fromkeys(("num_layers", "num_single_layers")) if arch == "flux" else {"num_layers": 0}
    )
    small = {
        **config,
        **{key: 1 for key in few},
        "num_attention_heads": 2,
        "attention_head_dim": 128 if arch == "flux" else 32,
    }
    small |= {"caption_projection_dim": 64} if arch == "sd3" else {}
    small |= {"ffn_dim": 64} if arch == "wan" else {}
    monkeypatch.setitem(architectures.TRANSFORMERS, arch, (name, small))
    (row,) = rehearse(arch, steps=2, rounds=1, size=4, guidance=2.0, derivative=False)
    assert row["jvp_cost"] is None
    assert all(row[work] > 0 for work in measure.WORKS)


def test_the_stored_rehearsal_is_of_the_published_architecture() -> None:
    root = Path(__file__).parents[1]
    values = json.loads((root / "results" / "rehearsal.json").read_text())
    assert values["weights"] == "random"
    assert {r["parameters"] for r in values["rows"] if r["arch"] == "sd21"} == {PARAMETERS["sd21"]}
    assert markdown(values)
