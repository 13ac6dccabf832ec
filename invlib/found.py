"""Whatever holds an inversion, taken for the inversion itself."""

from __future__ import annotations

from typing import Protocol, cast

from .inversion import Inversion


class Found(Protocol):
    """What holds an inversion: an :class:`invlib.ImageInversion`."""

    @property
    def inversion(self) -> Inversion:
        """The inversion."""
        ...


def inversion_of(found: Inversion | Found) -> Inversion:
    """The inversion itself, of whatever holds one."""
    return cast(Inversion, getattr(found, "inversion", found))
