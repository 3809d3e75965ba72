"""Tasks in the background, with Celery. It takes a URL only, so this one needs a server that runs.

pip install celery Flask-And-Redis
export REDIS_URL=redis://localhost:6379/0
flask --app examples/recipes/celery_tasks run
flask --app examples/recipes/celery_tasks worker
"""

from __future__ import annotations

import os
import typing as t

from celery import Celery
from celery import shared_task
from celery import Task
from flask import Flask
from flask import request

from flask_redis import Redis

redis = Redis()


@shared_task
def count_words(text: str) -> int:
    """A task. It runs in the worker, and has an application context there."""
    words = len(text.split())
    redis.incrby("words", words)
    return words


def make_celery(app: Flask) -> Celery:
    """Celery on the application's Redis."""

    class FlaskTask(Task):
        def __call__(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    url = app.config["REDIS_URL"]
    celery = Celery(app.name, broker=url, backend=url, task_cls=FlaskTask)
    celery.set_default()
    return celery


def create_app() -> Flask:
    """An application whose tasks are in its Redis, and the command that does them."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
    redis.init_app(app)
    app.extensions["celery"] = celery = make_celery(app)

    @app.post("/texts")
    def add() -> tuple[dict[str, t.Any], int]:
        task = count_words.delay(request.get_data(as_text=True))  # pyright: ignore[reportFunctionMemberAccess]
        return {"id": task.id}, 202

    @app.get("/texts/<task_id>")
    def result(task_id: str) -> dict[str, t.Any]:
        found = celery.AsyncResult(task_id)
        return {"status": found.status, "words": found.result if found.successful() else None}

    @app.cli.command("worker")
    def worker() -> None:
        celery.worker_main(["worker"])

    return app
