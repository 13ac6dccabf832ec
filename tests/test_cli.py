"""The command line from end to end, and what it says to bad input."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from diffusers import DDIMScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import invlib
from invlib import autoencoder
from invlib.autoencoder import Autoencoder, Box, DecoderInversion
from invlib.autoencoder.inversion import judge
from invlib.cli import app
from invlib.cli.errors import SPELLED, spelled
from invlib.cli.invert import Decoder, Method, summary
from invlib.cli.model import folder_hash, open_model
from invlib.cli.ticker import follow
from invlib.inverters import METHODS
from invlib.memory import is_full
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
    (line,) = said(result)
    assert line.startswith("error: ")
    return line


def said(result: Result) -> list[str]:
    """What stands on standard error beside the progress of a slow machine."""
    return [line for line in result.stderr.splitlines() if not line.startswith("... ")]


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
    for name in (
        "demo",
        "sample",
        "invert",
        "regenerate",
        "certify",
        "models",
        "figures",
        "rehearse",
    ):
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
    assert "--scheduler DDIMScheduler" in values["portraits-pixel"]["makes"]  # its own is random
    assert "turtleneck" in run("models", "--words").stdout.split()


def test_a_generator_in_the_call_draws_what_the_stock_call_draws(tmp_path: Path) -> None:
    """It was read, shown and left aside: the picture was that of seed 0."""
    pipe, file = invlib.load("portraits"), tmp_path / "call.json"
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    call = {"prompt": PROMPT, "guidance_scale": 1.0, "num_inference_steps": 2}
    file.write_text(json.dumps({**call, "generator": {"seed": 7}}))
    asked = ("sample", *DDIM, "--call", file, "-o", tmp_path / "a.png")
    assert run(*asked).exit_code == 0
    picture = pipe(**call, generator=torch.Generator().manual_seed(7)).images[0]
    assert np.array_equal(np.array(picture), np.array(Image.open(tmp_path / "a.png")))
    assert "leave out --seed" in refused(*asked, "--seed", "7", "--force")


def test_the_stock_pipeline_makes_the_sample(made: Made) -> None:
    """What `sample` writes is what diffusers makes of the noise beside it."""
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

    result = run("regenerate", file, "-o", picture, "--json")
    assert result.exit_code == 3 and not json.loads(result.stdout)["same_picture"]
    assert said(result) == ["not the same picture: `invlib certify --picture` says by how much"]
    share = np.mean(np.array(Image.open(picture)) == np.array(Image.open(made.picture)))
    assert share == pytest.approx(values["values_reproduced"])
    result = run("certify", file, "--picture", made.picture, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["values_reproduced"] == pytest.approx(share)
    assert json.loads(result.stdout)["latents_when_inverted"] == ["exact"]

    noise = load_noise(file)
    assert noise.scheduler == "DDIMScheduler"
    assert (noise.call["prompt"], noise.call["num_inference_steps"]) == (PROMPT, 4)
    assert (noise.call["height"], noise.call["width"]) == (64, 64)
    assert noise.verdict == ("exact",)
    assert noise.round_trip_db[0] == pytest.approx(values["round_trip_db"])


def oracle(clean: torch.Tensor) -> Callable[[Autoencoder, Box], DecoderInversion]:
    """A decoder's inverse that knows the latents."""

    def inverse(model: Autoencoder, box: Box) -> DecoderInversion:
        return judge(model, box, clean, torch.ones(1, dtype=torch.long), ("explicit",), "oracle")

    return inverse


def test_a_reproduced_picture_is_certified(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true latents the noise is exact, and the picture comes back bit for bit."""
    opened, noise = open_model("portraits"), load_noise(made.noise)
    opened.pipe.scheduler = DDIMScheduler.from_config(noise.scheduler_config)
    clean = regenerate(opened.pipe, noise.latents, noise.call, output_type="latent").double()

    monkeypatch.setitem(autoencoder.DECODERS, "encoder", oracle(clean))
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
    noise = load_noise(tmp_path / "n.safetensors")
    assert (noise.call["prompt"], noise.call["guidance_scale"]) == ("", 1.0)
    assert noise.notes[0].startswith("no prompt given")
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
        ("size", "divisible by 8 but are 60 and 64"),
        ("grey", "1 colour channels, the pipeline 3; convert it first to RGB with an"),
        ("rgba", "4 colour channels, the pipeline 3; convert it first"),
        ("16 bit", "has mode I;16; convert it first to RGB with an image editor"),
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
        (["--guidance-scale", "-1"], "got -1"),
        (["--guidance-scale", "nan"], "got nan"),
        (["--guidance-scale", "inf"], "got inf"),
        (["--steps", "0"], "at least 1, got 0"),
        (["--scheduler", "DDPMScheduler"], "such as --scheduler DDIMScheduler"),
        (["--scheduler", "DDIMScheduller"], "did you mean DDIMScheduler"),
        (["--scheduler", "ddim"], "did you mean DDIMScheduler"),
        (["--scheduler", "UNet2DModel"], "no scheduler"),
        (["--prompt", "a clown"], "does not know 'clown'"),
        (["--prompt", "a person", "--negative-prompt", "blurry"], "does not know 'blurry'"),
        (["--model", "stabilityai/stable-diffusion-2-1"], "must be downloaded first"),
        (["--model", "portraits-pixel", *DDIM, "--steps", "2"], "64 x 64"),
        (["--model", "."], "no model_index.json"),
        (["--seconds", "0"], "--evaluations and --seconds must be positive"),
        (["--evaluations", "-3"], "--evaluations and --seconds must be positive"),
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
    [
        ["--method", "magic"],
        ["--decoder", "magic"],
        ["--dtype", "int8"],
        ["--steps", "few"],
        ["--max-batch", "0"],
        ["--max-batch", "fast"],
        ["--seconds", "soon"],
        [],
    ],
)
def test_wrong_usage_has_its_own_exit_code(made: Made, tmp_path: Path, options: list[str]) -> None:
    output = ["-o", str(tmp_path / "n.safetensors")] if options else []
    assert run("invert", made.picture, *options, *output).exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["invert", "a.png", "--methd", "naive"], "did you mean --method?"),
        (["invert", "a.png", "--cfg", "3"], "did you mean --guidance-scale?"),
        (["invert", "a.png", "--num-inference-steps", "3"], "did you mean --steps?"),
        (["invert", "a.png", "--method", "exakt"], "did you mean 'exact'?"),
        (["invert", "a.png"], "missing option '--output'"),
        (["certify", "a.safetensors", "a.png"], "give the picture by --picture"),
        (["inver"], "did you mean 'invert'?"),
        (["--hlp"], "did you mean --help?"),
    ],
)
def test_wrong_usage_is_one_line_with_what_was_meant(words: list[str], message: str) -> None:
    result = run(*words)
    (line,) = said(result)
    assert result.exit_code == 2 and result.stdout == ""
    assert line.startswith("error: ") and message in line


def literal(node: ast.AST) -> str:
    """The text of a string in a source, with a 7 in the place of each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "7" for part in node.values)
    return ""


def test_what_is_said_with_options_is_something_that_the_library_says() -> None:
    files = [f for f in Path(invlib.__file__).parent.rglob("*.py") if "cli" not in f.parts]
    texts = {literal(n) for f in files for n in ast.walk(ast.parse(f.read_text()))}
    for said in SPELLED:
        pieces = re.split(r"'?(?<!\\)\([^)]*\)'?|\.\*\?", said)
        longest = max((re.sub(r"\\(?!b)|\\b|'\?", "", piece) for piece in pieces), key=len)
        assert len(longest) > 10 and any(longest in text for text in texts), longest


def test_what_the_library_says_is_said_with_options() -> None:
    said = spelled(
        "give the pipeline a deterministic scheduler, e.g. pipe.scheduler = DDIMScheduler."
        "from_config(pipe.scheduler.config, clip_sample=False); a budget of (7)"
    )
    assert said == "give a deterministic one, such as --scheduler DDIMScheduler; a budget of (7)"
    assert spelled("edits are safest with guidance_scale=1").endswith("with --guidance-scale 1")


@pytest.mark.parametrize("scheduler", ["DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_too_many_steps_name_the_limit(made: Made, tmp_path: Path, scheduler: str) -> None:
    many = ["--prompt", PROMPT, "--steps", "2001", "--scheduler", scheduler]
    for command in (["invert", made.picture, "-o", tmp_path / "n.safetensors"], ["sample"]):
        output = [] if command[0] == "invert" else ["-o", tmp_path / "b.png"]
        line = refused(*command, *many, *output)
        assert f"--steps 2001 is too much for {scheduler}, which has 1000 times" in line


def test_a_file_of_another_kind_is_called_what_it_is(made: Made, tmp_path: Path) -> None:
    output = ["-o", tmp_path / "n.safetensors"]
    assert "is a picture (PNG), no noise file" in refused("certify", made.picture)
    assert "is a noise file or weights, no picture" in refused("invert", made.noise, *output)
    called = ["--call", made.picture]
    assert "is a picture (PNG), no JSON file" in refused("invert", made.picture, *called, *output)


def test_a_picture_of_another_size_or_mode_is_not_the_same_for_that_reason(
    made: Made, tmp_path: Path
) -> None:
    with Image.open(made.picture) as picture:
        picture.resize((32, 48)).save(tmp_path / "small.png")
        picture.convert("L").save(tmp_path / "grey.png")
    for name, reason in (("small", "32 x 48 (width x height)"), ("grey", "mode L")):
        result = run("certify", made.noise, "--picture", tmp_path / f"{name}.png")
        assert result.exit_code == 3
        assert reason in said(result)[-1]


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


def test_regenerating_says_whether_it_is_the_same_picture(made: Made, tmp_path: Path) -> None:
    """A file without fingerprints was refused, and another picture was no reason to say so."""
    noise, file, picture = load_noise(made.noise), tmp_path / "n.safetensors", tmp_path / "b.png"
    result = run("regenerate", made.noise, "-o", picture, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["same_picture"]
    write_noise(file, replace(noise, pictures=()))
    result = run("regenerate", file, "-o", picture, "--force", "--json")
    assert result.exit_code == 0 and "same_picture" not in json.loads(result.stdout)
    assert np.array_equal(np.array(Image.open(picture)), np.array(Image.open(made.picture)))
    write_noise(file, replace(noise, latents=-noise.latents))
    result = run("regenerate", file, "-o", picture, "--force")
    assert result.exit_code == 3 and "not the same picture" in result.stderr
    assert "same picture" in result.stdout and picture.is_file()


def test_several_noises_make_several_pictures(made: Made, tmp_path: Path) -> None:
    noise, file = load_noise(made.noise), tmp_path / "n.safetensors"
    two = {**noise.call, "prompt": [PROMPT, "a person"]}
    both = replace(noise, latents=torch.cat([noise.latents] * 2), call=two, pictures=())
    write_noise(file, both)
    assert run("regenerate", file, "-o", tmp_path / "b.png").exit_code == 0
    assert {f.name for f in tmp_path.iterdir()} == {"n.safetensors", "b-0.png", "b-1.png"}


@dataclass(frozen=True)
class Call:
    """A small ControlNet pipeline in a folder, and a call of it with a picture and tensors."""

    model: Path
    file: Path
    values: dict[str, Any]

    def arguments(self) -> dict[str, Any]:
        """The call in Python."""
        tensors = load_file(self.file.parent / "parts" / "embeds.safetensors")
        picture = Image.open(self.file.parent / "edges.png")
        return {**self.values, "image": picture, **tensors}

    def changed(self, **changes: Any) -> Path:
        """Another file beside it; ``...`` removes an argument."""
        values = {k: v for k, v in (self.values | changes).items() if v is not ...}
        path = self.file.with_name("changed.json")
        path.write_text(json.dumps(values))
        return path


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Call:
    from invlib.rehearsal.zoo.parts import build
    from invlib.rehearsal.zoo.stable_diffusion import STABLE_DIFFUSION

    folder = tmp_path_factory.mktemp("control")
    make = dict(STABLE_DIFFUSION)["StableDiffusionControlNetPipeline"].make
    build(make, dtype=torch.float32).save_pretrained(folder / "model")
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "edges.png")
    embeds = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(1))
    (folder / "parts").mkdir()
    save_file(
        {"prompt_embeds": embeds[:1].clone(), "negative_prompt_embeds": embeds[1:].clone()},
        folder / "parts" / "embeds.safetensors",
    )
    file = {"tensors": "parts/embeds.safetensors"}
    values = {
        "guidance_scale": 2,
        "num_inference_steps": 4,
        "control_guidance_end": 0.5,
        "height": 16,
        "width": 16,
        "image": {"picture": "edges.png"},
        **{name: {**file, "name": name} for name in ("prompt_embeds", "negative_prompt_embeds")},
    }
    (folder / "call.json").write_text(json.dumps(values))
    return Call(folder / "model", folder / "call.json", values)


def test_a_call_in_a_file_is_sampled_inverted_and_repeated(
    control: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a picture and tensors; the noise file alone makes the picture again."""
    from diffusers import StableDiffusionControlNetPipeline

    picture, noise = tmp_path / "a.png", tmp_path / "a.safetensors"
    options = ["--model", control.model, "--call", control.file]
    assert run("sample", *options, "-o", picture, "--noise", noise).exit_code == 0
    pipe = StableDiffusionControlNetPipeline.from_pretrained(control.model, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    asked = {**control.arguments(), "latents": load_noise(noise).latents}
    assert np.array_equal(np.array(pipe(**asked).images[0]), np.array(Image.open(picture)))

    clean = pipe(**asked, output_type="latent").images.double()
    monkeypatch.setitem(autoencoder.DECODERS, "encoder", oracle(clean))
    file = tmp_path / "n.safetensors"
    more = ["--decoder", "encoder", "--guidance-scale", 2, "--steps", 4, "--json", "-o", file]
    result = run("invert", picture, *options, *more)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["verdict"], values["values_reproduced"]) == ("exact", 1)
    assert not any("own defaults" in note for note in values["notes"])
    stored = load_noise(file)
    assert torch.equal(stored.call["prompt_embeds"], control.arguments()["prompt_embeds"])
    assert stored.call["image"].tobytes() == control.arguments()["image"].tobytes()
    assert (stored.call["control_guidance_end"], stored.call["height"]) == (0.5, 16)

    assert run("certify", noise, "--picture", picture).exit_code == 0
    result = run("certify", file, "--picture", picture, "--json")
    assert json.loads(result.stdout)["same_picture"]
    assert json.loads(result.stdout)["call"]["image"] == "Image 16 x 16"


def test_an_argument_that_is_left_out_is_felt(control: Call, tmp_path: Path) -> None:
    """Every part of the call file reaches the pipeline."""
    command = ["sample", "--model", control.model, "--call"]
    assert run(*command, control.file, "-o", tmp_path / "a.png").exit_code == 0
    for name in ("negative_prompt_embeds", "control_guidance_end", "guidance_scale"):
        path = control.changed(**{name: ...})
        assert run(*command, path, "-o", tmp_path / "b.png", "--force").exit_code == 0
        assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes(), name
    assert "itself fails with this call" in refused(
        *command, control.changed(image=...), "-o", tmp_path / "c.png"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance_scael": 2}, "did you mean guidance_scale"),
        ({"prompt_embed": 1}, "did you mean"),
        ({"max_batch": 3}, "said by the options of the command"),
        ({"options": {}}, "said by the options of the command"),
        ({"latents": [1.0]}, "latents is what is looked for"),
        ({"image": {"picture": "lines.png"}}, "there is no file"),
        ({"image": {"picture": "call.json"}}, "no picture that can be read"),
        ({"image": {"picture": "/edges.png"}}, "give a path relative to"),
        ({"image": {"picture": 3}}, 'image must be a picture {"picture": FILE} or a tensor'),
        ({"image": [{"picture": "edges.png", "mode": "L"}]}, "image[0] must be a picture"),
        ({"prompt_embeds": {"tensors": "parts/embeds.safetensors"}}, "must be a picture"),
        ({"prompt_embeds": {"tensors": "edges.png", "name": "a"}}, "no safetensors file"),
        ({"prompt_embeds": {"tensors": "none.safetensors", "name": "a"}}, "there is no file"),
        (
            {"prompt_embeds": {"tensors": "parts/embeds.safetensors", "name": "a"}},
            "no tensor 'a', but negative_prompt_embeds, prompt_embeds",
        ),
        ({"num_inference_steps": 5}, "num_inference_steps is given twice: 5 in"),
        ({"guidance_scale": {"seed": 3}}, "guidance_scale is given twice"),
        ({"prompt_embeds": {"seed": "x"}}, "random generator"),
    ],
)
def test_bad_calls_are_refused(
    control: Call, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    options = ["--model", control.model, "--steps", 4, "--guidance-scale", 2]
    picture, output = control.file.with_name("edges.png"), tmp_path / "n.safetensors"
    path = control.changed(**changes)
    assert message in refused("invert", picture, *options, "--call", path, "-o", output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON file that can be read"),
        ("{'prompt': 'a'}", "no JSON file that can be read"),
        ('["a cat"]', "must hold a JSON object"),
        ('{"guidance_scale": NaN}', "NaN is no number of JSON"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' is given twice"),
        ("\udcff", "no JSON file that can be read"),
        ("[" * 100_000, "no JSON file that can be read"),
        (None, "there is no file"),
    ],
)
def test_bad_call_files_are_refused(
    made: Made, tmp_path: Path, text: str | None, message: str
) -> None:
    path, output = tmp_path / "call.json", tmp_path / "n.safetensors"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    for command in (["invert", made.picture], ["sample"]):
        suffix = ".png" if command == ["sample"] else ".safetensors"
        to = output.with_suffix(suffix)
        assert message in refused(*command, "--call", path, "-o", to)
        assert not to.exists()


def test_a_pipeline_that_takes_no_noise_is_sampled_and_repeated(tmp_path: Path) -> None:
    """From images to images: the noise is what the pipeline draws, the generator a seed."""
    from invlib.rehearsal.zoo.parts import build
    from invlib.rehearsal.zoo.stable_diffusion import STABLE_DIFFUSION

    recipe = dict(STABLE_DIFFUSION)["StableDiffusionImg2ImgPipeline"]
    build(recipe.make, dtype=torch.float32).save_pretrained(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "old.png")
    asked = {"prompt": "cat", "strength": 0.8, "num_inference_steps": 4}
    call = tmp_path / "call.json"
    call.write_text(
        json.dumps({**asked, "image": {"picture": "old.png"}, "generator": {"seed": 7}})
    )
    options = ["--model", tmp_path / "model", "--call", call]
    files = {}
    for seed in (0, 1):
        picture, noise = tmp_path / f"{seed}.png", tmp_path / f"{seed}.safetensors"
        more = ["--seed", seed, "-o", picture, "--noise", noise]
        assert run("sample", *options, *more).exit_code == 0
        assert load_noise(noise).kind == "draw"
        assert run("certify", noise, "--picture", picture).exit_code == 0
        files[seed] = picture.read_bytes()
    assert files[0] != files[1]


@dataclass(frozen=True)
class Film:
    """A small video pipeline in a folder, a call of it, and the clip that it made of a noise."""

    model: Path
    call: Path
    noise: torch.Tensor
    last: torch.Tensor
    frames: list[Image.Image]

    def saved(self, folder: Path, kind: str) -> Path:
        """The clip as one file, or as a folder of frames."""
        if kind != "folder":
            path = folder / f"clip.{kind}"
            self.frames[0].save(path, save_all=True, append_images=self.frames[1:])
            return path
        path = folder / "frames"
        path.mkdir()
        for i, frame in enumerate(self.frames):
            frame.save(path / f"{8 + i}.png")  # 10 comes after 9
        (path / "notes.txt").write_text("no frame")
        return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    from invlib.pipelines.entrance import Entrance, stock
    from invlib.rehearsal.zoo.parts import build
    from invlib.rehearsal.zoo.video_recipes import RECIPES

    folder = tmp_path_factory.mktemp("film")
    recipe = RECIPES["LTXPipeline"]
    pipe = build(recipe.make, dtype=torch.float32)
    pipe.save_pretrained(folder / "model")
    for module in (pipe.transformer, pipe.vae, pipe.text_encoder):
        module.double()
    (folder / "call.json").write_text(json.dumps(recipe.call))
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 32, 4, generator=generator, dtype=torch.float64)
    states: list[torch.Tensor] = []
    with torch.no_grad():
        made = stock(pipe, recipe.call, Entrance.argument(noise), noise, note=states.append)
    return Film(folder / "model", folder / "call.json", noise, states[-1].double(), made.frames[0])


@pytest.mark.parametrize("kind", ["png", "folder"])
def test_a_clip_is_inverted_and_made_again(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As an animated PNG or a folder of frames; all its frames come back bit for bit."""
    monkeypatch.setitem(autoencoder.DECODERS, "encoder", oracle(film.last))
    clip, noise = film.saved(tmp_path, kind), tmp_path / "n.safetensors"
    more = ["--call", film.call, "--decoder", "encoder", "--dtype", "float64", "-o", noise]
    result = run("invert", clip, "--model", film.model, *more, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["verdict"], values["values_reproduced"]) == ("exact", 1)
    assert invlib.decibel(invlib.nmse(load_noise(noise).latents, film.noise)).item() < -80

    again, single = tmp_path / "again", tmp_path / "single.png"
    again.mkdir()
    for output in (again, single):
        assert run("regenerate", noise, "-o", output).exit_code == 0
    assert "0.png exists; add --force" in refused("regenerate", noise, "-o", again)
    for names in ([again / f"{i}.png" for i in range(5)], [*tmp_path.glob("single-*.png")]):
        pixels = [np.array(Image.open(name)) for name in sorted(names)]
        assert np.array_equal(pixels, [np.array(frame) for frame in film.frames])
    for options in ([], ["--picture", again], ["--picture", clip]):
        assert run("certify", noise, *options).exit_code == 0
    (again / "3.png").unlink()
    assert run("certify", noise, "--picture", again).exit_code == 3


def test_clips_that_are_none(film: Film, made: Made, tmp_path: Path) -> None:
    clip = film.saved(tmp_path, "folder")
    model = ["--model", film.model, "--call", film.call, "-o", tmp_path / "n.safetensors"]
    (clip / "12.png").unlink()
    assert "clips of 5 frames, but 4 were given" in refused("invert", clip, *model)
    assert "clips of 5 frames, but 1 were given" in refused("invert", clip / "8.png", *model)
    still = [*SETTING, *DDIM, "-o", tmp_path / "n.safetensors"]
    assert "but the call makes" in refused("invert", film.saved(tmp_path, "png"), *still)
    Image.new("RGB", (24, 16)).save(clip / "12.png")
    assert "differ in size" in refused("invert", clip, *model)
    (clip / "12.png").write_text("no picture")
    assert "12.png is no picture that can be read" in refused("invert", clip, *model)
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in refused("invert", tmp_path / "empty", *model)


def test_frames_that_are_samples_of_their_own_are_as_good_as_the_worst() -> None:
    pipe = invlib.load("portraits-pixel")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    call: dict[str, Any] = {"batch_size": 2, "num_inference_steps": 2, "method": "naive"}
    result = invlib.invert_latents(pipe, torch.rand(2, 3, 32, 32), **call)
    proof = result.certificate
    assert proof is not None
    trips = torch.tensor([1e-30, 1e-2], dtype=torch.float64)
    proof = replace(proof, round_trip=trips, verdict=("exact", "failed"), flags=("", "so far off"))
    for order in (proof, replace(proof, round_trip=trips.flip(0), verdict=("failed", "exact"))):
        values = summary(replace(result, certificate=order))
        assert (values["verdict"], values["flags"]) == ("failed", "so far off")
        assert values["round_trip_db"] == pytest.approx(-20)


def test_a_clip_in_few_colours_is_noted(film: Film, tmp_path: Path) -> None:
    """A GIF has the frames, but not their values."""
    more = ["--method", "naive", "--decoder", "encoder", "-o", tmp_path / "n.safetensors"]
    clip = film.saved(tmp_path, "gif")
    result = run("invert", clip, "--model", film.model, "--call", film.call, *more)
    assert result.exit_code == 3
    assert "GIF may be lossy" in result.stdout


def test_a_clip_is_no_picture_of_a_call(control: Call, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(control.file.parent / "moving.png", save_all=True, append_images=frames[1:])
    path = control.changed(image={"picture": "moving.png"})
    command = ["sample", "--model", control.model, "--call", path, "-o", tmp_path / "a.png"]
    assert "moving.png has 2 frames; give one picture" in refused(*command)


def test_a_budget_ends_the_search(made: Made, tmp_path: Path) -> None:
    """The best so far is written, and marked."""
    output = tmp_path / "n.safetensors"
    options = [*SETTING[:2], "--guidance-scale", 3, "--steps", 4, "--decoder", "encoder"]
    for budget in (["--evaluations", 5], ["--seconds", 1e-6]):
        more = [*budget, "--json", "-o", output, "--force"]
        result = run("invert", made.picture, *options, *DDIM, *more)
        assert result.exit_code == 3
        assert json.loads(result.stdout)["search"] == "budget"
        assert "; give it more (--seconds or --evaluations)" in result.stderr
        assert load_noise(output).verdict != ("exact",)


def test_the_largest_batch_is_what_is_asked_for(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def stop(pipe: Any, image: Any, /, *, options: Any, **call: Any) -> None:
        asked.append((options, call))
        raise ValueError("enough")

    monkeypatch.setattr(sys.modules["invlib.cli.invert"], "invert_image", stop)
    output = tmp_path / "n.safetensors"
    refused("invert", made.picture, *SETTING, "--max-batch", 3, "-o", output)
    refused("invert", made.picture, "--prompt", PROMPT, "-o", output)
    refused("invert", made.picture, *SETTING, "--max-batch", "fastest", "-o", output)
    assert [options.max_batch for options, _ in asked] == [3, None, "fastest"]
    assert [options.callback for options, _ in asked] == [follow] * 3
    assert asked[1][1] == {"prompt": PROMPT}  # steps and guidance are the pipeline's own


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_lack_of_memory_names_the_batch(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    from diffusers import UNet2DConditionModel

    monkeypatch.setattr(UNet2DConditionModel, "forward", full)
    line = refused("invert", made.picture, *SETTING, *DDIM, "-o", tmp_path / "n.safetensors")
    assert "--max-batch" in line
    assert "fewer steps" not in line
    assert not is_full(RuntimeError("shapes differ"))


def test_figures_are_those_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("papermill")
    from invlib.reproduce import __main__ as reproduce

    asked: list[Any] = []
    monkeypatch.setattr(reproduce, "main", lambda *a: asked.append(a))
    assert run("figures", "--only", "fig2", "--engine", "ray", "--address", "auto").exit_code == 0
    assert asked == [("tiny", ["fig2"], "ray", None, "auto")]
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
