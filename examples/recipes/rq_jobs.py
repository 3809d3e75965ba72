"""Jobs in the background, with RQ.

pip install rq 'Flask-And-Redis[embedded]'
flask --app examples/recipes/rq_jobs run
flask --app examples/recipes/rq_jobs worker
"""

from __future__ import annotations

import os
import typing as t

import click
from flask import abort
from flask import Flask
from flask import request
from rq import Queue
from rq import Worker

from flask_redis import Redis

redis = Redis()
queue = Queue(connection=redis)


def count_words(text: str) -> int:
    """A job. It runs in the worker, and has an application context there."""
    words = len(text.split())
    redis.incrby("words", words)
    return words


def create_app() -> Flask:
    """An application whose jobs are in its Redis, and the command that does them."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://rq_jobs")
    redis.init_app(app)

    @app.post("/texts")
    def add() -> tuple[dict[str, t.Any], int]:
        job = queue.enqueue(count_words, request.get_data(as_text=True))
        return {"id": job.id}, 202

    @app.get("/texts/<job_id>")
    def result(job_id: str) -> dict[str, t.Any]:
        job = queue.fetch_job(job_id) or abort(404)
        return {"status": job.get_status(), "words": job.return_value()}

    @app.cli.command("worker")
    @click.option("--burst", is_flag=True, help="Stop when there is nothing to do.")
    def worker(burst: bool) -> None:
        Worker([queue]).work(burst=burst)

    return app
