"""Files that were changed: every reader reads what is right, and refuses the rest in words."""

from __future__ import annotations

import ast
import pickle
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from amount import amount, torturing
from readers import Reader, beside, mutated, readers, refuses
from safetensors import safe_open
from safetensors.torch import load_file, save

from invlib.reproduce.engine import store

READERS = readers()
SLOW = 60.0  # seconds that no file takes, on a busy machine
ATHERIS = Path(__file__).with_name("fuzzing.py")
opened: list[str] | None = None  # what the audit hook has seen since it was emptied
FORBIDDEN = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
FORBIDDEN |= {
    "socket.connect",
    "socket.getaddrinfo",
    "pickle.find_class",
    "os.remove",
    "shutil.rmtree",
}


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if opened is not None:
        if event in ("exec", "compile"):
            code = arguments[0] if event == "exec" else arguments[1]
            name = str(getattr(code, "co_filename", code))
            if not name.endswith(".py"):  # else a module is imported
                opened.append(f"{event} {name}")
        elif event in FORBIDDEN:
            opened.append(event)
        elif event == "open" and isinstance(arguments[0], str | bytes):
            name = arguments[0]
            opened.append(name if isinstance(name, str) else name.decode(errors="replace"))


sys.addaudithook(watch)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever unpickles, or opens a connection, is caught."""

    def caught(*_: object, **__: object) -> None:
        raise AssertionError("pickle or the network was used")

    for owner, name in (
        *((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (pickle, "_Unpickler")),
        *((torch, "load"), (torch.serialization, "load"), (torch.hub, "load_state_dict_from_url")),
        *((socket.socket, "connect"), (socket, "getaddrinfo"), (socket, "create_connection")),
    ):
        monkeypatch.setattr(owner, name, caught)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_read_without_pickle_and_network(name: str, tmp_path: Path) -> None:
    """Otherwise the fuzzer would change files that nobody reads."""
    reader = READERS[name]
    beside(tmp_path)
    for content in reader.valid:
        assert not refuses(reader, content, tmp_path)


@pytest.mark.found("Entries of a wrong kind in noise files, keys and tables were taken.")
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_refused_in_words(
    name: str, tmp_path: Path, counted: Callable[..., None]
) -> None:
    reader, count, refused = READERS[name], amount(40, 4000), 0
    beside(tmp_path)
    for seed in range(count):
        content = mutated(reader, random.Random(f"{name} {seed}"))
        began = time.monotonic()
        try:
            refused += refuses(reader, content, tmp_path)
        except BaseException as error:
            raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - began < SLOW, f"{name}, seed {seed}"
    counted("inputs", count)
    assert refused or name in ("store",)  # which makes again what it cannot read


@pytest.fixture
def audited() -> Iterator[list[str]]:
    """What is opened or run meanwhile."""
    global opened
    opened = []
    yield opened
    opened = None


@pytest.mark.parametrize("name", ["call", "noise", "keys"])
def test_a_file_of_a_stranger_opens_nothing_but_what_is_in_its_folder(
    name: str, tmp_path: Path, audited: list[str], counted: Callable[..., None]
) -> None:
    """Not even when it is changed: no program, no connection, no other file."""
    reader, count = READERS[name], amount(40, 2000)
    beside(tmp_path)
    for content in reader.valid:  # what is imported late is imported now
        refuses(reader, content, tmp_path)
    audited.clear()
    for seed in range(count):
        refuses(reader, mutated(reader, random.Random(seed)), tmp_path)
    code = re.compile(r"\.(py|pyc|so)$|/proc/|/site-packages/")  # imports
    other = [p for p in audited if not p.startswith(str(tmp_path)) and not code.search(p)]
    assert other == []
    counted("inputs", count)


@pytest.mark.torture
@pytest.mark.parametrize("name", READERS)
def test_atheris_finds_nothing(name: str, tmp_path: Path, counted: Callable[..., None]) -> None:
    """Guided by what code an input reaches; an hour for all of them together."""
    pytest.importorskip("atheris")
    assert torturing()
    seconds = amount(1, 3600 // len(READERS))
    command = [sys.executable, str(ATHERIS), name, str(tmp_path), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Done (\d+) runs", done.stderr)
    assert done.returncode == 0 and found, done.stderr[-3000:]
    counted("inputs", int(found[1]))


def test_the_module_of_every_reader_tells_atheris_what_is_reached() -> None:
    trees = [
        ast.parse(ATHERIS.with_name(name).read_text()) for name in ("fuzzing.py", "readers.py")
    ]
    [include] = [
        {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
        for node in trees[0].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INSTRUMENTED"
    ]
    imported = {n.module or "" for n in ast.walk(trees[1]) if isinstance(n, ast.ImportFrom)}
    ours = {name for name in imported if name.startswith("invlib")}
    blind = {name for name in ours if not any(f"{name}.".startswith(f"{i}.") for i in include)}
    assert len(ours) > 6 and blind == set()


def test_a_forged_result_is_one_and_a_damaged_one_is_put_aside(tmp_path: Path) -> None:
    """A plain hash keeps from damage, not from someone who computes it again."""
    [valid] = READERS["store"].valid
    path = tmp_path / READERS["store"].file
    path.write_bytes(valid)
    tensors = {name: value + 1 for name, value in load_file(path).items()}
    with safe_open(path, "pt") as file:
        about = file.metadata()
    for sha256, taken in (("0" * 64, False), (store._values_hash(tensors), True)):
        refuses(READERS["store"], save(tensors, {**about, "sha256": sha256}), tmp_path)
        assert path.exists() == taken


def test_no_module_unpickles() -> None:
    """The one exception is the paper's own checkpoint, which is published in no other form."""
    import invlib

    root = Path(invlib.__file__).parent
    wrong = set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            unsafe = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if unsafe & set(names) or called in ("torch.load", "torch.save", "eval", "exec"):
                wrong.add(file.relative_to(root).as_posix())
            if called.endswith("load_state_dict_from_url"):
                assert any(k.arg == "weights_only" for k in node.keywords)
                wrong.add(file.relative_to(root).as_posix())
    assert wrong == {"reproduce/models/paper_models.py"}


def test_a_reader_that_takes_anything_would_be_noticed(tmp_path: Path) -> None:
    """The fuzzer's own teeth: readers that raise anything, or return nonsense."""
    valid = READERS["call"].valid

    def careless(path: Path) -> None:
        import json

        json.loads(path.read_text())["prompt"][0]

    with pytest.raises((KeyError, TypeError, IndexError)):
        for seed in range(200):
            reader = Reader("careless", "c.json", valid, careless)
            refuses(reader, mutated(reader, random.Random(seed)), tmp_path)
