"""Comments: a small discussion board on two Redis databases at once.

See the README beside this package for how to run it.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

from flask import Flask
from flask import Response

from . import errors
from . import secret
from . import toolbar
from . import views
from .board import content
from .board import links


def create_app(config: cabc.Mapping[str, t.Any] | None = None, instance_path: str | None = None) -> Flask:
    """The application. It is configured by the environment; *config* wins over that, for tests.

    :param instance_path: an absolute path, if the instance folder is not to be the one beside this package.
    """
    app = Flask(__name__, instance_path=instance_path)
    app.config.from_mapping(
        REDIS_LINKS_URL="embedded://comments/0",
        REDIS_CONTENT_URL="embedded://comments/1",
        REDIS_LINKS_DECODE_RESPONSES=True,
        REDIS_CONTENT_DECODE_RESPONSES=True,
        # One try: a comment that may have arrived is not sent again, and a reader is told at once to try again later.
        REDIS_LINKS_RETRY=0,
        REDIS_CONTENT_RETRY=0,
        # Cookies know no port: another example on this machine must not log the user out.
        SESSION_COOKIE_NAME="comments",
        SESSION_COOKIE_SAMESITE="Lax",
        # Room for the longest comment, percent-encoded.
        MAX_CONTENT_LENGTH=128 * 1024,
        # Seconds after which an open page whose thread is quiet gets a sign of life.
        COMMENTS_HEARTBEAT=15,
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    # As text: a key of digits comes out of the environment as a number.
    app.secret_key = str(app.secret_key or secret.load(Path(app.instance_path, "secret_key")))
    links.init_app(app)
    content.init_app(app)
    app.register_blueprint(views.bp)
    errors.init_app(app)
    if app.config.get("DEBUG_TB_ENABLED"):
        # Before the next line: what Flask is told first about a response, it does last.
        toolbar.init_app(app)
    app.after_request(_add_security_headers)
    return app


def _add_security_headers(response: Response) -> Response:
    """Allow the app's own style sheet, script and event stream, and nothing else."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response
