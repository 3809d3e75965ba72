"""The ``Server-Timing`` header: tells the browser of the round trips to Redis."""

from __future__ import annotations

import re
import typing as t

from .recording import Recording
from .recording import recording


def add_server_timing(app: t.Any, prefix: str) -> None:
    """Let the responses of *app* say how many round trips the connection *prefix* has made for them."""
    if hasattr(app, "asgi_app"):
        app.asgi_app = _asgi(app.asgi_app, prefix)
    else:
        app.wsgi_app = _wsgi(app.wsgi_app, prefix)


def _wsgi(app: t.Any, prefix: str) -> t.Any:
    def timed(environ: t.Any, start_response: t.Any) -> t.Any:
        with recording() as found:

            def start(status: str, headers: list[tuple[str, str]], *exc_info: t.Any) -> t.Any:
                return start_response(status, [*headers, ("Server-Timing", _metric(found, prefix))], *exc_info)

            return app(environ, start)

    return timed


def _asgi(app: t.Any, prefix: str) -> t.Any:
    async def timed(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        with recording() as found:

            async def send_timed(message: dict[str, t.Any]) -> None:
                if message["type"] == "http.response.start":
                    # What follows may be a stream without an end.
                    found.end()
                    header = (b"server-timing", _metric(found, prefix).encode())
                    message = {**message, "headers": [*message.get("headers", ()), header]}
                await send(message)

            await app(scope, receive, send_timed)

    return timed


def _metric(found: Recording, prefix: str) -> str:
    mine = [command for command in found.commands if command.prefix == prefix]
    repeated = sum(command.repeated for command in mine)
    trips = f"{len(mine)} round trip{'s'[: len(mine) != 1]}" + (f" ({repeated} repeated)" if repeated else "")
    # A name is a token of HTTP.
    name = re.sub(r"[^\w.-]", "_", prefix.lower(), flags=re.ASCII)
    return f'{name};dur={sum(command.duration for command in mine) * 1000:.3f};desc="{trips}"'
