"""The table of owners: errors are measured on other pictures than those that are identified."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from invlib.reproduce.engine.table import SHARD
from invlib.reproduce.watermark import whose as table
from invlib.reproduce.watermark.marked_portraits import DECODERS, marks
from invlib.watermark import Identification


@pytest.mark.parametrize("shards", [3, table.PARTS + 2])
def test_errors_are_measured_on_pictures_of_other_parts_without_any_key(
    shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were measured on pictures that hold the very keys in question."""
    draw, firsts = torch.Generator().manual_seed(0), range(0, shards * SHARD, SHARD)
    drawn = [torch.randn(SHARD, 4, 16, 16, generator=draw, dtype=torch.float64) for _ in firsts]
    noise = torch.cat([marks(x, first) for x, first in zip(drawn, firsts, strict=True)]).float()
    seen = []

    def look(views: Any, keys: Any, errors: Any) -> Identification:
        seen.append((views["PNG"], errors))
        count = len(views["PNG"])
        none = torch.zeros(count, len(keys) + 1)
        return Identification(none, none[:, 1:], views["PNG"][:, 0, 0, 0], ("PNG",) * count, ())

    monkeypatch.setattr(table, "whose", look)
    files = {f"{file}/{d}": noise + i for i, file in enumerate(table.FILES) for d in DECODERS}
    rows = table.summary("2M-10", 1.0, {"noise": noise, **files})
    assert len(rows) == len(table.FAMILIES) * len(DECODERS) * len(table.FILES)
    for own, errors in seen:
        others = shards - len(own) // (len(table.FILES) * SHARD)
        assert len(errors.noise) == others * SHARD // 2  # the unmarked halves of other shards
        for keys in table.FAMILIES.values():
            assert not table.truth_of(errors.noise, keys).any()
        assert not any(torch.equal(x, y) for x in own for y in errors.noise)
    plain = torch.ones(len(noise), dtype=torch.bool)
    found = table.decided({"noise": noise, **files}, "naive", table.RANDOM, plain)
    for i, file in enumerate(table.FILES):  # each picture in its place
        assert torch.equal(found[file].log10_p.float(), noise[:, 0, 0, 0] + i)
