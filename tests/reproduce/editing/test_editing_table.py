"""The editing table: what its errors measure, and the scenes that it edits."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest
import torch
from made_up_edits import result

from invlib.autoencoder import Autoencoder, to_bytes
from invlib.editing import edit, mixed
from invlib.metrics import nmse
from invlib.portraits import caption, held_out, load, portraits_denoiser
from invlib.portraits.quality import noise_for
from invlib.reproduce.editing import table as editing_table
from invlib.reproduce.editing.cells import (
    GROUPS,
    NEW_FROM,
    PORTRAITS,
    ROWS,
    SCALES,
    edits,
    looked_at,
)
from invlib.reproduce.editing.errors import errors, interval, overlap, unedited
from invlib.reproduce.editing.scenes import BLOCK, Scenes, drawn, fitted, recolored
from invlib.reproduce.editing.scenes import scenes as scenes_of
from invlib.reproduce.editing.table import KINDS, summary
from invlib.reproduce.models.problem import Problem
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.solvers import ddim


def test_the_errors_of_a_perfect_edit_are_zero() -> None:
    values = result()
    values["oracle/given"] = values["targets"].clone()
    found = errors(values, "oracle")
    assert all((error == 0).all() and error.shape == (2, 2) for error in found.values())


@pytest.mark.parametrize(
    ("rows", "changed"),
    [
        (slice(0, 6), {"edit", "oracle"}),  # where the renderer changes something
        (slice(6, 8), {"oracle"}),  # the rest of the latents that may change
        (slice(8, 16), {"background", "oracle"}),  # what should be kept
    ],
)
def test_each_error_sees_its_own_part_of_the_picture(rows: slice, changed: set[str]) -> None:
    values = result()
    values["oracle/given"] = values["targets"]
    values["naive/given"] = values["targets"].clone()
    values["naive/given"][1, 0, :, rows] += 20
    for name, error in errors(values, "naive").items():
        assert (error[1, 0] > 0) == (name in changed)
        error[1, 0] = 0
        assert (error == 0).all()


def test_a_mask_from_attention_is_judged_on_the_renderers_background() -> None:
    """An edit that leaks out of the person counts, whatever mask allowed it."""
    values = result()
    values["ours/attention"] = values["targets"][:, :1].clone()
    assert (errors(values, "ours", "attention")["background"] == 0).all()
    values["ours/attention"][:, :, :, 12:] += 9
    values["ours/attention_mask"] = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    assert (errors(values, "ours", "attention")["background"] > 0).all()


def test_an_unedited_picture_has_the_error_of_the_edit_that_is_missing() -> None:
    values = result()
    found = unedited(values)
    assert (found["region"] == 0).all()  # the picture is its own fit here
    values["oracle/given"] = values["picture"][:, None].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(errors(values, "oracle")["edit"], found["edit"])


def test_the_overlap_of_masks() -> None:
    values = result()  # two of four rows each, one in common
    torch.testing.assert_close(overlap(values, "ours"), torch.full((2,), 1 / 3))
    values["ours/attention_mask"] = values["masks"][:, :1]
    assert (overlap(values, "ours") == 1).all()


def test_the_interval_draws_portraits_and_not_edits() -> None:
    same = torch.arange(6.0)[:, None].expand(6, 2)  # the edits of a portrait agree
    low, high = interval(same)
    assert low < 2.5 < high
    assert (low, high) == interval(same[:, :1]) == interval(same)
    assert interval(torch.stack([same[:, 0], 5 - same[:, 0]], 1)) == (2.5, 2.5)


def test_the_summary_is_json_with_one_row_for_each_kind_and_method() -> None:
    values = summary({7.5: result(), 3.0: result(seed=1)}, "tiny")
    assert json.loads(json.dumps(values)) == values
    per_scale = len(ROWS) + 2 * (len(ROWS) - len(GROUPS["true"]))
    assert len(values["rows"]) == 2 * per_scale
    for row in values["rows"]:
        low, high = row["background_e3_ci95"]
        assert low <= row["background_e3_mean"] <= high
        assert (row["mask"], row["blend"]) in KINDS.values()
    everywhere = [r for r in values["rows"] if r["blend"] == "all states"]
    assert {r["background_e3_mean"] for r in everywhere} == {0}


def test_cells_are_distinct_and_can_be_sent_to_a_worker() -> None:
    cells = editing_table.cells("tiny")
    assert len({json.dumps(c.config, sort_keys=True) for c in cells}) == len(cells)
    assert pickle.loads(pickle.dumps(cells)) == cells
    ours = [c.options for c in cells if c.options["group"] == "ours"]
    assert len(ours) == len(SCALES) * PORTRAITS // BLOCK


def test_what_is_not_computed_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not stored"):
        editing_table.load("tiny", tmp_path)


# ---- scenes ------------------------------------------------------------------------------------


def test_a_rendered_portrait_is_fitted_by_itself() -> None:
    (person,) = held_out(1)
    truth = dataclasses.replace(person, terrain=5, skin="tan", eyes="happy", seed=3)
    picture = drawn([truth], 64)[0]
    start = dataclasses.replace(truth, terrain=2, skin="light", seed=11)
    found = fitted(picture, start, seeds=4)
    assert (found.terrain, found.skin) == (truth.terrain, truth.skin)
    assert caption(found) == caption(truth)
    before, after = (nmse(drawn([p], 64), picture[None].double()) for p in (start, found))
    assert after < before / 10


@pytest.mark.parametrize("attribute", ["hair_color", "garment_color"])
def test_an_edit_changes_one_colour(attribute: str) -> None:
    for person in held_out(8):
        others = recolored(person, attribute)
        colors = {getattr(p, attribute) for p in (person, *others)}
        assert len(colors) == len(others) + 1 == 3
        back = {dataclasses.replace(p, **{attribute: getattr(person, attribute)}) for p in others}
        assert back == {person}


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Two portraits drawn in few steps."""
    people, pipe = held_out(2), load("portraits")
    prompts = tuple(caption(p) for p in people)
    solver = ddim(Schedule.scaled_linear().grid(NEW_FROM + 2))
    problem = Problem(pipe, solver, portraits_denoiser(pipe, prompts, 2.0), noise_for(2), prompts)
    run = sample(problem.denoiser, problem.noise, solver)
    autoencoder = Autoencoder.of(pipe.vae)
    names = ("hair_color", "garment_color")
    edited = tuple(recolored(p, name) for p, name in zip(people, names, strict=True))
    with torch.no_grad():
        picture = to_bytes(autoencoder.decode(run.image))
    return Scenes(problem, 2.0, run, autoencoder, picture, tuple(people), names, edited)


def test_edits_of_a_batch_are_those_of_each_alone(scenes: Scenes) -> None:
    together = edits(scenes, scenes.run, scenes.masks, {4})
    assert together.shape == (2, 2, *scenes.picture.shape[1:])
    problem, (b, v) = scenes.problem, (1, 0)
    old, new = (
        portraits_denoiser(problem.pipe, [prompt], 2.0)
        for prompt in (problem.prompts[b], caption(scenes.edited[b][v]))
    )
    network = mixed(old, new, problem.solver, start=NEW_FROM, stop=problem.solver.steps)
    original = sample(old, problem.noise[b : b + 1], problem.solver)
    mask = scenes.masks[b : b + 1, v : v + 1]
    alone = edit(network, original, problem.solver, mask, nodes={4})
    with torch.no_grad():
        shown = to_bytes(scenes.autoencoder.decode(alone.image))[0]
    assert (shown.int() - together[b, v].int()).abs().max() <= 1
    assert (shown.int() - together[b, 1].int()).abs().max() > 20


def test_masks_lie_on_what_is_edited(scenes: Scenes) -> None:
    hair, garment = scenes.masks[:, 0].flatten(1).argmax(1) // scenes.masks.shape[-1]
    assert hair < garment  # first row of latents
    assert all(w in p for w, p in zip(scenes.words, scenes.problem.prompts, strict=True))
    seen = looked_at(scenes, scenes.run)
    assert seen.shape == (2, 1, 16, 16)
    assert 0 < seen.mean() < 1


def test_models_without_a_renderer_are_refused() -> None:
    with pytest.raises(ValueError, match="renderer"):
        scenes_of(0, 3.0, "paper")
