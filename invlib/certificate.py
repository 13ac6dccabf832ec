"""Certificates: what an inversion proves, and what it does not, sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from .denoisers import Denoiser, select
from .devices import on_device
from .evaluator import Evaluator, sampled
from .inversion import Inversion
from .metrics import decibel, nmse
from .precision import (
    COARSEST,
    LOOSE,
    MOST,
    SINGLE,
    STEP,
    apart,
    mean_of_draws,
    raised,
    repetition,
    roundoff,
)
from .rootfind import relative_size
from .shapes import column
from .singular import singular_values
from .solvers import Solver
from .words import Uniqueness, Verdict

FAILED = 0.1  # NMSE of a round trip from which on it is
SPREAD, SEARCHES = 4.0, 2  # how far the noise may be off, and by how many: :func:`_others`


@dataclass(frozen=True)
class Certificate:
    r"""The evidence about every sample of an inversion.

    A round trip at round-off proves *exactness*: this noise gives this image. It does not prove
    that it is *the* noise: the error of the noise is about the error of the image divided by the
    smallest singular value of the sampler's Jacobian, and other noises may give the same image.

    Attributes:
        round_trip: NMSE between the image and the one sampled again from the noise, ``[B]``.
        limit: below which it is at round-off, ``[B]``: that of the network
            (:attr:`invlib.precision.Roundoff.limit`), or that with which the sampler repeats
            itself if the noise changes in its last place, where that is up to 20 dB more; at most
            1e-3, however rough network and steps are.
        equations: largest relative residual of the sampler's equations, ``[B]``.
        norm_score: standard scores of the noise's squared norm under N(0, I), ``[B]``.
        sigma_min: smallest singular value of the Jacobian, ``[B]``, exact with as many vectors as
            the noise has entries; else by inverse iteration, an upper bound.
        sigma_max: estimated largest singular value (a lower bound), ``[B]``.
        noise_error: bound on the noise's relative error, ``[B]``; NaN where there is none. With
            two or more searches from other starts that found this noise, four times the largest
            distance to what they found, or the relative error of the round trip where that is
            larger (one search alone would be wrong in 8 % of cases); else, with all Lanczos
            vectors, to first order, the error of the image over the smallest singular value.
            Either is about the root that was found.
        other_roots: whether a search from another start ended at another noise, ``[B]``.
        uniqueness: ``not searched``, ``unique as far as searched`` (every search from another
            start that found a noise found this one), ``nothing else found`` (they found none,
            or this noise is not exact itself), or ``another noise makes the same image``.
        verdict: ``exact``, ``approximate`` or ``failed``; :mod:`invlib.words` says what to do.
        flags: why an exact noise may not be the original one, or what is wrong with the network
            where none is exact; empty where nothing speaks against either.
    """

    round_trip: Tensor
    limit: Tensor
    equations: Tensor
    norm_score: Tensor
    sigma_min: Tensor
    sigma_max: Tensor
    noise_error: Tensor
    other_roots: Tensor
    uniqueness: tuple[Uniqueness, ...]
    verdict: tuple[Verdict, ...]
    flags: tuple[str, ...]

    def __str__(self) -> str:
        level = decibel(self.round_trip).tolist()
        rows = zip(self.verdict, level, self.flags, strict=True)
        return "\n".join(f"{v} ({db:.0f} dB){': ' + f if f else ''}" for v, db, f in rows)


def certify(
    denoiser: Denoiser,
    inversion: Inversion,
    solver: Solver,
    *,
    vectors: int = 0,
    other: Inversion | None = None,
    again: Tensor | None = None,
    moved: Callable[[int], Tensor] | None = None,
    gap: float = 0.0,
    max_batch: int | None = None,
) -> Certificate:
    r"""Check an inversion by running the sampler again, and measure how well posed it was.

    .. math:: \frac{\|\delta y_0\|}{\|y_0\|} \lesssim
              \frac{\|\Phi(y_0) - y_n\|}{\sigma_{\min}(\Phi')\,\|y_0\|}

    Where a sample is not exact, its run is made once more, state by state from the last to the
    first: a network that does not repeat itself, or returns NaN, is named in ``flags``.

    A certificate is about the network as it answers in this process. It does not see one that
    answers by the times and the number of samples alone, whatever the states, as one that keeps its
    first answers under them: sampled again it does the same. Nor does it see one that changes
    later, as by a clock or a count of its calls, or so slowly that its answers differ by no more
    than its round-off while it is asked.

    Args:
        denoiser: the network that was inverted.
        inversion: what to certify; its last state is the image.
        solver: the sampler's table.
        vectors: Lanczos vectors for the singular values; 0 skips them, and the values are NaN.
            They cost one sampler run, and each five. If the noise has more entries, at most six
            inverse iterations follow, with two linear systems each, at two and at three runs a
            Krylov vector. No graph of a run is kept, only that of one call.
        other: another inversion of the same image, from another start or by another method,
            beside those that ``exact`` was asked for by ``others``; an exact noise of its that
            differs (in NMSE by more than the square root of what counts as exact) is reported as
            another root.
        again: the image that the sampler itself made of the noise; by default the table is run.
        moved: makes the image that the sampler itself makes of the noise changed in its last
            place, in another way for another whole number; called where ``again`` misses the
            image by little, with more numbers where one does not explain it.
        gap: relative round-off of the steps of what made ``again``, where that is not float64's.
        max_batch: most states in one network call; by default as many as a share of the free
            memory has room for.

    Example:
        >>> import invlib
        >>> network = invlib.predicting(lambda x, t: 0.9 * torch.tanh(x), "epsilon")
        >>> solver = invlib.ddim(invlib.Schedule.scaled_linear().grid(10))
        >>> made = invlib.sample(network, torch.tensor([[1.0, -2.0, 0.5]]), solver)
        >>> certify(network, invlib.invert(network, made.image, solver), solver).verdict
        ('exact',)
        >>> naive = invlib.invert(network, made.image, solver, method="naive")
        >>> certify(network, naive, solver).verdict
        ('approximate',)
    """
    image, noise = inversion.states[-1], inversion.noise
    denoiser = on_device(denoiser, inversion.device) if inversion.device else denoiser
    evaluator = Evaluator(denoiser, solver, [0] * len(noise), max_batch)
    with torch.no_grad():
        trip, limit = _round_trip(evaluator, inversion, again, moved, gap)
        missed = (~(trip < limit) & (again is None)).nonzero().flatten()
        faults = _faults(evaluator, inversion, missed)
    size = noise[0].numel()
    score = (noise.flatten(1).square().sum(1) - size) / (2 * size) ** 0.5
    small, large = _stretched(evaluator, noise, trip.isfinite(), vectors)
    far, near, searched = _others(evaluator, inversion, other, gap, limit)
    agreeing = near.isfinite().sum(0)
    roots, same = far.any(0) & (trip < limit), agreeing > 0
    distance = trip.sqrt().clamp(min=torch.finfo(torch.float64).eps)
    error = distance * image.flatten(1).norm(dim=1) / (small * noise.flatten(1).norm(dim=1))
    if vectors < size:
        error = torch.full_like(error, torch.nan)
    spread = SPREAD * torch.maximum(near.nan_to_num(0.0).amax(0), distance)
    error = torch.where(agreeing >= SEARCHES, spread, error)
    doubt = torch.where(same, torch.fmax(error, spread), error)  # one search may show it, too
    error, doubt = (torch.where(roots, torch.nan, value) for value in (error, doubt))
    verdict = tuple(map(_verdict, trip.tolist(), limit.tolist()))
    return Certificate(
        round_trip=trip,
        limit=limit,
        equations=inversion.residuals.amax(1),
        norm_score=score,
        sigma_min=small,
        sigma_max=large,
        noise_error=error,
        other_roots=roots,
        uniqueness=tuple(
            _uniqueness(*v, searched=searched)
            for v in zip(roots.tolist(), same.tolist(), strict=True)
        ),
        verdict=verdict,
        flags=tuple(
            _flags(faults.get(row, (0.0, "")), v, *numbers)
            for row, (v, *numbers) in enumerate(
                zip(verdict, score.tolist(), doubt.tolist(), roots, strict=True)
            )
        ),
    )


def _stretched(
    evaluator: Evaluator, noise: Tensor, which: Tensor, vectors: int
) -> tuple[Tensor, Tensor]:
    """The smallest and the largest singular value of some samples, ``[B]``; NaN of the others."""
    small = torch.full(which.shape, torch.nan, dtype=noise.dtype, device=noise.device)
    large, rows = small.clone(), which.nonzero().flatten()
    if vectors and len(rows):
        network, most = select(evaluator.denoiser, rows), evaluator.max_batch
        small[rows], large[rows] = singular_values(
            network,
            noise[rows],
            evaluator.solver,
            vectors=vectors,
            inverse=True,
            max_batch=most,
        )
    return small, large


def _others(
    evaluator: Evaluator,
    inversion: Inversion,
    other: Inversion | None,
    gap: float,
    limit: Tensor,
) -> tuple[Tensor, Tensor, bool]:
    r"""What searches from other starts have found, ``[k, B]`` each, and whether there were any.

    Returns:
        Whether another noise makes the image; and the relative distance to the same noise, NaN
        where a search found none or another one. If ``SEARCHES`` = 2 more end at the same root,
        their errors and that of the first are independent draws, mostly along the worst
        conditioned direction. The first is then more than ``SPREAD`` times the larger of its
        distances to the two in one case of a hundred,
        :math:`\int\varphi(x)\,(|x|\varphi(x)/2)^2\,dx = .008`; with one more search alone it
        would be in eight, :math:`\int\varphi(x)\,|x|\varphi(x)/2\,dx = .08`.
    """
    noise, found = inversion.noise, []
    if inversion.others is not None:
        found += [*inversion.others]
    if other is not None:
        with torch.no_grad():
            trip, most = _round_trip(evaluator, other, None, None, gap)
        good = (trip < most).view(-1, *[1] * (noise.ndim - 1))
        found.append(torch.where(good, other.noise, torch.nan))
    if not found:
        none = torch.zeros(1, len(noise), dtype=torch.bool, device=noise.device)
        return none, torch.full_like(limit, torch.nan)[None], False
    distance = torch.stack([nmse(v, noise) for v in found])
    far = distance > limit**0.5
    return far, torch.where(far, torch.nan, distance.sqrt()), True


def _uniqueness(root: bool, same: bool, *, searched: bool) -> Uniqueness:
    if not searched:
        return "not searched"
    if root:
        return "another noise makes the same image"
    return "unique as far as searched" if same else "nothing else found"


def _round_trip(
    evaluator: Evaluator,
    inversion: Inversion,
    again: Tensor | None,
    moved: Callable[[int], Tensor] | None,
    gap: float,
) -> tuple[Tensor, Tensor]:
    """NMSE of the round trip, and the one that round-off makes, ``[B]`` each.

    What the search has found out about this network already is not evaluated again.
    """
    solver = evaluator.solver
    inversion = _known(evaluator.denoiser, inversion, solver)
    image, noise = inversion.states[-1], inversion.noise
    rows = torch.arange(len(noise), device=noise.device)
    precision, own = inversion.roundoff, again is None
    theirs = torch.equal(noise, inversion.states[0] / solver.scale)  # the run was from this noise
    if again is None and theirs and inversion.again is not None:
        holds = _same(evaluator, inversion, rows)
        again = torch.where(column(holds, image), inversion.again, torch.nan)
        precision = precision if bool(holds.all()) else None
    elif again is not None:
        again = again.to(image)
    todo = rows if again is None else rows[again.flatten(1).isnan().any(1) & own]
    again = torch.full_like(image, torch.nan) if again is None else again.clone()
    if len(todo):
        states, m, again[todo] = sampled(evaluator, noise[todo] * solver.scale, todo)
        if precision is None and len(todo) == len(rows):
            precision = roundoff(evaluator, states.nan_to_num(), rows, m.nan_to_num())
    if precision is None:
        precision = roundoff(evaluator, inversion.states[:-1].transpose(0, 1).nan_to_num(), rows)
    trip, limit = nmse(again, image), precision.limit
    if gap >= 1e-10:
        limit = limit.clamp(min=min(COARSEST, max(SINGLE, (4 * gap) ** 2)))
    doubtful = rows[(trip >= limit) & (trip < MOST * limit)]
    if len(doubtful) and (own or moved is not None):
        known = _repeats(inversion, doubtful)
        covers = partial(_covers, trip[doubtful], limit[doubtful])
        new = known.isnan() if moved is None else ~covers(known)
        if new.any():
            these, change = doubtful[new], precision.change
            enough = partial(_covers, trip[these], limit[these])
            if moved is None:
                first, end = noise[these] * solver.scale, again[these]
                found = repetition(evaluator, first, end, change, these, enough)
            else:
                found = mean_of_draws(partial(_drawn, moved, again, these), these, enough)
            known = torch.fmax(known, known.masked_scatter(new, found))
        limit[doubtful] = raised(limit[doubtful], known)
    return trip, limit


def _known(denoiser: Denoiser, inversion: Inversion, solver: Solver) -> Inversion:
    """An inversion without what its search has found out about another network or table.

    Where nobody knows what was asked, its run is not believed, its round-off is.
    """
    if inversion.origin is None:
        return replace(inversion, again=None)
    if inversion.origin.is_of(denoiser, solver):
        return inversion
    return replace(inversion, again=None, repeat=None, roundoff=None)


def _repeats(inversion: Inversion, rows: Tensor) -> Tensor:
    """How well the sampler repeats itself, as the search has found out, NMSE ``[k]``; else NaN."""
    if inversion.repeat is None:
        return torch.full(rows.shape, torch.nan, dtype=torch.float64, device=rows.device)
    return inversion.repeat[rows]


def _drawn(
    moved: Callable[[int], Tensor], again: Tensor, rows: Tensor, c: int, at: Tensor
) -> Tensor:
    """NMSE between the images of a noise and of the same one, changed in its last place."""
    return nmse(moved(c).to(again)[rows[at]], again[rows[at]])


def _covers(trip: Tensor, limit: Tensor, repeat: Tensor) -> Tensor:
    """Whether that a sampler repeats itself no better explains the round trip, ``[k]``."""
    return trip < raised(limit, repeat)


def _same(evaluator: Evaluator, inversion: Inversion, rows: Tensor) -> Tensor:
    """Whether the network is still what it was when the search asked it, ``[B]``.

    The first equation of the trajectory has to hold as well as the search has said.
    """
    (first, second), a, b = inversion.states[:2], evaluator.solver.a, evaluator.solver.b
    m = b[0, 0].to(first) * evaluator.output(first, 0, rows).to(first)
    gap = relative_size(second - a[0].to(first) * first - m, second)
    known = inversion.roundoff
    rough = relative_size(m, second) * (0.0 if known is None else known.outputs[:, 0].to(second))
    return gap <= 2 * inversion.residuals[:, 0].to(gap) + 8 * rough + STEP


def _faults(
    evaluator: Evaluator, inversion: Inversion, rows: Tensor
) -> dict[int, tuple[float, str]]:
    """What the network does wrong on the way from the noises of some samples.

    Returns:
        For each of ``rows`` how far its outputs, relative, are from those at the same states when
        they are evaluated from the last to the first; and where they are not finite.
    """
    if not len(rows):
        return {}
    solver = evaluator.solver
    first, image = inversion.noise[rows] * solver.scale, inversion.states[-1][rows]
    found = column(first.flatten(1).isfinite().all(1), first)  # else the image does as well
    states, once, _ = sampled(evaluator, torch.where(found, first, image), rows)
    worst, where = torch.zeros(len(rows), dtype=torch.float64, device=rows.device), [""] * len(rows)
    for i in range(solver.steps - 1, -1, -1):
        twice = evaluator.output(states[:, i], i, rows)
        worst = torch.maximum(worst, apart(once[:, i], twice))
        sound = once[:, i].isfinite() & twice.isfinite() | ~states[:, i].isfinite()
        for k in (~sound.flatten(1).all(1)).nonzero().flatten().tolist():
            where[k] = f"step {i + 1}, t = {solver.t[i]:g}"
    return dict(zip(rows.tolist(), zip(worst.tolist(), where, strict=True), strict=True))


def _verdict(trip: float, limit: float) -> Verdict:
    if not trip < FAILED:
        return "failed"
    return "exact" if trip < limit else "approximate"


def _flags(
    fault: tuple[float, str], verdict: Verdict, score: float, doubt: float, root: bool
) -> str:
    restless, broken = fault
    reasons = []
    if broken:
        reasons.append(f"the network returned NaN or infinity ({broken})")
    if restless > LOOSE:
        reasons.append(f"the network does not repeat itself (up to {restless:.0e}, relative)")
    if abs(score) > 5:
        reasons.append(f"the noise is not Gaussian (norm off by {score:+.0f} standard deviations)")
    if verdict == "exact" and doubt > 1e-2:  # else the error is not the conditioning's fault
        reasons.append("ill-conditioned: the image hardly fixes the noise")
    if root:
        reasons.append("another noise gives the same image")
    return "; ".join(reasons)
