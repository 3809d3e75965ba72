"""Flask-DebugToolbar, for who works on this app: ``FLASK_DEBUG_TB_ENABLED=true`` switches it on."""

from __future__ import annotations

from flask import Flask
from flask import Response

from flask_redis import ConfigError


def init_app(app: Flask) -> None:
    """Let the pages of *app* say what they ask of Redis.

    :raises ConfigError: if Flask-DebugToolbar is not installed.
    """
    try:
        from flask_debugtoolbar import DebugToolbarExtension
    except ImportError:
        raise ConfigError(
            "DEBUG_TB_ENABLED needs an optional package: pip install 'Flask-And-Redis[debugtoolbar]'"
        ) from None
    app.config["DEBUG_TB_PANELS"] = [
        "flask_redis.debugtoolbar.RedisPanel",
        "flask_debugtoolbar.panels.timer.TimerDebugPanel",
        "flask_debugtoolbar.panels.request_vars.RequestVarsDebugPanel",
        "flask_debugtoolbar.panels.logger.LoggingPanel",
    ]
    app.after_request(_allow_the_toolbar)
    DebugToolbarExtension(app)


def _allow_the_toolbar(response: Response) -> Response:
    # Its styles and scripts are in the page itself, which the app's policy forbids.
    response.headers.remove("Content-Security-Policy")
    return response
