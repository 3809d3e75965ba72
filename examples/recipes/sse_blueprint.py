"""Server-sent events, with Flask-SSE.

pip install Flask-SSE 'Flask-And-Redis[embedded]'
flask --app examples/recipes/sse_blueprint run
"""

from __future__ import annotations

import os
import typing as t

from flask import Flask
from flask import request
from flask_sse import ServerSentEventsBlueprint

from flask_redis import Redis

redis = Redis()


class EventStream(ServerSentEventsBlueprint):
    """Flask-SSE on the application's Redis. Its own property opens a connection of its own for each event."""

    @property
    def redis(self) -> t.Any:
        return redis


sse = EventStream("sse", __name__)
sse.add_url_rule("/events", view_func=sse.stream, endpoint="stream")


def create_app() -> Flask:
    """An application whose events go through its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)
    app.register_blueprint(sse)

    @app.post("/news")
    def publish() -> tuple[str, int]:
        sse.publish({"text": request.get_data(as_text=True)})
        return "", 204

    return app
