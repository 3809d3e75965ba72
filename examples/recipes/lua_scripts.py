"""Several steps as one, on the server: a Lua script.

pip install 'Flask-And-Redis[embedded]'
flask --app examples/recipes/lua_scripts run
"""

from __future__ import annotations

import os

from flask import Flask

from flask_redis import Redis

redis = Redis()

TAKE = """
local left = tonumber(redis.call('GET', KEYS[1]) or 0)
if left < tonumber(ARGV[1]) then
    return -1
end
return redis.call('DECRBY', KEYS[1], ARGV[1])
"""


def take(item: str, number: int) -> int:
    """Take so many from the stock. Returns how many are left, or -1 if there are not enough."""
    # Registering asks nobody: it makes the hash that a server knows the script by. So it belongs here, where there is
    # an application, and not to the import. The script itself is sent when a server does not know it yet.
    script = redis.register_script(TAKE)
    left: int = script(keys=[f"stock:{item}"], args=[number])
    return left


def create_app() -> Flask:
    """An application that sells what it has."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = os.environ.get("REDIS_URL", "embedded://")
    redis.init_app(app)

    @app.put("/stock/<item>/<int:number>")
    def fill(item: str, number: int) -> tuple[str, int]:
        redis.set(f"stock:{item}", number)
        return "", 204

    @app.post("/orders/<item>/<int:number>")
    def order(item: str, number: int) -> tuple[str, int]:
        left = take(item, number)
        return (f"{left} left", 200) if left >= 0 else ("Sold out", 409)

    return app
