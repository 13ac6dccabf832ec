"""Devices without float64: states go to the CPU, networks stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from analytic import mixture, randn
from played_device import There, device_without_float64
from tiny_pipelines import stable_diffusion
from torch import Tensor
from twelve import SCHEDULE

import invlib
from invlib.autoencoder import Box
from invlib.denoisers import Denoiser, guided, in_float64, predicting
from invlib.devices import OnDevice, beside, has_float64, lifted, lowered, on_device
from invlib.newton import forward_mode
from invlib.sampling import as_state

SOLVER = invlib.dpm_solver_pp_2m(SCHEDULE.grid(10))
WEIGHT = randn(6, 6).float()


@pytest.fixture
def device():
    with torch.no_grad(), device_without_float64() as found:
        yield found


def here(x: Tensor, t: Tensor) -> Tensor:
    """A network of float32 on the CPU."""
    return (0.5 * torch.tanh(x.float() @ WEIGHT) + 0.2 * x.float()).to(x.dtype)


def there(seen: set | None = None) -> Denoiser:
    """The same on the device, where it refuses everything else."""
    weight = WEIGHT.to("meta")

    def network(x: Tensor, t: Tensor) -> Tensor:
        assert isinstance(x, There) and isinstance(t, There)
        if seen is not None:
            seen.add((x.dtype, t.dtype))
        return 0.5 * torch.tanh(x @ weight) + 0.2 * x

    return predicting(network, "epsilon")


class Module(torch.nn.Module):
    """The same as a module that says what it predicts."""

    prediction = "epsilon"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(WEIGHT.clone(), requires_grad=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        return 0.5 * torch.tanh(x @ self.weight) + 0.2 * x


# the played device, and what is asked of it


def test_the_played_device_has_no_float64_and_does_not_mix(device) -> None:
    x = torch.ones(2, device=device)
    with pytest.raises(TypeError, match="float64"):
        x.double()
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(2)
    assert x.cpu().double().sum() == 2


def test_a_device_is_asked_once_whether_it_has_float64(device) -> None:
    assert not has_float64(device)
    assert has_float64("cpu")


@pytest.mark.parametrize("wide", [torch.float64, torch.float32])
def test_a_tensor_goes_up_to_the_cpu_and_down_to_the_device(device, wide: torch.dtype) -> None:
    x = randn(3, 2).to(wide)
    down = lowered(x, device)
    assert isinstance(down, There) and down.dtype == torch.float32
    up = lifted(down)
    assert not isinstance(up, There) and torch.equal(up, x.float().double())
    assert lowered(x, "cpu") is x


def test_where_there_is_float64_nothing_changes() -> None:
    network, x = predicting(here, "epsilon"), randn(3, 6)
    assert beside(network, x) is network
    assert as_state(x, "noise") is x
    assert invlib.invert(network, x, SOLVER, method="naive").device is None


# networks


def test_a_plain_function_gets_float32_on_the_device_of_the_image(device) -> None:
    """The states are those of the same network on the CPU, to the last bit."""
    noise, seen = randn(3, 6).float(), set()
    run = invlib.sample(there(seen), noise.to(device), SOLVER)
    assert seen == {(torch.float32, torch.float32)}
    expected = invlib.sample(predicting(here, "epsilon"), noise, SOLVER)
    assert torch.equal(run.states, expected.states)


@pytest.mark.parametrize("method", ["exact", "multisecant"])
def test_an_image_there_is_inverted_and_certified(device, method: str) -> None:
    noise = randn(3, 6).float()
    image = invlib.sample(there(), noise.to(device), SOLVER).image
    result = invlib.invert(there(), image.float().to(device), SOLVER, method=method)
    assert result.device == device and result.noise.dtype == torch.float64
    proof = invlib.certify(there(), result, SOLVER)
    assert proof.verdict == ("exact",) * 3
    assert (invlib.nmse(result.noise, noise) < 1e-4).all()
    again = invlib.sample(on_device(there(), device), result.noise, SOLVER)
    assert torch.allclose(invlib.nmse(again.image, result.states[-1]), proof.round_trip)


def test_a_module_says_where_it_is(device) -> None:
    """So its states may be on the CPU from the start."""
    noise = randn(3, 6)
    run = invlib.sample(Module().to(device), noise, SOLVER)
    assert torch.equal(run.states, invlib.sample(Module(), noise, SOLVER).states.double())
    result = invlib.invert(Module().to(device), run.image, SOLVER)
    assert result.device == device and result.reason == ("converged",) * 3


def test_conditions_stay_on_the_device(device) -> None:
    def network(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return 0.5 * torch.tanh(x + condition)

    condition, null = randn(3, 6).float().to(device), torch.zeros(1, 6).to(device)
    denoiser = guided(network, condition, null, 1.5, prediction="epsilon")
    image = invlib.sample(denoiser, randn(3, 6).float().to(device), SOLVER).image
    result = invlib.invert(denoiser, image.float().to(device), SOLVER)
    assert invlib.certify(denoiser, result, SOLVER).verdict == ("exact",) * 3


def test_a_bridged_network_takes_the_states_where_they_are(device) -> None:
    def outside(x: Tensor, t: Tensor) -> np.ndarray:
        return mixture(SCHEDULE)(x.double(), t.double()).numpy()

    network = invlib.bridged(outside, prediction="epsilon", dtype=torch.float64)
    noise = randn(2, 4).float()
    run = invlib.sample(network, noise.to(device), SOLVER)
    assert torch.equal(run.image, invlib.sample(network, noise, SOLVER).image)


def test_there_is_no_copy_in_float64_there_but_elsewhere(device) -> None:
    network = on_device(there(), device)
    assert in_float64(network) is network
    fine = in_float64(on_device(Module(), "cpu"))
    assert fine.dtype == fine.network.weight.dtype == torch.float64


def test_a_network_that_does_not_say_what_it_predicts_is_named(device) -> None:
    with pytest.raises(ValueError, match="here does not say what it predicts"):
        invlib.sample(here, randn(2, 6).float().to(device), SOLVER)


def test_half_precision_gets_its_states_in_half_and_its_times_in_float32() -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        assert (x.dtype, t.dtype) == (torch.float16, torch.float32)
        return x

    found = on_device(predicting(network, "epsilon"), "cpu", dtype=torch.float16)
    assert found(randn(2, 6), torch.full((2,), 981.5).double()).dtype == torch.float64


def test_derivatives_pass_through_the_casts() -> None:
    network = OnDevice(predicting(here, "epsilon"), "epsilon", torch.device("cpu"), torch.float32)
    x, v, t = randn(3, 6), randn(3, 6), torch.zeros(3).double()
    found = forward_mode(lambda y: network(y, t), x, v)
    assert torch.equal(found, forward_mode(lambda y: here(y, t), x, v))


# decoders and pipelines


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_box_of_a_picture_is_on_the_cpu(device, dtype: torch.dtype) -> None:
    picture = torch.ones(1, 3, 4, 4).to(dtype)
    found, expected = Box.of(picture.to(device)), Box.of(picture)
    assert torch.equal(found.center, expected.center) and torch.equal(found.lower, expected.lower)


CALL = {"prompt": "a", "num_inference_steps": 2, "guidance_scale": 1.5, "height": 16, "width": 16}


@pytest.fixture
def pipe(device):
    found = stable_diffusion()
    found.set_progress_bar_config(disable=True)
    for module in (found.unet, found.vae, found.text_encoder):
        module.float().requires_grad_(False)
    return found.to(device)


def test_latents_of_a_pipeline_there_are_inverted(device, pipe) -> None:
    """The noise is given as the pipeline takes it; the stock call judges."""
    noise = randn(1, 4, 8, 8).float()
    latents = pipe(**CALL, latents=noise.to(device), output_type="latent").images
    assert isinstance(latents, There)
    found = invlib.invert_latents(pipe, latents, **CALL)
    assert found.certificate.verdict == ("exact",)
    assert isinstance(found.latents, There) and found.latents.dtype == torch.float32
    assert found.inversion.noise.dtype == torch.float64
    assert found.inversion.noise.device == found.target.device == torch.device("cpu")
    assert invlib.nmse(found.latents.cpu(), noise) < 1e-8
    again = invlib.regenerate(pipe, found, output_type="latent")
    assert invlib.nmse(again.cpu(), latents.cpu()) < found.certificate.limit


def test_a_picture_of_a_pipeline_there_is_read(device, pipe) -> None:
    """What its encoder says goes up to the CPU, and the noise down to the device."""
    picture = pipe(**CALL, latents=randn(1, 4, 8, 8).float().to(device)).images
    options = {"decoder": "encoder", "method": "naive"}
    found = invlib.invert_image(pipe, picture, options=options, **CALL)
    pixels = torch.from_numpy(np.array(picture[0])).permute(2, 0, 1)[None]
    expected = pipe.vae.encode((pixels / 127.5 - 1).to(device)).latent_dist.mode().cpu()
    expected = expected * pipe.vae.config.scaling_factor
    assert invlib.nmse(found.decoding.latents, expected) < 1e-8
    assert found.decoding.latents.dtype == torch.float64
    assert isinstance(found.latents, There)
