"""What profiles will take: said before anything starts, from what was measured and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer

from invlib.rehearsal import __main__ as command
from invlib.rehearsal import agreement, costs_time, forecast
from invlib.rehearsal.forecast import PROFILES, Profile, many, one_after_another, speeds
from invlib.rehearsal.formulas import reading
from invlib.rehearsal.full_size import FULL_SIZE
from invlib.rehearsal.live import peak_bytes
from invlib.rehearsal.units import time

ROOT = Path(__file__).parents[1]


def stored(name: str) -> dict:
    return json.loads((ROOT / f"results/{name}.json").read_text())


@pytest.fixture(scope="module")
def files() -> dict[str, dict]:
    return {name: stored(name) for name in ("bench", "flow", "costs", "rehearsal")}


def test_evaluations_are_those_of_the_sampler_that_stands_in(files: dict) -> None:
    found = forecast.forecast(PROFILES["sd15"], files["costs"], files["bench"])
    (row,) = (
        r
        for r in files["bench"]["rows"]
        if (r["model"], r["method"], r["sampler"], r["guidance"])
        == ("latent", "ours", "DDIM-50", 7.5)
    )
    assert (found.steps, found.guidance) == (50, 7.5)  # the defaults of the pipeline in diffusers
    assert found.evaluations == pytest.approx(50 + reading(50) + row["nfe"] + 50)
    flops = files["costs"]["networks"]["sd15"]["flops"]
    assert found.seconds(2 * flops) == pytest.approx(found.evaluations)


def test_every_profile_has_a_line_and_nothing_is_made_up(files: dict) -> None:
    page = forecast.markdown(*files.values())
    lines = page.splitlines()
    assert len(lines) == 2 + len(PROFILES)
    assert page.count("| not measured |") == len(PROFILES)  # no GPU was at hand
    files = {**files, "rehearsal": {"rows": [gpu_row(files)]}}
    page = forecast.markdown(*files.values())
    assert "a GPU of mine" in page and page.count("| not measured |") == len(PROFILES) - 1


def test_hours_on_the_cpu_are_those_of_the_seconds_on_the_same_page(files: dict) -> None:
    """A network's own measured seconds, whatever a rehearsal said; else the rate of all."""
    lines = forecast.markdown(*files.values()).splitlines()[2:]
    for (name, profile), line in zip(PROFILES.items(), lines, strict=True):
        bench = files[profile.bench]
        found = forecast.forecast(profile, files["costs"], bench)
        row = costs_time.row_seconds(files["costs"], profile.arch)
        hours = time(100 * found.evaluations * found.rows * row)
        assert line.startswith(f"| {name} |") and f"| {hours} |" in " ".join(line.split())
    assert "sd21" in files["costs"]["measured"] and files["rehearsal"]["rows"][0]["arch"] == "sd21"


def gpu_row(files: dict) -> dict:
    (row, *_) = files["rehearsal"]["rows"]
    return {**row, "arch": "sd15", "device": "a GPU of mine", "dtype": "float16", "sampling": 10.0}


def test_a_measured_speed_counts_at_the_network_s_own_size_only(files: dict) -> None:
    row, key = gpu_row(files), ("sd15", "a GPU of mine", "float16")
    flops = files["costs"]["networks"]["sd15"]["flops"]
    assert speeds({"rows": [row]}, files["costs"]) == {key: 10 * flops}
    guided = {**row, "guidance": 5.0}
    assert speeds({"rows": [guided, row]}, files["costs"])[key] == 20 * flops  # two rows each
    for other in ({"size": 32}, {"sampling": None}, {"arch": "tiny"}):
        assert speeds({"rows": [{**row, **other}]}, files["costs"]) == {}


def test_a_stand_in_that_nobody_measured_is_named(files: dict) -> None:
    unknown = Profile("sd15", "StableDiffusionPipeline", "Euler", "Euler-99")
    with pytest.raises(KeyError, match="no row of Euler-99 in results/bench"):
        forecast.forecast(unknown, files["costs"], files["bench"])


@pytest.mark.parametrize(
    ("gpus", "at_once", "expected"), [(1, 1, 100), (8, 1, 13), (64, 1, 2), (8, 8, 16), (64, 8, 8)]
)
def test_the_busiest_gpu_sets_the_time(gpus: int, at_once: int, expected: int) -> None:
    """Against handing the cells out one by one."""
    loads = [0] * gpus
    for _ in range(0, 100, at_once):
        least = loads.index(min(loads))
        loads[least] += at_once
    assert one_after_another(100, gpus, at_once=at_once) == expected == max(loads)


def test_a_hundred_prompts_take_as_long_as_those_of_the_busiest_gpu(files: dict) -> None:
    paper = forecast.forecast(PROFILES["paper"], files["costs"], files["bench"])
    (line,) = (v for v in many(files["bench"], files["costs"]).splitlines() if "| 8 |" in v[:6])
    hours = 13 * paper.evaluations * forecast.PAPER / 3600
    assert line.startswith("| 8 | 13 | 96% | 7.69 | 16 |")
    shown = float(line.split("|")[-2].split()[0])
    assert shown == pytest.approx(60 * hours, rel=0.1)  # in minutes


# --- the prepared run


def test_the_run_says_first_what_all_takes_and_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, made = tmp_path / "rows.json", []
    (row, *_) = stored("rehearsal")["rows"]

    def rehearse(**setting: object) -> list[dict]:
        assert "evaluations a picture" in capsys.readouterr().out or made
        made.append(setting)
        names = ("arch", "dtype", "tf32", "compile", "size")
        own = {name: setting[name] for name in names}
        (batch,) = setting["batch_sizes"]
        size = setting["size"] or FULL_SIZE[setting["arch"]].pixels // 8
        return [{**row, **own, "batch": batch, "size": size}]

    monkeypatch.setattr(command, "rehearse", rehearse)
    command.main(["sd15"], "cpu", None, float("inf"), False, output)
    assert not made and "not measured" in capsys.readouterr().out
    command.main(["sd15"], "cpu", None, float("inf"), True, output)
    assert len(made) == len(json.loads(output.read_text())["rows"]) == 2 * 2 * 2
    command.main(["sd15"], "cpu", None, float("inf"), True, output)
    assert len(made) == 8
    command.main(["sd21"], "cpu", None, -1.0, True, output)
    assert len(made) == 8 and "out of time" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter, match="unknown: sd9"):
        command.main(["sd9"], "cpu", None, -1.0, True, output)


def test_a_gpu_is_asked_for_every_dtype() -> None:
    found = [*command.settings(["sd15"], "cuda", None)]
    assert {(s["dtype"], s["tf32"]) for s in found} == {*command.ON_GPU}
    assert len(found) == 4 * 2 * 2
    assert not any(s["compile"] for s in found[: len(found) // 2])  # the quickest to say first


# --- predicted against measured


def test_a_convolution_of_the_cpu_takes_copies_of_all_three() -> None:
    with torch.device("meta"):
        layer, x = torch.nn.Conv2d(4, 8, 3, padding=1), torch.empty(2, 4, 16, 16)
    result = 4 * 2 * 8 * 16 * 16
    assert peak_bytes(lambda: layer(x)) == result
    copies = result + x.nbytes + layer.weight.nbytes
    assert peak_bytes(lambda: layer(x), reordered=True) == result + copies


def test_the_twin_is_narrower_and_else_the_same() -> None:
    config, whole = agreement.narrow("sd21"), agreement.ARCHITECTURES["sd21"]
    assert config.keys() - {"norm_num_groups"} == whole.keys()
    assert config["attention_head_dim"] == whole["attention_head_dim"]
    assert [8 * w for w in config["block_out_channels"]] == [*whole["block_out_channels"]]


def test_rows_are_counted_where_they_pass() -> None:
    layer, rows = torch.nn.Linear(3, 3), agreement.Rows(2)
    with rows.of(layer):
        layer(torch.ones(4, 3)), layer(torch.ones(2, 3))
    layer(torch.ones(9, 3))
    assert (rows.total, rows.most) == (6, 4)


def test_what_was_predicted_holds() -> None:
    """Evaluations and the peak of memory within a fifth, for SD 2.1 at 256 pixels."""
    values = stored("agreement")
    assert (values["arch"], values["pixels"], values["weights"]) == ("sd21", 256, "random")
    assert agreement.misses(values) == []
    wrong = json.loads(json.dumps(values))
    wrong["measured"]["inversion"]["evaluations"] *= 1.3
    assert agreement.misses(wrong) == ["inversion: evaluations"]
    assert "| inversion: evaluations |" in agreement.markdown(values)


def test_a_busy_machine_is_no_excuse_for_a_run_on_a_quiet_one() -> None:
    values, costs = stored("agreement"), stored("costs")
    assert f"began at a load of {values['load']:g}," in agreement.loads(values, costs)
    quiet, busy = (agreement.loads({**values, "load": load}, costs) for load in (0.0, 99.0))
    assert "further off" in quiet and "further off" not in busy
    better = {**values, "load": 0.0, "predicted": values["measured"]}
    assert "further off" not in agreement.loads(better, costs)
