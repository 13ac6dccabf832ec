"""The table of all pipeline classes: complete, honest, and the same when some are run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest

from invlib.rehearsal.pipelines import GOOD, ROUNDS, classes, examine
from invlib.rehearsal.zoo import catalogue

VALUES = json.loads((Path(__file__).parents[1] / "results/pipelines.json").read_text())
SLOW = """
StableAudioPipeline AnimateDiffPipeline StableDiffusionSAGPipeline FluxControlNetPipeline
StableDiffusion3ControlNetPipeline StableDiffusionControlNetPipeline
StableDiffusionXLControlNetPipeline AudioLDM2Pipeline
""".split()  # run again by `make rehearsal`
ROWS: dict[str, dict[str, Any]] = VALUES["rows"]
EXACT = -80.0  # decibel: what rounds to float32 counts as exact below, if it does not repeat itself
INVERTED = """
StableDiffusionPipeline StableDiffusionXLPipeline StableDiffusion3Pipeline FluxPipeline
Flux2KleinPipeline ChromaPipeline QwenImagePipeline AuraFlowPipeline Lumina2Pipeline SanaPipeline
PixArtAlphaPipeline PixArtSigmaPipeline HunyuanDiTPipeline KolorsPipeline CogView4Pipeline
ZImagePipeline KandinskyV22Pipeline StableDiffusionControlNetPipeline
StableDiffusionXLControlNetPipeline StableDiffusion3ControlNetPipeline FluxControlNetPipeline
StableDiffusionAdapterPipeline StableDiffusionPAGPipeline StableDiffusionXLPAGPipeline
LatentConsistencyModelPipeline StableDiffusionGLIGENPipeline StableDiffusionSAGPipeline WanPipeline
LTXPipeline CogVideoXPipeline HunyuanVideoPipeline MochiPipeline AnimateDiffPipeline
StableAudioPipeline AudioLDM2Pipeline DiTPipeline DDPMPipeline DDIMPipeline
""".split()


def good(row: dict[str, Any]) -> bool:
    """Whether the stock call gives the latents back, as exactly as the network rounds."""
    return bool(row["image_db"] < (EXACT if row["sentence"] == ROUNDS else GOOD))


def test_every_exported_class_is_listed() -> None:
    assert VALUES["diffusers"] == diffusers.__version__
    assert {row["class"] for row in ROWS.values()} >= set(classes())


def test_every_row_says_what_became_of_the_class() -> None:
    for key, row in ROWS.items():
        assert row["outcome"] in ("inverted", "not exact", "refused", "not built here"), key
        assert row["outcome"] == "inverted" or row["sentence"], key
        if row["outcome"] == "inverted":
            assert good(row) and row["evaluations"] > 0, key


def test_all_classes_that_matter_most_are_inverted() -> None:
    inverted = {row["class"] for row in ROWS.values() if row["outcome"] == "inverted"}
    assert set(INVERTED) <= inverted


def test_what_changes_the_latents_is_refused_with_the_step_and_the_size() -> None:
    sentence = ROWS["StableDiffusionAttendAndExcitePipeline"]["sentence"]
    assert "between step 1 and step 2" in sentence and "e-" in sentence


def inverted_again(name: str) -> None:
    """Build a pipeline again and invert it, as the table says."""
    recipes, _ = catalogue()
    stored = ROWS[name]
    row = examine(recipes[name])
    assert row["outcome"] == "inverted" and good(row)
    assert row["evaluations"] <= 2 * stored["evaluations"]
    assert row["evaluated"] == stored["evaluated"] and row["noise_by"] == stored["noise_by"]


@pytest.mark.parametrize("name", [name for name in INVERTED if name not in SLOW])
def test_a_small_build_is_inverted_again(name: str) -> None:
    inverted_again(name)
