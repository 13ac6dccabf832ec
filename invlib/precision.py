"""Round-off, measured: how exactly a network can be evaluated at all.

Nothing is read off dtypes: a network in float32, in half precision, with TF32, under autocast,
quantised, or behind another library is asked in the same way.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from .denoisers import Denoiser, convert, in_float64, prediction_of, roundoff_of
from .evaluator import Evaluator, sampled
from .metrics import nmse
from .shapes import column

T = TypeVar("T")
CHANGES = (4e-16, 1e-10, 1e-6, 5e-5, 1e-3)  # relative, from float64's last place to bfloat16's
CURVED = 1e3  # relative second derivative of a network that must not be taken for round-off
MOST = 100.0  # NMSE, times the limit, up to which a sampler that repeats itself badly is believed
DRAWS = (1, -1, 2, -2)  # relative changes of a first state, in units of the smallest
ROUGH = 4.0  # NMSE of a round trip, times that of the sampler's repetition, that is round-off
DOUBLE, SINGLE = 1e-20, 1e-10  # least NMSE that counts as exact, by the precision
COARSEST = 1e-3  # NMSE above which nothing counts as exact, however rough the network
STEP = 1e-14  # relative residual of one step that is round-off in float64, whatever the network
COPIES = 8  # of a state that show whether a network repeats itself; few numbers may by chance
UNEVEN, LEVELS = 100.0, 5  # a ratio of neighbours from which on so many nodes are measured
HOPELESS = 0.05  # a relative round-off that a network hardly has that repeats itself
WRAPPED = 1e-3  # of a network's round-off: less is that of arithmetic around it
SURE = 1e-9  # a relative change of an output that float64's last place hardly makes in a state
APART = 10.0  # two outputs at one state, in units of round-off: more than two batches make of it
LOOSE = 1e-4  # a relative difference of two outputs at one state that is no round-off


class NotRepeatableError(ValueError):
    """A network gives another output at the same state, so that there is nothing to invert."""


def rough_changes(
    evaluate: Callable[[Tensor], Tensor], y: Tensor, at: Tensor | None = None
) -> tuple[float, float]:
    r"""The smallest relative change of a state that shows round-off, and the one to measure it by.

    .. math:: d(h) = \frac{\|m(y + hy) - 2 m(y) + m(y - hy)\|}{\sqrt 6\,\|m(y)\|}

    What is linear in m cancels in a second difference; :func:`rough_sizes` says what of the rest
    is round-off. A change that is lost when the network casts its input shows nothing. Changes are
    tried from the last place of float64 to that of bfloat16, in one call. The largest one with
    :math:`d > 1000\,h^2` is safe at other states, too, where the network may be more curved.

    Args:
        evaluate: the network, ``[k, ...] -> [k, ...]``.
        y: one state, ``[...]``.
        at: what an earlier call of the network gave there, ``[...]``. If it gives something else
            now, or notices what no network notices, it is evaluated twice in the same way.

    Raises:
        NotRepeatableError: if it then does not repeat itself.
    """
    changes = torch.tensor([0.0, *CHANGES, *(-h for h in CHANGES)], dtype=y.dtype, device=y.device)
    m = evaluate(y * (1 + column(changes, y.expand(len(changes), *y.shape))))
    count = len(CHANGES)
    sizes = second_difference(m[1 : count + 1], m[:1], m[count + 1 :]).tolist()
    rough = rough_sizes(sizes)
    safe = [h for h, d in rough if d > CURVED * h**2]
    if at is not None:
        gap = apart(m[:1], at[None]).item()
        if sizes[0] > SURE or gap > max(SURE, APART * max((d for _, d in rough), default=0.0)):
            check_repetition(evaluate, y)
    return rough[0][0] if rough else CHANGES[0], max(safe, default=CHANGES[0])


def rough_sizes(sizes: Sequence[float]) -> list[tuple[float, float]]:
    r"""Which of the ``CHANGES`` show round-off, and the second differences d there.

    What is curved grows as :math:`h^2`, what has kinks as h at least, and round-off by less. So of
    two neighbours the smaller one shows round-off if :math:`d(h_1) > 4\,d(h_2)\,(h_1/h_2)^2`. One
    that does not is curved, and so are those above it; or it is what a wrapper in a better dtype
    makes of a rough network, which shows from a larger change on: the first one above that
    counts grows by less than h / 2. float64's last place shows no curve. Where there are both, what
    is a thousand times less than the network's own is the wrapper's.

    Args:
        sizes: the second differences, one a change.
    """
    found: list[tuple[float, float]] = []
    curved, most = False, 0.0
    for k, (h, d) in enumerate(zip(CHANGES, sizes, strict=True)):
        last = k + 1 == len(CHANGES)
        ratio = 1.0 if last else CHANGES[k + 1] / h
        level = not last and sizes[k + 1] < ratio * d / 2 and d < HOPELESS
        rough = d > (CURVED * h**2 if last else 4 * sizes[k + 1] / ratio**2)
        if level or (rough and not curved):
            found.append((h, d))
        curved = not level and (curved or (k > 0 and 0 < d and not rough))
        most = max(most, d if level else 0.0)
    return [(h, d) for h, d in found if d >= WRAPPED * most]


def check_repetition(evaluate: Callable[[Tensor], Tensor], y: Tensor) -> None:
    """Evaluate one state ``[...]`` twice, ``COPIES`` of it in one call.

    A difference as small as round-off is only warned of: it counts as round-off.

    Raises:
        NotRepeatableError: if the outputs differ by more than ``LOOSE``.
    """
    once, twice = (evaluate(y.expand(COPIES, *y.shape)).nan_to_num() for _ in range(2))
    gap = apart(once, twice).max().item()
    if gap > LOOSE:
        raise NotRepeatableError(
            f"the network does not repeat itself: it gives another output at the same state ("
            f"{gap:.0e}, relative). It is in training mode with dropout (call .eval() first), "
            "draws random numbers, or keeps something from call to call (switch its cache off)"
        )
    if gap > 0:
        warnings.warn(
            f"the network does not repeat itself: its outputs at the same state differ by "
            f"{gap:.0e}, relative. This counts as its round-off, so that `exact` means no more "
            "than that; the limit of a certificate says what",
            stacklevel=2,
        )


def apart(once: Tensor, twice: Tensor) -> Tensor:
    """Relative differences of two outputs ``[k, ...]`` that should be equal, ``[k]``."""
    gap, size = (v.double().flatten(1).norm(dim=1) for v in (once - twice, once))
    return (gap / size.clamp(min=1e-300)).nan_to_num(0, 0)


def second_difference(after: Tensor, at: Tensor, before: Tensor) -> Tensor:
    r"""The size :math:`\|m_+ - 2m + m_-\| / \sqrt 6 \|m\|` of each row, float64 ``[k]``."""
    gap = (after.double() - 2 * at.double() + before.double()).flatten(1).norm(dim=1)
    return gap / 6**0.5 / at.double().flatten(1).norm(dim=1).clamp(min=1e-300)


@dataclass(frozen=True)
class Roundoff:
    """What round-off does to the outputs of a network, and to the equations of a trajectory.

    Attributes:
        outputs: relative round-off of the output at every node, ``[B, N]``.
        equations: relative residual of all equations together that it makes, ``[B]``.
        change: the smallest relative change of a state that the network notices.
    """

    outputs: Tensor
    equations: Tensor
    change: float

    @property
    def limit(self) -> Tensor:
        r"""Round-trip NMSE below which an inversion is exact, ``[B]``.

        .. math:: \begin{cases} 10^{-20} & \rho < 10^{-10}\\
                  \min(10^{-3},\ \max(10^{-10},\ (4\rho)^2)) & \text{else}\end{cases}
        """
        rho = self.outputs.amax(1)
        single = torch.clamp((4 * rho) ** 2, min=SINGLE, max=COARSEST)
        return torch.where(rho < 1e-10, DOUBLE, single)


def roundoff(
    evaluator: Evaluator, y: Tensor, rows: Tensor, m: Tensor | None = None, *, nodes: int = 3
) -> Roundoff:
    r"""Measure the round-off of a network at a few nodes; the others have that of the nearest.

    Where two neighbours differ much, more nodes are measured, and it is geometric between them.

    .. math:: \rho_j = \frac{\|m(y_j + hy_j) - 2m(y_j) + m(y_j - hy_j)\|}{\sqrt 6\,\|m(y_j)\|},
              \qquad \Bigl(\sum_{i,j} b_{ij}^2\,\rho_j^2\,\|m_j\|^2\Bigr)^{1/2} \Big/ \|y\|

    with h from :func:`rough_changes`. A denoiser that has measured it before
    (:class:`~invlib.denoisers.Measured`) is taken at its word. It costs every sample two
    evaluations at each of these nodes, three without ``m``, and the first sample eleven more.

    Args:
        evaluator: the network, the solver, and the count.
        y: states, ``[k, N, ...]``.
        rows: which sample each belongs to, ``[k]``.
        m: the outputs there, ``[k, N, ...]``, where they are known.
        nodes: how many nodes.

    Raises:
        NotRepeatableError: if the network is random or depends on earlier calls.
    """
    k, n = y.shape[:2]
    if not k:
        return Roundoff(y.new_zeros(k, n), y.new_zeros(k), 0.0)
    some = torch.linspace(0, n - 1, min(n, nodes), device=y.device).round().long().unique()
    nearest = (torch.arange(n, device=y.device)[:, None] - some).abs().argmin(1)
    states, places = y[:, some].flatten(0, 1), some.repeat(k)
    whose = rows.to(y.device).repeat_interleave(len(some))
    at = evaluator.output(states, places, whose) if m is None else m[:, some].flatten(0, 1)
    known = roundoff_of(evaluator.denoiser)
    smallest = known or 0.0
    if known is None:
        finite = at.flatten(1).isfinite().all(1)
        middle = places == some[len(some) // 2]
        best = (finite.long() + (finite & middle).long()).argmax()

        def evaluate(x: Tensor, at: Tensor) -> Tensor:
            here = places[at].expand(len(x)), whose[at].expand(len(x))
            return evaluator.call(partial(evaluator.solver.raw, evaluator.denoiser), x, *here)

        solver, place = evaluator.solver, places[best]
        alpha, sigma = (v.to(y)[place][None] for v in (solver.alpha, solver.sigma))
        kinds = solver.prediction, prediction_of(evaluator.denoiser)
        before = convert(at[best][None], states[best][None], alpha, sigma, *kinds)[0]
        smallest, h = rough_changes(partial(evaluate, at=best), states[best], before)
        both = torch.cat([states * (1 + h), states * (1 - h)])
        after, before = evaluator.output(both, places.repeat(2), whose.repeat(2)).chunk(2)
        found = second_difference(after, at, before).nan_to_num(0, 0)
        if found.max() > (SURE if h <= CHANGES[1] else HOPELESS):
            check_repetition(partial(evaluate, at=found.argmax()), states[found.argmax()])
        found = found.clamp(min=torch.finfo(torch.float64).eps).view(k, len(some))
        if nodes < LEVELS <= n and _uneven(found):
            return roundoff(evaluator, y, rows, m, nodes=LEVELS)
        relative = _between(found, some, n) if nodes == LEVELS else found[:, nearest]
    else:
        relative = torch.full((k, n), known, dtype=torch.float64, device=y.device)
    outputs = at.flatten(1).norm(dim=1).view(k, len(some))[:, nearest]
    weights = evaluator.solver.b.to(y).square().sum(0)
    noise = (weights * (relative * outputs).square()).sum(1).sqrt()
    size = y.flatten(1).norm(dim=1).clamp(min=1e-300)
    equations = (noise / size).nan_to_num(0, 0) + torch.finfo(torch.float64).eps
    return Roundoff(relative, equations, smallest)


def limiting(device: torch.device, dtype: torch.dtype | None) -> str:
    """Which of PyTorch's settings rounds more than a network's dtype, and the remedy; else none.

    Args:
        device: where the network computes.
        dtype: what it says that it computes in.
    """
    if torch.is_autocast_enabled(device.type):
        return (
            "torch.autocast is on: the network rounds to "
            f"{torch.get_autocast_dtype(device.type)}, and no search can be more exact than that; "
            "leave autocast for an exact answer"
        )
    backends: Any = torch.backends  # its types do not know all of them
    of = backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision
    if device.type == "cuda" and "tf32" in of and dtype in (torch.float32, None):
        return (
            "TF32 is on: the network's products are rounded to about 1e-3, and no search can be "
            "more exact than that; for an exact answer set "
            "torch.backends.cuda.matmul.fp32_precision and torch.backends.cudnn.conv.fp32_precision"
            " to 'ieee'"
        )
    return ""


def finer(denoiser: Denoiser, measure: Callable[[Denoiser], T]) -> tuple[Denoiser, T] | None:
    """A copy of a network in float64 and what is measured of it.

    None, with a warning, where there is no such copy or it cannot be called.

    Args:
        denoiser: the network.
        measure: what to ask the copy.
    """
    try:
        copy = in_float64(denoiser)
        return copy, measure(copy)
    except Exception as error:  # whatever a network says to a dtype that it was not written for
        warnings.warn(
            f"the network has no copy in float64 ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}), so the search goes on without one: cast to "
            "the dtype of its weights in its forward, not to one of your own, or ask the method "
            "with double=False",
            stacklevel=2,
        )
        return None


def _uneven(found: Tensor) -> bool:
    """Whether round-off at neighbouring nodes ``[k, nodes]`` differs so much that it matters."""
    steps = found.clamp(min=STEP).log().diff(dim=1).abs()
    return bool((steps > math.log(UNEVEN)).any())


def _between(found: Tensor, some: Tensor, n: int) -> Tensor:
    """Values at nodes ``some``, geometric at those between them, ``[k, n]``."""
    place = torch.arange(n, device=some.device)
    after = torch.bucketize(place, some).clamp(min=1)
    before = after - 1
    share = (place - some[before]) / (some[after] - some[before])
    return torch.lerp(found[:, before].log(), found[:, after].log(), share.to(found)).exp()


def repetition(
    evaluator: Evaluator,
    first: Tensor,
    end: Tensor,
    change: float,
    rows: Tensor,
    enough: Callable[[Tensor], Tensor],
) -> Tensor:
    r"""NMSE between where the sampler ends and where it ends if its first state hardly changes.

    .. math:: \frac1{|C|}\sum_{c\in C}
              \frac{\|\Phi(y_0(1+ch)) - \Phi(y_0)\|^2}{\|\Phi(y_0)\|^2}, \qquad C = \{1, -1, 2, -2\}

    One such number says little where a single direction makes most of the error; so there are
    more of them where the first is not enough.

    Args:
        evaluator: the network and the solver.
        first: first states, ``[k, ...]``.
        end: where the sampler ends from them, ``[k, ...]``.
        change: h, the relative change.
        rows: which sample each belongs to, ``[k]``.
        enough: whether the NMSE ``[k]`` is as large as it has to be, ``[k]``.
    """

    def draw(c: int, at: Tensor) -> Tensor:
        moved = sampled(evaluator, first[at] * (1 + c * change), rows[at])[2]
        return nmse(moved, end[at])

    return mean_of_draws(draw, rows, enough)


def mean_of_draws(
    draw: Callable[[int, Tensor], Tensor], rows: Tensor, enough: Callable[[Tensor], Tensor]
) -> Tensor:
    """The mean of as many numbers as are needed, of each sample, ``[k]``.

    Args:
        draw: ``(c, at) -> numbers`` of samples ``at``, for a change of c times the smallest one.
        rows: the samples, ``[k]``; where they are, the numbers are.
        enough: whether the mean ``[k]`` is as large as it has to be, ``[k]``.
    """
    sizes, todo = [], torch.arange(len(rows), device=rows.device)
    mean = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for c in DRAWS:
        size = torch.zeros_like(mean)
        size[todo] = draw(c, todo)
        sizes.append(size)
        mean[todo] = torch.stack(sizes).mean(0)[todo]
        todo = todo[~enough(mean)[todo]]
        if not len(todo):
            break
    return mean


def raised(limit: Tensor, repeat: Tensor) -> Tensor:
    """The NMSE that counts as exact where a sampler repeats itself to no better than ``repeat``."""
    most = (MOST * limit).clamp(max=COARSEST)
    return torch.minimum(torch.maximum(limit, ROUGH * repeat.nan_to_num(0.0, 0.0)), most)


def step_tolerance(roundoff: Tensor) -> Tensor:
    """Relative residual at which one step of many is solved: half of the round-off.

    The errors of the steps add up, so it is below; far below it nothing can be gained, nor below
    ``STEP``, since the residual is computed in float64.

    Args:
        roundoff: relative round-off of the outputs, any shape.
    """
    return (roundoff / 2).clamp(min=STEP)
