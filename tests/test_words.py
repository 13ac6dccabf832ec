"""Every word that a result may say is explained, once, and on the page."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from chapters import ROOT

import invlib
from invlib import words
from invlib.certificate import Certificate
from invlib.inverters import METHODS
from invlib.pipelines.options import OPTIONS
from invlib.reproduce.book import words_page

HOLDERS = ("reason", "why", "reasons", "done")  # names under which code keeps reasons
TAKERS = {
    "stop": 1,
    "leave": 2,
    "end": 1,
    "another": 2,
    "append": 0,
    "judge": 4,
}  # which argument is one
SEARCHING = (
    *("inversion.py", "rootfind.py", "newton.py", "watch.py"),
    *("inverters", "autoencoder", "flow", "rivals"),
)


def strings(node: ast.AST) -> set[str]:
    """The texts in an expression, but for those that it compares with."""
    if isinstance(node, ast.Compare):
        return set()
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    return set().union(*(strings(child) for child in ast.iter_child_nodes(node)))


def base(node: ast.expr) -> str:
    """The name under which a target keeps its value."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def emitted(tree: ast.AST) -> Iterator[str]:
    """The texts that a module takes for a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                if len(names) != len(values):
                    names, values = names[:1], [node.value]
                for name, value in zip(names, values, strict=True):
                    if base(name) in HOLDERS:
                        yield from strings(value)
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    yield from strings(keyword.value)
            which = TAKERS.get(base(node.func))
            if which is not None and which < len(node.args):
                about = base(node.func) != "append" or base(node.func.value) in HOLDERS
                yield from strings(node.args[which]) if about else ()
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from strings(value)
        elif isinstance(node, ast.For) and any(
            isinstance(part, ast.Assign) and base(part.targets[0]) in HOLDERS
            for part in ast.walk(node)
        ):
            yield from strings(node.iter)


def reasons_of_the_library() -> set[str]:
    package = ROOT / "invlib"
    files = [f for name in SEARCHING for f in [package / name, *(package / name).rglob("*.py")]]
    trees = [ast.parse(file.read_text()) for file in files if file.is_file()]
    return {word for tree in trees for word in emitted(tree)}


def test_every_reason_that_the_library_gives_is_explained_and_no_other() -> None:
    assert reasons_of_the_library() == set(words.REASONS) == set(get_args(words.Reason))


@pytest.mark.parametrize(
    "line",
    [
        "found = Inversion(noise, reason=('tired',) * 3)",
        "self.reason[row] = 'tired'",
        "search.stop(mask, 'tired')",
        "go_on = search.leave(go_on, mask, 'tired')",
        "best, reason = x.clone(), ['tired'] * len(x)",
        "why = 'tired' if slow else other",
        "judge(autoencoder, box, z, counts, ('tired',) * 3, 'encoder')",
    ],
)
def test_a_new_reason_would_be_noticed(line: str) -> None:
    assert set(emitted(ast.parse(line))) == {"tired"}


def test_every_word_of_a_certificate_is_explained() -> None:
    assert set(words.UNIQUENESS) == set(get_args(words.Uniqueness))
    tree = ast.parse((ROOT / "invlib/certificate.py").read_text())
    functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    said_of_all = [n.value for n in ast.walk(functions["_verdict"]) if isinstance(n, ast.Return)]
    verdicts = set().union(*(strings(value) for value in said_of_all if value))
    assert verdicts == set(words.VERDICTS) == set(get_args(words.Verdict))
    said = [n for n in emitted(functions["_flags"]) if len(n) > 3]
    assert all(any(text.startswith(flag) for text in said) for flag in words.FLAGS)
    calls = [n for n in ast.walk(functions["_flags"]) if isinstance(n, ast.Call)]
    assert sum(base(call.func) == "append" for call in calls) == len(words.FLAGS)


def test_sentences_are_one_sentence() -> None:
    tables = (words.REASONS, words.VERDICTS, words.UNIQUENESS, words.FLAGS)
    for word in (word for table in tables for word in table.values()):
        assert not {".", "|", "\n"} & {word.meaning[-1], word.remedy[-1]}
        assert "|" not in str(word) and "\n" not in str(word)


@pytest.mark.parametrize("page", words_page.PAGES, ids=lambda p: p.stem)
def test_the_pages_show_the_tables(page: Path) -> None:
    text = (ROOT / page).read_text()
    assert text == words_page.filled(text, words_page.PAGES[page])


def test_every_field_of_a_certificate_is_explained_and_has_its_remedy() -> None:
    names = [field.name for field in dataclasses.fields(Certificate)]
    assert sorted(words.FIELDS) == sorted(names)
    assert sorted(words_page.attributes(inspect.getdoc(Certificate) or "")) == sorted(names)


def test_what_a_field_is_comes_from_the_docstring_one_sentence_of_it() -> None:
    doc = "Attributes:\n    one: first, ``[B]``:\n        of :attr:`a.b.C.d`. More.\n    two: last."
    assert words_page.attributes(doc) == {"one": "first, `[B]`: of `C.d`", "two": "last"}


def test_the_examples_of_the_card_are_true() -> None:
    """They are a session in Python; all of it, in one namespace."""
    path = ROOT / words_page.CARD
    test = doctest.DocTestParser().get_doctest(path.read_text(), {}, path.name, None, 0)
    assert len(test.examples) > 5
    assert doctest.DocTestRunner().run(test).failed == 0
    shown = "".join(example.want for example in test.examples)
    assert [verdict for verdict in words.VERDICTS if verdict not in shown] == []


def test_filling_the_page_needs_all_its_marks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place for verdicts"):
        words_page.filled("<!-- reasons -->\n<!-- /reasons -->", ["reasons", "verdicts"])


def test_options_that_invert_does_not_take_are_said_to_be_those_of_pipelines() -> None:
    text = (ROOT / words_page.PAGE).read_text()
    explained = re.findall(r"^`(\w+)=.*\n((?:[: ] .*\n)+)", text, re.MULTILINE)
    taken = inspect.signature(invlib.invert).parameters
    assert {"max_batch", "decoder", "save", "others"} <= {name for name, _ in explained}
    for name, said in explained:
        assert name in OPTIONS
        assert name in taken or "pipelines" in said, name
        if given := re.search(rf"partial\(invlib\.(\w+), {name}=", said):
            assert name in inspect.signature(getattr(invlib, given[1])).parameters


def test_the_page_names_every_method() -> None:
    text = (ROOT / words_page.PAGE).read_text()
    assert [name for name in METHODS if f"`{name}`" not in text] == []
