"""The application that the tests of outages run in gunicorn, configured by the REDIS_ variables of the environment."""

from __future__ import annotations

import json
import os
import time
import typing as t

import flask
import redis as redis_py
from werkzeug.exceptions import InternalServerError

from flask_redis import Redis

app = flask.Flask("outages")
app.config.update({name: value for name, value in os.environ.items() if name.startswith("REDIS_")})
if "REDIS_CIRCUIT_BREAKER" in app.config:
    app.config["REDIS_CIRCUIT_BREAKER"] = json.loads(app.config["REDIS_CIRCUIT_BREAKER"])
redis = Redis(app)

if "USE_BEFORE_FORK" in os.environ:
    redis.set("used by", os.getpid())


@app.before_request
def start_the_clock() -> None:
    """Note when a thread of the worker takes the request up."""
    flask.g.started = time.monotonic()


@app.errorhandler(redis_py.RedisError)
def unavailable(error: redis_py.RedisError) -> tuple[str, int]:
    """What the application makes of an outage: the seconds that it took to notice, and the error."""
    return f"{time.monotonic() - flask.g.started:.3f} {type(error).__name__}: {error}", 503


@app.errorhandler(500)
def unexpected(error: InternalServerError) -> tuple[str, int]:
    """Any other error, for the test to show."""
    return repr(error.original_exception or error), 500


@app.route("/")
def index() -> str:
    """Answer without Redis, with this worker's process."""
    return str(os.getpid())


@app.route("/echo/<token>")
def echo(token: str) -> str:
    """The token, through the server and back, three times."""
    key = f"token:{token}"
    redis.set(key, token, ex=60)
    pipeline: t.Any = redis.pipeline()
    replies: list[t.Any] = [redis.get(key), *pipeline.get(key).echo(token).execute()]
    return " ".join(replies)


@app.route("/write/<token>")
def write(token: str) -> str:
    """Write the token, and answer with the port of the server that has acknowledged it."""
    pipeline: t.Any = redis.pipeline()
    _, info = pipeline.set(f"written:{token}", token).info("server").execute()
    return str(info["tcp_port"])
