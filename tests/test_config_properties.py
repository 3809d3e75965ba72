"""Configurations that nobody thought of: each is understood as asked, or refused with the name of a key."""

from __future__ import annotations

import re
import traceback
import typing as t
import urllib.parse
import warnings

from flask import Flask
from hypothesis import assume
from hypothesis import example
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from flask_redis import ConfigError
from flask_redis import Redis

#: A part of every secret that is generated, and of nothing else.
MARK = "GEHEIM"

BAD: t.Any = object()

words = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=8)
secrets = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8).map(lambda rest: MARK + rest)
junk = st.one_of(
    st.sampled_from([[], {}, (), object(), "", "junk", b"junk", -1, 1.5, float("nan"), float("inf"), 10**400])
)


def pairs(strategy: st.SearchStrategy[t.Any], *, texts: bool = True) -> st.SearchStrategy[tuple[t.Any, t.Any]]:
    """Values as themselves or as the text that an environment gives, each with what it should become."""
    values = strategy.map(lambda value: (value, value))
    return values | strategy.map(lambda value: (str(value), value)) if texts else values


truths = st.sampled_from([("yes", True), ("TRUE", True), (1, True), (True, True), ("off", False), (0, False)])
timeouts = pairs(st.floats(0.001, 1e6)) | st.just((None, None))

#: What may stand under a key, with what the client is to have; BAD is what no client can have.
VALID: dict[str, st.SearchStrategy[tuple[t.Any, t.Any]]] = {
    "PORT": pairs(st.integers(1, 65535)),
    "DB": pairs(st.integers(0, 2**40)),
    "SOCKET_TIMEOUT": timeouts,
    "SOCKET_CONNECT_TIMEOUT": timeouts,
    "HEALTH_CHECK_INTERVAL": pairs(st.integers(0, 10**9)),
    "DECODE_RESPONSES": truths,
    "SOCKET_KEEPALIVE": truths,
    "ENCODING": pairs(st.sampled_from(["utf-8", "latin-1", "ascii"]), texts=False),
    "CLIENT_NAME": pairs(words, texts=False),
    "USERNAME": pairs(words, texts=False),
    "PASSWORD": pairs(secrets, texts=False),
}
INVALID: dict[str, st.SearchStrategy[t.Any]] = {
    "PORT": junk | st.integers(max_value=0) | st.integers(65536),
    "DB": junk | st.integers(max_value=-1),
    "SOCKET_TIMEOUT": st.sampled_from(["", "junk", -1, 0, "nan", float("inf"), [], 10**400]),
    "SOCKET_CONNECT_TIMEOUT": st.sampled_from(["", "junk", -1, 0, "nan", float("inf"), [], 10**400]),
    "HEALTH_CHECK_INTERVAL": junk,
    "DECODE_RESPONSES": st.sampled_from(["", "junk", -1, 2, [], {}]),
    "SOCKET_KEEPALIVE": st.sampled_from(["", "junk", -1, 2, [], {}]),
    "ENCODING": st.sampled_from(["", "junk", 8, []]),
    "CLIENT_NAME": st.sampled_from([1.5, [], {}, True]),
    "USERNAME": st.sampled_from([1.5, [], {}, True]),
    "PASSWORD": st.sampled_from([1.5, [MARK], {MARK: MARK}, True]),
}


@st.composite
def keys(draw: st.DrawFn, wrong: bool) -> tuple[dict[str, t.Any], dict[str, t.Any], set[str]]:
    """Values under single keys, what the client is to have, and the keys that are wrong."""
    config, expected, bad = {}, {}, set()
    for key in draw(st.sets(st.sampled_from(sorted(VALID)))):
        if wrong and draw(st.integers(0, 3)) == 0:
            config[key] = draw(INVALID[key])
            bad.add(key)
        else:
            config[key], expected[key.lower()] = draw(VALID[key])
    return config, expected, bad


@st.composite
def urls(draw: st.DrawFn) -> tuple[str, dict[str, t.Any]]:
    """A URL, and what the client is to have."""
    expected: dict[str, t.Any] = {}
    url = draw(st.sampled_from(["redis://", "rediss://", "REDIS://"]))
    if draw(st.booleans()):
        expected["username"] = draw(words)
        url += expected["username"]
        if draw(st.booleans()):
            expected["password"] = draw(secrets)
            url += ":" + urllib.parse.quote(expected["password"], safe="")
        url += "@"
    if draw(st.booleans()):
        host, text = draw(words.map(lambda word: (f"h{word}", f"h{word}")) | st.just(("2001:db8::1", "[2001:db8::1]")))
        expected["host"] = host
        url += text
        if draw(st.booleans()):
            expected["port"] = draw(st.integers(1, 65535))
            url += f":{expected['port']}"
    if draw(st.booleans()):
        expected["db"] = draw(st.integers(0, 99))
        url += f"/{expected['db']}" + draw(st.sampled_from(["", "/"]))
    options = draw(st.sets(st.sampled_from(["socket_timeout", "decode_responses", "client_name", "db"])))
    query = []
    for name in sorted(options):
        text, expected[name] = draw(VALID[name.upper()].filter(lambda pair: pair[0] is not None))
        query.append(f"{name}={urllib.parse.quote(str(text), safe='')}")
    return url + ("?" if query else "") + "&".join(query), expected


def make(config: dict[str, t.Any]) -> tuple[Redis | None, str]:
    """The extension for *config*, or the error with all that a log would show of it."""
    app = Flask("app")
    app.config.update({f"REDIS_{key}": value for key, value in config.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            redis = Redis(app)
        except ConfigError as error:
            return None, "".join(traceback.format_exception_only(type(error), error)) + chained(error)
    return redis, f"{redis!r} {app.extensions['redis']!r} {app.extensions['redis'].settings!r}"


def chained(error: BaseException) -> str:
    """The messages that a traceback shows before that of *error*."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{cause!r}{chained(cause)}" if cause else ""


@settings(max_examples=1000, deadline=None)
@given(keys(wrong=False), st.none() | urls())
def test_what_is_asked_is_what_the_client_has(
    keys: tuple[dict[str, t.Any], dict[str, t.Any], set[str]], url: tuple[str, dict[str, t.Any]] | None
) -> None:
    """Every valid combination of keys and a URL gives a client with just these settings, the URL's before the keys'."""
    config, expected, _ = keys
    if url is not None:
        config["URL"] = url[0]
        expected |= url[1]
    redis, shown = make(config)
    assert redis is not None, shown
    found = redis.connection_pool.connection_kwargs
    assert {name: found[name] for name in expected} == expected
    assert MARK not in shown


@settings(max_examples=500, deadline=None)
@given(keys(wrong=True))
def test_what_cannot_be_is_an_error_that_names_the_key(
    keys: tuple[dict[str, t.Any], dict[str, t.Any], set[str]],
) -> None:
    """A wrong value among others is an error that names its key and no secret."""
    config, _, bad = keys
    assume(bad)
    redis, shown = make(config)
    assert redis is None
    assert any(f"REDIS_{key} is " in shown for key in bad)
    assert MARK not in shown


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.lists(st.integers(), max_size=3)
)
PIECES = "redis rediss unix redis+sentinel redis+cluster valkey memory embedded :// : @ / ? # & = [ ] , % %2F %zz"
MORE_PIECES = "h 6379 0 db password ü \x00"
url_like = st.builds("".join, st.lists(st.sampled_from([*PIECES.split(), *MORE_PIECES.split(" ")]), max_size=12))
NAMES = "HOST CLASS UNIX_SOCKET_PATH RETRY CIRCUIT_BREAKER SENTINELS SENTINEL_SERVICE SENTINEL_KWARGS SSL"
MORE_NAMES = "CONNECTION_POOL URL_FILE PASSWORD_FILE MAX_CONNECTIONS PROTOCOL"


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*NAMES.split(), *MORE_NAMES.split(), *VALID]), anything | url_like, max_size=4),
    st.none() | url_like,
)
@example({"SENTINELS": [1]}, None)
@example({}, "redis+sentinel://h/s?role=x")
def test_nothing_ends_in_another_error(config: dict[str, t.Any], url: str | None) -> None:
    """Whatever stands under the keys, there is a client, or a ConfigError that names a key."""
    redis, shown = make(config | ({"URL": url} if url else {}))
    assert redis is not None or re.match(r"flask_redis\.config\.ConfigError: .*REDIS_[A-Z]", shown)


@settings(max_examples=500, deadline=None)
@given(secrets, url_like, url_like)
def test_a_secret_in_a_broken_url_is_not_shown(secret: str, before: str, after: str) -> None:
    """A password with unescaped characters, in a URL that is no URL, is in no message."""
    _, shown = make({"URL": f"redis://user{before.replace('@', '')}:{secret}{after.replace('@', '')}@host:6379/0"})
    assert MARK not in shown
