"""Random calls of five small pipelines: either the stock call confirms the answer, or it says no.

The property: an inversion ends in a verdict ``exact``, and then the stock call gives the target
back to what the certificate says; or it says that it is not exact; or it is refused in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers
import tiny_pipelines as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stock import clean, draw
from tiny_pipelines import SD, build

from invlib import nmse
from invlib.pipelines import invert_latents
from invlib.precision import DOUBLE
from invlib.watch import Budget

MAKERS: Mapping[str, Any] = {
    "SD": tiny.stable_diffusion,
    "SDXL": tiny.stable_diffusion_xl,
    "SD3": tiny.stable_diffusion_3,
    "Flux": tiny.flux,
    "DDPM": tiny.pixels,
}
DIFFUSION: Mapping[str, Any] = {
    "DDIM": lambda: diffusers.DDIMScheduler(**SD, clip_sample=False),
    "Euler": lambda: diffusers.EulerDiscreteScheduler(**SD),
    "Heun": lambda: diffusers.HeunDiscreteScheduler(**SD),
    "2M": lambda: diffusers.DPMSolverMultistepScheduler(**SD),
    "2M v": lambda: diffusers.DPMSolverMultistepScheduler(**SD, prediction_type="v_prediction"),
    "UniPC": lambda: diffusers.UniPCMultistepScheduler(**SD),
    "PNDM": lambda: diffusers.PNDMScheduler(**SD, skip_prk_steps=True),
    "ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(**SD),
    "clipped": lambda: diffusers.DDIMScheduler(**SD),
}
FLOW: Mapping[str, Any] = {
    "flow Euler": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow dynamic": lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    "flow Heun": lambda: diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0),
}
UNABLE: Mapping[str, set[str]] = {  # which some pipelines do not drive
    "Flux": {"flow Heun"},
    "DDPM": {"Heun", "PNDM", "UniPC"},
}
HALF = [torch.float16, torch.bfloat16]
WORDS = st.lists(st.sampled_from(["red", "cat", "blue", "dog", "a", ""]), max_size=3).map(" ".join)
OUTCOMES: Counter[str] = Counter()


@cache
def pipeline(name: str, dtype: torch.dtype) -> Any:
    """A small pipeline whose network moves little, so that a short search may end exact."""
    pipe = build(MAKERS[name], dtype=dtype)
    last = pipe.unet.conv_out if hasattr(pipe, "unet") else pipe.transformer.proj_out
    last.weight.mul_(0.2)
    return pipe


@st.composite
def cases(draws: Any) -> tuple[str, str, torch.dtype, tuple[int, ...], dict[str, Any]]:
    """A pipeline, scheduler, dtype, the shape of its noise, and a call."""
    name = draws(st.sampled_from(sorted(MAKERS)))
    own = FLOW if name in ("SD3", "Flux") else DIFFUSION
    scheduler = draws(st.sampled_from(sorted(set(own) - UNABLE.get(name, set()))))
    half = torch.float16 if name == "DDPM" else draws(st.sampled_from(HALF))  # it needs numpy
    dtype = draws(st.sampled_from([torch.float64, torch.float32, half]))
    batch = draws(st.integers(1, 3))
    many = draws(st.sampled_from([False] * 5 + [True]))
    steps = draws(st.integers(5, 20) if many else st.integers(1, 4))
    call: dict[str, Any] = {"num_inference_steps": steps}
    if name == "DDPM":
        return name, scheduler, dtype, (batch, 3, 8, 8), {**call, "batch_size": batch}
    height, width = (draws(st.sampled_from([8, 8, 8, 16, 24])) for _ in range(2))
    call |= {"height": height, "width": width}
    call["guidance_scale"] = draws((st.floats(1, 3) | st.floats(1, 8)).map(lambda v: round(v, 2)))
    if draws(st.booleans()):
        call["prompt"] = [draws(WORDS) for _ in range(batch)]
    else:
        call |= {"prompt": draws(WORDS), "num_images_per_prompt": batch}
    if name != "Flux" and draws(st.booleans()):
        one = isinstance(call["prompt"], str)
        call["negative_prompt"] = draws(WORDS) if one else [draws(WORDS) for _ in range(batch)]
    if name in ("SD3", "Flux"):  # at their own 256 or 512 tokens the network does little else
        call["max_sequence_length"] = draws(st.integers(6, 16))
    if name == "SDXL" and draws(st.booleans()):
        call["original_size"] = (draws(st.integers(8, 99)), draws(st.integers(8, 99)))
    if name in ("SD", "SDXL") and draws(st.integers(0, 4)) == 0:
        call["guidance_rescale"] = 0.6
    latent = (batch, 4, height // 2, width // 2)
    packed = (batch, height * width // 16, 16)
    return name, scheduler, dtype, packed if name == "Flux" else latent, call


@settings(max_examples=100, derandomize=True, deadline=None)
@given(cases(), st.integers(0, 99))
def check(case: Any, seed: int) -> None:
    name, scheduler, dtype, shape, call = case
    pipe = pipeline(name, dtype)
    pipe.scheduler = {**DIFFUSION, **FLOW}[scheduler]()
    noise = draw(*shape, seed=seed, dtype=dtype)
    target = clean(pipe, call, noise)
    few = min(12 * call["num_inference_steps"], 32)
    options = {"budget": Budget(evaluations=few), "method": "multisecant"}
    try:
        result = invert_latents(pipe, target, options=options, **call)
    except ValueError as error:
        assert len(str(error)) > 30
        if torch.isfinite(target).all():
            coarse = dtype in HALF and "is too coarse for it" in str(error)
            assert scheduler in ("ancestral", "clipped") or coarse, error
        OUTCOMES["refused"] += 1
        return
    random = scheduler == "ancestral" and call["num_inference_steps"] > 1  # the last draws nothing
    assert scheduler != "clipped" and not random
    assert result.latents.shape == shape and result.latents.dtype == dtype
    assert result.certificate is not None
    trip = nmse(clean(pipe, call, result.latents).double(), target.double())
    stated = result.certificate.round_trip
    torch.testing.assert_close(trip, stated, rtol=1e-3, atol=1e-26, equal_nan=True)
    double = dtype == torch.float64 and scheduler == "DDIM"  # the others step in float32
    for row, verdict in enumerate(result.certificate.verdict):
        OUTCOMES[verdict] += 1
        if verdict == "exact":
            limit = result.certificate.limit[row]
            half = dtype in (torch.float16, torch.bfloat16)
            assert trip[row] < limit < (1e-18 if double else 0.1 if half else 1e-3)
        else:
            assert not trip[row] < DOUBLE
            assert verdict == "approximate" or not trip[row] < 0.1


def test_no_error_is_silent() -> None:
    check()
    assert OUTCOMES["exact"] > 12 and OUTCOMES["refused"] > 2
