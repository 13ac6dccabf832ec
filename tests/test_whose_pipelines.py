"""Whose key, in the noise of pipelines and on the command line."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from click.testing import Result
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from invlib import watermark
from invlib.cli import app
from invlib.cli.keys import made
from invlib.pipelines import Options
from invlib.watermark import (
    ErrorModel,
    GaussianShading,
    ShadingKey,
    TreeRing,
    crop,
    identify_picture,
    jpeg,
)
from invlib.watermark.passages import screenshot, uncrop
from invlib.watermark.ratios import Key
from invlib.watermark.same_call import _in_words, check_call, told
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


# --- several keys, and errors of this call


CALL = {"prompt": "a cat", "height": 16, "width": 16, "num_inference_steps": 2}
CALL |= {"guidance_scale": 1.0}
QUICK = {"decoder": "encoder"}
SIZE = (8, 8)
ONE, TWO = (TreeRing.random(SIZE, seed=j, radius=2) for j in (1, 2))
SHADING = ShadingKey(GaussianShading((4, *SIZE), 4, b"secret"), torch.tensor([1, 0, 1, 1]))


@pytest.fixture(scope="module")
def shop() -> Any:
    return tiny.build(lambda: tiny.stable_diffusion(DDIMScheduler(**tiny.SD, clip_sample=False)))


@pytest.fixture(scope="module")
def errors(shop: Any) -> ErrorModel:
    return watermark.measure_errors(shop, pictures=4, passages=("none",), options=QUICK, **CALL)


@pytest.fixture(scope="module")
def of_latents(shop: Any) -> ErrorModel:
    return watermark.measure_errors(shop, pictures=4, passages=("latents",), **CALL)


@pytest.fixture
def picture() -> Tensor:
    return torch.zeros(1, 3, 16, 16, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("first", "second"),
    [(ONE, TWO), (ONE, SHADING), (SHADING, replace(SHADING, payload=SHADING.payload.flip(0)))],
)
def test_keys_that_overwrite_each_other_are_refused(shop: Any, first: Key, second: Key) -> None:
    with pytest.raises(ValueError, match="key 1 is overwritten by key 2: give it another channel"):
        watermark.embed(shop, [first, second], **CALL)
    with pytest.raises(ValueError, match="Ann is overwritten by Ben"):
        watermark.embed(shop, {"Ann": first, "Ben": second}, **CALL)


def test_keys_that_leave_each_other_readable_are_written(shop: Any) -> None:
    apart = replace(TWO, channel=1)
    noise = watermark.embed(shop, {"Eve": SHADING, "Ann": ONE, "Ben": apart}, **CALL)
    assert max(key.residual(noise).abs().max() for key in (ONE, apart)) < 1e-6
    assert torch.equal(SHADING.code.recover(noise).bits[0], SHADING.payload.bool())


def test_clean_latents_are_measured_by_themselves(shop: Any, picture: Tensor) -> None:
    with pytest.raises(ValueError, match="never a picture"):
        watermark.measure_errors(shop, pictures=4, passages=("none", "latents"), **CALL)
    with pytest.raises(ValueError, match="errors of pictures: for clean latents, measure with"):
        watermark.identify(shop, picture, [ONE], latents=True, passages=("none",), **CALL)


def test_latents_and_pictures_are_not_mistaken_for_each_other(
    shop: Any, errors: ErrorModel, of_latents: ErrorModel, picture: Tensor
) -> None:
    latents = shop(**CALL, latents=watermark.embed(shop, ONE, **CALL), output_type="latent").images
    asked = {"errors": of_latents, "latents": True, **CALL}
    assert watermark.identify(shop, latents, [ONE, TWO], **asked).decision == ("key 1",)
    with pytest.raises(ValueError, match="errors of pictures: for clean latents"):
        watermark.identify(shop, latents, [ONE], errors=errors, latents=True, **CALL)
    with pytest.raises(ValueError, match="errors of clean latents: give latents"):
        watermark.identify(shop, picture, [ONE], errors=of_latents, **CALL)
    with pytest.raises(TypeError, match="clean latents are a tensor, not Image"):
        watermark.identify(shop, Image.new("RGB", (16, 16)), [ONE], **asked)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"guidance_scale": 3.0}, "guidance_scale 1 there, 3 here"),
        ({"num_inference_steps": 3}, "num_inference_steps 2 there, 3 here"),
        ({"options": {**QUICK, "method": "exact"}}, "method naive there, exact here"),
        ({"options": None}, "decoder encoder there, quasi_newton here"),
    ],
)
def test_errors_of_another_call_are_refused(
    shop: Any, errors: ErrorModel, picture: Tensor, change: dict[str, Any], named: str
) -> None:
    asked = {"options": QUICK, **CALL, **change}
    with pytest.raises(ValueError, match=f"those of another call .{named}"):
        watermark.identify(shop, picture, [ONE], errors=errors, **asked)


def test_errors_of_another_scheduler_are_refused(
    shop: Any, errors: ErrorModel, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = DDIMScheduler.from_config(shop.scheduler.config, beta_end=0.02)
    monkeypatch.setattr(shop, "scheduler", other)
    with pytest.raises(ValueError, match="scheduler's beta_end .* there, 0.02 here"):
        watermark.identify(shop, picture, [ONE], errors=errors, options=QUICK, **CALL)


def test_errors_serve_other_prompts_and_say_if_they_do_not_know_their_call(
    shop: Any, errors: ErrorModel, picture: Tensor
) -> None:
    asked = {**CALL, "prompt": "red", "options": QUICK}
    watermark.identify(shop, picture, [ONE], errors=errors, **asked)
    with pytest.warns(UserWarning, match="do not say which call"):
        watermark.identify(shop, picture, [ONE], errors=replace(errors, call={}), **asked)


def test_errors_of_other_weights_are_refused(
    shop: Any, errors: ErrorModel, picture: Tensor
) -> None:
    """A network that was trained further, or stands in another dtype, has other errors."""
    asked = {"options": QUICK, **CALL}
    tuned, narrow = copy.deepcopy(shop), copy.deepcopy(shop).to(torch.float32)
    with torch.no_grad():
        tuned.unet.conv_out.bias += 1e-3
    for other in (tuned, narrow):
        with pytest.raises(ValueError, match=r"another call .weights \w+ there, \w+ here."):
            watermark.identify(other, picture, [ONE], errors=errors, **asked)
    old = replace(errors, call={k: v for k, v in errors.call.items() if k != "weights"})
    with pytest.warns(UserWarning, match="do not say with which weights .*: measure them again"):
        watermark.identify(tuned, picture, [ONE], errors=old, **asked)


def test_probabilities_are_looked_at_before_anything_is_measured(
    shop: Any, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identify_picture, "measure_errors", lambda *_, **__: pytest.fail("late"))
    for wrong in ({"sure": math.nan}, {"sure": 1.0}, {"none": 0.0}):
        with pytest.raises(ValueError, match="must be a probability above 0 and below 1"):
            watermark.identify(shop, picture, [ONE], **wrong, **CALL)


def test_arrays_are_written_as_lists_are_and_long_ones_by_a_hash() -> None:
    steps = [999, 500, 1]
    for same in (np.array(steps), torch.tensor(steps), torch.tensor(steps).float()):
        assert _in_words(same) == _in_words(steps) == "[999, 500, 1]"
    assert _in_words(np.int64(3)) == _in_words(torch.tensor(3.0)) == "3"
    assert _in_words({"a": [np.array(steps)]}) == "{a: [[999, 500, 1]]}"
    long = torch.arange(130).reshape(2, 65)
    assert _in_words(long).startswith("[2, 65] int64 ")
    assert _in_words(long) == _in_words(long.numpy()) != _in_words(long + 1)
    assert _in_words(long.T) == _in_words(long.numpy().T) != _in_words(long)
    halves = torch.ones(65, dtype=torch.bfloat16)
    assert _in_words(halves) != _in_words(2 * halves)
    assert _in_words(object()) == "given"


def test_errors_of_other_timesteps_are_refused_in_arrays_too(shop: Any) -> None:
    def read(**call: Any) -> Any:
        stage = SimpleNamespace(pipe=shop, call=call)
        return SimpleNamespace(
            reading=SimpleNamespace(stage=stage), options=Options(method="naive")
        )

    known = told(read(timesteps=[999, 1]))
    check_call(read(timesteps=np.array([999, 1])), known)
    for other in (np.array([999, 2]), torch.tensor([999, 2])):
        with pytest.raises(ValueError, match=r"timesteps \[999, 1\] there, \[999, 2\] here"):
            check_call(read(timesteps=other), known)
    with pytest.raises(ValueError, match=r"timesteps given there, \[999, 1\] here"):
        check_call(read(timesteps=np.array([999, 1])), {**known, "timesteps": "given"})
    shown = told(read(timesteps=[999, 1], image=torch.zeros(3, 64, 64)))
    check_call(read(timesteps=[999, 1], image=torch.ones(3, 64, 64)), shown)


# --- on the command line, with the embedded model


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
    for other, sentence in (
        (("--passages", "JPEG 75"), "measured with --passages 'none'"),
        (("--pictures", 24), "measured with --pictures 4"),
        (("--guidance-scale", 3), "guidance_scale 1 there, 3 here"),
    ):
        refused = run(*arguments, *other)
        assert refused.exit_code == 1
        assert sentence in refused.stderr
    replace(ErrorModel.load(errors), call={}).save(errors)  # as in files of earlier versions
    again = json.loads(run(*arguments[:-4]).stdout)  # with the errors, and passages, of the file
    before = json.loads(first.stdout)
    assert again["probabilities"] == pytest.approx(before["probabilities"])
    assert (before["notes"], len(again["notes"])) == (["none"], 1)
    assert "do not say which call" in again["notes"][0]
    larger = keys.with_name("larger.png")
    Image.open(picture).resize((96, 80)).save(larger)
    at_once = json.loads(run("identify", larger, *arguments[2:-4], "--no-realign").stdout)
    assert at_once["notes"][0].startswith("a picture of 80 x 96 pixels was stretched")


def test_the_command_looks_at_one_picture_at_a_time(keys: Path) -> None:
    call, picture = keys.with_name("call.json"), keys.with_name("two.png")
    call.write_text(json.dumps({"prompt": ["sad", "sad"]}))
    Image.new("RGB", (128, 128)).save(picture)
    refused = run("identify", picture, "--keys", keys, "--call", call, "--steps", "2")
    assert refused.exit_code == 1
    assert "the call makes 2 pictures; identify looks at one at a time" in refused.stderr


@pytest.mark.parametrize("name", ["none", "cannot tell"])
def test_the_file_of_keys_gives_no_key_the_name_of_another_answer(keys: Path, name: str) -> None:
    wrong = keys.with_name("wrong.json")
    wrong.write_text(json.dumps({name: KEYS["Ann"]}))
    picture = keys.with_name("c.png")
    refused = run("embed", "--keys", wrong, "--owner", name, *SETTING, "-o", picture)
    assert refused.exit_code == 1
    assert f"no key can be named '{name}'" in refused.stderr


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"kind": "random", "seed": 1.2}, "'seed' must be an integer, got 1.2"),
        ({"kind": "random", "seed": True}, "'seed' must be an integer, got True"),
        ({"kind": "random", "seed": 1, "channel": 0.5}, "'channel' must be an integer"),
        ({"kind": "rings", "values": [1.0], "channel": True}, "'channel' must be an integer"),
        ({"kind": "shading", "secret": None, "bits": 4}, "'secret' must be text"),
        ({"kind": "shading", "secret": "", "bits": 4}, "'secret' must be text"),
        ({"kind": "shading", "secret": "s", "bits": 4.7}, "'bits' must be an integer"),
        ({"kind": "shading", "secret": "s", "payload": 5}, "'payload' must be text"),
        ({"kind": "shading", "secret": "s", "payload": "a", "bits": 4}, "not both"),
        ({"kind": "shading", "secret": "s", "bits": 4, "channels": 1.5}, "'channels' must be"),
        ({"kind": "message", "secret": None, "bytes": 2, "parity": 2}, "'secret' must be text"),
        ({"kind": "message", "secret": "s", "bytes": 2.5, "parity": 2}, "'bytes' must be an"),
        ({"kind": "message", "secret": "s", "bytes": 2, "parity": "2"}, "'parity' must be an"),
    ],
)
def test_entries_of_keys_are_taken_as_they_are_or_refused(
    entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"the key 'Ann' of --keys: .*{message}"):
        made({"Ann": entries}, (4, *SIZE))


def test_errors_of_clean_latents_are_no_errors_of_files(keys: Path) -> None:
    noise = torch.randn(4, 4, 16, 16)
    errors, picture = keys.with_name("latents.safetensors"), keys.with_name("black.png")
    ErrorModel(noise, {"latents": noise + 1}).save(errors)
    Image.new("RGB", (128, 128)).save(picture)
    refused = run("identify", picture, "--keys", keys, "--errors", errors, *SETTING)
    assert refused.exit_code == 1
    assert "measured after 'latents', which is none of" in refused.stderr


def test_messages_name_the_options_of_the_command_line(keys: Path) -> None:
    picture = keys.with_name("b.png")
    unknown = run("embed", *SETTING, "--keys", keys, "--owner", "Eve", "-o", picture)
    assert unknown.exit_code == 1
    assert "--owner 'Eve' has no key" in unknown.stderr
