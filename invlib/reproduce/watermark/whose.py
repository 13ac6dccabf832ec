"""Whose key is in a portrait? ``results/whose.json``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..engine.table import Rows, Table
from .marked_portraits import shard

GUIDANCE = (1.0, 3.0)


def summary(name: str, guidance: float, merged: dict[str, Tensor]) -> Rows:
    """One cell of the table."""
    row: dict[str, Any] = {"sampler": name, "guidance": guidance, "pictures": len(merged["noise"])}
    return [row]


TABLE = Table("whose", ("2M-10", "DDIM-50"), shard, summary, guidance=GUIDANCE, prompts=120)
