"""Claims: sentences with a number in them that raise when they are false."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from torch import Tensor

RECORD = "INVLIB_CLAIMS"  # environment variable: file that collects the values


class ClaimError(AssertionError):
    """A claim does not hold."""


def claim(
    name: str,
    value: float | Tensor,
    *,
    below: float | None = None,
    above: float | None = None,
    equals: object = None,
) -> None:
    """State something about a number; print one stable line if it holds, raise if not.

    The line shows the bound, not the value, so that it is the same on every machine. The value
    goes to the JSON file named by the environment variable ``INVLIB_CLAIMS``, if that is set.

    Args:
        name: the sentence, in words.
        value: the measured number; for a tensor all of its entries must satisfy the claim.
        below: the value must be smaller than this.
        above: the value must be larger than this.
        equals: the value must equal this.

    Raises:
        ClaimError: if the claim is false or the value is not a number.
        ValueError: if no bound is given.
    """
    if below is None and above is None and equals is None:
        raise ValueError(f"the claim {name!r} has no bound; give below=, above= or equals=")
    values = [value] if isinstance(value, int | float | str) else value.flatten().tolist()
    if not values:
        raise ClaimError(f"false: {name}: there is no value")
    parts = []
    for v in values:
        if isinstance(v, float) and math.isnan(v):
            raise ClaimError(f"false: {name}: the value is not a number")
        if below is not None and not v < below:
            raise ClaimError(f"false: {name}: {v:.4g} is not below {below:g}")
        if above is not None and not v > above:
            raise ClaimError(f"false: {name}: {v:.4g} is not above {above:g}")
        if equals is not None and v != equals:
            raise ClaimError(f"false: {name}: {v!r} is not {equals!r}")
    parts += [f"< {below:g}"] if below is not None else []
    parts += [f"> {above:g}"] if above is not None else []
    parts += [f"= {equals}"] if equals is not None else []
    _record(name, values)
    print(f"ok  {name} {' and '.join(parts)}")


def _record(name: str, values: list) -> None:
    path = os.environ.get(RECORD)
    if path:
        file = Path(path)
        known = json.loads(file.read_text()) if file.exists() else {}
        known[name] = values[0] if len(values) == 1 else values
        part = file.with_name(file.name + ".part")  # so that no kill leaves half a file
        part.write_text(json.dumps(known, indent=1))
        part.replace(file)
