"""Fixtures of real servers: each started once, and as good as new for each test that asks for it."""

from __future__ import annotations

import collections.abc as cabc

import pytest

from .cluster import ClusterGroup
from .sentinel import SentinelGroup
from .servers import find_redis_server
from .servers import Server
from .tls import Certificates
from .tls import make_certificates
from .tls import tls_server_available
from .tls import TlsServer

__all__ = [
    "certificates",
    "cluster_group",
    "redis_server",
    "running_cluster_group",
    "running_redis_server",
    "running_sentinel_group",
    "running_server",
    "running_tls_server",
    "sentinel_group",
    "server",
    "tls_server",
]


@pytest.fixture(scope="session")
def running_server() -> cabc.Iterator[Server]:
    """One Valkey for all tests. They ask for ``server``."""
    with Server() as server:
        yield server


@pytest.fixture
def server(running_server: Server) -> cabc.Iterator[Server]:
    """A Valkey server, empty, and the test's own to pause, kill or configure."""
    running_server.reset()
    yield running_server
    running_server.close_clients()


@pytest.fixture(scope="session")
def running_redis_server() -> cabc.Iterator[Server]:
    """One Redis for all tests. They ask for ``redis_server``."""
    binary = find_redis_server() or pytest.skip("there is no redis-server on the PATH")
    with Server(binary) as server:
        yield server


@pytest.fixture
def redis_server(running_redis_server: Server) -> cabc.Iterator[Server]:
    """A Redis server, empty, and the test's own to pause, kill or configure."""
    running_redis_server.reset()
    yield running_redis_server
    running_redis_server.close_clients()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, the certificates that it signed, and a wrong authority."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def running_tls_server(certificates: Certificates) -> cabc.Iterator[TlsServer]:
    """One TLS server for all tests. They ask for ``tls_server``."""
    if not tls_server_available():
        pytest.skip("there is no redis-server on the PATH")
    with TlsServer(certificates) as server:
        yield server


@pytest.fixture
def tls_server(running_tls_server: TlsServer) -> cabc.Iterator[TlsServer]:
    """A server that speaks TLS, empty, and the test's own to pause, kill or configure."""
    running_tls_server.reset()
    yield running_tls_server
    running_tls_server.close_clients()


@pytest.fixture(scope="session")
def running_sentinel_group() -> cabc.Iterator[SentinelGroup]:
    """One master with replicas and sentinels for all tests. They ask for ``sentinel_group``."""
    with SentinelGroup() as group:
        yield group


@pytest.fixture
def sentinel_group(running_sentinel_group: SentinelGroup) -> cabc.Iterator[SentinelGroup]:
    """A master with two replicas and three sentinels, complete and empty, whatever earlier tests killed."""
    running_sentinel_group.reset()
    yield running_sentinel_group
    running_sentinel_group.close_clients()


@pytest.fixture(scope="session")
def running_cluster_group() -> cabc.Iterator[ClusterGroup]:
    """One cluster for all tests. They ask for ``cluster_group``."""
    with ClusterGroup() as group:
        yield group


@pytest.fixture
def cluster_group(running_cluster_group: ClusterGroup) -> cabc.Iterator[ClusterGroup]:
    """A cluster of six nodes, complete and empty, whatever earlier tests killed."""
    running_cluster_group.reset()
    yield running_cluster_group
    running_cluster_group.close_clients()
