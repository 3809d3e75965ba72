"""The panel for Flask-DebugToolbar, on pages through Flask's client."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import importlib
import re
import sys
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from flask import render_template
from flask import Request
from flask import Response
from flask.sessions import SecureCookieSession
from flask.sessions import SecureCookieSessionInterface
from flask_debugtoolbar import DebugToolbarExtension
from jinja2 import FileSystemLoader
from redis.exceptions import RedisError
from werkzeug.test import create_environ

from flask_redis import AsyncRedis
from flask_redis import Redis

from .conftest import MakeApp

PANEL: t.Final = "flask_redis.debugtoolbar.RedisPanel"
PAGE: t.Final = "<!doctype html><title>A page</title><body></body>"


class Panel(t.NamedTuple):
    """What the toolbar shows of Redis on a page."""

    side_bar: str
    html: str

    @property
    def text(self) -> str:
        """The words in the panel, as HTML writes them."""
        return words(self.html)

    @property
    def rows(self) -> list[str]:
        """The words in each row of the timeline."""
        return [words(row) for row in re.findall(r"<tr class=.*?</tr>", self.html, re.DOTALL)]

    @property
    def bars(self) -> list[tuple[float, float]]:
        """Where each bar begins, and its width, in percent."""
        bars: list[tuple[str, str]] = re.findall(r'<rect x="([\d.]+)%" y="\d+" width="([\d.]+)%"', self.html)
        return [(float(x), float(width)) for x, width in bars]


def words(html: str) -> str:
    """*html* without its tags."""
    return " ".join(re.sub(r"<style>.*</style>|<[^>]*>", " ", html, flags=re.DOTALL).split())


def panel_of(page: str) -> Panel:
    """The panel on a page, and its line in the side bar."""
    side_bar = re.search(r'<li id="flDebugRedisPanel">.*?<small>(.*?)</small>', page, re.DOTALL)
    html = re.search(r'<div id="flDebugRedisPanel-content".*?<div class="flDebugScroll">(.*)</div>', page, re.DOTALL)
    assert side_bar, page
    assert html, page
    return Panel(side_bar[1], html[1])


Show = cabc.Callable[[cabc.Callable[[], object]], Panel]


@pytest.fixture
def app(app: Flask) -> Flask:
    """An application on a real server, with the toolbar on."""
    app.config.update(SECRET_KEY="of the tests", DEBUG_TB_ENABLED=True, DEBUG_TB_PANELS=[PANEL])
    DebugToolbarExtension(app)
    return app


@pytest.fixture
def redis(app: Flask) -> Redis:
    """Its connection."""
    return Redis(app)


@pytest.fixture
def show(app: Flask) -> Show:
    """The panel of a page for which a function is called."""

    def show(function: cabc.Callable[[], object]) -> Panel:
        @app.get("/")
        def view() -> str:
            function()
            return PAGE

        return panel_of(app.test_client().get("/").text)

    return show


def test_the_timeline(show: Show, redis: Redis) -> None:
    """Each round trip has a row with its arguments, its time, its connection, the line that asked, and a bar."""

    def ask() -> None:
        redis.set("a key", 1)
        redis.execute_command("BLPOP", "nothing", 0.05)
        redis.get("a key")
        redis.get("a key")

    panel = show(ask)
    assert re.fullmatch(r"4 round trips, \d+\.\d\d ms, 1 repeated", panel.side_bar)
    assert panel.text.startswith(panel.side_bar)
    shapes = [
        r"SET a key 1 \S+/test_debugtoolbar\.py:(\d+) redis\.set\(&#34;a key&#34;, 1\) REDIS \d+\.\d\d ms",
        r"BLPOP nothing 0\.05 slowest \S+/test_debugtoolbar\.py:(\d+) redis\.execute_command\(.*\) REDIS \d+\.\d\d ms",
        r"GET a key \S+/test_debugtoolbar\.py:(\d+) redis\.get\(&#34;a key&#34;\) REDIS \d+\.\d\d ms",
        r"GET a key repeated \S+/test_debugtoolbar\.py:(\d+) redis\.get\(&#34;a key&#34;\) REDIS \d+\.\d\d ms",
    ]
    lines = [re.fullmatch(shape, row) for shape, row in zip(shapes, panel.rows, strict=True)]
    first = ask.__code__.co_firstlineno
    assert [line and int(line[1]) - first for line in lines] == [1, 2, 3, 4]

    starts = [start for start, _ in panel.bars]
    assert len(starts) == 4
    assert starts == sorted(starts)
    assert all(width >= 0.5 and start + width <= 100 for start, width in panel.bars)
    # It is the one that waits.
    assert panel.bars[1][1] > 40


def test_nothing_asked(show: Show) -> None:
    """A page without Redis says so."""
    panel = show(lambda: None)
    assert panel.side_bar == "0 round trips, 0.00 ms"
    assert panel.text == "This request asked Redis nothing."


def test_one_round_trip(show: Show, redis: Redis) -> None:
    """The only round trip is not called the slowest."""
    panel = show(redis.ping)
    assert panel.side_bar.startswith("1 round trip, ")
    assert panel.rows[0].startswith("PING ")
    assert "slowest" not in panel.text


def test_a_pipeline(show: Show, redis: Redis) -> None:
    """A pipeline is one round trip, with its commands in the row. Those that are many can be folded out."""

    def ask() -> None:
        with redis.pipeline() as pipe:
            for number in range(8):
                pipe.get(f"key {number % 7}")
            pipe.lpush("key 0", 1)
            pipe.get("key 0")
            pipe.execute(raise_on_error=False)

    panel = show(ask)
    assert panel.side_bar.startswith("1 round trip, ")
    seen, _, folded = panel.rows[0].partition(" 4 more ")
    assert seen == "PIPELINE " + " ".join(f"GET key {number}" for number in range(6))
    marked = "1 repeated 1 failed GET key 6 GET key 0 repeated LPUSH key 0 1 GET key 0 failed ResponseError: WRONGTYPE"
    assert folded.startswith(marked)


def test_many(show: Show, redis: Redis) -> None:
    """Of a page that asks a thousand times, and of a pipeline with as many commands, a part is shown."""

    def ask() -> None:
        with redis.pipeline() as pipe:
            for number in range(1000):
                pipe.get(f"key {number}")
            pipe.execute()
        for number in range(1000):
            redis.get(f"another key {number}")

    panel = show(ask)
    assert panel.side_bar.startswith("1001 round trips, ")
    assert len(panel.rows) == len(panel.bars) == 500
    assert panel.text.endswith(" and 501 more round trips")
    assert re.search(r"GET key 5 994 more GET key 6 .* GET key 505 and 494 more \S+\.py:", panel.rows[0])


def test_what_users_type_stays_text(show: Show, redis: Redis) -> None:
    """HTML in an argument, in an error or in the source is shown as it is."""
    script = "<script>alert(1)</script>"

    def ask() -> None:
        redis.get(script)
        with contextlib.suppress(RedisError):
            redis.execute_command("<img>", "&amp;")

    panel = show(ask)
    assert not re.search("<(script|img)", panel.html, re.IGNORECASE)
    assert panel.rows[0].startswith("GET &lt;script&gt;alert(1)&lt;/script&gt; ")
    assert re.match(r"&lt;IMG&gt; &amp;amp; (slowest )?failed ResponseError: .*&lt;img&gt;", panel.rows[1])
    assert "redis.execute_command(&#34;&lt;img&gt;&#34;, &#34;&amp;amp;&#34;)" in panel.rows[1]


def test_a_template_that_asks(app: Flask, redis: Redis, show: Show, tmp_path: Path) -> None:
    """A command in a template has the template's own line."""
    app.jinja_env.loader = FileSystemLoader(tmp_path)
    (tmp_path / "page.html").write_text("<p>\n{% for _ in range(1) %}\n{{ redis.get('a key') }}\n{% endfor %}\n")
    panel = show(lambda: render_template("page.html", redis=redis))
    assert f"{tmp_path}/page.html:3 {{{{ redis.get(&#39;a key&#39;) }}}} REDIS" in panel.rows[0]


def test_the_whole_request(app: Flask, redis: Redis) -> None:
    """What is asked before and after the view is shown too, also where the view fails."""

    class Sessions(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
            redis.get("session")
            return super().open_session(app, request)

    app.session_interface = Sessions()

    @app.before_request
    def before() -> None:
        redis.get("before")

    @app.get("/")
    def view() -> str:
        redis.get("view")
        raise ZeroDivisionError

    @app.errorhandler(ZeroDivisionError)
    def failed(_: ZeroDivisionError) -> tuple[str, int]:
        redis.get("handler")
        return PAGE, 500

    answer = app.test_client().get("/")
    assert answer.status_code == 500
    assert [row.split()[1] for row in panel_of(answer.text).rows] == ["session", "before", "view", "handler"]


def test_the_recording_ends(app: Flask, redis: Redis) -> None:
    """With the request the recording is over, also where an exception goes through to the server."""

    @app.get("/")
    def view() -> str:
        redis.get("view")
        raise ZeroDivisionError

    app.testing = True
    environ = create_environ()
    with pytest.raises(ZeroDivisionError):
        app(environ, lambda *_: lambda _: None)
    redis.get("after")
    _, commands = environ["flask_redis.recording"]
    assert [str(command) for command in commands] == ["GET view"]


def test_other_responses(app: Flask, redis: Redis) -> None:
    """What is no page, and what is streamed, stays as it is."""

    @app.get("/json")
    def json() -> dict[str, bool]:
        return {"pong": redis.connection.ping() is True}

    @app.get("/stream")
    def stream() -> Response:
        return Response((part for part in ["<body>", "</body>"]), mimetype="text/html")

    client = app.test_client()
    assert client.get("/json").json == {"pong": True}
    assert client.get("/stream").text == "<body></body>"


def test_requests_at_the_same_time(app: Flask, redis: Redis) -> None:
    """Each of several requests at the same time shows its own round trips only."""
    together = threading.Barrier(4)

    @app.get("/<name>")
    def view(name: str) -> str:
        for number in range(3):
            together.wait(10)
            redis.get(f"{name}:{number}")
        return PAGE

    def asked(name: str) -> list[str]:
        return [row.split()[1] for row in panel_of(app.test_client().get(f"/{name}").text).rows]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(asked, "abcd")) == [[f"{name}:{number}" for number in range(3)] for name in "abcd"]


def test_an_asynchronous_view(app: Flask) -> None:
    """With the panel the toolbar can call one, and its round trips are shown as they began."""
    redis = AsyncRedis(app)

    @app.get("/")
    async def view() -> str:
        await asyncio.gather(redis.execute_command("BLPOP", "nothing", 0.05), redis.get("a key"))
        return PAGE

    asked = [row.split()[0] for row in panel_of(app.test_client().get("/").text).rows]
    assert asked == ["BLPOP", "GET"]


def test_a_panel_that_comes_too_late() -> None:
    """A panel that the toolbar is told of when it is there already says so, and not that Redis was asked nothing."""
    late = Flask("late")
    late.config.update(SECRET_KEY="of the tests", DEBUG_TB_ENABLED=True, DEBUG_TB_PANELS=[])
    DebugToolbarExtension(late)
    late.config["DEBUG_TB_PANELS"] = [PANEL]
    late.add_url_rule("/", view_func=lambda: PAGE)
    panel = panel_of(late.test_client().get("/").text)
    assert panel.side_bar == "not recorded"
    assert panel.text.startswith("Nothing is recorded. The panel has to be in DEBUG_TB_PANELS when ")


def test_the_documentation(make_app: MakeApp) -> None:
    """The lines on the documentation's page switch it on where the application is in debug mode."""
    app = make_app(URL="memory://")
    app.debug = True
    app.add_url_rule("/", view_func=lambda: PAGE)
    page = (Path(__file__).parents[1] / "docs" / "debugtoolbar.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {"app": app})  # noqa: S102
    assert panel_of(app.test_client().get("/").text).side_bar == "0 round trips, 0.00 ms"


def test_without_the_toolbar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Flask-DebugToolbar is not installed, the import says what to install."""
    monkeypatch.delitem(sys.modules, "flask_redis.debugtoolbar", raising=False)
    monkeypatch.setitem(sys.modules, "flask_debugtoolbar.panels", None)
    with pytest.raises(ImportError, match=r"pip install 'Flask-And-Redis\[debugtoolbar\]'"):
        importlib.import_module("flask_redis.debugtoolbar")
