"""Every command under combinations of bad options, made from what typer knows of them."""

from __future__ import annotations

import ast
import inspect
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
import typer
from amount import amount
from children import child
from readers import KEYS, image, noises
from typer.testing import CliRunner

import invlib
from invlib.cli import app
from invlib.cli.errors import TRACE
from invlib.cli.invert import Method
from invlib.cli.model import Dtype, Model, open_model
from invlib.noisefile import NoiseFile
from invlib.portraits import MODELS

REACHED = "all options were taken"
HEAVY = (  # what would compute, once the options are taken
    "invlib.round_trip.compare",
    "invlib.cli.sample.read",
    "invlib.cli.invert.invert_image",
    "invlib.repetition.NoiseFile.repeat",
    "invlib.cli.edit.edit_image",
    "invlib.cli.identify.identify",
    "invlib.cli.watermark.measure_errors",
    "invlib.cli.watermark.scene",
    "invlib.cli.info.rehearse",
    "invlib.reproduce.__main__.run",
)
TEXTS = ("", "a person", "x" * 3000, "\0", "\udcff", "😀" * 50, "\x1b[31m", "-1", "../..", "a\nb")
NUMBERS = ("-1", "0", "1", "2", "999", "1000", str(2**63), str(2**64), "9" * 40, "1.5", "x", "")
FLOATS = ("-1", "0", "1", "nan", "inf", "-inf", "1e308", "1e-320", "x", "", "0x10", "1_0")
NAMES = ("portraits", "portraits-pixel", ".", "", "no/such", "stabilityai/x", "\0", "x" * 3000)
DEVICES = ("cpu", "cuda:99", "toaster", "", "meta", "cpu:7", "mps", "xpu", "\0")
SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "ddim", "UNet2DModel", "", "__dict__", "Scheduler")
FILES = ("no.png", "good.png", "good.safetensors", "keys.json", "call.json", "folder", "empty.png")
FILES += (
    "x" * 300 + ".png",
    "folder/x.png",
    "",
    "no/such.png",
    "\0.png",
    "broken.json",
    "/dev/zero",
)
OUTPUTS = ("new.png", "new.safetensors", "good.png", "good.safetensors", "folder", "no/new.png")
OUTPUTS += ("", "x" * 300 + ".png", "new.json", "new.txt", "/proc/new.png", "keys.json", "new.PNG")


@dataclass(frozen=True)
class Command:
    """A command, and what typer knows of its options."""

    words: tuple[str, ...]
    parameters: tuple[Any, ...]
    types: dict[str, Any]


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """All commands of the command line."""
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            given = inspect.signature(command.callback, eval_str=True).parameters.values()
            types = {p.name: kind_of(p.annotation) for p in given}
            yield Command((*words, name), tuple(command.params), types)


def kind_of(hint: Any) -> Any:
    """The type of one value: of ``list[int] | None`` it is int."""
    inner = [kind for kind in get_args(hint) if kind is not type(None)]
    return kind_of(inner[0]) if inner else hint


COMMANDS = {" ".join(command.words): command for command in commands()}


def value(parameter: Any, kind: Any, rng: random.Random) -> str:
    """Something to give to an option: good, bad or mad."""
    name = parameter.name
    if rng.random() < 0.03:
        return rng.choice((*TEXTS, *NUMBERS))
    if name in ("output", "overlay") or (name == "noise" and parameter.param_type_name == "option"):
        return rng.choice(OUTPUTS)
    for names, some in (
        (("model",), NAMES),
        (("device",), DEVICES),
        (("scheduler",), SCHEDULERS),
        (("call", "keys", "mask", "errors", "picture", "noise"), FILES),
    ):
        if name in names:
            return rng.choice(some)
    if issubclass(kind, StrEnum):
        return rng.choice((*map(str, kind), "magic"))
    return rng.choice({int: NUMBERS, float: FLOATS, Path: FILES}.get(kind, TEXTS))


def arguments(command: Command, rng: random.Random) -> list[str]:
    """The words of one call."""
    words = [*command.words]
    for parameter in command.parameters:
        if parameter.name == "help" or rng.random() > (0.95 if parameter.required else 0.25):
            continue
        if parameter.param_type_name == "argument":
            words.append(value(parameter, command.types[parameter.name], rng))
        elif parameter.is_flag:
            words.append(parameter.opts[0])
        else:
            for _ in range(1 + (parameter.multiple and rng.random() < 0.5)):
                kind = command.types[parameter.name]
                words += [parameter.opts[0], value(parameter, kind, rng)]
    if rng.random() < 0.05:
        words.insert(rng.randrange(len(words) + 1), rng.choice(("--nonsense", "extra", "--", "-")))
    return words


@pytest.fixture(scope="module")
def pipes() -> dict[str, Model]:
    return {name: open_model(name) for name in MODELS}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipes: dict[str, Model]) -> Path:
    """A folder to work in, where nothing that computes long does so."""

    def reached(*_: object, **__: object) -> None:
        raise ValueError(REACHED)

    for place in HEAVY:
        put(monkeypatch, place, reached)
    put(monkeypatch, "invlib.cli.seeds.find_seed", checked_seeds)
    schedulers = {name: model.pipe.scheduler for name, model in pipes.items()}

    def opened(name: str, *, device: str = "cpu", **more: Any) -> Model:
        if name in pipes and device == "cpu":
            pipes[name].pipe.scheduler = schedulers[name]
            return pipes[name]
        return open_model(name, device=device, **more)

    put(monkeypatch, "invlib.cli.opening.open_model", opened)
    put(monkeypatch, "invlib.cli.regenerate.open_model", opened)
    monkeypatch.setenv(TRACE, "1")  # what nobody has thought of is a failure here
    monkeypatch.chdir(tmp_path)
    Path("good.png").write_bytes(image("PNG"))
    Path("good.safetensors").write_bytes(noises()[0])
    Path("keys.json").write_text(json.dumps(KEYS))
    Path("call.json").write_text(json.dumps({"prompt": "a person"}))
    Path("broken.json").write_text('{"prompt": ')
    Path("empty.png").touch()
    Path("folder").mkdir()
    return tmp_path


def put(monkeypatch: pytest.MonkeyPatch, place: str, what: Any) -> None:
    """Replace a name in a module; some of these are hidden by functions of the same names."""
    module, name = place.rsplit(".", 1)
    owner = sys.modules.get(module)
    if owner is None and module.endswith("NoiseFile"):
        owner = NoiseFile
    monkeypatch.setattr(import_module(module) if owner is None else owner, name, what)


def checked_seeds(noise: Any, seeds: Any, **options: Any) -> None:
    """The search for a seed as far as its options are looked at."""
    search = invlib.find_seed
    if len(seeds) > 1000 or not isinstance(options["generator"], str):
        raise ValueError(REACHED)
    search(noise, seeds, **options | {"seconds": 0.01})
    raise ValueError(REACHED)


def listing(folder: Path) -> dict[str, bytes]:
    """All files in a folder and below it."""
    return {str(f): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def check(words: list[str], room: Path) -> int:
    """Run a command that must end in words; return its exit code."""
    before = listing(room)
    result = CliRunner().invoke(app, words)
    said = [line for line in result.stderr.splitlines() if not line.startswith("... ")]
    assert result.exception is None or isinstance(result.exception, SystemExit), words
    assert result.exit_code in (0, 1, 2, 3), words
    if result.exit_code in (1, 2):
        assert len(said) == 1 and said[0].startswith("error: "), (words, said)
        assert said[0].isprintable() and not result.stdout, (words, said)
        assert len(said[0]) > len("error: x"), words
        assert listing(room) == before, words
    return result.exit_code


@pytest.mark.found("Seeds of more than 64 bits and other unforeseen errors ended in tracebacks.")
@pytest.mark.parametrize("name", COMMANDS)
def test_bad_options_end_in_one_line_and_leave_no_file(
    name: str, room: Path, counted: Callable[..., None]
) -> None:
    count = amount(12, 700)
    for seed in range(count):
        words = arguments(COMMANDS[name], random.Random(f"{name} {seed}"))
        try:
            check(words, room)
        except BaseException as error:
            raise AssertionError(f"{words}: {type(error).__name__}: {error}") from error
    counted("cases", count)


BASES = {  # the least that a command is called with
    "demo": ("demo",),
    "sample": ("sample", "-o", "new.png"),
    "invert": ("invert", "good.png", "-o", "new.safetensors"),
    "regenerate": ("regenerate", "good.safetensors"),
    "edit": ("edit", "good.png", "--to", "a person", "--mask", "mask.png", "-o", "new.png"),
    "identify": ("identify", "good.png", "--prompt", "a person"),
    "seeds": ("seeds", "good.safetensors", "--count", "10"),
    "watermark embed": (
        *("watermark", "embed", "--keys", "keys.json", "--owner", "Ann"),
        *("-o", "new.png"),
    ),
    "watermark identify": ("watermark", "identify", "good.png", "--keys", "keys.json"),
}


def offered(parameter: Any, kind: Any) -> list[str]:
    """The values that the help of an option offers by name, and a number where it offers one."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [*map(str, kind)]
    words = (parameter.metavar or "").strip("<>").split("|")
    return ["2" if word == "number" else word for word in words] if len(words) > 1 else []


OFFERED = [
    (name, parameter.opts[0], value)
    for name, command in COMMANDS.items()
    for parameter in command.parameters
    for value in offered(parameter, command.types.get(parameter.name))
]


@pytest.mark.found("identify offered --max-batch fastest, and refused it.")
@pytest.mark.parametrize(("name", "option", "value"), OFFERED)
def test_what_the_help_offers_is_not_refused(
    name: str, option: str, value: str, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to where the pipeline is read, after all options were looked at."""

    def reached(*_: object, **__: object) -> None:
        raise ValueError(REACHED)

    put(monkeypatch, "invlib.cli.invert.invert_image", invlib.invert_image)
    put(monkeypatch, "invlib.cli.edit.edit_image", invlib.editing.edit_image)
    put(monkeypatch, "invlib.cli.identify.identify", invlib.identify)
    put(monkeypatch, "invlib.pipelines.invert.read", reached)
    put(monkeypatch, "invlib.identification.search._target", reached)
    Path("mask.png").write_bytes(Path("good.png").read_bytes())
    result = CliRunner().invoke(app, [*BASES[name], option, value])
    assert REACHED in result.stderr, (result.stderr, result.stdout)


def test_there_are_commands_and_their_options_are_known() -> None:
    assert {*BASES} <= {*COMMANDS} and ("invert", "--max-batch", "fastest") in OFFERED
    assert {"demo", "sample", "invert", "watermark embed", "watermark identify"} <= {*COMMANDS}
    assert {kind_of(list[int] | None), kind_of(bool)} == {int, bool}
    kinds = {kind for command in COMMANDS.values() for kind in command.types.values()}
    assert {int, float, str, bool, Path, Method, Dtype} <= kinds
    for command in COMMANDS.values():
        assert {p.name for p in command.parameters} - {"help"} <= {*command.types}


@pytest.mark.parametrize("columns", ["40", "1"])
def test_help_of_every_command_fits_a_narrow_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., None]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    for command in COMMANDS.values():
        result = CliRunner().invoke(app, [*command.words, "--help"])
        assert result.exit_code == 0 and "\x1b" not in result.stdout
        if columns == "40":
            assert max(map(len, result.stdout.splitlines())) <= 40
    counted("cases", len(COMMANDS))


@pytest.mark.found("Two outputs of one name were written over each other.")
def test_two_outputs_with_one_name_are_refused(room: Path) -> None:
    words = ["edit", "good.png", "--to", "a person", "-o", "new.png", "--overlay", "./new.png"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "give them two names" in result.stderr


@pytest.mark.found("A file that came while a command ran was overwritten.")
def test_a_file_that_comes_meanwhile_is_not_overwritten_and_nothing_is_lost(room: Path) -> None:
    from invlib.cli.outputs import outputs

    with outputs(Path("a.png"), Path("b.png"), force=False) as made:
        for part in made.parts:
            part.write_text("new")
        Path("a.png").write_text("of another")
    assert [str(file) for file in made.files] == ["a-1.png", "b.png"]
    assert Path("a.png").read_text() == "of another"
    assert Path("a-1.png").read_text() == Path("b.png").read_text() == "new"
    with outputs(Path("a.png"), force=True) as made:
        made.parts[0].write_text("newer")
    assert Path("a.png").read_text() == "newer"
    assert not [*room.glob(".*")]


@pytest.mark.found("A command whose second file could not be written left the first.")
def test_if_one_of_two_outputs_fails_none_is_left(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture is written first, then the disk is full."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    noise = torch.zeros(1, 4, 8, 8)
    entrance = invlib.pipelines.entrance.Entrance.argument(noise)
    stage = SimpleNamespace(call={})
    reading = SimpleNamespace(entrance=entrance, stage=stage, takes_noise=True)
    picture = next(iter(pictures_of(Path("good.png"))))
    put(monkeypatch, "invlib.cli.sample.read", lambda *_: reading)
    put(monkeypatch, "invlib.cli.sample.draw", lambda *_: noise)
    put(monkeypatch, "invlib.cli.sample.regenerate", lambda *_, **__: [picture])
    put(monkeypatch, "invlib.cli.sample.write_noise", full)
    before = listing(room)
    words = ["sample", "-o", "new.png", "--noise", "new.safetensors", "--steps", "2"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert listing(room) == before


PROMPTS: tuple[Any, ...] = (
    *("", " ", "\n", "a person", "a person" * 2000, "é" * 5000, "\0", "\ud800", "\x1b[2J"),
    *(5, True, None, [], [[]], [""], ["a person", 5], {"a": 1}, [None], "a" * 10**6, "\u202e"),
)
COMMANDS_WITH_CALLS = (
    ("sample", "-o", "new.png"),
    ("invert", "good.png", "-o", "new.safetensors"),
    ("edit", "good.png", "--to", "a person", "-o", "new.png"),
    ("identify", "good.png", "--prompt", "a person"),
    ("watermark", "embed", "--keys", "keys.json", "--owner", "Ann", "-o", "new.png"),
    ("watermark", "identify", "good.png", "--keys", "keys.json"),
)


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_odd_prompts_and_arguments_of_a_call_are_data(
    name: str, room: Path, counted: Callable[..., None]
) -> None:
    """Whatever stands there: it is refused in a line, or handed to the pipeline as it is."""
    for prompt in PROMPTS:
        Path("call.json").write_text(json.dumps({name: prompt}))
        for words in COMMANDS_WITH_CALLS:
            check([*words, "--call", "call.json"], room)
    counted("inputs", len(PROMPTS) * len(COMMANDS_WITH_CALLS))


@pytest.mark.parametrize(
    "profile", ["../..", "tiny'); import os; ('", '"\n1/0', "\0", "tiny\\", ""]
)
def test_parameters_of_notebooks_are_data(profile: str, counted: Callable[..., None]) -> None:
    """The cell that papermill puts into a notebook holds a value and runs nothing."""
    import nbformat
    from papermill.parameterize import parameterize_notebook

    from invlib.reproduce.models.profiles import known

    kernel = {"name": "python3", "language": "python", "display_name": "Python"}
    page = nbformat.v4.new_notebook(metadata={"kernelspec": kernel, "papermill": {}})
    made = parameterize_notebook(page, {"profile": profile})
    (line,) = ast.parse(made.cells[0].source).body
    assert isinstance(line, ast.Assign) and ast.literal_eval(line.value) == profile
    with pytest.raises(ValueError, match="profile"):
        known(profile)
    counted("inputs")


def pictures_of(path: Path) -> list[Any]:
    from invlib.cli.files import read_pictures

    return read_pictures(path)[0]


@pytest.mark.found("Text in a noise file could give orders to the terminal.")
def test_text_of_strangers_gives_the_terminal_no_orders() -> None:
    from invlib.cli.errors import one_line
    from invlib.cli.report import _text

    assert "\x1b" not in one_line("\x1b[2J\x07 boo\r\n") + _text("\x1b]0;title\x07")
    assert _text("two\nlines") == "two\nlines"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_folder_that_may_not_be_written_to_is_refused_before_the_work(room: Path) -> None:
    def attempt() -> None:
        os.setuid(65534)
        result = CliRunner().invoke(app, ["sample", "-o", "folder/new.png"])
        os._exit(0 if "may not be written to" in result.stderr else 9)

    Path("folder").chmod(0o555)
    for parent in (room, *list(room.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    process = child(attempt)
    process.join()
    assert process.exitcode == 0
