"""Which tests are left to `make thorough`: ``python tests/slow.py REPORT.xml``.

The report is pytest's, of all tests (``make thorough``), or of some: others stay where they are,
for a fixture that many tests share is made by the first of them that runs. What takes longer than
LONG seconds goes to slow.txt; but of a test of many cases, or of one, the quickest stays in
`make unit` unless it takes longer than ALONE seconds. Those of ALWAYS stay, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).parent / "slow.txt"
LONG, ALONE = 0.1, 2.7  # seconds
ALWAYS = (  # in `make unit`, however long they take: what is stored is true, and random problems
    "tests/reproduce/test_stale.py::test_no_stored_result_is_stale_unless_it_says_so",
    "tests/torture/test_properties.py::test_exact_is_exact_and_all_else_says_what_it_is",
)


def slow() -> frozenset[str]:
    """The names of the tests that `make unit` leaves out."""
    return frozenset(LIST.read_text("utf-8").splitlines())


def seconds(report: Path) -> Iterator[tuple[str, float]]:
    """The name of every test of a report, and how long it took."""
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        yield f"{file}::{case.get('name')}", float(case.get("time", 0))


def chosen(took: dict[str, float]) -> list[str]:
    """The tests that are too long for `make unit`."""
    quickest: dict[str, str] = {}
    for name in sorted(took, key=took.__getitem__):
        quickest.setdefault(name.split("[")[0], name)
    kept = {name for name in quickest.values() if took[name] <= ALONE}
    kept |= {*ALWAYS}
    return sorted(name for name, time in took.items() if time > LONG and name not in kept)


if __name__ == "__main__":
    took = dict(seconds(Path(sys.argv[1])))
    names = sorted({*chosen(took), *(slow() - took.keys())})
    LIST.write_text("".join(f"{name}\n" for name in names), "utf-8")
    print(f"{len(names)} tests are left to `make thorough`")
