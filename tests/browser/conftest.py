"""The built book in a headless browser; run by ``make browser``, after the book is built."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page
from published import published

from invlib.reproduce.book import offline, pdf, web

from .looking import HTML, ROOT

PATIENCE = 120_000  # milliseconds: the page of all functions is long, and machines are busy


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log, and has a page for those who are lost."""

    lost: Path

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send_error(self, code: int, *_: object) -> None:
        """Send the site's own page."""
        page = self.lost.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)


@contextmanager
def served(folder: Path, lost: Path) -> Iterator[str]:
    """A server of a folder, and the page it has for all that is not there."""
    handler = type("Handler", (Quiet,), {"lost": lost})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the book is served."""
    with served(HTML, HTML / "404.html") as where:
        yield where


@pytest.fixture
def editions(tmp_path: Path) -> Iterator[str]:
    """Where a site of two editions is served as Pages does it: below the root of a server."""
    site = published(tmp_path)
    for edition in ("latest", "v1.2"):
        site.publish(edition, edition)
    (tmp_path / "server").mkdir()
    below = site.site.rename(tmp_path / "server" / "course")
    with served(below.parent, below / "404.html") as where:
        yield f"{where}/course"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Path:
    """A folder of this run, for what is made by one of its processes and used by all."""
    return tmp_path_factory.getbasetemp().parent / f"browser-{testrun_uid}"


@pytest.fixture(scope="session")
def unpacked(shared: Path) -> str:
    """Where the offline archive of the same build was unpacked to."""
    folder = shared / offline.FOLDER
    with FileLock(f"{shared}.disk"):
        if not folder.exists():
            offline.main(ROOT)
            with ZipFile(ROOT / offline.ARCHIVE) as archive:
                archive.extractall(shared)
    return folder.as_uri()


@pytest.fixture(scope="session")
def scripts(shared: Path) -> Path:
    """The folder of the scripts that these tests need, and no page of the book."""
    with FileLock(f"{shared}.scripts"):
        web.main(ROOT, "tests/browser/web.json", "tests/browser")
    return Path(__file__).parent


@pytest.fixture(scope="session")
def axe(scripts: Path) -> str:
    """The script of axe-core, which looks for what shuts readers out."""
    return (scripts / "axe" / "axe.min.js").read_text("utf-8")


@pytest.fixture(params=["site", "archive"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the book is read: from a server, or from a disk with the network cut."""
    found: str = request.getfixturevalue({"site": "address", "archive": "unpacked"}[request.param])
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: the one of this machine if there is one, else playwright's own."""
    with pdf.chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A reader who comes for the first time: an empty tab that remembers nothing."""
    places = {"place", "unpacked"} & set(request.fixturenames)
    local = any(request.getfixturevalue(name)[:5] == "file:" for name in places)
    context = browser.new_context(offline=local)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()
