"""The door to two proofs: of a noise that a search has found, and of one that a file holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, overload, runtime_checkable

from torch import Tensor

from . import certificate
from .certificate import Certificate
from .denoisers import Denoiser
from .found import Found, inversion_of
from .inversion import Inversion
from .solvers import Solver

if TYPE_CHECKING:
    from .repetition import Repetition


@runtime_checkable
class Stored(Protocol):
    """What :func:`invlib.load_noise` reads: noise with all that makes its pictures again."""

    def certify(self, pipe: Any, pictures: Any = None) -> Repetition:
        """Make the pictures again, and compare them with given ones value by value."""


@overload
def certify(
    denoiser: Denoiser,
    inversion: Inversion | Found,
    solver: Solver,
    *,
    vectors: int = 0,
    other: Inversion | Found | None = None,
    again: Tensor | None = None,
    moved: Callable[[int], Tensor] | None = None,
    gap: float = 0.0,
    max_batch: int | None = None,
) -> Certificate: ...


@overload
def certify(denoiser: Stored, inversion: Any, solver: Any = None) -> Repetition: ...


def certify(
    denoiser: Denoiser | Stored, inversion: Any, solver: Any = None, **options: Any
) -> Certificate | Repetition:
    r"""Check a noise by making its image again: ``certify(network, inversion, solver)``.

    .. math:: \Phi(y_0) \overset{?}{=} y_n

    The noise of a file makes 8-bit pictures, which are compared value by value:
    ``certify(stored, pipe)`` and ``certify(stored, pipe, pictures)``. All else is explained at
    :func:`invlib.certificate.certify`, which makes the certificate of an inversion.

    Args:
        denoiser: the network that was inverted; or a noise from :func:`invlib.load_noise`.
        inversion: what to certify, or the :class:`invlib.ImageInversion` that holds it; or the
            pipeline that the stored noise belongs to.
        solver: the sampler's table; or one or several pictures or arrays, by default those that
            were inverted, of which a file has fingerprints only.
        options: of :func:`invlib.certificate.certify`; none for a stored noise.

    Returns:
        A :class:`Certificate`; of a stored noise a :class:`~invlib.repetition.Repetition`.

    Raises:
        TypeError: if the solver of an inversion is missing, or an option is given that a stored
            noise has no use for.
        ValueError: if a stored noise belongs to another pipeline, or its file does not say what
            its pictures were and none are given.
    """
    if isinstance(denoiser, Stored):
        if options:
            raise TypeError("a stored noise is certified by its pictures alone: give no options")
        return denoiser.certify(inversion, solver)
    if not isinstance(solver, Solver):
        raise TypeError(
            f"give certify a network, its inversion and a solver, or a noise of load_noise, a "
            f"pipeline and pictures; the third is {type(solver).__name__}"
        )
    if (other := options.get("other")) is not None:
        options["other"] = inversion_of(other)
    return certificate.certify(denoiser, inversion_of(inversion), solver, **options)
