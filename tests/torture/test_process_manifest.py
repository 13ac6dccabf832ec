"""A manifest of weights that is not whole does not vouch for what it leaves out."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from amount import amount
from readers import Reader, in_bytes

from invlib.checked import MANIFEST, check, write_sums


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with two weights files that are damaged, and the manifest of what they were."""
    files = [tmp_path / "m" / name for name in ("a.safetensors", "b.json")]
    files[0].parent.mkdir()
    for file in files:
        file.write_bytes(b"as published")
    write_sums(tmp_path, files)
    assert len(check(tmp_path, "m/")) == 12
    for file in files:
        file.write_bytes(b"damaged")
    return tmp_path


@pytest.mark.found("Weights that a manifest does not name, as where it is cut, were not checked.")
def test_whatever_a_manifest_says_damaged_weights_are_refused(
    weights: Path, counted: Callable[..., None]
) -> None:
    path, count = weights / MANIFEST, amount(200, 5000)
    valid = path.read_bytes()
    reader = Reader("manifest", MANIFEST, (valid,), lambda _: None)
    for seed in range(count):
        path.write_bytes(in_bytes(valid, reader.valid, random.Random(seed)))
        with pytest.raises((OSError, ValueError)):
            check(weights, "m/")
    counted("inputs", count)


def test_a_file_too_many_is_said(weights: Path) -> None:
    (weights / "m" / ".hidden").touch()
    (weights / "m" / "more.safetensors").touch()
    with pytest.raises(OSError, match="does not name m/more.safetensors"):
        check(weights, "m/")
    (weights / MANIFEST).write_text("")
    with pytest.raises(OSError, match="names nothing of m/"):
        check(weights, "m/")
