"""The README is one screen, its picture is measured, and what it says to type works."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chapters import ROOT
from PIL import Image
from typer.main import get_command

import invlib
from invlib import round_trip
from invlib.cli import app
from invlib.reproduce.book import readme_picture

README = (ROOT / "README.md").read_text()
COMMAND_LINE = (ROOT / "book/reference/command_line.md").read_text()
WRITING = ("-o", "--noise", "--overlay", "--errors", ">")
PAGES = {
    path: (ROOT / path).read_text()
    for path in (
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "book/reference/command_line.md",
        "book/reference/recipes.md",
    )
}


def shell(text: str) -> list[list[str]]:
    """The commands in the shell blocks of a page, as words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_readme_is_short() -> None:
    """But for the measured table."""
    text = re.sub(r"<!-- bench -->.*<!-- /bench -->", "", README, flags=re.DOTALL)
    assert len(text.splitlines()) <= 90
    program = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    assert len(program.splitlines()) <= 10
    ast.parse(program)
    assert all(hasattr(invlib, name) for name in re.findall(r"\binvlib\.(\w+)\(", program))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if "://" not in t]
    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_has_the_targets(page: str) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", "\n".join(re.findall(r"`[^`]+`", text)))
    named += [words[1] for words in shell(PAGES[page]) if words[0] == "make"]
    assert set(named) <= set(targets)


def commands() -> list[list[str]]:
    quoted = re.findall(r"`(invlib [a-z]+ [^`]+)`", README.replace("\n", " "))
    found = [shlex.split(line) for line in quoted] + shell(README) + shell(COMMAND_LINE)
    found += shell(PAGES["book/reference/recipes.md"])
    return [words for words in found if words[0] == "invlib"]


def test_there_are_commands() -> None:
    assert {words[1] for words in commands()} >= {"sample", "invert", "regenerate", "certify"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_one_of_ours_with_its_options(words: list[str], tmp_path, monkeypatch) -> None:
    """As typer reads it, on files that are there; it is not run."""
    monkeypatch.chdir(tmp_path)
    for name in (word for word in words if "." in word):
        (tmp_path / name).write_text("{}")
    command, rest = get_command(app), words[1:]
    while hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    assert command.make_context(name, rest).params


def all_commands(command: Any) -> list[Any]:
    """It and those inside it."""
    inner = getattr(command, "commands", {}).values()
    return [command, *(found for each in inner for found in all_commands(each))]


def named(command: Any, path: str = "") -> dict[str, Any]:
    """The commands by what is typed for them."""
    inner = getattr(command, "commands", {})
    if not inner:
        return {path: command}
    found = [named(each, f"{path} {name}".strip()) for name, each in inner.items()]
    return {name: each for part in found for name, each in part.items()}


def test_the_page_says_of_every_command_what_its_exit_codes_mean() -> None:
    """And of no command that it ends with 3 where its file has no such end."""
    [table] = re.findall(r"^\| command \| 0 \| 3 \|\n.*\n((?:\|.*\n)+)", COMMAND_LINE, re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    told = {name: row for row in cells for name in re.findall(r"`([^`]+)`", row[0])}
    commands = named(get_command(app))
    assert sorted(told) == sorted(commands) and all(row[1] for row in cells)
    for name, command in commands.items():
        if re.search(r"code 3 means|; 3: ", " ".join((command.help or "").split())):
            assert told[name][2], name
        if told[name][2]:
            assert hasattr(inspect.getmodule(inspect.unwrap(command.callback)), "NOT_EXACT"), name


def test_the_page_can_be_typed_in_order() -> None:
    """No file is written twice, and none is read before it is written."""
    written = {"call.json", "photo.png", "keys.json"}
    for words in shell(COMMAND_LINE):
        files = [word for word in words if re.search(r"\.(png|json|safetensors)$", word)]
        outputs = [b for a, b in pairwise(words) if a in WRITING]
        assert [file for file in files if file not in {*outputs, *written}] == []
        assert [file for file in outputs if file in written] in ([], ["photo.png"], ["keys.json"])
        written |= {*outputs}
    assert {"photo.safetensors", "sad-again.png", "blue.png"} <= written


def test_the_page_tells_of_every_command_and_what_edit_lacks() -> None:
    commands = named(get_command(app))
    assert [n for n in commands if not re.search(rf"(^|`)invlib {n}\b", COMMAND_LINE, re.M)] == []
    options = {
        name: {option for parameter in commands[name].params for option in parameter.opts}
        for name in ("invert", "edit")
    }
    [sentence] = re.findall(r"it lacks (.*?)\.$", COMMAND_LINE, re.MULTILINE)
    lacking = options["invert"] - options["edit"]
    assert {*re.findall(r"`(--[a-z-]+)`", sentence)} == lacking
    asked = {n: {option for p in each.params for option in p.opts} for n, each in commands.items()}
    assert [name for name, options in asked.items() if "--json" not in options] == ["figures"]


def test_options_that_the_page_explains_exist() -> None:
    params = [p for c in all_commands(get_command(app)) for p in c.params]
    known = {option for p in params for option in (*p.opts, *p.secondary_opts)}
    assert set(re.findall(r"`(--[a-z-]+)", COMMAND_LINE)) - {"--help"} <= known


# --- the picture


@pytest.mark.parametrize("page", readme_picture.PAGES, ids=str)
def test_the_picture_is_small_and_its_caption_is_the_measured_one(page: Path) -> None:
    path = ROOT / readme_picture.PICTURE
    assert path.stat().st_size < 120_000
    with Image.open(path) as picture:
        words = picture.text[round_trip.CAPTION]
    text = (ROOT / page).read_text("utf-8")
    assert text == readme_picture.captioned(text, words, page)
    assert str(round_trip.Setting()) in words


def test_the_bench_is_on_the_page() -> None:
    assert json.loads((ROOT / "results/bench.json").read_text())["rows"]
    assert "<!-- bench -->" in README
