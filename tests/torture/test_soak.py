"""Many inversions in one process: nothing grows, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from amount import amount
from drawn import LEVELS
from perceptron import WIDTH, Perceptron
from stock import SIZE, clean, draw
from tiny_pipelines import SD, build

from invlib import Budget, certify, invert, sample
from invlib.pipelines import invert_image, invert_latents
from invlib.solvers import ddim, dpm_solver_pp_2m

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
FLAT = 0.02  # of the memory: how much more the second half may take than the first
PROC = Path("/proc/self")
CALL = {"prompt": "cat", "guidance_scale": 2.0, "num_inference_steps": 3}
MODULE = Perceptron().requires_grad_(False)


def a_network(number: int) -> None:
    """A plain network, sampled, inverted with a callback and certified."""
    make = ddim if number % 2 else dpm_solver_pp_2m
    solver = make(LEVELS["scaled linear"](0.4, 0.4).grid(4 + number % 3))
    image = sample(MODULE, draw(2, WIDTH, seed=number), solver).image
    budget, progress = Budget(evaluations=200, seconds=60), []
    found = invert(MODULE, image, solver, budget=budget, callback=lambda p: progress.append(p))
    certify(MODULE, found, solver, vectors=2)


def some_latents(pipe: Any, number: int) -> None:
    call = {**CALL, "prompt": ["red cat", "dog"][number % 2]}
    target = clean(pipe, call, draw(1, 4, 8, 8, seed=number))
    invert_latents(pipe, target, options={"budget": Budget(evaluations=60)}, **call)


def a_picture(pipe: Any, number: int) -> None:
    picture = pipe(**CALL, **SIZE, latents=draw(1, 4, 8, 8, seed=number), output_type="np").images
    bytes_ = (255 * picture).round().astype(np.uint8)
    invert_image(pipe, bytes_[0], budget=Budget(evaluations=60), decoder="encoder", **CALL)


def a_refusal(pipe: Any, number: int) -> None:
    """An error half-way leaves nothing behind, either."""
    hook = pipe.unet.register_forward_hook(lambda m, a, out: (out[0] * torch.nan,))
    try:
        with pytest.raises(ValueError, match="NaN"):
            invert_latents(pipe, draw(1, 4, 8, 8, seed=number), **CALL)
    finally:
        hook.remove()


def made() -> Any:
    return build(tiny.stable_diffusion, diffusers.DDIMScheduler(**SD, clip_sample=False))


def inversion(pipe: Any, number: int) -> None:
    kinds = (a_network, some_latents, a_picture, some_latents, a_refusal)
    kind = kinds[number % len(kinds)]
    kind(number) if kind is a_network else kind(pipe, number)  # type: ignore[call-arg]


def left_behind(pipe: Any) -> Counter[str]:
    """What a process has that could be left over: hooks, patches, handles, threads, tensors."""
    gc.collect()
    modules = [
        m
        for part in pipe.components.values()
        if isinstance(part, torch.nn.Module)
        for m in part.modules()
    ]
    found = Counter(
        {
            "hooks": sum(len(getattr(m, name)) for m in [*modules, MODULE] for name in HOOKS),
            "own attributes of the pipeline": len(vars(pipe)),
            "own attributes of the scheduler": len(vars(pipe.scheduler)),
            "threads of Python": threading.active_count(),
            "tensors": sum(isinstance(o, torch.Tensor) for o in gc.get_objects()),
        }
    )
    if PROC.exists():
        found["handles"] = len(os.listdir(PROC / "fd"))
        found["threads of the process"] = len(os.listdir(PROC / "task"))
    return found


def resident() -> int:
    """Bytes in memory."""
    return int((PROC / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def patched(pipe: Any) -> dict[type, dict[str, Any]]:
    """The methods of a pipeline's and a scheduler's class; Python adds names with underscores."""
    classes = (type(pipe), type(pipe.scheduler))
    return {cls: {k: v for k, v in vars(cls).items() if not k.startswith("__")} for cls in classes}


def test_nothing_is_left_behind() -> None:
    pipe, handler = made(), signal.getsignal(signal.SIGINT)
    classes = patched(pipe)
    for number in range(5):
        inversion(pipe, number)
    before = left_behind(pipe)
    for number in range(5):
        inversion(pipe, number)
    assert left_behind(pipe) == before
    assert patched(pipe) == classes
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.torture
@pytest.mark.skipif(not PROC.exists(), reason="memory is read from /proc")
def test_two_hundred_inversions_take_no_more_memory_than_the_first(
    counted: Callable[..., None],
) -> None:
    pipe, used, count = made(), [], amount(20, 200)
    for number in range(count):
        inversion(pipe, number)
        gc.collect()
        used.append(resident())
        if number == count // 10:
            before = left_behind(pipe)
    counted("cases", count)
    assert left_behind(pipe) == before
    early, late = median(used[count // 10 : count // 2]), median(used[count // 2 :])
    assert late < (1 + FLAT) * early, f"{late / early - 1:.1%} more memory"
