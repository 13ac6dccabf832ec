"""The long tables, which are no part of ``make figures``."""

from __future__ import annotations

from ..engine.table import Table
from ..watermark import whose
from . import (
    confusions,
    decoding,
    doubts,
    edits,
    exactness,
    flow,
    honesty,
    likelihood,
    reversible,
    seeds,
    settings,
    who,
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        exactness.TABLE,
        honesty.TABLE,
        decoding.TABLE,
        decoding.IDENTICAL,
        edits.TABLE,
        flow.TABLE,
        reversible.TABLE,
        seeds.TABLE,
        doubts.TABLE,
        who.TABLE,
        settings.TABLE,
        confusions.TABLE,
        likelihood.TABLE,
        whose.TABLE,
    )
}
