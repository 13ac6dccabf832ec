"""Checks of the exercises of chapter 6, classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Callable

from . import told

Bound = Callable[[float, float, float], float]
Critical = Callable[[float, float, float, float], float]


def check_bound(function: Bound) -> bool:
    r"""Check the exercise "the bound": :math:`L_w \le w L_c + (w - 1) L_\varnothing`.

    Args:
        function: the reader's ``(w, L_c, L_null) -> bound``.

    Returns:
        Whether it passed.
    """
    problem = ""
    for w, conditional, null in ((1.0, 2.0, 5.0), (3.0, 2.0, 5.0), (7.5, 0.5, 0.25)):
        found = function(w, conditional, null)
        right = w * conditional + (w - 1) * null
        if math.isclose(found, w * conditional + (1 - w) * null) and w > 1:
            problem = "constants do not cancel: take the absolute value of 1 - w"
        elif math.isclose(found, w * (conditional + null) + null):
            problem = "the empty prompt has the weight w - 1, not w + 1"
        elif not math.isclose(found, right):
            problem = (
                problem or f"w = {w:g}, L_c = {conditional:g}, L_null = {null:g}: not {found:g}"
            )
    return told("bound", "the weights of both networks, added up without their signs", problem)


def check_critical(function: Critical) -> bool:
    r"""Check the exercise "critical guidance": where a step forgets its state.

    .. math:: a + b\,(g_\varnothing + w\,(g_c - g_\varnothing)) = 0

    Args:
        function: the reader's ``(a, b, g_c, g_null) -> w``.

    Returns:
        Whether it passed.
    """
    problem = ""
    for a, b, g_c, g_null in ((1.1, -0.2, 3.0, 1.0), (1.02, -0.05, 2.0, 0.5)):
        found = function(a, b, g_c, g_null)
        right = (-a / b - g_null) / (g_c - g_null)
        if math.isclose(found, -a / b / (g_c - g_null)):
            problem = "at w = 0 the slope is that of the empty prompt, not 0"
        elif math.isclose(found, (a / b - g_null) / (g_c - g_null)):
            problem = "the sign of a / b: b is negative, w must come out positive"
        elif math.isclose(found, -a / (b * g_c)):
            problem = "the slope is g_null + w (g_c - g_null), not w g_c"
        elif not math.isclose(found, right):
            value = a + b * (g_null + found * (g_c - g_null))
            problem = problem or f"your w leaves the factor {value:.3g}; it must be 0"
    return told("critical guidance", "there the step forgets the state", problem)
