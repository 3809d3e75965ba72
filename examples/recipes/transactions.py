"""Read, decide, write, and nobody comes between: a transaction with WATCH.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/transactions run
"""

from __future__ import annotations

import os

from flask import Flask
from redis.client import Pipeline

from flask_redis import Redis

redis = Redis()


class NotEnoughError(Exception):
    """There is less money than that."""


def move(amount: int, sender: str, receiver: str) -> None:
    """Move money from one key to another.

    :raises NotEnoughError: if there is not enough.
    """

    # redis-py calls this again when somebody else has changed the sender's balance in between.
    def transaction(pipe: Pipeline) -> None:
        # A watching pipeline answers at once, until multi() says that what follows is to be done together.
        balance = int(pipe.get(sender) or 0)
        if balance < amount:
            raise NotEnoughError
        pipe.multi()
        pipe.decrby(sender, amount)
        pipe.incrby(receiver, amount)

    redis.transaction(transaction, sender)


def create_app() -> Flask:
    """A small bank."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)

    @app.put("/accounts/<name>/<int:balance>")
    def fill(name: str, balance: int) -> tuple[str, int]:
        redis.set(f"account:{name}", balance)
        return "", 204

    @app.post("/transfers/<int:amount>/<sender>/<receiver>")
    def transfer(amount: int, sender: str, receiver: str) -> tuple[str, int]:
        try:
            move(amount, f"account:{sender}", f"account:{receiver}")
        except NotEnoughError:
            return "Not enough", 409
        return "Done", 200

    return app
