"""Stored results are of the present code, and the check notices when they are not."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from chapters import ROOT

from invlib.rehearsal import peak
from invlib.reproduce import stale
from invlib.reproduce.book import pages
from invlib.reproduce.engine import stamps, store, work
from invlib.reproduce.engine.reached import code_at, code_of
from invlib.reproduce.figures import registry
from invlib.reproduce.figures.figure1 import cells as figure1
from invlib.reproduce.tables import flow
from invlib.reproduce.tables.registry import TABLES

RESULTS = ROOT / "results"
LATER = {"coverage"}  # what `make coverage` writes, which is not stored
FIGS = " ".join(f"`fig{n}`" for n in range(1, 7))


def test_no_stored_result_is_stale_unless_it_says_so() -> None:
    told = {f"{name}.json" for name in store.earlier(RESULTS.parent)}
    assert set(stale.stale(RESULTS)) == told


def test_pages_say_which_tables_are_of_earlier_code(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    shutil.copy(RESULTS / "flow.json", tmp_path / "results")
    assert "earlier version" not in pages.TABLES["flow"](tmp_path)
    (tmp_path / "results/earlier.txt").write_text("flow\n")
    assert "earlier version" in pages.TABLES["flow"](tmp_path)


def test_every_results_file_is_checked_or_says_why_not() -> None:
    """The others are of no code: weights, and lists whose lines have a commit each."""
    files = {path.stem for path in RESULTS.glob("*.json")}
    assert files - {*stale.sources(), "coverage"} == {"models", "torture", "mutants"}
    values = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in files}
    assert {name for name, found in values.items() if "code" in found} <= {*stale.sources()}


def test_what_is_of_no_cells_is_known_by_the_functions_that_measure_it() -> None:
    """Read from the text they are what they are when they are imported."""
    assert code_at("rehearsal.peak", "measure") == code_of(peak.measure)
    for name, places in stale.MEASURED.items():
        module = import_module(f"invlib.{places[0].partition(':')[0]}")
        written = (ROOT / "invlib/rehearsal/table.py") if name == "rehearsal" else module.__file__
        (line,) = re.findall(r"write_json\(.*?(\[\{.*\}\])\)", Path(written).read_text())
        assert re.findall(r"code_of\((\w+)\)", line) == [p.partition(":")[2] for p in places]


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [', "\x00"])
def test_a_damaged_results_file_is_named_by_all_who_read_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "results/flow.json"
    shutil.copytree(RESULTS, file.parent)
    file.write_text(text)
    for read in (
        lambda: stamps.read_rows(file),
        lambda: TABLES["flow"].missing(8, file),
        lambda: pages.TABLES["flow"](tmp_path),
        lambda: stale.stale(file.parent),
    ):
        with pytest.raises(ValueError, match=rf"{file} is damaged .*: `git checkout {file}`"):
            read()
        assert file.read_text() == text


def test_a_results_file_that_lacks_what_is_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "flow.json"
    file.write_text("{}")
    for read in (lambda: stamps.read_rows(file), lambda: TABLES["flow"].missing(8, file)):
        with pytest.raises(ValueError, match=rf"{file} is damaged \(it lacks .*rows.*`git"):
            read()


@pytest.mark.parametrize("text", ["", "{}", '{"models": [', None])
def test_the_note_of_the_models_is_named_if_it_is_damaged_or_gone(
    tmp_path: Path, text: str | None
) -> None:
    """It was an error about a column of JSON, or a bare KeyError."""
    file = tmp_path / "results/paper/models.json"
    if text is not None:
        file.parent.mkdir(parents=True)
        file.write_text(text)
    does = "writes it when" if text is None else "damaged .* remove it"
    with pytest.raises(RuntimeError, match=rf"{file}.*{does}"):
        registry.provenance("paper", tmp_path)
    assert registry.provenance("tiny", tmp_path) == {}


def listed(page: str) -> list[list[str]]:
    """The results that the page names, table by table."""
    tables = re.findall(r"^\| results \| made by \|\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [[row.split("|")[1] for row in text.splitlines()] for text in tables]
    return [re.findall(r"`(\w+)`", re.sub("`fig1` to `fig6`", FIGS, " ".join(r))) for r in rows]


def test_the_page_lists_every_results_file_and_what_it_lacks() -> None:
    page = (ROOT / "book/appendix/reproduce.md").read_text()
    checked, others = listed(page)
    assert sorted(checked) == sorted(stale.sources())
    assert sorted({*checked, *others}) == sorted({f.stem for f in RESULTS.glob("*.json")} | LATER)
    [long] = re.findall(r"^\| (.*) \| `python -m invlib.reproduce.tables` \|", page, re.MULTILINE)
    assert re.findall(r"`(\w+)`", long) == [*TABLES]
    values = {file.stem: json.loads(file.read_text()) for file in RESULTS.glob("*.json")}
    for field, name, sentence in (
        ("code", "reproduce", r"Each file in `results/` but (.*?) has a field `code`"),
        ("versions", "environment", r"those that depend on it the device; (.*?) have neither"),
    ):
        text = " ".join((ROOT / f"book/appendix/{name}.md").read_text().split())
        [without] = re.findall(sentence, text)
        lacking = {name for name, found in values.items() if field not in found}
        assert {*re.findall(r"`(\w+)`", without)} == lacking | LATER


def test_a_missing_or_an_older_file_is_noticed(tmp_path: Path) -> None:
    for name, configs in stale.sources().items():
        values = json.loads((RESULTS / f"{name}.json").read_text())
        values["code"] = "older" if name == "fig2" else store.fingerprint(configs(values))
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    (tmp_path / "flow.json").unlink()
    assert set(stale.stale(tmp_path)) == {"flow.json", "fig2.json"}


def test_what_reaches_changed_code_is_stale_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, configs in stale.sources().items():
        values = json.loads((RESULTS / f"{name}.json").read_text())
        (tmp_path / f"{name}.json").write_text(
            json.dumps({**values, "code": store.fingerprint(configs(values))})
        )
    assert stale.stale(tmp_path) == []
    changed = (figure1.trace, flow.shard)
    monkeypatch.setattr(work, "code_of", lambda f: "changed" if f in changed else code_of(f))
    assert set(stale.stale(tmp_path)) == {"fig1.json", "flow.json"}


def test_the_command_names_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stale, "stale", lambda folder: [])
    stale.main()
    assert "present code" in capsys.readouterr().out
    monkeypatch.setattr(stale, "stale", lambda folder: ["fig2.json"])
    with pytest.raises(SystemExit, match=r"fig2\.json"):
        stale.main()
