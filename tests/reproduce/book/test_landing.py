"""The three lines of the first page say what was measured; its gallery shows what is stored."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from chapters import ROOT
from PIL import Image

from invlib.reproduce.book import landing

sys.path.insert(0, str(ROOT / "book/_ext"))
gallery = pytest.importorskip("gallery")


def cell(sampler: str, guidance: float, exact: float, noise: float) -> dict[str, object]:
    return {
        "sampler": sampler,
        "guidance": guidance,
        "samples": 8,
        "exact": exact,
        "noise_db_median": noise,
    }


def test_the_lines_count_images_and_take_the_worst_noise() -> None:
    rows = [
        cell("DDIM-50", 1.0, 1.0, -130.0),
        cell("2M-10", 3.0, 0.5, -101.4),
        cell("DDIM-50", 7.5, 0.75, -1.0),
        cell("2M-10", 7.5, 0.125, 5.0),
    ]
    back = [{"samples": 4, "identical": 0.75, "noise_db": -4.6}]
    exact, high, picture = landing.markdown({"rows": rows}, {"rows": back}).splitlines()
    assert "scales 1 and 3, 12 of 16 images" in exact and "(DDIM-50, 2M-10)" in exact
    assert "off by −101 dB or less" in exact
    assert "scale 7.5 it is 6 of 8 with DDIM and 1 of 8 with 2M" in high
    assert "3 of 4 images" in picture and "off by −5 dB" in picture


def test_the_gallery_has_a_card_for_every_figure(tmp_path: Path) -> None:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = gallery.listed(contents, "The paper, regenerated")
    notebooks = [name for name in names if (ROOT / f"{name}.ipynb").exists()]
    assert len(notebooks) > 10
    for name in notebooks:
        notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
        text = gallery.card(name, notebook, tmp_path)
        assert f":link: /{name}\n" in text
        (alt,) = (line for line in text.splitlines() if line.startswith(":img-alt:"))
        assert len(alt) > 30
        (picture,) = (line for line in text.splitlines() if line.startswith(":img-top:"))
        with Image.open(tmp_path / picture.split()[1].lstrip("/")) as small:
            assert small.width == gallery.WIDTH and small.height <= gallery.HEIGHT


def test_a_part_that_is_not_there_has_no_cards() -> None:
    assert gallery.listed({"parts": [{"caption": "a", "chapters": []}]}, "b") == []
