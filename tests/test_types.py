"""What a type checker and an editor see of the extension: ``make check`` reads this file, and pytest runs it.

Each ``ignore`` below is an assertion too: the checkers report those that nothing needs.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc

import pytest
import redis
import redis.asyncio
from flask import Flask
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.client import Pipeline
from typing_extensions import assert_type

import flask_redis

from .conftest import class_of


@pytest.fixture
def app() -> Flask:
    """An application without a client."""
    app = Flask(__name__)
    app.config["REDIS_URL"] = "memory://"
    return app


@pytest.fixture
def extension(app: Flask) -> cabc.Iterator[flask_redis.Redis]:
    """The extension, with a client of the application whose context is active."""
    extension = flask_redis.Redis(app)
    with app.app_context():
        yield extension


def test_a_command_has_the_reply_type_of_redis_py(extension: flask_redis.Redis) -> None:
    """``redis.get`` is what it is on redis-py's client, and not an awaitable."""
    extension.set("key", "value")
    assert_type(extension.connection.get("key"), bytes | str | None)
    assert assert_type(extension.get("key"), bytes | str | None) == b"value"


def test_hgetall_is_a_dictionary(extension: flask_redis.Redis) -> None:
    """``redis.hgetall`` completes as a dictionary does."""
    extension.hset("hash", mapping={"field": 1})
    assert_type(extension.connection.hgetall("hash"), dict[bytes | str, bytes | str])
    assert assert_type(extension.hgetall("hash"), dict[bytes | str, bytes | str]) == {b"field": b"1"}


def test_pipeline_is_a_pipeline(extension: flask_redis.Redis) -> None:
    """``redis.pipeline`` gives redis-py's pipeline, in a ``with`` statement too."""
    assert_type(extension.connection.pipeline(), Pipeline)
    with assert_type(extension.pipeline(transaction=False), Pipeline) as pipeline:
        assert isinstance(assert_type(pipeline, Pipeline).incr("counter"), Pipeline)


def test_the_extension_is_a_redis_client(extension: flask_redis.Redis) -> None:
    """A parameter that is declared as ``redis.Redis`` takes the extension."""

    def takes(client: redis.Redis) -> redis.Redis:
        return client

    assert takes(extension) is extension


def test_a_method_can_be_taken_before_there_is_an_application(app: Flask) -> None:
    """A method that is taken from the extension keeps its type, and finds its application when it is called."""
    extension = flask_redis.Redis()
    exists: cabc.Callable[[str], int] = extension.exists
    extension.init_app(app)
    with app.app_context():
        assert exists("key") == 0


def test_its_own_names_have_types_of_their_own(app: Flask, extension: flask_redis.Redis) -> None:
    """The names that the extension adds have the types that they have, whatever redis-py has under those names."""
    assert assert_type(extension.app, Flask | None) is app
    assert assert_type(extension.get_app(), Flask) is app
    assert assert_type(extension.config_prefix, str) == "REDIS"
    assert class_of(assert_type(extension.connection, redis.Redis)) is redis.Redis
    assert issubclass(assert_type(flask_redis.ConfigError("message"), flask_redis.ConfigError).__class__, ValueError)


def test_the_constructor_takes_an_application_and_a_prefix(app: Flask) -> None:
    """The constructor and ``init_app`` take what they say, and nothing of ``redis.Redis()``."""
    assert_type(flask_redis.Redis(), flask_redis.Redis)
    assert_type(flask_redis.Redis(config_prefix="CACHE"), flask_redis.Redis)
    assert_type(flask_redis.Redis(app, "REDIS"), flask_redis.Redis)
    flask_redis.Redis().init_app(app, config_prefix="SESSION")
    with pytest.raises(TypeError):
        flask_redis.Redis(host="localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        flask_redis.Redis().init_app("app")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_an_unknown_command_is_an_error(extension: flask_redis.Redis) -> None:
    """A misspelt command is an error in the editor, before it is one at run time."""
    with pytest.raises(AttributeError):
        extension.gett("key")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        extension.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_the_extension_for_asyncio_is_an_asyncio_client(app: Flask) -> None:
    """A command of ``AsyncRedis`` is awaited, and has the reply type of redis-py's asyncio client then."""
    extension = flask_redis.AsyncRedis(app)

    def takes(client: redis.asyncio.Redis) -> redis.asyncio.Redis:
        return client

    async def use() -> None:
        await extension.set("key", "value")
        assert_type(await extension.connection.get("key"), bytes | str | None)
        assert assert_type(await extension.get("key"), bytes | str | None) == b"value"
        assert assert_type(await extension.hgetall("hash"), dict[bytes | str, bytes | str]) == {}
        async with assert_type(extension.pipeline(), AsyncPipeline) as pipeline:
            assert isinstance(pipeline, AsyncPipeline)

    with app.app_context():
        asyncio.run(use())
    assert takes(extension) is extension
