"""Mutants: small changes of a source, drawn at random; the kinds of changes are cosmic-ray's."""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators import (
    binary_operator_replacement,
    boolean_replacer,
    break_continue,
    comparison_operator_replacement,
    number_replacer,
    unary_operator_replacement,
    zero_iteration_for_loop,
)

ROOT = Path(__file__).parents[2]
BITS = {"RShift", "LShift", "BitOr", "BitAnd", "BitXor"}  # on floats an error at once: too easy


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: its path from the root.
        function: what it is in, such as ``Grid.scale``; empty for what a module does at once.
        line: where, from 1.
        before: the statement, or the part of it that is on changed lines.
        after: what is there instead.
        source: the whole changed file.
        span: the lines of the statement.
    """

    file: str
    function: str
    line: int
    before: str
    after: str
    source: str
    span: range

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same where other lines of the file change."""
        return self.file, self.function, self.before, self.after


def operators() -> Iterator[Any]:
    """The kinds of changes."""
    for kind in binary_operator_replacement.operators():
        if not {*kind.__name__.split("_")} & BITS:
            yield kind()
    for module in (comparison_operator_replacement, unary_operator_replacement):
        for kind in module.operators():
            yield kind()
    yield from (
        boolean_replacer.ReplaceTrueWithFalse(),
        boolean_replacer.ReplaceFalseWithTrue(),
        boolean_replacer.ReplaceAndWithOr(),
        boolean_replacer.ReplaceOrWithAnd(),
        boolean_replacer.AddNot(),
        break_continue.ReplaceBreakWithContinue(),
        break_continue.ReplaceContinueWithBreak(),
        number_replacer.NumberReplacer(),
        zero_iteration_for_loop.ZeroIterationForLoop(),
    )


class _Bare(ast.NodeTransformer):
    """Takes out of a tree what only says how to write: annotations, and `*` among parameters."""

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        plain = [ast.arg(arg.arg) for arg in (*node.posonlyargs, *node.args, *node.kwonlyargs)]
        defaults = [value for value in (*node.defaults, *node.kw_defaults) if value is not None]
        return ast.arguments([], plain, node.vararg, [], [], node.kwarg, defaults)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: N802
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:  # noqa: N802
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)


def meaning(source: str) -> str:
    """What a source says, without annotations; empty where it is no Python."""
    try:
        return ast.dump(_Bare().visit(ast.parse(source)))
    except SyntaxError:
        return ""


def places(source: str) -> dict[tuple[int, int], list[tuple[Any, int]]]:
    """Where a source can be changed: the kinds and how many of its places came before."""
    nodes = [*ast_nodes(get_ast(source))]
    found: dict[tuple[int, int], list[tuple[Any, int]]] = defaultdict(list)
    for operator in operators():
        spots = [spot for node in nodes for spot in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(spots):
            found[start].append((operator, occurrence))
    return dict(sorted(found.items()))


def around(tree: ast.AST, line: int) -> tuple[str, range]:
    """The function and the lines of the smallest statement on a line."""
    names, span = [], range(line, line + 1)
    for node in ast.walk(tree):  # from outside to inside
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or 0):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        first = node.body[0].lineno if hasattr(node, "body") else (node.end_lineno or 0) + 1
        span = range(node.lineno, max(first, node.lineno + 1))
    return ".".join(names), span


def changed(file: str, source: str, mutated: str, line: int) -> Mutant:
    """Say in words what was changed."""
    one, two = source.splitlines(), mutated.splitlines()
    start = next(k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    end = next(k for k, (a, b) in enumerate(zip(one[::-1], two[::-1], strict=False)) if a != b)
    before, after = (
        " ".join(t.strip() for t in text[start : len(text) - end]) for text in (one, two)
    )
    function, span = around(ast.parse(source), line)
    return Mutant(file, function, start + 1, before, after, mutated, span)


def sample(files: Sequence[str], most: int, seed: str) -> list[Mutant]:
    """So many places of the files, drawn without replacement, and at each one change of all."""
    dice, found = random.Random(f"{seed} {files[0]}"), []
    sources = {file: (ROOT / file).read_text() for file in files}
    spots = [(file, spot) for file in files for spot in places(sources[file]).items()]
    dice.shuffle(spots)
    for file, ((line, _), kinds) in spots:
        if len(found) == most:
            break
        source = sources[file]
        for operator, occurrence in dice.sample(kinds, len(kinds)):
            mutated = mutate_code(source, operator, occurrence)
            if mutated and meaning(mutated) not in ("", meaning(source)):
                found.append(changed(file, source, mutated, line))
                break
    return found


def count(files: Sequence[str]) -> int:
    """How many places of the files can be changed."""
    return sum(len(places((ROOT / file).read_text())) for file in files)
