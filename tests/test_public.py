"""What users need can be imported from ``invlib``, is explained, and is in the API."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from types import FunctionType

import pytest
from chapters import ROOT

import invlib
from invlib.inverters import METHODS

API = (ROOT / "book/reference/api.md").read_text()
LISTED = re.findall(r"automodule:: (\S+)", API)
CLASSES = re.findall(r"autoclass:: (\S+)", API)
# A comparison for chapter 7 and the bench, by its name only.
UNNAMED = {"whole_trajectory_finer_start"}


def test_the_public_names_are_sorted_and_exist() -> None:
    assert invlib.__all__ == sorted(set(invlib.__all__))
    assert [name for name in invlib.__all__ if not hasattr(invlib, name)] == []


def test_nothing_else_is_imported_there_in_passing() -> None:
    """Modules aside, what has no underscore is meant."""
    known = {*invlib.__all__, "Any", "TYPE_CHECKING", "LAZY", "import_module"}
    names = {n for n, v in vars(invlib).items() if n[0] != "_" and not inspect.ismodule(v)}
    assert names <= known


@pytest.mark.parametrize("name", invlib.__all__)
def test_a_public_name_is_explained_and_in_the_api(name: str) -> None:
    value = getattr(invlib, name)
    home = value.__module__
    assert inspect.getdoc(value)
    # ``load`` is the portraits', which need diffusers
    assert (f"{home}.portraits" if home == "invlib" else home) in LISTED


def test_every_method_is_public_and_the_door_says_when_to_use_it() -> None:
    assert set(METHODS) - set(invlib.__all__) == UNNAMED
    for name, method in METHODS.items():
        assert getattr(invlib, name, method) is method
        assert re.search(rf"^\s*\* ``{name}``: \w+", invlib.invert.__doc__ or "", re.MULTILINE)


def test_the_api_lists_modules_that_exist_once() -> None:
    assert len(set(LISTED)) == len(LISTED)
    for name in LISTED:
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_the_api_lists_every_class_that_a_function_takes_or_returns() -> None:
    """Else the book's reference to it leads nowhere, and the build of the book fails."""
    listed, named = {*CLASSES}, dict[str, str]()
    for module in map(import_module, LISTED):
        public = getattr(module, "__all__", None)
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
            if own if public is None else name in public:
                if inspect.isclass(value):
                    listed.add(_path(value))
                if inspect.isfunction(value):
                    named |= dict.fromkeys(_annotated(value), f"{module.__name__}.{name}")
    assert {path: name for path, name in named.items() if path not in listed} == {}


def _annotated(function: FunctionType) -> set[str]:
    """Our classes in the annotations of a function, which are strings in this library."""
    words = re.findall(r"[A-Z]\w+", " ".join(function.__annotations__.values()))
    found = [function.__globals__.get(word) for word in words]
    return {_path(c) for c in found if inspect.isclass(c) and c.__module__.startswith("invlib")}


def _path(value: type) -> str:
    return f"{value.__module__}.{value.__qualname__}"
