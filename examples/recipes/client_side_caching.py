"""A view's data in the memory of the process, for as long as nobody changes it in Redis. Needs Redis 7.4 or later.

pip install 'redis>=5.1' Flask-And-Redis
export REDIS_URL=redis://localhost:6379/0
flask --app examples/recipes/client_side_caching run
"""

from __future__ import annotations

import os
import typing as t

from flask import Flask
from flask import request
from redis.cache import CacheConfig

from flask_redis import Redis

redis = Redis()


def create_app() -> Flask:
    """An application that reads most products without asking Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
    app.config["REDIS_DECODE_RESPONSES"] = True
    app.config["REDIS_PROTOCOL"] = 3
    app.config["REDIS_CACHE_CONFIG"] = CacheConfig(max_size=1000)
    redis.init_app(app)

    @app.get("/products/<int:number>")
    def product(number: int) -> t.Any:
        return redis.hgetall(f"product:{number}")

    @app.post("/products/<int:number>")
    def change(number: int) -> tuple[str, int]:
        redis.hset(f"product:{number}", mapping={"name": request.form["name"]})
        return "", 204

    return app
