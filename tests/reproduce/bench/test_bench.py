"""The field bench: what is measured, what its rows say, and that it can be killed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from analytic import randn
from chapters import ROOT
from torch import Tensor
from twelve import DIM, run, twelve

from invlib.denoisers import guided
from invlib.inversion import Inversion
from invlib.inverters import exact, naive
from invlib.metrics import nmse
from invlib.probing import from_scheduler
from invlib.reproduce.bench import __main__ as command
from invlib.reproduce.bench import cells as bench
from invlib.reproduce.bench import drawing as bench_drawing
from invlib.reproduce.bench import goals
from invlib.reproduce.bench import tables as bench_tables
from invlib.reproduce.bench.cells import CASES, LATENT, PIXEL, STARS, Case
from invlib.reproduce.bench.methods import METHODS, OURS, methods_for, stock
from invlib.reproduce.engine import runner
from invlib.reproduce.engine.reached import PACKAGE, present
from invlib.reproduce.engine.stamps import stamp
from invlib.reproduce.engine.store import earlier, fingerprint
from invlib.reproduce.engine.work import Cell
from invlib.reproduce.models.problem import (
    MORE,
    SAMPLERS,
    SCHEDULERS,
    Problem,
    scheduler_named,
    solver_named,
)
from invlib.rivals import RIVALS, null_text
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import ddim, dpm_solver_pp_2m

CASE = Case("latent", "2M-10", 3.0)
GRID = Schedule.scaled_linear().grid(10)
ALL = {"latent": LATENT, "pixel": PIXEL, "stars": STARS}


def row(method: str, nfe: float, image: float | None, **more: Any) -> dict[str, Any]:
    """A row as measured, with made-up numbers."""
    noise = None if image is None else image + 20
    level = {"image_db": image, "image_db_worst": image, "noise_db": noise, "noise_db_worst": noise}
    cell = {"model": CASE.model, "sampler": CASE.sampler, "guidance": CASE.guidance}
    label, family = METHODS[method].label, METHODS[method].family
    rest = {"images": 2, "seconds": 1.0, "ratio": 2.0, "failed": 0.0, "exact": 0.0, "note": ""}
    names = {"method": method, "label": label, "family": family}
    return {**cell, **names, **level, "nfe": nfe, "nfe_worst": nfe, **rest, **more}


def toy(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"images": 2, "device": "CPU", "rows": [*rows]}


FIELD = toy(
    row("naive", 10, -20.0),
    row("naive_1000", 1000, -25.0),
    row("fpi", 200, -60.0),
    row("newton", 900, None, failed=1.0),
    row("aidi_a", 60, -60.0),
    row(OURS, 300, -130.0, exact=1.0),
)


# What is measured


def test_the_bench_covers_what_was_promised() -> None:
    cells = {(c.model, c.sampler, c.guidance) for c in CASES}
    assert {("latent", s, g) for s in LATENT for g in (1.0, 3.0, 7.5)} < cells
    assert {(m, g) for m, _, g in cells if m == "pixel"} == {("pixel", 1.0)}
    inverters = {"naive", "naive_1000", "stock", "algorithm1", "algorithm2", OURS}
    rivals = set(RIVALS) - {"ddim_inverse", "dpm_inverse"}  # those are "stock"
    assert inverters | rivals <= set(METHODS)
    assert {s for m, s, _ in cells if m == "stars"} == {*STARS}
    assert set(METHODS) - set(methods_for(order_one=True)) == {"algorithm2", "algorithm2_tuned"}


@pytest.mark.parametrize("name", LATENT)
def test_every_sampler_is_a_table(name: str) -> None:
    solver = solver_named(name)
    assert solver.steps == int(name.partition("-")[2])
    assert solver.order_one == name.startswith("DDIM")


@pytest.mark.parametrize("name", sorted({*SAMPLERS, *MORE} & {*SCHEDULERS}))
def test_stock_schedulers_are_those_of_our_tables(name: str) -> None:
    read, ours = from_scheduler(scheduler_named(name), SCHEDULERS[name][2]), solver_named(name)
    assert torch.equal(read.t, ours.t)
    torch.testing.assert_close(read.b, ours.b, atol=2e-4, rtol=0)  # diffusers is float32


def test_stock_says_where_diffusers_has_no_inverse() -> None:
    with pytest.raises(ValueError, match="no inverse of UniPC"):
        stock("UniPC-10", solver_named("UniPC-10"), 1.0)


@pytest.mark.parametrize("name", STARS)
def test_the_star_model_has_two_kinds_of_time_points(name: str) -> None:
    true = Problem.stars(name, 3, 2)
    levels = true.solver.alpha.log() - true.solver.sigma.log()
    even = (levels.diff().max() / levels.diff().min()).item() < 1.001
    assert even == name.endswith("logSNR")
    assert true.solver.order_one == name.startswith("DDIM") == Case("stars", name, 1.0).order_one
    assert true.noise.shape == (2, 1, 32, 32)
    assert torch.equal(true.noise, Problem.stars(name, 0, 5).noise[3:])


def test_stock_is_not_run_on_time_points_that_are_not_its_own() -> None:
    for true in (Problem.stars("2M-10 logSNR", 0, 1), Problem.pixels("2M-10", 0, 1)):
        with pytest.raises(ValueError, match="evenly spaced"):
            stock("2M-10", true.solver, 1.0)
    stock("2M-10", Problem.stars("2M-10", 0, 1).solver, 1.0)


def test_tuned_algorithms_are_cheaper_and_no_worse() -> None:
    for name, solver in (("1", ddim(GRID)), ("2", dpm_solver_pp_2m(GRID))):
        denoiser, noise, trajectory = run(4, 1.0, solver)
        published, tuned = (
            METHODS[f"algorithm{name}{kind}"].choose("", solver, 1.0)(
                denoiser, trajectory.image, solver
            )
            for kind in ("", "_tuned")
        )
        assert (tuned.nfe < published.nfe).all()
        assert (nmse(tuned.noise, noise) < nmse(published.noise, noise)).all()


@pytest.mark.parametrize("name", ["2M-10", "DDIM-50"])
@pytest.mark.parametrize("guidance", [3.0, 7.5])
def test_ours_is_what_users_get(name: str, guidance: float) -> None:
    assert METHODS[OURS].choose(name, solver_named(name), guidance) is exact


def problem(scale: float = 3.0) -> tuple[Problem, torch.Tensor]:
    solver = ddim(Schedule.scaled_linear().grid(10))
    denoiser, noise, trajectory = run(2, scale, solver)
    return Problem(None, solver, denoiser, noise), trajectory.image


def test_exactness_comes_from_the_round_trip_alone() -> None:
    """A method that lies about its states and its reason is found out."""
    true, image = problem()

    def liar(denoiser: Any, image: torch.Tensor, solver: Any) -> Inversion:
        found = naive(denoiser, image, solver)
        lie = torch.zeros_like(found.residuals)
        return replace(found, reason=("converged",) * 2, residuals=lie, states=0 * found.states)

    values = bench.measure(true, image, liar, 1.0)
    assert not values["exact"].any()
    ours = bench.measure(true, image, exact, 1.0)
    assert ours["exact"].all() and not ours["failed"].any()
    assert (ours["image"] < 1e-20).all() and (ours["noise"] < 1e-15).all()


def test_a_noise_that_is_not_finite_has_failed() -> None:
    true, image = problem()

    def broken(denoiser: Any, image: torch.Tensor, solver: Any) -> Inversion:
        found = naive(denoiser, image, solver)
        noise = found.noise.clone()
        noise[0] = torch.nan
        return replace(found, noise=noise)

    values = bench.measure(true, image, broken, 1.0)
    assert values["failed"].tolist() == [True, False]
    found = bench.summary(CASE, "naive", [values])
    assert found["image_db"] is None and found["image_db_worst"] is None  # half of two is infinite
    assert found["failed"] == 0.5 and found["images"] == 2


def test_null_text_is_sampled_with_its_own_prompts() -> None:
    solver = ddim(Schedule.scaled_linear().grid(10))
    network = twelve()
    null = torch.zeros(1, DIM).double()

    def moved(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return network(x - 0.3 * c, t)

    denoiser = guided(moved, randn(2, DIM, seed=3), null, 3.0, prediction="epsilon")
    noise = randn(2, DIM)
    image = sample(denoiser, noise, solver).image
    true = Problem(None, solver, denoiser, noise)
    fitted = bench.measure(true, image, null_text, 1.0)
    plain = bench.measure(true, image, lambda *a: Inversion(**_plain(null_text(*a))), 1.0)
    assert (fitted["image"] < plain["image"]).all()


def _plain(found: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(found).items() if k != "nulls"}


# Cells of work


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Naive inversion on a small problem with guidance 3."""
    true, image = problem()
    monkeypatch.setattr(bench, "sampled", lambda *a: (true, image, 0.5))
    return bench.cells(CASE, "naive", 2)


def test_a_row_is_shown_when_all_its_batches_are_stored(work: list[Cell], tmp_path: Path) -> None:
    runner.run(work, runner.serial, tmp_path)
    ((place, (found,)),) = bench.rows(2, tmp_path).items()
    assert place == (CASE, "naive") and found["nfe"] == 10
    assert not bench.rows(4, tmp_path)  # half of a row is no row


def test_rows_of_the_present_code_are_not_measured_again(
    work: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine measures a method, another goes on from its file; what has changed is redone."""
    file = tmp_path / "bench.json"
    asked: list[int] = []
    monkeypatch.setattr(command, "run", lambda cells, _: asked.append(len(cells)))
    setting = {"images": 2, "workers": 1, "guidance": [3.0], "show": False, "pages": False}

    def fill(method: str, *, report: bool = False) -> dict[str, Any]:
        arguments = {"only": ["2M-10"], "method": [method], "report": report, "output": file}
        command.main(**setting, **arguments)
        return json.loads(file.read_text())

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="nothing is stored"):
        fill("naive")
    runner.run(work, runner.serial)
    made = fill("naive", report=True)
    assert made["fresh"] == len(made["rows"]) == 1
    assert not stale_of_bench(made)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert fill("naive") == made and asked == [1, 0]
    old = made["rows"][0] | {"code": "older"}
    file.write_text(json.dumps({**made, "rows": [old]}))
    with pytest.raises(SystemExit, match="nothing is stored"):
        fill("naive")
    assert asked == [1, 0, 1]
    runner.run(bench.cells(CASE, "npi", 2), runner.serial)
    both = fill("npi", report=True)
    assert (both["fresh"], len(both["rows"])) == (1, 2) and stale_of_bench(both)
    assert "1 of 2 rows are of the code that this was last filled with" in bench_tables.setting(
        both
    )


def stale_of_bench(values: dict[str, Any]) -> bool:
    return values["code"] != fingerprint(cell.config for cell in bench.all_cells(2))


def test_more_images_add_to_what_is_stored() -> None:
    few, more = ([cell.config for cell in bench.all_cells(n)] for n in (8, 16))
    assert len(more) == 2 * len(few) and all(config in more for config in few)


def test_the_costly_methods_get_one_image_in_eight() -> None:
    for method in METHODS:
        most = sum(cell.options["count"] for cell in bench.cells(CASE, method, 16))
        assert most == (2 if method in bench.COSTLY else 16)


def test_an_exception_is_a_result_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    true, image = problem(1.0)
    monkeypatch.setattr(bench, "sampled", lambda *a: (true, image, 0.5))
    runner.run(bench.cells(CASE, "npi", 2), runner.serial, tmp_path)
    ((found,),) = bench.rows(2, tmp_path).values()
    assert found["note"] == "without guidance there is no empty prompt to replace"
    assert found["images"] == 0 and found["image_db"] is None and found["nfe"] is None
    page = bench_tables.table(toy(found), CASE)
    assert f"* NPI †: {found['note']}." in page and "not available" in page


def test_results_depend_on_the_code_of_their_method_and_of_no_other() -> None:
    def names(place: str) -> set[str]:
        module, name = place.split(":")
        units = present().from_function(f"{PACKAGE.name}.{module}", name)
        return {getattr(unit.node, "name", "") for unit in units}

    work = f"{bench.__name__.removeprefix('invlib.')}:attempt"
    methods = {"fpi", "gnri", "null_text", "naive", "newton", "algorithm2", "exact"}
    assert {"sample", "certify"} <= names(work)
    assert not methods & names(work)
    for name in methods - {"exact"} | {OURS}:
        (cell, *_) = bench.cells(CASE, name, 1)
        own = "exact" if name == OURS else name
        assert {own} <= methods & names(cell.uses["method"]) <= {own, "naive"}  # many begin there


def test_the_json_holds_numbers_only() -> None:
    nan = torch.tensor([math.nan, 1e-3], dtype=torch.float64)
    values = {k: nan for k in ("noise", "image")} | {"nfe": torch.tensor([10.0, 12.0])}
    flags = {"exact": torch.tensor([False, False]), "failed": torch.tensor([True, False])}
    times = {"seconds": torch.ones(2), "ratio": torch.tensor([3.0, 4.0])}
    found = bench.summary(CASE, "fpi", [{**values, **flags, **times}])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["nfe"] == 11 and found["nfe_worst"] == 12 and found["ratio"] == 3.5


# What the rows say


def test_the_front_is_what_nothing_beats() -> None:
    best = bench_tables.front(FIELD["rows"], "image_db")
    assert [r["method"] for r in best] == ["naive", "aidi_a", OURS]
    assert bench_tables.winners(FIELD["rows"], "image_db") == []
    assert bench_tables.winners(FIELD["rows"][:-1], "image_db") is None


def test_round_off_is_no_merit() -> None:
    """Two exact methods differ in cost only."""
    cheap, ours = row("fpi", 100, -101.0, exact=1.0), row(OURS, 300, -140.0, exact=1.0)
    assert bench_tables.beats(cheap, ours, "image_db")
    assert not bench_tables.beats(ours, cheap, "image_db")
    assert not bench_tables.beats(replace_cost(cheap, 300), ours, "image_db")


def replace_cost(found: dict[str, Any], nfe: float) -> dict[str, Any]:
    return {**found, "nfe": nfe}


@pytest.mark.parametrize(
    ("ours", "other", "words"),
    [
        (row(OURS, 300, -130.0, exact=1.0), row("fpi", 99, -110.0, exact=1.0), "for less: FPI †"),
        (
            row(OURS, 300, -30.0),
            row("fpi", 99, -50.0),
            "half of the images or more (image at -30 dB",
        ),
        (
            row(OURS, 300, -130.0, exact=1.0, noise_db=5.0),
            row("fpi", 99, -50.0, noise_db=-9.0),
            "another noise makes the same picture (noise at 5 dB, 300 evaluations, 100% exact)",
        ),
        (  # exact to what the sampler repeats, which is less than -100 dB
            row(OURS, 300, -95.0, exact=1.0, noise_db=5.7),
            row("fpi", 99, -10.0, noise_db=5.1),
            "another noise makes the same picture (noise at 6 dB, 300 evaluations, 100% exact)",
        ),
        (
            row(OURS, 300, -95.0, exact=1.0, noise_db=-90.0),
            row("fpi", 99, -97.0, exact=1.0, noise_db=-80.0),
            "exact, as far as the sampler repeats itself (image at -95 dB",
        ),
    ],
)
def test_the_page_says_where_ours_is_beaten_and_why(
    ours: dict[str, Any], other: dict[str, Any], words: str
) -> None:
    text = bench_tables.sentences(toy(ours, other))
    assert words in text and "FPI †" in text and "99 evaluations" in text
    assert ("unsolved" in text) == (ours["exact"] == 0)
    assert "in 0 of 1 cells" in text


def test_where_ours_is_not_beaten_the_page_says_that_and_among_what() -> None:
    """A method that nobody measured silences no cell, and is named."""
    text = bench_tables.sentences(FIELD)
    assert text.count(f"in 1 of 1 cells ({len(CASES) - 1} not measured).") == 2
    assert "\n* " not in text
    assert "Cells that lack one: " in text and "Algorithm 1, tuned †: 1" in text
    assert "FPI" not in text  # it was measured
    more = [row(name, 1e5, 0.0) for name in bench_tables.lacking(CASE, FIELD["rows"])]
    assert "lack" not in bench_tables.sentences(toy(*FIELD["rows"], *more))
    assert "in 0 of 0 cells" in bench_tables.sentences(toy(*FIELD["rows"][:-1]))


def test_methods_of_few_images_are_said_to_be_that() -> None:
    rows = [row("fpi", 9, -20.0, images=8), row("algorithm2", 99, -40.0, images=1)]
    for text in (bench_tables.markdown(toy(*rows)), bench_tables.setting(toy(*rows))):
        assert text.startswith("8 images a cell, but 1 image for 1 costly method (Algorithm 2 †)")
    rows.append(row("newton", 99, -40.0, images=1))
    assert "1 image for 2 costly methods (Newton per step; " in bench_tables.markdown(toy(*rows))
    assert "costly" not in bench_tables.markdown(toy(rows[0])).partition("\n")[0]


def test_the_page_says_which_goals_are_missed() -> None:
    """2M-10 at guidance 3: at most 200 evaluations, at least 97 % exact."""
    at = {"nfe_worst": 900, "code": stamp(bench.cells(CASE, OURS, 2))}
    old, once = {**at, "code": "a"}, {k: v for k, v in at.items() if k != "code"}
    rows = {
        "100% | 97% | 200 | 900 | 200 | met": row(OURS, 200, -130.0, exact=1.0, **at),
        "97% | 97% | 201 | 900 | 200 | **missed**": row(OURS, 201, -130.0, exact=0.97, **at),
        "88% | 97% | 20 | 900 | 200 | **missed**": row(OURS, 20, -130.0, exact=0.875, **at),
        "| 97% | | | 200 | not measured (of earlier code)": row(OURS, 20, -130.0, exact=1.0, **old),
        "| | 97% | | | 200 | not measured (of earlier code)": row(OURS, 20, -130.0, **once),
        "| 97% | | | 200 | not measured": row("naive", 20, -130.0, **at),
    }
    for said, ours in rows.items():
        counts = "not measured" not in said
        page = goals.markdown(toy(row("fpi", 9, -20.0, code="a"), ours))
        (line,) = (cells_of(x) for x in page.splitlines() if x.startswith("| 2M-10, CFG 3"))
        assert line.endswith(f"{said} |")
        assert page.startswith(f"Met in {said.endswith(' met'):d} of the {counts:d} cells")
        assert page.count("not measured") == len(CASES) - counts
    assert goals.evaluations(Case("stars", "2M-10 logSNR", 1.0)) == 300
    assert goals.evaluations(Case("latent", "2M-20", 3.0)) is None


def cells_of(page: str) -> str:
    """A page without the spaces that fill its columns."""
    return " ".join(page.split())


def test_what_nobody_measured_is_called_so() -> None:
    assert bench_tables.table(toy(), CASE).endswith("not measured.")
    short = cells_of(bench_tables.markdown(FIELD))
    assert short.count("not measured") == 2 * (len(CASES) - 1)
    assert "| 2M-10, CFG 3 | -130 dB | 100% | 300 | AIDI_A † | -60 dB | 0% | 60 |" in short
    long = cells_of(bench_tables.table(FIELD, CASE))
    assert "| Newton per step | not finite | not finite | not finite |" in long
    assert "| SPDInv † | not measured |" in long
    assert "in 1 of" in bench_tables.setting(FIELD)


@pytest.mark.usefixtures("styled")
def test_labels_on_the_figure_hide_nothing() -> None:
    figure = bench_drawing.draw(FIELD, "latent", "2M-10")
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    axis = figure.axes[1]
    texts = [t for t in axis.texts if t.get_text() != "round-off"]
    assert {t.get_text() for t in texts} == {"naive", "AIDI_A", "ours"}
    boxes = [t.get_window_extent(renderer) for t in texts]
    marks = [
        axis.transData.transform(line.get_xydata()[0])
        for line in axis.lines
        if line.get_marker() != "None" and len(line.get_xydata()) == 1
    ]
    assert len(marks) == sum(r["nfe"] is not None for r in FIELD["rows"])
    room = 3 * figure.dpi / 72  # of a marker
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert not any(box.padded(room).contains(*mark) for mark in marks)
    assert [a.texts[-1].get_text() for a in (figure.axes[0], figure.axes[2])] == [
        "not measured"
    ] * 2
    plt.close(figure)


@pytest.mark.usefixtures("styled")
def test_the_pixel_model_has_one_panel() -> None:
    figure = bench_drawing.draw(FIELD, "pixel", "2M-20")
    assert len(figure.axes) == 1
    plt.close(figure)


# The stored results


def test_the_page_shows_the_stored_results() -> None:
    values = json.loads((ROOT / "results" / "bench.json").read_text())
    notebook = nbformat.read(ROOT / "book" / "reference" / "bench.ipynb", as_version=4)
    shown = [
        output["data"]["text/markdown"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    images = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    images = [o for o in images if "image/png" in o.get("data", {})]
    assert len(images) == len(bench_tables.samplers())
    wanted = [bench_tables.setting(values), bench_tables.sentences(values)]
    wanted += [goals.markdown(values)]
    wanted += [bench_tables.tables(values, *at) for at in bench_tables.samplers()]
    assert shown == wanted, "run python -m invlib.reproduce.bench --show"


def test_stored_rows_have_the_schema() -> None:
    values = json.loads((ROOT / "results" / "bench.json").read_text())
    now = {*row("naive", 1, 1.0), "code"}
    assert values["fresh"] == sum(set(found) == now for found in values["rows"])
    for found in values["rows"]:
        old = "bench" in earlier(ROOT) and "code" not in found
        assert set(found) == now - {"nfe_worst", "ratio", "code"} if old else set(found) == now
        assert found["sampler"] in ALL[found["model"]] and found["method"] in METHODS
        assert 0 <= found["images"] <= values["images"]
        assert found["images"] or found["note"]
