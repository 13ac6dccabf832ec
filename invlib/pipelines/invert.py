"""From a picture of a diffusers pipeline back to the noise that the pipeline made it from."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from ..autoencoder import DECODERS, DecoderInversion, DecoderInverter, joint
from ..certificate import Certificate, certify
from ..devices import lifted, state_device
from ..inversion import Inversion
from ..inverters import Inverter, invert, inverter
from ..memory import is_full
from ..sampling import as_state
from ..watch import watching
from .batches import check_batch, in_batches
from .comparison import Comparison, compare, eight_bits, fingerprint
from .decoding import is_changed, read_decoder
from .images import Pictures, lossy_note
from .options import OF_LATENTS, Options, assumed, defaults, refuse, split, used
from .reading import Reading, read
from .recording import WrongSize
from .result import ImageInversion
from .running import configuration, known_seed, untouched
from .sentence import NOT_GAUSSIAN
from .state import samples, tables
from .steps import few_enough_steps


def invert_image(
    pipe: Any,
    image: Any,
    /,
    *,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> ImageInversion:
    r"""Find the noise from which the call ``pipe(**call)`` made an image.

    .. math:: \text{image} \;\to\; z \in \mathrm{decode}^{-1}(\text{image})
              \;\to\; \text{noise} \in \Phi^{-1}(z)

    The pipeline is read by running it: one recorded run tells the table of its sampler, how it
    calls its network, and how it decodes. Nothing about its class has to be known, and afterwards
    it is as before.

    Args:
        pipe: any diffusers pipeline with one deterministic sampling loop.
        image: a PIL image, an array ``[B, H, W, C]``, a tensor ``[B, C, H, W]``, or a list; for a
            video pipeline a list of frames, ``[B, F, H, W, C]`` or ``[B, F, C, H, W]``; 8-bit
            (uint8), or floating point in [0, 1].
        options: how to invert: :class:`Options` or a dictionary of them. Names that the
            pipeline's call does not have may stand in ``call`` instead.
        call: what was passed to ``pipe``, by the same names; what is left out has the pipeline's
            own defaults, but height and width are those of the picture.

    Returns:
        An :class:`ImageInversion`; its ``latents`` go into ``pipe(**call, latents=...)``.

    Raises:
        TypeError: if an argument is neither the pipeline's nor an option, or an option is given
            twice.
        ValueError: if the image is none of this call's.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    own, asked = split(pipe, options, call)
    search, decoder = _method(own), _decoder(own.decoder)
    pictures = Pictures.of(image)
    _check_file(pipe, own, asked)
    asked, sized = _with_size(pipe, asked, pictures.height, pictures.width)
    with _quietly(pipe, own):
        with few_enough_steps(pipe, asked):
            reading = read(pipe, asked)
        autoencoder, shape = read_decoder(reading)
        frame_by_frame = autoencoder is not None and autoencoder.from_decoder is not None
        box = pictures.box(shape, pipe._execution_device, frames_first=frame_by_frame)
        notes = [note for note in (sized, lossy_note(image)) if note]
        if is_changed(reading, autoencoder, frame_by_frame):
            notes.append(
                f"{type(pipe).__name__} changes what it has decoded before it returns it (a "
                "watermark, an overlay, an image processor without normalisation): the latents are "
                "those of a decoder whose pictures are not changed"
            )
        decoding = None
        if autoencoder is None:
            last = box.center
            if (box.lower < box.upper).any():
                notes.append("8-bit pixels: the certificate is about the centres of the rounding")
        else:
            decoding = decoder(autoencoder, box)
            last = decoding.latents
            notes.append("the certificate is about the latents; how they decode is in decoding")
        target = reading.as_samples(last)
        reading, search = in_batches(reading, target, search, own.max_batch)
        if own.refine and (decoding is None or target.shape != decoding.latents.shape):
            raise ValueError(f"refine=True is not possible for {type(pipe).__name__}: give False")
        found = _found(reading, target, search)
        if own.refine and decoding is not None and autoencoder is not None:
            decoding, found = joint(
                autoencoder, reading.network, box, reading.solver, decoding, found, method=search
            )
        return _result(reading, found, decoding, own, notes, pictures)


def invert_latents(
    pipe: Any,
    latents: Tensor,
    /,
    *,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> ImageInversion:
    """Find the noise of clean latents, as ``pipe(**call, output_type="latent")`` returns them.

    Where a pipeline does not return latents they are the last state of its loop; for pipelines
    without an autoencoder these are the pixels in [-1, 1], before they are clamped and rounded.

    Args:
        pipe: any diffusers pipeline with one deterministic sampling loop.
        latents: clean latents, on any device.
        options: as for :func:`invert_image`, but for ``decoder`` and ``refine``.
        call: what was passed to ``pipe``, by the same names.

    Raises:
        TypeError: if an argument is neither the pipeline's nor an option, or an option is given
            twice, or is about a decoder.
        ValueError: if the latents are none of this call's.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    if not isinstance(latents, Tensor):
        raise TypeError(f"latents must be a tensor, got {type(latents).__name__}")
    own, asked = split(pipe, options, call)
    refuse(own, OF_LATENTS, "a search that begins with latents")
    search = _method(own)
    _check_file(pipe, own, asked)
    latents = as_state(latents, "latents").to(state_device(pipe._execution_device))
    with _quietly(pipe, own):
        reading, notes = _read_sized(pipe, latents, asked)
        target = reading.target(latents.clone())
        reading, search = in_batches(reading, target, search, own.max_batch)
        found = _found(reading, target, search)
        return _result(reading, found, None, own, notes)


def _read_sized(pipe: Any, latents: Tensor, call: dict[str, Any]) -> tuple[Reading, list[str]]:
    """Read the call; where no size is given, the one that latents ``[..., h, w]`` tell."""
    try:
        with few_enough_steps(pipe, call):
            return read(pipe, call, numbers=latents.numel()), []
    except WrongSize as wrong:
        larger = _scaled_size(pipe, call, wrong.shape, latents)
        message = (
            f"these latents have shape {tuple(latents.shape)}, but the state of the call has "
            f"{wrong.shape}: give height and width, and the number of images, as in the call that "
            "made them"
        )
        if larger is None:
            raise ValueError(message) from None
    asked, note = _with_size(pipe, call, *larger)
    try:
        return read(pipe, asked, numbers=latents.numel()), [note.replace("picture", "latents")]
    except WrongSize:
        raise ValueError(message) from None


def _scaled_size(
    pipe: Any, call: Mapping[str, Any], shape: tuple[int, ...], latents: Tensor
) -> tuple[int, int] | None:
    """Height and width of latents of more or fewer rows and columns than the default ones."""
    whole = defaults(pipe, call)
    own = getattr(pipe, "vae_scale_factor", None)
    alike = len(shape) == latents.ndim >= 4 and shape[:-2] == tuple(latents.shape[:-2])
    if "height" in call or "width" in call or "height" not in whole or not (alike and own):
        return None
    return own * latents.shape[-2], own * latents.shape[-1]


def _with_size(
    pipe: Any, call: Mapping[str, Any], height: int, width: int
) -> tuple[dict[str, Any], str]:
    """The call with the size of the picture, where it has none; and a note if that was added."""
    takes = inspect.signature(type(pipe).__call__).parameters
    if not {"height", "width"} <= set(takes) or {"height", "width"} & set(call):
        return dict(call), ""
    note = f"height={height} and width={width} were taken from the picture"
    return {**call, "height": height, "width": width}, note


@contextmanager
def _quietly(pipe: Any, options: Options) -> Iterator[None]:
    """No gradients, no inference mode, watched, and a pipeline that is as before in the end."""
    watch = options.watch(pipe)
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        untouched(pipe),
        watching(watch),
        known_seed(options.seed),
    ):
        yield


def _found(reading: Reading, target: Tensor, search: Inverter) -> Inversion:
    """What the search finds; what a note of the reading says is not warned of once more."""
    with warnings.catch_warnings():
        for note in reading.notes:
            warnings.filterwarnings("ignore", message=re.escape(note))
        return invert(reading.network, target, reading.solver, method=search)


def _method(options: Options) -> Inverter:
    """The search that the options ask for.

    Raises:
        ValueError: if the method cannot look again from other starts, or max_batch is no number.
    """
    search: Any = inverter(options.method)
    takes = inspect.signature(search).parameters
    if options.others and "others" not in takes:
        raise ValueError(f"method {options.method!r} has no option others: leave it out, or exact")
    check_batch(options.max_batch)
    return cast(Inverter, partial(search, others=options.others) if options.others else search)


def _decoder(decoder: str | DecoderInverter) -> DecoderInverter:
    if not isinstance(decoder, str):
        return decoder
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}; use one of {', '.join(DECODERS)}")
    return DECODERS[decoder]


def _check_file(pipe: Any, options: Options, call: Mapping[str, Any]) -> None:
    """Refuse, before the search, a file that could not be written after it."""
    if options.save is not None:
        from ..noisefile import check_file, check_scheduler

        check_file(options.save, call)
        if hasattr(pipe, "scheduler"):
            check_scheduler(pipe.scheduler)


def _pictures_again(
    reading: Reading, pictures: Pictures, last: Tensor, notes: list[str]
) -> Comparison | None:
    """Given pictures beside those of the loop's last state; a note where they are not compared."""
    stage = reading.stage
    takes = inspect.signature(type(stage.pipe).__call__).parameters
    try:
        made = stage.finish(last, more={"output_type": "pil"} if "output_type" in takes else {})
        return compare(pictures.pixels, next(iter(made.values())))
    except Exception as error:  # whatever a pipeline makes of a kind of picture that it lacks
        if is_full(error):
            raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        notes.append(f"the picture that the noise makes could not be compared ({said})")
        return None


def _moved(reading: Reading, latents: Tensor, asked: list[int], draw: int) -> Tensor:
    """What the stock call makes of a noise if every state is changed in its last place, at random.

    The noise was found in float64, and the pipeline rounds it, and every state after it.
    """
    asked.append(draw)
    generator = torch.Generator().manual_seed(draw)

    def changed(x: Tensor) -> Tensor:
        signs = torch.randint(2, x.shape, generator=generator).to(x) * 2 - 1
        return x * (1 + torch.finfo(x.dtype).eps * signs)

    return reading.target(lifted(reading.stage.again(changed(latents), change=changed)))


def _without_law(proof: Certificate) -> Certificate:
    """A certificate of what need not be Gaussian, so that its norm says nothing."""
    flags = tuple(
        "; ".join(f for f in said.split("; ") if not f.startswith(NOT_GAUSSIAN))
        for said in proof.flags
    )
    return replace(proof, norm_score=torch.full_like(proof.norm_score, torch.nan), flags=flags)


def _result(
    reading: Reading,
    found: Inversion,
    decoding: DecoderInversion | None,
    options: Options,
    notes: list[str],
    pictures: Pictures | None = None,
) -> ImageInversion:
    """The noise in the dtype that the pipeline takes, judged by the stock call."""
    stage = reading.stage
    device = stage.pipe._execution_device
    latents = reading.noise(found.states[0]).to(stage.entrance.dtype).to(device)
    runs, draws = 0, list[int]()  # of the stock call as it is, and with its states changed
    proof = seen = None
    if options.certificate:
        again = None
        if torch.isfinite(latents).all():
            ends: list[Tensor] = []
            again = reading.target(lifted(stage.again(latents, ends=ends)))
            if pictures is not None:
                seen = _pictures_again(reading, pictures, ends[0], notes)
            runs = 1 + (found.again is not None)
        proof = certify(
            reading.network,
            found,
            reading.solver,
            vectors=options.vectors,
            again=again,
            moved=partial(_moved, reading, latents, draws) if again is not None else None,
            gap=reading.gap,
        )
        proof = proof if reading.only_scales else _without_law(proof)
    told = [*assumed(stage.pipe, stage.call), *used(stage.call)]
    result = ImageInversion(
        inversion=found,
        latents=latents,
        target=found.states[-1][0] if reading.network.joint else found.states[-1],
        decoding=decoding,
        certificate=proof,
        call=dict(stage.call),
        pipeline=type(stage.pipe).__name__,
        entrance=stage.entrance,
        settings=SimpleNamespace(**defaults(stage.pipe, stage.call)),
        seed=options.seed,
        evaluations=(found.nfe + reading.evaluations + reading.solver.steps * (runs + len(draws))),
        notes=tuple([*told, *notes, *reading.notes]),
        others=tuple(
            reading.noise(noise * reading.solver.scale).to(stage.entrance.dtype).to(device)
            for noise in (() if found.others is None else found.others)
        ),
        picture=seen,
        fingerprints=() if pictures is None else fingerprint(eight_bits(pictures.pixels)),
        scheduler=configuration(stage.pipe.scheduler),
        tables=tables(stage.pipe.scheduler),
        samples=samples(stage.pipe),
        pipe=stage.pipe,
    )
    if options.save is not None:
        result.save(options.save)
    return result
