"""A site of small pages, published by ``.ci/publish`` to a repository of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from chapters import ROOT


def run(*command: object, folder: Path = ROOT) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Published:
    """A clone with a build in it, and the bare repository that it publishes to."""

    clone: Path
    remote: Path

    @property
    def html(self) -> Path:
        """Where the build is."""
        return self.clone / "_build/html"

    @property
    def site(self) -> Path:
        """All that was published, as Pages serves it."""
        return self.clone / "_build/site"

    def publish(self, edition: str, text: str) -> None:
        """Publish a build whose pages say ``text``."""
        for name in ("_sources/page.ipynb", "index.html", "search.html", "searchindex.js"):
            file = self.html / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (self.html / "404.html").write_bytes((ROOT / "book/_extra/404.html").read_bytes())
        run(self.clone / ".ci/publish", edition, folder=self.clone)

    def there(self, path: str) -> str:
        """A file of the published branch."""
        return run("git", "show", f"gh-pages:{path}", folder=self.remote)


def published(folder: Path) -> Published:
    """A site in an empty folder, with nothing published yet."""
    made = Published(folder / "clone", folder / "origin.git")
    run("git", "init", "-q", "--bare", made.remote)
    run("git", "init", "-q", made.clone)
    run("git", "remote", "add", "origin", made.remote, folder=made.clone)
    for name, value in (("user.name", "a"), ("user.email", "a@b.c")):
        run("git", "config", name, value, folder=made.clone)
    (made.clone / ".ci").mkdir()
    script = made.clone / ".ci/publish"
    script.write_bytes((ROOT / ".ci/publish").read_bytes())
    script.chmod(0o755)
    return made
