"""What is to be made in a folder, doing the work that is left of it, and packing what came out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from ...whole import whole
from ..engine.runner import Engine, processes, run
from ..engine.work import FOLDER, Cell
from ..figures.registry import FIGURES, MODELS, Figure, results
from ..models.checking import check
from ..models.fetching import fetch_all
from ..models.full_size import known, rehearsed

BUDGET = 40  # evaluations that the searches of a piece of work get in a rehearsal


@dataclass(frozen=True)
class Plan:
    """Figures, and the folder that keeps their work, numbers and pages.

    Attributes:
        profile: ``tiny``, or a full-size one.
        figures: what is to be made.
        folder: laid out as the repository is; what is stored there is not done again.
        workers: processes that work side by side.
    """

    profile: str
    figures: tuple[Figure, ...]
    folder: Path
    workers: int

    def cells(self, figure: Figure) -> list[Cell]:
        """The work of a figure."""
        cells = figure.cells(self.profile)
        if rehearsed(self.profile) and not figure.whole:
            return [replace(cell, budget=BUDGET) for cell in cells]
        return cells

    def left(self, figure: Figure) -> int:
        """How many pieces of that work are not stored yet."""
        return sum(cell.load(self.folder / FOLDER) is None for cell in self.cells(figure))

    def fetch(self) -> None:
        """Fetch the models of a full-size profile, and note in the folder what they are.

        Raises:
            RuntimeError: in one sentence, if something cannot be had, or is damaged.
        """
        if self.profile != "tiny":
            fetch_all(self.profile, self.folder / results(MODELS, self.profile))

    def work(self, engine: Engine | None = None) -> None:
        """Do what is left, with a progress bar; every piece is stored as soon as it is done.

        Args:
            engine: where; by default in processes, of which one alone holds a full-size model.

        Raises:
            RuntimeError: after all other work, if a piece failed; it names the first.
        """
        self.fetch()
        cells = [cell for figure in self.figures for cell in self.cells(figure)]
        place = engine or partial(processes, workers=self.workers)
        run(cells, place, self.folder / FOLDER)

    def page(self, figure: Figure) -> Path:
        """Where the drawn page of a figure goes, beside its numbers."""
        return self.folder / results(figure.name, self.profile, ".ipynb")

    def pack(self) -> Path:
        """Put numbers and pages of this profile into one archive, and return it.

        Raises:
            FileNotFoundError: if there are none yet.
        """
        inside = (self.folder / results("all", self.profile)).parent
        files = sorted(f for f in inside.glob("*") if f.suffix in (".json", ".ipynb"))
        if not files:
            raise FileNotFoundError(f"nothing to pack in {inside}: draw the figures first")
        archive = self.folder / f"invlib-figures-{self.profile}.zip"
        with whole(archive) as part, ZipFile(part, "w", ZIP_DEFLATED) as out:
            for file in files:
                out.write(file, file.relative_to(self.folder))
        return archive


def plan(profile: str, names: Sequence[str] | None = None, folder: str | Path = "") -> Plan:
    """Plan to make some figures in a folder, or to go on with them.

    Args:
        profile: ``tiny``, the embedded models; ``paper``, those of the paper, on a GPU; another
            one of full size; or a full-size one with ``-rehearsal`` behind it.
        names: names of figures; by default all that the profile has.
        folder: it is made if it is not there; an empty name stands for a new temporary one.

    Raises:
        ValueError: for an unknown profile or figure, or one that the profile has not.
        RuntimeError: if a full-size profile cannot run here.
    """
    known(profile)
    of_profile = {name: fig for name, fig in FIGURES.items() if fig.has(profile)}
    wrong = [name for name in names or () if name not in of_profile]
    if wrong:
        raise ValueError(
            f"profile {profile!r} has no figure {', '.join(wrong)}; "
            f"use some of {', '.join(of_profile)}"
        )
    if profile != "tiny":
        check(profile)
    place = Path(folder).expanduser() if folder else Path(tempfile.mkdtemp(prefix="invlib-"))
    place.mkdir(parents=True, exist_ok=True)
    figures = tuple(of_profile[name] for name in names or of_profile)
    workers = os.cpu_count() or 1 if profile == "tiny" else 1  # all cores, or one GPU
    return Plan(profile, figures, place.resolve(), workers)
