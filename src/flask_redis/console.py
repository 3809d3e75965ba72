"""What ``flask redis cli`` runs: the programs that talk to a server, and what they are told of a connection."""

from __future__ import annotations

import collections.abc as cabc
import os
import re
import signal
import socket
import subprocess
import sys
import typing as t
from urllib.parse import quote

import click

from . import health
from .parameters import parameters

if t.TYPE_CHECKING:
    from .config import Settings

#: Those that may be installed, the one to take first.
PROGRAMS: t.Final = ("valkey-cli", "redis-cli", "iredis")

#: Seconds that the search for the server may take: to ask the sentinels, say.
_SEARCH_TIMEOUT: t.Final = 5.0


class Target(t.NamedTuple):
    """Where a program is to connect, and how."""

    host: str
    port: int
    #: The path of a Unix socket, which is used in place of the host.
    path: str
    database: int
    username: str
    password: str | None
    tls: bool
    cluster: bool
    #: The options of the connections, by redis-py's names.
    options: cabc.Mapping[str, t.Any]


def target_of(settings: Settings, surroundings: t.Any) -> Target:
    """Where the application would connect right now.

    :raises Exception: whatever the client or the credential provider raises.
    """
    path = ""
    if settings.topology == "cluster":
        options = settings.options
        tls = bool(options.get("ssl"))
        host, port = _reachable(settings.nodes or [(node.host, node.port) for node in options["startup_nodes"]])
    else:
        with health.own_client(settings, surroundings, _SEARCH_TIMEOUT) as client:
            pool = client.connection_pool
            options = pool.connection_kwargs
            tls = "ssl_cert_reqs" in parameters(pool.connection_class)
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            if hasattr(pool, "get_master_address"):
                host, port = pool.get_master_address() if pool.is_master else next(pool.rotate_slaves())
            path = options["server"].path() if settings.topology == "embedded" else _text(options.get("path"))
    username, password = options.get("username"), options.get("password")
    if provider := options.get("credential_provider"):
        *user, password = provider.get_credentials()
        username = user[0] if user else None
    return Target(
        host=_text(host),
        port=port,
        path=path,
        database=options.get("db") or 0,
        username=_text(username),
        # redis-py logs in with a username alone, too.
        password=_text(password) if password or username else None,
        tls=tls,
        cluster=settings.topology == "cluster",
        options=options,
    )


def _reachable(nodes: cabc.Sequence[tuple[str, int]]) -> tuple[str, int]:
    """The first of the nodes that takes a connection, else the first."""
    for node in nodes:
        try:
            with socket.create_connection(node, _SEARCH_TIMEOUT / len(nodes)):
                return node
        except OSError:
            continue
    return nodes[0]


def _text(value: t.Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value or "")


def for_redis_cli(target: Target) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment of valkey-cli and redis-cli."""
    place = ["-s", target.path] if target.path else ["-h", target.host, "-p", str(target.port)]
    options = [*place, "-n", str(target.database)] if target.database else place
    if target.username:
        options += ["--user", target.username]
    if target.tls:
        options += _tls_options(target)
    if target.cluster:
        options += ["-c"]
    auth = {} if target.password is None else dict.fromkeys(("REDISCLI_AUTH", "VALKEYCLI_AUTH"), target.password)
    return options, _environment() | auth


def _tls_options(target: Target) -> list[str]:
    if target.options.get("ssl_ca_data"):
        raise click.ClickException("valkey-cli and redis-cli take no certificates but from a file: set SSL_CA_CERTS.")
    options = ["--tls"]
    # redis-py names the host to the server, which may need it to know the certificate. An address has no place there.
    if not re.fullmatch(r"[\d.]+|.*:.*", target.host):
        options += ["--sni", target.host]
    for name, option in _TLS_OPTIONS.items():
        if value := target.options.get(name):
            options += [option, _text(value)]
    if not _verified(target):
        options += ["--insecure"]
    return options


_TLS_OPTIONS: t.Final = {
    "ssl_ca_certs": "--cacert",
    "ssl_ca_path": "--cacertdir",
    "ssl_certfile": "--cert",
    "ssl_keyfile": "--key",
    "ssl_ciphers": "--tls-ciphers",
}


def _verified(target: Target) -> bool:
    # ssl.CERT_NONE is 0.
    return target.options.get("ssl_cert_reqs", "required") not in {"none", 0}


def for_iredis(target: Target) -> tuple[list[str], dict[str, str]]:
    """The same of iredis. It takes a password from a URL alone, and certificates from the places that OpenSSL knows."""
    if target.options.get("ssl_certfile") or target.options.get("ssl_ca_data"):
        raise click.ClickException("iredis takes no certificates: install valkey-cli or redis-cli.")
    userinfo = "" if target.password is None else f"{quote(target.username, '')}:{quote(target.password, '')}@"
    if target.path:
        url = f"unix://{userinfo}{quote(target.path)}?db={target.database}"
    else:
        host = f"[{target.host}]" if ":" in target.host else target.host
        verified = "" if _verified(target) else "?ssl_cert_reqs=none"
        url = f"redis{'s' * target.tls}://{userinfo}{host}:{target.port}/{target.database}{verified}"
    environment = _environment() | {"IREDIS_URL": url}
    for name, variable in {"ssl_ca_certs": "SSL_CERT_FILE", "ssl_ca_path": "SSL_CERT_DIR"}.items():
        if value := target.options.get(name):
            environment[variable] = _text(value)
    return [], environment


def _environment() -> dict[str, str]:
    """This process's environment, without what would lead the programs elsewhere."""
    others = {"REDISCLI_AUTH", "VALKEYCLI_AUTH", "IREDIS_URL", "IREDIS_DSN"}
    return {name: value for name, value in os.environ.items() if name not in others}


def run(command: list[str], environment: dict[str, str], *, stay: bool) -> t.NoReturn:
    """Become the program; or run it and wait, where the server would stop with this process."""
    if not stay:
        os.execvpe(command[0], command, environment)  # noqa: S606
    # Ctrl-C is for the program, which gets it as well.
    earlier = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = subprocess.call(command, env=environment)  # noqa: S603
    finally:
        signal.signal(signal.SIGINT, earlier)
    sys.exit(status)
