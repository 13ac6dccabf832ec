"""Certificates beside the truth: random problems, and what is counted."""

from __future__ import annotations

import torch

from invlib.reproduce.engine.table import SHARD
from invlib.reproduce.tables import honesty
from invlib.sampling import sample


def test_a_problem_is_drawn_from_its_name_alone() -> None:
    one, two = (honesty.problem("2M", 3.0, 8) for _ in range(2))
    assert torch.equal(one[2], two[2])
    images = [sample(denoiser, noise, solver).image for denoiser, solver, noise in (one, two)]
    assert torch.equal(*images) and len(images[0]) == SHARD
    other = honesty.problem("2M", 3.0, 16)
    assert other[2].shape != one[2].shape or not torch.equal(other[2], one[2])


def test_a_shard_says_what_is_true() -> None:
    """Without guidance DDIM on a smooth mixture has one noise, and all say so."""
    found = honesty.shard("DDIM", 1.0, 0)
    assert {len(value) for value in found.values()} == {SHARD}
    assert found["exact"].all() and not (found["wrong"] & ~found["another"]).any()
    known = found["bound"].isfinite()
    assert (found["error"][known] <= 2 * found["bound"][known]).all()


def test_what_is_counted() -> None:
    yes, no, nan = True, False, float("nan")
    values = {
        "exact": torch.tensor([yes, yes, yes, yes, no]),
        "wrong": torch.tensor([no, yes, yes, no, yes]),
        "another": torch.tensor([no, yes, no, no, yes]),
        "unique": torch.tensor([yes, no, yes, no, no]),
        "bound": torch.tensor([1e-3, nan, 1e-3, 1e-3, 1e-3]),
        "error": torch.tensor([1e-4, 0.5, 0.5, 2.1e-3, 0.5]),
    }
    row = honesty.summary("2M", 3.0, values)[0]
    assert (row["samples"], row["exact"], row["wrong"]) == (5, 4, 2)
    assert (row["wrong_and_flagged"], row["wrong_and_unique"]) == (1, 1)
    assert (row["bounds"], row["bounds_off_by_6_db"]) == (3, 2)
    page = " ".join(honesty.markdown({"rows": [row, row]}).split())  # wherever columns end
    assert "| 2M | 3 | 5 | 4 | 2 | 1 | 3 | 2 |" in page
    assert "| all | | 10 | 8 | 4 | 2 | 6 | 4 |" in page


def test_the_page_says_which_goals_are_missed() -> None:
    """The sentence follows the counts: 95 % flagged and 1 % off are met, one less is not."""
    names = ("samples", "exact", "wrong", "wrong_and_flagged", "wrong_and_unique")
    places = {"sampler": "2M", "guidance": 3.0}
    good = {**dict(zip(names, (56, 56, 20, 19, 1), strict=True)), **places}
    good |= {"bounds": 100, "bounds_off_by_6_db": 1}
    plain = {name: 0 for name in good} | {**places, "guidance": 1.0, "samples": 9, "bounds": 100}
    met = honesty.goals([good, plain])
    assert "The 65 images are of 9 random mixtures" in met  # 7 and 2 of them
    assert "19 of the 20 other noises (95.0%)" in met and "1 of the 200 bounds (0.5%)" in met
    assert "With guidance it is 1 of 100 (1.0%)" in met
    assert met.count("which is met") == 2 and "missed" not in met
    bad = honesty.goals([good | {"wrong_and_flagged": 18, "bounds_off_by_6_db": 2}])
    assert bad.count("which is **missed**") == 2 and "Of the 2 that were not flagged, 1" in bad
    assert "(" not in honesty.goals([plain | {"bounds": 0}])  # no share of nothing
