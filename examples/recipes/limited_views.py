"""Views with a rate limit, with Flask-Limiter.

pip install Flask-Limiter 'Flask-And-Redis[embedded]'
flask --app examples/recipes/limited_views run
"""

from __future__ import annotations

import os

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_redis import Redis

redis = Redis()
# The scheme says which kind of storage it is. Where that is comes from the connection pool.
limiter = Limiter(get_remote_address, storage_uri="redis://")


def create_app() -> Flask:
    """An application whose limits are counted in its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)
    pool = app.extensions["redis"]["REDIS"].connection_pool
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": pool}
    limiter.init_app(app)

    @app.get("/")
    @limiter.limit("5 per minute")
    def index() -> str:
        return "Five times a minute, and not more"

    return app
