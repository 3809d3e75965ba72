from __future__ import annotations

import collections.abc as cabc
import signal
import typing as t

import pytest
from flask import Flask

from .harness.cluster import ClusterGroup
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import TlsServer

pytest_plugins = ["pytester", "tests.harness.fixtures", "tests.skips"]

# A shell starts a job in the background with Ctrl-C ignored, which children inherit: those of the tests are to feel it.
signal.signal(signal.SIGINT, signal.default_int_handler)

MakeApp = cabc.Callable[..., Flask]

#: What the fixture ``places`` takes as its parameter.
TOPOLOGIES: t.Final = [
    "tcp",
    "socket",
    "tls",
    "sentinel",
    "cluster",
    "valkey",
    "valkey-sentinel",
    "valkey-cluster",
    "memory",
    "embedded",
]


class Report(t.Protocol):
    """Notes a figure that a test has measured. All of them are printed at the end."""

    def __call__(self, name: str, value: float, unit: str = "s") -> None: ...


@pytest.fixture
def report(record_property: cabc.Callable[[str, object], None]) -> Report:
    """Note a figure."""

    def report(name: str, value: float, unit: str = "s") -> None:
        record_property(name, f"{value:.3g} {unit}")

    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    figures = [
        f"{test.nodeid.rpartition('::')[2]} {name}: {figure}"
        for reports in terminalreporter.stats.values()
        for test in reports
        if isinstance(test, pytest.TestReport) and test.when == "call"
        for name, figure in test.user_properties
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(figures))


@pytest.fixture
def make_app(tmp_path: t.Any) -> MakeApp:
    """Make an application with a configuration of its own: the keys without their prefix, for the prefix REDIS."""

    def make(name: str = "app", **config: t.Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / "instance"))
        app.config.update({f"REDIS_{key}": value for key, value in config.items()})
        return app

    return make


@pytest.fixture
def places(request: pytest.FixtureRequest) -> tuple[dict[str, t.Any], list[Server]]:
    """The configuration that leads to some servers, and these servers."""
    topology = request.param
    if topology == "sentinel" or topology == "valkey-sentinel":
        sentinels: SentinelGroup = request.getfixturevalue("sentinel_group")
        url = sentinels.url.replace("redis+", "valkey+") if "valkey" in topology else sentinels.url
        return {"URL": url, "SENTINEL_KWARGS": {"client_name": "mine"}}, sentinels.servers
    if topology == "cluster" or topology == "valkey-cluster":
        cluster: ClusterGroup = request.getfixturevalue("cluster_group")
        url = cluster.url.replace("redis+", "valkey+") if "valkey" in topology else cluster.url
        return {"URL": url}, cluster.servers
    if topology == "tls":
        tls_server: TlsServer = request.getfixturevalue("tls_server")
        return {"URL": tls_server.url, "SSL_CA_CERTS": str(tls_server.certificates.ca)}, [tls_server]
    if topology in {"memory", "embedded"}:
        return {"URL": f"{topology}://"}, []
    server: Server = request.getfixturevalue("server")
    urls = {"tcp": server.url, "socket": server.unix_url, "valkey": server.url.replace("redis", "valkey")}
    return {"URL": urls[topology]}, [server]


@pytest.fixture
def app(make_app: MakeApp, server: Server) -> Flask:
    """An application whose Redis is a real server."""
    return make_app(URL=server.url, DECODE_RESPONSES=True)


def class_of(client: object) -> type:
    """The configured class of *client*. Its own is a subclass, whose commands can be recorded."""
    return type(client).__mro__[1]
