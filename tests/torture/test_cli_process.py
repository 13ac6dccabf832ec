"""The command line as a process: interrupted, unheard, on narrow terminals and full disks."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from amount import amount
from readers import KEYS
from test_cli_files import WRITING

from invlib.cli.errors import INTERRUPTED, TRACE

COMMAND = [sys.executable, "-m", "invlib"]
TALK = "Traceback|Exception ignored|Error in sys|most recent call"
SAMPLE = [
    "sample",
    "--steps",
    "2",
    "--guidance-scale",
    "1",
    "-o",
    "a.png",
    "--noise",
    "a.safetensors",
]


def environment(**more: str) -> dict[str, str]:
    """The one of this process, as far as a command is to know it."""
    told = (TRACE, "COLUMNS", "LINES")  # xdist names a size of its own
    kept = {name: value for name, value in os.environ.items() if name not in told}
    return kept | {"PYTHONFAULTHANDLER": "0", **more}


def run(words: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    options |= {"stdin": subprocess.DEVNULL, "cwd": folder, "env": environment()} | more
    return subprocess.run([*COMMAND, *words], **options)


def quiet(text: str) -> bool:
    """Whether nothing of Python's own talk is in a text."""
    return not re.search(TALK, text)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is found from other folders, too."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))


STREAMS = {  # how a shell says it, the words, and the exit code
    "stdout closed": (">&-", "models", 0),
    "stdin closed": ("<&-", "models", 0),
    "stderr closed": ("2>&-", "nonsense", 2),
    "all closed": ("<&- >&- 2>&-", "models", 0),
    "stdout full": (">/dev/full", "models", 1),
    "stderr full": ("2>/dev/full", "nonsense", None),
    "help to a full disk": (">/dev/full", "invert --help", 1),
    "nobody reads": ("| true", "models --words", 1),
    "nobody reads the help": ("| true", "--help", 1),
}


@pytest.mark.found("A standard output or error that is closed or full ended in a traceback.")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name in ("stdout full", "all closed") else pytest.mark.torture
        )
        for name in STREAMS
    ],
)
def test_streams_that_are_closed_or_full(
    name: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    """No traceback, an exit code that says so, and no file with the number of a closed stream."""
    redirected, words, code = STREAMS[name]
    script = f"set -o pipefail; '{sys.executable}' -m invlib {words} {redirected}"
    command = ["bash", "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert quiet(done.stderr) and quiet(done.stdout), done.stderr
    if code is None:
        assert done.returncode in (1, 2)
    elif "nobody" in name:
        assert done.returncode in (0, code)  # it may be done before the reader goes
    else:
        assert done.returncode == code, done.stderr
    if name == "stdout full":
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ") and "No space left" in line
    assert not [*tmp_path.iterdir()]
    counted("faults")


def terminal(words: list[str], folder: Path, columns: int, **more: str) -> tuple[str, int]:
    """What a command writes to a terminal, and its exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(TERM="xterm", **more),
        **{"stdin": slave, "stdout": slave, "stderr": slave},
    )
    os.close(slave)
    text = b"".join(read(master))
    os.close(master)
    return text.decode(), child.wait()


def read(master: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(master, 2**16)
        except OSError:  # the other end is closed
            return
        if not part:
            return
        yield part


@pytest.mark.found("The line of progress was longer than a narrow terminal.")
@pytest.mark.torture
@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}])
def test_a_terminal_of_40_columns(
    colour: dict[str, str], tmp_path: Path, counted: Callable[..., None]
) -> None:
    """Progress stays in its line, and without colours there are none."""
    text, code = terminal(SAMPLE, tmp_path, 40, **colour)
    assert code == 0 and quiet(text), text
    for line in re.findall(r"\r(\.\.\. [^\r\n\x1b]*)", text):
        assert len(line) < 40
    text, code = terminal(["invert", "--help"], tmp_path, 40, **colour)
    assert code == 0
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= 40
    assert not colour or not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)
    text, code = terminal(["nonsense"], tmp_path, 40, **colour)
    assert code == 2 and text.startswith("error: ") and quiet(text)
    counted("cases", 3)


def interrupted(words: list[str], folder: Path, seconds: float, number: int) -> tuple[int, str]:
    """The exit code and the words of a command that gets a signal after some time."""
    child = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    child.send_signal(number)
    _, said = child.communicate()
    return child.returncode, said


@pytest.mark.found("Ctrl-C while the library loads ended in a traceback.")
@pytest.mark.torture
def test_interrupted_at_any_moment(tmp_path: Path, counted: Callable[..., None]) -> None:
    """Nothing but a line is said, and what is there is whole, or there is nothing."""
    began = time.monotonic()
    assert run(SAMPLE, tmp_path).returncode == 0
    whole, rng = time.monotonic() - began, random.Random(0)
    known = {file.name for file in tmp_path.iterdir()}
    assert known == {"a.png", "a.safetensors"}
    for number in range(amount(1, 24)):
        folder = tmp_path / str(number)
        folder.mkdir()
        after = whole * (0.15 + 0.85 * rng.random())  # before, Python itself begins
        code, said = interrupted(SAMPLE, folder, after, signal.SIGINT)
        assert quiet(said), (after, said)
        assert code in (0, INTERRUPTED, -signal.SIGINT), (code, said)
        assert {f.name for f in folder.iterdir()} in ((set(), known) if code else (known,))
        counted("faults")


@pytest.mark.torture
def test_killed_at_any_moment(tmp_path: Path, counted: Callable[..., None]) -> None:
    """What has a name that was asked for is whole."""
    from PIL import Image

    from invlib.noisefile import load_noise

    began = time.monotonic()
    assert run(SAMPLE, tmp_path).returncode == 0
    whole, rng = time.monotonic() - began, random.Random(1)
    for number in range(amount(1, 16)):
        folder = tmp_path / str(number)
        folder.mkdir()
        interrupted(SAMPLE, folder, whole * (0.7 + 0.3 * rng.random()), signal.SIGKILL)
        for file in folder.glob("[!.]*"):
            if file.suffix == ".png":
                with Image.open(file) as picture:
                    picture.load()
            else:
                assert len(load_noise(file).latents) == 1
        counted("faults")


@pytest.mark.torture
def test_a_full_disk_leaves_no_file(tmp_path: Path, counted: Callable[..., None]) -> None:
    """The shell's limit on the length of files: the picture fits, its noise does not."""
    for most in (1, 4, 12):  # of 1024 bytes; with none PyTorch itself cannot be imported
        words = " ".join(SAMPLE)
        script = f"trap '' XFSZ; ulimit -f {most}; exec '{sys.executable}' -m invlib {words}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            check=False,
        )
        left = {file.name for file in tmp_path.iterdir()}
        assert quiet(done.stderr), done.stderr
        assert (done.returncode, left) in ((1, set()), (0, {"a.png", "a.safetensors"}))
        for file in tmp_path.iterdir():
            file.unlink()
        counted("faults")


@pytest.mark.torture
def test_no_command_opens_a_connection(tmp_path: Path, counted: Callable[..., None]) -> None:
    """Sockets are blocked in the process; only the profile of the paper asks for a network."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def blocked(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = blocked\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    more = {"env": environment(PYTHONPATH=path, HF_HUB_OFFLINE="0")}
    assert run(SAMPLE, tmp_path, **more).returncode == 0
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    invert = ["invert", "a.png", "--steps", "2", "--method", "naive", "--decoder", "encoder"]
    for words in (
        ["models"],
        [*invert, "-o", "b.safetensors"],
        ["regenerate", "a.safetensors", "-o", "c.png"],
        ["certify", "a.safetensors", "--picture", "a.png"],
        ["seeds", "a.safetensors", "--count", "10"],
        ["sample", "--model", "someone/model", "-o", "d.png"],
        ["identify", "a.png", "--prompt", "a person", "--steps", "2", "--seconds", "5"],
        *(WRITING[name] for name in ("edit", "watermark embed", "demo")),
    ):
        for file in tmp_path.glob("new*"):
            file.unlink()
        done = run(words, tmp_path, **more)
        assert "connection" not in done.stderr and quiet(done.stderr), done.stderr
        assert done.returncode in (0, 1, 3)
        counted("cases")


def test_a_terminal_that_says_nothing_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from invlib.cli.ticker import _width

    assert _width(StringIO()) == 119
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(slave, "w") as stream:
        assert _width(stream) == 40
    os.close(master)
