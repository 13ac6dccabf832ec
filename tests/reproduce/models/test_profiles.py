"""Profiles: what each is made of, and what a full-size one says before it starts."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from invlib.reproduce import __main__ as reproduce
from invlib.reproduce.models import checking, paper_models, places, profiles
from invlib.reproduce.models.full_size import FULL_SIZE, few, known, real, short
from invlib.reproduce.models.problem import Problem
from invlib.sampling import sample


def test_the_tiny_profile_has_the_embedded_models() -> None:
    pixel, latent = profiles.spaces("tiny", 2)
    assert pixel.noise.shape == (2, 3, 32, 32)
    assert latent.noise.shape == (2, 4, 16, 16)
    assert latent.label == "latent model, 64 x 64, CFG 3"


def test_an_unknown_profile_is_refused() -> None:
    for name in ("huge", "tiny-rehearsal"):
        with pytest.raises(ValueError, match="use one of tiny, paper, sd15"):
            profiles.spaces(name, 1)


def test_a_rehearsal_has_the_smallest_counts_of_its_profile() -> None:
    for name in (*FULL_SIZE, *(f"{name}-rehearsal" for name in FULL_SIZE), "tiny"):
        known(name)
    assert real("paper-rehearsal") == "paper" == real("paper")
    assert (few("paper-rehearsal", 6), few("paper-rehearsal", 0), few("paper", 6)) == (1, 0, 6)
    assert (short("paper-rehearsal", 1000), short("tiny", 1000)) == (100, 1000)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("nothing must start")

    monkeypatch.setattr(reproduce, "run", never)
    monkeypatch.setattr(reproduce, "apart", never)


def test_the_paper_profile_says_what_it_needs_and_stops_without_a_gpu(
    no_work: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA GPU"):
        reproduce.main(profile="paper")
    told = capsys.readouterr().out
    for need in (
        places.text_source("paper").places[0],
        "GB to fetch",
        "GB of memory",
        "hours",
        "estimates",
    ):
        assert need in told


def test_the_paper_profile_stops_at_once_when_the_hub_cannot_be_reached(
    no_work: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **options: Any) -> None:
        raise ConnectionError("no route\nto the host")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda where: card)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **options: None)
    monkeypatch.setattr(checking, "check_packages", lambda packages: None)
    with pytest.raises(SystemExit, match=r"cannot fetch .* cannot be reached") as stop:
        reproduce.main(profile="paper")
    assert "\n" not in str(stop.value)


def test_without_the_extra_the_prompts_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper_models.prompts.cache_clear()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"invlib\[paper\]"):
        paper_models.prompts("paper", 2)


def test_another_model_in_the_same_place_is_refused() -> None:
    pipe = SimpleNamespace(unet=SimpleNamespace(config=SimpleNamespace(in_channels=9)))
    paper_models.unlike(pipe, {"unet": {"in_channels": 9}})
    with pytest.raises(ValueError, match="unet has in_channels 9 and not 4"):
        paper_models.unlike(pipe, {"unet": {"in_channels": 4}})


class Still(nn.Module):
    """A network of the right shape that predicts its input; it stands for the real ones."""

    dtype = torch.float32
    config = SimpleNamespace(in_channels=4, sample_size=64)

    def forward(self, x: Any, t: Any, encoder_hidden_states: Any = None) -> SimpleNamespace:
        out = x if encoder_hidden_states is not None else torch.cat([x, x], 1)
        return SimpleNamespace(sample=out)


def test_the_paper_profile_asks_its_models_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stand-ins for the models: shapes, prompts and samplers fit together."""
    from invlib.portraits import load
    from invlib.reproduce.models.imagenet64 import ImageNet64

    pipe = load("portraits")
    pipe.unet = Still()
    pipe.vae_scale_factor = 8
    monkeypatch.setenv("INVLIB_DEVICE", "cpu")
    monkeypatch.setattr(paper_models, "pipeline", lambda profile: pipe)
    monkeypatch.setattr(paper_models, "prompts", lambda profile, count: ["a person"] * count)
    monkeypatch.setattr(paper_models, "pixel_network", lambda profile: ImageNet64(Still()))
    for problem in (
        Problem.of("2M-10", 3.0, 1, 2, "paper"),
        Problem.pixels("2M-10", 1, 2, "paper"),
    ):
        image = sample(problem.denoiser, problem.noise, problem.solver).image
        assert image.shape == problem.noise.shape == (2, *problem.noise.shape[1:])
        assert image.shape[-1] == 64
    assert problem.pipe is None
    pixel, latent = profiles.spaces("paper", 2)
    assert latent.label == "latent model, 512 x 512, CFG 3"
    assert pixel.label == "pixel-space model, 64 x 64, unconditional"
