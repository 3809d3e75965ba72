"""Web sockets of several processes, with Flask-SocketIO. It takes a URL only, so this one needs a server that runs.

pip install Flask-SocketIO Flask-And-Redis
export REDIS_URL=redis://localhost:6379/0
flask --app examples/recipes/socketio_chat run
flask --app examples/recipes/socketio_chat announce "Tea is ready"
"""

from __future__ import annotations

import os

import click
from flask import Flask
from flask_socketio import SocketIO

from flask_redis import Redis

redis = Redis()
socketio = SocketIO()


@socketio.on("say")
def say(text: str) -> None:
    """Tell everybody, whichever process they are connected to."""
    socketio.emit("said", {"number": redis.incr("messages"), "text": text})


def create_app() -> Flask:
    """An application whose message queue is its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
    redis.init_app(app)
    socketio.init_app(app, message_queue=app.config["REDIS_URL"])

    @app.cli.command("announce")
    @click.argument("text")
    def announce(text: str) -> None:
        say(text)

    return app
