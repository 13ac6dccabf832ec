"""What an inversion of a pipeline's picture found, what it is worth, and how to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..autoencoder import DecoderInversion
from ..certificate import Certificate
from ..inversion import Inversion
from .comparison import Comparison
from .entrance import Entrance
from .running import same_again
from .sentence import sentences, verdict

if TYPE_CHECKING:
    from ..noisefile import NoiseFile


class SameCall:
    """A field for a call: each time that one looks, generators and tensors in it are new copies.

    So a pipeline that is given the call with ``**`` does not use up what the result still needs.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, result: Any, owner: type) -> Mapping[str, Any]:
        if result is None:
            raise AttributeError(f"{owner.__name__} has no default for {self.name}")
        return {name: same_again(value) for name, value in result.__dict__[self.name].items()}

    def __set__(self, result: Any, call: Mapping[str, Any]) -> None:
        result.__dict__[self.name] = call


@dataclass(frozen=True, repr=False, kw_only=True)
class ImageInversion:
    """The noise of a picture, in the form that its pipeline takes.

    ``latents``, ``target`` and ``decoding`` are about the B pictures. ``inversion``,
    ``certificate`` and ``evaluations`` are about samples: as many, but where the rows of the
    pipeline's batch depend on each other they are one sample ``[1, B, ...]`` with one verdict.

    Attributes:
        inversion: what :func:`invlib.invert` found, in float64.
        latents: the noise as ``pipe(**call, latents=latents)`` takes it, in its dtype on its
            device. Where that has no float64, ``target`` and ``inversion`` are on the CPU.
        target: the clean latents, or pixels in [-1, 1], that were inverted: the last state of the
            pipeline's loop.
        decoding: how the latents were found, if an image was inverted and the pipeline decodes.
        certificate: how exact the noise is for ``target``, by the stock call; None if it was not
            asked for.
        call: the call that was inverted; with ``latents`` it makes the picture again. Generators
            and tensors in it are copies, as they were given, each time.
        settings: what the pipeline takes for all of its arguments, its defaults included.
        pipeline: name of the pipeline's class.
        entrance: how the noise gets into the pipeline: ``latents``, or what
            :func:`~invlib.pipelines.regenerate` does where the call has no such argument.
        seed: the seed of the global generator, if it was given in the options.
        evaluations: network evaluations in all that a sample cost: those of the search
            (``inversion.nfe``), of its last sampling run, of reading the call, and of the stock
            call that the certificate makes. A budget counts the search (with its decoder) alone,
            which ends after the round that reaches it; so this may be more than the budget.
        notes: what was assumed, and what the certificate does not say.
        others: other noises that make the same image, as far as was searched, each in the form of
            ``latents``.
        picture: how the picture that the pipeline makes of the noise compares with the one that was
            inverted, value by value; None if there was no picture, or no certificate was asked for.
        fingerprints: of each picture or frame that was inverted, for the noise file.
        scheduler: configuration of the scheduler that was inverted, in JSON.
        tables: the numbers that this scheduler computes with, which a configuration may not tell.
        samples: hashes of some values of every weight, by the name of the network.
        pipe: the pipeline itself, so that the result can be saved; copies are without it.
    """

    inversion: Inversion
    latents: Tensor
    target: Tensor
    decoding: DecoderInversion | None
    certificate: Certificate | None
    call: SameCall = SameCall()
    pipeline: str
    entrance: Entrance
    settings: SimpleNamespace
    seed: int | None
    evaluations: Tensor
    notes: tuple[str, ...]
    others: tuple[Tensor, ...] = ()
    picture: Comparison | None = None
    fingerprints: tuple[str, ...] = ()
    scheduler: str = ""
    tables: Mapping[str, Tensor] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    pipe: Any = field(default=None, compare=False)

    @property
    def verdict(self) -> str:
        """Of the worst sample; ``exact`` only if the picture, where it is known, comes back too."""
        return verdict(self)

    def __str__(self) -> str:
        return sentences(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of a {self.pipeline}: {self}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pipe": None}

    def save(self, path: str | PathLike[str]) -> NoiseFile:
        """Write the noise with the whole call, the scheduler, and what tells the model apart.

        Args:
            path: the file, such as ``noise.safetensors``; an existing one is replaced.

        Returns:
            What was written; :func:`invlib.load_noise` reads it.

        Raises:
            ValueError: if the call holds something that is no data, the scheduler something that is
                not in its configuration, the pipeline has other weights by now, or is not here any
                more, as in a copy of the result.
            OSError: if the file cannot be written.
        """
        from ..noisefile import save_noise

        return save_noise(path, self)
