"""Web servers for the pages that are measured, and the visitors who ask for them."""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import socket
import time

from tests.harness.processes import Process
from tests.harness.waiting import wait_until

from .contenders import ROOT


@contextlib.contextmanager
def serving(python: str, *command: str, **variables: str) -> cabc.Iterator[int]:
    """The port of a web server that runs meanwhile.

    :param python: the interpreter of its environment.
    :param command: the module that is the server, and its options.
    :param variables: what the pages find in their environment.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        fd = listener.fileno()
        parts = [python, "-m", *command, f"--bind=fd://{fd}", "--log-level=warning"]
        environment = {"PYTHONDONTWRITEBYTECODE": None, **variables}
        with Process(parts, env=environment, cwd=ROOT, pass_fds=[fd]) as process:
            port: int = listener.getsockname()[1]
            listener.close()

            def answers() -> bool:
                if not process.running:
                    raise AssertionError(f"It ended: {process!r}")
                return visit(port, "/") > 0

            wait_until(answers, 30.0, lambda: repr(process), ignoring=(OSError,))
            yield port


def visit(port: int, path: str) -> float:
    """The seconds that one request takes, on a connection of its own."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    duration = time.perf_counter() - start
    if not response.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"{path}: {response!r:.2000}")
    return duration


def visitors(port: int, path: str, *, number: int, seconds: float) -> tuple[float, float]:
    """Requests per second, and the 99th percentile of their times: of so many visitors who ask again and again."""

    def ask(_: int) -> list[float]:
        times: list[float] = []
        while time.perf_counter() < end:
            times.append(visit(port, path))
        return times

    with concurrent.futures.ThreadPoolExecutor(number) as executor:
        start = time.perf_counter()
        end = start + seconds
        times = sorted(each for some in executor.map(ask, range(number)) for each in some)
        duration = time.perf_counter() - start
    return len(times) / duration, times[int(len(times) * 0.99)]
