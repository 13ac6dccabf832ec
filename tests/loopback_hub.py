"""A model hub on loopback: the part of the hub's protocol that ``huggingface_hub`` speaks.

A repository is a folder ``OWNER/NAME``, or ``datasets/OWNER/NAME``; any other path is a plain file
of the folder, as on a web server. Files from ``LARGE`` bytes on are stored "large": their ETag is
their SHA-256, which the listing tells, too. Faults can be set for each file, or repository.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "0" * 39 + "1"
LARGE = 4096
Fault = str  # "interrupted", "truncated", "damaged", "missing"; a repository: "refused"


@cache
def sha256(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(path: Path) -> str:
    return sha256(path, path.stat().st_mtime_ns)


def is_large(path: Path) -> bool:
    return path.stat().st_size >= LARGE


def blob(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        folder: what it serves.
        faults: what goes wrong, by path: that of a file below the folder, or of a repository.
        served: how many bytes of each file went out.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder.resolve()
        self.faults: dict[str, Fault] = {}
        self.served: Counter[str] = Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no fault of the server; all else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub that serves a folder."""
    hub = Hub(folder)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[0] == "api":
            return self.api(parts[1:])
        if "resolve" in parts:
            at = parts.index("resolve")
            return self.file("/".join(parts[:at]), "/".join(parts[at + 2 :]))
        return self.file("", "/".join(parts))

    do_HEAD = do_POST = do_GET  # noqa: N815 - names of the standard library

    def reply(self, body: bytes, code: int = 200, head: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(head or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, code: int = 200, error: str = "") -> None:
        head = {"Content-Type": "application/json"} | ({"X-Error-Code": error} if error else {})
        self.reply(json.dumps(value).encode(), code, head)

    def refused(self, repository: str) -> bool:
        """Answer as the hub does where a repository is not there."""
        if not (self.server.folder / repository).is_dir():
            self.json({"error": "Repository not found"}, 404, "RepoNotFound")
            return True
        return False

    def gated(self, repository: str) -> bool:
        """Whether a repository is not for everyone, though its listing is."""
        return self.server.faults.get(repository) == "refused"

    def no_access(self) -> None:
        self.json({"error": "Access to model is restricted"}, 403, "GatedRepo")

    def api(self, parts: list[str]) -> None:
        """What a repository holds: ``api/models/OWNER/NAME[/revision/main]``, or its tree."""
        kind, name, rest = parts[0], "/".join(parts[1:3]), parts[3:]
        repository = name if kind == "models" else f"{kind}/{name}"
        if self.refused(repository):
            return
        base = self.server.folder / repository
        if rest and rest[0] == "auth-check":
            return self.no_access() if self.gated(repository) else self.json({})
        files = [path for path in sorted(base.rglob("*")) if path.is_file()]
        if rest and rest[0] == "tree":
            return self.json([listed(path, base) | {"type": "file"} for path in files])
        siblings = [{**listed(p, base), "rfilename": p.relative_to(base).as_posix()} for p in files]
        times = dict.fromkeys(("lastModified", "createdAt"), "2025-01-01T00:00:00.000Z")
        flags = {"private": False, "disabled": False, "gated": self.gated(repository)}
        counts = {"downloads": 0, "likes": 0, "tags": []}
        info = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
        self.json({**info, **times, **flags, **counts})

    def file(self, repository: str, name: str) -> None:
        """A file, whole or from a byte on."""
        if repository and self.refused(repository):
            return
        if self.gated(repository):
            return self.no_access()
        where = f"{repository}/{name}".strip("/")
        path, fault = self.server.folder / where, self.server.faults.get(where)
        if not path.is_file() or fault == "missing":
            return self.json({"error": "Entry not found"}, 404, "EntryNotFound")
        data, large = path.read_bytes(), is_large(path)
        head = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        head["ETag"] = f'"{digest(path) if large else blob(path)}"'
        if large:
            head |= {"X-Linked-ETag": head["ETag"], "X-Linked-Size": str(len(data))}
        if not repository:  # as servers of files do
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            head["Content-MD5"] = base64.b64encode(md5).decode()
        if fault == "damaged":
            data = bytes(255 - byte for byte in data)
        start, code = self.start(), 200
        if start:
            code, head["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        if self.command == "HEAD":
            return self.reply(body, code, head)
        if fault == "interrupted":  # once the line breaks half-way
            del self.server.faults[where]
            head |= {"Content-Length": str(len(body)), "Connection": "close"}
            self.close_connection = True
        if fault in ("interrupted", "truncated"):  # something between us and it cuts the file
            body = body[: len(body) // 2]
        self.server.served[where] += len(body)
        self.reply(body, code, head)

    def start(self) -> int:
        """The first byte that is asked for."""
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        return int(asked.split("-")[0] or 0)


def listed(path: Path, base: Path) -> dict[str, Any]:
    """A line of a listing."""
    size, large = path.stat().st_size, is_large(path)
    line = {"path": path.relative_to(base).as_posix(), "size": size, "oid": blob(path)}
    lfs = {"oid": digest(path), "sha256": digest(path), "size": size, "pointerSize": 134}
    return {**line, "blobId": line["oid"]} | ({"lfs": lfs} if large else {})
