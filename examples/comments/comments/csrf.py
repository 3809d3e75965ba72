"""Protection against forms that another site sends in a user's name."""

from __future__ import annotations

import hmac
import secrets

from flask import abort
from flask import request
from flask import session

FIELD = "csrf_token"


def token() -> str:
    """The token that each form of this session carries: another site cannot read it."""
    return str(session.setdefault(FIELD, secrets.token_urlsafe()))


def check() -> None:
    """Refuse a request that may change something and does not carry the token. To be called before each request."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    expected = session.get(FIELD, "")
    sent = request.form.get(FIELD, "")
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        abort(400, "This form is out of date. Please go back, reload the page, and send it again.")
