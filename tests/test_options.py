"""Every option of every door is used, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from stock import SIZE, draw
from tiny_pipelines import SD, build

import invlib.pipelines.invert as inverting
from invlib import edit_image, invert_image, invert_latents, likelihood, watch
from invlib.autoencoder import DECODERS
from invlib.identification import identify
from invlib.inverters import METHODS
from invlib.likelihood import Quadrature
from invlib.pipelines.options import OPTIONS
from invlib.pipelines.replay import Replay
from invlib.watermark.identify_picture import measure_errors

DDIM = diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=False)
CALL = {"prompt": "a red cat", "guidance_scale": 1.0, "num_inference_steps": 2, **SIZE}
PIXELS = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
LATENTS = draw(1, 4, 8, 8)
FEW = Quadrature(vectors=2)


class Used(BaseException):
    """An option has come to where it counts."""


def used(*given: Any, **options: Any) -> Any:
    raise Used


class Spent:
    """A budget that notices when it is asked."""

    seconds = None

    @property
    def evaluations(self) -> int | None:
        raise Used


def without_certificate(*given: Any, vectors: int = 0, **options: Any) -> Any:
    raise Used if vectors else AssertionError("a certificate was made")


def plain(*given: Any, others: int = 0, **options: Any) -> Any:
    raise Used if others else AssertionError("no option of the search")


VALUES: dict[str, Any] = {
    "method": used,
    "decoder": used,
    "refine": True,
    "certificate": False,
    "others": 1,
    "vectors": 1,
    "progress": True,
    "callback": used,
    "budget": Spent(),
    "seed": 20231,
    "max_batch": 1,
    "save": "noise.safetensors",
}
DOORS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "invert_image": (lambda pipe, own: invert_image(pipe, PIXELS, options=own, **CALL), ""),
    "invert_latents": (
        lambda pipe, own: invert_latents(pipe, LATENTS, options=own, **CALL),
        "decoder refine",
    ),
    "likelihood": (
        lambda pipe, own: likelihood(pipe, LATENTS, [own], determinant=FEW, naive=False, **CALL),
        "method decoder refine certificate others vectors save",
    ),
    "identify": (
        lambda pipe, own: identify(pipe, PIXELS, guidance=[1.0], options=own, **ASKED),
        "refine certificate others vectors save",
    ),
    "identify latents": (
        lambda pipe, own: identify(pipe, LATENTS, guidance=[1.0], options=own, **ASKED),
        "decoder refine certificate others vectors save",
    ),
    "watermark": (
        lambda pipe, own: measure_errors(pipe, pictures=4, options=own, **CALL),
        "refine certificate others vectors save",
    ),
    "edit_image": (
        lambda pipe, own: edit_image(pipe, PIXELS, None, "a dog", options=own, **CALL),
        "",
    ),
}
ASKED = {name: value for name, value in CALL.items() if name != "guidance_scale"}


@pytest.fixture(scope="module")
def pipe() -> Any:
    return build(tiny.stable_diffusion, DDIM)


def test_the_table_has_all_options() -> None:
    assert tuple(VALUES) == OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("door", DOORS)
def test_an_option_is_used_or_refused(
    pipe: Any, door: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, idle = DOORS[door]
    if name in idle.split():
        with pytest.raises(TypeError, match=f"no use for {name}"):
            enter(pipe, {name: VALUES[name]})
        return
    seeded, bar = torch.manual_seed, watch.Bar
    monkeypatch.setattr(
        torch, "manual_seed", lambda seed: used() if seed == VALUES["seed"] else seeded(seed)
    )
    monkeypatch.setattr(watch, "Bar", lambda shown: used() if shown is True else bar(shown))
    monkeypatch.setattr(Replay, "at_most", used)
    monkeypatch.setattr("invlib.noisefile.check_file", used)
    monkeypatch.setattr(inverting, "joint", used)
    if name != "callback":  # of rounds, which the fastest ones do not have
        monkeypatch.setitem(DECODERS, "quasi_newton", DECODERS["encoder"])
        monkeypatch.setitem(METHODS, "exact", METHODS["naive"])
    own = {name: VALUES[name]}
    if name in ("others", "vectors", "certificate"):
        monkeypatch.setattr(inverting, "certify", without_certificate)
    if name == "others":
        monkeypatch.setitem(METHODS, "exact", plain)
    if name == "certificate" and not door.startswith("edit"):
        assert enter(pipe, own).certificate is None
    elif name == "certificate":
        assert enter(pipe, own).inversion.certificate is None
    else:
        with pytest.raises(Used):
            enter(pipe, own)


def test_an_edit_with_an_inversion_refuses_what_only_a_search_uses(pipe: Any) -> None:
    found = invert_image(pipe, PIXELS, decoder="encoder", method="naive", seed=3, **CALL)
    for name, value in (("save", "n.safetensors"), ("method", "naive"), ("seed", 4)):
        with pytest.raises(TypeError, match=f"given its inversion has no use for {name}"):
            options = {"inversion": found, name: value}
            edit_image(pipe, PIXELS, None, "a dog", options=options, **CALL)
    edit_image(pipe, PIXELS, None, "a dog", options={"inversion": found, "seed": 3}, **CALL)


def test_the_fastest_batch_is_not_measured_for_every_candidate(pipe: Any) -> None:
    with pytest.raises(ValueError, match="measured for a single call: give the number"):
        likelihood(pipe, LATENTS, [{}], max_batch="fastest", **CALL)
    with pytest.raises(ValueError, match="measured for a single call: give the number"):
        identify(pipe, LATENTS, guidance=[1.0], max_batch="fastest", **ASKED)
