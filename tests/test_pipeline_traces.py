"""An inversion leaves no trace in its pipeline, however it ends."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from stock import FAR, SIZE, clean, draw, gap
from tiny_pipelines import SD, build, dpm
from torch import Tensor, nn

from invlib.pipelines import invert_image, invert_latents, regenerate
from invlib.pipelines.running import untouched
from invlib.probing import NotInvertible
from invlib.rehearsal.zoo.unet_recipes import RECIPES
from invlib.watch import Budget

DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False)
CAT = {"prompt": "a red cat", "guidance_scale": 2.0, "num_inference_steps": 3, **SIZE}
SHORT = {"max_sequence_length": 12}  # T5 pads prompts to it, by default to 256 or 512 tokens
SHAPE = (1, 4, 8, 8)
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks_with_kwargs",
    "_compiled_call_impl",
)


def sd(scheduler: Any = None) -> Any:
    return build(tiny.stable_diffusion, scheduler or DDIM)


def modules(pipe: Any) -> dict[str, nn.Module]:
    return {n: m for n, m in vars(pipe).items() if isinstance(m, nn.Module)}


def snapshot(pipe: Any, *generators: torch.Generator) -> dict[str, Any]:
    """All that a pipeline is, and all random states, as values that compare."""
    seen: dict[str, Any] = {
        "names": list(vars(pipe)),
        "objects": {k: id(v) for k, v in vars(pipe).items()},
        "class": type(pipe),
        "config": dict(pipe.config),
        "bar": dict(getattr(pipe, "_progress_bar_config", {})),
        "interrupt": getattr(pipe, "_interrupt", None),
        "scheduler": (id(pipe.scheduler), type(pipe.scheduler), dict(pipe.scheduler.config)),
        "scheduler state": values(vars(pipe.scheduler)),
        "torch": values(torch.get_rng_state()),
        "numpy": values(np.random.get_state()[1]),
        "python": random.getstate(),
        "generators": [values(g.get_state()) for g in generators],
    }
    for name, module in modules(pipe).items():
        seen[f"{name} weights"] = {k: values(v) for k, v in module.state_dict().items()}
        seen[f"{name} modes"] = [(m.training, type(m)) for m in module.modules()]
        seen[f"{name} attributes"] = [sorted(vars(m)) for m in module.modules()]
        seen[f"{name} hooks"] = [
            [str(getattr(m, hook, None)) for hook in HOOKS] for m in module.modules()
        ]
        seen[f"{name} forward"] = [str(vars(m).get("forward")) for m in module.modules()]
        if hasattr(module, "attn_processors"):
            seen[f"{name} processors"] = {k: id(v) for k, v in module.attn_processors.items()}
        seen[f"{name} methods"] = [k for k in ("encode", "decode", "forward") if k in vars(module)]
    return seen


def values(value: Any) -> Any:
    """Numbers of tensors and arrays, however deep."""
    if isinstance(value, Tensor):
        return (str(value.dtype), value.double().tolist())
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {k: values(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [values(v) for v in value]
    return value


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] == value, name


class Broken(Exception):  # noqa: N818 - it names the fact
    """Raised in a network."""


def stopping(module: nn.Module, at: int, error: BaseException) -> tuple[list[int], Any]:
    """A hook that raises in a call of the module and in all that follow, and their count."""
    calls: list[int] = []

    def hook(*args: Any) -> None:
        calls.append(1)
        if len(calls) >= at:
            raise error

    return calls, module.register_forward_pre_hook(hook)


def prepared(name: str) -> tuple[Any, dict[str, Any], tuple[int, ...]]:
    """A pipeline, used before as pipelines are, its call and its shape of noise."""
    make: dict[str, Callable[[], Any]] = {
        "SD": sd,
        "SDXL": partial(build, tiny.stable_diffusion_xl),
        "Flux": partial(build, tiny.flux),
        "SD3": partial(build, tiny.stable_diffusion_3),
        "DDPM": partial(build, tiny.pixels),
        "UniPC": partial(sd, diffusers.UniPCMultistepScheduler(**SD)),
        "PAG": partial(build, RECIPES["StableDiffusionPAGPipeline"].make),
    }
    pipe = make[name]()
    if name == "DDPM":
        return pipe, {"num_inference_steps": 3}, (1, 3, 8, 8)
    more = {"PAG": {"pag_scale": 2.0}, "Flux": SHORT, "SD3": SHORT}.get(name, {})
    return pipe, {**CAT, **more}, (1, 16, 16) if name == "Flux" else SHAPE


NAMES = ["SD", "SDXL", "Flux", "SD3", "DDPM", "UniPC", "PAG"]


@pytest.mark.parametrize("name", NAMES)
def test_after_success(name: str) -> None:
    pipe, call, shape = prepared(name)
    pipe.set_progress_bar_config(leave=False, disable=True)
    target = clean(pipe, call, draw(*shape))
    before = snapshot(pipe)
    result = invert_latents(pipe, target, **call, vectors=2)
    same(before, snapshot(pipe))
    regenerate(pipe, result)
    same(before, snapshot(pipe))
    if name != "DDPM":
        options = {"method": "naive", "decoder": "encoder"}
        invert_image(pipe, torch.rand(1, 3, 16, 16, generator=seeded()), options=options, **call)
        same(before, snapshot(pipe))


@pytest.mark.parametrize("name", NAMES)
def test_after_success_with_a_pipeline_that_has_never_run(name: str) -> None:
    """Nothing is left but what the first stock call leaves in some networks itself."""
    used, call, shape = prepared(name)
    target = clean(used, call, draw(*shape))
    pipe, call, _ = prepared(name)
    before, stock = snapshot(pipe), snapshot(used)
    invert_latents(pipe, target, **call, method="naive")
    after = snapshot(pipe)
    for module in modules(pipe):
        before[f"{module} attributes"] = stock[f"{module} attributes"]
        before[f"{module} hooks"] = after[f"{module} hooks"]
    same(before, after)
    assert hooks(pipe) == hooks(used)


def hooks(pipe: Any) -> dict[str, list[int]]:
    """How many forward hooks every module has."""
    return {n: [len(m._forward_hooks) for m in part.modules()] for n, part in modules(pipe).items()}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("error", [Broken(), KeyboardInterrupt(), RuntimeError("out of memory")])
@pytest.mark.parametrize("at", [1, 2, 5, 9])
@pytest.mark.parametrize("name", ["SD", "PAG", "DDPM"])
def test_after_an_error_in_the_network(name: str, at: int, error: BaseException) -> None:
    """In the recorded run, in the check, and in the search; at the k-th call of the network."""
    pipe, call, shape = prepared(name)
    target = clean(pipe, call, draw(*shape))
    pipe.set_progress_bar_config(desc="mine", disable=True)
    generator = seeded()
    call = {**call, "generator": generator}
    calls, hook = stopping(pipe.unet, at, error)
    before = snapshot(pipe, generator)
    with pytest.raises((Broken, KeyboardInterrupt, RuntimeError, ValueError)) as raised:
        invert_latents(pipe, target, **call)
    same(before, snapshot(pipe, generator))
    assert len(calls) >= at
    if isinstance(error, KeyboardInterrupt):
        assert raised.type is KeyboardInterrupt and len(calls) == at
    else:
        assert raised.value is error or raised.value.__cause__ is error
    hook.remove()


@pytest.mark.parametrize("module", ["vae", "text_encoder"])
def test_after_an_error_in_another_module(module: str) -> None:
    pipe = sd()
    error = Broken()
    part = pipe.vae.decoder if module == "vae" else pipe.text_encoder
    before_hook = snapshot(pipe)
    _, hook = stopping(part, 1, error)
    before = snapshot(pipe)
    image = torch.rand(1, 3, 16, 16, generator=seeded())
    with pytest.raises((Broken, ValueError)) as raised:
        invert_image(pipe, image, **CAT)
    assert raised.value is error or raised.value.__cause__ is error
    same(before, snapshot(pipe))
    hook.remove()
    same(before_hook, snapshot(pipe))


def test_after_a_refusal() -> None:
    pipe = sd()
    before = snapshot(pipe)
    for asked in ({"eta": 0.5}, {"clip_skp": 1}, {"num_images_per_prompt": 2}, {"prompt": 3}):
        with pytest.raises((TypeError, ValueError)):
            invert_latents(pipe, draw(*SHAPE), **{**CAT, **asked})
        same(before, snapshot(pipe))
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler(**SD)
    before = snapshot(pipe)
    with pytest.raises(NotInvertible):
        invert_latents(pipe, draw(*SHAPE), **CAT)
    same(before, snapshot(pipe))


def test_after_a_callback_that_interrupts_the_pipeline() -> None:
    """Diffusers' way to end a call early; the call then makes no further step."""

    def stop(pipe: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 1:
            pipe._interrupt = True
        return {}

    pipe = sd()
    noise = draw(*SHAPE)
    call = {**CAT, "callback_on_step_end": stop}
    target = clean(pipe, call, noise)
    pipe._interrupt = False
    before = snapshot(pipe)
    result = invert_latents(pipe, target, **call)
    same(before, snapshot(pipe))
    assert len(result.inversion.states) == 3  # two steps of three
    assert gap(result.latents, noise) < FAR


def test_after_our_own_callback_and_budget_end_the_search() -> None:
    pipe = sd(dpm())
    target = clean(pipe, CAT, draw(*SHAPE))
    before = snapshot(pipe)
    ended = invert_latents(pipe, target, **CAT, callback=lambda progress: True)
    same(before, snapshot(pipe))
    assert ended.inversion.reason == ("interrupted",)
    ended = invert_latents(pipe, target, **CAT, budget=Budget(evaluations=10))
    same(before, snapshot(pipe))
    assert ended.inversion.reason == ("budget",)


# ---- pipelines that were set up in one way or another -------------------------------------------


def found(pipe: Any, call: dict[str, Any] = CAT, shape: tuple[int, ...] = SHAPE) -> None:
    """The noise is found, and nothing is changed."""
    noise = draw(*shape)
    target = clean(pipe, call, noise)
    before = snapshot(pipe)
    result = invert_latents(pipe, target, **call)
    same(before, snapshot(pipe))
    assert gap(result.latents, noise) < FAR
    assert gap(clean(pipe, call, result.latents), target) < FAR


def test_attention_slicing() -> None:
    pipe = sd()
    pipe.enable_attention_slicing(1)
    found(pipe)


@pytest.mark.parametrize("how", ["slicing", "tiling"])
def test_slicing_and_tiling_of_the_autoencoder(how: str) -> None:
    pipe = sd()
    getattr(pipe.vae, f"enable_{how}")()
    found(pipe)
    noise = draw(*SHAPE)
    image = pipe(**CAT, latents=noise).images
    before = snapshot(pipe)
    options = {"decoder": "encoder", "method": "naive"}
    result = invert_image(pipe, image, options=options, **CAT)
    same(before, snapshot(pipe))
    assert result.decoding is not None


def test_other_attention_processors() -> None:
    pipe = sd()
    pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
    found(pipe)


class Community(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """As in the folder ``examples/community``: another call, with other names."""

    @torch.no_grad()
    def __call__(
        self, text: str, strength: float = 2.0, rounds: int = 3, latents: Any = None, **kwargs: Any
    ) -> Any:
        """The picture, whose last latents are moved."""
        self._rounds = rounds
        result = super().__call__(
            text, guidance_scale=strength, num_inference_steps=rounds, latents=latents, **kwargs
        )
        return result


def test_a_community_pipeline() -> None:
    pipe = sd()
    pipe.__class__ = Community
    noise = draw(*SHAPE)
    target = pipe("red cat", strength=3.0, latents=noise, **SIZE, output_type="latent")[0]
    call = {"text": "red cat", "strength": 3.0}
    before = snapshot(pipe)
    with pytest.raises(TypeError, match="did you mean strength"):
        invert_latents(pipe, target, text="cat", strenght=3.0)
    result = invert_latents(pipe, target, **call)
    same(before, snapshot(pipe))
    assert gap(result.latents, noise) < FAR


def test_a_compiled_network_in_place() -> None:
    pipe = sd()
    pipe.unet.compile(backend="eager")
    compiled = pipe.unet._compiled_call_impl
    found(pipe)
    assert pipe.unet._compiled_call_impl is compiled


def test_a_compiled_network_in_its_place() -> None:
    pipe = sd()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    found(pipe)
    assert type(pipe.unet).__name__ == "OptimizedModule"


def test_offloading_to_the_cpu() -> None:
    """All is on the CPU here, but the hooks are those of accelerate."""
    pipe = sd()
    pipe.enable_model_cpu_offload(device="cpu")
    noise = draw(*SHAPE)
    target = clean(pipe, CAT, noise)
    names, count = list(vars(pipe)), len(pipe._all_hooks)
    result = invert_latents(pipe, target, **CAT)
    assert list(vars(pipe)) == names and len(pipe._all_hooks) == count
    for name, module in modules(pipe).items():
        if name != "safety_checker":
            assert hasattr(module, "_hf_hook"), name
    assert gap(result.latents, noise) < FAR
    assert gap(clean(pipe, CAT, result.latents), target) < FAR


def test_generators_of_the_user() -> None:
    pipe = sd()
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    call = {**CAT, "num_images_per_prompt": 2, "generator": generators}
    target = draw(2, *SHAPE[1:])
    before = snapshot(pipe, *generators)
    invert_latents(pipe, target, **call, method="naive")
    same(before, snapshot(pipe, *generators))


def test_the_call_itself_is_not_changed() -> None:
    """Its lists and tensors are those that were given, with the same values."""
    pipe = sd()
    text, none = pipe.encode_prompt(["cat"], "cpu", 1, True)
    call = {k: v for k, v in CAT.items() if k != "prompt"}
    call |= {"prompt_embeds": text, "negative_prompt_embeds": none}
    kept = copy.deepcopy(call)
    target = draw(*SHAPE)
    given = target.clone()
    invert_latents(pipe, target, **call, method="naive")
    assert values(call) == values(kept) and torch.equal(given, target)


def test_two_inversions_are_equal_to_the_bit() -> None:
    """Nothing random is left in them, and nothing that the first one leaves for the second."""
    pipe = sd(dpm())
    target = clean(pipe, CAT, draw(*SHAPE))
    torch.manual_seed(1)
    one = invert_latents(pipe, target, **CAT)
    torch.manual_seed(2)
    two = invert_latents(pipe, target, **CAT)
    assert torch.equal(one.latents, two.latents)


class Played:
    """The generators of a GPU that is not here: a state that seeding changes."""

    def __init__(self) -> None:
        self.state = torch.tensor([7])

    def manual_seed(self, seed: int) -> None:
        self.state = torch.tensor([seed])

    def get(self) -> Any:
        return self.state.clone()

    def put(self, state: Tensor) -> None:
        self.state = state


@pytest.mark.parametrize("ending", [None, ValueError])
def test_the_generators_of_other_gpus_are_put_back(
    ending: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``torch.manual_seed`` seeds those of Apple's and Intel's, too."""
    apple, intel = Played(), Played()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "manual_seed", apple.manual_seed)
    monkeypatch.setattr(torch.mps, "get_rng_state", apple.get)
    monkeypatch.setattr(torch.mps, "set_rng_state", apple.put)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.xpu, "manual_seed_all", intel.manual_seed)
    monkeypatch.setattr(torch.xpu, "get_rng_state_all", intel.get)
    monkeypatch.setattr(torch.xpu, "set_rng_state_all", intel.put)
    with suppress(ValueError), untouched(SimpleNamespace()):
        torch.manual_seed(3)
        assert apple.state == intel.state == 3
        if ending is not None:
            raise ending
    assert apple.state == intel.state == 7
