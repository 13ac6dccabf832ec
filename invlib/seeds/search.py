"""Which seed a noise was drawn from: one dot product a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from ..progress_bar import Bar
from .generators import GENERATORS, Generator, Shape
from .layout import unpacked

AT_ONCE = 16384  # seeds
SAFE = 4.0  # standard deviations by which a seed may fall short in the first look
CHANCE = 1e-6  # of a wrong seed, below which one is named
MOST = 1024  # values of the first look


@dataclass(frozen=True)
class SeedSearch:
    r"""The seeds that some noises were drawn from, of those that were tried.

    With a wrong seed the drawn noise n is independent of the given z, so that the score is a
    standard normal number, whatever z is:

    .. math:: s = \frac{\langle z, n\rangle}{\|z\|} \sim N(0, 1), \qquad
              P(\text{best of } M > s) \le M\,Q(s)

    Attributes:
        seed: the seed of every noise, None where the best of those tried may be chance, ``B``.
        best: the seed of the best score, named or not, ``B``.
        position: which picture of the draw the noise is, counted from 0, ``B``.
        score: the best score, in standard deviations, ``[B]``; minus infinity where no seed came
            through the first look.
        correlation: cosine between the given and the drawn noise, ``[B]``.
        chance: bound on the probability that the best of as many wrong seeds scores as much,
            ``[B]``.
        tried: number of seeds that were tried.
        places: noises of a draw that each seed was compared at; M is ``tried * places``.
        finalists: seeds whose whole noise was drawn.
        values: how many values of every noise the first look has drawn.
        generator: name of the generator.
        packed: whether the noises have three axes and nothing said how they were drawn: they may be
            tokens, which a pipeline packs after it has drawn, so that no seed can be ruled out.
    """

    seed: tuple[int | None, ...]
    best: tuple[int | None, ...]
    position: tuple[int, ...]
    score: Tensor
    correlation: Tensor
    chance: Tensor
    tried: int
    places: int
    finalists: int
    values: int
    generator: str
    packed: bool = False

    def sentence(self, index: int = 0) -> str:
        """What was found about noise ``index``, in one sentence."""
        tried = f"of the {self.tried} seeds tried with {self.generator}"
        score = self.score[index].item()
        if self.seed[index] is None and self.packed:
            return (
                f"It cannot be told whether a seed {tried} is the source of this noise: it has "
                "three axes, as tokens that a pipeline packs after it has drawn; give "
                "shape=(N, C, H, W) of the draw, or (N, tokens, values) if it is as drawn."
            )
        if self.seed[index] is None:
            return f"No seed {tried} is the source of this noise: the best could be chance."
        place = f" as picture {self.position[index] + 1} of its draw" if any(self.position) else ""
        power = _log_chance(self.score[index], self.tried * self.places) / math.log(10)
        return (
            f"Seed {self.seed[index]} {tried} made this noise{place}: correlation "
            f"{self.correlation[index]:.3f}, {score:.1f} standard deviations; the best of as many "
            f"wrong seeds comes there with probability 1e{math.floor(power)}, by the normal law."
        )


def find_seed(
    noise: Tensor,
    seeds: Sequence[int] | np.ndarray | Tensor = range(2**20),
    *,
    shape: Shape | None = None,
    dtype: torch.dtype = torch.float32,
    generator: str | Generator = "torch-cpu",
    correlation: float = 0.5,
    seconds: float | None = None,
    progress: bool | None = False,
) -> SeedSearch:
    r"""Find the seeds that noises were drawn from, among those given.

    Of every seed only the first values are drawn and compared; the whole noise only of those whose
    score there is not too small for the correlation :math:`\rho` that is asked for,

    .. math:: \frac{\langle z_k, n_k\rangle}{\|z_k\|} \sim
              N\Bigl(\rho\,\|z_k\|\,\frac{\mathrm{rms}(n)}{\mathrm{rms}(z)},\, 1 - \rho^2\Bigr)

    and the number k of values is that of the least work. On a CPU PyTorch seeds with 32 bits only,
    so that all the noises there are, are those of ``range(2**32)``.

    Args:
        noise: noises as they were recovered, of any scale, ``[B, ...]``.
        seeds: the candidates, also as an array of integers; a range costs no memory.
        shape: shape of what the generator drew at once, if it was more than one such noise: a
            batch ``[N, ...]``. Each place in it is tried. Packed noises ``[B, tokens, values]``,
            as those of Flux, need it to be unpacked: ``[N, C, H, W]``, or ``[N, C, F, H, W]``.
        dtype: what the noise was drawn in: that of the pipeline in diffusers, else float32.
        generator: ``torch-cpu``, ``torch-cuda``, or a :class:`Generator`, such as
            ``invlib.seeds.cuda(threads=...)``; ``invlib.seeds.FRONT_ENDS`` says who uses
            which.
        correlation: the smallest correlation with the drawn noise that shall be found: 1 for exact
            noises, about 0.5 and more for those of 8-bit pictures.
        seconds: after which the best so far comes back; ``tried`` says how far it came.
        progress: whether to show a bar on stderr; None shows it on a terminal or in a notebook.

    Returns:
        A :class:`SeedSearch`; its ``sentence`` says it in words.

    Raises:
        TypeError: if the noise is no tensor, or the seeds are no list of integers.
        ValueError: if noise, shape, seeds, dtype or generator do not fit.

    Example:
        >>> import torch, invlib
        >>> noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1234))
        >>> found = invlib.find_seed(noise + 0.5 * torch.ones(4, 8, 8), range(2000))
        >>> found.seed, round(found.score.item()) > 10
        ((1234,), True)
    """
    kind = GENERATORS.get(generator) if isinstance(generator, str) else generator
    if kind is None:
        raise ValueError(f"unknown generator: use one of {', '.join(GENERATORS)}")
    if not isinstance(noise, Tensor):
        raise TypeError(f"noise: give result.latents, a tensor, not a {type(noise).__name__}")
    seeds = _listed(seeds)
    wanted, whole = _checked(noise, seeds, shape, dtype, kind)
    if not 0 < correlation <= 1:
        raise ValueError(f"the correlation must lie between 0 and 1, got {correlation}")
    draw = _Draw(kind, whole, dtype, wanted)
    plan = draw.plan(correlation)
    best, tried, finalists, began = _Best(len(wanted)), 0, 0, monotonic()
    with Bar(progress) as bar:
        for first in range(0, len(seeds), AT_ONCE):
            block = seeds[first : first + AT_ONCE]
            for place in range(draw.places):
                kept = draw.first_look(block, place, plan)
                finalists += len(kept)
                for seed in kept:
                    best.see(seed, place, draw.scores(seed, place))
            tried += len(block)
            if bar.due:
                bar.draw("seeds", f"{tried} tried", tried / len(seeds))
            if seconds is not None and monotonic() - began >= seconds:
                break
    chance = _log_chance(best.score, tried * draw.places).exp()
    return SeedSearch(
        seed=tuple(s if c < CHANCE else None for s, c in zip(best.seed, chance, strict=True)),
        best=tuple(best.seed),
        position=tuple(best.place),
        score=best.score,
        correlation=draw.correlation(best),
        chance=chance.clamp(max=1),
        tried=tried,
        places=draw.places,
        finalists=finalists,
        values=plan.values,
        generator=kind.name,
        packed=noise.ndim == 3 and shape is None,
    )


def _log_chance(score: Tensor, count: int) -> Tensor:
    """Logarithm of the bound on the chance that the best of ``count`` wrong seeds scores so."""
    return math.log(count) + torch.special.log_ndtr(-score)


def _listed(seeds: object) -> Sequence[int]:
    """Seeds as integers of Python, which do not overflow; a range as it is."""
    if isinstance(seeds, range):
        return seeds
    if isinstance(seeds, np.ndarray | Tensor) and seeds.ndim == 1:
        seeds = seeds.tolist()
    if isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes):
        try:
            return [index(seed) for seed in seeds]
        except TypeError as error:
            raise TypeError(f"seeds: a range or a list of integers ({error})") from error
    raise TypeError(f"seeds: a range or a list of integers, not a {type(seeds).__name__}")


def _checked(
    noise: Tensor,
    seeds: Sequence[int],
    shape: Shape | None,
    dtype: torch.dtype,
    kind: Generator,
) -> tuple[Tensor, Shape]:
    """The noises ``[B, n]`` in float64, and the shape of a draw."""
    if dtype not in kind.dtypes:
        known = ", ".join(str(each).removeprefix("torch.") for each in kind.dtypes)
        raise ValueError(f"this generator draws in {known}, not in {dtype}")
    if not len(seeds):
        raise ValueError("no seeds: give a range or a list of candidates")
    if noise.ndim < 2 or not noise.numel():
        raise ValueError(f"noises are [B, ...], got the shape {tuple(noise.shape)}")
    wanted = noise.detach().cpu().double()
    if noise.ndim == 3 and shape is not None and len(shape) > 3:
        drawn = unpacked(wanted, shape)
        if drawn is None:
            raise ValueError(
                f"noises of shape {tuple(noise.shape[1:])} are no tokens of a draw of shape {shape}"
            )
        wanted = drawn
    wanted = wanted.flatten(1)
    if not (torch.isfinite(wanted).all() and (wanted.norm(dim=1) > 0).all()):
        raise ValueError("the noise contains NaN or infinity, or is zero")
    whole = tuple(noise.shape[1:]) if shape is None else shape
    if math.prod(whole) % wanted.shape[1]:
        raise ValueError(
            f"a draw of shape {whole} does not consist of noises of shape {tuple(noise.shape[1:])}"
        )
    return wanted, whole


@dataclass(frozen=True)
class Plan:
    """The first look: how many values, and what score a seed has to have there.

    Attributes:
        values: how many of the draw, at every place.
        threshold: the score of every noise at every place of a draw, ``[places, B]``.
    """

    values: int
    threshold: Tensor


@dataclass(frozen=True)
class _Draw:
    """What is drawn of a seed, and the noises ``wanted [B, n]`` that it is compared with."""

    kind: Generator
    shape: Shape
    dtype: torch.dtype
    wanted: Tensor

    @property
    def places(self) -> int:
        """How many noises are drawn at once."""
        return math.prod(self.shape) // self.wanted.shape[1]

    def skipped(self, place: int) -> int:
        """Values of a noise before the next block of the generator begins."""
        return -place * self.wanted.shape[1] % self.kind.block

    def plan(self, correlation: float) -> Plan:
        """The cheapest first look that misses a seed of this correlation as seldom as asked."""
        size, block = self.wanted.shape[1], self.kind.block
        skipped = [self.skipped(place) for place in range(self.places)]
        begins = sorted(set(skipped))
        which = torch.tensor([begins.index(begin) for begin in skipped])
        redrawn = block if math.prod(self.shape) % block else 0  # the end, in a block of its own
        most = min((size - begins[-1] - redrawn) // block * block, MOST)
        margin = SAFE * math.sqrt(1 - correlation**2)
        best: tuple[float, Plan] | None = None
        for values in range(16, most + 1, 16):
            parts = [self.wanted[:, begin : begin + values].norm(dim=1) for begin in begins]
            scale = self.wanted.square().mean(1).sqrt() / (1 - SAFE / math.sqrt(2 * size))
            least = (correlation * torch.stack(parts) / scale - margin).nan_to_num(math.inf)[which]
            whole = self.kind.whole_cost(math.prod(self.shape))
            cost = self.places * values + whole * torch.special.ndtr(-least).sum().item()
            if best is None or cost < best[0]:
                best = cost, Plan(values, least - 1e-3)
        if best is None:
            raise ValueError(
                f"the noise has {size} values, of which {most} can be compared; a seed shows in 32 "
                "and more"
            )
        return best[1]

    def first_look(self, seeds: Sequence[int], place: int, plan: Plan) -> list[int]:
        """The seeds whose first values are like those of some noise."""
        array = np.array([seed % 2**64 for seed in seeds], np.uint64)
        skipped = self.skipped(place)
        start = place * self.wanted.shape[1] + skipped
        drawn = self.kind.some(array, start, plan.values, self.shape, self.dtype).float()
        part = self.wanted[:, skipped : skipped + plan.values]
        scores = drawn @ (part / part.norm(dim=1, keepdim=True)).float().T
        passed = (scores >= plan.threshold[place]).any(1)
        return [seeds[i] for i in passed.nonzero().flatten().tolist()]

    def noise(self, seed: int, place: int) -> Tensor:
        """The noise of a seed, ``[n]``."""
        size = self.wanted.shape[1]
        whole = self.kind.whole(seed % 2**64, self.shape, self.dtype).flatten()
        return whole[place * size : (place + 1) * size].double()

    def scores(self, seed: int, place: int) -> Tensor:
        """The scores of one seed for all noises, ``[B]``."""
        return self.wanted @ self.noise(seed, place) / self.wanted.norm(dim=1)

    def correlation(self, best: _Best) -> Tensor:
        """Cosine between every noise and that of its best seed, ``[B]``."""
        found = [
            math.nan if seed is None else (score / self.noise(seed, place).norm()).item()
            for seed, place, score in zip(best.seed, best.place, best.score, strict=True)
        ]
        return torch.tensor(found, dtype=torch.float64)


class _Best:
    """The best seed so far of every noise, and the place of the noise in its draw."""

    def __init__(self, count: int) -> None:
        self.score = torch.full((count,), -math.inf, dtype=torch.float64)
        self.seed: list[int | None] = [None] * count
        self.place = [0] * count

    def see(self, seed: int, place: int, scores: Tensor) -> None:
        """Note the scores ``[B]`` of a seed."""
        for row in (scores > self.score).nonzero().flatten().tolist():
            self.score[row], self.seed[row], self.place[row] = scores[row], seed, place
