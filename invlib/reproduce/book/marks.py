"""Text between two marks of a page: ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from __future__ import annotations

import re


def put(text: str, name: str, shown: str) -> str:
    """The text of a page with something else between the marks of a name.

    Raises:
        ValueError: if the page does not have them once.
    """
    place = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, count = re.subn(
        place, lambda found: f"{found[1]}\n{shown}\n\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"the page has no place for {name}")
    return text
