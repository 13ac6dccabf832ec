"""Save, reload and compare in Python, as its user would."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from diffusers import DDIMScheduler
from tiny_pipelines import build

import invlib
from invlib.identity import WEIGHTS, Model, files_hash, name_of, weights_hash
from invlib.noisefile import check_scheduler, describe, save_noise
from invlib.pipelines import read
from invlib.pipelines.comparison import eight_bits, fingerprint
from invlib.pipelines.images import Pictures
from invlib.pipelines.state import samples, tables
from invlib.portraits.load import verify

CALL: dict[str, Any] = {"num_inference_steps": 2, "batch_size": 2}
FAST = {"method": "naive"}  # what comes back does not matter here, only that it is compared


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = invlib.load("portraits-pixel")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


@pytest.fixture(scope="module")
def pictures(pipe: Any) -> list[Any]:
    return pipe(**CALL, generator=torch.Generator().manual_seed(0)).images


@pytest.fixture(scope="module")
def result(pipe: Any, pictures: list[Any]) -> Any:
    return invlib.invert_image(pipe, pictures, **CALL, **FAST)


@pytest.mark.parametrize("kind", [str, Path])
def test_save_reload_compare(
    tmp_path: Path, pipe: Any, pictures: list[Any], result: Any, kind: Any
) -> None:
    path = kind(tmp_path / "noise.safetensors")
    result.save(path)
    stored = invlib.load_noise(path)
    assert torch.equal(stored.latents, result.latents)
    assert stored.call == dict(result.call)
    assert stored.pictures == result.fingerprints and len(stored.pictures) == 2
    for given in (None, pictures, np.stack([np.array(p) for p in pictures])):
        seen = stored.certify(pipe, given)
        assert seen.same == result.picture.same
    assert seen.comparison is not None
    assert torch.equal(seen.comparison.equal, result.picture.equal)
    other = stored.certify(pipe, [pictures[0], pictures[0]])
    assert not other.same and other.comparison.equal[0] == result.picture.equal[0]
    assert "picture 2" in str(other)
    assert "2 noises" in str(stored) and "portraits-pixel" in repr(stored)


def test_one_door_certifies_inversions_and_files(
    tmp_path: Path, pipe: Any, pictures: list[Any], result: Any
) -> None:
    result.save(tmp_path / "n.safetensors")
    stored = invlib.load_noise(tmp_path / "n.safetensors")
    seen = invlib.certify(stored, pipe, pictures)
    assert seen.comparison is not None
    assert torch.equal(seen.comparison.equal, result.picture.equal)
    assert invlib.certify(stored, pipe).same == seen.same
    with pytest.raises(TypeError, match="give no options"):
        invlib.certify(stored, pipe, pictures, vectors=2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="the third is NoneType"):
        invlib.certify(lambda x, t: x, result.inversion, None)  # type: ignore[call-overload]


def test_an_image_inversion_is_certified_where_an_inversion_is(pipe: Any, result: Any) -> None:
    reading = read(pipe, CALL)
    proof = invlib.certify(reading.network, result.inversion, reading.solver)
    held = invlib.certify(reading.network, result, reading.solver, other=result)
    assert torch.equal(held.round_trip, proof.round_trip) and held.verdict == proof.verdict
    assert held.other_roots is not None and not held.other_roots.any()


def test_a_file_that_could_not_be_written_is_refused_before_the_search(
    tmp_path: Path, pipe: Any, pictures: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the pipeline was run")

    monkeypatch.setattr("invlib.pipelines.invert.read", never)
    for path, kind in (
        (tmp_path / "no/n.safetensors", OSError),
        (tmp_path, OSError),
        (3, TypeError),
    ):
        with pytest.raises(kind):
            invlib.invert_image(pipe, pictures, save=path, **CALL)
    with pytest.raises(AssertionError, match="was run"):
        invlib.invert_image(pipe, pictures, save=tmp_path / "n.safetensors", **CALL)


def test_save_as_an_option_writes_the_same_file(
    tmp_path: Path, pipe: Any, pictures: list[Any], result: Any
) -> None:
    path = tmp_path / "n.safetensors"
    again = invlib.invert_image(pipe, pictures, save=str(path), **CALL, **FAST)
    stored = invlib.load_noise(path)
    assert torch.equal(stored.latents, again.latents)
    assert stored.pictures == result.fingerprints


def test_the_file_brings_its_scheduler(
    tmp_path: Path, pipe: Any, pictures: list[Any], result: Any
) -> None:
    result.save(tmp_path / "n.safetensors")
    fresh = invlib.load("portraits-pixel")  # with the random scheduler that it comes with
    own = fresh.scheduler
    seen = invlib.load_noise(tmp_path / "n.safetensors").certify(fresh, pictures)
    assert seen.comparison.share == result.picture.share
    assert fresh.scheduler is own


def test_the_scheduler_is_the_one_that_was_inverted(tmp_path: Path, pictures: list[Any]) -> None:
    pipe = invlib.load("portraits-pixel")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    found = invlib.invert_image(pipe, pictures, method="naive", certificate=False, **CALL)
    pipe.scheduler = invlib.load("portraits-pixel").scheduler
    assert found.save(tmp_path / "n.safetensors").scheduler == "DDIMScheduler"


def test_a_scheduler_that_its_configuration_does_not_tell_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[Any]
) -> None:
    """It was written without the change, and made other pictures."""
    pipe = invlib.load("portraits-pixel")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.scheduler.alphas_cumprod = pipe.scheduler.alphas_cumprod**1.1
    found = invlib.invert_image(pipe, pictures, **CALL, **FAST, certificate=False)
    file, message = tmp_path / "n.safetensors", "the alphas_cumprod of this DDIMScheduler"
    with pytest.raises(ValueError, match=message):
        found.save(file)
    with pytest.raises(ValueError, match=message):
        describe(found.latents, CALL, Model.of(pipe), entrance=found.entrance)
    monkeypatch.setattr("invlib.pipelines.invert.read", None)  # nothing is read before
    with pytest.raises(ValueError, match=message):
        invlib.invert_image(pipe, pictures, **CALL, save=file)
    assert not file.exists()


def test_what_was_set_in_a_scheduler_is_not_that_of_the_configuration() -> None:
    ddim = DDIMScheduler()
    ddim.final_alpha_cumprod = 0.9 * ddim.final_alpha_cumprod
    with pytest.raises(ValueError, match="the final_alpha_cumprod of this DDIMScheduler"):
        check_scheduler(ddim)
    unipc = diffusers.UniPCMultistepScheduler()
    unipc.disable_corrector = [0, 1]
    with pytest.raises(ValueError, match="the disable_corrector of this UniPCMultistepScheduler"):
        check_scheduler(unipc)
    unipc.disable_corrector, unipc.predict_x0 = [], False
    with pytest.raises(ValueError, match="the predict_x0 of this UniPCMultistepScheduler"):
        check_scheduler(unipc)
    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0)
    check_scheduler(flow)
    flow.set_shift(5.0)
    with pytest.raises(ValueError, match="_shift and sigmas and timesteps of this FlowMatch"):
        check_scheduler(flow)


def test_schedulers_that_were_used_are_those_of_their_configurations() -> None:
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for name in (
        *("DDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler"),
        *("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "LMSDiscreteScheduler"),
        *("KDPM2DiscreteScheduler", "DEISMultistepScheduler", "EDMEulerScheduler"),
    ):
        scheduler = getattr(diffusers, name)()
        scheduler.set_timesteps(7)
        for time in scheduler.timesteps[:4]:
            scheduler.step(x, time, x)
        assert tables(scheduler)
        check_scheduler(scheduler)


def test_other_weights_are_refused(tmp_path: Path, pipe: Any, result: Any) -> None:
    result.save(tmp_path / "n.safetensors")
    stored = invlib.load_noise(tmp_path / "n.safetensors")
    other = copy.deepcopy(pipe)
    with torch.no_grad():
        next(other.unet.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="the noise belongs to the model portraits-pixel"):
        stored.certify(other)
    with pytest.raises(ValueError, match="a copy of a result"):
        copy.deepcopy(result).save(tmp_path / "m.safetensors")


def test_a_noise_is_not_saved_with_the_weights_of_later(tmp_path: Path, pipe: Any) -> None:
    """The file would vouch for a pipeline that makes something else of the noise."""
    own = copy.deepcopy(pipe)
    latents = torch.zeros(1, *own(**{**CALL, "batch_size": 1}, output_type="np").images.shape[1:])
    latents = latents.permute(0, 3, 1, 2)
    call = {**CALL, "batch_size": 1}
    found = invlib.invert_latents(own, latents, certificate=False, **call, **FAST)
    found.save(tmp_path / "n.safetensors")
    with torch.no_grad():
        next(own.unet.parameters()).mul_(1.03)
    for model in (None, Model("a name", "a hash", own)):
        with pytest.raises(ValueError, match="scales of its unet differ: save before changing it"):
            save_noise(tmp_path / "m.safetensors", found, model)
    assert not (tmp_path / "m.safetensors").exists()


def test_a_model_is_told_by_its_files_or_by_its_weights(pipe: Any) -> None:
    model = Model.of(pipe)
    assert (model.name, name_of(pipe)) == ("portraits-pixel", "portraits-pixel")
    assert model.hash == weights_hash(pipe) and model.hash.startswith(WEIGHTS)
    assert files_hash(pipe) == verify("portraits-pixel")
    assert model.weights == model.hash == Model("a name", "a hash", pipe).weights
    assert model.difference(model.hash) is None
    assert model.difference(verify("portraits-pixel"), model.weights) is None
    assert model.difference("0" * 12) == ("0" * 12, model.hash)
    assert model.difference(WEIGHTS + "0") == (WEIGHTS + "0", model.hash)
    assert model.difference(model.hash, WEIGHTS + "0") == (WEIGHTS + "0", model.hash)


def test_a_file_that_names_files_tells_changed_weights_apart(pipe: Any, result: Any) -> None:
    """As the command line writes it: its model was loaded from files just before."""
    opened = Model("portraits-pixel", verify("portraits-pixel"), pipe)
    stored = describe(result.latents, CALL, opened, entrance=result.entrance)
    assert stored.model_hash == opened.hash and stored.weights == weights_hash(pipe)
    stored.check(Model.of(pipe))
    other = copy.deepcopy(pipe)
    with torch.no_grad():
        next(other.unet.parameters()).mul_(1.03)
    for model in (Model.of(other), Model(opened.name, opened.hash, other)):
        with pytest.raises(ValueError, match="with hash weights:.* but .* has weights:.*adapters"):
            stored.check(model)
    earlier = replace(stored, weights="")
    earlier.check(opened)  # loaded from these files just now
    with pytest.warns(UserWarning, match="not which weights were in memory"):
        earlier.check(Model.of(other))


def test_pictures_that_came_back_once_and_do_not_now_are_warned_of(
    tmp_path: Path, pipe: Any, result: Any
) -> None:
    """Something that no hash knows: here a hook; on other machines a version or a device."""
    pixels = eight_bits(Pictures.of(invlib.regenerate(pipe, result)).pixels)
    came_back = replace(
        result,
        picture=replace(result.picture, equal=torch.ones(len(pixels))),
        fingerprints=fingerprint(pixels),
    )
    came_back.save(tmp_path / "n.safetensors")
    stored = invlib.load_noise(tmp_path / "n.safetensors")
    assert stored.reproduced is True
    makers = (
        lambda kind: stored.regenerate(pipe, output_type=kind),
        lambda kind: invlib.regenerate(pipe, came_back, output_type=kind),
    )
    others = replace(stored, reproduced=False), replace(stored, reproduced=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in makers:
            make("pil")

    def louder(module: Any, given: Any, out: Any) -> None:
        out.sample.mul_(1.2)

    handle = pipe.unet.register_forward_hook(louder)
    try:
        for make in makers:
            with pytest.warns(UserWarning, match="not the pictures that were inverted, which this"):
                make("pil")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for make in makers:
                make("np")
            for other in others:
                other.regenerate(pipe)
            invlib.regenerate(pipe, came_back, {**CALL, "num_inference_steps": 3})
    finally:
        handle.remove()


def test_offloaded_weights_are_those_of_memory_and_told_apart() -> None:
    """By accelerate, layer by layer: the network itself has no values any more."""
    pytest.importorskip("accelerate")
    from accelerate import cpu_offload

    pipe = SimpleNamespace(unet=build(tiny.stable_diffusion).unet)
    known = weights_hash(pipe), samples(pipe)
    other = copy.deepcopy(pipe)
    with torch.no_grad():
        next(other.unet.parameters()).mul_(1.03)
    for one in (pipe, other):
        cpu_offload(one.unet, execution_device=torch.device("cpu"))
        assert next(one.unet.parameters()).is_meta
    assert (weights_hash(pipe), samples(pipe)) == known
    assert weights_hash(other) != known[0] and samples(other) != known[1]
    with pytest.warns(UserWarning, match="2 weights of the unet are not in memory"):
        weights_hash(SimpleNamespace(unet=torch.nn.Linear(1, 1, device="meta")))


def test_a_compiled_network_has_the_weights_and_settings_of_the_network() -> None:
    lora = pytest.importorskip("peft").LoraConfig(r=2, target_modules=["to_q"])
    unet = build(tiny.stable_diffusion).unet
    unet.add_adapter(lora, "style")
    pipe = SimpleNamespace(unet=unet)
    known = weights_hash(pipe), samples(pipe)
    pipe.unet = torch.compile(unet)
    assert (weights_hash(pipe), samples(pipe)) == known
    unet.up_blocks[0] = torch.compile(unet.up_blocks[0])  # a block by itself
    pipe.unet = unet
    assert (weights_hash(pipe), samples(pipe)) == known
    unet.set_adapters(["style"], [0.5])
    assert weights_hash(pipe) != known[0] and samples(pipe) != known[1]


def test_a_scale_in_a_call_leaves_the_model_as_it_was() -> None:
    """PEFT multiplies by the scale of the call and divides: 0.8 * 0.8 / 0.8 > 0.8."""
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"])
    pipe = SimpleNamespace(unet=build(tiny.stable_diffusion).unet)
    pipe.unet.add_adapter(lora, "style")
    pipe.unet.set_adapters(["style"], [0.8])
    known = weights_hash(pipe), samples(pipe)
    layers = [
        m for m in pipe.unet.modules() if isinstance(m, peft.tuners.tuners_utils.BaseTunerLayer)
    ]
    for layer in layers:
        layer.scale_layer(0.8)
        layer.unscale_layer(0.8)
    assert layers[0].scaling["style"] != 0.8
    assert (weights_hash(pipe), samples(pipe)) == known
    pipe.unet.set_adapters(["style"], [0.8001])
    assert weights_hash(pipe) != known[0] and samples(pipe) != known[1]


def test_a_pipeline_of_compiled_networks_is_inverted() -> None:
    pipe = build(tiny.stable_diffusion)
    call = {"prompt": "a red cat", "num_inference_steps": 2, "height": 16, "width": 16}
    picture = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    found = invlib.invert_image(pipe, picture, decoder="encoder", **call, **FAST)
    for name in ("unet", "vae"):
        setattr(pipe, name, torch.compile(getattr(pipe, name), backend="eager"))
    again = invlib.invert_image(pipe, picture, decoder="encoder", **call, **FAST)
    assert torch.allclose(again.latents, found.latents, rtol=1e-3, atol=1e-3)
    invlib.regenerate(pipe, found)


def test_what_is_set_beside_the_weights_tells_models_apart() -> None:
    """Scales of LoRA, which adapters are active, disabled and merged; FreeU."""
    lora = pytest.importorskip("peft").LoraConfig(r=2, target_modules=["to_q"])
    unet = build(tiny.stable_diffusion).unet
    pipe, known = SimpleNamespace(unet=unet), set[str]()

    def another() -> bool:
        before = len(known)
        known.add(weights_hash(pipe))
        return len(known) > before

    assert another() and not another()
    for name in ("style", "face"):
        unet.add_adapter(lora, name)
    assert another()
    unet.set_adapters(["style"], [0.4])
    assert another()
    unet.set_adapters(["style"], [1.0])
    assert another() and not another()
    unet.set_adapters(["style", "face"])
    assert another()
    unet.disable_adapters()
    assert another()
    unet.enable_adapters()
    assert not another()
    unet.fuse_lora()  # of LoRA that is still zero: the weights are the same, but they are merged
    assert another()
    unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert another()
    layer = unet.up_blocks[0]
    layer.b2 = 1.5
    assert another()
    layer.register_module("ip", torch.nn.Module())
    layer.ip.to_k_ip, layer.ip.scale = torch.nn.ModuleList(), [0.5]
    assert another()
    layer.ip.scale = [0.6]
    assert another()


def test_a_result_is_regenerated_by_the_pipeline_as_it_was(pipe: Any, result: Any) -> None:
    """Another scheduler, or other weights, made another picture without a word."""
    own = copy.deepcopy(pipe)
    wanted = np.array(invlib.regenerate(own, result, output_type="np"))
    config = pipe.scheduler.config
    for scheduler, said in (
        (diffusers.DDPMScheduler.from_config(config), "was DDIMScheduler and is DDPMScheduler"),
        (DDIMScheduler.from_config(config, timestep_spacing="trailing"), "was 'leading' and is 't"),
        (DDIMScheduler.from_config(config), "alphas_cumprod of its scheduler differs"),
    ):
        if "alphas" in said:
            scheduler.alphas_cumprod = scheduler.alphas_cumprod**1.1
        own.scheduler = scheduler
        with pytest.raises(ValueError, match=f"{said}.*: give it what it had"):
            invlib.regenerate(own, result)
    own.scheduler = DDIMScheduler.from_config(config)
    own.scheduler.set_timesteps(50)  # as another call did
    assert np.array_equal(invlib.regenerate(own, result, output_type="np"), wanted)
    assert np.array_equal(
        invlib.regenerate(own, pickle.loads(pickle.dumps(result)), output_type="np"), wanted
    )
    with torch.no_grad():
        next(own.unet.parameters()).mul_(1.03)
    with pytest.raises(ValueError, match="the weights or scales of its unet differ"):
        invlib.regenerate(own, result)
    again = invlib.regenerate(
        own, result.latents, result.call, entrance=result.entrance, output_type="np"
    )
    assert not np.array_equal(again, wanted)


def test_latents_scaled_otherwise_are_refused(tmp_path: Path) -> None:
    """The pictures were up to 100 levels off, without a word."""
    pipe = invlib.load("portraits")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    call = {"prompt": "a sad person", "num_inference_steps": 2, "guidance_scale": 1.0}
    latents = torch.zeros(1, 4, 16, 16)
    found = invlib.invert_latents(pipe, latents, **call, method="naive", certificate=False)
    found.save(tmp_path / "n.safetensors")
    stored = invlib.load_noise(tmp_path / "n.safetensors")
    stored.regenerate(pipe)
    pipe.vae.register_to_config(scaling_factor=2 * pipe.vae.config.scaling_factor)
    with pytest.raises(ValueError, match="the weights or scales of its vae differ"):
        invlib.regenerate(pipe, found)
    with pytest.raises(ValueError, match="the weights or scales of its vae differ: save"):
        found.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="that scales latents by {'vae': {'scaling_factor': "):
        stored.regenerate(pipe)


def test_samples_of_weights_do_not_depend_on_their_place_or_layout() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    pipe = SimpleNamespace(unet=network)
    known = samples(pipe)
    network.to(memory_format=torch.channels_last)
    assert samples(pipe) == known and set(known) == {"unet"}
    assert samples(SimpleNamespace(unet=network.to("meta"))) == {}
    pipe.unet = torch.nn.Conv2d(3, 4, 3).to(torch.bfloat16)
    assert samples(pipe) != known


@pytest.mark.parametrize("given", [3, None, torch.zeros(2)])
def test_what_is_no_name_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="give the name of a noise file"):
        invlib.load_noise(given)
