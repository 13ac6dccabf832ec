"""Evaluations a second, the price of a derivative, and memory, of a network of full size."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..denoisers import Guided, guided
from ..fixed_rows import compiled
from ..inverters import stepwise, whole_trajectory
from ..memory import in_use, peak, reset_peak
from ..newton import forward_mode
from ..pipelines import UNet
from ..rootfind import anderson
from ..sampling import sample
from ..schedule import Schedule
from ..solvers import ddim, dpm_solver_pp_2m
from ..split import now
from .full_size import TOKENS
from .networks import Built, Transformer, built

WORKS = ("sampling", "whole_trajectory", "stepwise")
NUMBERS = (*WORKS, "jvp_cost", "peak_gb", *(f"{work}_gb" for work in WORKS))
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
    tf32: bool = False,
    derivative: bool = True,
) -> list[dict[str, Any]]:
    """Measure what sampling and inversion cost with random weights, one row per batch size.

    The inversions make a fixed number of rounds, since random weights are no denoiser and need
    not converge: only cost is measured.

    Args:
        arch: ``sd15``, ``sd21``, ``sdxl``, ``sd3``, ``flux``, ``wan`` or ``tiny``.
        steps: steps of the samplers.
        rounds: most evaluations of each equation in an inversion.
        batch_sizes: images at once.
        dtype: of the network; the state is float64.
        device: where to run.
        compile: whether to compile the network, once for all rounds
            (:func:`~invlib.compiled`; never inside a derivative).
        guidance: guidance scale; above 1 an evaluation is two rows of the network.
        size: height and width of the latents; by default the architecture's own.
        tf32: whether float32 products may be rounded to TF32, on a GPU that has it.
        derivative: whether to time a derivative, too, which takes more memory.

    Returns:
        Rows with the setting (``load``: how many processes wanted the CPU at the start, where the
        system says so), the evaluations a second of ``sampling`` (DPM-Solver++(2M)), of its
        ``whole_trajectory`` inversion and of the ``stepwise`` inversion of DDIM, the time of a
        forward-mode derivative in evaluations (``jvp_cost``), the peak of memory with the weights
        in it, of each work (``sampling_gb``) and of all with the derivative (``peak_gb``), and
        ``seconds``. A row that does not fit in memory says so in ``note``, and
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
        "tf32": tf32,
        "torch": torch.__version__,
    }
    before = in_use() if on_cpu else None
    rows: list[dict[str, Any]] = []
    net: Built | None = None
    for batch in batch_sizes:
        row = {**setting, "batch": batch, "size": size, "parameters": None, "note": ""}
        began = time.perf_counter()
        try:
            net = net or built(arch, dtype=dtype, device=device, edge=size)
            row["parameters"] = sum(p.numel() for p in net.network.module.parameters())
            row["size"] = net.edge
            problem = Problem.of(net.network, (batch, *net.state), guidance, net.prompt)
            with _rounded(tf32):
                numbers = _measure(problem, steps, rounds, compile, before)
            if derivative:
                numbers |= _derivative(problem, compile, before, numbers["peak_gb"])
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
    def of(
        cls,
        net: UNet | Transformer,
        shape: tuple[int, ...],
        guidance: float,
        prompt: tuple[int, int] | None = None,
    ) -> Problem:
        """Random prompts (of tokens and their numbers) and states ``shape`` for a network."""
        generator, device = torch.Generator().manual_seed(0), net.module.device
        states = torch.randn(shape, generator=generator, dtype=torch.float64)
        size = prompt or (TOKENS, net.module.config.cross_attention_dim)
        prompts = torch.randn(shape[0] + 1, *size, generator=generator)
        prompts = prompts.to(device, net.dtype)
        return cls(guided(net, prompts[:-1], prompts[-1:], guidance), states.to(device))

    def compiled(self) -> AbstractContextManager[None]:
        """Within, the network is compiled, for as many rows as the samples of one node have."""
        net: Any = self.denoiser.network
        return compiled(net.module, len(self.states) * (1 if self.denoiser.scale == 1 else 2))


def _measure(
    problem: Problem, steps: int, rounds: int, compile: bool, before: float | None
) -> dict[str, float | None]:
    """The numbers of one row; ``before`` is the memory in use without the network."""
    denoiser, x = problem.denoiser, problem.states
    grid = Schedule.scaled_linear().grid(steps)
    t = grid.t[:1].expand(len(x)).to(x)
    clock = partial(_clock, device=x.device, warm=compile or x.device.type == "cuda")
    with torch.no_grad(), problem.compiled() if compile else nullcontext():
        denoiser(x, t)
        numbers: dict[str, float | None] = {"jvp_cost": None}
        options: dict[str, Any] = {
            "finder": partial(anderson, max_iterations=rounds),
            "tol": 1e-30,  # never reached: every equation gets all its rounds
        }
        two_m = dpm_solver_pp_2m(grid)
        works: dict[str, Callable[[], Any]] = {
            "sampling": lambda: sample(denoiser, x, two_m),
            "whole_trajectory": lambda: whole_trajectory(
                denoiser, x, two_m, finish=None, **options
            ),
            "stepwise": lambda: stepwise(denoiser, x, ddim(grid), **options),
        }
        for name, work in works.items():
            reset_peak(x.device)
            seconds, result = clock(work)
            numbers[name] = int(result.nfe.sum()) / seconds
            numbers[f"{name}_gb"] = peak(x.device, before)
    peaks = [numbers[f"{name}_gb"] for name in works]
    return {**numbers, "peak_gb": max((p for p in peaks if p is not None), default=None)}


def _derivative(
    problem: Problem, compile: bool, before: float | None, least: float | None
) -> dict[str, float | None]:
    """Time of a forward-mode derivative, in evaluations, and the peak of memory with it."""
    denoiser, x = problem.denoiser, problem.states
    t = Schedule.scaled_linear().grid(1).t[:1].expand(len(x)).to(x)
    reset_peak(x.device)
    with torch.no_grad():
        once, _ = _clock(lambda: denoiser(x, t), device=x.device, warm=True)
        forward_mode(torch.sin, x, x)  # loads what PyTorch needs for it
        warm = compile or x.device.type == "cuda"
        work = partial(forward_mode, lambda y: denoiser(y, t).to(y), x, x)
        jvp, _ = _clock(work, device=x.device, warm=warm)
    most = peak(x.device, before)
    both = least if most is None or least is None else max(most, least)
    return {"jvp_cost": jvp / once, "peak_gb": both}


@contextmanager
def _rounded(tf32: bool) -> Iterator[None]:
    """Products of float32 in TF32 or not, inside."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = tf32
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def _clock(work: Callable[[], Any], *, device: torch.device, warm: bool) -> tuple[float, Any]:
    """Seconds that ``work`` takes, after one more run if ``warm``, and its result."""
    if warm:
        work()
    began = now(device)
    result = work()
    return now(device) - began, result
