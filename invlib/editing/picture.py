"""An edit of an 8-bit picture that keeps every value outside a mask."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..autoencoder import Autoencoder, Box, DecoderInverter, to_bytes
from ..pipelines import ImageInversion, Options, invert_image
from ..pipelines.comparison import fingerprint
from ..pipelines.decoding import read_decoder
from ..pipelines.equality import equal
from ..pipelines.images import Pictures
from ..pipelines.options import OPTIONS, WATCHED, _check_names, refuse, split
from ..pipelines.reading import Reading, read
from ..pipelines.running import known_seed, untouched
from ..pipelines.state import changed
from ..watch import watching
from .blend import edit
from .image_edit import ImageEdit
from .masks import dilate, latent_mask
from .mixing import mixed
from .plausible import FOREIGN, plausible
from .region import checked, code_shape, differences, given_region, on_states, otsu
from .seam import joined_to
from .words import attention_to


@dataclass(frozen=True, kw_only=True)
class EditOptions(Options):
    """How to edit, and how to invert before.

    Attributes:
        decoder: as for inversion, but by default :func:`invlib.editing.plausible`.
        guidance: guidance scale of the new prompt; by default that of the call.
        start: first step with the new prompt, from 0, at most the last. The steps before have the
            old prompt and keep more of the layout.
        threshold: above which value a pixel belongs to a mask that is found; by default the one
            that the values suggest (:func:`invlib.editing.otsu`).
        grow: pixels by which a mask that is found is made larger.
        feather: pixels inside the mask over which the correction fades; 0 for none.
        inversion: what an earlier edit, or :func:`invlib.invert_image`, found for this picture
            and call; it is not searched again, so that options of the search are refused.
    """

    decoder: str | DecoderInverter = plausible
    guidance: float | None = None
    start: int = 0
    threshold: float | None = None
    grow: int = 1
    feather: int = 4
    inversion: ImageInversion | None = None


def edit_image(
    pipe: Any,
    picture: Any,
    where: Any,
    new_prompt: str | Sequence[str] | Mapping[str, Any],
    /,
    *,
    options: EditOptions | Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> ImageEdit:
    r"""Change what a new prompt says inside a mask; outside, every 8-bit value stays.

    .. math:: x^* \to z^* \to y^*_0 \dots y^*_N, \qquad
              y_{i+1} = M\,\tilde y_{i+1} + (1 - M)\,y^*_{i+1}, \qquad
              x = M\,D(\tilde z) + (1 - M)\,x^*

    The noise of the picture is found exactly (:func:`invlib.invert_image`), the new prompt is
    sampled from it inside the mask (:func:`invlib.editing.edit`), and the latents are solved once
    more so that the decoder meets the kept pixels at the border
    (:func:`invlib.editing.joined_to`).

    A picture that no model made has a noise, too, and it is found as surely. But latents that
    decode to as many of its values as possible are none that the network would make, and neither is
    the noise; the encoder's are (:func:`invlib.editing.plausible`), and what they do not show is
    kept outside the mask anyway. Nor is a noise found at a high guidance scale: a new prompt may
    make anything of it. So where ``guidance_scale`` is not given it is 1, and
    ``options={"guidance": w}`` edits more strongly. ``results/edits.json`` measures edits of both.

    Args:
        pipe: any diffusers pipeline that :func:`invlib.invert_image` takes and that makes
            pictures, not clips.
        picture: 8-bit pictures, as for :func:`invlib.invert_image`.
        where: a mask (:func:`invlib.editing.given_region`); words of the prompt, one phrase for
            all pictures or one each, for the places that the network looks at when it reads them
            (:func:`invlib.editing.attention_to`); or None for the pixels that the two prompts
            paint differently (:func:`invlib.editing.differences`), the better mask where both
            are measured.
        new_prompt: the new prompt, one for all pictures or one for each prompt of the call, or a
            dictionary of all arguments of the call that change.
        options: :class:`EditOptions` or a dictionary of them.
        call: what was passed to ``pipe``, by the same names.

    Returns:
        An :class:`ImageEdit`: ``.picture``, ``.mask``, ``.overlay()``; printed, a sentence.

    Raises:
        TypeError: if an argument is neither the pipeline's nor an option, or the picture is not
            8-bit.
        ValueError: if mask, prompts or inversion do not fit the picture and the call.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    own, search, asked, notes = _asked(pipe, options, call)
    pictures = Pictures.of(picture)
    if pictures.pixels.dtype != torch.uint8 or pictures.pixels.ndim != 4:
        raise TypeError(
            f"edit_image takes 8-bit pictures, not {pictures.pixels.dtype} of shape "
            f"{tuple(pictures.pixels.shape)}; clips and latents: invlib.editing.edit"
        )
    given = None if where is None or _is_words(where) else where
    region = None if given is None else given_region(given, tuple(pictures.pixels.shape))
    if region is not None:
        _check_found(own)
    if own.inversion is not None:
        _check_inversion(pipe, own.inversion, pictures.pixels)
        _check_call(own.inversion, asked)
    result = own.inversion or invert_image(pipe, picture, options=search, **asked)
    changed = _changed(pipe, result, new_prompt, own.guidance)
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        untouched(pipe),
        watching(search.watch(pipe)),
        known_seed(result.seed),
    ):
        new = _read_same(pipe, changed, result)
        _check_start(own.start, new.solver.steps)
        old = (
            new
            if region is not None and own.start == 0
            else _read_same(pipe, dict(result.call), result)
        )
        autoencoder, shape = read_decoder(new)
        box = pictures.box(shape, pipe._execution_device)
        found_by = "given"
        if region is None:
            found_by, values = _looked_at(where, old, new, result, autoencoder, shape)
            cut = otsu(values) if own.threshold is None else own.threshold
            region = checked(dilate(values > cut, own.grow) > 0)
        done = _painted(old, new, result, region, autoencoder, own)
        return _finished(result, done, region, box, autoencoder, own, found_by, notes)


def _finished(
    result: ImageInversion,
    latents: Tensor,
    region: Tensor,
    box: Box,
    autoencoder: Autoencoder | None,
    own: EditOptions,
    found_by: str,
    notes: list[str],
) -> ImageEdit:
    """The picture of edited latents inside the mask, and the given values outside."""
    region = region.to(box.center.device)
    given = to_bytes(box.center)
    border = torch.zeros(len(given), dtype=torch.float64)
    picture = latents
    if autoencoder is not None:
        same = joined_to(autoencoder, box, region, latents, feather=own.feather)
        latents, picture, border = same.latents, same.picture, same.border
    share = 1.0 if result.decoding is None else result.decoding.inside.min().item()
    if share < FOREIGN:
        notes = [
            *notes,
            f"no latents decode to this picture (the encoder's, to {share:.0%} of its values): the "
            "pipeline did not make it; edits are safest with guidance_scale=1",
        ]
    pixels = torch.where(region, to_bytes(picture), given)
    mask, notes = region.cpu(), [*notes, *result.notes]
    return ImageEdit(
        pixels.cpu(), given.cpu(), mask, found_by, result, latents, border.cpu(), tuple(notes)
    )


def _asked(
    pipe: Any, options: Options | Mapping[str, Any] | None, call: Mapping[str, Any]
) -> tuple[EditOptions, Options, dict[str, Any], list[str]]:
    """Our options, those of the search among them, the pipeline's call, and a note about it."""
    ours = [f.name for f in fields(EditOptions) if f.name not in OPTIONS]
    takes, asked = _takes(pipe), _given(options)
    _check_names(asked, (*OPTIONS, *ours), "option of invlib")
    own = {name: asked.pop(name) for name in ours if name in asked}
    flat = {name: call[name] for name in ours if name in call and name not in takes}
    for name in own.keys() & flat.keys():
        raise TypeError(f"{name} is given twice: in options and beside the call; give it once")
    rest = {name: value for name, value in call.items() if name not in flat}
    search, arguments = split(pipe, asked, rest)
    notes = []
    found = {**own, **flat}.get("inversion")  # with a guidance scale, and a search, of its own
    if found is not None:
        known = ("seed",) if search.seed == found.seed else ()
        refuse(search, (*WATCHED, *known), "an edit that is given its inversion")
    elif "guidance_scale" in takes and "guidance_scale" not in arguments:
        arguments["guidance_scale"] = 1.0
        notes.append("guidance_scale was not given: 1, for a picture that no model made")
    if "decoder" not in {**asked, **rest}:
        search = replace(search, decoder=plausible)
    common = {name: getattr(search, name) for name in OPTIONS}
    return EditOptions(**common, **own, **flat), search, arguments, notes


def _given(options: Options | Mapping[str, Any] | None) -> dict[str, Any]:
    """The options that are given.

    Raises:
        TypeError: if they are no options.
    """
    if isinstance(options, Options):
        values = {f.name: getattr(options, f.name) for f in fields(options)}
        return {n: v for n, v in values.items() if v is not getattr(type(options), n)}
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            "options must be a dictionary such as {'feather': 4} or invlib.EditOptions, not "
            f"{type(options).__name__}"
        )
    return dict(options or {})


def _takes(pipe: Any) -> Mapping[str, Any]:
    return inspect.signature(type(pipe).__call__).parameters


def _is_words(where: Any) -> bool:
    several = isinstance(where, list | tuple) and bool(where)
    return isinstance(where, str) or (several and all(isinstance(w, str) for w in where))


def _check_found(own: EditOptions) -> None:
    """Refuse options of masks that are found, of which nothing is left where one is given.

    Raises:
        ValueError: with their names.
    """
    names = [n for n in ("threshold", "grow") if getattr(own, n) != getattr(EditOptions, n)]
    if names:
        raise ValueError(
            f"{' and '.join(names)} of a mask that is given: these are for masks that are found; "
            "leave them out, or give words or None"
        )


def _check_start(start: int, steps: int) -> None:
    """Refuse an edit that would never use the new prompt.

    Raises:
        ValueError: if there is no such step.
    """
    if not 0 <= start < steps:
        raise ValueError(f"start={start} of {steps} steps: give 0 to {steps - 1}")


def _check_inversion(pipe: Any, given: ImageInversion, pixels: Tensor) -> None:
    """Refuse an inversion of another picture, or of the pipeline as it is not any more.

    Raises:
        ValueError: with what differs.
    """
    if given.fingerprints and given.fingerprints != fingerprint(pixels):
        raise ValueError(
            "the inversion is one of another picture: give its picture, or leave the option "
            "inversion out"
        )
    if said := changed(pipe, given.scheduler, given.tables, given.samples):
        raise ValueError(
            f"the pipeline is not as it was in the inversion: {'; '.join(said)}; leave the option "
            "inversion out"
        )


def _check_call(result: ImageInversion, asked: Mapping[str, Any]) -> None:
    """Refuse an inversion of another call; what that did not name was the pipeline's default.

    Raises:
        ValueError: with the argument that differs.
    """
    whole = {**vars(result.settings), **result.call}
    for name, value in asked.items():
        if not equal(value, whole.get(name)):
            raise ValueError(
                f"the inversion is one of a call with {name}={_shown(whole.get(name))}, not "
                f"{_shown(value)}: leave the option inversion out"
            )


def _shown(value: Any) -> str:
    """A value of an argument in a sentence."""
    if isinstance(value, Tensor | np.ndarray):
        return f"values of shape {tuple(value.shape)}"
    return repr(value)


def _changed(
    pipe: Any,
    result: ImageInversion,
    new_prompt: str | Sequence[str] | Mapping[str, Any],
    guidance: float | None,
) -> dict[str, Any]:
    """The call with the new prompt.

    Raises:
        TypeError: if the pipeline takes no prompt, or another one is in the call.
        ValueError: if there are not as many prompts as in the call.
    """
    takes = _takes(pipe)
    if isinstance(new_prompt, Mapping):
        changed = dict(new_prompt)
    else:
        asked = [new_prompt] if isinstance(new_prompt, str) else list(new_prompt)
        if "prompt" not in takes or "prompt_embeds" in result.call:
            raise TypeError(
                f"this call of {type(pipe).__name__} has no prompt in words; give a dictionary of "
                "the arguments that change"
            )
        before = result.call.get("prompt", "")
        several = isinstance(before, list | tuple)
        each = len(before) if several else 1
        if len(asked) not in (1, each):
            raise ValueError(f"{len(asked)} new prompts for {each} in the call: give as many")
        changed = {"prompt": asked * (each // len(asked)) if several else asked[0]}
    if guidance is not None:
        changed["guidance_scale"] = guidance
    for name in changed:
        if name not in takes:
            raise TypeError(f"{type(pipe).__name__} takes no {name}")
    return {**result.call, **changed}


def _read_same(pipe: Any, call: dict[str, Any], result: ImageInversion) -> Reading:
    """Read a call whose sampler must be that of the inversion.

    Raises:
        ValueError: if it is another one.
    """
    reading = read(pipe, call)
    states = result.inversion.states
    shape = (reading.solver.steps + 1, *reading.as_samples(reading.stage.recording.states[0]).shape)
    if tuple(states.shape) != shape:
        raise ValueError(
            f"the inversion has states {tuple(states.shape)}, the call {shape}: it is one of "
            "another call"
        )
    return reading


def _looked_at(
    where: Any,
    old: Reading,
    new: Reading,
    result: ImageInversion,
    autoencoder: Autoencoder | None,
    shape: tuple[int, ...],
) -> tuple[str, Tensor]:
    """Where a mask comes from, and the values that it is cut from, ``[B, 1, H, W]``."""
    if where is None:
        states = result.inversion.states
        return "differences", differences(old.network, new.network, states, old.solver, autoencoder)
    code = shape if autoencoder is None else code_shape(autoencoder)
    sizes = ((code[-2], code[-1]), (shape[-2], shape[-1]))
    return "attention", attention_to(where, old, new, result, sizes)


def _painted(
    old: Reading,
    new: Reading,
    result: ImageInversion,
    region: Tensor,
    autoencoder: Autoencoder | None,
    own: EditOptions,
) -> Tensor:
    """The last state of the new prompt's sampling inside the mask, as the decoder takes it."""
    states = result.inversion.states
    if autoencoder is None:
        mask = region.double().to(states)
    else:
        reads = autoencoder.to_decoder
        if reads is None or len(reads.out_shape) != 4:
            raise ValueError("only pipelines that decode pictures one by one can be edited so")
        size = (reads.out_shape[-2], reads.out_shape[-1])
        mask = on_states(latent_mask(region, size, grow=1).to(states), reads)
    if new.network.joint:
        mask = mask[None]
    network: Any = new.network
    if own.start:
        network = mixed(old.network, network, new.solver, start=own.start, stop=new.solver.steps)
    latents = edit(network, result, new.solver, mask).image
    return latents[0] if new.network.joint else latents
