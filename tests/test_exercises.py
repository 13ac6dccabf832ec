"""The checks of the exercises accept what is right, and say what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from invlib.exercises.chapter06 import check_bound, check_critical
from invlib.exercises.chapter07 import check_matrix, check_residual


def bound(w: float, conditional: float, null: float) -> float:
    return w * conditional + (w - 1) * null


def critical(a: float, b: float, g_class: float, g_all: float) -> float:
    return (-a / b - g_all) / (g_class - g_all)


def residual(network: Any, solver: Any, y: Tensor, image: Tensor) -> Tensor:
    rows = torch.arange(len(image))
    m = [solver.output(network, v, torch.full_like(rows, j), rows) for j, v in enumerate(y)]
    after = torch.cat([y[1:], image[None]])
    weights = solver.a[:, None, None]
    return after - weights * y - torch.einsum("ij,jbd->ibd", solver.b, torch.stack(m))


def matrix(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    return torch.diag(torch.ones(len(a) - 1).double(), 1) - torch.diag(a) - b * g


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (check_bound, bound),
        (check_critical, critical),
        (check_residual, residual),
        (check_matrix, matrix),
    ],
)
def test_right_answers_pass(check: Any, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(answer)
    assert capsys.readouterr().out.startswith("ok  ")


def one_below(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    return torch.diag(torch.ones(len(a) - 1).double(), -1) - torch.diag(a) - b * g


def without_image(network: Any, solver: Any, y: Tensor, image: Tensor) -> Tensor:
    return residual(network, solver, y, torch.zeros_like(image))


def newest_only(network: Any, solver: Any, y: Tensor, image: Tensor) -> Tensor:
    class Diagonal:
        a, b, output = solver.a, torch.diag(solver.b.diagonal()), solver.output

    return residual(network, Diagonal, y, image)


def own_path(network: Any, solver: Any, y: Tensor, image: Tensor) -> Tensor:
    r = residual(network, solver, y, image)
    return r.clamp(-1e-9, 1e-9)


@pytest.mark.parametrize(
    ("check", "answer", "words"),
    [
        (check_bound, lambda w, c, n: w * c + (1 - w) * n, "absolute value"),
        (check_bound, lambda w, c, n: w * c + (w + 1) * n, "w - 1, not w + 1"),
        (check_bound, lambda w, c, n: c, "not 2"),
        (check_critical, lambda a, b, c, n: -a / b / (c - n), "at w = 0"),
        (check_critical, lambda a, b, c, n: (a / b - n) / (c - n), "sign"),
        (check_critical, lambda a, b, c, n: -a / (b * c), "not w g_c"),
        (check_critical, lambda a, b, c, n: 1.0, "leaves the factor"),
        (check_residual, lambda *a: None, "NoneType"),
        (check_residual, lambda n, s, y, x: y[0], "shape"),
        (check_residual, lambda n, s, y, x: 0 * y, "0 everywhere"),
        (check_residual, lambda n, s, y, x: y, "term by term"),
        (check_residual, without_image, "the image"),
        (check_residual, newest_only, "older outputs"),
        (check_residual, own_path, "beside it"),
        (check_residual, lambda *a: -residual(*a), "signs are turned round"),
        (check_matrix, lambda a, b, g: None, "NoneType"),
        (check_matrix, lambda a, b, g: b[0], "shape"),
        (check_matrix, lambda a, b, g: matrix(a, b, g).float(), "make it like them"),
        (check_matrix, one_below, "above the diagonal"),
        (check_matrix, lambda a, b, g: -matrix(a, b, g), "signs"),
        (check_matrix, lambda a, b, g: matrix(a, b, g) + torch.diag(a), "term with a"),
        (check_matrix, lambda a, b, g: matrix(a, b, torch.ones_like(g)), "g is missing"),
        (check_matrix, lambda a, b, g: matrix(a, b, g) + b * g - b * g[:, None], "row i has g_i"),
        (check_matrix, lambda a, b, g: torch.eye(len(a)).double(), "entry by entry"),
    ],
)
def test_wrong_answers_are_told_why(
    check: Any, answer: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not check(answer)
    out = capsys.readouterr().out
    assert out.startswith("not yet: ") and words in out
