"""The optional packages: which extra brings one that is missing, and whether versions fit.

``import invlib`` needs PyTorch, NumPy, safetensors and tqdm. Whatever else is needed comes with an
extra, and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "diffusers": ("diffusers", "transformers", "accelerate", "PIL"),
    "codes": ("reedsolo",),
    "cli": ("typer", "matplotlib"),
    "all": ("pandas", "IPython", "ipywidgets"),
    "book": ("nbformat", "papermill", "torchmetrics", "yaml"),
}


def need(extra: str, *modules: str) -> None:
    """Say in one line which extra is missing.

    Args:
        extra: its name.
        modules: what is needed of it, by default all.

    Raises:
        ImportError: if one of them is not installed.
    """
    missing = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise ImportError(advice(extra, missing))


def advice(extra: str, missing: Iterable[str]) -> str:
    """The sentence for packages that an extra brings."""
    return f"this needs {' and '.join(missing)}: install invlib with its extra, invlib[{extra}]"


def explained(error: ImportError) -> str:
    """What an import error says, and the extra that helps if one does."""
    package = (error.name or "").partition(".")[0]
    found = [extra for extra, names in EXTRAS.items() if package in names]
    missing = isinstance(error, ModuleNotFoundError) and found and find_spec(package) is None
    return advice(found[0], [package]) if missing else str(error)


def check(extra: str = "all") -> str:
    """Whether what is installed fits what invlib declares; for notebooks that only install invlib.

    Args:
        extra: the extra whose packages are needed, too.

    Returns:
        The versions, in one line.

    Raises:
        ImportError: naming every package that is missing or too old, and the way out.
    """
    unfit = []
    for each in required("invlib", extra):
        here = installed(each.name)
        if not (here and each.specifier.contains(here, prereleases=True)):
            unfit.append(f"{each.name}{each.specifier} (here: {here or 'none'})")
    if unfit:
        raise ImportError(
            f"invlib needs {', '.join(unfit)}: install that with pip, then restart the kernel"
        )
    return ", ".join(f"{name} {installed(name)}" for name in ("invlib", "torch", "numpy"))


def required(package: str, extra: str) -> list[Requirement]:
    """What a package needs with an extra, and with those that the extra is made of."""
    from packaging.requirements import Requirement

    found: dict[str, Requirement] = {}
    todo, done = [extra, ""], set[str]()
    while todo:
        wanted = todo.pop()
        done.add(wanted)
        for each in map(Requirement, metadata.requires(package) or ()):
            if each.marker and not each.marker.evaluate({"extra": wanted}):
                continue
            if each.name == package:
                todo += each.extras - done
            else:
                found[str(each)] = each
    return [*found.values()]


def installed(package: str) -> str:
    """The version of a package, or nothing if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
