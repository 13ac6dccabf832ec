"""Where the repository and its site are: from the environment of the build, or from git.

No file of the repository holds an address of it. ``INVLIB_REPOSITORY`` gives it, such as
``https://github.com/OWNER/NAME``, by default the remote ``origin`` does; ``INVLIB_SITE`` is where
the book will be read, and ``INVLIB_EDITION`` the folder of the site that this build is for, such as
``latest`` or the name of a tag. Only the standard library is needed: ``setup.py`` reads it, too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
BRANCH = "gh-pages"  # holds the site: one folder for each edition, see .ci/publish
WEB = re.compile(r"https://[\w.-]+(/[\w.~-]+){2,}")
REMOTE = re.compile(r"(?:(?:https|ssh)://)?(?:[^@/]+@)?([\w-]+(?:\.[\w-]+)+)(?::\d+)?[:/](.+)")


@dataclass(frozen=True)
class Address:
    """Where a build will be found; what is not known is empty.

    Attributes:
        repository: such as ``https://github.com/OWNER/NAME``.
        site: with a slash at its end.
        edition: folder of the site.
        revision: tag or commit of the repository.
    """

    repository: str = ""
    site: str = ""
    edition: str = ""
    revision: str = ""

    @property
    def host(self) -> str:
        """Such as ``github.com``."""
        return self.repository.split("/")[2] if self.repository else ""

    @property
    def book(self) -> str:
        """Where the pages of this build are."""
        return f"{self.site}{self.edition}/" if self.site and self.edition else self.site

    @property
    def source(self) -> str:
        """What pip installs this very version from."""
        if not (self.repository and self.revision):
            return ""
        return f"git+{self.repository}@{self.revision}"

    @property
    def notebooks(self) -> str:
        """Where Colab finds the published notebooks: a folder of the branch of the site."""
        return f"{self.edition}/_sources" if self.edition and self.host == "github.com" else ""


def address(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> Address:
    """The address that the environment of a build gives, or the remote of a clone.

    Args:
        environment: variables; an empty ``INVLIB_REPOSITORY`` means that there is none.
        root: folder of the repository.

    Raises:
        ValueError: if a variable holds something else.
    """
    repository = environment.get("INVLIB_REPOSITORY")
    if repository is None:
        repository = web(git(root, "remote", "get-url", "origin"))
    repository = repository.rstrip("/")
    if repository and not WEB.fullmatch(repository):
        raise ValueError(
            f"INVLIB_REPOSITORY is {repository!r}; give an address such as "
            "https://github.com/OWNER/NAME, or nothing"
        )
    site = environment.get("INVLIB_SITE", "")
    if site and not re.fullmatch(r"https?://\S+", site):
        raise ValueError(f"INVLIB_SITE is {site!r}; give an address that starts with https://")
    edition = environment.get("INVLIB_EDITION", "")
    if not re.fullmatch(r"[\w.-]*", edition):
        raise ValueError(f"INVLIB_EDITION is {edition!r}; give one name, such as latest or a tag")
    revision = ""
    if repository:
        revision = git(root, "describe", "--tags", "--exact-match") or git(
            root, "rev-parse", "HEAD"
        )
    return Address(repository, site and f"{site.rstrip('/')}/", edition, revision)


def web(remote: str) -> str:
    """The address of a remote in a browser; empty for a folder of this machine."""
    found = REMOTE.fullmatch(remote)
    if not found:
        return ""
    where = f"https://{found[1]}/{found[2].strip('/').removesuffix('.git')}"
    return where if WEB.fullmatch(where) else ""


def git(root: Path, *command: str) -> str:
    """What git says of a repository; nothing where the folder is none, or part of another."""

    def run(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        except OSError:  # no git
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    top = run("rev-parse", "--show-toplevel")
    return run(*command) if top and Path(top) == root.resolve() else ""


def citation(record: str, where: Address) -> str:
    """A citation file of which one knows where its work is found.

    Args:
        record: the text of ``CITATION.cff``.
        where: the address; without one the text stays as it is.
    """
    lines = {"repository-code": where.repository, "url": where.book}
    known = "".join(f'{name}: "{value}"\n' for name, value in lines.items() if value)
    return re.sub(r"^(?=license: )", lambda _: known, record, count=1, flags=re.MULTILINE)
