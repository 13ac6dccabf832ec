"""The embedded data and models: reproducible, verified, honest about what they know."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chapters import ROOT

import invlib
from invlib import ddim, decibel, from_scheduler, nmse, sample
from invlib.editing import counterfactuals
from invlib.pipelines import UNet, encode_prompts
from invlib.portraits import (
    caption,
    difference_mask,
    held_out,
    load,
    portraits_denoiser,
    random_portrait,
    render,
    words,
)
from invlib.portraits.dataset import TRAIN_SEED, portraits
from invlib.portraits.load import MODELS, verify
from invlib.portraits.quality import noise_for
from invlib.portraits.render import HELD_OUT_PAIRS, drawn
from invlib.portraits.shipped import FOLDER, shipped
from invlib.schedule import Schedule


@pytest.fixture(scope="module")
def pipe() -> object:
    return load("portraits")


def test_the_same_portrait_gives_the_same_pixels() -> None:
    person = random_portrait(random.Random(7))
    first, second = render(person), render(person)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert (first == second).all()


def test_a_counterfactual_changes_its_region_only() -> None:
    person = dataclasses.replace(random_portrait(random.Random(3)), garment_color="red")
    edited = dataclasses.replace(person, garment_color="blue")
    mask = difference_mask(person, edited)
    assert 0.01 < mask.mean() < 0.4
    assert not mask[:32].any()  # the garment is in the lower half
    difference = np.abs(render(person).astype(int) - render(edited).astype(int)).max(-1)
    assert (difference[~mask] <= 2).all()


def test_the_pictures_that_come_along_are_those_of_chapter_13_as_drawn() -> None:
    """After a change of the drawing: ``ship(person, drawn(person))`` for each of them."""
    first, second = held_out(2)
    changes = (
        dataclasses.replace(first, hair_color="blue"),
        dataclasses.replace(second, garment_color="blue"),
    )
    pair = counterfactuals([caption(first), caption(second)], [caption(p) for p in changes])
    people = (first, changes[0], *pair.portraits, *pair.edited)
    for person in people:
        assert (shipped(person, 64) == drawn(person)).all()
    assert len([*FOLDER.iterdir()]) == len(people)


def test_other_pictures_need_what_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dicebear", None)
    person = random_portrait(random.Random(7))
    assert shipped(person, 64) is None
    with pytest.raises(ModuleNotFoundError, match="with its extra `train`"):
        drawn(dataclasses.replace(person, terrain=person.terrain + 1))


def test_training_never_shows_the_held_out_pairs() -> None:
    pairs = {(p.hair_color, p.garment_color) for p in portraits(3000, TRAIN_SEED)}
    assert not pairs & set(HELD_OUT_PAIRS)
    assert random_portrait(random.Random(0), held_out=True).hair_color in {
        hair for hair, _ in HELD_OUT_PAIRS
    }
    shown = set(portraits(3000, TRAIN_SEED))
    assert not shown & set(held_out(200))


def test_every_caption_is_made_of_known_words(pipe: object) -> None:
    vocabulary = words()
    for person in held_out(50):
        text = caption(person).replace(",", " ,").replace("-", " - ")
        assert set(text.split()) <= vocabulary
        ids = pipe.tokenizer(caption(person)).input_ids
        assert len(ids) == len(text.split()) + 2  # one token a word, a start and an end


def test_an_unknown_word_is_refused_by_name(pipe: object) -> None:
    with pytest.raises(ValueError, match="'zebra'"):
        portraits_denoiser(pipe, ["a smiling zebra"], 3.0)


def test_a_prompt_that_is_too_long_is_refused(pipe: object) -> None:
    with pytest.raises(ValueError, match="tokens"):
        encode_prompts(pipe, ["a person with blond hair " * 10])


def test_load_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match="portraits-pixel"):
        load("stable-diffusion")


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_damaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from invlib.portraits import load as load_function  # the function hides its module

    module = __import__(load_function.__module__, fromlist=["WEIGHTS"])
    shutil.copytree(module.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    module.verify.cache_clear()
    file = tmp_path / "weights" / "portraits-pixel" / "unet" / "config.json"
    if damage == "change":
        file.write_text(file.read_text() + " ")
    else:
        file.unlink()
    with pytest.raises((OSError, FileNotFoundError), match=r"config\.json"):
        load("portraits-pixel")
    module.verify.cache_clear()


def test_our_sampler_equals_the_stock_pipeline(pipe: object) -> None:
    """The table read from the pipeline's scheduler gives the latent that the pipeline gives."""
    prompts = [caption(p) for p in held_out(2)]
    noise = noise_for(2)
    with torch.no_grad():
        stock = pipe(
            prompts,
            latents=noise.float(),
            num_inference_steps=5,
            guidance_scale=3.0,
            output_type="latent",
        ).images
        solver = from_scheduler(pipe.scheduler, 5)
        ours = sample(portraits_denoiser(pipe, prompts, 3.0), noise, solver).image
    assert (decibel(nmse(ours, stock.double())) < -90).all()


def test_exact_inversion_of_the_embedded_models(pipe: object) -> None:
    noise = noise_for(2)
    denoiser = portraits_denoiser(pipe, [caption(p) for p in held_out(2)], 1.0)
    solver = ddim(Schedule.scaled_linear().grid(10))
    with torch.no_grad():
        image = sample(denoiser, noise, solver).image
        found = invlib.invert(denoiser, image, solver)
        again = sample(denoiser, found.noise, solver).image
    assert found.converged.all()
    assert (decibel(nmse(again, image)) < -100).all()


def test_the_network_keeps_its_dtype_and_the_state_is_float64(pipe: object) -> None:
    network = UNet(pipe.unet, "epsilon")
    assert network.dtype == torch.float32
    solver = ddim(Schedule.scaled_linear().grid(2))
    with torch.no_grad():
        result = sample(portraits_denoiser(pipe, ["a smiling person"], 1.0), noise_for(1), solver)
    assert result.image.dtype == torch.float64


def test_stored_results_belong_to_the_shipped_weights() -> None:
    """results/models.json was measured on the weights in the package."""
    measured = json.loads((ROOT / "results" / "models.json").read_text())["weights"]
    assert measured == {name: verify(name) for name in MODELS}
