"""Moving here from version 1.0 and from other packages: what docs/moving.md says is so.

What version 1.0 documented is in ``test_extension`` and ``test_config`` too, key by key.
"""

from __future__ import annotations

import json
import re
import ssl
import typing as t
from pathlib import Path

import pytest
import redis as redis_py

from flask_redis import ConfigError
from flask_redis import FlaskRedis
from flask_redis import Redis

from .conftest import MakeApp
from .harness.processes import run_python
from .harness.servers import Server

#: What tests/version_1_app.py prints with version 1.0 itself, with Flask 2.2 and redis-py 5.3.
WITH_VERSION_1 = {
    "usual": [True, "b'value'", 1],
    "attributes": [True, True, "REDIS"],
    "connection": True,
    "class": "Redis",
    "pipeline": [2, 3],
    "prefix": ["b'value'", "b'other'", ["REDIS", "REDIS2"]],
    "taken": "Already registered config prefix 'REDIS2'.",
    "factory": [["b'0'", True], ["b'1'", True]],
    "request": "b'0'",
    "outside of a context": "RuntimeError",
    "keys": ["ä", 5, "replace", 4],
    "written back": [True, True],
    "UNIX_SOCKET_PATH": True,
    "HOST": True,
    "pool": True,
    "password": "secret",
    "own class": "b'value' SEK",
    "path of a class": "Redis",
}


def test_an_application_of_version_1(server: Server) -> None:
    """What the documentation of 1.0 showed works as it did."""
    path = Path(__file__).with_name("version_1_app.py")
    done = run_python(path, server.host, str(server.port), str(server.unix_socket))
    assert json.loads(done.stdout) == WITH_VERSION_1


# --- What differs from version 1.0 -----------------------------------------------------------------------------------


def test_what_is_written_back(make_app: MakeApp) -> None:
    """The database is a number, the user is redis-py's username, and nothing is written that the URL does not state."""
    app = make_app(URL="redis://me@example.com/3", PASSWORD="secret")
    redis = Redis(app)
    assert app.config["REDIS_DB"] == 3
    assert app.config["REDIS_USERNAME"] == "me"
    assert "REDIS_USER" not in app.config
    assert "REDIS_PORT" not in app.config
    found = redis.connection_pool.connection_kwargs
    assert (found["username"], found["password"]) == ("me", "secret")


def test_an_encrypted_url_is_encrypted(make_app: MakeApp) -> None:
    """The scheme of the URL says how to connect."""
    assert Redis(make_app(URL="rediss://h")).connection_pool.connection_class is redis_py.SSLConnection
    pool = Redis(make_app(URL="unix:///run/redis.sock")).connection_pool
    assert pool.connection_class is redis_py.UnixDomainSocketConnection


def test_a_socket_stays_in_host(make_app: MakeApp) -> None:
    """A path in HOST is used without its file://, and the configuration stays as it was."""
    app = make_app(HOST="file:///run/redis.sock")
    assert Redis(app).connection_pool.connection_kwargs["path"] == "/run/redis.sock"
    assert {key: value for key, value in app.config.items() if key.startswith("REDIS_")} == {
        "REDIS_HOST": "file:///run/redis.sock"
    }


def test_a_missing_variable_does_not_turn_verification_off(make_app: MakeApp) -> None:
    """None is "not set", also where it means "do not verify" to redis-py."""
    found = Redis(make_app(URL="rediss://h", SSL_CERT_REQS=None)).connection_pool.connection_kwargs
    assert found.get("ssl_cert_reqs", "required") == "required"


def test_the_prefix_of_the_constructor_stays(make_app: MakeApp) -> None:
    """A prefix that was given to the constructor is used by init_app."""
    app = make_app()
    app.config["CACHE_DB"] = 5
    redis = Redis(config_prefix="CACHE")
    redis.init_app(app)
    assert list(app.extensions["redis"]) == ["CACHE"]


def test_errors_without_a_client(make_app: MakeApp) -> None:
    """They are RuntimeErrors that say what to do, and AttributeErrors for those who only ask."""
    redis = Redis()
    with pytest.raises(RuntimeError) as caught:
        redis.get("key")
    assert isinstance(caught.value, AttributeError)
    with make_app("bare").app_context(), pytest.raises(RuntimeError, match="'bare'"):
        redis.get("key")


def test_the_mapping_cannot_be_written_to(make_app: MakeApp) -> None:
    """Nobody can put a client into app.extensions["redis"] by mistake."""
    app = make_app()
    Redis(app)
    with pytest.raises(TypeError):
        app.extensions["redis"]["OTHER"] = redis_py.Redis()


# --- The URLs of other packages --------------------------------------------------------------------------------------

PAGE = Path(__file__).parent.parent / "docs" / "moving.md"
ROWS = re.findall(
    r"^\| `(\w[\w+]*://[^`]*)` \| (accepted|error).*: `([^`]*)` \|$", PAGE.read_text("utf-8"), re.MULTILINE
)


def test_the_tables_are_read() -> None:
    """The rows below are those of the page."""
    assert len(ROWS) == len(re.findall(r"^.*\| (?:accepted|error)\b", PAGE.read_text("utf-8"), re.MULTILINE)) > 20


@pytest.mark.parametrize(("url", "outcome", "shown"), ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("extension_class", [Redis, FlaskRedis])
def test_urls_of_other_packages(
    extension_class: type[Redis], url: str, outcome: str, shown: str, make_app: MakeApp
) -> None:
    """Each row of the page's tables is so: the URL is accepted, or the error gives the one to write."""
    app = make_app(URL=url)
    if outcome == "accepted":
        assert repr(extension_class(app)) == f"<{extension_class.__name__} REDIS {shown}>"
    else:
        with pytest.raises(ConfigError) as caught:
            extension_class(app)
        assert shown in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("CERT_NONE", ssl.CERT_NONE), ("CERT_OPTIONAL", ssl.CERT_OPTIONAL), ("CERT_REQUIRED", ssl.CERT_REQUIRED)],
)
def test_celerys_words_for_verification(word: str, expected: ssl.VerifyMode, make_app: MakeApp) -> None:
    """They mean what they mean to Celery, and only CERT_NONE accepts another host."""
    redis = Redis(make_app(URL=f"rediss://h?ssl_cert_reqs={word}"))
    connection = t.cast(t.Any, redis.connection_pool.connection_class(**redis.connection_pool.connection_kwargs))
    assert connection.cert_reqs == expected
    assert connection.check_hostname is (expected != ssl.CERT_NONE)


def sentinel_connection(redis: Redis) -> dict[str, t.Any]:
    """What the connections to the sentinels are made with."""
    manager = t.cast(t.Any, redis.connection_pool).sentinel_manager
    return t.cast("dict[str, t.Any]", manager.sentinels[0].connection_pool.connection_kwargs)


def test_options_for_the_sentinels(make_app: MakeApp) -> None:
    """The URL states them, or keys, or SENTINEL_KWARGS, and the one who comes first in this list wins."""
    redis = Redis(
        make_app(
            URL="redis+sentinel://h/shop?sentinel_socket_timeout=0.1&socket_timeout=3",
            SENTINEL_SOCKET_TIMEOUT="0.2",
            SENTINEL_SOCKET_CONNECT_TIMEOUT="0.3",
            SENTINEL_PASSWORD="geheim",
            SENTINEL_KWARGS={"socket_timeout": 0.4, "socket_connect_timeout": 0.4, "username": "me"},
        )
    )
    found = sentinel_connection(redis)
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (0.1, 0.3)
    assert (found["username"], found["password"]) == ("me", "geheim")
    assert redis.connection_pool.connection_kwargs["socket_timeout"] == 3
    with pytest.raises(ConfigError, match="sentinel_socket_timeout is 'soon'; accepted: a number of seconds"):
        Redis(make_app(URL="redis+sentinel://h/shop?sentinel_socket_timeout=soon"))
    with pytest.raises(ConfigError, match="'sentinel_socket_timeout' is not an option"):
        Redis(make_app(URL="redis://h?sentinel_socket_timeout=1"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"URL": "redis://:secret@mymaster/1", "SENTINELS": "one,two"},
            "accepted: redis+sentinel://:***@host:26379,host:26379/mymaster/1.",
        ),
        (
            {"URL": "rediss://mymaster:6379/1/?is_master=0"},
            "accepted: rediss+sentinel://host:26379,host:26379/mymaster/1?role=replica.",
        ),
        (
            {"URL": "valkey://mymaster/1?is_master=true"},
            "accepted: valkey+sentinel://host:26379,host:26379/mymaster/1.",
        ),
        ({"URL": "sentinel://one"}, "accepted: redis+sentinel://one/service/0, "),
        ({"URL": "redis-sentinel://[::1]:26379/2"}, "accepted: redis+sentinel://[::1]:26379/service/2, "),
        (
            {"URL": "sentinel://:sec;sentinel://ret@one"},
            "accepted: redis+sentinel://:***@host:26379,host:26379/service/0",
        ),
        ({"URL": "redis+sentinel://one/shop?client_type=both"}, "role is 'both'; accepted: master or replica."),
    ],
)
def test_the_url_to_write(config: dict[str, t.Any], message: str, make_app: MakeApp) -> None:
    """The error gives the URL to write, with what is known and without the password."""
    with pytest.raises(ConfigError) as caught:
        Redis(make_app(**config))
    assert message in str(caught.value)
    assert not re.search("sec|ret@", str(caught.value))


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"URL": "redis://mymaster/1"}, "redis://mymaster:6379/1"),
        ({"URL": "redis://mymaster:6379/1", "SENTINELS": "one"}, "redis://mymaster:6379/1"),
        ({"URL": "redis://one", "SENTINELS": "one", "SENTINEL_SERVICE": "shop"}, "redis://one:6379/0"),
        ({"URL": "memory://", "SENTINELS": "one"}, "memory:///0"),
    ],
)
def test_a_url_that_may_be_that_of_a_host(config: dict[str, t.Any], url: str, make_app: MakeApp) -> None:
    """A URL that need not be django-redis's for a service wins over other keys, as ever."""
    assert repr(Redis(make_app(**config))) == f"<Redis REDIS {url}>"
