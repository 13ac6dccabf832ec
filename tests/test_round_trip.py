"""The demonstration measures what it says, and ``invlib demo`` writes it where it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from invlib import round_trip
from invlib.cli import app
from invlib.cli.demo import Sampler
from invlib.portraits import caption as describe
from invlib.portraits import held_out
from invlib.round_trip import METHODS, Comparison, Setting, compare, differences, draw, share

FEW = Setting(sampler="ddim", steps=4, guidance=1.0)  # quick


@pytest.fixture(scope="module")
def shown() -> Comparison:
    return compare(FEW)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["demo", *(str(a) for a in arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def measured(shown: Comparison, monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """The settings that are asked for; what was measured once is given for all of them."""
    asked: list[Setting] = []

    def again(setting: Setting, **_: object) -> Comparison:
        asked.append(setting)
        return replace(shown, setting=setting)

    monkeypatch.setattr(round_trip, "compare", again)
    return asked


def test_the_exact_round_trip_comes_back_and_the_naive_one_does_not(shown: Comparison) -> None:
    naive, exact = (shown.trips[name] for name in METHODS)
    assert exact.certificate.verdict == ("exact",)
    assert naive.certificate.verdict != ("exact",)
    assert exact.error_db < -95 and exact.noise_error_db < -80 and exact.same > 0.99
    assert naive.error_db > -60 and naive.noise_error_db > -60
    assert naive.evaluations == 4 < exact.evaluations


def test_the_prompt_is_the_first_that_nobody_trained_on() -> None:
    assert Setting().prompt == describe(held_out(1)[0])


def test_the_caption_says_what_was_measured(shown: Comparison) -> None:
    text = round_trip.caption(shown)
    for trip in shown.trips.values():
        for value in (trip.error_db, trip.noise_error_db):
            assert f"−{abs(round(value))} dB" in text
        assert share(trip.same) in text
    assert "DDIM-4, guidance scale 1, seed 0" in text


def test_a_share_is_called_all_only_if_it_is() -> None:
    assert [share(v) for v in (1.0, 0.999999, 0.123)] == ["all", "99.99%", "12%"]


def test_differences_are_white_where_there_are_none(shown: Comparison) -> None:
    trip = replace(shown.trips["naive"], picture=shown.original, noise_off=torch.zeros(4, 16, 16))
    assert all((picture == 255).all() for picture in differences(trip, shown.original))
    other = shown.original ^ 1  # every value is off by one
    off, noise = differences(replace(trip, picture=other), shown.original)
    assert (off == 255 - round_trip.STRONGER).all() and (noise == 255).all()
    far = replace(trip, noise_off=torch.full((4, 16, 16), -round_trip.BLACK))
    assert (differences(far, shown.original)[1] == 0).all()


def test_both_errors_stand_in_the_picture(shown: Comparison) -> None:
    labels = [axis.get_ylabel() for axis in draw(shown).axes]
    for name, trip in shown.trips.items():
        assert f"{name}\n{round_trip.level(trip.error_db)}" in labels


def test_the_command_draws_and_says_what_it_found(
    measured: list[Setting], shown: Comparison, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    options = ["--sampler", "3m", "--steps", 7, "--guidance-scale", 2, "--seed", 5]
    result = run("-o", file, "--prompt", "a person", *options, "--json")
    assert result.exit_code == 0
    assert measured == [Setting("a person", "3m", 7, 2.0, 5)]
    values = json.loads(result.stdout)
    assert values["picture"] == str(file)
    assert values["exact"]["certificate"] == str(shown.trips["exact"].certificate)
    assert values["naive"]["error_of_the_noise_db"] == shown.trips["naive"].noise_error_db
    with Image.open(file) as picture:
        assert picture.text[round_trip.CAPTION] == round_trip.caption(
            replace(shown, setting=measured[0])
        )
        assert np.asarray(picture.convert("RGB")).std() > 20


def test_without_options_it_is_the_picture_of_the_first_page(
    measured: list[Setting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "round_trip.png" in run().stdout
    assert measured == [Setting()]
    before = Path("round_trip.png").read_bytes()
    result = run()
    assert result.exit_code == 1 and "exists; add --force to replace it" in result.stderr
    assert measured == [Setting()], "it is refused before the work"
    assert run("--force", "--seed", 3).exit_code == 0
    assert Path("round_trip.png").read_bytes() != before


def test_a_noise_that_is_not_exact_has_its_exit_code(
    shown: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = replace(shown, trips={name: shown.trips["naive"] for name in METHODS})
    monkeypatch.setattr(round_trip, "compare", lambda *_, **__: worse)
    result = run("-o", tmp_path / "a.png")
    assert result.exit_code == 3 and "not certified exact" in result.stderr
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "a clown"], "does not know 'clown'"),
        (["--guidance-scale", "nan"], "finite number"),
        (["-o", "a.jpg"], "is a .png file"),
        (["-o", "missing/a.png"], "no such folder"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*options)
    assert result.exit_code == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not [*tmp_path.iterdir()]


def test_the_samplers_are_those_of_the_command() -> None:
    assert [sampler.value for sampler in Sampler] == [*round_trip.SAMPLERS]


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of ddim, 2m, 3m"):
        compare(Setting(sampler="euler"))
    assert run("--sampler", "euler").exit_code == 2
