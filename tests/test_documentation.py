"""The code in the README and in the documentation runs, as a reader would run it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from flask import Flask

from flask_redis import Redis

from .harness.servers import Server

ROOT = Path(__file__).parent.parent


def python_blocks(page: str) -> list[str]:
    """The Python code in a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, t.Any]:
    """What a reader has at hand: an application, with a Redis where the page says nothing of one."""
    monkeypatch.setattr(Flask, "default_config", {**Flask.default_config, "REDIS_URL": server.url})
    app = Flask("app")
    return {"__name__": "app", "app": app, "redis": Redis(app)}


def test_readme(namespace: dict[str, t.Any]) -> None:
    """The README's three lines count visits, and its factory makes an application with two connections."""
    blocks = python_blocks("README.md")
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102
        if block is blocks[0]:
            client = namespace["app"].test_client()
            assert [client.get("/").text for _ in range(2)] == ["Visit number 1", "Visit number 2"]
    app = namespace["create_app"]()
    assert list(app.extensions["redis"]) == ["REDIS_LINKS", "REDIS_CONTENT"]


@pytest.mark.parametrize("name", ["asyncio", "configuration", "development-server", "outages", "tools", "topologies"])
def test_page(name: str, namespace: dict[str, t.Any]) -> None:
    """The code of a page runs from top to bottom."""
    page = f"docs/{name}.md"
    blocks = python_blocks(page)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)  # noqa: S102
    if name == "configuration":
        namespace["redis"].set("key", "value")
        assert namespace["app"].test_client().get("/touch/key").json == {"touched": True}
        assert 0 < namespace["redis"].ttl("key") <= 60


SHOP = """
from flask import Flask, request
from flask_redis import Redis

redis = Redis()

def create_app(config, instance_path=None):
    app = Flask("shop", instance_path=instance_path and str(instance_path))
    app.config.update(config, REDIS_DECODE_RESPONSES=True)
    redis.init_app(app)

    @app.post("/cart")
    def add():
        redis.rpush("cart", request.form["item"])
        return "", 204

    @app.get("/cart")
    def cart():
        return ",".join(redis.lrange("cart", 0, -1))

    return app
"""


@pytest.mark.parametrize("way", ["memory", "server for each test", "server for all tests"])
def test_testing_your_app(way: str, pytester: pytest.Pytester) -> None:
    """Each way to test an application works, and keeps the tests apart."""
    memory, each, shared = python_blocks("docs/testing.md")
    fixtures = {"memory": "", "server for each test": each, "server for all tests": shared}
    _, test = memory.split("def test_cart")
    pytester.makepyfile(shop=SHOP, test_shop=f"{memory}\n\ndef test_cart_again{test}\n\n{fixtures[way]}")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error").assert_outcomes(passed=2)


def test_links() -> None:
    """Links between the pages lead somewhere."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"
