"""Checks of the exercises of chapter 8, on certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..denoisers import Denoiser, Mixture, guided
from ..schedule import Schedule
from ..singular import sample_image
from ..solvers import Solver, ddim
from . import told

Verdicts = Callable[[Denoiser, Tensor, Tensor, Solver], Sequence[str]]
NoiseBound = Callable[[Denoiser, Tensor, Tensor, Solver], Tensor]
Sampler = Callable[[Tensor], Tensor]
SecondNoise = Callable[[Sampler, float], float]


def check_verdicts(verdicts: Verdicts) -> bool:
    r"""Check the exercise "three verdicts": words from :math:`\|S_N(\hat z) - x\|^2/\|x\|^2`.

    Args:
        verdicts: the reader's function ``(denoiser, image, noise, solver) -> words``.

    Returns:
        Whether it passed.
    """
    return told("verdicts", "one round trip, one word a sample", _problem_of_verdicts(verdicts))


def check_noise_bound(noise_bound: NoiseBound) -> bool:
    r"""Check the exercise "how wrong can the noise be": residual over singular value.

    .. math:: \frac{\|S_N(\hat z) - x\|}{\sigma_{\min}\,\|\hat z\|}

    Args:
        noise_bound: the reader's function ``(denoiser, image, noise, solver) -> [B]``.

    Returns:
        Whether it passed.
    """
    problem = _problem_of_noise_bound(noise_bound)
    return told("noise_bound", "the residual, over sigma_min and the size of the noise", problem)


def check_second_noise(second_noise: SecondNoise) -> bool:
    """Check the exercise "the second noise" of a folded sampler on a line.

    Args:
        second_noise: the reader's function ``(sampler, z) -> other noise``.

    Returns:
        Whether it passed.
    """
    return told("second_noise", "another noise, same image", _problem_of_second_noise(second_noise))


def line_sampler(scale: float = 3.0, steps: int = 5) -> Sampler:
    """A sampler on a line, from noises ``[n]`` to images ``[n]``: DDIM, four guided clusters.

    Args:
        scale: guidance scale.
        steps: number of steps.
    """
    schedule = Schedule.scaled_linear()
    centres = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]], dtype=torch.float64)
    mixture = Mixture(schedule, centres, 0.3, torch.tensor([0, 1, 0, 1]))
    solver = ddim(schedule.grid(steps))

    def sampler(z: Tensor) -> Tensor:
        classes = torch.ones(len(z), dtype=torch.long)
        network = guided(mixture, classes, torch.tensor([-1]), scale)
        return sample_image(network, z[:, None], solver)[:, 0]

    return sampler


def _mixture() -> tuple[Denoiser, Solver, Tensor, Tensor]:
    """A network, a sampler, four noises in three dimensions and their images."""
    schedule = Schedule.scaled_linear()
    draw = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(4, 3, dtype=torch.float64, generator=draw)
    network = Mixture(schedule, centres, 0.5)
    solver = ddim(schedule.grid(8))
    noise = torch.randn(4, 3, dtype=torch.float64, generator=draw)
    return network, solver, noise, sample_image(network, noise, solver)


def _problem_of_verdicts(verdicts: Verdicts) -> str:
    network, solver, noise, image = _mixture()
    far = 3 * noise[1] + 5
    lost = torch.full_like(far, torch.nan)
    found = torch.stack([noise[0], far, noise[2] * (1 + 1e-4), noise[3] * (1 + 1e-11), lost])
    image = torch.cat([image, image[:1]])
    right = ["exact", "failed", "approximate", "exact", "failed"]
    result = verdicts(network, image, found, solver)
    if result is None:
        return "verdicts returns nothing; end it with `return` and a list of words"
    words = list(result)
    if len(words) != len(right):
        return f"{len(right)} samples but {len(words)} verdicts; give one word a sample"
    strange = sorted({str(w) for w in words} - set(right))
    if strange:
        return f"{strange[0]!r} is no verdict; use 'exact', 'approximate' and 'failed'"
    if len(set(words)) == 1:
        return "all samples got the same word; every sample has its own error and its own verdict"
    if words[3] != "exact":
        return (
            "an image with a relative error of 1e-11 is exact; the limits are for the error "
            "*squared*, the NMSE"
        )
    if words[4] != "failed":
        return "a noise that is not a number has failed; ask `not error < 0.1`, which NaN passes"
    for k, (word, wanted) in enumerate(zip(words, right, strict=True)):
        if word != wanted:
            return f"sample {k} is {wanted}, not {word}; sample from the noise, compare with image"
    return ""


def _problem_of_noise_bound(noise_bound: NoiseBound) -> str:
    network, solver, noise, image = _mixture()
    draw = torch.Generator().manual_seed(1)
    found = noise + 1e-6 * torch.randn(noise.shape, dtype=torch.float64, generator=draw)
    result = noise_bound(network, image, found, solver)
    if not isinstance(result, Tensor):
        return f"noise_bound returns a {type(result).__name__}; return one number a sample, [B]"
    if result.shape != (len(noise),):
        return f"noise_bound returns shape {tuple(result.shape)} instead of ({len(noise)},)"
    residual = (sample_image(network, found, solver) - image).norm(dim=1)
    values = torch.linalg.svdvals(_jacobians(network, found, solver))
    size, small, large = found.norm(dim=1), values[:, -1], values[:, 0]
    hints = {
        "": residual / (small * size),
        "this is an absolute error; divide by the size of the noise": residual / small,
        "the *smallest* singular value counts, not the largest": residual / (large * size),
        "divide by the singular value, do not multiply": residual * small / size,
        "do not square: the bound is on the norm": (residual / (small * size)) ** 2,
        "that is the error of the image, not of the noise": residual / image.norm(dim=1),
    }
    for hint, value in hints.items():
        if torch.allclose(result, value, rtol=1e-3, atol=0):
            return hint
    return "not the bound; residual ||S(z) - x||, over sigma_min times ||z||, sample by sample"


def _jacobians(network: Denoiser, noise: Tensor, solver: Solver) -> Tensor:
    """The sampler's Jacobian at every noise ``[B, D]``, ``[B, D, D]``."""
    columns = []
    for unit in torch.eye(noise.shape[1], dtype=torch.float64):
        along = unit.expand_as(noise).contiguous()
        function = torch.func.jvp(lambda x: sample_image(network, x, solver), (noise,), (along,))
        columns.append(function[1])
    return torch.stack(columns, 2)


def _problem_of_second_noise(second_noise: SecondNoise) -> str:
    for scale, z in ((3.0, 0.2), (5.0, -0.4)):
        sampler = line_sampler(scale)
        result = second_noise(sampler, z)
        if result is None:
            return "second_noise returns nothing; end it with `return` and a number"
        other = float(result)
        pair = sampler(torch.tensor([z, other], dtype=torch.float64))
        if abs(other - z) < 1e-3:
            return f"{other:.4f} is the noise that was given; look for another one"
        miss = abs(pair[1] - pair[0]).item()
        if not miss < 1e-2:
            return f"the noise {other:.4f} makes another image; look where sampler - image is zero"
        if not miss < 1e-9:
            return f"{other:.4f} is near a noise, but its image is off by {miss:.0e}; go on halving"
    return ""
