"""A table of cells sampler x guidance scale, filled in shards of held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...measured import read_results
from .stamps import Rows, filled_up, made_of, stamp
from .store import write_json
from .work import Cell, load_known

GUIDANCE = (1.0, 3.0, 7.5)
SHARD = 8
DEVICE = "CPU, processes of one thread"
Place = tuple[str, float]  # a sampler and a guidance scale


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

    def places(self, prompts: int) -> dict[Place, list[Cell]]:
        """The work of every sampler and scale."""
        names = [(name, scale) for scale in self.guidance for name in self.samplers]
        return {(name, w): self.cells(prompts, [name], [w]) for name, w in names}

    def rows(self, prompts: int) -> dict[Place, Rows]:
        """The rows of all that is stored; a row says how many samples it has, and its code."""
        found: dict[Place, Rows] = {}
        for (name, scale), cells in self.places(prompts).items():
            if known := load_known(cells):
                merged = {k: torch.cat([r[k] for _, r in known]) for k in known[0][1]}
                own = {"cell": [name, scale], "code": stamp(cell for cell, _ in known)}
                found[name, scale] = [row | own for row in self.summary(name, scale, merged)]
        return found

    def missing(
        self,
        prompts: int,
        output: Path,
        only: Sequence[str] | None = None,
        guidance: Sequence[float] | None = None,
    ) -> list[Cell]:
        """The work, but for rows that the file has of the present code and as many prompts."""
        before, most = self._before(prompts, output)
        known = {
            place: made_of(before.get(place, []), cells) * SHARD
            for place, cells in self.places(most).items()
        }
        asked = self.cells(prompts, only, guidance)
        return [c for c in asked if known[c.options["name"], c.options["guidance"]] < prompts]

    def write(self, prompts: int, output: Path) -> Rows:
        """Write the rows of all that is stored, and a fingerprint of what they were made with.

        Rows that are not stored here are those that the file has.

        Raises:
            FileNotFoundError: if nothing is stored.
        """
        before, most = self._before(prompts, output)
        rows, fresh = filled_up(self.rows(prompts), before, self.places(most))
        if not fresh:
            raise FileNotFoundError(
                f"nothing is stored; run: python -m invlib.reproduce.tables {self.name}"
            )
        values = {"table": self.name, "prompts": most, "device": DEVICE, "rows": rows}
        cells = self.cells(most) if fresh == len(rows) else []
        write_json(output, values, [cell.config for cell in cells])
        return rows

    def lines(
        self, values: Mapping[str, Any], shown: Callable[[dict[str, Any]], list[str]], columns: int
    ) -> list[list[str]]:
        """The lines of a page, one for each sampler and scale; what nobody filled says so.

        Args:
            values: of the results file, one row a cell.
            shown: what stands beside the sampler and the scale of a row.
            columns: how many cells that are.
        """
        known = {(row["sampler"], row["guidance"]): row for row in values["rows"]}
        found = []
        for name in self.samplers:
            for scale in self.guidance:
                row = known.get((name, scale))
                cells = ["not measured"] * columns if row is None else shown(row)
                found.append([name, f"{scale:g}", *cells])
        return found

    def _before(self, prompts: int, output: Path) -> tuple[dict[Place, Rows], int]:
        """The rows of a file by what they are of, and the number of prompts, at least as given."""
        if not output.exists():
            return {}, prompts
        values = read_results(output, "rows", "prompts")
        found: dict[Place, Rows] = {}
        for row in values["rows"]:
            named = row.get("cell", (row.get("sampler"), row.get("guidance")))  # or of older code
            found.setdefault(tuple(named), []).append(row)
        return found, max(prompts, values["prompts"])
