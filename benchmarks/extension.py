"""What the extension costs by itself: a forwarded command, init_app, and applications that come and go.

    python benchmarks/extension.py

Nothing here talks to a server. Absolute times say more about the machine than about the code: look at the differences
and ratios, which are taken in one run.
"""

from __future__ import annotations

import collections.abc as cabc
import gc
import importlib.metadata
import os
import platform
import statistics
import timeit
import tracemalloc
import typing as t

import redis as redis_py
from flask import Flask

from flask_redis import Redis

REPEATS = 15
APPS = 300


class Stub:
    """A client that does nothing."""

    def get(self, name: str) -> str:
        """Return the name."""
        return name


def per_call(*statements: cabc.Callable[[], t.Any], number: int) -> list[list[float]]:
    """The times of calling each statement, in seconds: interleaved, because machines have moods."""
    rounds = [
        [min(timeit.repeat(call, number=number, repeat=3)) / number for call in statements] for _ in range(REPEATS)
    ]
    return [list(times) for times in zip(*rounds, strict=True)]


def show(name: str, differences: cabc.Sequence[float], goal: str, unit: str) -> None:
    """Print a line: the median, the extremes and the goal."""
    low, median, high = min(differences), statistics.median(differences), max(differences)
    print(f"{name:58} {median:8.2f} {unit:4} (from {low:.2f} to {high:.2f}; goal: {goal})")


def make_app(**config: t.Any) -> Flask:
    """An application."""
    app = Flask("benchmark")
    app.config.update({f"REDIS_{key}": value for key, value in config.items()})
    return app


def forwarding() -> None:
    """What ``redis.get`` costs beside the client's own method."""
    app, stub = make_app(CLASS=Stub), Stub()
    inside, outside = Redis(), Redis(make_app(CLASS=Stub))
    inside.init_app(app)

    def direct() -> t.Any:
        return stub.get("key")

    with app.app_context():
        own, forwarded = per_call(direct, lambda: inside.get("key"), number=50_000)
    difference = [1e6 * (b - a) for a, b in zip(own, forwarded, strict=True)]
    show("redis.get inside an app context, more than the client's", difference, "at most 0.5", "µs")
    own, forwarded = per_call(direct, lambda: outside.get("key"), number=50_000)
    difference = [1e6 * (b - a) for a, b in zip(own, forwarded, strict=True)]
    show("redis.get outside of one, more than the client's", difference, "at most 0.5", "µs")


def init_app_time() -> None:
    """What ``init_app`` takes beside building the client alone."""
    redis = Redis()
    ratios: list[float] = []
    redis.init_app(make_app(HOST="localhost"))
    for _ in range(REPEATS):
        apps = [make_app(HOST="localhost") for _ in range(100)]
        alone = timeit.timeit(lambda: redis_py.Redis(host="localhost"), number=100)
        start = timeit.default_timer()
        for app in apps:
            redis.init_app(app)
        ratios.append((timeit.default_timer() - start) / alone)
    show("init_app, times building the client alone", ratios, "at most 2", "")


def init_app_memory() -> None:
    """The memory of an application's client beside that of the client alone."""
    redis = Redis()
    apps = [make_app(HOST="localhost") for _ in range(APPS)]
    redis.init_app(apps.pop())
    tracemalloc.start()
    gc.collect()
    start, _ = tracemalloc.get_traced_memory()
    clients = [redis_py.Redis(host="localhost") for _ in apps]
    gc.collect()
    middle, _ = tracemalloc.get_traced_memory()
    for app in apps:
        redis.init_app(app)
    gc.collect()
    end, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    more = ((end - middle) - (middle - start)) / len(clients) / 1024
    show("init_app, more memory for an app than the client alone", [more], "at most 8", "KiB")


def coming_and_going(number: int = 10_000) -> None:
    """Applications created and dropped, with the extension and without: Flask's own growth is not ours."""
    redis = Redis()

    def growth(use: cabc.Callable[[Flask], object]) -> tuple[float, int]:
        found: list[tuple[int, int]] = []
        for apps in (100, 100, number):
            for _ in range(apps):
                use(make_app(HOST="localhost"))
            gc.collect()
            found.append((tracemalloc.get_traced_memory()[0], len(os.listdir("/dev/fd"))))  # noqa: PTH208
        return (found[-1][0] - found[-2][0]) / 1024, found[-1][1] - found[-2][1]

    tracemalloc.start()
    without, with_extension = growth(bool), growth(redis.init_app)
    tracemalloc.stop()
    show(f"{number:,} apps created and dropped: memory", [with_extension[0]], f"Flask's alone, {without[0]:.1f}", "KiB")
    show(f"{number:,} apps created and dropped: open files", [with_extension[1]], "no growth", "")


if __name__ == "__main__":
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("Flask", "redis", "Flask-And-Redis"))
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.machine()}")
    forwarding()
    init_app_time()
    init_app_memory()
    coming_and_going()
