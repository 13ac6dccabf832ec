"""What may have made a picture, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from ..likelihood import Likelihoods
from ..likelihood.result import without_noise
from ..words import Reason
from .candidates import Candidate

LEVEL = 0.01  # probability of "none of these" where one of them it was, of each test
CUT = ("budget", "interrupted", "error")  # reasons of a search that might have found a noise
OUTSIDE = " From a picture of 8 bits a call that is not among them is hardly noticed."
MISFIT = 3.0  # roundings; pictures that were saved as JPEG are ten and more away


@dataclass(frozen=True)
class Identification:
    r"""What may have made a picture.

    Attributes:
        candidates: all that was looked at and has a likelihood, the best of every sampler first.
        rough: the rough log-likelihood of each in nats (:func:`invlib.identification.first_look`);
            to be compared between candidates with the same sampler only.
        finalists: those of which the exact likelihood was computed, the best first.
        likelihoods: these likelihoods, in the order of ``finalists``.
        noise: the noise of the best finalist, ``[1, ...]``; None if none was found.
        surprise: probability that drawn noise is as unlike N(0, 1) as this one; None where the
            latents come from an 8-bit picture, through which the law of the noise is not known.
        norm: :math:`\\|z\\|^2/D` of that noise.
        misfit: distance of the picture from what the decoder can make, in root mean squares of the
            rounding to 8 bits; None for latents.
        reasons: why it is none of the candidates; empty where nothing speaks against the best.
        untried: combinations that were not looked at.
        evaluations: network evaluations in all.
        notes: what was assumed, and what was refused.
        unfound: finalists of which no noise was found, and why their search ended or did not begin.
        refused: samplers, or single candidates, whose call :func:`invlib.invert_latents` refuses,
            by name, and why; nothing is known of them.
        ended: why all ended early, so that finalists are missing or determinants are cut short
            (their errors say so): ``budget`` or ``interrupted``; None if all was done.
    """

    candidates: tuple[Candidate, ...]
    rough: tuple[float, ...]
    finalists: tuple[Candidate, ...]
    likelihoods: Likelihoods | None = field(repr=False)
    noise: Tensor | None = field(repr=False)
    surprise: float | None
    norm: float
    misfit: float | None
    reasons: tuple[str, ...]
    untried: int
    evaluations: int
    notes: tuple[str, ...] = ()
    unfound: tuple[tuple[Candidate, Reason], ...] = ()
    ended: Reason | None = None
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def best(self) -> Candidate | None:
        """The most probable candidate; None where it is none of these."""
        return self.finalists[0] if self.finalists and not self.reasons else None

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are frequencies, which from 8 bits they are not.

        The latents that were decoded from such a picture are taken for the true ones, and by so
        much all odds are too sure.
        """
        return self.surprise is not None

    @property
    def posterior(self) -> float:
        """Probability of the best finalist among the finalists, if one of them it was.

        Where it is not ``calibrated``, it is no more than an order of the finalists.
        """
        if self.likelihoods is None:
            return math.nan
        return self.likelihoods.posterior[0, 0].item()

    def sentence(self) -> str:
        """What may be said, in one sentence, and what may not be, in another."""
        if self.noise is None:
            lost = ""  # it is one of the reasons
        else:
            lost = without_noise((candidate.name, why) for candidate, why in self.unfound)
        early = f"all ended early ({self.ended}), before it was compared as well as can be"
        parts = (lost, *refusals(self.refused), early if self.ended else "")
        rest = "; ".join(filter(None, parts))
        rest = f"; {rest}." if rest else "."
        one = len(self.candidates) == 1
        if not self.candidates and self.refused:
            return f"No candidate can be compared{rest}"
        if self.reasons:
            cut = self.noise is None and any(why in CUT for _, why in self.unfound)
            who = "The one candidate" if one else f"None of these {len(self.candidates)} candidates"
            did = ("is not known" if one else "is known") + " to have made it" if cut else ""
            did = did or ("did not make it" if one else "made it")
            return f"{who} {did}: {'; '.join(self.reasons)}{rest}"
        name = self.finalists[0].name
        if len(self.finalists) > 1 and not self.calibrated:
            said = (
                f"The most likely of these {len(self.candidates)} candidates is {name}; from 8 "
                "bits its odds against the other finalists are not calibrated"
            )
        elif len(self.finalists) > 1:
            said = (
                f"Of these {len(self.candidates)} candidates {name}, with probability "
                f"{self.posterior:.3g} among the {len(self.finalists)} finalists if it is one of "
                "them"
            )
        else:
            said = f"Nothing speaks against {name}, which was compared exactly with no other"
        return said + rest + ("" if self.calibrated else OUTSIDE)


def refusals(refused: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What was refused, by name, and why, in words."""
    return tuple(f"refused: {name} ({why})" for name, why in refused)
