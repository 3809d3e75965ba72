"""An application as the documentation of Flask-And-Redis 1.0 showed how to write one: nothing in it is new in 2.0.

    python tests/version_1_app.py 127.0.0.1 6379 /run/redis.sock

It prints what it sees. ``test_moving`` runs it with this version; with version 1.0 it prints the same.
"""

from __future__ import annotations

import json
import sys
import typing as t

import redis as redis_py
from flask import current_app
from flask import Flask

from flask_redis import Redis

host, port, path = sys.argv[1:]
seen: dict[str, t.Any] = {}


def make_app(**config: t.Any) -> Flask:
    """An application with a configuration."""
    app = Flask("comments")
    app.config.update(config)
    return app


# The usual case.
app = make_app(REDIS_HOST=host, REDIS_PORT=port, REDIS_DB=0)
redis = Redis(app)
seen["usual"] = [redis.set("key", "value"), repr(redis.get("key")), redis.incr("hits")]
seen["attributes"] = [redis.app is app, redis.get_app() is app, redis.config_prefix]
seen["connection"] = redis.connection is app.extensions["redis"]["REDIS"]
seen["class"] = type(redis.connection).__name__
with redis.pipeline() as pipe:
    pipe.incr("hits")
    pipe.incr("hits")
    seen["pipeline"] = pipe.execute()

# Another connection, with a prefix and a URL.
app.config["REDIS2_URL"] = f"redis://{host}:{port}/1"
redis2 = Redis(app, "REDIS2")
redis2.set("key", "other")
seen["prefix"] = [repr(redis.get("key")), repr(redis2.get("key")), list(app.extensions["redis"])]
try:
    Redis(app, "REDIS2")
except ValueError as error:
    seen["taken"] = str(error)

# A factory, and several applications for one object.
shared = Redis()
apps = [make_app(CACHE_HOST=host, CACHE_PORT=int(port), CACHE_DB=number) for number in (2, 3)]
for number, each in enumerate(apps):
    shared.init_app(each, "CACHE")
    with each.app_context():
        shared.set("number", number)
for each in apps:
    with each.app_context():
        seen.setdefault("factory", []).append([repr(shared.get("number")), shared.get_app() is each])
with apps[0].test_request_context():
    seen["request"] = repr(current_app.extensions["redis"]["CACHE"].get("number"))
try:
    shared.get("number")
except RuntimeError:
    seen["outside of a context"] = "RuntimeError"

# Every argument of the client is a key, and what the URL states wins over the others.
settings = {
    "REDIS_URL": f"redis://{host}:{port}/4/",
    "REDIS_HOST": "nowhere.invalid",
    "REDIS_PORT": 1,
    "REDIS_DB": 5,
    "REDIS_SOCKET_TIMEOUT": 5,
    "REDIS_CHARSET": "latin-1",
    "REDIS_ERRORS": "replace",
    "REDIS_DECODE_RESPONSES": True,
}
app = make_app(**settings)
redis = Redis(app)
redis.set("letter", b"\xe4")
found = redis.connection.connection_pool.connection_kwargs
seen["keys"] = [redis.get("letter"), found["socket_timeout"], found["encoding_errors"], int(found["db"])]
seen["written back"] = [app.config["REDIS_HOST"] == host, app.config["REDIS_PORT"] == int(port)]

# Unix sockets, a connection pool, a password.
for name in ("UNIX_SOCKET_PATH", "HOST"):
    seen[name] = Redis(make_app(**{f"REDIS_{name}": path})).ping()
pool = redis_py.ConnectionPool(host=host, port=int(port), db=6)
seen["pool"] = Redis(make_app(REDIS_CONNECTION_POOL=pool)).connection.connection_pool is pool
redis = Redis(make_app(REDIS_URL=f"redis://:secret@{host}:{port}"))
seen["password"] = redis.connection.connection_pool.connection_kwargs["password"]


# A class of one's own, as it is and by its path, and with an argument of its own.
class Shop(redis_py.Redis):
    """A client."""

    def __init__(self, currency: str = "EUR", *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.currency = currency

    def price(self, name: str) -> str:
        """Return the price of something."""
        return f"{self.get(name)!r} {self.currency}"


shop: t.Any = Redis(make_app(REDIS_HOST=host, REDIS_PORT=port, REDIS_CLASS=Shop, REDIS_CURRENCY="SEK"))
seen["own class"] = shop.price("key")
seen["path of a class"] = type(Redis(make_app(REDIS_CLASS="redis.Redis")).connection).__name__

print(json.dumps(seen, indent=1))  # noqa: T201
