"""What the book's notebooks import: figure style, source, glue, slides."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from invlib import nmse
from invlib.notebook import glue, slides, source
from invlib.plotting import COLORS, LABELS, LINES, MARKERS, look, style

matplotlib.use("Agg")


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("method", COLORS)
def test_colours_stand_out_from_white(method) -> None:
    assert 1.05 / (luminance(COLORS[method]) + 0.05) >= 3


def test_methods_differ_without_colour() -> None:
    assert set(COLORS) == set(MARKERS) == set(LINES) == set(LABELS)
    assert len(set(MARKERS.values())) == len(COLORS)
    with pytest.raises(ValueError, match="use one of"):
        look("magic")


def test_style_applies_to_new_figures() -> None:
    with matplotlib.rc_context():
        style()
        figure = plt.figure()
        assert figure.get_facecolor() == (1, 1, 1, 1)
        plt.close(figure)


def test_source_is_the_library_function() -> None:
    assert "def nmse(estimate: Tensor, truth: Tensor)" in source(nmse).data


def test_glue_takes_plain_numbers_only() -> None:
    with pytest.raises(TypeError, match="not a Tensor"):
        glue("value", torch.ones(1))


def test_slides_hold_every_figure_with_its_text() -> None:
    pytest.importorskip("ipywidgets")
    figures = [plt.figure(figsize=(1, 1)) for _ in range(3)]
    box = slides(figures, alt=["first", 'a "quoted" one', "last"], description="frame")
    slider, stack = box.children
    assert slider.max == 2 and len(stack.children) == 3
    assert 'alt="a &quot;quoted&quot; one"' in stack.children[1].value
    assert not plt.get_fignums()
