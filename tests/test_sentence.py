"""The sentence about an inversion: about the picture, and true whatever happened."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command

import invlib
from invlib import words
from invlib.cli import app
from invlib.cli.invert import _hint
from invlib.pipelines.comparison import compare, percent
from invlib.pipelines.options import OPTIONS
from invlib.pipelines.sentence import (
    COMMAND_LINE,
    NEXT,
    PYTHON,
    sentence,
    sentences,
    to_do,
    verdict,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)


def changed(count: int, by: int = 1) -> np.ndarray:
    """The picture with some of its values changed."""
    other = PIXELS.astype(int).flatten()
    other[:count] += np.where(other[:count] > 127, -by, by)
    return other.astype(np.uint8).reshape(PIXELS.shape)


def found(
    *,
    said: str = "exact",
    reason: str = "converged",
    made: Any = PIXELS,
    decoder: str = "quasi_newton",
    ended: str = "budget",
    flags: str = "",
    dtype: torch.dtype = torch.float32,
    method: str = "naive",
) -> Any:
    """A result of one picture."""
    one = torch.ones(1, dtype=torch.float64)
    proof = SimpleNamespace(
        verdict=(said,),
        round_trip=1e-13 * one,
        limit=1e-10 * one,
        flags=(flags,),
        uniqueness=("not searched",),
    )
    decoding = SimpleNamespace(
        latents=torch.zeros(1, 4, 2, 2), inside=0.5 * one, reason=(ended,), method=decoder
    )
    return SimpleNamespace(
        certificate=proof if said else None,
        picture=None if made is None else compare(PIXELS, made),
        decoding=decoding if decoder else None,
        inversion=SimpleNamespace(
            noise=torch.zeros(1, 4, 2, 2),
            reason=(reason,),
            method=method,
            roundoff=None,
            starts=None,
        ),
        latents=torch.zeros(1, 4, 2, 2, dtype=dtype),
    )


def test_a_picture_that_does_not_come_back_is_not_called_exact() -> None:
    assert verdict(found()) == "exact"
    assert sentence(found(), 0).startswith("exact: the noise makes the latents again")
    assert "all of the 144 values of the picture come back" in sentence(found(), 0)
    part = found(made=changed(1))
    assert verdict(part) == "exact for the latents, not for the picture"
    assert "99.3% of the 144 values of the picture come back, the others up to 1 level off" in (
        sentence(part, 0)
    )
    assert verdict(found(said="approximate", made=changed(1))) == "approximate"
    assert verdict(found(said="", made=None)) == "not certified"


@pytest.mark.parametrize("reason", ["stalled", "diverged"])
def test_no_hope_is_said_with_the_evidence(reason: str) -> None:
    lost = found(said="approximate", reason=reason, method="exact")
    assert "start" not in sentence(lost, 0)
    lost.inversion.starts = torch.tensor([4])
    lost.inversion.residuals = torch.tensor([[1e-5, 3e-3]], dtype=torch.float64)
    lost.inversion.roundoff = SimpleNamespace(equations=torch.tensor([5e-7], dtype=torch.float64))
    assert "4 starts came no nearer to the equations of its steps than 3e-03" in sentence(lost, 0)
    assert "where round-off is 5e-07" in sentence(lost, 0)
    lost.inversion.reason = ("budget",)
    assert "4 starts" not in sentence(lost, 0)


def test_a_decoded_picture_that_was_not_compared_counts_by_what_its_latents_decode_to() -> None:
    unseen = found(made=None, decoder="encoder", ended="explicit")
    assert verdict(unseen) == verdict(unseen, 0) == "exact for the latents, not for the picture"
    assert "the latents decode to 50.0% of the picture's values" in sentence(unseen, 0)
    assert PYTHON["search"] in to_do(unseen, 0)
    unseen.decoding.inside = torch.ones(1, dtype=torch.float64)
    assert verdict(unseen) == "exact"
    assert verdict(found(made=None, decoder="")) == "exact"


def test_the_sentence_is_one_line_and_ends_with_what_to_do() -> None:
    for reason in get_args(words.Reason):
        for said in ("exact", "approximate", "failed"):
            for names in (PYTHON, COMMAND_LINE):
                text = sentence(found(said=said, reason=reason, made=changed(3)), 0, names)
                assert "\n" not in text and "{" not in text
                assert "; next: " in text


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"made": changed(9)}, PYTHON["decoder"]),
        ({"made": changed(9), "decoder": "active_set"}, ""),
        ({"made": changed(9), "decoder": "encoder", "ended": "explicit"}, PYTHON["search"]),
        ({"made": changed(140, by=90)}, "reaches no picture that near"),
        ({"made": changed(9), "ended": "interrupted"}, "let it run on"),
        ({"ended": "nan"}, PYTHON["single"]),
        ({"said": "failed", "reason": "budget"}, PYTHON["budget"]),
        ({"said": "approximate", "reason": "explicit"}, PYTHON["method"]),
        ({"said": "approximate", "reason": "round-off"}, PYTHON["double"]),
        ({"said": "approximate", "reason": "round-off", "dtype": torch.float16}, PYTHON["single"]),
        ({"flags": "the noise is not Gaussian (norm off by 9)"}, "this very call"),
        ({}, PYTHON["others"]),
    ],
)
def test_what_to_do_next(changes: dict[str, Any], advice: str) -> None:
    said = to_do(found(**changes), 0)
    assert advice in said if advice else said == ""


@pytest.mark.parametrize("reason", get_args(words.Reason))
def test_nobody_is_told_to_use_the_method_that_was_used(reason: Any) -> None:
    for names in (PYTHON, COMMAND_LINE):
        said = to_do(found(said="approximate", reason=reason, method="exact"), 0, names)
        assert said and "{" not in said
        assert names["method"] not in said or reason == "explicit"


@pytest.mark.parametrize("said", ["approximate", "failed"])
def test_pixels_that_come_back_in_every_value_are_not_exact_and_need_nothing(said: str) -> None:
    """The 8-bit pixels of a model without a decoder: the target was the centres of the rounding."""
    whole = found(said=said, reason="stalled", method="exact", decoder="")
    text = sentence(whole, 0)
    assert "all of the 144 values of the picture come back: the pixels asked for are the" in text
    assert "next:" not in text and to_do(whole, 0) == ""
    part = found(said=said, reason="stalled", method="exact", decoder="", made=changed(1))
    assert "centres" not in sentence(part, 0) and "this very call" in to_do(part, 0)


def test_the_hint_of_the_command_line_is_that_of_the_sample_with_the_verdict() -> None:
    """It was that of the sample with the largest round trip, which may want for nothing."""
    both = found(made=changed(9))
    both.certificate.verdict, both.certificate.flags = ("exact",) * 2, ("",) * 2
    both.certificate.uniqueness = ("not searched",) * 2
    both.certificate.round_trip = torch.tensor([1e-12, 1e-13], dtype=torch.float64)
    both.inversion = SimpleNamespace(noise=torch.zeros(2, 1), reason=("converged",) * 2, method="")
    both.picture = compare(np.stack([PIXELS] * 2), np.stack([PIXELS, changed(9)]))
    both.verdict = verdict(both)
    assert both.verdict == "exact for the latents, not for the picture"
    assert COMMAND_LINE["decoder"] in _hint(both)


def test_every_reason_has_something_to_do_and_the_options_exist() -> None:
    assert set(NEXT) == set(words.REASONS)
    assert set(PYTHON) == set(COMMAND_LINE)
    parameters = get_command(app).commands["invert"].params  # type: ignore[attr-defined]
    known = {option for p in parameters for option in p.opts}
    named = {w for text in COMMAND_LINE.values() for w in text.split() if w.startswith("--")}
    assert named and named <= known
    keywords = {text.partition("=")[0] for text in PYTHON.values() if "=" in text.split("(")[0]}
    assert keywords and keywords <= set(OPTIONS)


def test_shares_are_all_or_none_only_if_they_are() -> None:
    assert [percent(s) for s in (0, 1, 0.5, 1 - 1e-7, 1e-7, 0.9995)] == [
        *("none", "all", "50.0%", "more than 99.99%", "less than 0.01%", "99.95%")
    ]


def test_pictures_are_compared_in_any_form() -> None:
    for given in (PIXELS, Image.fromarray(PIXELS), [PIXELS], PIXELS / 255.0, PIXELS[None]):
        assert compare(given, [Image.fromarray(PIXELS)]).same
    seen = compare(PIXELS, changed(36, by=7))
    assert (seen.share, float(seen.gap)) == (0.75, 7)
    assert float(seen.rms) == pytest.approx(3.5)
    assert (
        str(seen)
        == "75.0% of the 144 values of the picture come back, the others up to 7 levels off"
    )
    both = compare([PIXELS, PIXELS], [PIXELS, changed(1)])
    assert not both.same and both.equal.tolist() == pytest.approx([1, 143 / 144])
    assert str(both).startswith("all of the 144 values of picture 1 come back\n")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            Image.fromarray(PIXELS).resize((3, 5)),
            "is 3 x 5 (width x height), but the",
        ),
        (Image.fromarray(PIXELS).convert("L"), "has mode L, but the noise makes RGB"),
        (Image.fromarray(PIXELS).convert("P"), "has mode P, but the noise makes RGB"),
        ([PIXELS, PIXELS], "2 pictures, but the noise makes 1"),
    ],
)
def test_what_cannot_be_compared_is_said(given: Any, reason: str) -> None:
    seen = compare(given, PIXELS)
    assert reason in seen.reason and reason in str(seen)
    assert not seen.same and seen.equal.isnan().all()


# --- a real one

CALL = {"num_inference_steps": 2, "method": "naive"}


@pytest.fixture(scope="module")
def pixel_pipe() -> Any:
    from diffusers import DDIMScheduler

    pipe = invlib.load("portraits-pixel")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


@pytest.fixture(scope="module")
def result(pixel_pipe: Any) -> Any:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    return invlib.invert_image(pixel_pipe, pictures, batch_size=2, **CALL)


def test_the_share_is_that_of_the_stock_pipeline(pixel_pipe: Any, result: Any) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    made = compare(pictures, invlib.regenerate(pixel_pipe, result))
    assert torch.equal(result.picture.equal, made.equal)
    assert 0 < result.picture.share < 1


def test_a_picture_that_was_opened_from_a_lossy_file_is_noted(
    pixel_pipe: Any, tmp_path: Path
) -> None:
    for name, noted in (("a.jpg", True), ("a.png", False)):
        Image.new("RGB", (32, 32), "teal").save(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            found = invlib.invert_image(pixel_pipe, [picture], certificate=False, **CALL)
        assert any(note.startswith("JPEG may be lossy") for note in found.notes) == noted


def test_a_result_prints_as_its_sentences(result: Any) -> None:
    assert str(result) == sentences(result)
    lines = str(result).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["1", "2"]
    assert "pixels" in lines[0] and "; next: use method=" in lines[0]
    assert str(result) in repr(result)


def test_copies_do_not_carry_the_pipeline(pixel_pipe: Any, result: Any) -> None:
    assert result.pipe is pixel_pipe
    for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert other.pipe is None
        assert torch.equal(other.latents, result.latents)
    assert replace(result, notes=()).pipe is pixel_pipe
