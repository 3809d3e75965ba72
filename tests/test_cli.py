"""``flask redis``: what it prints, the programs that it opens, and what it leaves alone."""

from __future__ import annotations

import collections.abc as cabc
import importlib.util
import inspect
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import click
import pytest
import redis as redis_py
from click.testing import Result
from flask import Flask
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from flask_redis import AsyncRedis
from flask_redis import cli
from flask_redis import ConfigError
from flask_redis import Redis

from .conftest import MakeApp
from .harness.cluster import ClusterGroup
from .harness.sentinel import SentinelGroup
from .harness.servers import Server
from .harness.tls import TlsServer

COLUMNS = 80


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual width, and no settings of whoever runs the tests."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for name in "REDISCLI_AUTH", "VALKEYCLI_AUTH", "IREDIS_URL", "IREDIS_DSN", "SSL_CERT_FILE", "SSL_CERT_DIR":
        monkeypatch.delenv(name, raising=False)


def run(app: Flask, *arguments: str) -> Result:
    """The outcome of ``flask redis`` with these arguments."""
    if "ping" in arguments and "--timeout" not in arguments:
        # The default of a second is too short for a machine that is busy.
        arguments += ("--timeout", "20")
    result = app.test_cli_runner().invoke(args=["redis", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert not [line for line in result.output.splitlines() if len(line) > COLUMNS and not line.startswith("Error")]
    return result


def add(app: Flask, **urls: str) -> None:
    """Give *app* a connection for each prefix and URL."""
    for prefix, url in urls.items():
        app.config[f"{prefix}_URL"] = url
        Redis(app, prefix)


APP = """
import inspect
import json
import os
from pathlib import Path

from flask import Flask
from flask_redis import Redis

config = json.loads(os.environ["CONFIG"])
app = Flask("app", instance_path=str(Path(__file__).parent / "instance"))
app.config.update(config)
for key in config:
    if key.endswith("_URL"):
        Redis(app, key.removesuffix("_URL"))
"""


@pytest.fixture
def flask(tmp_path: Path) -> cabc.Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command ``flask`` as a user does, for an application with this configuration."""
    (tmp_path / "app.py").write_text(APP)

    def run_flask(
        *arguments: str, stdin: str = "", env: cabc.Mapping[str, str] | None = None, **config: t.Any
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "flask", "--app", str(tmp_path / "app.py"), *arguments]
        environment = {**os.environ, **(env or {}), "CONFIG": json.dumps(config)}
        return subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run_flask


Run = cabc.Callable[..., subprocess.CompletedProcess[str]]


# flask redis ping


def test_ping(app: Flask, server: Server) -> None:
    """Each connection is a line with all that an operator asks first, and the status is 0 where all is well."""
    Redis(app)
    add(app, CACHE=server.url.replace("/0", "/1"))
    result = run(app, "ping")
    assert result.exit_code == 0
    number, version = r"\d+(?:\.\d\d)? ms +", server.info()["valkey_version"]
    lines = result.output.splitlines()
    assert len(lines) == 2
    for line, prefix, database in zip(lines, ["REDIS", "CACHE"], "01", strict=True):
        url = f"redis://127.0.0.1:{server.port}/{database}"
        assert re.fullmatch(rf"{prefix}  {number}valkey {version}  master  standalone  {url}", line), line


def test_ping_a_dead_server(make_app: MakeApp) -> None:
    """A connection that fails says why, and makes the status 1."""
    app = make_app()
    add(app, REDIS="memory://", REDIS_DEAD="redis://:hush@127.0.0.1:1/0")
    result = run(app, "ping")
    assert result.exit_code == 1
    assert "FAILED" in result.output
    assert "redis://:***@127.0.0.1:1/0" in result.output
    assert "  Error 111 connecting to 127.0.0.1:1." in result.output
    assert "hush" not in result.output
    assert run(app, "ping", "--prefix", "REDIS").exit_code == 0


def test_ping_with_long_urls(make_app: MakeApp) -> None:
    """A URL that is too long for the line follows it."""
    app = make_app()
    add(app, REDIS="redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/the-name-of-the-service/0")
    output = run(app, "ping", "--timeout", "5").output
    assert "sentinel\n  redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/the-name-of-the-service/0\n" in output


def test_ping_in_json(app: Flask) -> None:
    """Programs get a list of everything."""
    Redis(app)
    add(app, REDIS_DEAD="redis://:hush@127.0.0.1:1/0")
    result = run(app, "ping", "--json")
    assert result.exit_code == 1
    alive, dead = json.loads(result.stdout)
    assert (alive["prefix"], alive["ok"], alive["server"], alive["role"]) == ("REDIS", True, "valkey", "master")
    assert (dead["ok"], dead["url"], dead["latency"]) == (False, "redis://:***@127.0.0.1:1/0", None)
    assert "hush" not in result.stdout


def test_ping_shows_the_circuit_breaker(make_app: MakeApp) -> None:
    """A circuit breaker that is not closed is shown, in this process."""
    app = make_app(URL="redis://127.0.0.1:1", RETRY=0, CIRCUIT_BREAKER={"fail_max": 1})
    redis = Redis(app)
    assert "breaker" not in run(app, "ping").output
    with pytest.raises(redis_py.ConnectionError):
        redis.ping()
    assert "  The application's circuit breaker is open.\n" in run(app, "ping").output


def test_ping_a_slow_server(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long latencies have no decimal places."""
    app = make_app(URL="memory://")
    Redis(app)
    ticks = iter([0.0, 0.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks, 1.0))
    assert "  250 ms  " in run(app, "ping").output


def test_ping_as_a_process(flask: Run, server: Server) -> None:
    """As a container's health check: the status says it all, and a server that hangs does not make it hang."""
    done = flask("redis", "ping", "--timeout", "20", REDIS_URL=server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("REDIS  ")
    server.pause()
    start = time.monotonic()
    done = flask("redis", "ping", "--timeout", "0.5", REDIS_URL=server.url)
    took = time.monotonic() - start
    assert (done.returncode, done.stderr) == (1, "")
    assert "  No answer within 0.5 s.\n" in done.stdout
    assert took < 30
    server.resume()


@pytest.mark.parametrize("command", ["ping", "config", "cli"])
def test_unknown_prefix(command: str, make_app: MakeApp) -> None:
    """A prefix that the application does not have is an error that says which ones it has."""
    app = make_app()
    add(app, REDIS="memory://", CACHE="memory://")
    result = run(app, command, "--prefix", "CASH")
    assert result.exit_code == 2
    assert "'CASH' is no config prefix of this application; there are: REDIS, CACHE." in result.output


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "inf"])
def test_wrong_timeout(timeout: str, make_app: MakeApp) -> None:
    """A timeout that is none is a usage error."""
    app = make_app()
    add(app, REDIS="memory://")
    result = run(app, "ping", "--timeout", timeout)
    assert result.exit_code == 2
    assert "--timeout" in result.output.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["ping"], ["config"], ["cli"]])
def test_help_needs_no_server(arguments: list[str], flask: Run) -> None:
    """--help works with no server and no network."""
    done = flask("redis", *arguments, "--help", REDIS_URL="redis://redis.invalid")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= COLUMNS


# flask redis config


def description(app: Flask, prefix: str = "REDIS") -> dict[str, tuple[str, str]]:
    """Where each value comes from, and the value, by its name."""
    found: dict[str, tuple[str, str]] = {}
    # A long value continues below its beginning.
    output = re.sub(r"(\S)\n {10,}", r"\1 ", run(app, "config", "--prefix", prefix).output)
    for line in output.splitlines():
        if match := re.fullmatch(r"  (\w+) +(\w+)  +(.*)", line):
            found[match[1]] = match[2], match[3]
    return found


def test_config(make_app: MakeApp, tmp_path: Path) -> None:
    """Each value stands beside the key that states it."""
    (tmp_path / "password").write_text("hush\n")
    app = make_app(
        URL="redis://alice@localhost:7000/3?socket_timeout=2",
        PASSWORD_FILE=str(tmp_path / "password"),
        PORT=1,
        DECODE_RESPONSES="yes",
        CHARSET="latin-1",
        RETRY=0,
        CIRCUIT_BREAKER={"fail_max": 3, "reset_timeout": 2.5},
        CLIENT_NAME=b"shop",
        RETRY_ON_ERROR=[OSError, ValueError],
    )
    Redis(app)
    output = run(app, "config").output
    assert output.startswith(
        "REDIS  standalone  redis://alice:***@localhost:7000/3\n"
        "  class                   default                 redis.client.Redis\n"
        "  host                    REDIS_URL               localhost\n"
        "  port                    REDIS_URL               7000\n"
        "  db                      REDIS_URL               3\n"
        "  username                REDIS_URL               alice\n"
        "  password                REDIS_PASSWORD_FILE     ***\n"
        "  ssl                     default                 false\n"
        "  decode_responses        REDIS_DECODE_RESPONSES  true\n"
        "  socket_timeout          REDIS_URL               2\n"
    )
    assert "hush" not in output
    found = description(app)
    assert found["retry"] == ("REDIS_RETRY", "0")
    assert found["circuit_breaker"] == ("REDIS_CIRCUIT_BREAKER", "fail_max 3, reset_timeout 2.5")
    assert found["encoding"] == ("REDIS_CHARSET", "latin-1")
    assert found["retry_on_error"] == ("REDIS_RETRY_ON_ERROR", "builtins.OSError, builtins.ValueError")
    assert found["client_name"] == ("REDIS_CLIENT_NAME", "shop")


def test_config_of_a_url_in_a_file(make_app: MakeApp, tmp_path: Path) -> None:
    """What a URL in a file states comes from that file."""
    (tmp_path / "url").write_text("unix://:hush@/run/redis.sock")
    app = make_app(URL_FILE=str(tmp_path / "url"), RETRY=Retry(NoBackoff(), 7))
    Redis(app)
    found = description(app)
    assert found["password"] == ("REDIS_URL_FILE", "***")
    assert found["unix_socket_path"] == ("REDIS_URL_FILE", "/run/redis.sock")
    assert found["retry"] == ("REDIS_RETRY", "7")
    assert found["circuit_breaker"] == ("default", "off")
    assert "host" not in found


class Shop(redis_py.Redis):
    """A client with parameters of its own."""

    def __init__(self, fallback: str = "", ledger: t.Any = None, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)


def test_config_of_a_class_of_ones_own(make_app: MakeApp) -> None:
    """Its parameters are shown; a URL without the password, and an object without its text, which may hold one."""
    app = make_app(
        CLASS=Shop,
        FALLBACK="redis://:hush@localhost",
        LEDGER={"password": "hush"},
        UNIX_SOCKET_PATH="/run/redis.sock",
        CREDENTIAL_PROVIDER=redis_py.UsernamePasswordCredentialProvider("alice", "hush"),
        CIRCUIT_BREAKER=True,
    )
    Redis(app)
    found = description(app)
    assert "hush" not in run(app, "config").output
    assert found["class"] == ("REDIS_CLASS", "tests.test_cli.Shop")
    assert found["fallback"] == ("REDIS_FALLBACK", "redis://:***@localhost")
    assert found["ledger"] == ("REDIS_LEDGER", "builtins.dict")
    assert found["credential_provider"] == ("REDIS_CREDENTIAL_PROVIDER", "***")
    assert found["unix_socket_path"] == ("REDIS_UNIX_SOCKET_PATH", "/run/redis.sock")
    assert found["circuit_breaker"] == ("REDIS_CIRCUIT_BREAKER", "on")


def test_config_of_a_connection_pool(make_app: MakeApp) -> None:
    """Of a pool that is given, only what it is: the other keys are not used."""
    pool = redis_py.ConnectionPool(password="hush")
    app = make_app(CONNECTION_POOL=pool, DECODE_RESPONSES=True)
    Redis(app)
    found = description(app)
    assert found["connection_pool"] == ("REDIS_CONNECTION_POOL", "redis.connection.ConnectionPool")
    assert found.keys() == {"class", "connection_pool", "decode_responses"}


def test_config_of_sentinel_and_cluster(make_app: MakeApp) -> None:
    """The sentinels, and the nodes to start from, come from a URL or from keys."""
    app = make_app(
        URL="redis+sentinel://one,two:7/shop/2?role=replica",
        SENTINEL_KWARGS={"password": "hush"},
        KEYS_SENTINELS=[("one", 1)],
        KEYS_SENTINEL_SERVICE="shop",
        CLUSTER_URL="redis+cluster://one,two:7",
        NODE_CLASS="redis.RedisCluster",
        NODE_HOST="one",
        START_CLASS="redis.RedisCluster",
        START_STARTUP_NODES=[ClusterNode("localhost", 7)],
    )
    for name in ("REDIS", "REDIS_KEYS", "REDIS_CLUSTER", "REDIS_NODE", "REDIS_START"):
        Redis(app, name)
    found = description(app)
    assert found["sentinels"] == ("REDIS_URL", "one:26379, two:7")
    assert found["sentinel_service"] == ("REDIS_URL", "shop")
    assert found["role"] == ("REDIS_URL", "replica")
    assert found["db"] == ("REDIS_URL", "2")
    assert found["sentinel_kwargs"] == ("REDIS_SENTINEL_KWARGS", "***")
    assert not found.keys() & {"host", "port", "startup_nodes"}
    found = description(app, "REDIS_KEYS")
    assert found["sentinels"] == ("REDIS_KEYS_SENTINELS", "one:1")
    assert found["sentinel_service"] == ("REDIS_KEYS_SENTINEL_SERVICE", "shop")
    assert description(app, "REDIS_CLUSTER")["startup_nodes"] == ("REDIS_CLUSTER_URL", "one:6379, two:7")
    assert description(app, "REDIS_NODE")["startup_nodes"] == ("REDIS_NODE_HOST", "one:6379")
    assert description(app, "REDIS_START")["startup_nodes"][0] == "REDIS_START_STARTUP_NODES"


@pytest.mark.parametrize(
    "config",
    [
        {"HOST": "localhost"},
        {"URL": "unix:///run/redis.sock"},
        {"URL": "valkey://localhost", "SOCKET_TIMEOUT": 2},
        {"URL": "redis+sentinel://localhost/shop"},
        {"URL": "redis+sentinel://localhost/shop", "RETRY_ON_ERROR": [OSError]},
        {"URL": "redis+sentinel://localhost/shop", "RETRY_ON_ERROR": [OSError], "CIRCUIT_BREAKER": True},
        {"URL": "valkey+sentinel://localhost/shop", "MAX_CONNECTIONS": 1234567},
        {"URL": "memory://", "CIRCUIT_BREAKER": True},
        {"URL": "embedded://"},
        {"URL": "embedded://", "RETRY": 1},
        {"SOCKET_CONNECT_TIMEOUT": None, "MAX_CONNECTIONS": None},
        {"SOCKET_TIMEOUT": 1234567.5},
    ],
    ids=str,
)
def test_config_is_what_the_client_does(config: dict[str, t.Any], make_app: MakeApp) -> None:
    """What nobody has set is what connections and their pool have, which the client's own parameters do not say."""
    app = make_app(**config)
    redis = Redis(app)
    pool: t.Any = redis.connection.connection_pool
    connection = pool.make_connection()

    def number(name: str) -> float | None:
        _, value = description(app)[name]
        return None if value == "none" else float(value)

    assert number("retry") == connection.retry._retries
    assert number("max_connections") == pool.max_connections
    assert number("socket_timeout") == connection.socket_timeout
    assert number("socket_connect_timeout") == connection.socket_connect_timeout


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("default", {}),
        ("REDIS_RETRY", {"RETRY": 2}),
        ("REDIS_CLUSTER_ERROR_RETRY_ATTEMPTS", {"CLUSTER_ERROR_RETRY_ATTEMPTS": 1}),
    ],
)
# redis-py's own, of a key that it still takes.
@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts.*:DeprecationWarning")
def test_config_of_a_cluster_is_what_it_does(
    key: str, more: dict[str, t.Any], make_app: MakeApp, cluster_group: ClusterGroup
) -> None:
    """The retries of a cluster are those of the whole, whatever the key, and the pool is that of a node."""
    app = make_app(URL=f"redis+cluster://127.0.0.1:{cluster_group.servers[0].port}", **more)
    cluster: t.Any = Redis(app).connection
    number = cluster.cluster_error_retry_attempts if redis_py.VERSION[0] < 6 else cluster.retry.get_retries()
    (found,) = json.loads(run(app, "config", "--json").stdout)
    assert found["values"]["retry"] == {"source": key, "value": number}
    (node, *_) = cluster.get_nodes()
    pool = cluster.get_redis_connection(node).connection_pool
    assert found["values"]["max_connections"] == {"source": "default", "value": pool.max_connections}


def test_config_of_large_numbers(make_app: MakeApp) -> None:
    """A number is shown with all its digits, and no others."""
    app = make_app(MAX_CONNECTIONS=1234567, SOCKET_TIMEOUT=1234567, HEALTH_CHECK_INTERVAL=0, SLOW_COMMAND=0.0625)
    app.config["REDIS_CIRCUIT_BREAKER"] = {"fail_max": 1234567, "reset_timeout": 1234567}
    Redis(app)
    found = {name: value for name, (_, value) in description(app).items()}
    assert (found["max_connections"], found["socket_timeout"]) == ("1234567", "1234567")
    assert (found["health_check_interval"], found["slow_command"]) == ("0", "0.0625")
    assert found["circuit_breaker"] == "fail_max 1234567, reset_timeout 1234567"


def test_config_that_is_none(make_app: MakeApp) -> None:
    """None is a value like others, with its key, unless it is the same as nothing."""
    app = make_app(
        HOST="localhost",
        SOCKET_TIMEOUT=None,
        CLIENT_NAME=None,
        MAX_CONNECTIONS=None,
        CONNECTION_POOL=None,
        UNIX_SOCKET_PATH=None,
    )
    Redis(app)
    found = description(app)
    by_default = inspect.signature(redis_py.Redis).parameters["socket_timeout"].default is None
    assert found["socket_timeout"] == ("default" if by_default else "REDIS_SOCKET_TIMEOUT", "none")
    assert "client_name" not in found
    assert found["host"] == ("REDIS_HOST", "localhost")
    assert found["max_connections"][0] == "default"
    assert "unix_socket_path" not in found


class Few(redis_py.RedisCluster):
    """A cluster client that takes nothing else."""

    def __init__(self, startup_nodes: t.Any = None, retry: t.Any = None) -> None:
        super().__init__(startup_nodes=startup_nodes, retry=retry)


def test_config_of_a_class_with_few_parameters(make_app: MakeApp) -> None:
    """Of a class that does not say what it does by default, nothing is made up."""
    app = make_app(CLASS=Few, URL="redis+cluster://localhost", NONE_CLASS=dict)
    Redis(app)
    Redis(app, "REDIS_NONE")
    found = description(app)
    assert found["retry"] == ("default", "none")
    assert not found.keys() & {"max_connections", "socket_timeout", "socket_connect_timeout"}
    assert description(app, "REDIS_NONE").keys() == {"class", "circuit_breaker"}


def test_config_in_json(make_app: MakeApp) -> None:
    """Programs get values with their types, and no secret either."""
    app = make_app(
        URL="rediss://:hush@localhost:7000/3",
        MAX_CONNECTIONS=1234567,
        SSL_PASSWORD="hush",
        SSL_CERT_REQS=ssl.CERT_REQUIRED,
        SOCKET_TIMEOUT=None,
        RETRY=Retry(NoBackoff(), 7),
        RETRY_ON_ERROR=[OSError],
        CIRCUIT_BREAKER={"reset_timeout": 2.5},
        CACHE_URL="memory://",
    )
    Redis(app)
    Redis(app, "REDIS_CACHE")
    result = run(app, "config", "--json")
    assert "hush" not in result.stdout
    found, cache = json.loads(result.stdout)
    url = "rediss://:***@localhost:7000/3"
    assert (found["prefix"], found["topology"], found["url"]) == ("REDIS", "standalone", url)
    assert (cache["prefix"], cache["topology"]) == ("REDIS_CACHE", "memory")
    values = found["values"]
    assert values["password"] == {"source": "REDIS_URL", "value": "***"}
    assert values["ssl_password"] == {"source": "REDIS_SSL_PASSWORD", "value": "***"}
    assert values["socket_timeout"]["value"] is None
    assert values["decode_responses"] == {"source": "default", "value": False}
    assert {name: values[name]["value"] for name in ("port", "max_connections", "retry", "ssl_cert_reqs")} == {
        "port": 7000,
        "max_connections": 1234567,
        "retry": 7,
        "ssl_cert_reqs": "CERT_REQUIRED",
    }
    assert values["retry_on_error"]["value"] == ["builtins.OSError"]
    assert values["circuit_breaker"]["value"] == {"reset_timeout": 2.5}


@pytest.mark.parametrize("arguments", [["ping"], ["ping", "--json"], ["config"], ["config", "--json"], ["cli"]])
def test_no_connection(arguments: list[str], make_app: MakeApp) -> None:
    """Without a connection the commands say so, and fail: what went wrong in init_app may have been caught."""
    app = make_app(PORT="wrong")
    with pytest.raises(ConfigError):
        Redis(app)
    result = run(app, *arguments)
    assert result.exit_code == 1
    assert result.output == "Error: The application 'app' has no Redis: call init_app() of one with it.\n"


def test_config_as_it_was_at_init_app(make_app: MakeApp) -> None:
    """Later changes of app.config have no effect, here neither."""
    app = make_app(PORT=7)
    AsyncRedis(app)
    app.config.update(REDIS_PORT=8, REDIS_URL="redis://elsewhere")
    assert description(app)["port"] == ("REDIS_PORT", "7")


# flask redis cli


class Programs:
    """Fake programs on the PATH, which print their arguments and what they find in their environment."""

    SCRIPT = """#!/bin/sh
printf '%s\\n' "${0##*/}" "$@"
for name in REDISCLI_AUTH VALKEYCLI_AUTH IREDIS_URL IREDIS_DSN SSL_CERT_FILE SSL_CERT_DIR; do
    eval "printf '%s\\n' \\"$name=\\${$name-unset}\\""
done
exit 7
"""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        directory.mkdir()
        # What an embedded server tidies up with.
        (directory / "rm").symlink_to(shutil.which("rm") or "")
        monkeypatch.setenv("PATH", str(directory))
        monkeypatch.setattr(os, "execvpe", self._become)
        self._ended = subprocess.CompletedProcess[str]([], 0, "")

    def install(self, *names: str) -> None:
        """Put programs on the PATH."""
        for name in names:
            path = self._directory / name
            path.write_text(self.SCRIPT)
            path.chmod(0o700)

    def _become(self, file: str, arguments: list[str], environment: dict[str, str]) -> t.NoReturn:
        # The process of the tests cannot become another program.
        self._ended = subprocess.run(
            arguments, executable=file, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        sys.exit(self._ended.returncode)

    def open(self, app: Flask, *arguments: str) -> tuple[list[str], dict[str, str]]:
        """The program with its arguments, and the part of its environment that was set."""
        result = run(app, "cli", *arguments)
        assert result.exit_code == 7, result.output
        assert result.output == ""
        lines = self._ended.stdout.splitlines()
        environment = dict(line.split("=", 1) for line in lines[-6:])
        return lines[:-6], {name: value for name, value in environment.items() if value != "unset"}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """A PATH with nothing on it, for now."""
    return Programs(tmp_path / "bin", monkeypatch)


def test_cli_prefers_valkey_cli(make_app: MakeApp, programs: Programs) -> None:
    """valkey-cli, else redis-cli, else iredis; with none of them, what to install."""
    app = make_app(HOST="localhost", PORT=7)
    Redis(app)
    result = run(app, "cli")
    assert result.exit_code == 1
    assert "install the package valkey-tools or redis-tools" in result.output
    for name in "iredis", "redis-cli", "valkey-cli":
        programs.install(name)
        (program, *arguments), environment = programs.open(app)
        assert program == name
        if name == "iredis":
            assert arguments == []
            assert environment == {"IREDIS_URL": "redis://localhost:7/0"}
        else:
            assert arguments == ["-h", "localhost", "-p", "7"]
            assert environment == {}


def auth(password: str) -> dict[str, str]:
    """The variables with the password for redis-cli and valkey-cli."""
    return {"REDISCLI_AUTH": password, "VALKEYCLI_AUTH": password}


@pytest.mark.parametrize(
    ("config", "arguments", "environment", "iredis"),
    [
        (
            {"URL": "redis://alice:p%40ss@localhost:7/3"},
            ["-h", "localhost", "-p", "7", "-n", "3", "--user", "alice"],
            auth("p@ss"),
            {"IREDIS_URL": "redis://alice:p%40ss@localhost:7/3"},
        ),
        (
            {"PASSWORD": b"hush", "HOST": "::1"},
            ["-h", "::1", "-p", "6379"],
            auth("hush"),
            {"IREDIS_URL": "redis://:hush@[::1]:6379/0"},
        ),
        (
            {"USERNAME": "alice"},
            ["-h", "localhost", "-p", "6379", "--user", "alice"],
            auth(""),
            {"IREDIS_URL": "redis://alice:@localhost:6379/0"},
        ),
        (
            {"CREDENTIAL_PROVIDER": redis_py.UsernamePasswordCredentialProvider("alice", "hush")},
            ["-h", "localhost", "-p", "6379", "--user", "alice"],
            auth("hush"),
            {"IREDIS_URL": "redis://alice:hush@localhost:6379/0"},
        ),
        (
            {"CREDENTIAL_PROVIDER": redis_py.UsernamePasswordCredentialProvider(password="hush")},
            ["-h", "localhost", "-p", "6379"],
            auth("hush"),
            {"IREDIS_URL": "redis://:hush@localhost:6379/0"},
        ),
        (
            {"URL": "unix://:hush@/run/my%20redis.sock?db=2"},
            ["-s", "/run/my redis.sock", "-n", "2"],
            auth("hush"),
            {"IREDIS_URL": "unix://:hush@/run/my%20redis.sock?db=2"},
        ),
        (
            {"URL": "rediss://host", "SSL_CA_CERTS": "/ca.pem", "SSL_CA_PATH": "/certs"},
            ["-h", "host", "-p", "6379", "--tls", "--sni", "host", "--cacert", "/ca.pem", "--cacertdir", "/certs"],
            {},
            {"IREDIS_URL": "rediss://host:6379/0", "SSL_CERT_FILE": "/ca.pem", "SSL_CERT_DIR": "/certs"},
        ),
        (
            {"URL": "rediss://127.0.0.1", "SSL_CERT_REQS": "none"},
            ["-h", "127.0.0.1", "-p", "6379", "--tls", "--insecure"],
            {},
            {"IREDIS_URL": "rediss://127.0.0.1:6379/0?ssl_cert_reqs=none"},
        ),
        (
            {"URL": "rediss://[::1]", "SSL_CERTFILE": "/c", "SSL_KEYFILE": "/k", "SSL_CERT_REQS": ssl.CERT_NONE},
            ["-h", "::1", "-p", "6379", "--tls", "--cert", "/c", "--key", "/k", "--insecure"],
            {},
            "iredis takes no certificates: install valkey-cli or redis-cli.",
        ),
        (
            {"CONNECTION_POOL": redis_py.ConnectionPool.from_url("rediss://:hush@127.0.0.1:7/2")},
            ["-h", "127.0.0.1", "-p", "7", "-n", "2", "--tls"],
            auth("hush"),
            {"IREDIS_URL": "rediss://:hush@127.0.0.1:7/2"},
        ),
        (
            {"URL": "redis+cluster://:hush@127.0.0.1:1,127.0.0.1:2"},
            ["-h", "127.0.0.1", "-p", "1", "-c"],
            auth("hush"),
            {"IREDIS_URL": "redis://:hush@127.0.0.1:1/0"},
        ),
        (
            {"CLASS": "redis.RedisCluster", "STARTUP_NODES": [ClusterNode("::1", 7)], "SSL": True},
            ["-h", "::1", "-p", "7", "--tls", "-c"],
            {},
            {"IREDIS_URL": "rediss://[::1]:7/0"},
        ),
    ],
)  # fmt: skip
def test_cli_options(
    config: dict[str, t.Any],
    arguments: list[str],
    environment: dict[str, str],
    iredis: dict[str, str] | str,
    make_app: MakeApp,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program gets what the application connects with, and the password from the environment alone."""
    for name in "REDISCLI_AUTH", "IREDIS_URL", "IREDIS_DSN":
        monkeypatch.setenv(name, "of something else")
    app = make_app(**config)
    Redis(app)
    programs.install("iredis")
    if isinstance(iredis, str):
        assert iredis in run(app, "cli").output
    else:
        assert programs.open(app) == (["iredis"], iredis)
    programs.install("redis-cli")
    assert programs.open(app) == (["redis-cli", *arguments], environment)


def test_cli_passes_arguments_on(make_app: MakeApp, programs: Programs) -> None:
    """What follows is for the program."""
    programs.install("redis-cli")
    app = make_app(HOST="localhost")
    Redis(app)
    place = ["redis-cli", "-h", "localhost", "-p", "6379"]
    assert programs.open(app, "INFO", "memory")[0] == [*place, "INFO", "memory"]
    assert programs.open(app, "--", "--bigkeys")[0] == [*place, "--bigkeys"]


def test_cli_chooses_the_connection(make_app: MakeApp, programs: Programs) -> None:
    """REDIS, or the only one, need not be named; of several others one must be."""
    programs.install("redis-cli")
    app = make_app("only")
    add(app, CACHE="redis://localhost:7")
    assert "7" in programs.open(app)[0]
    add(app, QUEUE="redis://localhost:8")
    result = run(app, "cli")
    assert result.exit_code == 2
    assert "Say which connection with --prefix; there are: CACHE, QUEUE." in result.output
    assert "8" in programs.open(app, "--prefix", "QUEUE")[0]
    add(app, REDIS="redis://localhost:9")
    assert "9" in programs.open(app)[0]


def test_cli_of_what_it_cannot_open(make_app: MakeApp, programs: Programs) -> None:
    """memory:// has no server, and a client without a pool no address that could be known."""
    programs.install("redis-cli")
    app = make_app(CLASS=dict, PEM_URL="rediss://localhost", PEM_SSL_CA_DATA="-----BEGIN CERTIFICATE-----")
    Redis(app)
    Redis(app, "REDIS_PEM")
    add(app, MEMORY="memory://")
    for prefix, message in {
        "MEMORY": "memory:///0 is in the process of the application",
        "REDIS": "'dict' object has no attribute 'connection_pool'",
        "REDIS_PEM": "take no certificates but from a file",
    }.items():
        result = run(app, "cli", "--prefix", prefix)
        assert result.exit_code == 1
        assert message in result.output


def test_cli_of_sentinel(make_app: MakeApp, sentinel_group: SentinelGroup, programs: Programs) -> None:
    """The sentinels say where the master, or a replica, is right now. Without them there is an error."""
    programs.install("valkey-cli")
    app = make_app()
    add(app, REDIS=sentinel_group.url, REPLICA=f"{sentinel_group.url}?role=replica")
    assert programs.open(app)[0] == ["valkey-cli", "-h", "127.0.0.1", "-p", str(sentinel_group.master().port)]
    replicas = {str(server.port) for server in sentinel_group.replicas()}
    assert programs.open(app, "--prefix", "REPLICA")[0][-1] in replicas
    for sentinel in sentinel_group.sentinels:
        sentinel.kill()
    result = run(app, "cli")
    assert result.exit_code == 1
    assert "No master found" in result.output


def test_cli_of_a_cluster(make_app: MakeApp, cluster_group: ClusterGroup, programs: Programs) -> None:
    """A node that takes no connection is passed by."""
    programs.install("valkey-cli")
    app = make_app(URL=cluster_group.url)
    Redis(app)
    dead, first, *_ = cluster_group.servers
    dead.kill()
    assert programs.open(app)[0] == ["valkey-cli", "-h", "127.0.0.1", "-p", str(first.port), "-c"]


def test_cli_of_embedded(make_app: MakeApp, programs: Programs, capfd: pytest.CaptureFixture[str]) -> None:
    """The server is started, and lives until the program ends."""
    programs.install("valkey-cli")
    app = make_app(URL="embedded://")
    Redis(app)
    assert run(app, "cli", "PING").exit_code == 7
    program, option, path, *arguments = capfd.readouterr().out.splitlines()
    assert (program, option, arguments[0]) == ("valkey-cli", "-s", "PING")
    assert Path(path).is_socket()


class RealProgram(t.NamedTuple):
    """A server, and the configuration of an application that uses it."""

    server: Server
    config: dict[str, t.Any]


@pytest.mark.parametrize("way", ["password", "socket", "tls", "sentinel", "cluster", "embedded"])
def test_real_redis_cli(way: str, flask: Run, request: pytest.FixtureRequest) -> None:
    """The real program, in the place of the process, finds the server and gets in."""
    if not any(os.access(Path(folder, "redis-cli"), os.X_OK) for folder in os.get_exec_path()):
        pytest.skip("there is no redis-cli on the PATH")
    config: dict[str, t.Any] = {}
    if way == "password":
        server: Server = request.getfixturevalue("server")
        server.command("ACL", "SETUSER", "alice", "on", ">p@ss", "~*", "+@all")
        config["REDIS_URL"] = f"redis://alice:p%40ss@127.0.0.1:{server.port}/3"
    elif way == "socket":
        config["REDIS_URL"] = request.getfixturevalue("server").unix_url
    elif way == "tls":
        tls_server: TlsServer = request.getfixturevalue("tls_server")
        config = {"REDIS_URL": tls_server.url, "REDIS_SSL_CA_CERTS": str(tls_server.certificates.ca)}
    elif way == "embedded":
        config["REDIS_URL"] = "embedded://"
    else:
        config["REDIS_URL"] = request.getfixturevalue(f"{way}_group").url
    done = flask("redis", "cli", stdin="SET key value\nGET key\n", **config)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if not line.startswith("-> Redirected")] == ["OK", "value"]
    assert flask("redis", "cli", "GET", "key", **config).stdout == "value\n"


def test_no_secret_in_the_arguments_of_a_process(flask: Run, tmp_path: Path) -> None:
    """The process that flask becomes shows the password to nobody, and its status is that of flask."""
    program = tmp_path / "bin" / "valkey-cli"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nprint(sys.argv[1:], os.environ['REDISCLI_AUTH'])\nsys.exit(5)\n"
    )
    program.chmod(0o700)
    done = flask("redis", "cli", env={"PATH": str(program.parent)}, REDIS_URL="redis://:hush@localhost")
    assert (done.returncode, done.stderr) == (5, "")
    assert done.stdout == "['-h', 'localhost', '-p', '6379'] hush\n"


# What an application gets, and keeps


def test_registered_once(make_app: MakeApp) -> None:
    """However many connections an application has, it has the commands once, and may have had a request before."""
    app = make_app()
    app.test_client().get("/")
    for prefix in "REDIS", "CACHE", "QUEUE":
        app.config[f"{prefix}_URL"] = "memory://"
        Redis(app, prefix)
    AsyncRedis(app)
    assert app.cli.commands == {"redis": cli.group}
    assert len(app.shell_context_processors) == 1
    assert run(app, "--help").output.count("ping") == 1


if importlib.util.find_spec("quart"):

    def test_quart(server: Server) -> None:
        """Quart's applications have the commands as well."""
        from quart import Quart

        app = Quart("app")
        app.config["REDIS_URL"] = server.url
        redis = AsyncRedis(t.cast(t.Any, app))
        result = app.test_cli_runner().invoke(args=["redis", "ping", "--timeout", "20"])
        assert result.exit_code == 0
        assert f"redis://127.0.0.1:{server.port}/0" in result.output
        assert app.make_shell_context()["redis"] is redis


def test_an_application_keeps_its_own_command(make_app: MakeApp) -> None:
    """A command of the application's own with this name stays, whether it is made before or after."""

    @click.command("redis")
    def own() -> None:
        click.echo("my own")

    before, after = make_app("before"), make_app("after")
    before.cli.add_command(own)
    Redis(before)
    Redis(after)
    after.cli.add_command(own)
    for app in before, after:
        assert run(app).output == "my own\n"


def test_shell(make_app: MakeApp) -> None:
    """The shell has the extensions by name; names of the application's own win."""
    app = make_app()
    app.shell_context_processor(lambda: {"queue": "my own"})
    redis, other, later = Redis(app), Redis(app, "REDIS_CACHE"), AsyncRedis(app, "Jobs")
    AsyncRedis(app)
    Redis(app, "QUEUE")
    context = app.make_shell_context()
    assert context["redis"] is redis
    assert context["redis_cache"] is other
    assert context["jobs"] is later
    assert context["queue"] == "my own"
    app.extensions.clear()
    assert "redis" not in app.make_shell_context()


def test_shell_as_a_process(flask: Run, server: Server) -> None:
    """Commands work in ``flask shell``."""
    done = flask(
        "shell",
        stdin="print(redis.set('key', 'value'), links.get('key'))\n",
        REDIS_URL=server.url,
        LINKS_URL=server.url,
    )
    assert done.returncode == 0
    assert "True b'value'" in done.stdout
