"""Networks with one thing wrong each, and what the library has to say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from analytic import SD, randn
from perceptron import WIDTH, Perceptron
from test_precision import Dropping
from torch import Tensor

from invlib.denoisers import Denoiser, predicting
from invlib.schedule import Schedule

SCHEDULE = Schedule.scaled_linear(SD["beta_start"], SD["beta_end"])
SOUND = Perceptron().requires_grad_(False)


@dataclass
class Faulty:
    """A sound network, and what a fault makes of its output.

    Attributes:
        change: ``(output, x, t, number of this call, what it keeps) -> output``.
        network: the sound one.
        calls: how often it was called.
        kept: what it keeps from call to call.
    """

    change: Callable[[Tensor, Tensor, Tensor, int, dict[Any, Tensor]], Tensor]
    network: Perceptron = field(default_factory=lambda: SOUND)
    calls: int = 0
    kept: dict[Any, Tensor] = field(default_factory=dict)
    prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.change(self.network(x, t), x, t, self.calls, self.kept)

    def in_float64(self) -> Faulty:
        """It has no better copy."""
        return self


def reused(m: Tensor, x: Tensor, t: Tensor, call: int, kept: dict[Any, Tensor]) -> Tensor:
    """Every other call takes half of its answer from the call before, as feature caches do."""
    last = kept.get("last")
    if call % 2 and last is not None and last.shape == m.shape:
        return 0.5 * (m + last)
    kept["last"] = m
    return m


def by_time(m: Tensor, x: Tensor, t: Tensor, call: int, kept: dict[Any, Tensor]) -> Tensor:
    """The first answer at these times is the answer for ever, whatever the states."""
    return kept.setdefault((tuple(t.tolist()), x.shape), m)


def overflowing() -> Denoiser:
    """In float16 its activations overflow; in float32 they do not."""
    network = Perceptron()
    network.layers[0].weight.data *= 3e4
    network.layers[1].weight.data /= 3e4
    return network.half().requires_grad_(False)


def training() -> Denoiser:
    return Dropping().requires_grad_(False).train()


def seeded(relative: float, *, whole: bool) -> Callable[[], Denoiser]:
    """Not deterministic: other draws in every call, for every number or for the call as a whole."""

    def make() -> Denoiser:
        draw = torch.Generator().manual_seed(7)

        def change(m: Tensor, *_: Any) -> Tensor:
            shape = (1,) if whole else m.shape
            return m * (1 + relative * torch.randn(shape, generator=draw, dtype=m.dtype))

        return Faulty(change)

    return make


Ends = Literal["refused", "flagged", "warned", "judged"]


@dataclass(frozen=True)
class Fault:
    """A fault, and how it has to end.

    Attributes:
        make: the faulty network, each time anew.
        ends: ``refused`` with a ValueError, ``flagged`` in the certificate of every sample that is
            not exact, ``warned`` of, or ``judged``: nothing is wrong but the mathematics is hard.
        says: the words that name the cause, a regular expression; where it ends in a verdict, of
            the verdict, why the search ended, and the flag.
        samples: whether it can make an image itself; else a sound network makes it.
        spared: how many samples, the first ones, it does not meet.
    """

    make: Callable[[], Denoiser]
    ends: Ends
    says: str
    samples: bool = True
    spared: int = 0


def changed(change: Callable[..., Tensor]) -> Callable[[], Denoiser]:
    return lambda: Faulty(change)


def plain(function: Callable[[Tensor], Tensor]) -> Callable[[], Denoiser]:
    return lambda: predicting(lambda x, t: function(x), "epsilon")


NAN = r"the network returned NaN or infinity \(step \d"
RESTLESS = "the network does not repeat itself"
UNFOUND = "^(approximate|failed), (budget|explicit)"  # more evaluations, or another method
STRAYED = "^failed, (budget|explicit); the noise is not Gaussian"  # no model made it with this call
FAULTS: dict[str, Fault] = {
    "NaN in every seventh call": Fault(
        changed(lambda m, x, t, call, kept: m * torch.nan if call % 7 == 6 else m),
        "flagged",
        NAN,
        samples=False,
    ),
    "NaN in one row of every seventh call": Fault(
        changed(
            lambda m, x, t, call, kept: (
                torch.cat([m[:-1], m[-1:] * torch.nan]) if call % 7 == 6 else m
            )
        ),
        "flagged",
        NAN,
        samples=False,
        spared=1,
    ),
    "infinity from the sixth call on": Fault(
        changed(lambda m, x, t, call, kept: m + torch.inf if call > 5 else m),
        "flagged",
        NAN,
        samples=False,
    ),
    "NaN at every state": Fault(
        changed(lambda m, *_: m * torch.nan), "flagged", NAN, samples=False
    ),
    "overflow in float16": Fault(overflowing, "flagged", NAN, samples=False),
    "draws of 1e-2 for every number": Fault(seeded(1e-2, whole=False), "refused", RESTLESS),
    "draws of 1e-2 for a call": Fault(seeded(1e-2, whole=True), "refused", RESTLESS),
    "draws of 1e-6 for every number": Fault(seeded(1e-6, whole=False), "warned", RESTLESS),
    "draws of 1e-6 for a call": Fault(seeded(1e-6, whole=True), "warned", RESTLESS),
    "training mode": Fault(training, "refused", r"training mode with dropout \(call \.eval\(\)"),
    "a count of its calls in its answer": Fault(
        changed(lambda m, x, t, call, kept: m + 1e-3 * call), "refused", RESTLESS
    ),
    "features kept for the next call": Fault(changed(reused), "flagged", RESTLESS, samples=False),
    "a dead zone": Fault(
        changed(lambda m, x, *_: torch.where(x.abs() < 0.5, torch.zeros_like(m), m)),
        "judged",
        UNFOUND,
    ),
    "a step that forgets its state": Fault(
        changed(
            lambda m, x, t, *_: torch.where(x.abs() < 0.7, x / SCHEDULE.sigma_t(t)[:, None], m)
        ),
        "judged",
        UNFOUND,
    ),
    "folds": Fault(plain(lambda x: 3 * torch.sin(3 * x)), "judged", STRAYED),
    "a Lipschitz constant of 1e6": Fault(plain(lambda x: torch.sin(1e6 * x)), "judged", "^failed"),
    "a slope of 1e4": Fault(plain(lambda x: 1e4 * x), "judged", STRAYED),
}


def noise(rows: int) -> Tensor:
    return randn(rows, WIDTH)
