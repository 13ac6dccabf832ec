"""What is exact and what is not, in three lines of measured numbers, for the first page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HIGH = 7.5  # guidance scale from which on exactness is not the rule
HALF = 0.5  # share of the images below which exactness is rare
Row = Mapping[str, Any]


def markdown(exactness: Mapping[str, Any], identical: Mapping[str, Any]) -> str:
    """The three lines.

    Args:
        exactness: what ``results/exactness.json`` holds.
        identical: what ``results/identical.json`` holds.
    """
    rows = exactness["rows"]
    usual = [row for row in rows if row["guidance"] < HIGH]
    high = [row for row in rows if row["guidance"] >= HIGH]
    one_step = [row for row in high if row["sampler"].startswith("DDIM")]
    several = [row for row in high if row not in one_step]
    scales = " and ".join(f"{w:g}" for w in sorted({row["guidance"] for row in usual}))
    names = ", ".join(dict.fromkeys(row["sampler"] for row in rows))
    back = identical["rows"]
    lost = "often finds none" if _share(several, "exact") < HALF else "is long"
    lines = (
        f"**Exact**: from latents, at guidance scales {scales}, {_count(usual, 'exact')} images of "
        f"the embedded model are certified ({names}). The noise is off by "
        f"{_worst(usual, 'noise_db_median')} or less in the median, whatever the sampler.",
        f"**Often not exact, or not the original**: at guidance scale {HIGH:g} it is "
        f"{_count(one_step, 'exact')} with DDIM and {_count(several, 'exact')} with 2M. Several "
        f"noises may make one image there, and with few steps the search {lost}.",
        "**Not from a picture alone**: the decoder forgets, and 8 bits round. The picture comes "
        f"back in every value for {_count(back, 'identical')} images, and yet the noise is off by "
        f"{_worst(back, 'noise_db')}.",
    )
    return "\n".join(f"* {line}" for line in lines)


def _share(rows: Sequence[Row], share: str) -> float:
    return sum(row[share] * row["samples"] for row in rows) / sum(row["samples"] for row in rows)


def _count(rows: Sequence[Row], share: str) -> str:
    total = sum(row["samples"] for row in rows)
    return f"{sum(round(row[share] * row['samples']) for row in rows)} of {total}"


def _worst(rows: Sequence[Row], name: str) -> str:
    return f"{max(row[name] for row in rows):.0f} dB".replace("-", "−")
