"""The Comments example, as its tests use it."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import importlib
import os
import re
import sys
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PACKAGE: t.Final = Path(__file__).parents[1] / "examples" / "comments" / "comments"

sys.path.insert(0, str(PACKAGE.parent))
create_app: cabc.Callable[..., Flask] = importlib.import_module("comments").create_app
board: t.Any = importlib.import_module("comments.board")


@contextlib.contextmanager
def running(instance_path: Path, config: cabc.Mapping[str, t.Any] | None = None) -> cabc.Iterator[Flask]:
    """The app as it comes, with the embedded server that is its default. Its heart beats faster than a test waits."""
    with environment():
        app = create_app({"COMMENTS_HEARTBEAT": 0.1, **(config or {})}, str(instance_path))
    try:
        yield app
    finally:
        for client in app.extensions["redis"].values():
            client.connection_pool.disconnect()


@contextlib.contextmanager
def environment(**settings: str) -> cabc.Iterator[None]:
    """An environment in which Flask finds *settings*, and none of the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FLASK_")]:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(name, value)
        yield


@contextlib.contextmanager
def empty(app: Flask) -> cabc.Iterator[Flask]:
    """An app context of *app*, whose board has nothing on it."""
    with app.app_context():
        board.wipe()
        yield app


def token(page: TestResponse) -> str:
    """The CSRF token in the form on a page."""
    match = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert match, page.text
    return match[1]


def send(client: FlaskClient, url: str, **fields: str) -> TestResponse:
    """Open the page at *url*, fill in its form, and send it."""
    return client.post(url, data={"csrf_token": token(client.get(url)), **fields})


def logged_in(app: Flask, name: str) -> FlaskClient:
    """A browser in which *name* is logged in."""
    client = app.test_client()
    assert send(client, "/login", name=name).status_code == 302
    return client
