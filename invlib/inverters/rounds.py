"""Rounds of a multisecant search: N states a sample, evaluated together, and the next step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from ..evaluator import Evaluator
from ..memory import free_bytes, is_full
from ..rootfind import Search
from ..words import Reason
from .secants import Pairs, gaussian_derivative
from .trajectory import along_time, equation_sizes, gaussian_matrix, outputs, residual

NEAR = 10  # times round-off: a residual from which on a search looks whether it gains any more
CLOSE = 1e-2  # relative residual from which on a search wanders no more: it nears a root, or not
CLOSE_PATIENCE = 25  # rounds without progress there after which it counts as stalled
DROP = 0.3  # a pair is left out if less than this share of it is new
CAP = 0.5  # longest step, relative to the states
SHARE, LEAST = 0.25, 4  # of free memory that pairs may take; pairs that are kept in any case
UNKNOWNS = 2000  # most pairs of a sample, all nodes together
COPIES = 3  # of the states that a pair takes: two, and one more while pairs are copied
T = TypeVar("T")


@dataclass
class Rounds:
    """Where a multisecant search stands, and what it has learnt.

    Attributes:
        evaluator: network, solver and count.
        image: the fixed last states of the samples at work, ``[k, ...]``.
        rows: which samples these are, ``[k]`` on the CPU.
        y: their other states, ``[k, N, ...]``.
        inverse: the inverse of the equations' matrix for Gaussian data, ``[N, N]``.
        pairs: what is known of the derivative at every node.
    """

    evaluator: Evaluator
    image: Tensor
    rows: Tensor
    y: Tensor
    inverse: Tensor
    pairs: Pairs

    @classmethod
    def start(
        cls,
        evaluator: Evaluator,
        image: Tensor,
        states: Tensor,
        *,
        memory: int,
        variance: float = 0.5,
    ) -> Rounds:
        """Begin at states y_0 ... y_n, ``[n+1, B, ...]`` or without the last.

        There are at most ``memory`` pairs; see :func:`most_pairs`.
        """
        solver = evaluator.solver
        inverse = torch.linalg.inv(gaussian_matrix(solver, variance))
        rows = torch.arange(len(image))
        y = states[: solver.steps].transpose(0, 1).contiguous()
        derivative = gaussian_derivative(solver, variance)
        memory, dtype = most_pairs(memory, solver.steps, y.numel(), free_bytes(y.device))
        pairs = Pairs.empty(derivative, inverse @ solver.b, memory, DROP, y.flatten(2), dtype)
        return cls(evaluator, image, rows, y, inverse, pairs)

    def evaluate(self) -> Tensor:
        """Evaluate all states in one call and learn from it; the residual, ``[k, N, ...]``."""
        m = self._remembering(partial(outputs, self.evaluator, self.y, self.rows))
        return self.learn(m)

    def learn(self, m: Tensor) -> Tensor:
        """Learn from the outputs m at the states; the residual there."""
        self._remembering(partial(self.pairs.add, self.y.flatten(2), m.flatten(2)))
        return residual(self.evaluator.solver, self.image, self.y, m)

    @property
    def outputs(self) -> Tensor:
        """The outputs at the states that were evaluated last, ``[k, N, ...]``."""
        assert self.pairs.last is not None
        return self.pairs.last[1].view_as(self.y)

    def move(self, r: Tensor) -> None:
        """Take the quasi-Newton step from where the residual is r, at most ``CAP`` long."""
        step = self._remembering(partial(self.pairs.step, along_time(self.inverse, r).flatten(2)))
        size = step.flatten(1).norm(dim=1) / self.y.flatten(1).norm(dim=1).clamp(min=1e-300)
        shorter = (CAP / size.clamp(min=CAP))[:, None, None]
        self.y = self.y + (shorter * step).view_as(self.y)

    def _remembering(self, work: Callable[[], T]) -> T:
        """Do what needs the pairs; where memory is full, with the newer half of them."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_full(error) or not self.pairs.count:
                    raise
            self.pairs.forget()  # out of the handler, which keeps what the work had made alive

    def keep(self, which: Tensor) -> None:
        """Go on with the samples ``which [k]`` only."""
        self.pairs.keep(which)
        self.image, self.rows, self.y = (v[which] for v in (self.image, self.rows, self.y))

    def part(self, which: Tensor) -> Rounds:
        """The samples ``which [k]`` for themselves, with what is known about them."""
        found = replace(self, pairs=replace(self.pairs))
        found.keep(which)
        return found

    def only(self, k: int) -> Rounds:
        """Sample number k of these for itself."""
        return self.part(torch.arange(len(self.rows)) == k)

    def go_to(self, y: Tensor, evaluator: Evaluator | None = None) -> None:
        """Continue at other states, or with another network; the pairs are kept."""
        self.y, self.pairs.last = y, None
        self.evaluator = evaluator or self.evaluator


def most_pairs(
    memory: int, steps: int, numbers: int, free: float | None
) -> tuple[int, torch.dtype]:
    r"""How many pairs a node keeps, and in which dtype.

    .. math:: K = \min(\text{memory}, \max(4, 2000 / N)), \qquad
              K' = \min\!\Big(K, \max\!\Big(4, \frac{F/4}{3\cdot 4\,N D}\Big)\Big)
              \ \text{in float32 if}\ 3\cdot 8\,K N D > F/4

    A step solves a system of the pairs of all nodes together. Three, because one more copy of the
    states is made while a pair is put before the others.

    Args:
        memory: most pairs.
        steps: N.
        numbers: N D, of all samples together.
        free: F, the memory that is free when the search begins, in bytes; None for plenty.
    """
    memory = min(memory, max(LEAST, UNKNOWNS // steps))
    if free is None or memory * COPIES * 8 * numbers <= SHARE * free:
        return memory, torch.float64
    return min(memory, max(LEAST, int(SHARE * free / (COPIES * 4 * numbers)))), torch.float32


def join(parts: Sequence[Rounds]) -> Rounds:
    """Several searches with one network as one; all continue at states not evaluated yet."""
    images, rows, y = (torch.cat([getattr(p, n) for p in parts]) for n in ("image", "rows", "y"))
    pairs = Pairs.join([part.pairs for part in parts])
    return replace(parts[0], image=images, rows=rows, y=y, pairs=pairs)


@dataclass(frozen=True)
class Attempt:
    """Where rounds have ended, for every sample that took part.

    Attributes:
        rows: which samples these are, ``[k]``.
        y: the states with the smallest residual, ``[k, N, ...]``.
        residual: that residual, relative, ``[k]``.
        sizes: the same for every equation, ``[k, N]``.
        iterations: rounds, ``[k]``.
        reason: why each ended: ``converged``, ``stalled``, ``diverged``, ``budget``,
            ``interrupted``, or ``error`` where memory is too small for a single state.
        learnt: the search of every sample for itself, to go on from.
    """

    rows: Tensor
    y: Tensor
    residual: Tensor
    sizes: Tensor
    iterations: Tensor
    reason: tuple[Reason, ...]
    learnt: tuple[Rounds, ...]


def converge(
    rounds: Rounds,
    r: Tensor,
    *,
    tol: Tensor | float,
    goal: Tensor | float,
    max_iterations: int | Tensor,
    patience: int,
) -> Attempt:
    """Go from round to round until no sample is left.

    Where memory is full, the older half of the pairs is forgotten; if there are none, the samples
    at work end with the best so far.

    Args:
        rounds: where to start; its samples are not to be used afterwards.
        r: the residual there, ``[k, N, ...]``.
        tol: relative residual at which a sample is done.
        goal: relative residual, above ``tol``, from which on it is done as soon as one more round
            gains less than a factor of 3: round-off.
        max_iterations: most rounds, one number or ``[k]``.
        patience: rounds without 10 % progress before a sample counts as stalled, or
            ``CLOSE_PATIENCE`` below ``CLOSE`` if that is fewer.
    """
    rows, count = rounds.rows, len(rounds.rows)
    search = Search(rounds.y, tol, max_iterations, patience, goal=goal)
    goal = torch.as_tensor(goal, dtype=torch.float64, device="cpu").expand(count)
    sizes = torch.full((count, r.shape[1]), torch.inf, dtype=torch.float64, device=r.device)
    learnt: dict[int, Rounds] = {}
    while len(rounds.rows):
        at = search.rows
        equations = equation_sizes(rounds.image, rounds.y, r)
        best = search.residual[at]
        go_on = search.observe(rounds.y, r)
        now = search.residual[at]
        sizes[at[now < best]] = equations[now < best]
        settled = (best <= goal[at]) & (now > best / 3)
        go_on = search.leave(go_on, settled, "converged")
        tired = (now < CLOSE) & (search.since[at] >= CLOSE_PATIENCE)
        go_on = search.leave(go_on, tired, "stalled")
        for k in (~go_on).nonzero().flatten().tolist():
            learnt[int(at[k])] = rounds.only(k)
        rounds.keep(go_on)
        try:
            if len(rounds.rows):
                rounds.move(r[go_on])
                r = rounds.evaluate()
        except (RuntimeError, MemoryError) as error:
            if not is_full(error):
                raise
            warnings.warn(f"memory is full, even for one state and no pairs: {error}", stacklevel=2)
            learnt |= {row: rounds.only(k) for k, row in enumerate(search.rows.tolist())}
            search.stop(torch.ones_like(search.rows, dtype=torch.bool), "error")
            break
    root = search.root()
    reason = tuple(
        "converged" if size <= most else why
        for size, most, why in zip(root.residual.tolist(), goal.tolist(), root.reason, strict=True)
    )
    parts = tuple(learnt[k] for k in range(count))
    return Attempt(rows, root.x, root.residual, sizes, root.iterations, reason, parts)
