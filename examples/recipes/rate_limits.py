"""So many requests a minute, and not more: a counter that expires.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/rate_limits run
"""

from __future__ import annotations

import os
import time

from flask import abort
from flask import Flask
from flask import request

from flask_redis import Redis

redis = Redis()


def within_limit(who: str, limit: int, seconds: int) -> bool:
    """Count a request, and say whether it is among the first *limit* of these *seconds*."""
    key = f"requests:{who}:{int(time.time()) // seconds}"
    with redis.pipeline() as pipe:
        pipe.incr(key)
        pipe.expire(key, seconds)
        count, _ = pipe.execute()
    return bool(count <= limit)


def create_app() -> Flask:
    """An application that answers each address five times a minute."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)

    @app.before_request
    def limit() -> None:
        if not within_limit(request.remote_addr or "", limit=5, seconds=60):
            abort(429)

    @app.get("/")
    def index() -> str:
        return "Five times a minute, and not more"

    return app
