"""The confusion matrices: rules name the smallest score, and what nobody ran says so."""

from __future__ import annotations

import torch

from invlib.portraits.quality import ATTRIBUTES
from invlib.reproduce.tables.confusions import PARTS, RULES, markdown, summary


def merged() -> dict[str, torch.Tensor]:
    """Two pictures; the likelihood is right, the norm always says the first value."""
    values: dict[str, torch.Tensor] = {}
    for attribute, choices in ATTRIBUTES.items():
        true = torch.tensor([1, 2])
        score = torch.ones(2, len(choices), len(RULES), dtype=torch.float64)
        score[[0, 1], true, RULES.index("likelihood")] = -5.0
        score[:, 0, RULES.index("norm")] = 0.0
        score[:, 0, RULES.index("naive")] = torch.nan
        values |= {f"{attribute}/true": true, f"{attribute}/seen": torch.tensor([1, 0])}
        values |= {f"{attribute}/{part}": score for part in PARTS}
    return values


def test_a_row_counts_who_was_named_for_whom() -> None:
    rows = {(r["attribute"], r["from"], r["rule"]): r for r in summary("2M-10", 1.0, merged())}
    assert len(rows) == len(ATTRIBUTES) * (1 + len(PARTS) * len(RULES))
    for attribute, choices in ATTRIBUTES.items():
        right = rows[attribute, "latents", "likelihood"]
        assert right["right"] == 1 and right["values"] == list(choices)
        assert right["confusion"][1][1] == right["confusion"][2][2] == 1
        blind = rows[attribute, "8 bits", "norm"]
        assert blind["right"] == 0
        assert [blind["confusion"][k][0] for k in (0, 1, 2)] == [0, 1, 1]
        assert rows[attribute, "the picture", "eye"]["right"] == 0.5
        lost = rows[attribute, "latents", "naive"]
        assert sum(map(sum, lost["confusion"])) == 2 and not lost["confusion"][1][0]  # NaN is last


def test_the_page_says_what_was_not_measured() -> None:
    lines = markdown({"rows": summary("2M-10", 1.0, merged())}).splitlines()[2:]
    assert len(lines) == 2 * len(ATTRIBUTES)
    assert all("100%" in line and "not measured" not in line for line in lines[:3])
    assert all(line.count("not measured") == 8 for line in lines[3:])
