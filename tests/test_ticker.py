"""A command that takes long says what it does, on whatever it writes to."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from threading import Event

import pytest

from invlib.cli import ticker
from invlib.watch import Progress


class Terminal(io.StringIO):
    """A stream on which somebody looks."""

    def isatty(self) -> bool:
        return True


class Lines(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AFTER", "DRAWN", "WRITTEN"):
        monkeypatch.setattr(ticker, name, 0.01)
    yield
    assert ticker._running == []


def test_a_long_command_is_heard_while_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Lines()
    monkeypatch.setattr(sys, "stderr", stream)

    @ticker.ticked
    def command() -> str:
        ticker.say("thinking")
        assert stream.written.wait(10)
        return "done"

    assert command() == "done"
    text = stream.getvalue()
    assert text.startswith("... 0:00:00 thinking\n")
    time.sleep(0.05)
    assert stream.getvalue() == text  # nothing after the end


def test_a_short_command_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "AFTER", 60)
    stream = Lines()
    monkeypatch.setattr(sys, "stderr", stream)
    ticker.ticked(lambda: None)()
    assert stream.getvalue() == ""


def test_the_two_seconds_of_the_commands_are_two() -> None:
    import importlib

    assert importlib.reload(ticker).AFTER == 2.0


def test_a_terminal_gets_its_line_back() -> None:
    stream = Terminal()
    with ticker.Ticker(stream) as shown:
        shown.draw()
        shown.end()
        shown.draw()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "starting" in stream.getvalue()


def test_an_error_is_no_reason_to_go_on_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Lines())

    @ticker.ticked
    def command() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        command()


def test_a_search_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Lines())
    words = []

    @ticker.ticked
    def command() -> None:
        ticker.follow(Progress("stepwise 3/10", 7, 42, 3.0, -55.4, 1, 2, 8.2))
        words.append(ticker._running[-1].words)

    command()
    assert words == ["stepwise 3/10: -55 dB, 42 evaluations, 1/2 solved, about 0:00:08 left"]
