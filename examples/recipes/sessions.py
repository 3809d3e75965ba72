"""Sessions on the server's side, with Flask-Session: the cookie holds an id, Redis the data.

pip install Flask-Session 'Flask-And-Redis[embedded]'
flask --app examples/recipes/sessions run
"""

from __future__ import annotations

import os

from flask import Flask
from flask import session
from flask_session import Session

from flask_redis import Redis

redis = Redis()


def create_app() -> Flask:
    """An application whose sessions are in its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    app.config["SESSION_TYPE"] = "redis"
    app.config["SESSION_REDIS"] = redis
    redis.init_app(app)
    Session(app)

    @app.get("/")
    def index() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return f"Your visit number {session['visits']}"

    return app
