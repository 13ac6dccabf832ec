"""Functions are short, and take few arguments; each exception has its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from chapters import ROOT

LINES, PARAMETERS = 60, 8
OPTIONS = "a user's function: what it works on, and options by keyword with defaults"
MANY = {
    "autoencoder/joint.py:joint": "two inversions to refine, with the networks of both",
    "certificate.py:certify": OPTIONS,
    "certifying.py:certify": OPTIONS,
    "cli/edit.py:edit": "a command's parameters are its options",
    "cli/identify.py:identification": "a command's parameters are its options",
    "cli/info.py:rehearsal": "a command's parameters are its options",
    "cli/invert.py:invert": "a command's parameters are its options",
    "cli/seeds.py:seeds": "a command's parameters are its options",
    "cli/watermark.py:embed": "a command's parameters are its options",
    "cli/watermark.py:identify": "a command's parameters are its options",
    "identification/prompt.py:find_prompt": OPTIONS,
    "identification/search.py:identify": OPTIONS,
    "inverters/__init__.py:invert": OPTIONS,
    "inverters/exact.py:exact": OPTIONS,
    "inverters/multisecant.py:multisecant": OPTIONS,
    "inverters/persistent.py:persistent": OPTIONS,
    "inverters/whole_trajectory.py:whole_trajectory": OPTIONS,
    "likelihood/__init__.py:likelihood": OPTIONS,
    "newton.py:newton_krylov": "a root finder's own options follow those that all finders share",
    "rehearsal/measure.py:rehearse": "one keyword for each option of the command",
    "reproduce/bench/__main__.py:main": "a command's parameters are its options",
    "reproduce/front/path.py:follow": "a study: the path's constants by keyword, with defaults",
    "watermark/identify_picture.py:identify": OPTIONS,
    "rootfind.py:forward_step_method": "as in the authors' code, beside what all finders share",
}


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, lines without the words at its head, and parameters of every function in a source."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            words = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            names = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given = [name for name in names if name.arg not in ("self", "cls")]
            yield node.name, node.end_lineno - node.lineno + 1 - words, len(given)


def all_functions() -> dict[str, tuple[int, int]]:
    """Lines and parameters of every function of the library, the largest of each name."""
    found: dict[str, tuple[int, int]] = {}
    for file in sorted((ROOT / "invlib").rglob("*.py")):
        for name, lines, parameters in functions(file.read_text()):
            key = f"{file.relative_to(ROOT / 'invlib').as_posix()}:{name}"
            before = found.get(key, (0, 0))
            found[key] = max(lines, before[0]), max(parameters, before[1])
    return found


def test_no_function_is_long() -> None:
    found = all_functions()
    assert len(found) > 1000
    assert {name: lines for name, (lines, _) in found.items() if lines > LINES} == {}


def test_no_function_has_many_parameters_but_those_with_a_reason() -> None:
    many = {name for name, (_, parameters) in all_functions().items() if parameters > PARAMETERS}
    assert many == set(MANY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, /, b, *, c): ...", ("f", 1, 3)),
        ("async def f(self, *rest, a=1, **more):\n    return a", ("f", 2, 1)),
        ('def f():\n    """One.\n\n    Two.\n    """\n    return 1', ("f", 2, 0)),
    ],
)
def test_lines_and_parameters_are_counted(text: str, expected: tuple[str, int, int]) -> None:
    assert [*functions(text)] == [expected]
