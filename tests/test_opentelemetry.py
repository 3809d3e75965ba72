"""OpenTelemetry's instrumentation of redis-py, and redis-py's own metrics, see the commands of the extension."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import re
import typing as t
from pathlib import Path

import pytest
import redis as redis_py
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_redis import AsyncRedis
from flask_redis import Redis
from flask_redis.recording import record_commands

from .conftest import MakeApp
from .harness.cluster import ClusterGroup
from .harness.processes import run_python
from .harness.servers import Server

PAGE = Path(__file__).parent.parent / "docs" / "opentelemetry.md"


class Telescope:
    """The spans of a test, which are exported to memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def instrument(self) -> None:
        """Have redis-py instrumented, which is so for the whole process."""
        RedisInstrumentor().instrument(tracer_provider=self.provider)

    def instrument_requests(self, app: Flask) -> None:
        """Have the requests of *app* instrumented."""
        instrumentor: t.Any = FlaskInstrumentor()
        instrumentor.instrument_app(app, tracer_provider=self.provider)

    def spans_of_a_request(self, app: Flask) -> list[ReadableSpan]:
        """Make a request, and return the spans whose parent is its span."""
        self.spans()
        assert app.test_client().get("/").status_code == 200
        *spans, request = self.spans()
        assert request.context is not None
        return [span for span in spans if span.parent and span.parent.span_id == request.context.span_id]

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended since this was called last."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans

    def names(self) -> list[str]:
        """The names of these."""
        return [span.name for span in self.spans()]


@pytest.fixture
def telescope() -> cabc.Iterator[Telescope]:
    """A place for spans. At the end redis-py is as it was before."""
    telescope = Telescope()
    yield telescope
    if RedisInstrumentor().is_instrumented_by_opentelemetry:
        RedisInstrumentor().uninstrument()
    telescope.provider.shutdown()


def use(redis: redis_py.Redis) -> None:
    """Two commands, and two in a pipeline."""
    redis.set("{key}", "value")
    redis.get("{key}")
    with redis.pipeline() as pipe:
        pipe.set("{key}", "value")
        pipe.incrby("{key}:number", 2)
        pipe.execute()


async def use_async(redis: t.Any) -> None:
    """The same for asyncio."""
    await redis.set("{key}", "value")
    await redis.get("{key}")
    async with redis.pipeline() as pipe:
        pipe.set("{key}", "value")
        pipe.incrby("{key}:number", 2)
        await pipe.execute()


#: The names of the spans of these.
NAMES: t.Final = ["SET", "GET", "SET INCRBY"]

early_or_late = pytest.mark.parametrize("early", [True, False], ids=["before the extension", "after its first use"])


@early_or_late
def test_request(early: bool, app: Flask, server: Server, telescope: Telescope) -> None:
    """The spans of commands and pipelines are children of the request's span, and the recording has them too."""
    if early:
        telescope.instrument()
    redis = Redis(app)

    @app.get("/")
    def index() -> str:
        use(redis)
        return ""

    telescope.instrument_requests(app)
    if not early:
        app.test_client().get("/")
        telescope.instrument()
    with record_commands() as commands:
        spans = telescope.spans_of_a_request(app)
    assert [span.name for span in spans] == NAMES
    statements = [dict(span.attributes or {}) for span in spans]
    assert [each["db.statement"] for each in statements] == ["SET ? ?", "GET ?", "SET ? ?\nINCRBY ? ?"]
    assert [each["net.peer.port"] for each in statements] == [server.port] * 3
    assert [command.name for command in commands] == ["SET", "GET", "PIPELINE"]
    # What the instrumentation puts between is not taken for the application.
    assert {command.line.partition(":")[0] for command in commands} == {"tests/test_opentelemetry.py"}


@early_or_late
def test_asyncio(early: bool, app: Flask, telescope: Telescope) -> None:
    """So are those of AsyncRedis, in an async view."""
    if early:
        telescope.instrument()
    redis = AsyncRedis(app)

    @app.get("/")
    async def index() -> str:
        await use_async(redis)
        return ""

    telescope.instrument_requests(app)
    if not early:
        app.test_client().get("/")
        telescope.instrument()
    assert [span.name for span in telescope.spans_of_a_request(app)] == NAMES


@early_or_late
def test_cluster(early: bool, make_app: MakeApp, cluster_group: ClusterGroup, telescope: Telescope) -> None:
    """A cluster's commands have their spans, for asyncio too; and none when the instrumentation is off again."""
    if early:
        telescope.instrument()
    app = make_app(URL=cluster_group.url)
    redis, async_redis = Redis(app), AsyncRedis(app)

    async def main() -> None:
        await async_redis.ping()
        if not early:
            await use_async(async_redis)
            telescope.instrument()
        telescope.spans()
        await use_async(async_redis)
        assert telescope.names() == NAMES
        use(redis)
        assert telescope.names()[-3:] == NAMES
        RedisInstrumentor().uninstrument()
        await use_async(async_redis)
        use(redis)
        assert telescope.names() == []

    if not early:
        use(redis)
    asyncio.run(main())


@pytest.mark.parametrize("places", ["socket", "sentinel", "memory", "embedded"], indirect=True)
def test_topologies(places: tuple[dict[str, t.Any], list[Server]], make_app: MakeApp, telescope: Telescope) -> None:
    """There are spans wherever the server is, with a circuit breaker and a log of slow commands too."""
    config, _ = places
    telescope.instrument()
    with Redis(make_app(**config, CIRCUIT_BREAKER=True, SLOW_COMMAND=10)) as redis:
        use(redis)
        # The sentinels were asked for the master first.
        assert telescope.names()[-3:] == NAMES


def test_one_connection(make_app: MakeApp, server: Server, telescope: Telescope) -> None:
    """One connection can be instrumented alone: the client, not the extension."""
    app = make_app(URL=server.url, OTHER_URL=server.url)
    redis, other = Redis(app), Redis(app, "REDIS_OTHER")
    RedisInstrumentor.instrument_client(redis.connection, tracer_provider=telescope.provider)
    use(redis)
    use(other)
    assert telescope.names() == NAMES


def test_no_secret(make_app: MakeApp, server: Server, telescope: Telescope) -> None:
    """No password and no value is in a span: that of the configuration is sent without one."""
    server.command("CONFIG", "SET", "requirepass", "hush")
    telescope.instrument()
    app = make_app(URL=f"redis://:hush@localhost:{server.port}")
    with Redis(app) as redis:
        redis.set("key", "hush")
        with redis.pipeline() as pipe:
            pipe.set("key", "hush")
            pipe.execute()
        redis.execute_command("AUTH", "hush")
        redis.config_set("requirepass", "hush")
        spans = telescope.spans()
        assert [span.name for span in spans] == ["SET", "SET", "AUTH", "CONFIG SET"]
        assert not [span.name for span in spans if "hush" in span.to_json()]


def test_error(app: Flask, telescope: Telescope) -> None:
    """An error is on its span as it was raised: with the arguments that are in its message, as the page warns."""
    telescope.instrument()
    with Redis(app).pipeline() as pipe:
        pipe.set("key", "value")
        pipe.lpush("key", "element")
        with pytest.raises(redis_py.ResponseError):
            pipe.execute()
    (span,) = telescope.spans()
    assert not span.status.is_ok
    (event,) = span.events
    assert "LPUSH key element" in str((event.attributes or {})["exception.message"])


METRICS = """
import asyncio
import sys

from flask import Flask
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from flask_redis import AsyncRedis, Redis

app = Flask("app")
app.config["REDIS_URL"] = sys.argv[1]
redis, async_redis = Redis(app), AsyncRedis(app)
reader = InMemoryMetricReader()
measure_redis(reader)


async def main():
    await async_redis.get("key")


redis.set("key", "hush")
redis.get("key")
with redis.pipeline() as pipe:
    pipe.get("key")
    pipe.execute()
try:
    redis.lpush("key", "hush")
except Exception:
    pass
asyncio.run(main())
text = reader.get_metrics_data().to_json()
assert "hush" not in text
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                print(metric.name, point.attributes.get("db.operation.name", "-"), getattr(point, "count", "-"))
"""


def metrics_function() -> str:
    """What the page defines to have redis-py's metrics."""
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if "def measure_redis" in block)


# redis-py has metrics of its own from 7.2 on: with older versions there is nothing to test.
if redis_py.VERSION >= (7, 2):

    def test_metrics(server: Server) -> None:
        """redis-py's own metrics, had as the page says, count the commands, and those for asyncio.

        They are for a whole process: this one is theirs.
        """
        done = run_python(metrics_function() + METRICS, server.url)
        lines = done.stdout.splitlines()
        counted = {line.removeprefix("db.client.operation.duration ") for line in lines if "duration" in line}
        assert {"SET 1", "GET 2", "MULTI 1"} <= counted, done.stdout
        documented = re.findall(r"^\| `([a-z._]+)` \| `[A-Z_]+` \|", PAGE.read_text("utf-8"), re.MULTILINE)
        assert len(documented) == 4
        assert set(documented) == {line.partition(" ")[0] for line in lines}
