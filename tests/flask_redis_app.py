"""An application as somebody wrote it for the flask-redis package 0.4: nothing in it is of Flask-And-Redis.

    python tests/flask_redis_app.py redis://localhost:6379

It prints what it sees. ``test_compat`` runs it with this package; with flask-redis it prints the same.
"""

from __future__ import annotations

import json
import sys
import typing as t

import redis
from flask import current_app
from flask import Flask

from flask_redis import FlaskRedis
from flask_redis.client import FlaskRedis as FromItsModule

server = sys.argv[1]
seen: dict[str, t.Any] = {}

# With the constructor, and keyword arguments for the client.
app = Flask("visits")
app.config["REDIS_URL"] = f"{server}/1"
redis_client = FlaskRedis(app, decode_responses=True)


@app.route("/")
def visits() -> str:
    """Count the visits."""
    return f"Visit number {redis_client.incr('visits')}"


browser = app.test_client()
seen["constructor"] = [browser.get("/").text for _ in range(2)]
seen["outside of a context"] = redis_client.get("visits")
seen["attribute"] = redis_client.connection_pool.connection_kwargs["db"]
with redis_client.pipeline() as pipe:
    pipe.set("a", "1")
    pipe.get("a")
    seen["pipeline"] = pipe.execute()

# Mapping style.
redis_client["potato"] = "fried"
seen["mapping"] = redis_client["potato"]
del redis_client["potato"]
try:
    seen["missing"] = redis_client["potato"]
except KeyError:
    seen["missing"] = "KeyError"

# With a factory, and two prefixes.
sessions = FlaskRedis(config_prefix="SESSIONS")
cache = FlaskRedis(strict=False, config_prefix="PAGES", encoding="utf-8", socket_timeout=5)


def create_app(number: int) -> Flask:
    """Make an application with two databases of its own."""
    app = Flask("shop")
    app.config["SESSIONS_URL"] = f"{server}/{number}"
    app.config["SESSIONS_HOST"] = "nowhere.invalid"
    app.config["SESSIONS_DB"] = "none"
    app.config["PAGES_URL"] = f"{server}/{number + 1}"
    sessions.init_app(app)
    cache.init_app(app, decode_responses=True)
    return app


shop = create_app(2)
with shop.app_context():
    sessions.set("who", "anna")
    cache.set("page", "<h1>")
    seen["factory"] = [repr(sessions.get("who")), cache.get("page"), sessions.get("page")]
    seen["extensions"] = current_app.extensions["sessions"] is sessions and current_app.extensions["pages"] is cache
seen["last application"] = repr(sessions.get("who"))
create_app(4)
seen["next application"] = [sessions.get("who"), sessions.connection_pool.connection_kwargs["db"]]
seen["config"] = [shop.config["SESSIONS_HOST"], shop.config["SESSIONS_DB"], "PAGES_HOST" in shop.config]
seen["in extensions"] = app.extensions["redis"] is redis_client
redis_client.init_app(app)
seen["twice"] = redis_client.get("visits")

# Two of one prefix: the one for text, the other for pictures.
pictures = FlaskRedis(app, True, "REDIS")
seen["two of one prefix"] = [repr(pictures.get("visits")), redis_client.get("visits")]
seen["the later one"] = app.extensions["redis"] is pictures

# The default URL.
unset = FlaskRedis(Flask("unset")).connection_pool.connection_kwargs
seen["default"] = [unset.get("host", "localhost"), unset.get("port", 6379), unset["db"]]


# With a provider of its own: a subclass of redis-py's client, and something else altogether.
class Shouting(redis.Redis):
    """A client with a command of its own."""

    def shout(self, name: str) -> str:
        """Return the value in capitals."""
        return str(self.get(name)).upper()


class Notes:
    """No Redis at all."""

    def __init__(self, url: str, **kwargs: t.Any) -> None:
        self.notes = {"url": url.rpartition("/")[2], "kwargs": kwargs}

    @classmethod
    def from_url(cls, url: str, **kwargs: t.Any) -> Notes:
        """What flask-redis asks of a provider."""
        return cls(url, **kwargs)

    def get(self, name: str) -> t.Any:
        """Return a note."""
        return self.notes[name]


shouting: t.Any = FlaskRedis.from_custom_provider(Shouting, app, decode_responses=True)
seen["provider"] = shouting.shout("a") + repr(type(shouting._redis_client).__name__)
notes: t.Any = FlaskRedis.from_custom_provider(Notes, config_prefix="NOTES", size=3)
app.config["NOTES_URL"] = "notes://somewhere/else"
seen["before init_app"] = notes._redis_client
notes.init_app(app, color="blue")
seen["no Redis"] = [notes.get("url"), notes.get("kwargs"), notes.notes["url"]]
seen["names"] = [notes.provider_class.__name__, notes.provider_kwargs, notes.config_prefix]
seen["module"] = FromItsModule is FlaskRedis

print(json.dumps(seen, indent=1))  # noqa: T201
