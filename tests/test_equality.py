"""When two arguments are the same."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from invlib.pipelines.equality import equal


class Odd:
    """It compares with nothing."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = object.__hash__


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


ODD = Odd()
HALF, PICTURE = torch.ones(2, dtype=torch.float16), Image.new("RGB", (2, 2))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (torch.ones(2), torch.ones(2), True),
        (torch.ones(2), HALF, False),
        (torch.ones(2), torch.ones(1, 2), False),
        (torch.ones(()), 1.0, False),
        (torch.ones(2), None, False),
        (np.ones(2), np.ones(2), True),
        (np.ones(2), np.ones(2, np.float32), False),
        (np.ones(2), torch.ones(2), False),
        (3, 3.0, True),
        ("a", None, False),
        ([1, torch.ones(2)], (1, torch.ones(2)), True),
        ([1, 2], [1], False),
        ({"a": [HALF]}, OrderedDict(a=[HALF.clone()]), True),
        ({"a": 1}, {"b": 1}, False),
        (seed(1), seed(1), True),
        (seed(1), seed(2), False),
        (PICTURE, PICTURE.copy(), True),
        (PICTURE, Image.new("RGB", (2, 2), "red"), False),
        (ODD, ODD, True),
        (ODD, Odd(), False),
        (print, len, False),
    ],
)
def test_equal_or_not(one: Any, other: Any, same: bool) -> None:
    assert equal(one, other) is same and equal(other, one) is same
