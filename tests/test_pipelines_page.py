"""The page "Which pipelines", made of a small result."""

from __future__ import annotations

from typing import Any

import pytest

from invlib.rehearsal.pipelines_page import markdown, sentence, summary


def row(name: str, outcome: str, said: str = "", **more: Any) -> dict[str, Any]:
    return {"class": name, "exported": True, "outcome": outcome, "sentence": said, **more}


NUMBERS = {
    "scheduler": "UniPCMultistepScheduler",
    "steps": 6,
    "evaluated": "replay",
    "noise_by": "latents",
    "verdict": ["exact"],
    "image_db": -142.6,
    "noise_db": -139.4,
    "evaluations": 31,
}
ROWS = {
    "APipeline": row("APipeline", "inverted", **NUMBERS),
    "APipeline: four | more": row("APipeline", "refused", "step 2 is off by 1e-2 | no_such_step"),
    "BPipeline": row("BPipeline", "not exact", "the search ended as stalled", **NUMBERS),
    "CPipeline": row("CPipeline", "not built here", "It needs `a|b`."),
    "DPipeline": row("DPipeline", "not built here", "It needs `a|b`."),
    "EPipeline": row("EPipeline", "not built here", "it has no call"),
    "FPipeline": row("FPipeline", "inverted", build="It takes *one* step.", **NUMBERS)
    | {"exported": False},
}
VALUES = {"diffusers": "0.42.1", "weights": "random", "rows": ROWS}


def test_the_first_line_counts_each_exported_class_once() -> None:
    assert markdown(VALUES).splitlines()[0] == (
        "diffusers 0.42.1 exports **5** pipeline classes: **1** inverted, **1** inverted, but not "
        "exactly, **3** not built here. A class that stands in several rows is counted once, by "
        "its best."
    )
    only_refused = summary("1", [ROWS["APipeline: four | more"]])
    assert "exports **1** pipeline classes: **1** refused." in only_refused


def test_every_row_is_on_the_page_once() -> None:
    lines = markdown(VALUES).splitlines()
    assert (
        "| `APipeline` | UniPCMultistep, 6 | replay | latents | -143 dB | -139 dB | 31 |  |"
    ) in lines
    assert r"| `APipeline`: four \| more | Step 2 is off by 1e-2 \| no\_such\_step. |" in lines
    assert any(line.startswith("| `BPipeline`") and "ended as stalled." in line for line in lines)
    assert any(line.startswith("| `FPipeline`") and r"\*one\* step." in line for line in lines)
    reasons = [line for line in lines if line.startswith(("| `CPipeline`", "| `EPipeline`"))]
    assert reasons == [
        r"| `CPipeline`, `DPipeline` | It needs `a\|b`. |",
        "| `EPipeline` | It has no call. |",
    ]


def test_headings_stand_over_what_there_is() -> None:
    parts = markdown(VALUES).split("\n### ")
    assert [p.splitlines()[0] for p in parts[1:]] == [
        "Inverted",
        "Not exact",
        "Refused",
        "Not built here",
    ]
    few = {**VALUES, "rows": {"APipeline": ROWS["APipeline"]}}
    assert markdown(few).count("###") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("its `a_b` is 2", "Its `a_b` is 2."),
        ("a_b costs $2 <here>", r"A\_b costs \$2 \<here\>."),
        ("one ` alone", r"One \` alone."),
    ],
)
def test_sentences_are_shown_as_they_are(text: str, shown: str) -> None:
    assert sentence(text) == shown


def test_every_line_of_a_table_has_the_cells_of_its_head() -> None:
    for part in markdown(VALUES).split("\n\n"):
        if part.startswith("|"):
            cells = {line.replace(r"\|", "").count("|") for line in part.splitlines()}
            assert len(cells) == 1
