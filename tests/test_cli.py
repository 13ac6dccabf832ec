"""The command line from end to end, and what it says to bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import invlib
from invlib import autoencoder
from invlib.autoencoder import Autoencoder, Box, DecoderInversion
from invlib.autoencoder.inversion import judge
from invlib.cli import app
from invlib.cli.invert import Decoder, Method
from invlib.cli.model import folder_hash, open_model
from invlib.inverters import METHODS
from invlib.noisefile import load_noise, write_noise
from invlib.pipelines import regenerate
from invlib.portraits.load import WEIGHTS, verify

PROMPT = "a sad person with white undercut, black turtleneck, red canyon, pink sky"
SETTING = ["--prompt", PROMPT, "--guidance-scale", "1", "--steps", "4"]
DDIM = ["--scheduler", "DDIMScheduler"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments: object) -> str:
    """The one line that a refusal prints."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@dataclass(frozen=True)
class Made:
    """A picture that the command line made, and its noise."""

    picture: Path
    noise: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    made = Made(folder / "a.png", folder / "a.safetensors")
    result = run("sample", *SETTING, *DDIM, "-o", made.picture, "--noise", made.noise)
    assert result.exit_code == 0, result.output
    return made


def test_version_help_and_the_module() -> None:
    assert run("--version").stdout == f"invlib {invlib.__version__}\n"
    result = run("--help")
    assert result.exit_code == 0
    for name in ("sample", "invert", "regenerate", "certify", "models", "figures", "rehearse"):
        assert name in result.stdout
    command = [sys.executable, "-m", "invlib", "--version"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == f"invlib {invlib.__version__}\n"


def test_choices_are_those_of_the_library() -> None:
    assert [d.value for d in Decoder] == [*autoencoder.DECODERS]
    assert {m.value for m in Method} <= {*METHODS}


def test_models_are_listed() -> None:
    assert verify("portraits") in run("models").stdout
    values = json.loads(run("models", "--json").stdout)
    assert values["portraits-pixel"]["hash"] == verify("portraits-pixel")
    assert values["portraits"]["megabytes"] > 1
    assert "turtleneck" in run("models", "--words").stdout.split()


def test_the_stock_pipeline_makes_the_sample(made: Made) -> None:
    """What `sample` writes is what diffusers makes of the noise beside it."""
    from diffusers import DDIMScheduler

    pipe, noise = invlib.load("portraits"), load_noise(made.noise)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    call = {"guidance_scale": 1.0, "num_inference_steps": 4}
    picture = pipe(PROMPT, latents=noise.latents, **call).images[0]
    assert np.array_equal(np.array(picture), np.array(Image.open(made.picture)))
    assert run("certify", made.noise).exit_code == 0


def test_from_picture_to_noise_to_picture(made: Made, tmp_path: Path) -> None:
    file, picture = tmp_path / "n.safetensors", tmp_path / "b.png"
    options = [*SETTING, *DDIM, "--decoder", "encoder", "--json", "-o", file]
    result = run("invert", made.picture, *options)
    values = json.loads(result.stdout)
    assert result.exit_code == 3  # the encoder is no inverse of the decoder
    assert values["verdict"] == "exact for the latents, not for the picture"
    assert values["round_trip_db"] < -100
    assert 0.05 < values["values_reproduced"] < 1
    assert values["network_evaluations"] > 4
    assert "not certified exact" in result.stderr

    assert run("regenerate", file, "-o", picture).exit_code == 0
    share = np.mean(np.array(Image.open(picture)) == np.array(Image.open(made.picture)))
    assert share == pytest.approx(values["values_reproduced"])
    result = run("certify", file, "--picture", made.picture, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["values_reproduced"] == pytest.approx(share)

    noise = load_noise(file)
    assert noise.scheduler == "DDIMScheduler"
    assert noise.settings.prompt == (PROMPT,)
    assert noise.verdict == ("exact",)
    assert noise.round_trip_db[0] == pytest.approx(values["round_trip_db"])


def test_a_reproduced_picture_is_certified(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true latents the noise is exact, and the picture comes back bit for bit."""
    opened, noise = open_model("portraits"), load_noise(made.noise)
    from diffusers import DDIMScheduler

    opened.pipe.scheduler = DDIMScheduler.from_config(noise.scheduler_config)
    clean = regenerate(opened.pipe, noise.latents, noise.settings, output_type="latent").double()

    def oracle(model: Autoencoder, box: Box) -> DecoderInversion:
        return judge(model, box, clean, torch.ones(1, dtype=torch.long), ("explicit",), "oracle")

    monkeypatch.setitem(autoencoder.DECODERS, "encoder", oracle)
    file = tmp_path / "n.safetensors"
    result = run(
        "invert", made.picture, *SETTING, *DDIM, "--decoder", "encoder", "-o", file, "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["verdict"] == "exact"
    assert json.loads(result.stdout)["values_reproduced"] == 1
    error = invlib.nmse(load_noise(file).latents, noise.latents)
    assert invlib.decibel(error).item() < -80
    assert run("certify", file).exit_code == 0


def test_a_missing_prompt_is_assumed_empty_and_noted(made: Made, tmp_path: Path) -> None:
    options = ["--steps", 2, *DDIM, "--decoder", "encoder", "-o", tmp_path / "n.safetensors"]
    result = run("invert", made.picture, *options, "--method", "naive")
    assert result.exit_code == 3
    assert "no prompt given: the empty prompt was assumed" in result.stdout
    assert "not certified exact: approximate" in result.stderr or "failed" in result.stderr


def test_lossy_pictures_are_noted(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.open(made.picture).save(path)
    options = ["--steps", 2, *DDIM, "--decoder", "encoder", "-o", tmp_path / "n.safetensors"]
    assert "JPEG may be lossy" in run("invert", path, *options, "--method", "naive").stdout


def test_the_pixel_model(tmp_path: Path) -> None:
    picture, noise = tmp_path / "p.png", tmp_path / "p.safetensors"
    model = ["--model", "portraits-pixel", "--steps", 4]
    assert run("sample", *model, *DDIM, "-o", picture, "--noise", noise).exit_code == 0
    result = run("certify", noise, "--picture", picture, "--json")
    assert json.loads(result.stdout)["values_reproduced"] == 1
    assert "stochastic" in refused("sample", *model, "-o", tmp_path / "q.png")
    prompted = [*model, *DDIM, "--prompt", "a person", "-o", tmp_path / "q.png"]
    assert "unconditional" in refused("sample", *prompted)


def test_outputs_are_not_overwritten(made: Made, tmp_path: Path) -> None:
    message = "exists; add --force to replace it"
    assert message in refused("invert", made.picture, *SETTING, "-o", made.noise)
    assert message in refused("regenerate", made.noise, "-o", made.picture)
    assert message in refused("sample", *SETTING, "-o", made.picture)
    other = tmp_path / "b.png"
    assert message in refused("sample", *SETTING, "-o", other, "--noise", made.noise)
    assert not other.exists()
    shutil.copy(made.picture, other)
    assert run("regenerate", made.noise, "-o", other, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", "is a .png file"), ("missing/a.png", "no such folder"), ("a.png", "folder itself")],
)
def test_outputs_that_cannot_be_written(
    made: Made, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "a.png").mkdir()
    assert message in refused("regenerate", made.noise, "-o", tmp_path / name)


def picture_of(kind: str, folder: Path) -> Path:
    path = folder / "bad.png"
    rng = np.random.default_rng(0)
    if kind == "size":
        Image.fromarray(rng.integers(0, 255, (60, 64, 3), np.uint8)).save(path)
    elif kind == "grey":
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(path)
    elif kind == "rgba":
        Image.fromarray(rng.integers(0, 255, (64, 64, 4), np.uint8)).save(path)
    elif kind == "16 bit":
        Image.fromarray(rng.integers(0, 65535, (64, 64), np.uint16)).save(path)
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "cut":
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("size", "60 x 64"),
        ("grey", "has mode L, not RGB"),
        ("rgba", "has mode RGBA, not RGB"),
        ("16 bit", "has mode I;16, not RGB"),
        ("text", "no picture that can be read"),
        ("cut", "no picture that can be read"),
        ("missing", "there is no file"),
    ],
)
def test_bad_pictures_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    output = tmp_path / "n.safetensors"
    assert message in refused("invert", picture_of(kind, tmp_path), *SETTING, "-o", output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--guidance-scale", "0.5"], "got 0.5"),
        (["--guidance-scale", "nan"], "got nan"),
        (["--steps", "0"], "at least 1, got 0"),
        (["--scheduler", "DDPMScheduler"], "here: --scheduler DDIMScheduler"),
        (["--scheduler", "DDIMScheduller"], "did you mean DDIMScheduler"),
        (["--scheduler", "UNet2DModel"], "no scheduler"),
        (["--prompt", "a clown"], "does not know 'clown'"),
        (["--prompt", "a person", "--negative-prompt", "blurry"], "does not know 'blurry'"),
        (["--model", "stabilityai/stable-diffusion-2-1"], "must be downloaded first"),
        (["--model", "portraits-pixel"], "64 x 64"),
        (["--model", "."], "no model_index.json"),
        (["--device", "cuda:77"], "cannot use the device"),
        (["--device", "toaster"], "cannot use the device"),
    ],
)
def test_bad_options_are_refused(
    made: Made, tmp_path: Path, options: list[str], message: str
) -> None:
    output = tmp_path / "n.safetensors"
    assert message in refused("invert", made.picture, *options, "-o", output)
    assert not output.exists()


@pytest.mark.parametrize(
    "options",
    [["--method", "magic"], ["--decoder", "magic"], ["--dtype", "int8"], ["--steps", "few"], []],
)
def test_wrong_usage_has_its_own_exit_code(made: Made, tmp_path: Path, options: list[str]) -> None:
    output = ["-o", str(tmp_path / "n.safetensors")] if options else []
    assert run("invert", made.picture, *options, *output).exit_code == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portraits model as a folder."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    shutil.copytree(WEIGHTS / "portraits", folder)
    return folder


def test_a_folder_is_a_model(made: Made, folder: Path, tmp_path: Path) -> None:
    picture, noise = tmp_path / "a.png", tmp_path / "a.safetensors"
    options = [*SETTING, "--model", folder, "--noise", noise, "-o", picture]
    assert run("sample", *options, *DDIM).exit_code == 0
    assert picture.read_bytes() == made.picture.read_bytes()
    assert load_noise(noise).model_hash == folder_hash(folder)
    message = refused("regenerate", noise, "--model", "portraits", "-o", tmp_path / "b.png")
    assert folder_hash(folder) in message
    assert verify("portraits") in message


def test_a_changed_folder_is_another_model(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(folder, copy)
    assert folder_hash(copy) == folder_hash(folder)
    (copy / "README.md").write_text("a word about it")
    assert folder_hash(copy) == folder_hash(folder)
    weights = next((copy / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert folder_hash(copy) != folder_hash(folder)
    weights.write_bytes(weights.read_bytes()[:100])
    assert "diffusers cannot load" in refused("sample", "--model", copy, "-o", tmp_path / "a.png")


def test_a_scheduler_that_thresholds_is_refused(made: Made, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(folder, copy)
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"thresholding": false', '"thresholding": true'))
    options = [*SETTING, "--model", copy, "-o", tmp_path / "n.safetensors"]
    assert "thresholding=True is not affine" in refused("invert", made.picture, *options)


def test_bad_noise_files_are_refused(made: Made, tmp_path: Path) -> None:
    file, output = tmp_path / "n.safetensors", tmp_path / "b.png"
    assert "there is no file" in refused("regenerate", file, "-o", output)
    file.write_bytes(made.noise.read_bytes()[:-10])
    assert "damaged" in refused("regenerate", file, "-o", output)
    other = ["--model", "portraits-pixel", "-o", output]
    message = refused("regenerate", made.noise, *other)
    assert verify("portraits") in message
    assert verify("portraits-pixel") in message
    noise = load_noise(made.noise)
    write_noise(file, replace(noise, latents=torch.ones(1, 4, 8, 8)))
    assert "does not fit" in refused("regenerate", file, "-o", output)
    write_noise(file, replace(noise, scheduler="os"))
    assert "no scheduler 'os'" in refused("regenerate", file, "-o", output)
    write_noise(file, replace(noise, pictures=()))
    assert "give --picture" in refused("certify", file)
    assert not output.exists()


def test_several_noises_make_several_pictures(made: Made, tmp_path: Path) -> None:
    noise, file = load_noise(made.noise), tmp_path / "n.safetensors"
    two = replace(noise.settings, prompt=(PROMPT, "a person"))
    write_noise(file, replace(noise, latents=torch.cat([noise.latents] * 2), settings=two))
    assert run("regenerate", file, "-o", tmp_path / "b.png").exit_code == 0
    assert {f.name for f in tmp_path.iterdir()} == {"n.safetensors", "b-0.png", "b-1.png"}


def test_figures_are_those_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    from invlib.reproduce import __main__ as reproduce

    asked: list[Any] = []
    monkeypatch.setattr(reproduce, "main", lambda *a: asked.append(a))
    assert run("figures", "--only", "fig2", "--engine", "ray", "--address", "auto").exit_code == 0
    assert asked == [("tiny", ["fig2"], "ray", 2, "auto")]
    monkeypatch.undo()
    assert "unknown figure 'fig99'" in refused("figures", "--only", "fig99")


def test_a_rehearsal_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.json"
    result = run("rehearse", "--arch", "tiny", "--batch-size", 1, "--batch-size", 2, "-o", path)
    assert result.exit_code == 0, result.output
    assert "random weights" in result.stdout
    assert [r["batch"] for r in json.loads(path.read_text())["rows"]] == [1, 2]
    result = run("rehearse", "--arch", "tiny", "-o", path, "--json")
    assert json.loads(result.stdout)["rows"][0]["arch"] == "tiny"
    assert "unknown architecture" in refused("rehearse", "--arch", "sd9", "-o", path)
    assert "cannot use the device" in refused("rehearse", "--device", "toaster", "-o", path)
