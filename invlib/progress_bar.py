"""A bar on stderr, or in a notebook, that is drawn seldom enough to cost nothing."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

INTERVAL = 0.1  # seconds between two drawings


class Bar:
    """A bar of tqdm that fills up to 1, to be used in a ``with`` statement.

    Args:
        wanted: whether to show it; None shows it on a terminal or in a notebook.
    """

    def __init__(self, wanted: bool | None) -> None:
        self.wanted = wanted
        self._bar: Any = None
        self._drawn = -INTERVAL

    @property
    def shown(self) -> bool:
        """Whether anybody sees it."""
        return self._bar is not None and not self._bar.disable

    @property
    def due(self) -> bool:
        """Whether it is time to draw it again."""
        return self.shown and monotonic() - self._drawn >= INTERVAL

    def draw(self, label: str, words: str, fraction: float) -> None:
        """Draw it now."""
        self._bar.set_description_str(label, refresh=False)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.n = min(1.0, fraction)
        self._bar.refresh()
        self._drawn = monotonic()

    def __enter__(self) -> Bar:
        if self.wanted is not False:
            from tqdm.auto import tqdm  # looks for a notebook: only where it is needed

            self._bar = tqdm(
                total=1.0,
                disable=None if self.wanted is None else False,
                file=sys.stderr,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}",
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
