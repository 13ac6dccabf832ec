"""A table of cells sampler x guidance scale, filled in shards of held-out prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor
from tqdm import tqdm

from ..portraits.load import verify
from .profiles import device_name
from .store import cell, stored, write_json

GUIDANCE = (1.0, 3.0, 7.5)
SHARD = 8
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Table:
    """What fills a table.

    Attributes:
        name: its name; results go to ``results/NAME.json``, shards to ``.cache/NAME``.
        samplers: the samplers, by name.
        shard: ``(sampler, guidance, first prompt) -> values of SHARD prompts`` by name.
        summary: ``(sampler, guidance, values of all prompts) -> rows``.
        config: ``(sampler, guidance) -> what else the values of a shard depend on``.
    """

    name: str
    samplers: tuple[str, ...]
    shard: Callable[[str, float, int], dict[str, Tensor]]
    summary: Callable[[str, float, dict[str, Tensor]], Rows]
    config: Callable[[str, float], dict[str, Any]]

    def config_of(self, name: str, scale: float, first: int) -> dict[str, Any]:
        """Everything that a shard depends on, apart from the core of the library."""
        config = {"table": self.name, "sampler": name, "guidance": scale, "first": first}
        return config | {"model": verify("portraits"), "shard": SHARD} | self.config(name, scale)

    def configs(self, prompts: int) -> list[dict[str, Any]]:
        """Those of all shards of the table."""
        return [
            self.config_of(name, scale, first)
            for name in self.samplers
            for scale in GUIDANCE
            for first in range(0, prompts, SHARD)
        ]

    def main(
        self,
        prompts: Annotated[int, typer.Option(help="number of held-out prompts, in eights")] = 32,
        only: Annotated[list[str] | None, typer.Option(help="samplers, default all")] = None,
        guidance: Annotated[list[float] | None, typer.Option(help="scales, default all")] = None,
        report: Annotated[bool, typer.Option(help="only report what is stored")] = False,
        output: Annotated[Path | None, typer.Option(help="default results/NAME.json")] = None,
    ) -> None:
        """Fill the table, shard by shard; interrupted, it resumes."""
        work = [
            (name, scale, first)
            for first in range(0, prompts, SHARD)
            for scale in guidance or GUIDANCE
            for name in only or self.samplers
        ]
        folder = Path(".cache") / self.name
        parts: dict[tuple[str, float], list[dict[str, Tensor]]] = {}
        for name, scale, first in tqdm(work, desc=self.name, unit="shard"):
            config = self.config_of(name, scale, first)
            if report and stored(folder, config) is None:
                continue
            result = cell(folder, config, partial(self.shard, name, scale, first))
            parts.setdefault((name, scale), []).append(result)
        merged = {at: {k: torch.cat([r[k] for r in p]) for k in p[0]} for at, p in parts.items()}
        rows = [row for (n, w), values in merged.items() for row in self.summary(n, w, values)]
        values = {"table": self.name, "prompts": prompts, "device": device_name(), "rows": rows}
        write_json(output or Path("results") / f"{self.name}.json", values, self.configs(prompts))
        print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3g}"))
