"""Processes that die in the middle of writing: nothing finished is lost, nothing half is read."""

from __future__ import annotations

import ast
import json
import math
import os
import random
import resource
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from amount import amount
from children import Work, child, killed
from torch import nn

import invlib
from invlib.checked import check, write_sums
from invlib.portraits.load import WEIGHTS
from invlib.portraits.training import _resumed, _save, fit
from invlib.reproduce.engine import store
from invlib.watermark import ErrorModel
from invlib.whole import whole, write_text

BIG = 2**18  # numbers in one result: some milliseconds to write


def value(number: int) -> dict[str, torch.Tensor]:
    """A result that takes a while to write."""
    return {"x": torch.full((BIG,), float(number))}


def fill(folder: Path, count: int) -> None:
    for number in range(count):
        store.cell(folder, {"number": number}, lambda number=number: value(number))


def finished(folder: Path, count: int) -> list[int]:
    """Which results are there; each must be right, and none of the files damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {n: store.stored(folder, {"number": n}) for n in range(count)}
    for number, tensors in found.items():
        assert tensors is None or torch.equal(tensors["x"], value(number)["x"])
    return [number for number, tensors in found.items() if tensors is not None]


def test_killed_while_results_are_written_again_and_again(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    """Every run goes on where the one before was killed, and loses nothing."""
    count, done, kills, rng = 40, [], 0, random.Random(0)
    most = amount(4, 60)
    while kills < most:
        kills += killed(lambda: fill(tmp_path, count), rng.random() * 0.05)
        now = finished(tmp_path, count)
        assert {*done} <= {*now}
        done = now
        if len(done) == count:
            for file in tmp_path.glob("*.safetensors"):
                file.unlink()
            done = []
    counted("faults", kills)
    fill(tmp_path, count)
    assert finished(tmp_path, count) == [*range(count)]


def test_two_runs_at_once_on_one_store(tmp_path: Path, counted: Callable[..., None]) -> None:
    """Each stores its own whole files under the same names; what is read is always right."""
    for _ in range(amount(1, 10)):
        runs = [child(lambda: fill(tmp_path, 12)) for _ in range(3)]
        while any(run.is_alive() for run in runs):
            finished(tmp_path, 12)
        assert [run.exitcode for run in runs] == [0, 0, 0]
        assert finished(tmp_path, 12) == [*range(12)]
        assert not [*tmp_path.glob(".*")]
        for file in tmp_path.iterdir():
            file.unlink()
        counted("faults")


@pytest.mark.found("Two runs that wrote one results file could put half of it into place.")
def test_two_writers_of_one_results_file(tmp_path: Path, counted: Callable[..., None]) -> None:
    """With one name for what is not finished, one would put the other's half into place."""
    path, rounds = tmp_path / "a.json", amount(20, 300)
    texts = [json.dumps([writer] * 20000) for writer in range(2)]

    def write(text: str) -> None:
        for _ in range(rounds):
            write_text(path, text)

    runs = [child(lambda text=text: write(text)) for text in texts]
    while any(run.is_alive() for run in runs):
        assert not path.exists() or path.read_text() in texts
    assert [run.exitcode for run in runs] == [0, 0]
    assert [*tmp_path.iterdir()] == [path]
    counted("faults", 2 * rounds)


@pytest.mark.found("Who found a damaged result could put aside the one that another had made.")
def test_one_that_is_late_does_not_put_a_good_result_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    """Two read a damaged file; the first has made it again before the second puts it aside."""
    store.cell(tmp_path, {}, lambda: {"x": torch.ones(2)})
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    read = store.load_file

    def slow(file: Path) -> Any:
        try:
            return read(file)
        finally:
            monkeypatch.setattr(store, "load_file", read)
            with pytest.warns(UserWarning, match="damaged"):
                store.cell(tmp_path, {}, lambda: {"x": torch.ones(2)})

    monkeypatch.setattr(store, "load_file", slow)
    with pytest.warns(UserWarning, match="damaged"):
        assert store.stored(tmp_path, {}) is None
    found = store.stored(tmp_path, {})
    assert found is not None and found["x"].tolist() == [1, 1]
    counted("faults")


@pytest.mark.found("A result under the name of another, or with a changed value, was taken.")
@pytest.mark.parametrize("damage", ["swapped", "a value", "a name", "cut", "empty", "of another"])
def test_damaged_and_swapped_results_are_made_again(
    tmp_path: Path, damage: str, counted: Callable[..., None]
) -> None:
    """A result under another name looks whole, and so does one in which a bit was turned."""
    for number in range(2):
        store.cell(tmp_path, {"number": number}, lambda number=number: value(number))
    one, two = (store._address(tmp_path, {"number": n})[0] for n in range(2))
    content = bytearray(one.read_bytes())
    if damage == "swapped":
        other = two.read_bytes()
        two.write_bytes(content)
        content = bytearray(other)
    elif damage == "a value":
        content[-2] ^= 1
    elif damage == "a name":
        at = content.index(b'"x"')
        content[at + 1] = ord("y")
    elif damage == "of another":
        content = content.replace(b'{\\"number\\": 0}', b'{\\"number\\": 7}')
    else:
        content = content[: len(content) // 2] if damage == "cut" else bytearray()
    one.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert store.stored(tmp_path, {"number": 0}) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fill(tmp_path, 2)
    assert finished(tmp_path, 2) == [0, 1]
    counted("faults")


@pytest.mark.found("A result whose hash was missing was taken, whatever its values were.")
def test_a_result_without_the_hash_of_its_values_is_made_again(tmp_path: Path) -> None:
    """As where a turned bit has hit the name of the hash: the fuzzer found it."""
    from safetensors.torch import save_file

    path, text = store._address(tmp_path, {"number": 3})
    save_file(value(3), path, metadata={"config": text})
    with pytest.warns(UserWarning, match="its values are not those that were stored"):
        assert store.stored(tmp_path, {"number": 3}) is None


def full_disk(work: Work, most: int) -> int:
    """Do some work where no file can be longer, as on a full disk; 0 if it says so in words."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            work()
        except OSError as error:
            os._exit(0 if str(error) else 5)
        except BaseException:
            os._exit(6)
        os._exit(7)  # it says that all went well

    process = child(limited)
    process.join()
    return int(process.exitcode)


NETWORK = nn.Linear(64, 64)
NOISE = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
WRITERS: dict[str, Callable[[Path], Any]] = {
    "result": lambda path: store.cell(path.parent, {"number": 1}, lambda: value(1)),
    "table": lambda path: store.write_json(path, {"rows": [1] * 10000}, []),
    "checkpoint": lambda path: train(path, 1),
    "errors": lambda path: ErrorModel(NOISE, {"none": NOISE + 1}).save(path),
    "text": lambda path: write_text(path, "a" * 10000),
}


def train(path: Path, steps: int, save_every: float = 0.0) -> None:
    """Train a network on nothing, and write where it stands after every step."""
    torch.manual_seed(0)
    x = torch.ones(2, 64)
    network = nn.Linear(64, 64)
    fit(
        network,
        lambda step: network(x).square().mean(),
        steps=steps,
        checkpoint=path,
        save_every=save_every,
    )


@pytest.mark.found("A full disk left unfinished files in the store and half error models.")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("most", [0, 100, 4000])
def test_a_full_disk_is_said_and_leaves_what_was_there(
    tmp_path: Path, name: str, most: int, counted: Callable[..., None]
) -> None:
    path = tmp_path / "file"
    if name != "checkpoint":  # which would be resumed
        path.write_text("old")
    before = [*tmp_path.iterdir()]
    assert full_disk(lambda: WRITERS[name](path), most) == 0
    assert [*tmp_path.iterdir()] == before
    assert not before or path.read_text() == "old"
    counted("faults")


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_that_is_interrupted_leaves_what_was_there(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    if name == "checkpoint":  # else it would be resumed
        path = tmp_path / "new"
    else:
        path.write_text("old")
    before = [*tmp_path.iterdir()]
    monkeypatch.setattr("invlib.whole.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WRITERS[name](path)
    assert [*tmp_path.iterdir()] == before
    counted("faults")


@pytest.mark.found("Checkpoints of training were written and read with pickle.")
def test_killed_while_training_it_goes_on_where_it_was(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    path, steps, last, rng = tmp_path / "c.safetensors", 10**6, 0, random.Random(1)
    kills = amount(3, 40)
    for _ in range(kills):
        assert killed(lambda: train(path, steps), 0.1 + 0.1 * rng.random())
        if path.exists():
            step = step_of(path)
            assert step >= last
            last = step
    assert last > 0
    train(path, last + 2)
    assert step_of(path) == last + 2
    counted("faults", kills)


def step_of(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["training"])["step"])


def test_what_is_resumed_is_what_was_written(tmp_path: Path) -> None:
    """Weights, their averages, the optimiser and the step."""
    path = tmp_path / "c.safetensors"
    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    x = torch.ones(1, 2)
    fit(network, lambda step: network(x).square().sum(), steps=3, checkpoint=path)
    again = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(again.parameters())
    average, step, seconds = _resumed(path, again, optimizer)
    assert step == 3 and seconds > 0
    for mean, parameter in zip(average, network.parameters(), strict=True):
        assert torch.equal(mean, parameter)  # fit leaves the averages in the network
    states = optimizer.state_dict()["state"]
    assert [*states] == [0, 1] and all(state["step"] == 3 for state in states.values())
    assert all(state["exp_avg"].abs().sum() > 0 for state in states.values())
    path.unlink()
    _save(path, again, optimizer, {"average": average, "step": step, "seconds": seconds})
    other = nn.Linear(2, 2)
    _resumed(path, other, torch.optim.AdamW(other.parameters()))
    for one, two in zip(again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_checkpoint_of_another_network_is_said(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(path, 1)
    network = nn.Linear(3, 1)
    with pytest.raises(ValueError, match="of another network"):
        fit(network, lambda step: network(torch.ones(1, 3)).sum(), steps=2, checkpoint=path)


@pytest.mark.found("A checkpoint of training that said less than no time was taken.")
@pytest.mark.parametrize("numbers", [{"step": -1}, {"seconds": -6.0}, {"seconds": math.inf}])
def test_a_checkpoint_that_says_what_cannot_be_is_refused(
    tmp_path: Path, numbers: dict[str, float]
) -> None:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    average = [p.detach().clone() for p in network.parameters()]
    state = {"average": average, "step": 1, "seconds": 2.0, **numbers}
    _save(tmp_path / "c.safetensors", network, optimizer, state)
    with pytest.raises(ValueError, match=r"is damaged.*step -?\d+ after (-6|2|inf) seconds"):
        _resumed(tmp_path / "c.safetensors", network, optimizer)


def test_killed_while_scripts_are_fetched_nothing_half_is_taken(
    tmp_path: Path, counted: Callable[..., None]
) -> None:
    """What is there after any kill is whole; the next run fetches the rest."""
    from invlib.reproduce.book import web

    contents = {f"{n}.js": bytes([n]) * 2**20 for n in range(8)}
    lock = {"a@1": {n: {"to": n, "sha256": web.digest(c)} for n, c in contents.items()}}
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    rng, static = random.Random(2), tmp_path / "static"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(web, "npm_command", lambda *_: [])
        patched.setattr(web, "packed", lambda *_: b"")
        patched.setattr(web, "unpacked", lambda *_: dict(contents))
        for _ in range(amount(3, 40)):
            killed(lambda: web.main(tmp_path, "lock.json", "static"), rng.random() * 0.03)
            for file in static.glob("*.js"):
                assert file.read_bytes() == contents[file.name]
            counted("faults")
        web.main(tmp_path, "lock.json", "static")
    assert web.present(lock["a@1"], static)


@pytest.mark.parametrize("damage", ["cut", "bit", "swapped", "gone"])
def test_weights_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, damage: str, counted: Callable[..., None]
) -> None:
    files = [tmp_path / "m" / name for name in ("a.safetensors", "b.json")]
    files[0].parent.mkdir()
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100)
    write_sums(tmp_path, files)
    known = check(tmp_path, "m/")
    old = [file.read_bytes() for file in files]
    if damage == "cut":
        files[0].write_bytes(old[0][:-1])
    elif damage == "bit":
        files[0].write_bytes(old[0][:-1] + b"\x01")
    elif damage == "swapped":
        files[0].write_bytes(old[1])
        files[1].write_bytes(old[0])
    else:
        files[0].unlink()
    with pytest.raises(OSError, match="install"):
        check(tmp_path, "m/")
    for file, content in zip(files, old, strict=True):
        file.write_bytes(content)
    assert check(tmp_path, "m/") == known
    counted("faults")


def test_every_published_file_is_in_the_manifest() -> None:
    named = {
        line.split(maxsplit=1)[1] for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    }
    files = {f.relative_to(WEIGHTS).as_posix() for f in WEIGHTS.glob("*/**/*") if f.is_file()}
    assert named == files


def test_no_result_depends_on_the_clock_of_the_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    """A clock that is set back, or is wrong by years, changes nothing."""
    root = Path(invlib.__file__).parent
    for file in root.rglob("*.py"):
        names = {ast.unparse(n) for n in ast.walk(ast.parse(file.read_text())) if is_name(n)}
        wrong = {"time.time", "time.time_ns", "datetime.now", "datetime.today", "st_mtime"}
        assert not {n for n in names if n in wrong or n.endswith(".st_mtime")}, file
    hours = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    fill(tmp_path, 2)
    for file, stamp in zip(tmp_path.iterdir(), (0, 2**33), strict=True):
        os.utime(file, (stamp, stamp))
    assert finished(tmp_path, 3) == [0, 1]
    counted("faults", 2)


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id == "st_mtime")


def test_whole_takes_any_writer(tmp_path: Path) -> None:
    with whole(tmp_path / "a.npz") as part, part.open("wb") as file:
        np.savez(file, x=np.ones(2))
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [1, 1]
    with pytest.raises(OSError), whole(tmp_path / "no" / "a") as part:
        part.write_text("x")
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "a.npz") as part:
        part.write_text(str(1 / 0))
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [1, 1]
    with pytest.raises(OSError), whole(tmp_path / ("x" * 300)) as part:
        part.write_text("x")
    assert [f.name for f in tmp_path.iterdir()] == ["a.npz"]
