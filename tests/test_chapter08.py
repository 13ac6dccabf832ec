"""The exercises of chapter 8: right solutions pass, wrong ones get a hint."""

from __future__ import annotations

import pytest
import torch

from invlib.exercises.chapter08 import (
    check_noise_bound,
    check_second_noise,
    check_verdicts,
    line_sampler,
)
from invlib.metrics import nmse
from invlib.singular import sample_image, singular_values


def words(levels, limit=1e-20):
    return ["failed" if not v < 0.1 else "exact" if v < limit else "approximate" for v in levels]


def verdicts(denoiser, image, noise, solver):
    return words(nmse(sample_image(denoiser, noise, solver), image).tolist())


def of_norms(denoiser, image, noise, solver):
    return words(nmse(sample_image(denoiser, noise, solver), image).sqrt().tolist())


def of_the_batch(denoiser, image, noise, solver):
    worst = nmse(sample_image(denoiser, noise, solver), image).max().item()
    return words([worst] * len(image))


def strict(denoiser, image, noise, solver):
    return words(nmse(sample_image(denoiser, noise, solver), image).tolist(), limit=1e-4)


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (verdicts, ""),
        (lambda *_: None, "returns nothing"),
        (lambda *_: ["exact"], "one word a sample"),
        (lambda *_: ["exact", "bad", "approximate", "exact", "failed"], "'bad' is no verdict"),
        (of_the_batch, "its own verdict"),
        (of_norms, "*squared*"),
        (strict, "sample 2 is approximate, not exact"),
    ],
)
def test_verdicts(attempt, hint, capsys) -> None:
    told(check_verdicts, attempt, hint, capsys)


def parts(denoiser, image, noise, solver):
    """Residual, smallest and largest singular value, size of the noise."""
    residual = (sample_image(denoiser, noise, solver) - image).norm(dim=1)
    return residual, *singular_values(denoiser, noise, solver, vectors=3), noise.norm(dim=1)


def bound(*problem):
    residual, small, _, size = parts(*problem)
    return residual / (small * size)


def absolute(*problem):
    residual, small, _, _ = parts(*problem)
    return residual / small


def by_largest(*problem):
    residual, _, large, size = parts(*problem)
    return residual / (large * size)


def times(*problem):
    residual, small, _, size = parts(*problem)
    return residual * small / size


def of_the_image(denoiser, image, noise, solver):
    return (sample_image(denoiser, noise, solver) - image).norm(dim=1) / image.norm(dim=1)


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (bound, ""),
        (lambda *_: 1.0, "returns a float"),
        (lambda d, image, n, s: image, "returns shape"),
        (absolute, "divide by the size of the noise"),
        (by_largest, "*smallest*"),
        (times, "do not multiply"),
        (lambda *problem: bound(*problem) ** 2, "do not square"),
        (of_the_image, "error of the image"),
        (lambda d, image, n, s: image[:, 0], "not the bound"),
    ],
)
def test_noise_bound(attempt, hint, capsys) -> None:
    told(check_noise_bound, attempt, hint, capsys)


def second_noise(sampler, z, halvings=50):
    image = sampler(torch.tensor([z], dtype=torch.float64))
    axis = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    miss = sampler(axis) - image
    cells = (miss[1:] * miss[:-1] < 0).nonzero().flatten()
    cell = cells[(axis[cells] - z).abs() > 0.01][0]
    low, high, left = axis[cell], axis[cell + 1], miss[cell] < 0
    for _ in range(halvings):
        middle = (low + high) / 2
        if ((sampler(middle[None]) - image)[0] < 0) == left:
            low = middle
        else:
            high = middle
    return ((low + high) / 2).item()


@pytest.mark.parametrize(
    ("attempt", "hint"),
    [
        (second_noise, ""),
        (lambda sampler, z: None, "returns nothing"),
        (lambda sampler, z: z, "that was given"),
        (lambda sampler, z: z + 1, "makes another image"),
        (lambda sampler, z: second_noise(sampler, z, 5), "go on halving"),
    ],
)
def test_second_noise(attempt, hint, capsys) -> None:
    told(check_second_noise, attempt, hint, capsys)


def told(check, attempt, hint, capsys) -> None:
    passed = check(attempt)
    line = capsys.readouterr().out
    assert passed == (not hint)
    assert line.startswith("not yet: " if hint else "ok  ")
    assert hint in line


def test_the_line_folds_with_guidance_and_not_without() -> None:
    axis = torch.linspace(-4, 4, 801, dtype=torch.float64)
    assert (line_sampler(1.0)(axis).diff() > 0).all()
    assert not (line_sampler(3.0)(axis).diff() > 0).all()
