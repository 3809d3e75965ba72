"""Views whose answers are kept for a while, with Flask-Caching.

pip install Flask-Caching 'Flask-And-Redis[embedded]'
flask --app examples/recipes/cached_views run
"""

from __future__ import annotations

import datetime
import os

from flask import Flask
from flask_caching import Cache

from flask_redis import Redis

redis = Redis()
# Where the name of a host is expected, Flask-Caching takes a client too.
cache = Cache(config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": redis})


def create_app() -> Flask:
    """An application whose cache is in its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)
    cache.init_app(app)

    @app.get("/")
    @cache.cached(timeout=60)
    def index() -> str:
        return f"Made at {datetime.datetime.now(datetime.timezone.utc)}, and kept for a minute"

    return app
