from __future__ import annotations

import collections.abc as cabc
import signal
import typing as t

import pytest
from flask import Flask

from .harness.servers import Server

pytest_plugins = ["pytester", "tests.harness.fixtures", "tests.skips"]

# A shell starts a job in the background with Ctrl-C ignored, which children inherit: those of the tests are to feel it.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeApp = cabc.Callable[..., Flask]


class Report(t.Protocol):
    """Prints a figure that a test has measured, and keeps it in the report of the tests."""

    def __call__(self, name: str, value: float, unit: str = "s") -> None: ...


@pytest.fixture
def report(record_property: cabc.Callable[[str, object], None]) -> Report:
    """Print a figure: pytest -s shows it."""

    def report(name: str, value: float, unit: str = "s") -> None:
        print(f"{name}: {value:.3g} {unit}")  # noqa: T201
        record_property(name, f"{value:.3g} {unit}")

    return report


@pytest.fixture
def make_app(tmp_path: t.Any) -> MakeApp:
    """Make an application with a configuration of its own: the keys without their prefix, for the prefix REDIS."""

    def make(name: str = "app", **config: t.Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / "instance"))
        app.config.update({f"REDIS_{key}": value for key, value in config.items()})
        return app

    return make


@pytest.fixture
def app(make_app: MakeApp, server: Server) -> Flask:
    """An application whose Redis is a real server."""
    return make_app(URL=server.url, DECODE_RESPONSES=True)
