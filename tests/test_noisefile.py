"""Noise files: nothing is lost, nothing damaged is read, nothing half-written is left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from invlib.pipelines import Settings

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
plain = Settings("StableDiffusionPipeline", ("a cat",), None, 3.0, 10, 64, 64)


def noise_file(**changes: Any) -> NoiseFile:
    noise = NoiseFile(
        latents=torch.randn(1, 4, 16, 16),
        settings=plain,
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
    asked = Settings(
        pipeline="StableDiffusionPipeline",
        prompt=None if prompts is None else tuple(prompts),
        negative_prompt=None if negative is None else tuple(negative),
        guidance_scale=scale,
        num_inference_steps=steps,
        height=64,
        width=64,
    )
    noise = noise_file(
        settings=asked,
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
        latents=torch.randn(1, 4, 16, 16), settings=plain, certificate=proof, notes=("a note",)
    )
    path = tmp_path / "noise.safetensors"
    save_noise(path, result, model, pictures=("f00",))
    noise = load_noise(path)
    assert noise.verdict == ("exact",)
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
        ({"settings": ...}, "damaged"),
        ({"settings": {"prompt": "a"}}, "damaged"),
        ({"settings": None}, "damaged"),
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
        ({"model_hash": "def"}, "hash def, but portraits has abc"),
        ({"latents": torch.ones(1, 3, 16, 16)}, "does not fit portraits"),
        ({"latents": torch.ones(1, 4, 16, 8)}, "does not fit portraits"),
        ({"latents": torch.ones(2, 4, 16, 16)}, "2 noises, but 1 prompts"),
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
