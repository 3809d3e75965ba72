"""The application whose pages read from Redis: served by gunicorn in the environment of each contender."""

from __future__ import annotations

import importlib
import os
import typing as t

from . import clients

config: dict[str, t.Any] = {}
if os.environ["BENCHMARK_WAY"] == "cached":
    config = {"PROTOCOL": 3, "CACHE_CONFIG": importlib.import_module("redis.cache").CacheConfig()}
app, redis = clients.application(os.environ["BENCHMARK_KIND"], os.environ["BENCHMARK_URL"], **config)


@app.route("/")
def index() -> str:
    """Answer without Redis."""
    return "ready"


@app.route("/each/<int:number>")
def each(number: int) -> str:
    """So many reads, one after the other."""
    return str(sum(len(redis.get(f"key:{key}")) for key in range(number)))


@app.route("/pipeline/<int:number>")
def pipeline(number: int) -> str:
    """So many reads in one round trip."""
    pipe = redis.pipeline(transaction=False)
    for key in range(number):
        pipe.get(f"key:{key}")
    return str(sum(map(len, pipe.execute())))
