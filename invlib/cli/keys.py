"""Keys in a JSON file, so that owners can be told apart by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..watermark import (
    GaussianShading,
    MessageKey,
    ReedSolomon,
    ShadingKey,
    TreeRing,
    bits_of,
)
from ..watermark.posterior import check_names
from ..watermark.ratios import Key
from .json_file import read_json

FORM = (
    '{"Ann": {"kind": "random", "seed": 1}, "Ben": {"kind": "rings", "values": [1.2, -0.3]}, '
    '"Eve": {"kind": "shading", "secret": "words", "payload": "text"}}'
)
PLACES = {"radius", "channel"}
FIELDS = {
    "random": {"seed", *PLACES},
    "rings": {"values", *PLACES},
    "shading": {"secret", "payload", "bits", "channel", "channels"},
    "message": {"secret", "bytes", "parity", "channel", "channels"},
}


def read_keys(path: Path) -> dict[str, Mapping[str, Any]]:
    """What a JSON file says of keys, by the names of their owners.

    A key has a kind: ``random`` (a disc of noise from a ``seed``), ``rings`` (their ``values``),
    ``shading`` (a ``secret``, and a ``payload`` or, if that is not known, its number of ``bits``)
    or ``message`` (a ``secret``, the most ``bytes`` of a message, and ``parity`` bytes).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no keys.
    """
    values = read_json(path, "file of keys", "--keys")
    if not isinstance(values, dict) or not values:
        raise ValueError(f"--keys {path} must hold keys by the names of their owners, as {FORM}")
    try:
        check_names(values)
    except ValueError as error:
        raise ValueError(f"--keys {path}: {error}") from error
    for name, told in values.items():
        kind = told.get("kind") if isinstance(told, dict) else None
        if not isinstance(kind, str) or kind not in FIELDS:
            raise ValueError(f"--keys {path}: {name!r} has kind {kind!r}; use {', '.join(FIELDS)}")
        wrong = sorted(set(told) - FIELDS[kind] - {"kind"})
        if wrong:
            known = ", ".join(sorted(FIELDS[kind]))
            raise ValueError(f"--keys {path}: {name!r} has {wrong[0]!r}; a {kind} key has {known}")
    return values


def made(told: Mapping[str, Mapping[str, Any]], shape: tuple[int, ...]) -> dict[str, Key]:
    """The keys for noise of a shape.

    Args:
        told: as read from a file.
        shape: channels, height and width of the noise.

    Raises:
        ValueError: if something is missing, or a key does not fit.
    """
    keys = {}
    for name, values in told.items():
        try:
            keys[name] = MAKE[values["kind"]](values, shape)
        except KeyError as error:
            raise ValueError(f"the key {name!r} of --keys has no {error.args[0]!r}") from error
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise ValueError(f"the key {name!r} of --keys: {error}") from error
    return keys


def _random(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    places = {k: v for k, v in values.items() if k in PLACES}
    return TreeRing.random((shape[1], shape[2]), seed=int(values["seed"]), **places)


def _rings(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    places = {k: v for k, v in values.items() if k in PLACES}
    return TreeRing.rings(values["values"], (shape[1], shape[2]), **places)


def _part(values: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of the part of the noise that a key fills."""
    channels = int(values.get("channels", shape[0] - int(values.get("channel", 0))))
    return channels, shape[1], shape[2]


def _shading(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    text = values.get("payload")
    payload = None if text is None else bits_of(str(text).encode())
    bits = len(payload) if payload is not None else int(values["bits"])
    secret = str(values["secret"]).encode()
    code, first = GaussianShading(_part(values, shape), bits, secret), int(values.get("channel", 0))
    return ShadingKey(code, None if payload is None else payload.to(torch.uint8), first)


def _message(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    secret, first = str(values["secret"]).encode(), int(values.get("channel", 0))
    correction = ReedSolomon(int(values["bytes"]), int(values["parity"]))
    return MessageKey.of(_part(values, shape), secret, correction, first)


MAKE: dict[str, Callable[[Mapping[str, Any], tuple[int, ...]], Key]] = {
    "random": _random,
    "rings": _rings,
    "shading": _shading,
    "message": _message,
}
