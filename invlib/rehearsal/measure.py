"""Evaluations a second, the price of a derivative, and memory, of a network of full size."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..denoisers import Guided, guided
from ..inverters import stepwise, whole_trajectory
from ..memory import in_use, peak, reset_peak
from ..newton import forward_mode
from ..pipelines import UNet
from ..rootfind import anderson
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import ddim, dpm_solver_pp_2m
from .architectures import random_network

TOKENS = 77
NUMBERS = ("sampling", "whole_trajectory", "stepwise", "jvp_cost", "peak_gb")
NO_MEMORY = re.compile("out of memory|allocate memory|not enough memory", re.IGNORECASE)


def rehearse(
    arch: str = "sd21",
    *,
    steps: int = 2,
    rounds: int = 2,
    batch_sizes: Sequence[int] = (1,),
    dtype: str = "float32",
    device: str = "cpu",
    compile: bool = False,
    guidance: float = 1.0,
    size: int | None = None,
) -> list[dict[str, Any]]:
    """Measure what sampling and inversion cost with random weights, one row per batch size.

    The inversions make a fixed number of rounds, since random weights are no denoiser and need
    not converge: only cost is measured.

    Args:
        arch: ``sd15``, ``sd21``, ``sdxl`` or ``tiny``.
        steps: steps of the samplers.
        rounds: most evaluations of each equation in an inversion.
        batch_sizes: images at once.
        dtype: of the network; the state is float64.
        device: where to run.
        compile: whether to run ``torch.compile`` on the network (never inside a derivative).
        guidance: guidance scale; above 1 an evaluation is two rows of the network.
        size: height and width of the latents; by default the architecture's own.

    Returns:
        Rows with the setting (``load``: how many processes wanted the CPU at the start, where the
        system says so), the evaluations a second of ``sampling`` (DPM-Solver++(2M)), of its
        ``whole_trajectory`` inversion and of the ``stepwise`` inversion of DDIM, the time of a
        forward-mode derivative in evaluations (``jvp_cost``), ``peak_gb`` of memory with the
        weights in it, and ``seconds``. A row that does not fit in memory says so in ``note``, and
        its numbers are None.

    Raises:
        ValueError: if a name is unknown or a number is below 1.
    """
    if min(steps, rounds, *batch_sizes, 1 if size is None else size) < 1:
        raise ValueError("steps, rounds, sizes and batch sizes must be at least 1")
    on_cpu = torch.device(device).type == "cpu"
    setting = {
        "arch": arch,
        "device": "CPU" if on_cpu else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads() if on_cpu else None,
        "load": round(os.getloadavg()[0], 1) if on_cpu and hasattr(os, "getloadavg") else None,
        "dtype": dtype,
        "compile": compile,
        "guidance": guidance,
        "steps": steps,
        "rounds": rounds,
        "torch": torch.__version__,
    }
    before = in_use() if on_cpu else None
    rows: list[dict[str, Any]] = []
    net: UNet | None = None
    for batch in batch_sizes:
        row = {**setting, "batch": batch, "size": size, "parameters": None, "note": ""}
        began = time.perf_counter()
        try:
            net = net or random_network(arch, dtype=dtype, device=device)
            row["parameters"] = sum(p.numel() for p in net.module.parameters())
            row["size"] = edge = size or net.module.config.sample_size
            problem = Problem.of(net, (batch, net.module.config.in_channels, edge, edge), guidance)
            numbers = _measure(problem, steps, rounds, compile, before)
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not NO_MEMORY.search(str(error)):
                raise
            row["note"], numbers = "out of memory", dict.fromkeys(NUMBERS)
        rows.append({**row, **numbers, "seconds": time.perf_counter() - began})
    return rows


@dataclass(frozen=True)
class Problem:
    """A denoiser with random prompts, and states to evaluate it at."""

    denoiser: Guided
    states: Tensor

    @classmethod
    def of(cls, net: UNet, shape: tuple[int, ...], guidance: float) -> Problem:
        """Random prompts and states ``shape`` for a network."""
        generator = torch.Generator().manual_seed(0)
        device, width = net.module.device, net.module.config.cross_attention_dim
        states = torch.randn(shape, generator=generator, dtype=torch.float64)
        prompts = torch.randn(shape[0] + 1, TOKENS, width, generator=generator)
        prompts = prompts.to(device, net.dtype)
        return cls(guided(net, prompts[:-1], prompts[-1:], guidance), states.to(device))

    def compiled(self) -> Guided:
        """The denoiser with its network compiled."""
        net: Any = self.denoiser.network
        return replace(self.denoiser, network=replace(net, module=torch.compile(net.module)))


def _measure(
    problem: Problem, steps: int, rounds: int, compile: bool, before: float | None
) -> dict[str, float | None]:
    """The numbers of one row; ``before`` is the memory in use without the network."""
    denoiser, x = problem.denoiser, problem.states
    fast = problem.compiled() if compile else denoiser
    grid = Schedule.scaled_linear().grid(steps)
    t = grid.t[:1].expand(len(x)).to(x)
    clock = partial(_clock, device=x.device, warm=compile or x.device.type == "cuda")
    reset_peak(x.device)
    with torch.no_grad():
        once, _ = _clock(lambda: denoiser(x, t), device=x.device, warm=True)
        forward_mode(torch.sin, x, x)  # loads what PyTorch needs for it
        jvp, _ = clock(lambda: forward_mode(lambda y: denoiser(y, t).to(y), x, x))
        numbers: dict[str, float | None] = {"jvp_cost": jvp / once}
        options: dict[str, Any] = {
            "finder": partial(anderson, max_iterations=rounds),
            "tol": 1e-30,  # never reached: every equation gets all its rounds
        }
        two_m = dpm_solver_pp_2m(grid)
        works: dict[str, Callable[[], Any]] = {
            "sampling": lambda: sample(fast, x, two_m),
            "whole_trajectory": lambda: whole_trajectory(fast, x, two_m, finish=None, **options),
            "stepwise": lambda: stepwise(fast, x, ddim(grid), **options),
        }
        for name, work in works.items():
            seconds, result = clock(work)
            numbers[name] = int(result.nfe.sum()) / seconds
    return {**numbers, "peak_gb": peak(x.device, before)}


def _clock(work: Callable[[], Any], *, device: torch.device, warm: bool) -> tuple[float, Any]:
    """Seconds that ``work`` takes, after one more run if ``warm``, and its result."""
    if warm:
        work()
    _wait(device)
    began = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - began, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
