"""The table of edits: what is counted, on values made up so that the answer is known."""

from __future__ import annotations

import torch

from invlib.portraits import held_out
from invlib.reproduce.tables.edits import changed, drawn_pair, kept, markdown, overlap, summary


def test_rows_hold_medians_and_worst_cases() -> None:
    same = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    names = ["noise_variance", "error_oracle", "error_none", "kept_decoded", "step_oracle"]
    kinds = [
        f"{n}{k}" for n in ("kept", "error", "step", "overlap") for k in ("", "_found", "_read")
    ]
    values = {name: same for name in (*names, *kinds)} | {"error": same * torch.tensor([1, 2, 3])}
    (row,) = summary("made", 1.0, values)
    assert row["scenes"] == 3
    assert row["error_over_oracle_median"] == 2
    assert row["error_over_oracle_worst"] == 3
    assert row["kept_least"] == 0.5
    assert row["smooth"] == 2  # steps of at most 1.2
    (line,) = [text for text in markdown({"rows": [row]}).splitlines() if "made" in text]
    assert "2.00" in line


def test_one_attribute_changes_and_the_words_name_it() -> None:
    people = held_out(4)
    others, words = zip(*(changed(i, p) for i, p in enumerate(people)), strict=True)
    assert words[2] == people[2].sky
    assert people[0].hair_color in words[0]
    assert others[0].hair_color != people[0].hair_color
    pair = drawn_pair(people, others)
    assert torch.equal(kept(pair.target, pair.source, pair.mask), torch.ones(4))
    assert torch.equal(overlap(pair.mask, pair.mask), torch.ones(4))
    assert (kept(pair.target, pair.source, ~pair.mask) < 1).all()
