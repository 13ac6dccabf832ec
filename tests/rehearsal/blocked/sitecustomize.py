"""No way out: sockets of every Python process that has this on its path lead to loopback only."""

import socket
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_connect, _resolve = socket.socket.connect, socket.getaddrinfo


def connect(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
        raise ConnectionRefusedError(f"blocked: {address[0]}")
    _connect(self, address)


def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
    if host not in (None, "", *LOOPBACK):
        raise socket.gaierror(f"blocked: {host}")
    return _resolve(host, *args, **kwargs)


socket.socket.connect = connect  # type: ignore[assignment, method-assign]
socket.getaddrinfo = resolve  # type: ignore[assignment]
