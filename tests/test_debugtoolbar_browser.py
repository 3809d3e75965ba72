"""The panel for Flask-DebugToolbar in a real browser, on the pages of the Comments example.

The picture in the documentation is taken here: ``DEBUGTOOLBAR_PNG=docs/debugtoolbar.png pytest`` with this module.
"""

from __future__ import annotations

import collections.abc as cabc
import os
import re
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import ConsoleMessage
from playwright.sync_api import expect
from playwright.sync_api import Locator
from playwright.sync_api import Page

from flask_redis.recording import Command
from flask_redis.recording import record_commands

from .comments_app import board
from .comments_app import empty
from .comments_app import logged_in
from .comments_app import PACKAGE
from .comments_app import running
from .comments_app import token
from .harness.processes import start_gunicorn
from .harness.servers import Server
from .test_comments_browser import browser

__all__ = ["browser"]

ROOT: t.Final = Path(__file__).parents[1]

# Milliseconds, on a machine that is busy.
expect.set_options(timeout=30_000)


def config_for(server: Server) -> dict[str, str]:
    """The two databases of the app, on *server*."""
    url = server.url.removesuffix("/0")
    return {"REDIS_LINKS_URL": f"{url}/0", "REDIS_CONTENT_URL": f"{url}/1"}


@pytest.fixture
def site(server: Server) -> cabc.Iterator[str]:
    """The address of the app, served by a process of its own with the toolbar on."""
    env = {
        "FLASK_DEBUG_TB_ENABLED": "true",
        "FLASK_SECRET_KEY": "of the tests",
        **{f"FLASK_{key}": value for key, value in config_for(server).items()},
    }
    options = ["--threads", "10", "--pythonpath", str(PACKAGE.parent)]
    with start_gunicorn("comments:create_app()", *options, env=env, cwd=ROOT, path="/login") as gunicorn:
        yield gunicorn.url


@pytest.fixture
def page(browser: Browser, site: str) -> cabc.Iterator[Page]:
    """A page in the browser. Nothing on it may break."""
    complaints: list[str] = []

    def console(message: ConsoleMessage) -> None:
        # The toolbar's own page about a redirect has no icon.
        if message.type == "error" and "the server responded with a status" not in message.text:
            complaints.append(message.text)

    context = browser.new_context(base_url=site, viewport={"width": 1200, "height": 600})
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.on("console", console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints


def open_panel(page: Page) -> Locator:
    """Open the panel with a click on its title in the side bar."""
    panel = page.locator("#flDebugRedisPanel-content")
    expect(panel).to_be_hidden()
    page.locator("#flDebugPanelList").get_by_role("link", name="Redis").click()
    page.mouse.move(0, 0)
    expect(panel).to_be_visible()
    return panel


def check_the_side_bar(page: Page, commands: cabc.Sequence[Command]) -> None:
    """Check that it says how many *commands* there were, and a time."""
    pattern = re.compile(rf"^{len(commands)} round trips, \d+\.\d\d ms$")
    expect(page.locator("#flDebugRedisPanel small")).to_have_text(pattern)


def check_the_timeline(panel: Locator, commands: cabc.Sequence[Command]) -> None:
    """Check that its rows are *commands*, and that their bars are drawn one after the other, within the drawing."""
    rows = panel.locator("tbody tr")
    expect(rows).to_have_count(len(commands))
    times: list[float] = []
    end = 0.0
    for row, command in zip(rows.all(), commands, strict=True):
        for part in command.parts or [command]:
            expect(row).to_contain_text(" ".join([part.name, *part.args]))
        expect(row).to_contain_text(command.prefix)
        expect(row.locator(".redis-line")).to_contain_text(command.line)
        path, line = command.line.split(":")
        assert path == "examples/comments/comments/board.py"
        expect(row.locator("code")).to_have_text((ROOT / path).read_text("utf-8").splitlines()[int(line) - 1].strip())

        drawing, bar = row.locator("svg").bounding_box(), row.locator("rect").bounding_box()
        assert drawing
        assert bar
        assert drawing["x"] <= bar["x"]
        assert bar["x"] + bar["width"] <= drawing["x"] + drawing["width"] + 1
        assert bar["width"] > 1
        # A bar is a little longer than what it stands for, where that would be too short to see.
        assert bar["x"] > end - drawing["width"] * 0.01
        end = bar["x"] + bar["width"]
        times.append(float(row.locator("td.redis-time").inner_text().removesuffix(" ms")))

    slowest = [row.locator("mark", has_text="slowest").count() for row in rows.all()]
    assert sum(slowest) == 1
    assert times[slowest.index(1)] == max(times)


def repeated(panel: Locator) -> list[str]:
    """The commands that are marked so, where they can be seen."""
    marked = panel.locator("div:visible", has=panel.page.locator("> mark", has_text="repeated"))
    return [" ".join(text.split()) for text in marked.all_inner_texts()]


def test_the_panel(page: Page, server: Server, tmp_path: Path) -> None:
    """The side bar and the panel say of a page what a recording of the same page does, and mark what stands out."""
    with running(tmp_path, config_for(server)) as app, empty(app):
        anna = logged_in(app, "Anna")
        first = board.start_thread("Anna", "Milk", "With tea?")
        second = board.start_thread("Anna", "Tea")
        board.start_thread("Anna", "Coffee")
        with record_commands() as commands:
            anna.get("/")
        assert len(commands) == 2

        page.goto("/")
        check_the_side_bar(page, commands)
        panel = open_panel(page)
        check_the_timeline(panel, commands)
        # Two of the threads have no comment yet.
        assert repeated(panel) == ["HGETALL comments:comment:0 repeated"]

        page.goto("/login")
        page.get_by_label("Your name").fill("Anna")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#flDebugRedisPanel small")).to_have_text("0 round trips, 0.00 ms")
        expect(open_panel(page)).to_contain_text("This request asked Redis nothing.")

        form = {"csrf_token": token(anna.get(f"/threads/{second}/delete"))}
        with record_commands() as commands:
            anna.post(f"/threads/{second}/delete", data=form)
        page.goto(f"/threads/{first}/delete")
        page.get_by_role("button", name="Delete thread").click()
        check_the_side_bar(page, commands)
        panel = open_panel(page)
        assert repeated(panel) == [f"LRANGE comments:thread:{first}:comments 0 -1 repeated"]
        if "DEBUGTOOLBAR_PNG" in os.environ:
            # Without the page behind it shining through.
            page.screenshot(path=os.environ["DEBUGTOOLBAR_PNG"], style="#flDebug #flDebugToolbar { opacity: 1 }")


def test_a_narrow_window(page: Page) -> None:
    """In a narrow window the commands stay readable, and the bars are a scroll away."""
    page.set_viewport_size({"width": 500, "height": 600})
    page.goto("/")
    panel = open_panel(page)
    edges, cell = panel.bounding_box(), panel.locator("tbody td").first.bounding_box()
    assert edges
    assert cell
    assert cell["width"] > 200
    bar = panel.locator("rect").first
    bar.scroll_into_view_if_needed()
    place = bar.bounding_box()
    assert place
    assert edges["x"] <= place["x"]
    assert place["x"] + place["width"] <= edges["x"] + edges["width"]
