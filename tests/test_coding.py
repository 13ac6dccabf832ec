"""The code of payloads: it corrects what it promises, believes the votes, and says when not."""

from __future__ import annotations

import pytest
import torch

from invlib.watermark import Decoded, GaussianShading, Message, ReedSolomon, bits_of

pytest.importorskip("reedsolo")
CODE = ReedSolomon(data=10, parity=12)
TEXT = b"who did it"


def read(bits: torch.Tensor, size: float = 1.0) -> torch.Tensor:
    """Votes for bits."""
    return size * (2.0 * bits.double() - 1)


def decoded(votes: torch.Tensor) -> Decoded:
    return CODE.decode(Message(votes[None] > 0, votes[None]))[0]


def spoiled(votes: torch.Tensor, places: list[int], size: float) -> torch.Tensor:
    """Votes with the wrong sign in every bit of some bytes, and that size."""
    new = votes.clone().view(-1, 8)
    new[places] = -size * votes.view(-1, 8)[places].sign()
    return new.flatten()


def test_half_as_many_wrong_bytes_as_parity_come_back() -> None:
    votes = read(CODE.encode(TEXT))
    places = [0, 3, 5, 11, 14, 21]
    assert decoded(spoiled(votes, places, 1.0)) == Decoded(TEXT, 6, 0)
    assert decoded(spoiled(votes, [*places, 8], 2.0)).payload is None  # and they are believed


def test_bytes_that_the_votes_doubt_cost_half() -> None:
    votes = read(CODE.encode(TEXT))
    places = [0, 3, 5, 8, 11, 14, 17, 21]
    found = decoded(spoiled(votes, places, 0.1))
    assert (found.payload, found.corrected) == (TEXT, 8)
    assert 4 <= found.erased <= 8


def test_noise_without_a_payload_has_none() -> None:
    draw = torch.Generator().manual_seed(0)
    votes = torch.randn(40, CODE.bits, dtype=torch.float64, generator=draw)
    assert all(one.payload is None for one in CODE.decode(Message(votes > 0, votes)))


def test_a_payload_survives_an_error_of_the_noise_that_spoils_bits() -> None:
    shading = GaussianShading((4, 16, 16), CODE.bits, b"key")
    draw = torch.Generator().manual_seed(1)
    noise, error = torch.randn(2, 4, 4, 16, 16, dtype=torch.float64, generator=draw)
    bits = CODE.encode(TEXT)
    message = shading.recover(shading.embed(noise, bits) + 0.6 * error)
    assert (message.bits != bits).any(1).all()  # every reading has wrong bits
    assert [one.payload for one in CODE.decode(message)] == [TEXT] * 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="the code 10"):
        CODE.encode(b"short")
    with pytest.raises(ValueError, match="the code has 176"):
        CODE.decode(Message(bits_of(b"a")[None], read(bits_of(b"a"))[None]))
    with pytest.raises(ValueError, match="255 in all"):
        ReedSolomon(250, 6)
