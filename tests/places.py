"""Which repositories, sites and packages a text names by their addresses."""

from __future__ import annotations

import re

OWNER = r"(?<![\w-])[a-z0-9][\w-]{0,62}"  # a picture in base64 is one long word
HOSTS = (  # of code, of packages, and of what is made of both: such a place has an owner and a name
    *("github.com", "githubusercontent.com", "gitlab.com", "bitbucket.org", "codeberg.org"),
    *("sr.ht", "pypi.org", "anaconda.org", "huggingface.co", "hf.co", "mybinder.org"),
)
SITES = (  # such a place has its owner's or its own name in front
    *("github.io", "gitlab.io", "codeberg.page", "readthedocs.io", "readthedocs.org", "rtfd.io"),
    *("pages.dev", "netlify.app", "vercel.app", "hf.space", "streamlit.app"),
)
ON_HOST = re.compile(rf"({'|'.join(map(re.escape, HOSTS))})(?::\d+)?[:/]~?({OWNER})/([\w.-]*\w)")
ON_SITE = re.compile(rf"({OWNER})\.({'|'.join(map(re.escape, SITES))})\b")
IN_COLAB = re.compile(rf"colab\.research\.google\.com/github/({OWNER})/([\w.-]*\w)")
# Other people's, and what stands for the reader's own.
CITED = {"github.com/crowsonkb/k-diffusion", "huggingface.co/docs/diffusers"}
CITED |= {"github.com/owner/name", "owner.github.io"}


def places(text: str) -> set[str]:
    """All that are not cited, such as ``github.com/owner/name`` and ``owner.github.io``."""
    text = text.lower()
    if not any(name in text for name in (*HOSTS, *SITES, "colab.research.google.com")):
        return set()  # most notebooks, whose pictures would take long
    found = {"/".join(part).removesuffix(".git") for part in ON_HOST.findall(text)}
    found |= {f"github.com/{owner}/{name}" for owner, name in IN_COLAB.findall(text)}
    found |= {".".join(part) for part in ON_SITE.findall(text)}
    return found - CITED
