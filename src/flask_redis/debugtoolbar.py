"""The panel for Flask-DebugToolbar: what the request asked of Redis, and when."""

from __future__ import annotations

import collections.abc as cabc
import linecache
import time
import typing as t

import jinja2
from flask import current_app
from werkzeug import Request
from werkzeug import Response

from .recording import Command
from .recording import record_commands

try:
    from flask_debugtoolbar.panels import DebugPanel
except ImportError as _missing:
    # What an import that fails is to those who try it, the toolbar included.
    raise ImportError(
        "flask_redis.debugtoolbar needs an optional package: pip install 'Flask-And-Redis[debugtoolbar]'"
    ) from _missing


class RedisPanel(DebugPanel):
    """The round trips of a request: their number and time in the side bar, and each of them on a timeline.

    What is asked after the response is there, such as the saving of a session, is not in it.
    """

    name = "Redis"
    has_content = True

    #: None while nothing is recorded.
    _commands: list[Command] | None = None

    @classmethod
    def init_app(cls, app: t.Any) -> None:
        """Record the requests to *app* from now on. The toolbar calls this."""
        # Not in the panel's process_request: a session is opened before that, and nothing follows where a view fails.
        app.wsgi_app = _recorded(app.wsgi_app)

    def process_view(
        self, request: Request, view_func: cabc.Callable[..., t.Any], view_kwargs: dict[str, t.Any]
    ) -> cabc.Callable[..., t.Any]:
        """Let asynchronous views be called as Flask does, which the toolbar forgets."""
        return current_app.ensure_sync(view_func)

    def process_response(self, request: Request, response: Response) -> None:
        """Note what has been recorded when the response is there."""
        if _RECORDING in request.environ:
            started, commands = request.environ[_RECORDING]
            self._seconds = time.perf_counter() - started
            # They come as they end.
            self._commands = sorted(commands, key=lambda command: command.started)

    def nav_title(self) -> str:
        """The title in the side bar."""
        return self.name

    def nav_subtitle(self) -> str:
        """The number and the time of the round trips, in the side bar."""
        if self._commands is None:
            return "not recorded"
        repeated = sum(command.repeated for command in self._commands)
        trips = f"{len(self._commands)} round trip{'s'[: len(self._commands) != 1]}"
        seconds = sum(command.duration for command in self._commands)
        return f"{trips}, {_milliseconds(seconds)}" + (f", {repeated} repeated" if repeated else "")

    def title(self) -> str:
        """The title of the panel."""
        return self.name

    def url(self) -> str:
        """No page of its own."""
        return ""

    def content(self) -> str:
        """The timeline, as HTML."""
        template = _templates.get_template("debugtoolbar.html")
        if self._commands is None:
            return template.render()
        slowest = max(self._commands, key=lambda command: command.duration, default=None)
        return template.render(
            commands=self._commands[:_SHOWN],
            more=len(self._commands[_SHOWN:]),
            slowest=slowest if len(self._commands) > 1 else None,
            summary=self.nav_subtitle(),
            seconds=self._seconds,
        )


_RECORDING: t.Final = "flask_redis.recording"

#: How many round trips are shown, lest a page that makes thousands becomes one that no browser opens.
_SHOWN: t.Final = 500


def _recorded(wsgi_app: t.Any) -> t.Any:
    def recorded(environ: t.Any, start_response: t.Any) -> t.Any:
        started = time.perf_counter()
        with record_commands() as commands:
            environ[_RECORDING] = started, commands
            return wsgi_app(environ, start_response)

    return recorded


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _source(line: str) -> str:
    """The text of the line that is called so, if its file is there."""
    path, _, number = line.rpartition(":")
    return linecache.getline(path, int(number)).strip() if number else ""


_templates = jinja2.Environment(
    autoescape=True, loader=jinja2.PackageLoader("flask_redis"), trim_blocks=True, lstrip_blocks=True
)
_templates.filters.update(milliseconds=_milliseconds, source=_source)
