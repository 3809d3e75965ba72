"""The applications whose pages send one command each, with and without asyncio."""

from __future__ import annotations

import os
import typing as t

from flask import Flask

from flask_redis import AsyncRedis
from flask_redis import Redis


def flask_app() -> Flask:
    """Flask's pages."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ["BENCHMARK_URL"]
    redis, async_redis = Redis(app), AsyncRedis(app)

    @app.get("/sync")
    def sync() -> str:
        return str(redis.incr("hits"))

    @app.get("/async")
    async def in_loop() -> str:
        return str(await async_redis.incr("hits"))

    @app.get("/")
    @app.get("/sync/bare")
    def sync_bare() -> str:
        return "1"

    @app.get("/async/bare")
    async def in_loop_bare() -> str:
        return "1"

    return app


def quart_app() -> t.Any:
    """Quart's pages."""
    from quart import Quart

    app = Quart(__name__)
    app.config["REDIS_URL"] = os.environ["BENCHMARK_URL"]
    redis = AsyncRedis(app)

    @app.get("/quart")
    async def in_loop() -> str:
        return str(await redis.incr("hits"))

    @app.get("/")
    @app.get("/quart/bare")
    async def in_loop_bare() -> str:
        return "1"

    return app
