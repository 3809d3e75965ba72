"""Work that outlives a consumer's crash: a stream, and a command that consumes it.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/streams run
flask --app examples/recipes/streams consume one
"""

from __future__ import annotations

import contextlib
import os
import typing as t

import click
from flask import Flask
from flask import request
from redis.exceptions import ResponseError

from flask_redis import Redis

redis = Redis()


def create_app() -> Flask:
    """An application that takes orders, and the command that ships them."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    app.config["REDIS_DECODE_RESPONSES"] = True
    redis.init_app(app)

    @app.post("/orders")
    def order() -> tuple[str, int]:
        redis.xadd("orders", {"item": request.form["item"]}, maxlen=100_000)
        return "", 202

    @app.cli.command("consume")
    @click.argument("consumer")
    def consume(consumer: str) -> None:
        """Ship orders until Ctrl-C. Each consumer that runs has a name of its own."""
        with contextlib.suppress(ResponseError):  # the group is there already
            redis.xgroup_create("orders", "shipping", id="0", mkstream=True)
        position = "0"  # first what this consumer has read, and not acknowledged before it died
        while True:
            found: t.Any = redis.xreadgroup("shipping", consumer, {"orders": position}, count=10, block=2000)
            entries = dict(found).get("orders", [])
            for entry_id, fields in entries:
                click.echo(f"Shipped {fields}")
                redis.xack("orders", "shipping", entry_id)
            if not entries:
                position = ">"  # then what is new

    return app
