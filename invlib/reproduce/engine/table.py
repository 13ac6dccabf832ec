"""A table of cells sampler x guidance scale, filled in shards of held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .store import write_json
from .work import Cell, load_known

GUIDANCE = (1.0, 3.0, 7.5)
SHARD = 8
DEVICE = "CPU, processes of one thread"
Rows = list[dict[str, Any]]


def nothing(name: str, guidance: float) -> dict[str, Any]:
    """What shards depend on that depend on no more than their code."""
    return {}


@dataclass(frozen=True)
class Table:
    """What fills a table.

    Attributes:
        name: its name; results go to ``results/NAME.json``.
        samplers: the samplers, by name.
        shard: ``(name, guidance, first) -> values of the SHARD prompts from first`` by name.
        summary: ``(sampler, guidance, values of all prompts) -> rows``.
        depends: ``(sampler, guidance) -> what else than code its values depend on``.
        guidance: the guidance scales.
        prompts: how many prompts the stored results have.
    """

    name: str
    samplers: tuple[str, ...]
    shard: Callable[[str, float, int], dict[str, Tensor]]
    summary: Callable[[str, float, dict[str, Tensor]], Rows]
    depends: Callable[[str, float], Mapping[str, Any]] = nothing
    guidance: tuple[float, ...] = GUIDANCE
    prompts: int = 32

    def cells(
        self,
        prompts: int,
        only: Sequence[str] | None = None,
        guidance: Sequence[float] | None = None,
    ) -> list[Cell]:
        """The work, one cell a shard; of all samplers and scales, or of some."""
        return [
            Cell(
                self.name,
                self.shard,
                {"name": name, "guidance": scale, "first": first},
                {"shard": SHARD, **self.depends(name, scale)},
            )
            for first in range(0, prompts, SHARD)
            for scale in guidance or self.guidance
            for name in only or self.samplers
        ]

    def rows(self, prompts: int) -> Rows:
        """The rows of all that is stored; a row says how many samples it has."""
        parts: dict[tuple[str, float], list[dict[str, Tensor]]] = {}
        for cell, result in load_known(self.cells(prompts)):
            parts.setdefault((cell.options["name"], cell.options["guidance"]), []).append(result)
        merged = {at: {k: torch.cat([r[k] for r in p]) for k in p[0]} for at, p in parts.items()}
        return [row for (n, w), values in merged.items() for row in self.summary(n, w, values)]

    def write(self, prompts: int, output: Path) -> Rows:
        """Write the rows of all that is stored, and a fingerprint of what they were made with.

        Raises:
            FileNotFoundError: if nothing is stored.
        """
        rows = self.rows(prompts)
        if not rows:
            raise FileNotFoundError(
                f"nothing is stored; run: python -m invlib.reproduce.tables {self.name}"
            )
        values = {"table": self.name, "prompts": prompts, "device": DEVICE, "rows": rows}
        write_json(output, values, [cell.config for cell in self.cells(prompts)])
        return rows
