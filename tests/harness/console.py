"""The harness's own way to talk to a server: a bare connection, the same under every version of redis-py."""

from __future__ import annotations

import contextlib
import socket
import typing as t
from pathlib import Path

import redis


class Console:
    """One connection to a server's Unix socket. Replies come as the server gives them (RESP2), bytes as str.

    :param timeout: seconds that each answer may take.
    :param credentials: username and password.
    :raises redis.ConnectionError: if nobody is there; here and in calls.
    """

    def __init__(self, path: Path, *, timeout: float, credentials: tuple[str, str] | None = None) -> None:
        with contextlib.ExitStack() as stack, _redis_errors():
            self._socket = stack.enter_context(socket.socket(socket.AF_UNIX))
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
            self._replies = stack.enter_context(self._socket.makefile("rb"))
            if credentials:
                self("AUTH", *credentials)
            self._open = stack.pop_all()

    def __call__(self, *args: object) -> t.Any:
        """Send a command, and return its reply.

        :raises redis.ResponseError: if the server refuses it.
        :raises redis.TimeoutError: if there is no answer in time.
        """
        parts = [str(argument).encode() for argument in args]
        request = b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)])
        with _redis_errors():
            self._socket.sendall(request)
            return self._reply()

    def _reply(self) -> t.Any:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Connection closed by server.")
        kind, rest = line[:1], line[1:-2].decode(errors="replace")
        if kind == b"-":
            raise redis.ResponseError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._bulk(int(rest))
        if kind == b"*":
            return None if rest == "-1" else [self._reply() for _ in range(int(rest))]
        return rest

    def _bulk(self, size: int) -> str:
        data = self._replies.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("Connection closed by server.")
        return data[:-2].decode(errors="replace")

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


@contextlib.contextmanager
def _redis_errors() -> t.Generator[None, None, None]:
    try:
        yield
    except TimeoutError as error:
        raise redis.TimeoutError(str(error)) from error
    except OSError as error:
        raise redis.ConnectionError(str(error)) from error
