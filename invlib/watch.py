"""Watching long searches: progress, a callback, a budget, and Ctrl-C.

A :class:`Watch` says what is wanted; inside ``with watching(watch):`` every search reports to it,
so that no option has to be handed down to the root finders. The functions below :func:`watching`
are what searches call. They do nothing where nobody watches, and they never change what a search
computes, only when it ends.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from torch import Tensor

from .interrupt import first_interrupt
from .progress_bar import Bar
from .words import Reason


@dataclass(frozen=True)
class Budget:
    """What a search may cost; it then ends at its next round with the best so far.

    Attributes:
        evaluations: most evaluations of a network, encoders and decoders included, that any
            sample pays for, counted as everywhere (:class:`invlib.evaluator.Evaluator`). A round
            that has begun is finished; a round of a whole trajectory costs one evaluation a step.
            So is the measurement of round-off with which a search begins: about twenty evaluations.
        seconds: most seconds.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if any(most is not None and not most > 0 for most in (self.evaluations, self.seconds)):
            raise ValueError("a budget must be positive: give more evaluations or seconds")


@dataclass(frozen=True)
class Progress:
    """How far a search is, after a round.

    Attributes:
        phase: what is at work, such as ``multisecant`` or ``stepwise 3/10``.
        round: rounds so far, in all phases.
        evaluations: evaluations that the sample which paid most has paid for so far.
        seconds: seconds so far.
        residual_db: largest relative residual of the phase's samples, each at its best iterate,
            in decibel; infinite where a sample has no finite one yet. For a decoder it is the
            distance to the image relative to that at the phase's start.
        solved: samples of the phase that have reached its tolerance.
        samples: samples of the phase.
        seconds_left: seconds until the phase's samples are solved, if the residual goes on falling
            as fast (in decibel a second), or until the budget is spent, whichever comes first;
            None where neither can be said.
    """

    phase: str
    round: int
    evaluations: int
    seconds: float
    residual_db: float
    solved: int
    samples: int
    seconds_left: float | None


Callback = Callable[[Progress], bool | None]


@dataclass(frozen=True)
class Watch:
    """What to do while a search runs.

    Attributes:
        progress: whether to show a bar on stderr; None shows it on a terminal or in a notebook.
        callback: called after every round; if it returns True, the search ends at that round with
            the best so far, marked ``interrupted``. What it evaluates itself is not counted.
        budget: after which the best so far comes back, marked ``budget``.
        interruptible: whether the first Ctrl-C ends the search at its next round with the best so
            far, marked ``interrupted``; a second one raises KeyboardInterrupt at once. In the main
            thread only; the signal handler that was there is put back.
    """

    progress: bool | None = False
    callback: Callback | None = None
    budget: Budget | None = None
    interruptible: bool = False


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Have every search inside report to ``watch``; a watch that is on already goes on, too."""
    run = _Run(watch, _CURRENT.get())
    token = _CURRENT.set(run)
    try:
        with run.bar, first_interrupt(run.interrupt, wanted=watch.interruptible):
            try:
                yield
            finally:
                run.draw(now=True)
    finally:
        _CURRENT.reset(token)


def enter(phase: str, part: int = 0, parts: int = 1) -> None:
    """A search begins: part number ``part`` of ``parts`` that are about equally long."""
    for run in _runs():
        run.enter(phase, part, parts)


def count(evaluations: dict[int, int]) -> None:
    """Note evaluations of samples, by the numbers that the samples have where this is called."""
    for run in _runs():
        run.count(evaluations)


def observe(
    residual: Tensor, tol: float | Tensor | None = None, solved: int | None = None
) -> Reason | None:
    """A round is done: note it, and say as :func:`stopped` whether to go on.

    Args:
        residual: relative residuals of the best iterates of all samples of this search, ``[B]``.
        tol: where a sample is solved, one number or ``[B]``; None if the residual does not say.
        solved: how many samples are solved; by default those whose residual is at most ``tol``.
    """
    for run in _runs():
        run.observe(residual, tol, solved)
    return stopped()


def stopped() -> Reason | None:
    """Why searches have to end now, ``budget`` or ``interrupted``; None if they may go on."""
    return next((why for run in _runs() if (why := run.stopped())), None)


@contextmanager
def samples(rows: Sequence[int]) -> Iterator[None]:
    """Inside, sample k is what sample ``rows[k]`` is outside: evaluations add up for the right."""
    before = [(run, run.rows) for run in _runs()]
    for run, outside in before:
        run.rows = rows if outside is None else [outside[row] for row in rows]
    try:
        yield
    finally:
        for run, outside in before:
            run.rows = outside


@dataclass
class _Run:
    """A watch at work, and the one ``outside`` of it."""

    watch: Watch
    outside: _Run | None
    rows: Sequence[int] | None = None
    why: Reason | None = None
    pressed: bool = False
    phase: str = "search"
    share: tuple[int, int] = (0, 1)
    first: float | None = None
    last: Progress | None = None
    counts: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.bar = Bar(self.watch.progress)
        self.began = self.phase_began = monotonic()

    @property
    def seconds(self) -> float:
        return monotonic() - self.began

    @property
    def evaluations(self) -> int:
        return max(self.counts.values(), default=0)

    def enter(self, phase: str, part: int, parts: int) -> None:
        self.phase = f"{phase} {part + 1}/{parts}" if parts > 1 else phase
        self.share, self.first = (part, parts), None
        if not part:
            self.phase_began = monotonic()

    def count(self, evaluations: dict[int, int]) -> None:
        for row, number in evaluations.items():
            self.counts[row if self.rows is None else self.rows[row]] += number
        self.draw()

    def observe(self, residual: Tensor, tol: float | Tensor | None, solved: int | None) -> None:
        if not self.bar.shown and self.watch.callback is None:
            return
        worst = residual.nan_to_num(math.inf, posinf=math.inf).max().item()
        if solved is None:
            solved = 0 if tol is None else int((residual <= tol).sum())
        self.last = Progress(
            phase=self.phase,
            round=1 if self.last is None else self.last.round + 1,
            evaluations=self.evaluations,
            seconds=self.seconds,
            residual_db=20 * math.log10(max(worst, 1e-20)),
            solved=solved,
            samples=len(residual),
            seconds_left=self._left(worst, tol.max().item() if isinstance(tol, Tensor) else tol),
        )
        self.draw()
        if self.watch.callback is not None:
            token = _CURRENT.set(None)
            try:
                if self.watch.callback(self.last) is True:
                    self.why = self.why or "interrupted"
            finally:
                _CURRENT.reset(token)

    def stopped(self) -> Reason | None:
        most = self.watch.budget or Budget()
        if self.why is None and (
            (most.evaluations is not None and self.evaluations >= most.evaluations)
            or (most.seconds is not None and self.seconds >= most.seconds)
        ):
            self.why = "budget"
        return self.why

    def interrupt(self) -> None:
        """Ctrl-C: the first one ends all searches that may be interrupted, the second raises."""
        if self.pressed:
            raise KeyboardInterrupt
        for run in (self, *_outside(self)):
            if run.watch.interruptible:
                run.pressed, run.why = True, run.why or "interrupted"

    def _left(self, worst: float, tol: float | None) -> float | None:
        """Seconds until all is solved or the budget is spent."""
        now, most = monotonic(), self.watch.budget or Budget()
        part, parts = self.share
        left, done = [], part / parts
        if tol is not None and math.isfinite(worst):
            self.first = worst if self.first is None else self.first
            if worst <= tol:
                done = (part + 1) / parts
            elif worst < self.first:
                done += math.log(self.first / worst) / math.log(self.first / tol) / parts
        if done:
            left.append((now - self.phase_began) * (1 - done) / done)
        if most.seconds is not None:
            left.append(self.began + most.seconds - now)
        if most.evaluations is not None and self.evaluations:
            left.append((now - self.began) * (most.evaluations / self.evaluations - 1))
        return max(0.0, min(left)) if left else None

    def draw(self, *, now: bool = False) -> None:
        """Draw the bar, if somebody sees it and it is time to, or ``now``."""
        if not (self.bar.due or (now and self.bar.shown)):
            return
        words, left, last = [f"{self.evaluations} evaluations"], None, self.last
        if last is not None:
            if math.isfinite(last.residual_db):
                words.insert(0, f"{last.residual_db:.1f} dB")
            left = last.seconds_left
            if last.samples > 1:
                words.append(f"{last.solved}/{last.samples} solved")
        if self.why is not None:
            words.append(f"ending: {self.why}")
        elif left:
            words.append(f"{timedelta(seconds=round(left))} left")
        whole = math.inf if left is None else self.seconds + left
        self.bar.draw(self.phase, ", ".join(words), self.seconds / max(whole, 1e-9))


_CURRENT: ContextVar[_Run | None] = ContextVar("watch", default=None)


def _runs() -> Iterable[_Run]:
    """The watches that are on, the innermost first."""
    run = _CURRENT.get()
    return () if run is None else (run, *_outside(run))


def _outside(run: _Run) -> Iterator[_Run]:
    """The watches around one."""
    while run.outside is not None:
        run = run.outside
        yield run
