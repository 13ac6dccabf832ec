"""A table in Markdown, as pandas and tabulate write it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def table(
    head: Sequence[str], lines: Iterable[Sequence[str]], *, right: Collection[str] = ()
) -> str:
    """A heading and lines of cells, which stand as they are.

    Args:
        head: names of the columns.
        lines: the cells of each line, as many as columns.
        right: names of the columns that are set flush right, such as numbers.

    Raises:
        ValueError: if a line has another number of cells than the heading.
        ImportError: if pandas or tabulate is not installed.
    """
    import pandas as pd  # late: the command line starts without it

    sides = ["right" if name in right else "" for name in head]
    cells = pd.DataFrame(list(lines), columns=list(head))
    return cells.to_markdown(index=False, tablefmt="pipe", disable_numparse=True, colalign=sides)
