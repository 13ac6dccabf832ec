"""Noise files: nothing is lost, nothing damaged is read, nothing half-written is left."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import invlib
from invlib.noisefile import (
    FORMAT,
    KEY,
    Model,
    NoiseFile,
    describe,
    fingerprint,
    load_noise,
    save_noise,
    write_noise,
)
from invlib.packing import pack, unpack
from invlib.pipelines import invert_latents, read, regenerate
from invlib.pipelines.entrance import Entrance
from invlib.pipelines.running import untouched
from invlib.rehearsal.zoo.parts import build
from invlib.rehearsal.zoo.recipe import Recipe
from invlib.rehearsal.zoo.stable_diffusion import STABLE_DIFFUSION

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
plain = {
    "prompt": ["a cat"],
    "guidance_scale": 3.0,
    "num_inference_steps": 10,
    "height": 64,
    "width": 64,
}
RECIPES: dict[str, Recipe] = dict(STABLE_DIFFUSION)


def noise_file(**changes: Any) -> NoiseFile:
    noise = NoiseFile(
        latents=torch.randn(1, 4, 16, 16),
        call=plain,
        pipeline="StableDiffusionPipeline",
        model="portraits",
        model_hash="abc",
        dtype="float32",
        scheduler="DDIMScheduler",
        scheduler_config={"lambda_min_clipped": -float("inf"), "trained_betas": None},
    )
    return replace(noise, **changes)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("portraits", "abc", invlib.load("portraits"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.none() | st.lists(texts, min_size=1, max_size=3) | st.lists(st.integers(0, 999)),
    negative=st.none() | st.lists(texts, min_size=1, max_size=3),
    scale=st.none() | st.floats(1, 1e6),
    steps=st.integers(1, 10**6),
    notes=st.lists(texts, max_size=3),
    trips=st.lists(st.floats(allow_nan=False), max_size=3),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
def test_what_is_written_is_read(
    tmp_path: Path,
    prompts: list | None,
    negative: list | None,
    scale: float | None,
    steps: int,
    notes: list[str],
    trips: list[float],
    dtype: torch.dtype,
) -> None:
    asked = {
        "prompt": prompts,
        "negative_prompt": negative and tuple(negative),
        "guidance_scale": scale,
        "num_inference_steps": steps,
        "cross_attention_kwargs": {"scale": scale, 1: [prompts]},
    }
    noise = noise_file(
        call=asked,
        notes=tuple(notes),
        round_trip_db=tuple(trips),
        latents=torch.randn(2, 4, 16, 16, dtype=dtype),
    )
    path = tmp_path / "noise.safetensors"
    write_noise(path, noise)
    again = load_noise(path)
    assert torch.equal(again.latents, noise.latents)
    assert again.latents.dtype == dtype
    assert replace(again, latents=noise.latents) == noise
    assert [*tmp_path.iterdir()] == [path]


def test_an_inversion_is_described(tmp_path: Path, model: Model) -> None:
    proof = SimpleNamespace(verdict=("exact",), round_trip=torch.tensor([1e-13]))
    result: Any = SimpleNamespace(
        latents=torch.randn(1, 4, 16, 16),
        call=plain,
        entrance=Entrance.argument(torch.empty(1, 4, 16, 16)),
        certificate=proof,
        notes=("a note",),
        scheduler="",
        tables={},
        samples={},
        seed=None,
        fingerprints=("f00",),
        picture=None,
    )
    path = tmp_path / "noise.safetensors"
    save_noise(path, result, model)
    noise = load_noise(path)
    assert noise.verdict == ("exact",) and "latents exact when inverted" in str(noise)
    assert noise.round_trip_db == pytest.approx((-130,))
    assert (noise.notes, noise.pictures) == (("a note",), ("f00",))
    assert (noise.scheduler, noise.dtype) == ("DPMSolverMultistepScheduler", "float32")
    assert noise.version == invlib.__version__
    noise.check(model)


def test_a_killed_writer_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "noise.safetensors"
    old = noise_file()
    write_noise(path, old)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("invlib.noisefile.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_noise(path, noise_file())
    assert torch.equal(load_noise(path).latents, old.latents)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "noise.safetensors"
    write_noise(path, noise_file())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_noise(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_noise(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_noise(tmp_path)
    path.write_text("hello, this is no tensor file at all")
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_noise(path)
    save_file({"latents": torch.ones(1, 4, 2, 2)}, path)
    with pytest.raises(ValueError, match="no metadata of invlib"):
        load_noise(path)


def rewrite(path: Path, latents: torch.Tensor | None = None, **changes: Any) -> None:
    """A noise file with other metadata; ``...`` removes an entry."""
    noise = noise_file()
    write_noise(path, noise)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()[KEY]) | changes
    values = {k: v for k, v in values.items() if v is not ...}
    tensor = noise.latents if latents is None else latents
    save_file({"latents": tensor}, path, metadata={KEY: json.dumps(values)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1}, "update invlib"),
        ({"format": ...}, "damaged"),
        ({"format": "new"}, "damaged"),
        ({"format": FORMAT - 1}, "invert the picture again"),
        ({"call": ...}, "damaged"),
        ({"call": None}, "damaged"),
        ({"call": {"prompt": {"text": "a"}}}, "damaged"),
        ({"call": {"prompt_embeds": {"tensor": "call.0", "cpu": True}}}, "damaged"),
        ({"call": {"image": {"picture": "latents", "mode": "RGB", "size": [99, 99]}}}, "damaged"),
        ({"call": {"generator": {"generator": "latents", "device": "cpu"}}}, "damaged"),
        ({"call": {"generator": {"generator": "latents", "device": "hpu"}}}, "which is not here"),
        ({"pipeline": ...}, "damaged"),
        ({"kind": "door"}, "damaged"),
        ({"number": "first"}, "damaged"),
        ({"model_hash": ...}, "damaged"),
        ({"extra": 1}, "damaged"),
        ({"latents": torch.full((1, 4, 2, 2), torch.nan)}, "NaN"),
        ({"latents": torch.ones(1, 4, 2, 2, dtype=torch.int32)}, "holds no noise"),
        ({"latents": torch.ones(4)}, "holds no noise"),
        ({"latents": torch.ones(0, 4, 2, 2)}, "holds no noise"),
    ],
)
def test_damaged_contents_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "noise.safetensors"
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=message):
        load_noise(path)


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        write_noise(
            tmp_path / "a.safetensors", noise_file(latents=torch.full((1, 2, 2), torch.nan))
        )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_hash": "def"}, "hash def, in float32, but portraits has abc"),
        ({"latents": torch.ones(1, 3, 16, 16)}, "does not fit portraits"),
        ({"latents": torch.ones(1, 4, 16, 8)}, "does not fit portraits"),
        ({"latents": torch.ones(2, 4, 16, 16)}, "does not fit portraits"),
        ({"call": plain | {"prompt": ["a cat", "a dog"]}}, "does not fit portraits"),
        ({"call": plain | {"height": 32}}, "does not fit portraits"),
        ({"call": plain | {"prompt": 3}}, "does not fit portraits"),
        ({"kind": "first step", "latents": torch.ones(1, 4, 8, 16)}, "does not fit portraits"),
        ({"pipeline": "FluxPipeline"}, "belongs to a FluxPipeline"),
    ],
)
def test_noise_of_another_model_is_refused(model: Model, changes: dict, message: str) -> None:
    noise = describe(torch.ones(1, 4, 16, 16), plain, model)
    noise.check(model)
    with pytest.raises(ValueError, match=message):
        replace(noise, **changes).check(model)


def test_fingerprints_tell_pictures_apart() -> None:
    pixels = torch.zeros(3, 3, 2, 4, dtype=torch.uint8)
    pixels[1, 0, 0, 0] = 1
    first, second, third = fingerprint(pixels)
    assert first == third != second
    assert fingerprint(pixels[:1].transpose(2, 3)) != (first,)


def arrays(seed: int) -> dict[str, Any]:
    """A call of all kinds of arguments."""
    rng = np.random.default_rng(seed)
    embeds = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    pixels = rng.integers(0, 255, (5, 7, 3), np.uint8)
    return {
        "prompt": None,
        "prompt_embeds": embeds[:1],  # the two share their memory
        "negative_prompt_embeds": embeds[1:].bfloat16(),
        "image": [Image.fromarray(pixels), Image.fromarray(pixels[..., 0]).convert("1")],
        "control": rng.normal(size=(2, 3)).astype(np.float16),
        "scale": np.float32(0.5),
        "guidance_rescale": 0.7,
        "cross_attention_kwargs": {"scale": 0.5, "masks": (embeds[0] > 0,), 3: []},
        "original_size": (64, 32),
        "generator": [torch.Generator().manual_seed(seed + 1)],
    }


def same(a: Any, b: Any) -> bool:
    """Equality of arguments, of their kinds too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, Image.Image):
        return (a.mode, a.size, a.tobytes()) == (b.mode, b.size, b.tobytes())
    if isinstance(a, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(v, w) for v, w in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize("seed", range(3))
def test_a_call_of_all_kinds_comes_back_without_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def poisoned(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, poisoned)
    monkeypatch.setattr(torch, "load", poisoned)
    monkeypatch.setattr(torch, "save", poisoned)
    call, path = arrays(seed), tmp_path / "noise.safetensors"
    write_noise(path, noise_file(call=call))
    again = load_noise(path).call
    assert same(dict(sorted(again.items())), dict(sorted(call.items())))
    assert not same(again["prompt_embeds"], arrays(seed + 5)["prompt_embeds"])
    drawn = [torch.randn(3, generator=c["generator"][0]) for c in (again, call)]
    assert torch.equal(*drawn)


def test_tensors_go_to_the_device_unless_they_were_on_the_cpu() -> None:
    packed, tensors = pack({"a": torch.ones(2), "b": torch.ones(3)})
    packed["b"]["cpu"] = False  # as on a GPU
    again = unpack(packed, tensors.__getitem__, "meta")
    assert (again["a"].device.type, again["b"].device.type) == ("cpu", "meta")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda *a: a, "the argument callback_on_step_end is the function <lambda>"),
        ([1, {"f": print}], r"callback_on_step_end\[1\]\['f'\] is an object of class builtin_func"),
        (torch.nn.Identity(), "an object of class Identity"),
        (torch.ones(2, 2).to_sparse(), "a tensor of torch.float32, torch.sparse_coo"),
        (torch.ones(2, dtype=torch.complex128), "a tensor of torch.complex128"),
        (torch.ones(2, device="meta"), "on meta"),
        (np.array(["a", None]), "an array of object"),
        (Image.new("P", (2, 2)), "a picture with a palette"),
        ({1, 2}, "an object of class set"),
    ],
)
def test_what_is_no_data_is_refused_by_name(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "noise.safetensors"
    with pytest.raises(ValueError, match=message):
        write_noise(path, noise_file(call={**plain, "callback_on_step_end": value}))
    assert not [*tmp_path.iterdir()]


def test_the_noise_of_a_call_on_disk_makes_its_latents_again(tmp_path: Path) -> None:
    """The call has embeddings, a rescaled guidance and a generator; all is in the file."""
    pipe = build(RECIPES["StableDiffusionPipeline"].make)
    embeds = torch.randn(2, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    call = {
        "prompt_embeds": embeds[:1],
        "negative_prompt_embeds": embeds[1:],
        "guidance_scale": 3.0,
        "guidance_rescale": 0.7,
        "num_inference_steps": 4,
        "generator": torch.Generator().manual_seed(4),
        "height": 16,
        "width": 16,
    }
    noise = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    clean = pipe(**call, latents=noise, output_type="latent").images
    path = tmp_path / "noise.safetensors"
    save_noise(path, invert_latents(pipe, clean, **call), Model("tiny", "abc", pipe))
    stored = load_noise(path)
    stored.check(Model("tiny", "abc", pipe))
    again = pipe(**stored.call, latents=stored.latents, output_type="latent").images
    assert invlib.decibel(invlib.nmse(again, clean)).item() < -120
    assert stored.round_trip_db[0] < -120
    assert {k: type(v) for k, v in stored.call.items()} == {k: type(v) for k, v in call.items()}


@pytest.mark.parametrize(
    "name", ["StableDiffusionImg2ImgPipeline", "StableDiffusionControlNetPipeline"]
)
def test_calls_with_pictures_are_repeated_from_disk(tmp_path: Path, name: str) -> None:
    """The picture and the generator decide what comes out, and both come back.

    From images to images the noise is what the pipeline draws after the encoder has drawn.
    """
    pipe = build(RECIPES[name].make)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    generator = torch.Generator().manual_seed(3)
    call = {**RECIPES[name].call, "image": picture, "generator": generator}
    with torch.no_grad(), untouched(pipe):
        entrance = read(pipe, call).entrance
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    wanted = regenerate(pipe, noise, call, entrance=entrance, output_type="np")
    path, model = tmp_path / "noise.safetensors", Model("tiny", "abc", pipe)
    write_noise(path, describe(noise, call, model, entrance=entrance))
    stored = load_noise(path)
    stored.check(model)
    assert stored.entrance.kind == ("draw" if "Img2Img" in name else "latents")

    def repeated(**changes: Any) -> Any:
        asked = {**stored.call, **changes}
        return regenerate(pipe, stored.latents, asked, entrance=stored.entrance, output_type="np")

    assert np.array_equal(repeated(), wanted)
    assert not np.allclose(repeated(image=picture.rotate(90)), wanted, atol=1e-4)
    if "Img2Img" in name:
        other = torch.Generator().manual_seed(5)
        assert not np.allclose(repeated(generator=other), wanted, atol=1e-4)
