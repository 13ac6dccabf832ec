"""The default: one search for the noise, judged by sampling again, within one budget."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from ..denoisers import Denoiser, nodewise, select
from ..evaluator import Evaluator, sampled
from ..inversion import Inversion, Origin
from ..metrics import nmse
from ..precision import DRAWS, MOST, Roundoff, finer, raised, roundoff, step_tolerance
from ..rootfind import anderson, relative_size
from ..shapes import column
from ..solvers import Solver
from ..watch import enter, stopped
from ..words import Reason
from .rounds import CLOSE, NEAR, Attempt, Rounds, converge, join
from .starts import one_step_states, random_states, scattered_states
from .stepwise import by_steps, stepwise
from .trajectory import equation_sizes, residual

GAIN = 0.5  # a sampling run that ends no nearer than this times the one before gains nothing
SEED = 1000  # of the starts for another noise; those for the first have smaller ones
FINER = 1e-3  # how much smaller the round-off of the copy in float64 has to be


@torch.no_grad()
def exact(
    denoiser: Denoiser,
    image: Tensor,
    solver: Solver,
    *,
    max_rounds: int = 600,
    starts: int = 4,
    patience: int = 150,
    memory: int = 100,
    double: bool = True,
    others: int = 0,
    max_batch: int | None = None,
) -> Inversion:
    r"""Invert any deterministic solver to the round-off of the network.

    .. math:: \text{find } y_0:\quad \frac{\|\Phi(y_0) - y_n\|}{\|y_n\|} \le
              \min\bigl(10^{-3/2},\ \max(10^{-5},\ 4\rho)\bigr)

    with the round-off :math:`\rho` of the network, measured; :math:`10^{-10}` if :math:`\rho` is
    below that, as in float64, and up to ten times as much where the sampler does not repeat its
    own image better. First-order samplers are inverted
    step by step; what that leaves over, and every other sampler, by the rounds of
    :func:`multisecant`. Near round-off the sampler runs again from the first state. Where it does
    not end at the image, the search goes on from what it passed through, with all that was learnt
    about derivatives; where float32 does not suffice, with a copy of the network in float64; where
    it makes no progress, from the image noised at random.

    Args:
        denoiser: the network.
        image: image, ``[B, ...]``.
        solver: the sampler's table.
        max_rounds: most rounds a sample, all attempts together; a round is one evaluation a step.
        starts: most starts of a sample.
        patience: rounds without 10 % progress after which a start is given up.
        memory: pairs that every node keeps.
        double: whether a copy of the network in float64 may be made.
        others: how many times a sample that is solved is looked for again, each time from the
            image with other noise at every step. What is found tells whether other noises make
            the same image, and how well the noise is known; see :func:`invlib.certify`.
        max_batch: most states in one network call; by default all steps of all images.

    Returns:
        An :class:`~invlib.inversion.Inversion`. The sampling run whose end is in ``again`` is not
        in ``nfe``: it is the certificate's.

    Raises:
        NotRepeatableError: if the network is random or depends on earlier calls.
    """
    evaluator, image = Evaluator.start(denoiser, image, solver, max_batch=max_batch)
    first = None
    if solver.order_one and nodewise(denoiser):
        first = stepwise(denoiser, image, solver, max_batch=max_batch)
        evaluator.counts[:] = first.nfe.tolist()
        rounds = Rounds.start(evaluator, image, first.states, memory=memory)
        precision = first.roundoff
        assert precision is not None
    else:
        rounds = Rounds.start(evaluator, image, one_step_states(evaluator, image), memory=memory)
        r = rounds.evaluate()
        precision = roundoff(evaluator, rounds.y, rounds.rows, rounds.outputs)
    search = _Search(
        evaluator,
        image,
        rounds.y,
        precision,
        max_rounds,
        starts,
        patience,
        memory,
        double,
        by_step=first is not None,
    )
    begin: Callable[[], list[Group]]
    if first is None:
        begin = partial(search.advance, rounds, r)
    else:
        search.know(first)
        begin = partial(search.judge, rounds, search.residual)
    enter("exact")
    left = search.work(search.attempt(rounds.rows, begin))
    before = evaluator.nfe
    noises = [search.kept(partial(search.look_again, k)) for k in range(others)]
    return replace(search.result(left, noises), nfe_others=evaluator.nfe - before)


T = TypeVar("T")
Group = tuple[Rounds, Tensor | None]  # a search, and the residual where it stands, if known


@dataclass
class _Search:
    """What is known about every sample, and what is still to be tried.

    Attributes:
        evaluator: the given network, which judges.
        image: the images, ``[B, ...]``.
        y: the best states before the image, ``[B, N, ...]``: those whose run ended nearest to the
            image, or those with the smallest residual where none has run yet.
        roundoff: that of the given network.
        by_step: whether the sampler can be inverted step by step.
        finer: the network in float64, once it is needed.
        residual: that residual, relative, ``[B]``.
        sizes: the same for every equation, ``[B, N]``.
        trip: relative distance between the image and the end of the run, ``[B]``.
        again: where it ended, ``[B, ...]``.
        repeat: NMSE between two runs from noises that differ in their last place, ``[B]``.
        spent: rounds, ``[B]``.
        left: starts left, ``[B]``.
        reason: why each search ended.
        solved: the samples that are, and whether the network in float64 was needed.
    """

    evaluator: Evaluator
    image: Tensor
    y: Tensor
    roundoff: Roundoff
    max_rounds: int
    starts: int
    patience: int
    memory: int
    double: bool
    by_step: bool
    finer: Evaluator | None = None
    residual: Tensor = field(init=False)
    sizes: Tensor = field(init=False)
    trip: Tensor = field(init=False)
    again: Tensor = field(init=False)
    repeat: Tensor = field(init=False)
    spent: Tensor = field(init=False)
    left: Tensor = field(init=False)
    reason: list[Reason] = field(init=False)
    solved: dict[int, bool] = field(init=False)

    def __post_init__(self) -> None:
        count, steps = self.y.shape[:2]
        none = torch.full((count,), torch.inf, dtype=self.y.dtype)
        self.y = self.y.clone()
        self.residual, self.trip, self.repeat = none.clone(), none.clone(), none * torch.nan
        self.sizes = none[:, None].repeat(1, steps)
        self.again = torch.full_like(self.image, torch.nan)
        self.spent = torch.zeros(count, dtype=torch.long)
        self.left = torch.full_like(self.spent, self.starts - 1)
        self.reason, self.solved = ["budget"] * count, {}

    def work(self, groups: list[Group]) -> list[Group]:
        """Do what is to be tried, and what follows from it; what a watch has left over."""
        while groups and not stopped():
            rounds, r = groups.pop()
            groups += self.attempt(rounds.rows, partial(self.advance, rounds, r))
        return groups

    def attempt(self, rows: Tensor, begin: Callable[[], list[Group]]) -> list[Group]:
        """What follows from an attempt; if it raises, its samples end, but for the solved ones."""
        following = self.kept(begin)
        if following is not None:
            return following
        left = [row for row in rows.tolist() if row not in self.solved]
        return self.end(torch.tensor(left), ["error"] * len(left))

    def kept(self, attempt: Callable[[], T]) -> T | None:
        """Make an attempt; if it raises, warn, and keep what is known, if anything is."""
        try:
            return attempt()
        except (RuntimeError, MemoryError, NotImplementedError) as error:
            if not self.residual.isfinite().any():
                raise
            warnings.warn(
                f"an attempt at the unsolved samples failed ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); the best so far is kept",
                stacklevel=2,
            )
            return None

    def look_again(self, number: int) -> Tensor:
        """Noises of the solved samples from another start, ``[B, ...]``; NaN where none came.

        Args:
            number: of this start, from 0.
        """
        found = torch.full_like(self.image, torch.nan)
        if not self.solved or stopped():
            return found
        rows = torch.tensor([*self.solved])
        image, solver = self.image[rows] + self.rounding(rows, number), self.evaluator.solver
        start = scattered_states(image, solver, SEED + number)
        rounds = replace(Rounds.start(self.evaluator, image, start, memory=self.memory), rows=rows)
        every = self.image.clone()
        every[rows] = image
        again = replace(self, image=every, starts=1)
        if self.by_step:
            again.work(again.judge(rounds, self.by_steps(self.evaluator, rounds, start)))
        else:
            again.work([(rounds, None)])
        ends = torch.tensor([why == "converged" for why in again.reason], device=found.device)
        found[ends] = again.y[ends, 0] / solver.scale
        return found

    def advance(self, rounds: Rounds, r: Tensor | None) -> list[Group]:
        """Make rounds until they end, and judge them; what is to be tried next."""
        rows, given = rounds.rows, rounds.evaluator is self.evaluator
        attainable = self.roundoff.equations[rows] * (1 if given else FINER)
        found = converge(
            rounds,
            rounds.evaluate() if r is None else r,
            tol=attainable,
            goal=NEAR * attainable,
            max_iterations=(self.max_rounds - self.spent[rows]).clamp(min=1),
            patience=self.patience,
        )
        self.spent[rows] += found.iterations
        self.note(found)
        why = stopped()
        if why:
            return self.end(rows, [why] * len(rows))
        near = torch.tensor([reason == "converged" for reason in found.reason])
        parts = [part for part, ok in zip(found.learnt, near.tolist(), strict=True) if ok]
        following = []
        if parts:
            states = found.y[near]
            together = join(parts)
            together.go_to(states)
            following += self.judge(together, found.residual[near])
        for k in (~near).nonzero().flatten().tolist():
            part, at = found.learnt[k], found.y[k : k + 1]
            close = given and found.reason[k] == "stalled" and found.residual[k] < CLOSE
            following += self.another(part, at, found.reason[k], close=bool(close))
        return joined(following)

    def know(self, first: Inversion) -> None:
        """Begin with what another method has found."""
        self.sizes = first.residuals.to(self.sizes)
        self.residual = self.sizes.nan_to_num(torch.inf).amax(1)

    def note(self, found: Attempt) -> None:
        """Keep the states of an attempt where they are the best and no run has judged yet."""
        rows = found.rows
        better = (found.residual < self.residual[rows]) & self.trip[rows].isinf()
        at = rows[better]
        self.y[at], self.residual[at] = found.y[better], found.residual[better]
        self.sizes[at] = found.sizes[better].cpu()

    def judge(self, rounds: Rounds, size: Tensor) -> list[Group]:
        """Run the sampler from the first states, and say what to do where it misses the image.

        Args:
            rounds: the samples to judge.
            size: the relative residuals of their equations, ``[k]``. If they fell to round-off
                the runs would end nearer by as much.
        """
        rows, given = rounds.rows, rounds.evaluator is self.evaluator
        states, m, end = sampled(self.evaluator, rounds.y[:, 0], rows)
        trip = relative_size(end - rounds.image, rounds.image).cpu()
        before, limit = self.trip[rows].clone(), self.roundoff.limit[rows].sqrt().cpu()
        rough = self.roundoff.equations[rows].cpu()
        self.keep_best(rows, states, m, end, trip)
        solved = trip <= limit
        for k in solved.nonzero().flatten().tolist():
            self.solve(rounds.only(k))
        fine = None
        if self.by_step and given and not solved.all():
            some = (~solved).nonzero()[0]
            fine = self.in_float64(rows[some], states[some])
        hope = trip * rough / size <= limit
        gained = ~solved & (trip < GAIN * before) & given & (hope | (not self.double))
        if fine is not None:  # the steps, one by one, are cheaper
            gained[:] = False
        following: list[Group] = []
        if gained.any():
            part = rounds.part(gained)
            part.y = states[gained]
            following.append((part, part.learn(m[gained])))
        for k in (~solved & ~gained).nonzero().flatten().tolist():
            one = rounds.only(k)
            if self.repeats(one.rows):
                self.solve(one)
                continue
            far = size[k] > NEAR * rough[k]
            why: Reason = "stalled" if far else "round-off"
            why = why if trip[k].isfinite() else "diverged"
            following += self.another(one, one.y, why, close=given)
        return following

    def keep_best(self, rows: Tensor, states: Tensor, m: Tensor, end: Tensor, trip: Tensor) -> None:
        """Keep the runs that end nearer to the image than all before."""
        better = trip < self.trip[rows]
        at, y = rows[better], states[better]
        r = residual(self.evaluator.solver, self.image[at], y, m[better])
        self.y[at], self.again[at], self.trip[at] = y, end[better], trip[better]
        self.sizes[at] = equation_sizes(self.image[at], y, r).cpu()
        self.residual[at], self.repeat[at] = self.sizes[at].amax(1), torch.nan

    def repeats(self, row: Tensor) -> bool:
        """Whether the sampler repeats itself to no better than the nearest run of one sample.

        Of the runs that show it, the nearest is kept.
        """
        limit, image = self.roundoff.limit[row].cpu(), self.image[row]
        if self.trip[row] ** 2 > MOST * limit:
            return False
        if self.repeat[row].isnan():
            first, end, sizes = self.y[row, 0], self.again[row], []
            for c in DRAWS:
                start = first * (1 + c * self.roundoff.change)
                states, m, other = sampled(self.evaluator, start, row)
                sizes.append(nmse(other, end).cpu())
                repeat = torch.stack(sizes).mean(0)
                if self.trip[row] ** 2 > raised(limit, repeat):
                    trip = relative_size(other - image, image).cpu()
                    self.keep_best(row, states, m, other, trip)
                self.repeat[row] = repeat
                if self.trip[row] ** 2 <= raised(limit, repeat):
                    break
        return bool(self.trip[row] ** 2 <= raised(limit, self.repeat[row]))

    def solve(self, part: Rounds) -> None:
        """One sample is solved."""
        row = int(part.rows)
        self.reason[row], self.solved[row] = "converged", part.evaluator is not self.evaluator

    def another(self, part: Rounds, at: Tensor, reason: Reason, *, close: bool) -> list[Group]:
        """What to try next with one sample: float64 from where it stands, or another start."""
        row, why = part.rows, stopped()
        if why:
            return self.end(row, [why])
        if self.spent[row] >= self.max_rounds or reason in ("budget", "interrupted", "error"):
            return self.end(row, [reason if reason != "stalled" else "budget"])
        fine = self.in_float64(row, at) if close else None
        if fine is not None and self.by_step:
            return self.judge(part, self.by_steps(fine, part, at.transpose(0, 1)))
        if fine is not None:
            part.go_to(at, fine)
            return [(part, None)]
        if not self.left[row]:
            return self.end(row, [reason])
        left = int(self.left[row])
        self.left[row] -= 1
        if self.by_step:
            start = scattered_states(part.image, self.evaluator.solver, left)
            return self.judge(part, self.by_steps(self.evaluator, part, start))
        states = random_states(part.image, self.evaluator.solver, left)[:-1]
        part.go_to(states.transpose(0, 1).contiguous(), self.evaluator)
        return [(part, None)]

    def by_steps(self, evaluator: Evaluator, rounds: Rounds, start: Tensor) -> Tensor:
        """Go to where one step after the other leads; the relative residuals there, ``[k]``."""
        rows, share = rounds.rows, 1 if evaluator is self.evaluator else FINER
        tol = step_tolerance(share * self.roundoff.outputs[rows])
        network, most = select(evaluator.denoiser, rows), evaluator.max_batch
        found = by_steps(
            network, rounds.image, evaluator.solver, anderson, tol, start, "exact", most
        )
        for row, spent in zip(rows.tolist(), found.nfe.tolist(), strict=True):
            self.evaluator.counts[row] += spent
        rounds.go_to(found.states[:-1].transpose(0, 1).contiguous(), evaluator)
        return found.residuals.nan_to_num(torch.inf).amax(1)

    def in_float64(self, row: Tensor, at: Tensor) -> Evaluator | None:
        """The network in float64, where that is possible and rounds less."""
        if self.double and self.finer is None:
            copy = finer(self.evaluator.denoiser, partial(self.roughness, at, row))
            most = FINER * self.roundoff.outputs[row].amax()
            self.double = copy is not None and bool(copy[1] < most)
            if copy is not None and self.double:
                self.finer = replace(self.evaluator, denoiser=copy[0])
        return self.finer if self.double else None

    def roughness(self, at: Tensor, row: Tensor, network: Denoiser) -> Tensor:
        """The largest relative round-off of another network at some states."""
        return roundoff(replace(self.evaluator, denoiser=network), at, row).outputs.amax()

    def end(self, rows: Tensor, reasons: Sequence[Reason]) -> list[Group]:
        """Samples that are not tried again, and why."""
        for row, reason in zip(rows.tolist(), reasons, strict=True):
            self.reason[row] = reason
        return []

    def rounding(self, rows: Tensor, seed: int) -> Tensor:
        """As much random noise as the sampler's round-off makes, where float64 has solved."""
        draw = torch.Generator().manual_seed(seed)
        image = self.image[rows]
        noise = torch.randn(image.shape, generator=draw, dtype=torch.float64).to(image)
        fine = torch.tensor([self.solved[row] for row in rows.tolist()], device=image.device)
        trip = self.trip[rows].to(image)
        size = fine * trip * image.flatten(1).norm(dim=1) / image[0].numel() ** 0.5
        return column(size, noise) * noise

    def result(self, unfinished: Sequence[Group], others: Sequence[Tensor | None]) -> Inversion:
        """The best of every sample, and the noises that other starts have led to."""
        judged, solver = self.trip.isfinite(), self.evaluator.solver
        unknown = torch.full_like(self.image, torch.nan)
        states = torch.cat([self.y.transpose(0, 1), self.image[None]])
        for rounds, _ in unfinished:
            self.end(rounds.rows, [stopped() or "budget"] * len(rounds.rows))
        return Inversion(
            noise=states[0] / solver.scale,
            states=states,
            residuals=self.sizes,
            iterations=self.spent,
            nfe=self.evaluator.nfe - solver.steps * judged.long(),
            reason=tuple(self.reason),
            method="exact",
            roundoff=self.roundoff,
            again=self.again,
            repeat=self.repeat.to(self.image.device),
            starts=self.starts - self.left,
            others=torch.stack([unknown if v is None else v for v in others]) if others else None,
            origin=Origin(self.evaluator.denoiser, solver),
        )


def joined(groups: Sequence[Group]) -> list[Group]:
    """The groups with one network as one, but for those whose states are evaluated already."""
    known = [group for group in groups if group[1] is not None]
    by_network: dict[int, list[Rounds]] = {}
    for rounds, r in groups:
        if r is None:
            by_network.setdefault(id(rounds.evaluator), []).append(rounds)
    return known + [(join(parts), None) for parts in by_network.values()]
