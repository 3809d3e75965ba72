"""Jobs in the background, with Flask-RQ.

pip install Flask-RQ 'Flask-And-Redis[embedded]'
flask --app examples/recipes/flask_rq_jobs run
flask --app examples/recipes/flask_rq_jobs rq worker
"""

from __future__ import annotations

import os
import typing as t

from flask import abort
from flask import Flask
from flask import request
from flask_rq import RQ

from flask_redis import Redis

redis = Redis()
rq = RQ()


@rq.job
def count_words(text: str) -> int:
    """A job. It runs in the worker, and has an application context there."""
    words = len(text.split())
    redis.incrby("words", words)
    return words


def create_app() -> Flask:
    """An application whose jobs are in its Redis."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://flask_rq_jobs")
    redis.init_app(app)
    pool = app.extensions["redis"]["REDIS"].connection_pool
    app.config["RQ_CONNECTION"] = {"connection_pool": pool}
    rq.init_app(app)

    @app.post("/texts")
    def add() -> tuple[dict[str, t.Any], int]:
        job = count_words.enqueue(request.get_data(as_text=True))
        return {"id": job.id}, 202

    @app.get("/texts/<job_id>")
    def result(job_id: str) -> dict[str, t.Any]:
        job = rq.queue.fetch_job(job_id) or abort(404)
        return {"status": job.get_status(), "words": job.return_value()}

    return app
