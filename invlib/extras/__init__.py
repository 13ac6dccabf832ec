"""The optional packages: which extra brings one that is missing, and whether versions fit.

``import invlib`` needs PyTorch, NumPy, safetensors and tqdm. Whatever else is needed comes with an
extra, and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "diffusers": ("diffusers", "transformers", "accelerate", "PIL"),
    "cli": ("typer",),
    "all": ("matplotlib", "pandas", "IPython", "ipywidgets"),
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
    versions = {"invlib": metadata.version("invlib")}
    unfit = []
    for name, bound, here in required("invlib", extra):
        versions[name] = here
        if bound:
            unfit.append(f"{name}{bound} (here: {here or 'none'})")
    if unfit:
        raise ImportError(
            f"invlib needs {', '.join(unfit)}: install that with pip, then restart the kernel"
        )
    return ", ".join(f"{name} {versions[name]}" for name in ("invlib", "torch", "numpy"))


def required(package: str, extra: str) -> Iterator[tuple[str, str, str]]:
    """What a package needs with an extra: a name, the bound if it is not kept, the version."""
    from packaging.requirements import Requirement

    todo, done = [extra, ""], set[str]()
    while todo:
        wanted = todo.pop()
        done.add(wanted)
        for line in metadata.requires(package) or ():
            each = Requirement(line)
            if each.marker and not each.marker.evaluate({"extra": wanted}):
                continue
            if each.name == package:  # an extra that is made of others
                todo += each.extras - done
                continue
            try:
                here = metadata.version(each.name)
            except metadata.PackageNotFoundError:
                here = ""
            fits = bool(here) and each.specifier.contains(here, prereleases=True)
            yield each.name, "" if fits else str(each.specifier), here
