"""A noise together with all that it takes to make its pictures again, and to compare them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from .identity import Model
from .memory import is_full
from .pipelines.again import made_again
from .pipelines.comparison import (
    Comparison,
    check_pictures,
    compare,
    eight_bits,
    fingerprint,
    warn_if_others,
)
from .pipelines.entrance import Entrance, Kind
from .pipelines.first_state import first_state
from .pipelines.images import Pictures
from .pipelines.state import rebuilt, scales
from .version import __version__


@dataclass(frozen=True)
class Repetition:
    """What became of a noise file when its pictures were made again.

    Attributes:
        same: whether all values of all pictures are equal; None where none were given and the file
            does not say what they were.
        pictures: what the pipeline made of the noise.
        comparison: the pictures beside the given ones, value by value; None if none were given.
    """

    same: bool | None
    pictures: Any = field(repr=False)
    comparison: Comparison | None = None

    def __str__(self) -> str:
        if self.comparison is not None:
            return str(self.comparison)
        if self.same is None:
            return "the file does not say what its pictures were"
        if self.same:
            return "the same pictures, bit for bit, as the ones that were inverted"
        return (
            "not the pictures that were inverted: by how much they differ can be said if these are "
            "given"
        )


@dataclass(frozen=True, repr=False)
class NoiseFile:
    """What a noise file holds.

    Attributes:
        latents: the noise, in the layout and dtype that the pipeline takes, ``[B, ...]``.
        call: all arguments of the pipeline's call but the noise.
        pipeline: name of the pipeline's class.
        model: name of the model.
        model_hash: its hash; see :class:`Model`.
        dtype: dtype of the model's network.
        scheduler: class name of the scheduler.
        scheduler_config: its configuration.
        kind: how the noise gets into the pipeline; see
            :class:`~invlib.pipelines.entrance.Entrance`.
        number: which of the random tensors that the pipeline draws the noise is.
        verdict: of the certificate of the latents, one per sample: per image, or one for a batch
            whose rows depend on each other; empty if there was none.
        round_trip_db: round-trip NMSE of each sample in dB; empty if there was no certificate.
        pictures: fingerprint of each picture that was inverted; see
            :func:`~invlib.pipelines.comparison.fingerprint`.
        reproduced: whether the noise has made these pictures value by value when the file was
            written; None where that is not known, as in files of earlier versions.
        notes: what the inversion had to say.
        seed: the seed of the global generator, if it was given to the inversion.
        weights: hash of its weights in memory when the file was written; empty in files of
            earlier versions.
        scales: by what its networks had latents scaled, such as the ``scaling_factor`` of a VAE,
            by their names; empty in files of earlier versions.
        version: version of invlib that wrote the file.
    """

    latents: Tensor
    call: dict[str, Any]
    pipeline: str
    model: str
    model_hash: str
    dtype: str
    scheduler: str
    scheduler_config: dict[str, Any]
    kind: Kind = "latents"
    number: int = 0
    verdict: tuple[str, ...] = ()
    round_trip_db: tuple[float, ...] = ()
    pictures: tuple[str, ...] = ()
    reproduced: bool | None = None
    notes: tuple[str, ...] = ()
    seed: int | None = None
    weights: str = ""
    scales: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    @property
    def entrance(self) -> Entrance:
        """How the noise gets into the pipeline."""
        return replace(Entrance.argument(self.latents), kind=self.kind, number=self.number)

    def __str__(self) -> str:
        count, shape = len(self.latents), tuple(self.latents.shape)
        said = f", latents {', '.join(self.verdict)} when inverted" if self.verdict else ""
        return (
            f"{count} noise{'s' * (count > 1)} {shape} of a {self.pipeline} ({self.model}, "
            f"{self.scheduler}){said}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def regenerate(self, pipe: Any, *, output_type: str = "pil") -> Any:
        """Make the pictures again with the stock call and the scheduler of the file.

        There is a warning where the noise has made them value by value once, and makes others now.

        Args:
            pipe: the pipeline that the noise belongs to; it is left as it is.
            output_type: as for :func:`invlib.regenerate`.

        Raises:
            ValueError: if the pipeline is another one, or the noise does not fit it.
        """
        made = self._made(Model.of(pipe), output_type)
        if self.reproduced and output_type == "pil":
            warn_if_others(made, self.pictures)
        return made

    def certify(self, pipe: Any, pictures: Any = None) -> Repetition:
        """Make the pictures again, and compare them with given ones value by value.

        Args:
            pipe: the pipeline that the noise belongs to; it is left as it is.
            pictures: one or several pictures or arrays, as for :func:`invlib.invert_image`; by
                default those that were inverted, of which the file has the fingerprints only, so
                that it can be said whether they are the same, and no more.

        Raises:
            ValueError: if the pipeline is another one, the noise does not fit it, or the file does
                not say what its pictures were and none are given.
        """
        if pictures is None and not self.pictures:
            raise ValueError("the file does not say what its picture was: give it")
        return self.repeat(Model.of(pipe), pictures)

    def repeat(self, model: Model, pictures: Any = None) -> Repetition:
        """As :meth:`certify`, for a model whose hash is known, and pictures that may not be."""
        if pictures is not None:
            check_pictures(pictures)
        made = self._made(model, "pil")
        if pictures is None and not self.pictures:
            return Repetition(None, made)
        if pictures is None:
            same = fingerprint(eight_bits(Pictures.of(made).pixels)) == self.pictures
            return Repetition(same, made)
        comparison = compare(pictures, made)
        return Repetition(comparison.same, made, comparison)

    def _made(self, model: Model, output_type: str) -> Any:
        pipe = model.pipe
        self._check_model(model)
        with self._scheduled(pipe):
            self._check_noise(model)
            arguments = (pipe, self.latents, self.call, self.entrance)
            return made_again(*arguments, seed=self.seed, output_type=output_type)

    @contextmanager
    def _scheduled(self, pipe: Any) -> Iterator[None]:
        """Meanwhile the pipeline has the scheduler of the file."""
        own = pipe.scheduler
        pipe.scheduler = rebuilt(own, self.scheduler_config | {"_class_name": self.scheduler})
        try:
            yield
        finally:
            pipe.scheduler = own

    def check(self, model: Model) -> None:
        """Refuse a model that is not the one the noise belongs to, and noise that does not fit.

        The pipeline is run as far as its first step, with its own noise and with this one.

        Raises:
            ValueError: if the hashes or the classes differ, or the noise is none of the call's.
        """
        self._check_model(model)
        self._check_noise(model)

    def _check_model(self, model: Model) -> None:
        if found := model.difference(self.model_hash, self.weights):
            raise ValueError(
                f"the noise belongs to the model {self.model} with hash {found[0]}, in "
                f"{self.dtype}, but {model.name} has {found[1]}; give the one it was made with, in "
                "the same dtype and with the same adapters at the same scales"
            )
        if self.scales and (own := scales(model.pipe)) != self.scales:
            raise ValueError(
                f"the noise belongs to a {self.model} that scales latents by {self.scales}, but "
                f"{model.name} scales them by {own}: put that into the configuration of its VAE"
            )
        if type(model.pipe).__name__ != self.pipeline:
            raise ValueError(
                f"the noise belongs to a {self.pipeline}, but {model.name} is a "
                f"{type(model.pipe).__name__}; give the one it was made with"
            )

    def _check_noise(self, model: Model) -> None:
        pipe, noise = model.pipe, self.latents
        try:
            drawn = first_state(pipe, self.call).shape
            if self.kind == "first step":
                made = (len(noise) * (drawn[0] // len(noise)), *noise.shape[1:])
            else:
                made = first_state(pipe, self.call, entrance=self.entrance, noise=noise).shape
        except Exception as error:  # whatever a pipeline makes of noise that it does not take
            if is_full(error):
                raise
            raise ValueError(f"the noise does not fit {model.name}: {error}") from error
        if tuple(made) != tuple(drawn):
            raise ValueError(
                f"the noise does not fit {model.name}: its shape is {tuple(noise.shape)}, and the "
                f"call begins with {tuple(drawn)}"
            )
