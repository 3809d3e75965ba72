"""The pages for what goes wrong."""

from __future__ import annotations

from flask import current_app
from flask import Flask
from flask import render_template
from flask.typing import ResponseReturnValue
from redis.exceptions import ConnectionError
from redis.exceptions import TimeoutError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound
from werkzeug.exceptions import ServiceUnavailable

from .board import UnknownThreadError


def init_app(app: Flask) -> None:
    """Let *app* answer every error with a page of its own."""
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(UnknownThreadError, unknown_thread)
    app.register_error_handler(ConnectionError, unavailable)
    app.register_error_handler(TimeoutError, unavailable)


def http_error(error: HTTPException) -> ResponseReturnValue:
    """Any error that has a status."""
    # Its own headers stay, such as the allowed methods.
    response = error.get_response()
    response.data = render_template("error.html", error=error)
    return response


def unknown_thread(_: UnknownThreadError) -> ResponseReturnValue:
    """There is no such thread."""
    return http_error(NotFound("There is no such thread. Perhaps its author has deleted it."))


def unavailable(error: ConnectionError | TimeoutError) -> ResponseReturnValue:
    """Redis does not answer. To the reader that is a pause, to the operator it is a line in the log."""
    current_app.logger.error("Redis does not answer: %s", error)
    message = "The board takes a short break. Please try again in a minute."
    return http_error(ServiceUnavailable(message, retry_after=60))
