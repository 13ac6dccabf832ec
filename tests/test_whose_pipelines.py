"""Whose key, in the noise of pipelines and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_pipelines as tiny
import torch
from click.testing import Result
from typer.testing import CliRunner

from invlib import watermark
from invlib.cli import app
from invlib.watermark import TreeRing, crop, jpeg
from invlib.watermark.passages import screenshot, uncrop
from invlib.watermark.scene import scene

SETTING = ["--prompt", "sad", "--guidance-scale", "1", "--steps", "3"]
SETTING += ["--scheduler", "DDIMScheduler"]
KEYS = {name: {"kind": "random", "seed": i, "radius": 6} for i, name in enumerate(("Ann", "Ben"))}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["watermark", *map(str, arguments)])


def test_a_key_stands_in_the_packed_noise_of_flux_as_its_decoder_unpacks_it() -> None:
    pipe = tiny.build(tiny.flux)
    call = {"prompt": "red cat", "num_inference_steps": 2, "max_sequence_length": 16}
    call |= {"height": 32, "width": 32}
    key = TreeRing.random((16, 16), seed=1, radius=4, channel=2)
    noise = watermark.embed(pipe, key, **call)
    unpacked = pipe._unpack_latents(noise, 32, 32, pipe.vae_scale_factor)
    assert noise.ndim == 3
    assert key.residual(unpacked).abs().max() < 1e-6
    with scene(pipe, None, call) as read:
        planes = read.planes
        assert torch.equal(planes.to_noise(planes.of_noise(noise)).to(noise), noise)


def test_a_crop_is_put_back_into_its_place() -> None:
    ramp = torch.arange(64).view(1, 1, 1, 64).expand(1, 3, 64, 64) * 4
    picture = ramp.to(torch.uint8)
    back = uncrop(crop(picture, side=0.75), side=0.75)
    inner = (..., slice(10, 54), slice(10, 54))
    assert (back[inner].int() - picture[inner].int()).abs().max() <= 4
    assert screenshot(picture).shape == picture.shape
    assert (screenshot(picture).int() - jpeg(picture, quality=90).int()).abs().max() <= 16


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(json.dumps(KEYS))
    return path


def test_from_a_key_to_a_png_and_back_to_its_owner(keys: Path) -> None:
    picture, errors = keys.with_name("a.png"), keys.with_name("errors.safetensors")
    made = run("embed", *SETTING, "--keys", keys, "--owner", "Ben", "-o", picture)
    assert made.exit_code == 0, made.output
    arguments = ("identify", picture, *SETTING, "--keys", keys, "--errors", errors, "--json")
    arguments += ("--pictures", 4, "--passages", "none")
    first = run(*arguments)
    assert first.exit_code == 0, first.output
    assert errors.is_file()
    assert json.loads(first.stdout)["decision"] == "Ben"
    again = json.loads(run(*arguments).stdout)  # with the errors of the file
    assert again["probabilities"] == pytest.approx(json.loads(first.stdout)["probabilities"])


def test_messages_name_the_options_of_the_command_line(keys: Path) -> None:
    picture = keys.with_name("b.png")
    unknown = run("embed", *SETTING, "--keys", keys, "--owner", "Eve", "-o", picture)
    assert unknown.exit_code == 1
    assert "--owner 'Eve' has no key" in unknown.stderr
