"""One at a time, in all processes and on all machines: a lock.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/locks run
"""

from __future__ import annotations

import os
import time

from flask import Flask
from flask.typing import ResponseReturnValue

from flask_redis import Redis

redis = Redis()


def create_app() -> Flask:
    """An application that makes one report at a time."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)

    @app.post("/report")
    def report() -> ResponseReturnValue:
        # The timeout, in seconds, frees it if this process dies.
        lock = redis.lock("lock:report", timeout=60)
        if not lock.acquire(blocking=False):
            return "Somebody is at it already.", 409
        try:
            return make_report()
        finally:
            lock.release()

    return app


def make_report() -> str:
    """What takes its time."""
    time.sleep(2)
    return "The report"
