"""The ``Server-Timing`` header: tells the browser of the round trips to Redis."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .recording import Command
from .recording import record_commands


def add_server_timing(app: t.Any, prefix: str) -> None:
    """Let the responses of *app* say how many round trips the connection *prefix* has made for them."""
    if hasattr(app, "asgi_app"):
        app.asgi_app = _asgi(app.asgi_app, prefix)
    else:
        app.wsgi_app = _wsgi(app.wsgi_app, prefix)


def _wsgi(app: t.Any, prefix: str) -> t.Any:
    def timed(environ: t.Any, start_response: t.Any) -> t.Any:
        with record_commands() as commands:

            def start(status: str, headers: list[tuple[str, str]], *exc_info: t.Any) -> t.Any:
                return start_response(status, [*headers, ("Server-Timing", _timing(commands, prefix))], *exc_info)

            return app(environ, start)

    return timed


def _asgi(app: t.Any, prefix: str) -> t.Any:
    async def timed(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        with record_commands() as commands:

            async def send_timed(message: dict[str, t.Any]) -> None:
                if message["type"] == "http.response.start":
                    header = (b"server-timing", _timing(commands, prefix).encode())
                    message = {**message, "headers": [*message.get("headers", ()), header]}
                await send(message)

            await app(scope, receive, send_timed if scope["type"] == "http" else send)

    return timed


def _timing(commands: cabc.Iterable[Command], prefix: str) -> str:
    mine = [command for command in commands if command.prefix == prefix]
    repeated = sum(command.repeated for command in mine)
    trips = f"{len(mine)} round trip{'s'[: len(mine) != 1]}" + (f" ({repeated} repeated)" if repeated else "")
    return f'{prefix.lower()};dur={sum(command.duration for command in mine) * 1000:.3f};desc="{trips}"'
