"""News for every open page: pub/sub to server-sent events.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/events run
"""

from __future__ import annotations

import collections.abc as cabc
import os

from flask import Flask
from flask import json
from flask import request
from flask import Response
from flask import stream_with_context

from flask_redis import Redis

redis = Redis()


def listen() -> cabc.Iterator[str]:
    """The events of one reader. A comment every 15 seconds shows when the reader has left."""
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe("news")
        while True:
            message = pubsub.get_message(timeout=15)
            yield f"data: {message['data']}\n\n" if message else ": nothing new\n\n"


def create_app() -> Flask:
    """An application that passes on what comes in."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    app.config["REDIS_DECODE_RESPONSES"] = True
    redis.init_app(app)

    @app.get("/events")
    def events() -> Response:
        # A proxy that collects an answer before it sends it would never send this one.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return Response(stream_with_context(listen()), mimetype="text/event-stream", headers=headers)

    @app.post("/news")
    def publish() -> dict[str, int]:
        # As JSON it is one line, which is what an event wants.
        return {"readers": redis.publish("news", json.dumps(request.get_data(as_text=True)))}

    return app
