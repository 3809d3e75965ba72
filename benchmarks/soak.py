"""A million commands of 64 threads on one extension: no reply may go to another than the one who asked.

    python -m benchmarks.soak [commands]

It runs where the tests do, starts a server of its own, takes some minutes, and ends with status 1 if a reply was wrong,
or if connections are left behind.
"""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import gc
import importlib.metadata
import os
import platform
import sys
import time
import tracemalloc
import typing as t

import flask
import redis as redis_py
from flask import copy_current_request_context
from flask import Flask
from tests.harness.servers import Server

from flask_redis import Redis

THREADS = 64
COMMANDS = 1_000_000
#: The commands of one round.
ROUND = 16


def play(redis: Redis, name: str, number: int) -> list[tuple[t.Any, t.Any]]:
    """One round of commands: each reply with what it should be."""
    value = f"{flask.request.path} {name} {number} " + "x" * (number % 50) * 100
    pipeline: t.Any = redis.pipeline()
    pipeline.set(name, value).get(name).echo(value).incr(f"count:{name}").lrange(f"list:{name}", 0, -1)
    pipeline.hset(f"hash:{name}", mapping={"value": value, "number": number}).hgetall(f"hash:{name}")
    fields = {"value": value, "number": str(number)}
    found: list[tuple[t.Any, t.Any]] = [
        (pipeline.execute(), [True, value, value, number + 1, [], 0 if number else 2, fields]),
        (redis.get(name), value),
        (redis.mget(name, f"count:{name}"), [value, str(number + 1)]),
        (redis.rpush(f"list:{name}", value), 1),
        (redis.blpop([f"list:{name}"], 10), (f"list:{name}", value)),
        (redis.eval("return {KEYS[1], ARGV[1]}", 1, name, value), [name, value]),
        (redis.sadd(f"set:{name}", value), 1),
        (redis.sismember(f"set:{name}", value), 1),
        (redis.delete(f"set:{name}"), 1),
    ]
    with contextlib.suppress(redis_py.ResponseError):
        found.append((redis.incr(f"hash:{name}"), "an error"))
    return found


def main(commands: int) -> int:
    """Run, print, and return the exit status."""
    app = Flask("soak")
    wrong: list[tuple[t.Any, t.Any]] = []
    rounds = -(-commands // (THREADS * ROUND))
    with Server() as server, server.client() as console:
        app.config.update(REDIS_URL=server.url, REDIS_DECODE_RESPONSES=True)
        redis = Redis(app)

        def work(name: str) -> None:
            for number in range(rounds):
                wrong.extend(pair for pair in play(redis, name, number) if pair[0] != pair[1])

        def run(names: cabc.Iterable[str]) -> None:
            with app.test_request_context("/soak"), concurrent.futures.ThreadPoolExecutor(THREADS) as executor:
                for future in [executor.submit(copy_current_request_context(work), name) for name in names]:
                    future.result()

        started = time.monotonic()
        run(map(str, range(THREADS)))
        duration = time.monotonic() - started
        processed: t.Any = console.info("stats")["total_commands_processed"]
        open_connections = len(t.cast("list[t.Any]", console.client_list())) - 1
        redis.close()
        left = len(t.cast("list[t.Any]", console.client_list())) - 1
        rounds = 2
        tracemalloc.start()
        sizes: list[int] = []
        for step in range(3):
            run(f"{step}-{number}" for number in range(THREADS))
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    names = ("Flask-And-Redis", "redis", "hiredis")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.machine()}")
    print(f"{processed:,} commands of {THREADS} threads in {duration:.0f} s, {processed / duration:,.0f} a second")
    print(f"replies that were not those expected: {len(wrong)}")
    print(f"connections: {open_connections}; after close(): {left}")
    print(f"memory from one run to the next: {(sizes[2] - sizes[1]) / 1024:+.0f} KiB")
    for pair in wrong[:5]:
        print(f"  {pair[0]!r:.200} instead of {pair[1]!r:.200}")
    return int(bool(wrong) or left > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else COMMANDS))
