"""The Comments example in a real browser."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import shutil
import threading
import typing as t

import pytest
from flask import Flask
from playwright.sync_api import Browser
from playwright.sync_api import BrowserContext
from playwright.sync_api import ConsoleMessage
from playwright.sync_api import Dialog
from playwright.sync_api import Error
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from playwright.sync_api import sync_playwright
from werkzeug.serving import make_server

from .comments_app import board
from .comments_app import empty
from .comments_app import running
from .harness.waiting import wait_until

CHROMIUM: t.Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

if CHROMIUM is None:
    pytest.skip("There is no chromium, chromium-browser or google-chrome on the PATH.", allow_module_level=True)

OpenPage = cabc.Callable[..., Page]

# Milliseconds, on a machine that is busy.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> cabc.Iterator[Browser]:
    """A browser without a window."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[tuple[str, Flask]]:
    """The app, and the address at which it is served."""
    with running(tmp_path_factory.mktemp("instance"), {"REDIS_LINKS_SERVER_TIMING": True}) as app:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.port}", app
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def app(site: tuple[str, Flask]) -> cabc.Iterator[Flask]:
    """The app with an empty board."""
    with empty(site[1]) as app:
        yield app


@pytest.fixture
def open_page(site: tuple[str, Flask], app: Flask, browser: Browser) -> cabc.Iterator[OpenPage]:
    """Opens the board in a browser of its own, given its settings. No page may open a dialog, or break a rule."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def dialog(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    def console(message: ConsoleMessage) -> None:
        # A page with status 400 is an error to the console too.
        if message.type == "error" and "the server responded with a status" not in message.text:
            complaints.append(message.text)

    def error(error: Error) -> None:
        complaints.append(str(error))

    def open_page(**settings: t.Any) -> Page:
        context = browser.new_context(base_url=site[0], **settings)
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on("dialog", dialog)
        page.on("console", console)
        page.on("pageerror", error)
        page.goto("/")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def log_in(page: Page, name: str) -> None:
    """Log in through the form."""
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(f"Logged in as {name}")).to_be_visible()


def start_thread(page: Page, title: str, comment: str = "") -> None:
    """Start a thread through the form, and end up on its page."""
    page.get_by_role("link", name="Comments").click()
    page.get_by_role("link", name="Start a thread").click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("First comment").fill(comment)
    page.get_by_role("button", name="Start thread").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(title)


def add_comment(page: Page, text: str) -> None:
    """Add a comment through the form."""
    page.get_by_label("Your comment").fill(text)
    page.get_by_role("button", name="Add comment").click()
    expect(page.get_by_label("Your comment")).to_have_value("")


def delete_thread(page: Page) -> None:
    """Delete the thread on the page, and confirm it."""
    page.get_by_role("link", name="Delete thread").click()
    page.get_by_role("button", name="Delete thread").click()
    expect(page.get_by_role("status")).to_contain_text("is deleted")


def comments(page: Page) -> list[str]:
    """The comments on the page."""
    return page.locator(".comment .text").all_inner_texts()


def listening(thread: int) -> int:
    """The number of open pages that wait for comments."""
    [(_, number)] = board.links.pubsub_numsub(f"comments:thread:{thread}:news")
    return int(number)


def test_two_people(open_page: OpenPage) -> None:
    """Anna starts a thread, Boris's comment arrives in her open page and hers in his, and she deletes the thread."""
    anna, boris = open_page(), open_page()
    log_in(anna, "Anna")
    start_thread(anna, "Tea", "With milk?")
    expect(anna.locator("#count")).to_have_text("1")
    # A reload would undo this.
    anna.get_by_label("Your comment").fill("half a sentence")

    log_in(boris, "Boris")
    boris.get_by_role("link", name="Tea").click()
    assert comments(boris) == ["With milk?"]
    add_comment(boris, "With lemon!\nAnd sugar.")

    expect(anna.locator(".comment")).to_have_count(2)
    assert comments(anna) == ["With milk?", "With lemon!\nAnd sugar."]
    expect(anna.locator(".comment.new .author")).to_have_text("Boris")
    expect(anna.locator("#count")).to_have_text("2")
    expect(anna.get_by_label("Your comment")).to_have_value("half a sentence")

    add_comment(anna, "Fine.")
    expect(boris.locator(".comment")).to_have_count(3)
    # Each of them has their own comment once.
    assert comments(anna) == comments(boris) == ["With milk?", "With lemon!\nAnd sugar.", "Fine."]

    delete_thread(anna)
    expect(boris.get_by_text("This thread has just been deleted.")).to_be_visible()
    expect(anna.get_by_text("No threads yet.")).to_be_visible()


def test_the_first_comment_arrives(open_page: OpenPage) -> None:
    """In a thread without comments, the first one takes the place of the words that there is none."""
    anna = open_page()
    log_in(anna, "Anna")
    start_thread(anna, "Tea")
    expect(anna.get_by_text("No comments yet.")).to_be_visible()
    board.add_comment(1, "Boris", "With lemon!")
    expect(anna.locator(".comment .text")).to_have_text("With lemon!")
    expect(anna.get_by_text("No comments yet.")).to_have_count(0)


def test_a_stream_that_ends(open_page: OpenPage) -> None:
    """When the stream ends, the browser comes back by itself and gets what it has missed, once."""
    thread = board.start_thread("Anna", "Tea", "one")
    page = open_page()
    page.get_by_role("link", name="Tea").click()
    board.add_comment(thread, "Boris", "two")
    expect(page.locator(".comment")).to_have_count(2)
    with contextlib.closing(board.links.client()) as admin:
        maxclients = admin.config_get("maxclients")["maxclients"]
        admin.config_set("maxclients", 1)
        with page.expect_event("requestfinished", lambda request: "/events" in request.url):
            admin.client_kill_filter(_type="pubsub")
        admin.config_set("maxclients", maxclients)
    board.add_comment(thread, "Boris", "three")
    expect(page.locator(".comment")).to_have_count(3)
    assert comments(page) == ["one", "two", "three"]


def test_an_outage(open_page: OpenPage) -> None:
    """While Redis is away a page says so and keeps trying, and what somebody writes is not lost."""
    anna, boris = open_page(), open_page()
    log_in(anna, "Anna")
    start_thread(anna, "Tea", "With milk?")
    boris.reload()
    with contextlib.closing(board.links.client()) as admin:
        maxclients = admin.config_get("maxclients")["maxclients"]

        def begin(route: Route) -> None:
            admin.config_set("maxclients", 1)
            admin.client_kill_filter(_type="normal")
            route.continue_()

        boris.route("**/events?*", begin, times=1)
        try:
            boris.get_by_role("link", name="Tea").click()
            expect(boris.get_by_role("status")).to_contain_text("This page keeps trying")
            anna.get_by_label("Your comment").fill("Or without?\nWho knows.")
            anna.get_by_role("button", name="Add comment").click()
            expect(anna.get_by_role("heading", level=1)).to_have_text("Service Unavailable")
        finally:
            admin.config_set("maxclients", maxclients)
    expect(anna.get_by_label("Your comment")).to_have_value("Or without?\nWho knows.")
    anna.get_by_role("button", name="Send it again").click()
    expect(boris.locator(".comment")).to_have_count(2, timeout=30_000)
    expect(boris.locator("#notice")).to_be_hidden()
    expect(anna.locator(".comment")).to_have_count(2)
    assert comments(anna) == comments(boris) == ["With milk?", "Or without?\nWho knows."]
    expect(boris.locator("#count")).to_have_text("2")


def test_a_page_that_is_left(open_page: OpenPage) -> None:
    """The connection of an open page ends soon after it is closed."""
    thread = board.start_thread("Anna", "Tea")
    page = open_page()
    page.get_by_role("link", name="Tea").click()
    wait_until(lambda: listening(thread) == 1)
    page.close()
    wait_until(lambda: listening(thread) == 0)


def test_without_javascript(open_page: OpenPage) -> None:
    """Everything works without JavaScript, only that new comments take a reload."""
    page = open_page(java_script_enabled=False)
    log_in(page, "Anna")
    start_thread(page, "Tea", "With milk?")
    add_comment(page, "Anybody?")
    board.add_comment(1, "Boris", "With lemon!")
    page.reload()
    assert comments(page) == ["With milk?", "Anybody?", "With lemon!"]
    delete_thread(page)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()


def test_what_people_write_stays_text(open_page: OpenPage) -> None:
    """HTML in a name, a title or a comment is shown as it was typed, also when it arrives by itself."""
    reader, mallory = open_page(), open_page()
    name = "<img src=x onerror=alert(1)>"
    log_in(mallory, name)
    start_thread(mallory, "<script>alert(2)</script>", "<img src=x onerror=alert(3)>")
    reader.reload()
    reader.get_by_role("link", name="<script>alert(2)</script>").click()
    add_comment(mallory, "</li><script>alert(4)</script><svg onload=alert(5)>")
    expect(reader.locator(".comment")).to_have_count(2)
    assert reader.locator(".comment .author").all_inner_texts() == [name, name]
    for page in reader, mallory:
        assert comments(page) == [
            "<img src=x onerror=alert(3)>",
            "</li><script>alert(4)</script><svg onload=alert(5)>",
        ]
        expect(page.locator("body :is(script, img, svg)")).to_have_count(0)


def test_mistakes_are_shown_at_the_field(open_page: OpenPage) -> None:
    """After a mistake the field has the focus, its message, and what was typed."""
    page = open_page()
    page.get_by_role("link", name="Log in").click()
    page.get_by_label("Your name").fill("Jo")
    page.get_by_role("button", name="Log in").click()
    field = page.get_by_label("Your name")
    expect(field).to_be_focused()
    expect(field).to_have_value("Jo")
    expect(field).to_have_accessible_description("A name has at least 3 characters.")


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_a_small_phone(open_page: OpenPage, color_scheme: str) -> None:
    """On a screen of 360 pixels nothing sticks out to the side, and all text has enough contrast."""
    page = open_page(viewport={"width": 360, "height": 640}, color_scheme=color_scheme)
    log_in(page, "W" * 40)
    for number in range(16):
        board.start_thread("W" * 40, f"{number}{'W' * 118}", "w" * 500)
    for url in ["/", "/page/2", "/threads/1", "/threads/1/delete", "/threads/new", "/login", "/nowhere"]:
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, url
        assert page.evaluate(CONTRASTS) >= 4.5, url


#: The lowest contrast of a text to what is behind it, as WCAG 2 defines it.
CONTRASTS: t.Final = """() => {
    const parts = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => parts(color).slice(0, 3)
        .map((part) => part / 255)
        .map((part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [.2126, .7152, .0722][index], 0);
    const background = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return parts(color)[3] === 0 ? background(element.parentElement) : color;
    };
    const contrast = (element) => {
        const both = [luminance(getComputedStyle(element).color), luminance(background(element))];
        return (Math.max(...both) + .05) / (Math.min(...both) + .05);
    };
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return Math.min(...[...document.querySelectorAll("body *")].filter(hasText).map(contrast));
}"""


def test_the_keyboard_is_enough(open_page: OpenPage) -> None:
    """The first stop of the Tab key leads past the header, and shows itself there."""
    page = open_page()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))


def test_server_timing(open_page: OpenPage) -> None:
    """A browser understands the Server-Timing header, and shows the round trips of the page."""
    (metric,) = open_page().evaluate(
        """performance.getEntriesByType("navigation")[0].serverTiming.map(each => each.toJSON())"""
    )
    assert metric["name"] == "redis_links"
    assert metric["duration"] > 0
    assert re.fullmatch(r"\d+ round trips?", metric["description"])
