"""How the client of each contender is made. Runs in every environment, so it imports what it finds there."""

from __future__ import annotations

import importlib
import socket
import typing as t
import urllib.parse

from flask import Flask


def application(kind: str, url: str, **config: t.Any) -> tuple[Flask, t.Any]:
    """A Flask application and the client of a *kind* that it uses, as that kind's documentation makes them.

    :param url: that of the server, ``redis://…`` or ``unix://…``.
    :param config: configuration beside the URL: the keys without ``REDIS_``.
    """
    if kind == "Redis with a circuit breaker":
        kind, config = "Redis", {**config, "CIRCUIT_BREAKER": True}
    app = Flask("benchmark")
    # Version 1.0 knows a Unix socket as a host only.
    path = url.startswith("unix://") and kind == "Redis"
    app.config["REDIS_HOST" if path else "REDIS_URL"] = url[len("unix://") :] if path else url
    app.config.update({f"REDIS_{name}": value for name, value in config.items()})
    if kind == "bare socket":
        return app, BareSocket(url)
    if kind == "redis-py":
        return app, importlib.import_module("redis").Redis.from_url(url)
    if kind == "redis-py by keywords":
        parts = urllib.parse.urlsplit(url)
        return app, importlib.import_module("redis").Redis(host=parts.hostname, port=parts.port)
    # Redis or FlaskRedis.
    return app, getattr(importlib.import_module("flask_redis"), kind)(app)


class BareSocket:
    """The floor: a socket that sends what redis-py sends, and reads exactly the reply without looking at it."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(parts.path)
        else:
            self._socket = socket.create_connection((parts.hostname, parts.port or 6379))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        redis: t.Any = importlib.import_module("redis")
        self._connection = redis.Connection()
        self._console = redis.Redis.from_url(url)
        self._known: dict[tuple[t.Any, ...], tuple[bytes, memoryview]] = {}

    def get(self, *args: t.Any) -> None:
        """GET."""
        self._send("GET", *args)

    def lrange(self, *args: t.Any) -> None:
        """LRANGE."""
        self._send("LRANGE", *args)

    def _send(self, *args: t.Any) -> None:
        if args not in self._known:
            request = b"".join(self._connection.pack_command(*args))
            length = _length(self._console.execute_command(*args))
            self._known[args] = request, memoryview(bytearray(length))
        request, buffer = self._known[args]
        self._socket.sendall(request)
        received = 0
        while received < len(buffer):
            received += self._socket.recv_into(buffer[received:])


def _length(reply: t.Any) -> int:
    """The number of bytes of a reply on the wire."""
    head = len(f"${len(reply)}\r\n")
    return head + (sum(map(_length, reply)) if isinstance(reply, list) else len(reply) + len("\r\n"))
