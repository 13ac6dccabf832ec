"""The picture of the reliability is that of the stored results, and its intervals are binomial."""

from __future__ import annotations

import json

import pytest
from chapters import ROOT
from PIL import Image
from scipy.stats import binomtest

from invlib.reproduce.book import reliability_picture as page
from invlib.reproduce.watermark.reliability import Bin, caption, draw, pooled
from invlib.round_trip import CAPTION

VALUES = json.loads((ROOT / page.RESULTS).read_text())


def test_the_picture_and_its_caption_are_of_the_stored_results() -> None:
    words = caption(pooled(VALUES))
    path = ROOT / page.PICTURE
    assert path.stat().st_size < 60_000
    with Image.open(path) as picture:
        assert picture.text[CAPTION] == words
    text = (ROOT / page.PAGE).read_text("utf-8")
    assert text == page.shown(text, words)


def test_bins_are_pooled_and_their_intervals_are_binomial() -> None:
    rows = [
        {"decoder": "naive", "bins": [[0, 0.0, 0], [10, 6.0, 5]]},
        {"decoder": "naive", "bins": [[0, 0.0, 0], [30, 18.0, 21]]},
    ]
    rows += [{"decoder": "inverted decoder", "bins": [[2, 0.9, 0], [0, 0.0, 0]]}]
    first, second = pooled({"rows": rows})
    assert (first.decoder, first.count, first.right) == ("inverted decoder", 2, 0.0)
    assert (second.count, second.stated, second.right) == (40, 0.6, 0.65)
    interval = binomtest(26, 40).proportion_ci(method="wilson")
    assert (second.low, second.high) == pytest.approx((interval.low, interval.high))
    assert second.holds and not Bin("naive", 1000, 0.6, 0.5, 0.47, 0.53).holds
    words = caption([second, Bin("naive", 1000, 0.6, 0.5, 0.47, 0.53)])
    assert "1040 decisions in 2 bins" in words and "10.0 points; 1 of 2" in words


def test_every_bin_is_drawn() -> None:
    (axis,) = draw(pooled(VALUES)).axes
    drawn = [line for bars in axis.containers for line in zip(*bars[0].get_data(), strict=True)]
    assert len(drawn) == len(pooled(VALUES))
    for one in pooled(VALUES):
        assert (one.stated, one.right) in drawn
        assert 0.25 < one.stated <= 1 and 0.2 < one.low
