"""Under which licence a dependency stands, and whether that one is allowed.

What packages say of themselves is in ``book/licences.json``, from `make licences`. Only the
standard library is needed: ``.ci/sbom`` reads it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# What classifiers and old fields say, as SPDX identifiers. "BSD License" does not say which one.
WORDS: Mapping[str, str] = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "LicenseRef-BSD",
    "BSD License": "LicenseRef-BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Other/Proprietary License": "LicenseRef-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
NOTICE = "free; whoever passes it on keeps its notice"
FREE = "free, and asks for nothing"
CUDA = (
    "not free software: NVIDIA's terms. Only with PyTorch's build for CUDA on Linux, not with the "
    "one for CPUs, and never passed on by us"
)
ALLOWED: Mapping[str, str] = {
    **dict.fromkeys(("MIT", "MIT-CMU", "ISC", "PSF-2.0", "CNRI-Python", "BSL-1.0", "Zlib"), NOTICE),
    **dict.fromkeys(("BSD-2-Clause", "BSD-3-Clause", "LicenseRef-BSD"), NOTICE),
    **dict.fromkeys(("0BSD", "MIT-0", "CC0-1.0", "Unlicense"), FREE),
    "LicenseRef-Public-Domain": FREE,
    "Apache-2.0": "free, with a grant of patents; whoever passes it on keeps its notices",
    "Apache-2.0 WITH LLVM-exception": "as Apache-2.0; compiled code needs no notice",
    "MPL-2.0": "free; changed files of it stay under it, and we change none",
    "LGPL-2.0-or-later": "free to use; who passes it on gives its source, and we do not",
    "CC-BY-4.0": "of art, whose authors are named in NOTICE",
    "LicenseRef-NVIDIA-Proprietary": CUDA,
    "LicenseRef-Proprietary": CUDA,
}


class Judged(NamedTuple):
    """A licence that was read, since a package says nothing or too much; for this version only."""

    version: str
    licence: str
    why: str


JUDGED: Mapping[str, Judged] = {
    "atheris": Judged("3.0.0", "Apache-2.0", "its licence file"),
    "cuda-toolkit": Judged(
        "13.0.3.0",
        "LicenseRef-NVIDIA-Proprietary",
        "it holds metadata alone, and requires the rest",
    ),
    "dicebear-styles": Judged(
        "10.6.0",
        "MIT AND CC-BY-4.0 AND CC0-1.0",
        "its licence file, for its code and the two styles drawn here; others have their own",
    ),
    "docutils": Judged(
        "0.21.2",
        "LicenseRef-Public-Domain AND PSF-2.0 AND BSD-2-Clause AND BSD-3-Clause",
        "its COPYING: the GPL is for a mode of Emacs, which the wheel does not have",
    ),
    "resvg-py": Judged("0.5.0", "MIT", "its licence file"),
    "yattag": Judged("1.16.1", "LGPL-2.0-or-later", "its classifier, which names no version"),
    "sphinx-codeautolink": Judged("0.19.0", "MIT", "its licence file"),
}


def spdx(declared: str) -> str:
    """What a package declares, in the words of SPDX; words that are not known stay."""
    parts = re.split(r" (AND|OR) ", declared)
    return " ".join(WORDS.get(part, part) if i % 2 == 0 else part for i, part in enumerate(parts))


def licence(name: str, version: str, declared: Mapping[str, str]) -> str:
    """The licence of a package, as an expression of SPDX; nothing, where nobody knows.

    Args:
        name: of the package, normalised.
        version: the pinned one.
        declared: what ``name==version`` says of itself.
    """
    judged = JUDGED.get(name)
    if judged and judged.version == version:
        return judged.licence
    return spdx(declared.get(f"{name}=={version}", ""))


def allowed(expression: str) -> bool:
    """Whether all that an expression demands is allowed, or one of what it leaves to choose."""
    return all(
        any(choice in ALLOWED for choice in part.split(" OR "))
        for part in expression.split(" AND ")
    )
