"""The words of a result: why a search ended and what a certificate says, each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "converged",
    "stalled",
    "diverged",
    "budget",
    "interrupted",
    "round-off",
    "error",
    "explicit",
    "nan",
]
Verdict = Literal["exact", "approximate", "failed"]
Uniqueness = Literal[
    "not searched",
    "unique as far as searched",
    "nothing else found",
    "another noise makes the same image",
]


@dataclass(frozen=True)
class Word:
    """What a word says, and what to do about it.

    Attributes:
        meaning: what happened, a clause without a full stop.
        remedy: what may help, an imperative without a full stop.
    """

    meaning: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.meaning}: {self.remedy}"


REASONS: dict[Reason, Word] = {
    "converged": Word(
        "the search reached its goal: the sampler, run again, ends at the image (`exact`), or the "
        "equations hold to the tolerance (all other methods)",
        "read the certificate, which alone is the proof",
    ),
    "stalled": Word(
        "no start came near the image, so that there is little hope that this model made it with "
        "this call",
        "check prompt, guidance, steps and scheduler, and take the method `exact` if it was not "
        "that",
    ),
    "diverged": Word(
        "the search ran away from every start, or met numbers that are not finite",
        "check prompt, guidance and scheduler, and take the method `exact` if it was not that",
    ),
    "budget": Word(
        "the budget was spent (rounds, evaluations or seconds)",
        "give more evaluations or seconds, or call the method itself with more rounds",
    ),
    "interrupted": Word(
        "the search was interrupted, by Ctrl-C or a callback",
        "let it run on, with a budget if it must end",
    ),
    "round-off": Word(
        "the equations hold to round-off, but the sampler is too ill-conditioned to repeat the "
        "image",
        "load the network with the dtype float64",
    ),
    "error": Word(
        "an attempt raised an error, and the best so far was kept",
        "read the warning, and lower max_batch if memory was short",
    ),
    "explicit": Word(
        "the method does not search, it only computes",
        "take the method `exact` for the sampler, `quasi_newton` for the decoder",
    ),
    "nan": Word(
        "the decoder returned NaN or infinity (of decoders only)",
        "load the decoder with the dtype float32",
    ),
}

VERDICTS: dict[Verdict, Word] = {
    "exact": Word(
        "sampled again, the noise gives the image back to round-off: `round_trip` is below `limit`",
        "ask `others=2` if it matters whether this is the noise that the image was made from",
    ),
    "approximate": Word(
        "the round trip misses round-off, but its error (NMSE) is below 0.1, that is -10 dB",
        "look up the reason above; for some uses, such as watermarks, it may be good enough",
    ),
    "failed": Word(
        "the error of the round trip (NMSE) is 0.1 or more, or not finite",
        "look up the reason above; a wrong prompt or scheduler alone seldom looks like this, for "
        "with those, too, most images are inverted exactly",
    ),
}

UNIQUENESS: dict[Uniqueness, Word] = {
    "not searched": Word(
        "nobody looked for another noise",
        "ask `others=2`",
    ),
    "unique as far as searched": Word(
        "every search from another start that found a noise found this one",
        "read `noise_error`: how far it is from the original noise, if that is this root (NaN "
        "where only one search found it)",
    ),
    "nothing else found": Word(
        "the searches from other starts found no noise at all, or this noise is itself not exact: "
        "that says nothing",
        "ask for more of them, with more rounds or evaluations",
    ),
    "another noise makes the same image": Word(
        "a search from another start found a different noise that is exact, too",
        "do not take either for the original; in pipelines they are in `others`",
    ),
}

FLAGS: dict[str, Word] = {
    "the network returned NaN or infinity": Word(
        "at the step that is named, on the way from the noise that was found",
        "load the network with the dtype float32: half precision overflows",
    ),
    "the network does not repeat itself": Word(
        "at the same states it gave other outputs, so that there is nothing to invert",
        "call its eval(), and switch off what draws or keeps something from call to call",
    ),
    "the noise is not Gaussian": Word(
        "the norm of the noise is more than five standard deviations off",
        "doubt the call: another prompt, scale or scheduler may have made the image",
    ),
    "ill-conditioned: the image hardly fixes the noise": Word(
        "the noise is exact, but `noise_error`, or four times the distance to what one more search "
        "found, is above 0.01",
        "do not rely on the noise's digits; the image comes back all the same",
    ),
    "another noise gives the same image": Word(
        "`uniqueness` says so, too",
        "do not take this noise for the original one",
    ),
}

FIELDS: dict[str, str] = {  # of a certificate, which says itself what they are; what to do
    "round_trip": "compare it with `limit`: below, the noise is exact",
    "limit": "look at it before you compare networks of different precision",
    "equations": "take it for a hint: it repeats what the inverter reported, and is no proof",
    "norm_score": "beyond 5 or -5, doubt prompt, scale and scheduler",
    "sigma_min": "take it for the value that few vectors allow: it is never too small, but may be "
    "too large; with as many `vectors` as the noise has entries it is exact",
    "sigma_max": "take it for the value that few vectors allow: it is never too large, but may be "
    "too small; where it is exact, the noise is off by at least the error of the image over it",
    "noise_error": "ask `others=2` or more where it is NaN and `uniqueness` speaks of no other "
    "noise, if the noise itself matters",
    "other_roots": "where it is true, do not call this noise the original one",
    "uniqueness": "read its word below",
    "verdict": "read it first, and its word below",
    "flags": "read them before you trust the noise; they say nothing against the image",
}
