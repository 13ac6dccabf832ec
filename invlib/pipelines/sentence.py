"""The verdict on an inversion in one sentence: latents, picture, noise, and what to do next.

Python and the command line say the same; only the options are spelled in another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..metrics import decibel
from ..words import UNIQUENESS, VERDICTS, Reason
from .comparison import percent

if TYPE_CHECKING:
    from ..inversion import Inversion
    from .result import ImageInversion

PYTHON: Mapping[str, str] = {
    "method": 'method="exact"',
    "decoder": 'decoder="active_set"',
    "search": 'decoder="quasi_newton"',
    "others": "others=2",
    "budget": "budget=invlib.Budget(seconds=..., evaluations=...)",
    "batch": "max_batch=1",
    "longer": "decoder=functools.partial(invlib.autoencoder.quasi_newton, iterations=1000)",
    "single": "pipe.to(torch.float32)",
    "double": "pipe.to(torch.float64)",
}
COMMAND_LINE: Mapping[str, str] = {
    "method": "--method exact",
    "decoder": "--decoder active_set",
    "search": "--decoder quasi_newton",
    "others": "--others 2",
    "budget": "--seconds or --evaluations",
    "batch": "--max-batch 1",
    "longer": "in Python, decoder=functools.partial(quasi_newton, iterations=1000)",
    "single": "--dtype float32",
    "double": "--dtype float64",
}
CALL = "check that this very call made the picture (prompt, guidance scale, steps, scheduler)"
NEXT: Mapping[Reason, str] = {
    "converged": "use {method}",
    "stalled": f"{CALL}, and use {{method}}",
    "diverged": f"{CALL}, and use {{method}}",
    "budget": "give it more ({budget})",
    "interrupted": "let it run on, with {budget} if it must end",
    "round-off": "use {double}",
    "error": "read the warning, and use {batch} if memory was short",
    "explicit": "use {method}",
    "nan": "use {single}",
}
AFTER_EXACT: Mapping[Reason, str] = {"converged": "use {double}", "stalled": CALL, "diverged": CALL}
ENDS: tuple[Reason, ...] = ("nan", "interrupted")  # of a decoder's search, whatever came after
CENTRES = "the pixels asked for are the centres of the rounding, which this sampler need not reach"
PART = "exact for the latents, not for the picture"
NOT_GAUSSIAN = "the noise is not Gaussian"  # how a certificate's flag about the norm begins
LARGEST = 2**28  # numbers in the Jacobian of a decoder that ``active_set`` takes


def verdict(result: ImageInversion, row: int | None = None) -> str:
    """One word about a sample, or the worst of all; where a picture is known, it counts, too.

    A picture that was decoded and could not be compared counts by what its latents decode to.
    """
    proof = result.certificate
    if proof is None:
        return "not certified"
    words = proof.verdict if row is None else proof.verdict[row : row + 1]
    worst = min(words, key=[*VERDICTS][::-1].index)
    if worst != "exact":
        return worst
    seen, shares = result.picture, _inside(result, row)
    if seen is not None:
        shares = seen.equal[rows_of(result, row)]
    return "exact" if shares is None or bool((shares == 1).all()) else PART


def sentence(result: ImageInversion, row: int, names: Mapping[str, str] = PYTHON) -> str:
    """The verdict on a sample.

    Args:
        result: what was found.
        row: number of the sample.
        names: how the options are spelled.
    """
    said = [_latents(result, row), _picture(result, row), _noise(result, row)]
    advice = to_do(result, row, names)
    text = f"{verdict(result, row)}: {'; '.join(filter(None, said))}"
    return f"{text}; next: {advice}" if advice else text


def sentences(result: ImageInversion, names: Mapping[str, str] = PYTHON) -> str:
    """The verdict on each sample, one line each; numbered if there are several."""
    count = len(result.inversion.noise)
    lines = [sentence(result, row, names) for row in range(count)]
    return lines[0] if count == 1 else "\n".join(f"{k + 1}: {s}" for k, s in enumerate(lines))


def rows_of(result: ImageInversion, row: int | None) -> slice:
    """Which pictures belong to a sample: its frames, or all where rows depend on each other."""
    count = 0 if result.picture is None else len(result.picture)
    each = max(1, count // len(result.inversion.noise))
    return slice(None) if row is None else slice(row * each, (row + 1) * each)


def _latents(result: ImageInversion, row: int) -> str:
    proof = result.certificate
    pixels = result.decoding is None and result.picture is not None
    what = "pixels" if pixels else "latents"
    if proof is None:
        return f"nobody made the {what} again (certificate=False)"
    trip, limit = decibel(proof.round_trip)[row].item(), decibel(proof.limit)[row].item()
    match proof.verdict[row]:
        case "exact":
            return f"the noise makes the {what} again to round-off ({trip:.0f} dB)"
        case "approximate":
            made = f"makes the {what} again up to {trip:.0f} dB (round-off: {limit:.0f})"
        case _:
            made = f"does not make the {what} again ({trip:.0f} dB)"
    return f"the noise {made}{_hopeless(result.inversion, row)}"


def _hopeless(found: Inversion, row: int) -> str:
    """The evidence that this call did not make the picture: how near all the starts came."""
    rough, starts = found.roundoff, found.starts
    if starts is None or rough is None or found.reason[row] not in ("stalled", "diverged"):
        return ""
    times = "1 start" if starts[row] == 1 else f"{starts[row]} starts"
    near, attainable = found.residuals[row].max().item(), rough.equations[row].item()
    return (
        f"; {times} came no nearer to the equations of its steps than {near:.0e}, relative, where "
        f"round-off is {attainable:.0e}"
    )


def _in_every_value_but_not_exact(result: ImageInversion, row: int) -> bool:
    """Whether the pixels of a picture miss the centres of its rounding, and not the picture."""
    seen, proof = result.picture, result.certificate
    if (
        proof is None
        or proof.verdict[row] == "exact"
        or seen is None
        or result.decoding is not None
    ):
        return False
    return not seen.reason and bool((seen.equal[rows_of(result, row)] == 1).all())


def _picture(result: ImageInversion, row: int) -> str:
    seen = result.picture
    if seen is not None and not seen.reason:
        rows = [*range(len(seen))[rows_of(result, row)]]
        centres = f": {CENTRES}" if _in_every_value_but_not_exact(result, row) else ""
        return f"{seen.said(*rows)} of the picture come back{seen.off(*rows)}{centres}"
    shares = _inside(result, row)
    if shares is None:
        return ""
    return f"the latents decode to {percent(float(shares.mean()))} of the picture's values"


def _inside(result: ImageInversion, row: int | None) -> Tensor | None:
    """Shares of a sample's values, or of all, that the latents found decode to; None without."""
    if result.decoding is None:
        return None
    inside = result.decoding.inside
    return inside if row is None or len(result.inversion.noise) == 1 else inside[row : row + 1]


def _noise(result: ImageInversion, row: int) -> str:
    proof = result.certificate
    if proof is None or proof.verdict[row] != "exact":
        return ""
    return proof.flags[row] or UNIQUENESS[proof.uniqueness[row]].meaning


def to_do(result: ImageInversion, row: int, names: Mapping[str, str] = PYTHON) -> str:
    """What may help where a sample is not what one hoped for; nothing where nothing is amiss."""
    proof, why = result.certificate, result.inversion.reason[row]
    ended = () if result.decoding is None else result.decoding.reason
    for word in ENDS:
        if word in ended:
            return NEXT[word].format(**names)
    if proof is None or proof.verdict[row] != "exact":
        half = result.latents.dtype in (torch.float16, torch.bfloat16)
        if half and why in ("converged", "round-off"):
            return NEXT["nan"].format(**names)
        if _in_every_value_but_not_exact(result, row) or (proof is None and why == "converged"):
            return ""
        after = AFTER_EXACT if result.inversion.method == "exact" else {}
        return after.get(why, NEXT[why]).format(**names)
    if verdict(result, row) == PART:
        return _for_the_picture(result, row, names)
    if proof.flags[row].startswith(NOT_GAUSSIAN):
        return f"doubt that this model made the picture: {CALL}"
    return f"{names['others']} looks for one" if proof.uniqueness[row] == "not searched" else ""


def _for_the_picture(result: ImageInversion, row: int, names: Mapping[str, str]) -> str:
    """What may bring the other values of the picture back."""
    seen, decoding = result.picture, result.decoding
    if decoding is None or (seen is not None and seen.reason):
        return ""
    if "explicit" in decoding.reason:
        return f"{names['search']} comes nearer than {decoding.method}"
    if seen is None:
        return ""
    if float(seen.rms[rows_of(result, row)].max()) > 1:  # farther than rounding explains
        return (
            "the decoder reaches no picture that near: give the picture as the pipeline wrote it, "
            "not resized, compressed or edited; one that this model did not make has no noise here"
        )
    small = decoding.latents[0].numel() * seen.values <= LARGEST
    if decoding.method == "active_set":
        return ""
    return f"{names['decoder' if small else 'longer']} goes further"
