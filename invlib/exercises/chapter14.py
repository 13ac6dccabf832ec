"""Checks of chapter 14: changed states, an elementwise map by its bits, weights of guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import told

Changed = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[int]]
Map = Callable[[Tensor], Tensor]
Source = Callable[[Map, int], Tensor]
Weights = Callable[[Tensor, Tensor], Tensor | None]


def check_changed(changed: Changed) -> bool:
    r"""Check the exercise "who touched it?": steps after which the state was changed.

    Args:
        changed: the reader's function ``(returned, given) -> list of i`` with
            :math:`\|\text{given}_i - \text{returned}_i\| > 10^{-6}\,\|\text{returned}_i\|`.

    Returns:
        Whether it passed.
    """
    return told("changed", "every change is seen, and rounding is none", _change_problem(changed))


def _change_problem(changed: Changed) -> str:
    returned = [v.float() for v in 50 * _noise(6, 40, seed=0)]
    given = [v * (1 + 2**-23) for v in returned]

    def after(i: int, state: Tensor) -> list[int] | str:
        """What the reader says when the state after step i is another one."""
        states = [v.clone() for v in given]
        states[i] = state
        answer = changed([v.clone() for v in returned], states)
        if not isinstance(answer, Sequence):
            return f"changed returns a {type(answer).__name__}; return a list of numbers"
        return [int(i) for i in answer]

    broken = given[3].clone()
    broken[7] = torch.nan
    cases: tuple[tuple[list[int], Tensor, str], ...] = (
        (
            [],
            given[0],
            "the last bit of a float32 is rounding, no change; allow 1e-6 of the state",
        ),
        ([2], 1.01 * given[2], "a change by 1 % after step 2 was not seen"),
        ([5], 1.01 * given[5], "the last state was not looked at"),
        (
            [3],
            broken,
            "a NaN after step 3 was not seen: no NaN is > limit; ask `not gap <= limit`",
        ),
        (
            [1],
            given[1] + 5e-6 * given[1].norm() * torch.eye(40)[0],
            "a change by 5e-6 after step 1 was not seen; compare norms: gap over size",
        ),
    )
    for wanted, state, hint in cases:
        answer = after(wanted[0] if wanted else 0, state)
        if isinstance(answer, str):
            return answer
        if answer != wanted:
            return f"{hint} (you say {answer}, right is {wanted})"
    return ""


def check_source(source: Source) -> bool:
    r"""Check the exercise "twenty questions": which input each output of a map reads.

    Args:
        source: the reader's function ``(f, size) -> [E]``, with ``f`` a map
            :math:`y_k = a_k x_{j(k)} + b_k` of vectors of that size; wanted is j.

    Returns:
        Whether it passed.
    """
    return told("source", "every element found, and no question too many", _source_problem(source))


def _source_problem(source: Source) -> str:
    generator = torch.Generator().manual_seed(0)
    for size, sign in ((8, 1.0), (300, 1.0), (300, -1.0)):
        order = torch.randperm(size, generator=generator)
        factor = torch.rand(size, generator=generator, dtype=torch.float64) + 0.5
        factor[::3] *= sign
        shift = 100 * torch.randn(size, generator=generator, dtype=torch.float64)
        calls = 0

        def f(
            x: Tensor, order: Tensor = order, factor: Tensor = factor, shift: Tensor = shift
        ) -> Tensor:
            nonlocal calls
            calls += 1
            return factor * x.double()[order] + shift

        answer = source(f, size)
        most = (size - 1).bit_length() + 2
        if not isinstance(answer, Tensor):
            return f"source returns a {type(answer).__name__}; return a tensor of numbers"
        if answer.shape != order.shape:
            return f"source returns shape {tuple(answer.shape)} instead of {tuple(order.shape)}"
        if calls > most:
            return f"{calls} calls of f for {size} elements; the bits of the index need {most}"
        if torch.equal(answer.long(), order.argsort()):
            return "you return where each input goes; wanted is what each output reads"
        if not torch.equal(answer.long(), order):
            if sign < 0:
                return "where the factor is negative, high and low change places: compare with both"
            wrong = int((answer.long() != order).sum())
            return f"{wrong} of {size} elements are wrong; bit r of j adds 2**r"
    return ""


def check_weights(weights: Weights) -> bool:
    r"""Check the exercise "read the guidance": :math:`w` of :math:`m = \sum_c w_c\,o_c`.

    Args:
        weights: the reader's function ``(answers [2, c, D], outputs [2, D]) -> [c]`` of two runs,
            or None where no weights make both outputs.

    Returns:
        Whether it passed.
    """
    return told("weights", "the weights, and None where there are none", _weights_problem(weights))


def _weights_problem(weights: Weights) -> str:
    answers = _noise(2, 3, 400, seed=1)
    answers[1] *= 3
    for true in ((-2.0, 3.0, 0.0), (1.0, 0.25, -0.5)):
        w = torch.tensor(true, dtype=torch.float64)
        for dtype in (torch.float64, torch.float32):
            given = answers.to(dtype)
            found = weights(given.clone(), torch.einsum("c,rcd->rd", w.to(dtype), given))
            if found is None:
                return f"None for a combination with the weights {true}; {dtype} rounds a little"
            if not isinstance(found, Tensor):
                return f"weights returns a {type(found).__name__}; return a tensor or None"
            if found.shape != w.shape:
                return f"weights returns shape {tuple(found.shape)} for 3 answers, not (3,)"
            if not torch.allclose(found.double(), w, atol=1e-4):
                return f"with the weights {true} you find {[round(v, 3) for v in found.tolist()]}"
    squared = answers[:, 0] + 1e-3 * answers[:, 1] ** 2
    if weights(answers.clone(), squared) is not None:
        return "an output holds the square of an answer, and no weights make that; then return None"
    mixed = 3 * answers[:, 0] - 2 * answers[:, 1]
    rescaled = mixed * torch.tensor([[0.8], [0.7]])
    if weights(answers.clone(), rescaled) is not None:
        return "guidance_rescale: the two runs have other weights; the same must do for both"
    return ""


def _noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
