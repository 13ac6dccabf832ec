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
    return TreeRing.random((shape[1], shape[2]), seed=_integer(values, "seed"), **_places(values))


def _rings(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    return TreeRing.rings(values["values"], (shape[1], shape[2]), **_places(values))


def _places(values: Mapping[str, Any]) -> dict[str, Any]:
    """Radius and channel of a ring key, where they are given."""
    return {k: _integer(values, k) if k == "channel" else values[k] for k in PLACES & {*values}}


def _part(values: Mapping[str, Any], shape: tuple[int, ...], first: int) -> tuple[int, int, int]:
    """Channels, height and width of the part of the noise that a key fills."""
    return _integer(values, "channels", shape[0] - first), shape[1], shape[2]


def _shading(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    if "payload" in values and "bits" in values:
        raise ValueError("give its 'payload' or its number of 'bits', not both")
    payload = bits_of(_text(values, "payload").encode()) if "payload" in values else None
    bits = len(payload) if payload is not None else _integer(values, "bits")
    secret, first = _text(values, "secret").encode(), _integer(values, "channel", 0)
    code = GaussianShading(_part(values, shape, first), bits, secret)
    return ShadingKey(code, None if payload is None else payload.to(torch.uint8), first)


def _message(values: Mapping[str, Any], shape: tuple[int, ...]) -> Key:
    secret, first = _text(values, "secret").encode(), _integer(values, "channel", 0)
    correction = ReedSolomon(_integer(values, "bytes"), _integer(values, "parity"))
    return MessageKey.of(_part(values, shape, first), secret, correction, first)


def _integer(values: Mapping[str, Any], entry: str, default: int | None = None) -> int:
    """An entry that has to be an integer, of which nothing is cut; needed without a default."""
    value = values[entry] if default is None else values.get(entry, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{entry!r} must be an integer, got {value!r}")
    return value


def _text(values: Mapping[str, Any], entry: str) -> str:
    """An entry that has to be text."""
    value = values[entry]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{entry!r} must be text, and not empty, got {value!r}")
    return value


MAKE: dict[str, Callable[[Mapping[str, Any], tuple[int, ...]], Key]] = {
    "random": _random,
    "rings": _rings,
    "shading": _shading,
    "message": _message,
}
