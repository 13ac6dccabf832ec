"""How many states to put into one call of a network: measured on the machine at hand."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .denoisers import Denoiser, check_rows
from .devices import beside, home_of, lifted
from .memory import free_bytes, in_use, is_full, peak, reset_peak
from .sampling import as_state
from .solvers import Solver

ENOUGH = 1.05  # a batch within 5 % of the fastest is as good, and smaller
SHARE = 0.5  # of the free memory that a call may take


@dataclass(frozen=True)
class BatchTimes:
    """Seconds of one evaluation in batches of several sizes.

    Attributes:
        sizes: states of one call, rising.
        seconds: of one evaluation in a call of that many, without the first such call.
        gigabytes: peak of a call beyond what was in use; None where nobody tells.
        ended: why no larger one was tried: ``states`` (there are no more), ``memory`` (it would
            not fit) or ``time`` (the last one was no faster).
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    gigabytes: tuple[float | None, ...]
    ended: str

    @property
    def max_batch(self) -> int:
        """The smallest size that is as fast as the fastest, for the option of this name."""
        least = min(self.seconds)
        pairs = zip(self.sizes, self.seconds, strict=True)
        return next(size for size, seconds in pairs if seconds <= ENOUGH * least)

    @property
    def evaluations(self) -> int:
        """Evaluations that the measurement took; every size is called twice."""
        return 2 * sum(self.sizes)


@torch.no_grad()
def batch_times(
    denoiser: Denoiser, image: Tensor, solver: Solver, *, most: int | None = None
) -> BatchTimes:
    r"""Time a network at 1, 2, 4 ... of the states that a search has at once.

    A round of the search has :math:`N B` states, of N nodes and B samples. A GPU is idle where a
    call has few of them, and full where it has many. Sizes are doubled until there are no more
    states, a call would take half of the free memory, or one is no faster than the one before.

    Args:
        denoiser: the network.
        image: an image, or anything of its shape, ``[B, ...]``.
        solver: the sampler.
        most: largest size to try; by default all states.

    Raises:
        ValueError: if the rows do not fit the network, or ``most`` is below 1.
    """
    home = home_of(denoiser, image)
    denoiser, image = beside(denoiser, image), as_state(lifted(image), "image")
    check_rows(denoiser, image, "image")
    if most is not None and most < 1:
        raise ValueError(f"most is {most}: give at least 1")
    states = solver.steps * len(image)
    sizes: list[int] = []
    seconds: list[float] = []
    gigabytes: list[float | None] = []
    size, ended = 1, "states"
    while size <= min(most or states, states):
        try:
            took, used = _measure(denoiser, image, solver, size, home)
        except (RuntimeError, MemoryError) as error:
            if not sizes or not is_full(error):
                raise
            ended = "memory"
            break
        sizes.append(size)
        seconds.append(took / size)
        gigabytes.append(used)
        if len(seconds) > 1 and seconds[-1] > seconds[-2]:
            ended = "time"
            break
        free = free_bytes(home)
        if used is not None and free is not None and 2 * used * 1e9 > SHARE * free:
            ended = "memory"
            break
        size *= 2
    return BatchTimes(tuple(sizes), tuple(seconds), tuple(gigabytes), ended)


def _measure(
    denoiser: Denoiser, image: Tensor, solver: Solver, size: int, device: torch.device
) -> tuple[float, float | None]:
    """Seconds of the second of two calls on ``size`` states, and the peak of memory in GB."""
    places = torch.arange(size, device=image.device)
    rows, nodes = places % len(image), places // len(image)
    y = image[rows]
    held = torch.cuda.memory_allocated(device) / 1e9 if device.type == "cuda" else in_use()
    reset_peak(device)
    solver.output(denoiser, y, nodes, rows)
    began = now(device)
    solver.output(denoiser, y, nodes, rows)
    took = now(device) - began
    used = peak(device, held)
    if used is not None and device.type == "cuda":
        used -= held or 0.0
    return took, used


def now(device: torch.device) -> float:
    """Seconds: by the clock, or of this process alone where it has one thread of a shared CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()
