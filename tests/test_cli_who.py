"""``invlib identify`` and ``invlib seeds``, from a picture to their answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import FluxPipeline
from test_cli import DDIM, SETTING, refused, run

from invlib.noisefile import load_noise, write_noise


def test_the_seed_and_the_call_of_a_picture_are_named(tmp_path: Path) -> None:
    picture, noise = tmp_path / "a.png", tmp_path / "a.safetensors"
    made = [*SETTING[:-1], "3", *DDIM, "-o", picture, "--noise", noise, "--seed", "7"]
    assert run("sample", *made).exit_code == 0
    found = run("seeds", noise, "--count", "50", "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["seed"] == [7]
    missed = run("seeds", noise, "--first", "8", "--count", "50")
    assert missed.exit_code == 3 and "No seed of the 50 seeds tried" in missed.stdout
    asked = ["identify", picture, *SETTING[:-1], "3", *DDIM]
    answer = run(*asked, "--guidance-scale", "7.5", "--finalists", "1")
    assert answer.exit_code == 0, answer.output
    assert "Nothing speaks against" in answer.stdout
    assert "guidance 1, 3 steps, DDIMScheduler, which was compared exactly with no" in answer.stdout
    ended = run(*asked, "--evaluations", "1", "--json")
    assert ended.exit_code == 3 and json.loads(ended.stdout)["best"] is None


def test_packed_noise_needs_the_shape_that_was_drawn(tmp_path: Path) -> None:
    picture, noise = tmp_path / "a.png", tmp_path / "a.safetensors"
    assert run("sample", *SETTING, "-o", picture, "--noise", noise).exit_code == 0
    drawn = torch.randn(2, 16, 8, 12, generator=torch.Generator().manual_seed(7))
    tokens = FluxPipeline._pack_latents(drawn, 2, 16, 8, 12)
    write_noise(noise, replace(load_noise(noise), latents=tokens[1:]))
    missed = run("seeds", noise, "--count", "20")
    assert missed.exit_code == 3 and "cannot be told" in missed.stdout
    assert "give --drawn CHANNELSxHEIGHTxWIDTH of it" in missed.stdout
    found = run("seeds", noise, "--count", "20", "--drawn", "16x8x12", "--batch", "2", "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["seed"] == [7]
    assert run("seeds", noise, "--drawn", "16x8").exit_code == 2
    assert "are no tokens of a draw" in refused("seeds", noise, "--drawn", "16x8x10")
    asked = ["seeds", noise, "--count", "20", "--threads", "2048"]
    assert "give --generator torch-cuda too" in refused(*asked)
    assert "give --generator torch-cuda too" in refused(*asked, "--generator", "torch-cpu")
    other = run(*asked, "--generator", "torch-cuda", "--drawn", "16x8x12")
    assert other.exit_code == 3 and "torch-cuda of 2048 threads" in other.stdout
    assert run("seeds", noise, "--generator", "torch-cuda", "--threads", "255").exit_code == 2


def test_prompts_and_vocabulary_are_two_things(tmp_path: Path) -> None:
    asked = ["identify", tmp_path / "a.png", "--vocabulary"]
    assert "give --prompt or --vocabulary" in refused(*asked, "--prompt", "x")
    assert "that of the model portraits" in refused(*asked, "--model", "portraits-pixel")
