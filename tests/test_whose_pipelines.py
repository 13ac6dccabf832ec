"""Whose key, in pictures of pipelines: in their own noise, from file to file, on the command line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_pipelines as tiny
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import invlib
from invlib import watermark
from invlib.autoencoder import quasi_newton
from invlib.cli import app
from invlib.pipelines import read
from invlib.pipelines.decoding import read_decoder
from invlib.rehearsal.zoo.video_recipes import RECIPES
from invlib.watermark import PASSAGES, TreeRing, crop, released_keys
from invlib.watermark.passages import changed_size, screenshot, uncrop
from invlib.watermark.planes import Planes

PROMPT = "a sad person with white undercut, black turtleneck, red canyon, pink sky"
CALL = {"prompt": PROMPT, "guidance_scale": 1.0, "num_inference_steps": 4}
FAST = {"decoder": partial(quasi_newton, iterations=10)}
SMALL = {"prompt": "red cat", "num_inference_steps": 3, "height": 16, "width": 16}
