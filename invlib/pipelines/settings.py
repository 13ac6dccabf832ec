"""What a pipeline was called with: checked, complete, and enough to make the picture again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The arguments of a pipeline's call that decide which picture a noise becomes.

    All values are plain (``dataclasses.asdict`` gives what JSON takes).

    Attributes:
        pipeline: name of the pipeline's class.
        prompt: one prompt (or class label) an image; None for unconditional pipelines.
        negative_prompt: one a picture, or None: whatever the pipeline takes for none.
        guidance_scale: the guidance scale; None for unconditional pipelines.
        num_inference_steps: number of steps.
        height: height in pixels.
        width: width in pixels.
    """

    pipeline: str
    prompt: tuple[str, ...] | tuple[int, ...] | None
    negative_prompt: tuple[str, ...] | None
    guidance_scale: float | None
    num_inference_steps: int
    height: int
    width: int


def check_steps(steps: Any) -> int:
    """A number of steps.

    Raises:
        TypeError: if it is not a whole number.
        ValueError: if it is below 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, Integral):
        raise TypeError(f"num_inference_steps must be a whole number, got {steps!r}")
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, got {steps}")
    return int(steps)


def check_scale(scale: Any, lowest: float, pipeline: str) -> float:
    """A guidance scale that the pipeline uses.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or so small that the pipeline would not use it.
    """
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"guidance_scale must be a number, got {scale!r}")
    if not math.isfinite(scale) or scale < lowest:
        why = f"; {pipeline} takes less than 1 for no guidance, so give 1" if lowest else ""
        raise ValueError(f"guidance_scale must be a finite number >= {lowest:g}, got {scale}{why}")
    return float(scale)


def check_prompts(prompts: Any, images: int, name: str) -> tuple[str, ...]:
    """One prompt per image, from one for all of them or one for each.

    Raises:
        TypeError: if it is neither a text nor a list of texts.
        ValueError: if there are more or fewer prompts than images.
    """
    if isinstance(prompts, str):
        return (prompts,) * images
    if not isinstance(prompts, Sequence) or not all(isinstance(p, str) for p in prompts):
        raise TypeError(f"{name} must be a text or a list of texts, got {prompts!r}")
    return _one_each(tuple(prompts), images, name)


def check_classes(classes: Any, images: int, labels: dict[str, int], most: int) -> tuple[int, ...]:
    """One class number per image, from numbers or names, one for all or one for each.

    Raises:
        TypeError: if a class is neither a number nor a name.
        ValueError: if a class is unknown, or there are more or fewer than images.
    """
    if classes is None:
        raise ValueError("the pipeline needs class labels: give prompt=[207] or names of classes")
    if isinstance(classes, Integral | str):
        classes = [classes] * images
    if not isinstance(classes, Sequence):
        raise TypeError(f"prompt must be class numbers or names, got {classes!r}")
    numbers = []
    for label in classes:
        if isinstance(label, str):
            if label not in labels:
                raise ValueError(f"unknown class {label!r}; pipe.labels lists the names")
            numbers.append(labels[label])
        elif isinstance(label, bool) or not isinstance(label, Integral):
            raise TypeError(f"a class is a number or a name, got {label!r}")
        elif not 0 <= int(label) <= most:
            raise ValueError(f"class {label} does not exist; give 0 to {most} ({most}: no class)")
        else:
            numbers.append(int(label))
    return _one_each(tuple(numbers), images, "prompt")


def _one_each(values: tuple[Any, ...], images: int, name: str) -> tuple[Any, ...]:
    if len(values) != images:
        raise ValueError(
            f"{name} has {len(values)} entries for {images} images; give one, or one for each"
        )
    return values
