"""The paper's pixel network in diffusers computes what the original code computes."""

from __future__ import annotations

import pytest
import torch
from improved_diffusion import CHANNELS, LAYERS, Original
from torch import Tensor

from invlib.reproduce.models.imagenet64 import PUBLISHED, ImageNet64, build, schedule, sizes_of


@pytest.fixture(scope="module")
def original() -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    network = Original()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([12.5, 900.0])
    return network.state, x, t, network(x, t)


def test_it_computes_what_the_original_does(original: tuple) -> None:
    state, x, t, wanted = original
    module = build(state)
    assert torch.allclose(module(x, t).sample, wanted, atol=1e-4 * wanted.abs().max().item())


def test_the_denoiser_rescales_time_and_drops_the_variance(original: tuple) -> None:
    state, x, t, wanted = original
    found = ImageNet64(build(state))(x.double(), 4 * t.double())
    assert found.shape == x.shape
    assert torch.allclose(found, wanted[:, :3], atol=1e-4 * wanted.abs().max().item())


def test_another_checkpoint_is_refused(original: tuple) -> None:
    state = dict(original[0])
    with pytest.raises(ValueError, match="weights do not fit"):
        build({**state, "label_emb.weight": torch.ones(3)})
    state.pop("out.2.bias")
    with pytest.raises(ValueError, match="such as 'conv_out.bias'"):
        build(state)


def test_the_schedule_has_the_steps_of_its_training() -> None:
    assert schedule().times == 4000


def test_the_sizes_are_read_from_the_weights(original: tuple) -> None:
    assert sizes_of(original[0]) == (CHANNELS, LAYERS)
    assert sizes_of({}) == PUBLISHED
