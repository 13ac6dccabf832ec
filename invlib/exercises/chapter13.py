"""Checks of chapter 13: blending, the error of the background, the weight of a soft mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from . import told

Step = Callable[[int, Tensor], Tensor]
Blend = Callable[[Step, Tensor, Tensor, Collection[int]], Tensor]
Background = Callable[[Tensor, Tensor, Tensor], Tensor]
Harden = Callable[[float, int], float]


def check_blended(blended: Blend) -> bool:
    r"""Check the exercise "blend by hand": :math:`y = M\tilde y + (1 - M)y^*` at chosen nodes.

    Args:
        blended: the reader's function ``(step, states, mask, nodes) -> image``, with
            ``step(i, y)`` the next state under the new prompt and ``states`` the original's.

    Returns:
        Whether it passed.
    """
    return told(
        "blended", "old outside the mask, new inside, at the chosen nodes", _blend_problem(blended)
    )


def _blend_problem(blended: Blend) -> str:
    states = _noise(5, 2, 1, 4, 4, seed=0)
    start = states[0].clone()
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[..., 1:3, 1:3] = 1
    calls: list[int] = []

    def step(i: int, y: Tensor) -> Tensor:
        calls.append(i)
        return 0.9 * y + 0.3 * y.roll(1, -1).sin() + 0.1 * (i + 1)  # mixes neighbours

    def run(nodes: Collection[int], weight: Tensor, shift: int = 0) -> Tensor:
        y = start
        for i in range(4):
            y = step(i, y)
            if i + 1 in nodes:
                y = weight * y + (1 - weight) * states[i + 1 - shift]
        return y

    for nodes in (set(), {2}, {4}, {0, 1, 2, 3, 4}):
        wanted = {
            "": run(nodes, mask),
            "the mask is upside down: 1 is where the edit is allowed": run(nodes, 1 - mask),
            "after step i the state has the number i + 1; blend it with states[i + 1]": run(
                nodes, mask, shift=1
            ),
            "you blend at every node; blend at those of `nodes` only": run(range(5), mask),
            "the last node is missing: after the last step there is node 4 to blend": run(
                set(nodes) - {4}, mask
            ),
            "you never blend; after a step ask whether the new node is one of `nodes`": run(
                (), mask
            ),
            "after step i you have state i + 1: ask whether i + 1 is one of `nodes`, not i": run(
                {node + 1 for node in nodes}, mask
            ),
        }
        calls.clear()
        answer = blended(step, states.clone(), mask.clone(), set(nodes))
        if not isinstance(answer, Tensor):
            return f"blended returns a {type(answer).__name__}; end it with `return y`"
        if answer.shape != start.shape:
            return f"blended returns shape {tuple(answer.shape)}, not that of a state"
        if calls != [0, 1, 2, 3]:
            return f"the steps 0, 1, 2, 3 are wanted, once each; you took {calls}"
        for hint, value in wanted.items():
            if torch.allclose(answer, value, rtol=1e-12, atol=1e-12):
                if not hint:
                    break
                return hint
        else:
            return f"with nodes {sorted(nodes)} the image is wrong; begin with y = states[0]"
    return ""


def check_background(background: Background) -> bool:
    r"""Check the exercise "error of the background": :math:`\|(1-M)(x-x^*)\|^2/\|(1-M)x^*\|^2`.

    Args:
        background: the reader's function ``(x, original, mask) -> [B]``.

    Returns:
        Whether it passed.
    """
    return told(
        "background",
        "one number a picture, of the background alone",
        _background_problem(background),
    )


def _background_problem(background: Background) -> str:
    original = _noise(3, 3, 6, 6, seed=1).abs() + 0.1
    x = original + _noise(3, 3, 6, 6, seed=2)
    mask = torch.zeros(3, 1, 6, 6, dtype=torch.float64)
    for i in range(3):
        mask[i, :, : i + 2, 1:5] = 1
    away, kept = (1 - mask) * (x - original), (1 - mask) * original

    def square(v: Tensor) -> Tensor:
        return v.square().flatten(1).sum(1)

    wanted = square(away) / square(kept)
    usual = {
        "the mask is upside down: it is 1 where the edit is allowed": square(mask * (x - original))
        / square(mask * original),
        "divide by the background of the original, not by all of it": square(away)
        / square(original),
        "mask the difference, too: what happens inside is no error": square(x - original)
        / square(kept),
        "square the norms: an NMSE is a ratio of energies": wanted.sqrt(),
        "divide by the original's background, not by the edit's": square(away)
        / square((1 - mask) * x),
    }
    answer = background(x.clone(), original.clone(), mask.clone())
    if not isinstance(answer, Tensor):
        return f"background returns a {type(answer).__name__}; return a tensor, one number each"
    if answer.shape == torch.Size([]):
        return "one number for all pictures; sum over all but the first dimension"
    if answer.shape != wanted.shape:
        return f"background returns shape {tuple(answer.shape)} for 3 pictures, not (3,)"
    for hint, value in usual.items():
        if torch.allclose(answer, value, rtol=1e-10):
            return hint
    if not torch.allclose(answer, wanted, rtol=1e-10):
        return "the numbers differ from the formula; mask both norms with 1 - mask, then divide"
    return ""


def check_compensated(compensated: Harden) -> bool:
    r"""Check the exercise "soften a mask": the value that is still :math:`w` after k blends.

    Args:
        compensated: the reader's function ``(weight, blends) -> value``.

    Returns:
        Whether it passed.
    """
    return told(
        "compensated", "its power is the weight that was wanted", _power_problem(compensated)
    )


def _power_problem(compensated: Harden) -> str:
    for weight, blends in ((0.5, 20), (0.1, 7), (0.9, 1), (0.0, 4), (1.0, 12)):
        case = f"compensated({weight}, {blends})"
        try:
            value = compensated(weight, blends)
        except (ArithmeticError, ValueError) as error:
            return f"{case} ends in {error}; weight 0 needs care, its logarithm is not a number"
        if not isinstance(value, int | float):
            return f"{case} is a {type(value).__name__}; return a number"
        if math.isclose(value, weight**blends, rel_tol=1e-9) and blends > 1 and 0 < weight < 1:
            return f"{case} is what is left of {weight} after the blends; invert that"
        if math.isclose(value, weight / blends, rel_tol=1e-9) and blends > 1 and weight:
            return f"{case} divides; the weights of the blends multiply"
        if not math.isclose(value**blends, weight, rel_tol=1e-9, abs_tol=1e-12):
            return f"{case} is {value:.4g}, of which {blends} blends leave {value**blends:.4g}"
    return ""


def _noise(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
