"""Calling a network: evaluations counted for every sample, in parts, with derivatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from .denoisers import Denoiser, check_rows, differences, jvp_cost, own_loop
from .newton import forward_mode
from .room import Parts
from .sampling import as_state, steps
from .solvers import Solver
from .watch import count


@dataclass
class Evaluator:
    """A denoiser, a solver, and the evaluations that every sample paid for.

    One evaluation is one call on one sample; with guidance the conditional and the empty prompt
    go in one batch and count once. A forward-mode derivative counts as two, a reverse-mode one
    as three.
    """

    denoiser: Denoiser
    solver: Solver
    counts: list[int]
    max_batch: int | None = None
    cost: int = field(default=1, init=False)
    parts: Parts = field(init=False)

    def __post_init__(self) -> None:
        self.parts = Parts(self.max_batch, differences(self.denoiser) is not None)

    @classmethod
    def start(
        cls, denoiser: Denoiser, image: Tensor, solver: Solver, *, max_batch: int | None = None
    ) -> tuple[Evaluator, Tensor]:
        """Check the image and begin a count."""
        image = as_state(image, "image")
        if solver.sigma[0] <= solver.sigma[-1]:
            raise ValueError(f"{solver.name} goes from image to noise: give the sampler itself")
        check_rows(denoiser, image, "image")
        return cls(denoiser, solver, [0] * len(image), max_batch), image

    @property
    def nfe(self) -> Tensor:
        """Evaluations that each sample paid for, ``[B]``."""
        return torch.tensor(self.counts)

    def output(self, y: Tensor, node: int | Tensor, rows: Tensor) -> Tensor:
        """Outputs of the network at states ``y [k, ...]`` of samples ``rows``, nodes counted."""
        nodes = torch.full(rows.shape, node, device=y.device) if isinstance(node, int) else node
        return self.call(partial(self.solver.output, self.denoiser), y, nodes, rows)

    def call(self, function: Callable[..., Tensor], y: Tensor, *more: Tensor) -> Tensor:
        """``function(y, *more, rows)``, rows last, in parts of ``max_batch`` and counted.

        A part takes a share of the free memory at most (:mod:`invlib.room`). Where memory is full,
        the parts are halved, from here on, and what is computed is kept.
        """
        self.count(more[-1])
        done = self.parts.map(function, y, *more, cost=self.cost)
        self.max_batch = self.parts.most
        return torch.cat(done)

    def count(self, rows: Tensor) -> None:
        """Note one evaluation of each of the samples ``rows``."""
        times = Counter(rows.tolist())  # no tensors: may run inside a derivative
        paid = {row: self.cost * number for row, number in times.items()}
        for row, number in paid.items():
            self.counts[row] += number
        count(paid)

    @contextmanager
    def derivative(self, cost: int) -> Iterator[None]:
        """Count evaluations ``cost`` times: 2 with a forward-mode, 3 with a reverse-mode pass."""
        self.cost = cost
        try:
            yield
        finally:
            self.cost = 1

    def jvp(self, function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
        """A forward-mode product through the network, at the cost of two evaluations or three."""
        with self.derivative(jvp_cost(self.denoiser)):
            return forward_mode(function, x, v)


def sampled(evaluator: Evaluator, y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sample on from first states y ``[k, ...]``: states and outputs ``[k, N, ...]``, and the end.

    One evaluation a step, one after the other.
    """
    solver, loop = evaluator.solver, own_loop(evaluator.denoiser)
    if loop is not None:
        evaluator.count(rows.repeat_interleave(solver.steps))
        return loop.select(rows).sampled(y, solver)
    run = [*steps(solver, lambda y, i: evaluator.output(y, i, rows), y)]
    states, found = (torch.stack([step[part] for step in run], 1) for part in (0, 1))
    return states, found, run[-1][2]
