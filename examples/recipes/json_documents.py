"""Lists, dicts, dates and UUIDs in Redis: as JSON.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/json_documents run
"""

from __future__ import annotations

import os
import typing as t

from flask import abort
from flask import Flask
from flask import json
from flask import jsonify
from flask import request

from flask_redis import Redis

redis = Redis()


def save(key: str, document: t.Any, seconds: int | None = None) -> None:
    """Keep a document, for so many seconds or for ever."""
    redis.set(key, json.dumps(document), ex=seconds)


def load(key: str) -> t.Any:
    """The document, or None if there is none."""
    found = redis.get(key)
    return None if found is None else json.loads(found)


def create_app() -> Flask:
    """An application that keeps documents for a day."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)

    @app.put("/documents/<name>")
    def put(name: str) -> tuple[str, int]:
        save(f"document:{name}", request.get_json(), seconds=24 * 60 * 60)
        return "", 204

    @app.get("/documents/<name>")
    def get(name: str) -> t.Any:
        document = load(f"document:{name}")
        return abort(404) if document is None else jsonify(document)

    return app
