"""What errors of recovered noises depend on, and whether a call is the one they are of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..identity import weights_hash
from ..pipelines.options import defaults
from .scene import SEVERAL, Scene

FREE = {  # what may differ: contents of pictures, and sizes, which the shape of the noise tells
    *("generator", "latents", "class_labels", "height", "width", "output_type", "return_dict"),
    *SEVERAL,
}
WEIGHTS, DIGITS = "weights", 16  # the name of their hash, and how much of it is kept
MOST = 3  # differences that are named
SHORT = 64  # entries of an array that are written out
SHOWS = ("image", "video", "mask")  # in names of arguments whose arrays are contents of pictures


def unsaid(known: Mapping[str, str]) -> str:
    """What errors do not say of the call that they are of, as in older files; empty if nothing.

    Args:
        known: what the errors were measured for.
    """
    if not known:
        return "these errors do not say which call they were measured for"
    lacks = WEIGHTS not in known
    return "these errors do not say with which weights they were measured" if lacks else ""


def told(read: Scene) -> dict[str, str]:
    """Pipeline, weights, scheduler, arguments and options of a call, without prompts and pictures.

    Args:
        read: the call.
    """
    stage = read.reading.stage
    scheduler = stage.pipe.scheduler
    settings = {
        f"scheduler's {name}": _in_words(value)
        for name, value in dict(getattr(scheduler, "config", {})).items()
        if not name.startswith("_")
    }
    arguments = {
        name: _in_words(value, shown=any(word in name for word in SHOWS))
        for name, value in defaults(stage.pipe, stage.call).items()
        if name not in FREE and "prompt" not in name and not name.startswith("callback")
    }
    return {
        "pipeline": type(stage.pipe).__name__,
        WEIGHTS: weights_hash(stage.pipe).rpartition(":")[2][:DIGITS],
        "scheduler": type(scheduler).__name__,
        **settings,
        **arguments,
        "method": _in_words(read.options.method),
        "decoder": _in_words(read.options.decoder),
    }


def check_call(read: Scene, known: Mapping[str, str]) -> None:
    """Refuse errors that were measured for another call.

    Args:
        read: the call.
        known: what the errors were measured for; nothing, if they do not say so, or all but the
            weights.

    Raises:
        ValueError: if they are of another one, with what differs.
    """
    own = told(read)
    if WEIGHTS not in known:
        del own[WEIGHTS]
    names = [name for name in {**known, **own} if known.get(name) != own.get(name)]
    if known and names:
        each = (
            f"{n} {known.get(n, 'none')} there, {own.get(n, 'none')} here" for n in names[:MOST]
        )
        more = ", ..." if len(names) > MOST else ""
        raise ValueError(
            f"these errors are those of another call ({'; '.join(each)}{more}): measure errors of "
            "this call"
        )


def _in_words(value: Any, *, shown: bool = False) -> str:
    """A plain value or array, or a function by its name; of anything else only that it is given.

    Args:
        value: of an argument or a setting.
        shown: whether its arrays are contents of pictures, which may differ.
    """
    if value is None or isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return f"{float(value):.12g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_in_words(each, shown=shown) for each in value)}]"
    if isinstance(value, Mapping):
        each = (f"{k}: {_in_words(v, shown=shown)}" for k, v in value.items())
        return f"{{{', '.join(each)}}}"
    if isinstance(value, partial):
        return f"{_in_words(value.func)} {_in_words([value.args, value.keywords])}"
    if isinstance(value, Tensor | np.ndarray | np.generic) and not shown:
        return _array_in_words(value)
    return str(getattr(value, "__name__", "given"))


def _array_in_words(value: Tensor | np.ndarray | np.generic) -> str:
    """A short array as the list of its values; a long one by shape, dtype and a hash."""
    entries = value.numel() if isinstance(value, Tensor) else value.size
    if entries <= SHORT or value.dtype == object:
        return _in_words(value.tolist())
    if isinstance(value, Tensor):
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    else:
        raw = value.tobytes()
    kind = str(value.dtype).removeprefix("torch.")
    return f"{list(value.shape)} {kind} {hashlib.sha256(raw).hexdigest()[:DIGITS]}"
