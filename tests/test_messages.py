"""Messages: what goes in comes out with its confidence, or is said not to be readable."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import Tensor
from typer.testing import CliRunner

from invlib.cli import app
from invlib.watermark import (
    ErrorModel,
    Letter,
    MessageKey,
    Messages,
    ReedSolomon,
    ShadingKey,
    TreeRing,
    whose,
)
from invlib.watermark.messages import with_messages
from invlib.watermark.unlisted import Finding

pytest.importorskip("reedsolo")
SHAPE = (1, 16, 16)
CODE = ReedSolomon(data=2, parity=6)
KEY = MessageKey.of(SHAPE, b"secret", CODE)


def normal(*shape: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def odds(y: Tensor, std: float) -> Tensor:
    """The log-odds of all bits, for noises that come back with a white error, by Bayes' rule."""
    margin = y.flatten(1) / (std * (1 + std**2) ** 0.5)
    votes = torch.special.log_ndtr(margin) - torch.special.log_ndtr(-margin)
    votes = votes * (2.0 * KEY.cells(torch.ones(CODE.bits)).flatten() - 1)
    slots = torch.arange(votes.shape[1]) % CODE.bits
    return votes.new_zeros(len(y), CODE.bits).index_add_(1, slots, votes)


def sent(count: int, std: float) -> tuple[list[bytes], Tensor]:
    """Random messages, and noises that hold them, as they come back."""
    draw = torch.Generator().manual_seed(10)
    data = torch.randint(1, 256, (count, CODE.data), generator=draw).tolist()
    messages, noise = [bytes(one) for one in data], normal(count, *SHAPE, seed=11)
    marked = [KEY.holding(m).embed(n[None]) for m, n in zip(messages, noise, strict=True)]
    return messages, torch.cat(marked) + std * normal(count, *SHAPE, seed=12)


def test_a_message_comes_out_with_its_owner() -> None:
    noise = normal(32, *SHAPE, seed=1)
    errors = ErrorModel(noise, {"none": noise + 0.3 * normal(32, *SHAPE, seed=2)})
    keys = {"Ann": TreeRing.random((16, 16), seed=0, radius=4), "Ben": KEY}
    marked = KEY.holding("né".encode("latin-1")).embed(normal(1, *SHAPE, seed=3))
    y = torch.cat([marked, normal(1, *SHAPE, seed=4)]) + 0.3 * normal(2, *SHAPE, seed=5)
    views = {"none": y}
    plain = whose(views, keys, errors)
    found = with_messages(plain, views, keys, errors)
    assert isinstance(found, Messages) and found.decision == ("Ben", "none")
    letter = found.letters[0]
    assert letter is not None and letter.text == "0x6ee9" and letter.confidence > 0.99
    assert found.letters[1] is None
    lines = str(found).splitlines()
    assert "message '0x6ee9' (" in lines[0] and "message" not in lines[1]
    rings = {"Ann": keys["Ann"], "Ben": ShadingKey(KEY.code)}
    assert with_messages(plain, views, rings, errors) is plain


def test_messages_of_names_and_passages_with_line_breaks_are_told() -> None:
    both = torch.tensor([[0.01, 0.99]]).double()
    plain = Finding(both, both[:, 1:], both[0, :1], ("mine\u2028too",), ("A\u2028B",))
    found = Messages(**(vars(plain) | {"notes": ("a note",)}), letters=(Letter(b"hi", 0.99),))
    assert "as after mine\u2028too); message 'hi' (" in str(found)
    assert str(found).endswith("\na note")


def test_stated_probabilities_add_up_to_the_messages_that_are_right() -> None:
    """Where one in six cannot be read; the code is strong, so that few are in between."""
    messages, y = sent(200, 0.8)
    letters = [KEY.read(one) for one in odds(y, 0.8)]
    right = [one.payload == m for one, m in zip(letters, messages, strict=True)]
    stated = [one.confidence for one in letters]
    assert 100 < sum(right) < 190
    spread = math.sqrt(sum(p * (1 - p) for p in stated))
    assert abs(sum(stated) - sum(right)) < 3 * spread + 1
    assert sum(one.text is not None for one in letters) > 0.9 * sum(right)


def test_what_holds_no_message_is_not_read() -> None:
    letters = [KEY.read(one) for one in odds(normal(400, *SHAPE, seed=6), 0.3)]
    assert {one.text for one in letters} == {None}
    assert str(letters[0]) == "cannot read its message"


def test_the_confidence_is_that_of_the_formula() -> None:
    seen = 0.4 * (2 * CODE.encode(b"ab").double() - 1)
    p = (1 + math.exp(-0.4)) ** -CODE.bits
    expected = p / (p + 256.0**-CODE.parity * (1 - p))
    assert KEY.read(seen, 0.5).confidence == pytest.approx(0.5 * expected)
    assert KEY.read(1e4 * seen).confidence == 1.0
    assert Letter(b"\xff", 0.99).text == "0xff"


def test_what_is_no_message_of_the_key_is_refused() -> None:
    for wrong in ("abc", "", b"a\0"):
        with pytest.raises(ValueError, match="1 to 2 bytes"):
            KEY.holding(wrong)
    with pytest.raises(ValueError, match="use MessageKey.of"):
        MessageKey(KEY.code, correction=ReedSolomon(4, 8))


# --- on the command line, with the embedded model

SETTING = ["--prompt", "sad", "--guidance-scale", "1", "--steps", "3"]
SETTING += ["--scheduler", "DDIMScheduler"]
KEYS = {
    "Ann": {"kind": "random", "seed": 1, "radius": 6},
    "Ben": {"kind": "message", "secret": "words", "bytes": 5, "parity": 7},
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["watermark", *map(str, arguments)])


def test_from_a_message_to_a_png_and_back(tmp_path: Path) -> None:
    keys, picture = tmp_path / "keys.json", tmp_path / "a.png"
    keys.write_text(json.dumps(KEYS))
    common = ("embed", *SETTING, "--keys", keys, "-o", picture, "--owner")
    assert "which holds no --message" in run(*common, "Ann", "--message", "hello").stderr
    assert "give the --message" in run(*common, "Ben").stderr
    assert (
        "--message: a message has 1 to 5 bytes" in run(*common, "Ben", "--message", "x" * 6).stderr
    )
    made = run(*common, "Ben", "--message", "hello")
    assert made.exit_code == 0, made.output
    options = ("--keys", keys, "--pictures", 4, "--passages", "none", "--json")
    found = run("identify", picture, *SETTING, *options)
    assert found.exit_code == 0, found.output
    values = json.loads(found.stdout)
    assert (values["decision"], values["message"]) == ("Ben", "hello")
    assert values["message_confidence"] > 0.9
