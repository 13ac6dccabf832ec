"""Every command that writes, failing or interrupted when its writing has begun."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from readers import KEYS
from typer.testing import CliRunner

from invlib.cli import app, outputs
from invlib.cli.errors import FAILED, INTERRUPTED, TRACE

CALL = ["--steps", "2", "--guidance-scale", "1"]
FAST = ["--method", "naive"]
WRITING = {  # what a command writes, and the smallest work that comes to it
    "sample": ["sample", *CALL, "-o", "new.png", "--noise", "new.safetensors"],
    "invert": ["invert", "a.png", *CALL, *FAST, "--decoder", "encoder", "-o", "new.safetensors"],
    "edit": ["edit", "a.png", *CALL, *FAST, "--to", "a person", "--mask", "a.png", "-o", "new.png"],
    "regenerate": ["regenerate", "a.safetensors", "-o", "new.png"],
    "watermark embed": ["watermark", "embed", *CALL, "--keys", "keys.json", "--owner", "Ann"],
    "demo": ["demo", *CALL, "-o", "new.png"],
}
WRITING["edit"] += ["--overlay", "new-over.png"]
WRITING["watermark embed"] += ["-o", "new.png", "--noise", "new.safetensors"]
FAULTS: dict[str, tuple[BaseException, int, str]] = {
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), FAILED, "No space left"),
    "Ctrl-C": (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, its noise and some keys."""
    folder = tmp_path_factory.mktemp("given")
    words = ["sample", *CALL, "-o", f"{folder}/a.png", "--noise", f"{folder}/a.safetensors"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (folder / "keys.json").write_text(json.dumps(KEYS))
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.torture] if name in ("edit", "demo") else [])
        for name in WRITING
    ],
)
def test_a_command_that_fails_while_it_writes_leaves_no_file(
    name: str,
    given: Path,
    monkeypatch: pytest.MonkeyPatch,
    counted: Callable[..., None],
) -> None:
    """The last of its files fails, when all before are written."""
    monkeypatch.setenv(TRACE, "1")
    monkeypatch.chdir(given)
    before, words = listing(given), WRITING[name]
    last = sum(word.startswith("new") for word in words)
    for fault, code, sentence in FAULTS.values():
        settled: list[Path] = []

        def settle(part: Path, settled: list[Path] = settled, fault: Any = fault) -> None:
            assert part.stat().st_size > 0
            settled.append(part)
            if len(settled) == last:
                raise fault

        with monkeypatch.context() as patched:
            patched.setattr(outputs, "settle", settle)
            done = CliRunner().invoke(app, words)
        said = [line for line in done.stderr.splitlines() if not line.startswith("... ")]
        assert (done.exit_code, len(settled), listing(given) == before) == (code, last, True)
        assert len(said) == 1 and said[0].startswith("error: ") and sentence in said[0], said
        counted("faults")


@pytest.mark.found("A command that failed while its files got their names left the first.")
def test_files_that_have_their_names_go_if_a_later_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def interrupted(part: Path, name: Path) -> None:
        if name.name == "b.png":
            raise KeyboardInterrupt
        link(part, name)

    monkeypatch.setattr(outputs.os, "link", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        outputs.outputs(tmp_path / "a.png", tmp_path / "b.png", force=False) as made,
    ):
        for part in made.parts:
            part.write_text("new")
    assert not [*tmp_path.iterdir()]
