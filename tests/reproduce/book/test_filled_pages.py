"""Pages show what ``results/`` holds."""

from __future__ import annotations

import pytest
from chapters import ROOT

from invlib.reproduce.book import pages


@pytest.mark.parametrize("page", pages.PAGES)
def test_pages_show_the_measured_tables(page: str) -> None:
    assert (ROOT / page).read_text() == pages.filled(ROOT, page)
