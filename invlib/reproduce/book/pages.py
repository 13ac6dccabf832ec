"""Put measured tables into the pages that show them: ``python -m invlib.reproduce.book.pages``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ... import rehearsal
from ...measured import read_results
from ...rehearsal import (
    agreement,
    costs_sizes,
    costs_time,
    determinants,
    forecast,
    peak,
    pipelines_page,
)
from ..bench import tables as bench_tables
from ..engine.store import earlier
from ..tables import (
    confusions,
    decoder_memory,
    decoding,
    doubts,
    edits,
    exactness,
    flow,
    honesty,
    likelihood,
    reversible,
    seeds,
    settings,
    who,
)
from ..watermark import whose
from . import dependencies, landing, mutants, teaching, torture, versus
from .marks import put


def of(markdown: Callable[..., str], *files: str) -> Callable[[Path], str]:
    """A table that is made from results files."""

    def table(root: Path) -> str:
        text = markdown(*(read_results(root / f"results/{f}.json") for f in files))
        return text + (EARLIER if {*files} & {*earlier(root)} else "")

    return table


EARLIER = (
    "\n\n*Measured with an earlier version of the code, and not yet again with the present one.*"
)
TABLES: dict[str, Callable[[Path], str]] = {
    "exactness": of(exactness.markdown, "exactness"),
    "likelihood": of(likelihood.markdown, "likelihood"),
    "who": of(who.markdown, "who"),
    "settings": of(settings.markdown, "settings"),
    "confusions": of(confusions.markdown, "confusions"),
    "doubts": of(doubts.markdown, "doubts"),
    "seeds": of(seeds.markdown, "seeds"),
    "determinants": of(determinants.markdown, "determinants"),
    "honesty": of(honesty.markdown, "honesty"),
    "decoding": of(decoding.markdown, "decoding", "identical"),
    "edits": of(edits.markdown, "edits"),
    "decoder_memory": of(decoder_memory.markdown, "decoder_memory"),
    "bench": of(bench_tables.markdown, "bench"),
    "rehearsal": of(rehearsal.markdown, "rehearsal"),
    "peak": of(peak.markdown, "peak"),
    "pipelines": of(pipelines_page.markdown, "pipelines"),
    "costs_networks": of(costs_sizes.networks, "costs"),
    "costs_evaluation": of(costs_time.evaluation, "costs"),
    "costs_rates": of(costs_time.rates, "costs"),
    "costs_own": of(costs_time.own, "costs"),
    "costs_check": of(costs_sizes.check, "costs", "peak"),
    "costs_memory": of(costs_sizes.memory, "costs", "peak"),
    "costs_parts": of(costs_sizes.parts, "costs"),
    "costs_evaluations": of(costs_time.evaluations, "exactness"),
    "costs_seconds": of(costs_time.seconds, "costs", "exactness"),
    "agreement": of(agreement.markdown, "agreement"),
    "agreement_loads": of(agreement.loads, "agreement", "costs"),
    "forecast": of(forecast.markdown, "bench", "flow", "costs", "rehearsal"),
    "forecast_many": of(forecast.many, "bench", "costs"),
    "flow": of(flow.markdown, "flow"),
    "reversible": of(reversible.markdown, "reversible", "exactness"),
    "reversible_quality": of(reversible.markdown_quality, "reversible"),
    "whose": of(whose.markdown, "whose"),
    "whose_reliability": of(whose.reliability, "whose"),
    "whose_alarms": of(whose.alarms, "whose"),
    "landing": of(landing.markdown, "exactness", "identical"),
    "torture": of(torture.markdown, "torture"),
    "torture_found": of(torture.listed, "torture"),
    "coverage": of(mutants.coverage, "coverage"),
    "mutants": of(mutants.markdown, "mutants"),
    "survivors": of(mutants.survivors, "mutants"),
    "versus": versus.markdown,
    "dependencies": dependencies.markdown,
    "scripts": dependencies.scripts,
    "licences": dependencies.reasons,
    "licences_judged": dependencies.judged,
}
PAGES = (
    "README.md",
    "book/intro.md",
    "book/reference/results.md",
    "book/reference/reversible.md",
    "book/reference/flow.md",
    "book/reference/versus.md",
    "book/reference/pipelines.md",
    "book/reference/costs.md",
    "book/reference/torture.md",
    dependencies.PAGE,
    teaching.PAGE,
)


def filled(root: Path, page: str) -> str:
    """The text of a page with its tables made from ``results/``, or from the chapters.

    A table NAME stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.
    """
    text = (root / page).read_text()
    tables = teaching.tables(root) if page == teaching.PAGE else TABLES
    for name, table in tables.items():
        if f"<!-- {name} -->" not in text:
            continue
        try:
            shown = table(root)
        except FileNotFoundError as error:
            shown = f"Not measured: `results/{Path(error.filename).name}` is missing."
        text = put(text, name, shown)
    return text


def main(root: Path = Path(".")) -> None:
    """Fill all pages."""
    for page in PAGES:
        (root / page).write_text(filled(root, page))


if __name__ == "__main__":
    main()
