"""``invlib identify`` and ``invlib seeds``, from a picture to their answers."""

from __future__ import annotations

import json
from pathlib import Path

from test_cli import DDIM, SETTING, refused, run


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
    assert "guidance 1, 3 steps, DDIMScheduler, with probability 1" in answer.stdout
    ended = run(*asked, "--evaluations", "1", "--json")
    assert ended.exit_code == 3 and json.loads(ended.stdout)["best"] is None


def test_prompts_and_vocabulary_are_two_things(tmp_path: Path) -> None:
    asked = ["identify", tmp_path / "a.png", "--vocabulary"]
    assert "give --prompt or --vocabulary" in refused(*asked, "--prompt", "x")
    assert "that of the model portraits" in refused(*asked, "--model", "portraits-pixel")
