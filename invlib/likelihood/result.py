"""The likelihoods of several candidates, sample by sample, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..words import Reason
from .averaging import averaged, errors_of
from .scores import Scores


@dataclass(frozen=True)
class Determinant:
    r"""The logarithm of a determinant, :math:`\log|\det S'|`, of one sample at one noise.

    Attributes:
        value: the logarithm.
        draws: the values of the single random vectors, ``[P]``; empty if it is exact.
        truncation: by how much it may be off beside their scatter.
        nfe: network evaluations that it cost.
        sign: of :math:`\det \partial y_n/\partial y_0`, 1 or -1; NaN where it was estimated.
    """

    value: float
    draws: Tensor = field(repr=False)
    truncation: float
    nfe: int
    sign: float = math.nan

    @property
    def error(self) -> float:
        """Standard error; 0 if the value is exact but for round-off."""
        return math.hypot(standard_error(self.draws).item(), self.truncation)


@dataclass(frozen=True)
class Root:
    r"""One noise of one sample, and what it contributes to the likelihood.

    Attributes:
        first: the first state of the sampler, ``[...]``, over its scale.
        noise: the noise z that the latents come from, as a vector ``[D]``.
        log_normal: :math:`\log\mathcal N(z; 0, I)`.
        determinant: :math:`\log|\det S'(z)|` of the sampler.
    """

    first: Tensor = field(repr=False)
    noise: Tensor = field(repr=False)
    log_normal: float
    determinant: Determinant

    @property
    def log_weight(self) -> float:
        """Logarithm of what the noise contributes."""
        return self.log_normal - self.determinant.value


@dataclass(frozen=True)
class CandidateLikelihood:
    r"""How likely some latents are, if a candidate made them.

    Attributes:
        name: what the candidate is called.
        log_p: :math:`\log p(x \mid c)` in nats, ``[B]``: the sum over the noises that were found,
            so at most the likelihood if there are more; -inf where none was found, which says
            nothing of noises that a longer search may find: see ``reason``.
        error: its standard error, ``[B]``; 0 where determinants are exact.
        roots: the noises of each sample, the most probable one first.
        scores: cheaper scores, of the most probable noise.
        nfe: network evaluations that a sample cost, ``[B]``.
        reason: why the search for a noise of each sample ended; :mod:`invlib.words` explains it.
    """

    name: str
    log_p: Tensor
    error: Tensor
    roots: tuple[tuple[Root, ...], ...] = field(repr=False)
    scores: Scores = field(repr=False)
    nfe: Tensor
    reason: tuple[Reason, ...]

    @property
    def degree(self) -> Tensor:
        r"""What the signs of the determinants at the noises that were found add up to, ``[B]``.

        .. math:: \sum_{z:\,S_c(z) = x} \operatorname{sign}\det S_c'(z) = 1

        over *all* noises, if the sampler is proper and keeps the orientation far out. NaN where
        determinants were estimated.

        Source: chapter on the open front, on signs.
        """
        signs = [sum(root.determinant.sign for root in roots) for roots in self.roots]
        return torch.tensor(signs, dtype=torch.float64)

    @property
    def missed(self) -> Tensor:
        """Whether a noise is missing beside those that were found, ``[B]``.

        Where it is false there may be missing ones, too, whose signs cancel.
        """
        some = torch.tensor([len(roots) > 0 for roots in self.roots])
        return some & self.degree.isfinite() & (self.degree != 1)

    def draws(self, sample: int) -> Tensor:
        """What the random vectors, one by one, say of ``log_p``, ``[P]``; empty if exact."""
        roots = self.roots[sample]
        weights = torch.tensor([r.log_weight for r in roots], dtype=torch.float64)
        shares = torch.softmax(weights, 0).tolist()
        parts = [-w * r.determinant.draws for w, r in zip(shares, roots, strict=True)]
        return torch.stack(parts).sum(0) if parts else torch.zeros(0)

    def truncation(self, sample: int) -> float:
        """By how much ``log_p`` may be off beside the scatter of the random vectors."""
        return max((root.determinant.truncation for root in self.roots[sample]), default=0.0)


@dataclass(frozen=True)
class Likelihoods:
    """The likelihoods of several candidates for the same latents.

    Attributes:
        candidates: one result a candidate, in the given order.
        log_prior: logarithms of their prior probabilities, ``[K]``.
    """

    candidates: tuple[CandidateLikelihood, ...]
    log_prior: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """What the candidates are called."""
        return tuple(c.name for c in self.candidates)

    @property
    def log_p(self) -> Tensor:
        """Log-likelihoods in nats, ``[K, B]``."""
        return torch.stack([c.log_p for c in self.candidates])

    @property
    def error(self) -> Tensor:
        """Their standard errors, ``[K, B]``."""
        return torch.stack([c.error for c in self.candidates])

    @cached_property
    def posterior(self) -> Tensor:
        """Probabilities of the candidates if one of them it was, ``[K, B]``.

        They are averaged over the errors of the log-likelihoods, as far as these do not cancel in
        differences: from two random vectors a lead is known to one degree of freedom only. A
        candidate of which no noise was found has none, whatever the reason; NaN if that holds of
        all.
        """
        total = (self.log_p + self.log_prior[:, None]).double().cpu()
        rows = [averaged(total[:, b], self._errors(b)) for b in range(total.shape[1])]
        return torch.stack(rows, 1)

    def _errors(self, sample: int) -> Tensor:
        """Points of the errors of a sample's log-likelihoods, ``[S, K]``."""
        each = [(c.draws(sample), c.truncation(sample)) for c in self.candidates]
        return errors_of(*zip(*each, strict=True))

    @property
    def best(self) -> Tensor:
        """The most probable candidate of each sample, ``[B]``; -1 if no noise was found of any."""
        total = self.log_p + self.log_prior[:, None]
        return torch.where((total > -torch.inf).any(0), total.argmax(0), -1)

    def difference(self, first: int, second: int, sample: int = 0) -> tuple[float, float]:
        """By how many nats a candidate is likelier than another one, and the standard error.

        Candidates share their random vectors, so that the error is often far smaller than those
        of the two. What they miss as they are cut short has one sign and is taken to cancel, too,
        where it is as much: that is an estimate, and no bound, where much was cut. It is infinite
        where that of one of them is. From P random vectors it has P - 1 degrees of freedom, so that
        three standard errors from two vectors prove little: see :meth:`within`.
        """
        one, two = self.candidates[first], self.candidates[second]
        value = (one.log_p[sample] - two.log_p[sample]).item()
        draws = one.draws(sample), two.draws(sample)
        cut = one.truncation(sample), two.truncation(sample)
        truncation = abs(cut[0] - cut[1]) if all(map(math.isfinite, cut)) else math.inf
        if len(draws[0]) == len(draws[1]):
            return value, math.hypot(standard_error(draws[0] - draws[1]).item(), truncation)
        return value, math.hypot(one.error[sample].item(), two.error[sample].item())

    def within(self, first: int, second: int, sample: int = 0) -> float:
        """How far :meth:`difference` is off at most, in nats, with probability 95 %.

        By Student's law: that is 13 standard errors from two random vectors, two from many.
        """
        if not math.isfinite(self.difference(first, second, sample)[1]):
            return math.inf
        errors = self._errors(sample)
        return (errors[:, first] - errors[:, second]).abs().quantile(SURE).item()

    def table(self, sample: int = 0) -> str:
        """One line a candidate: likelihood, probability, and the cheaper scores."""
        lines = [("candidate", "log p", "+-", "probability", "noises", *SCORES, "evaluations")]
        for k, c in enumerate(self.candidates):
            numbers = (
                f"{c.log_p[sample]:.1f}",
                f"{c.error[sample]:.1g}",
                f"{self.posterior[k, sample]:.3f}",
                f"{len(c.roots[sample])}",
                f"{c.scores.norm[sample]:.3f}",
                f"{c.scores.whiteness[sample]:.2f}",
                f"{c.scores.naive[sample]:.1e}",
                f"{c.nfe[sample]}",
            )
            lines.append((c.name, *numbers))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in lines
        )

    def sentence(self, sample: int = 0) -> str:
        """What may be said about a sample, if one of the candidates made it."""
        found = self.log_p[:, sample].isfinite()
        lost = without_noise(
            (c.name, c.reason[sample])
            for c, has in zip(self.candidates, found.tolist(), strict=True)
            if not has
        )
        if not found.any():
            return lost
        total = self.log_p[:, sample] + self.log_prior
        first, *others = total.argsort(descending=True).tolist()
        name, share = self.names[first], self.posterior[first, sample].item()
        if not others:
            return f"{name} has a noise that makes these latents; it is the only one"
        if not found[others[0]]:
            return f"{name}: {lost}"
        value, error = self.difference(first, others[0], sample)
        size = f"{value:.1f} nats"
        if error:
            size = f"{value:.1f} +- {self.within(first, others[0], sample):.1g} nats ({SURE:.0%})"
        return (
            f"of these candidates {name}, with probability {share:.3g}: its likelihood is {size} "
            f"above that of {self.names[others[0]]}{lost and '; ' + lost}"
        )

    def warning(self, sample: int = 0) -> str:
        """Which likelihoods of a sample lack a noise; empty if that cannot be seen of any."""
        short = [c for c in self.candidates if c.missed[sample]]
        sums = ", ".join(f"{c.name} ({c.degree[sample]:g})" for c in short)
        return (
            f"a noise was missed of {sums}: the signs of all determinants add up to 1 if the "
            "sampler is proper, so that the likelihood is larger; look with others=8"
            if short
            else ""
        )

    def __str__(self) -> str:
        parts = []
        for sample in range(self.log_p.shape[1]):
            parts += [self.table(sample), self.sentence(sample), self.warning(sample)]
        return "\n".join(filter(None, parts))


SCORES = ("|z|^2/D", "whiteness", "naive")
SURE = 0.95  # of how far a lead is off at most


def without_noise(searches: Iterable[tuple[str, Reason]]) -> str:
    """That no noise was found of some candidates; empty if there are none.

    Args:
        searches: their names, and why their searches ended.
    """
    ends = {"converged": "converged, but the sampler misses the latents"}
    lost = [f"{name} (search ended: {ends.get(why, why)})" for name, why in searches]
    return f"no noise was found for {', '.join(lost)}" if lost else ""


def standard_error(draws: Tensor) -> Tensor:
    """Of the mean of some draws, ``[P]``; 0 if there are none, NaN of a single one."""
    if not len(draws):
        return torch.zeros(())
    return draws.std() / len(draws) ** 0.5
