"""From a picture of a pipeline to whose key is in it; and pictures with keys."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..devices import lowered
from ..pipelines import Options
from .error_model import ErrorModel
from .held import written_planes
from .messages import with_messages
from .passages import PASSAGES, Passage
from .posterior import SURE, check_probabilities, named_keys, whose
from .ratios import Key
from .realign import looked_again, movable
from .same_call import check_call, told, unsaid
from .scene import Scene, changed, scene
from .unlisted import Finding

PICTURES, BATCH = 24, 8  # of the calibration, and of one call
USUAL = ("none", "JPEG 75")
SILENT = 2.0  # seconds without a word
LATENTS = "latents"  # the passage of clean latents, which were never a picture


def embed(
    pipe: Any,
    keys: Key | Mapping[str, Key] | Sequence[Key],
    /,
    *,
    seed: int = 0,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> Tensor:
    """Noise with keys in it, as ``pipe(**call, latents=...)`` takes it.

    Where the pipeline takes no such argument, :func:`invlib.regenerate` gives the noise to it.

    Args:
        pipe: any diffusers pipeline with one deterministic sampling loop.
        keys: one key, or several that stand in different places of the noise, with names or
            without; they are written in their order.
        seed: of the rest of the noise.
        options: only the seed of the call matters, see :class:`invlib.Options`.
        call: the arguments of the pipeline's call.

    Returns:
        The noise, in the pipeline's layout and dtype, on its device.

    Raises:
        ValueError: if a key does not fit the noise of the call, or another overwrites it.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    with scene(pipe, options, call) as read:
        return written(read, keys if isinstance(keys, Mapping | Sequence) else [keys], seed)


def written(read: Scene, keys: Mapping[str, Key] | Sequence[Key], seed: int) -> Tensor:
    """Noise with keys in it, in the layout of a call that was read.

    Args:
        read: the call.
        keys: the keys.
        seed: of the rest of the noise.

    Raises:
        ValueError: if a key does not fit the noise, or another overwrites it.
    """
    planes = written_planes(named_keys(keys), normal(read.planes.shape, seed))
    noise = read.planes.to_noise(planes).to(read.reading.entrance.dtype)
    return lowered(noise, read.reading.stage.pipe._execution_device)


def measure_errors(
    pipe: Any,
    /,
    *,
    pictures: int = PICTURES,
    passages: Sequence[str] | Mapping[str, Passage] = USUAL,
    seed: int = 2**20,
    options: Options | Mapping[str, Any] | None = None,
    progress: bool | None = None,
    **call: Any,
) -> ErrorModel:
    """Measure the error of recovered noises, on pictures of known noise that the call makes.

    Args:
        pipe: any diffusers pipeline with one deterministic sampling loop.
        pictures: how many are made, at least; four or more.
        passages: what may have happened to pictures: names in ``PASSAGES``, passages with names of
            their own, or ``("latents",)`` for clean latents that were never decoded.
        seed: of the noises.
        options: how to invert; by default the decoder's inverse, and then naively.
        progress: whether to show a bar on stderr after two seconds; by default on a terminal.
        call: the arguments of the pipeline's call.

    Raises:
        ValueError: if a passage is unknown, clean latents are asked for beside pictures, or there
            are fewer than four pictures.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    if pictures < 4:
        raise ValueError(f"to measure errors takes four pictures or more, got {pictures}")
    named = known_passages(passages)
    noises: list[Tensor] = []
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    with scene(pipe, options, call, min(BATCH, pictures)) as read:
        rows = read.planes.shape[0]
        rounds = -(-pictures // rows)
        shown = None if progress is None else not progress
        with tqdm(
            desc="measuring errors",
            total=rounds * (1 + len(named)),
            delay=SILENT,
            disable=shown,
            file=sys.stderr,
            leave=False,
        ) as bar:
            for i in range(rounds):
                noises.append(normal(read.planes.shape, seed + i))
                last = read.last(noises[-1])
                bar.update()
                for name, y in _views(read, last, named, bar):
                    found[name].append(y)
    made = f"{type(pipe).__name__}, {rounds * rows} pictures, {read.options.method}"
    recovered = {name: torch.cat(y) for name, y in found.items()}
    return ErrorModel(torch.cat(noises), recovered, made, told(read))


def identify(
    pipe: Any,
    picture: Any,
    keys: Mapping[str, Key] | Sequence[Key],
    /,
    *,
    errors: ErrorModel | None = None,
    passages: Sequence[str] | Mapping[str, Passage] | None = None,
    none: float = 0.5,
    sure: float = SURE,
    latents: bool = False,
    realign: bool | None = None,
    options: Options | Mapping[str, Any] | None = None,
    **call: Any,
) -> Finding:
    r"""Whose key does a picture hold? A posterior over no key and K keys.

    .. math:: \text{picture} \;\to\; Y \approx X + E \;\to\;
              \Pr(j \mid Y) \propto \pi_j\, \frac{p(Y \mid \text{key } j)}{p(Y \mid \text{none})}

    Args:
        pipe: the diffusers pipeline that may have made the picture.
        picture: a picture, or as many as there are prompts, in any form that
            :func:`invlib.invert_image` takes; of another size, it is resized, and a note says so.
        keys: Tree-Ring and Gaussian Shading keys, with names or without.
        errors: the errors as :func:`measure_errors` has measured them for this call and these
            options; by default that is done now.
        passages: which passages of PASSAGES may have happened, where errors are measured now; or
            the ones that have names of their own in ``errors``.
        none: prior probability that there is no key.
        sure: posterior probability from which a decision is made.
        latents: whether the picture is clean latents, as ``output_type="latent"`` returns them.
        realign: whether to look for the place of a picture that was cropped or resized, see
            :func:`invlib.watermark.realign.places` for what that costs; by default if its size is
            not that of the call's pictures. Then, and where the picture fits the passages worse
            than 99 of 100 pictures of the call, what happened may also be in no list: that says
            nothing of keys, so that without a key the answer is "cannot tell".
        options: how to invert; by default the decoder's inverse, and then naively.
        call: the arguments of the pipeline's call.

    Returns:
        The posterior; its string is one sentence a picture, and the notes. Where a key is a
        ``MessageKey``, it is a ``Messages``, with what was read.

    Raises:
        TypeError: if it is no picture, or no latents where they are announced, or a key is none.
        ValueError: if a key, the picture or the errors do not fit the call, a probability is none,
            or a place is to be looked for where there is none: of clean latents or clips.
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
    """
    check_probabilities(none=none, sure=sure)
    usual = (LATENTS,) if latents else USUAL
    held = usual if errors is None else tuple(errors.recovered)
    named = known_passages(held if passages is None else passages)
    _check_latents(picture, named if errors is None else errors.recovered, latents=latents)
    if errors is None:
        errors = measure_errors(pipe, passages=named, options=options, **call)
    elif lacks := unsaid(errors.call):
        warnings.warn(f"{lacks}: measure them again", stacklevel=2)
    with scene(pipe, options, call, 1 if latents else _count(picture)) as read:
        return identify_in(
            read, picture, keys, errors, named=named, none=none, sure=sure, realign=realign
        )


def identify_in(
    read: Scene,
    picture: Any,
    keys: Mapping[str, Key] | Sequence[Key],
    errors: ErrorModel,
    *,
    named: Mapping[str, Passage] | None = None,
    none: float = 0.5,
    sure: float = SURE,
    realign: bool | None = None,
) -> Finding:
    """The posterior of :func:`identify`, in a call that was read.

    Args:
        read: the call.
        picture: the picture; clean latents, if the errors are those of latents.
        keys: the keys.
        errors: the measured errors.
        named: passages that have names of their own in ``errors``.
        none: prior probability that there is no key.
        sure: posterior probability from which a decision is made.
        realign: whether to look for the place of a picture that was cropped or resized; by default
            if its size is not that of the call's pictures.

    Raises:
        TypeError: if it is no picture, or no latents where the errors are those of latents.
        ValueError: if the errors are those of another noise or call, or something does not fit.
    """
    if errors.shape != read.planes.shape[1:]:
        raise ValueError(
            f"these errors are those of noise {list(errors.shape)}, but the noise of this call is "
            f"{list(read.planes.shape[1:])}: measure them with this call"
        )
    check_call(read, errors.call)
    if LATENTS in errors.recovered:
        _check_latents(picture, errors.recovered, latents=True)
        if realign:
            raise ValueError("clean latents cannot have been moved: leave realign out")
        views = {LATENTS: read.recover(read.reading.target(picture.double()))}
        found = whose(views, keys, errors, none=none, sure=sure)
        return with_messages(Finding(**vars(found)), views, keys, errors)
    if realign and not movable(read, picture):
        raise ValueError("the place of a clip cannot be looked for: leave realign out")
    known = known_passages(tuple(errors.recovered)) if named is None else named
    views = _undone(read, read.fitted(picture), known)
    return looked_again(read, picture, views, keys, errors, none=none, sure=sure, realign=realign)


def known_passages(passages: Sequence[str] | Mapping[str, Passage]) -> dict[str, Passage]:
    """Passages by their names.

    Raises:
        ValueError: if one is unknown, there is none, or clean latents are beside pictures.
    """
    if not passages:
        raise ValueError("give at least one passage, such as none")
    if LATENTS in passages and len(passages) > 1:
        raise ValueError(
            f"{LATENTS} were never a picture, so that nothing else can have happened to them: "
            "measure their errors by themselves"
        )
    if isinstance(passages, Mapping):
        return dict(passages)
    known = {**PASSAGES, LATENTS: PASSAGES["none"]}
    for name in passages:
        if name not in known:
            raise ValueError(f"unknown passage {name!r}; use some of {', '.join(known)}")
    return {name: known[name] for name in passages}


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise, float64."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def _check_latents(picture: Any, passages: Collection[str], *, latents: bool) -> None:
    """Refuse pictures with errors of clean latents, and the other way round."""
    if latents != (LATENTS in passages):
        raise ValueError(
            "these are errors of pictures: for clean latents, measure with passages=('latents',)"
            if latents
            else "these are errors of clean latents: give latents, and latents=True, or measure "
            "errors of pictures"
        )
    if latents and not isinstance(picture, Tensor):
        raise TypeError(f"clean latents are a tensor, not {type(picture).__name__}")


def _count(picture: Any) -> int:
    from ..pipelines.images import Pictures

    pixels = Pictures.of(picture).pixels
    return len(pixels) if pixels.ndim == 4 else 1


def _views(
    read: Scene, last: Tensor, named: Mapping[str, Passage], bar: Any
) -> list[tuple[str, Tensor]]:
    """What is recovered of last states after each passage."""
    found = []
    made = None if LATENTS in named else read.pictures(last)
    for name, passage in named.items():
        if made is None:
            y = read.recover(last)
        else:
            attacked = changed(changed(made, passage, undo=False), passage, undo=True)
            y = read.recover(read.states(attacked))
        bar.update()
        found.append((name, y))
    return found


def _undone(read: Scene, pictures: Tensor, named: Mapping[str, Passage]) -> dict[str, Tensor]:
    """What is recovered of pictures, once for every way of undoing what happened to them."""
    seen: list[tuple[Tensor, Tensor]] = []
    views = {}
    for name, passage in named.items():
        back = changed(pictures, passage, undo=True)
        known = next((y for other, y in seen if torch.equal(other, back)), None)
        if known is None:
            known = read.recover(read.states(back))
            seen.append((back, known))
        views[name] = known
    return views
