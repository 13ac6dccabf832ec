"""The table of ``results/pipelines.json`` on the page "Which pipelines"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..markdown import table

Row = Mapping[str, Any]

OUTCOMES = {  # outcome: heading, and what a count of classes says of them
    "inverted": ("Inverted", "inverted"),
    "not exact": ("Not exact", "inverted, but not exactly"),
    "refused": ("Refused", "refused"),
    "not built here": ("Not built here", "not built here"),
}
MEASURED = (
    "pipeline",
    "scheduler, steps",
    "evaluated by",
    "noise by",
    "stock call",
    "noise",
    "evaluations",
    "note",
)
SPECIAL = re.compile(r"([\\|<>*_$\[\]])")


def markdown(values: Mapping[str, Any]) -> str:
    """The counts, and a table for each outcome that there is."""
    rows: dict[str, Row] = values["rows"]
    parts = [summary(values["diffusers"], rows.values())]
    for outcome, (heading, _) in OUTCOMES.items():
        found = {key: row for key, row in rows.items() if row["outcome"] == outcome}
        if not found:
            continue
        if outcome in ("inverted", "not exact"):
            lines = [_measured(key, row) for key, row in found.items()]
            shown = table(MEASURED, lines)
        elif outcome == "refused":
            lines = [[_name(key), sentence(row["sentence"])] for key, row in found.items()]
            shown = table(("pipeline", "what the library says"), lines)
        else:
            shown = table(("pipelines", "why"), _grouped(found.values()))
        parts.append(f"### {heading}\n\n{shown}")
    return "\n\n".join(parts)


def summary(version: str, rows: Iterable[Row]) -> str:
    """How many of the classes that diffusers exports had which outcome.

    A class with several rows counts once, by the first outcome in the order of the tables.
    """
    best: dict[str, str] = {}
    order = list(OUTCOMES)
    for row in rows:
        if row["exported"]:
            name, outcome = row["class"], row["outcome"]
            best[name] = min(best.get(name, outcome), outcome, key=order.index)
    counts = [
        f"**{number}** {said}"
        for outcome, (_, said) in OUTCOMES.items()
        if (number := sum(v == outcome for v in best.values()))
    ]
    return (
        f"diffusers {version} exports **{len(best)}** pipeline classes: {', '.join(counts)}. "
        "A class that stands in several rows is counted once, by its best."
    )


def sentence(text: str) -> str:
    """A sentence that Markdown shows as it is, with a capital and a full stop."""
    whole = text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
    parts = whole.split("`")
    if len(parts) % 2 == 0:  # no code, but a lonely backtick
        return _plain(whole).replace("`", "\\`")
    return "`".join(
        part.replace("|", "\\|") if i % 2 else _plain(part) for i, part in enumerate(parts)
    )


def _plain(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)


def _name(key: str) -> str:
    """Class and variant."""
    name, _, variant = key.partition(":")
    return f"`{name}`" + (f": {_plain(variant.strip())}" if variant else "")


def _measured(key: str, row: Row) -> list[str]:
    told = [row.get("sentence", ""), row.get("build", ""), row.get("note", "")]
    return [
        _name(key),
        f"{row['scheduler'].removesuffix('Scheduler')}, {row['steps']}",
        row["evaluated"],
        row["noise_by"],
        f"{row['image_db']:.0f} dB",
        f"{row['noise_db']:.0f} dB",
        str(row["evaluations"]),
        " ".join(sentence(text) for text in told if text),
    ]


def _grouped(rows: Iterable[Row]) -> list[list[str]]:
    """One line a reason, with all classes that have it; the most first."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(sentence(row["sentence"]), []).append(f"`{row['class']}`")
    ordered = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[1]))
    return [[", ".join(names), why] for why, names in ordered]
