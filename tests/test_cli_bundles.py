"""Bundles of options: commands show and pass on the same options as if each had listed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from invlib.cli.bundle import bundled
from invlib.cli.info import PROFILE
from invlib.rehearsal.forecast import PROFILES
from invlib.reproduce import __main__ as figures
from invlib.reproduce.front import __main__ as front
from invlib.reproduce.models.full_size import FULL_SIZE


@dataclass(frozen=True)
class Size:
    """A bundle."""

    width: Annotated[int, typer.Option(help="how wide")] = 3
    height: Annotated[int | None, typer.Option("--high", min=1, help="how high")] = None


def run(*arguments: str) -> Result:
    seen: list[Any] = []

    @bundled
    def command(*, name: str, size: Size, last: bool = False) -> None:
        """Words."""
        seen.append((name, size, last))

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [*arguments])
    result.return_value = seen
    return result


def test_options_of_a_bundle_stand_in_its_place_and_arrive_in_it() -> None:
    assert run("a").return_value == [("a", Size(), False)]
    given = run("a", "--width", "4", "--high", "2", "--last").return_value
    assert given == [("a", Size(4, 2), True)]
    words = " ".join(run("--help").output.replace("│", " ").split())
    order = [words.index(name) for name in ("--width", "--high", "--last")]
    assert order == sorted(order) and "Words." in words and "how wide" in words
    assert run("a", "--high", "0").exit_code == 2


def test_profiles_are_listed_by_themselves() -> None:
    assert set(PROFILES) == set(FULL_SIZE)
    for words in (PROFILE, figures.PROFILE):
        assert words.endswith(": " + ", ".join(FULL_SIZE)) and words.startswith("tiny")
    assert front.PROFILE.endswith(": paper, sd15")


@pytest.mark.parametrize("profile", ["tiny", *FULL_SIZE, "paper-rehearsal"])
def test_the_forecast_is_printed_for_every_profile_of_full_size(
    profile: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures.forecast, "said", lambda: "hours and memory")
    monkeypatch.setattr(figures, "ready", lambda _: None)
    monkeypatch.setattr(figures.os, "chdir", lambda _: None)
    for work in ("apart", "run", "refresh"):
        monkeypatch.setattr(figures, work, lambda *_: None)
    figures.main(profile, None, "serial", 1, None, "")
    assert ("hours and memory" in capsys.readouterr().out) == (profile in FULL_SIZE)
