"""The Comments example through Flask's client: its pages, what it keeps in Redis, and what it does when things fail."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import threading
import typing as t
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_redis import ConfigError

from .comments_app import board
from .comments_app import create_app
from .comments_app import empty
from .comments_app import environment
from .comments_app import logged_in
from .comments_app import PACKAGE
from .comments_app import running
from .comments_app import send
from .comments_app import token

#: Where no Redis is. Not a Unix socket: redis-py 5.0 leaves its end of one open.
NOWHERE: t.Final = {"REDIS_LINKS_URL": "redis://127.0.0.1:1/0", "REDIS_CONTENT_URL": "redis://127.0.0.1:1/1"}


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Flask]:
    """The app, with one server for all tests of this module."""
    with running(tmp_path_factory.mktemp("instance")) as app:
        yield app


@pytest.fixture
def app(comments: Flask) -> cabc.Iterator[Flask]:
    """The app with an empty board."""
    with empty(comments):
        yield comments


@pytest.fixture
def anna(app: Flask) -> FlaskClient:
    """Anna's browser. She is logged in."""
    return logged_in(app, "Anna")


@pytest.fixture
def boris(app: Flask) -> FlaskClient:
    """Boris's browser. He is logged in too."""
    return logged_in(app, "Boris")


@pytest.fixture
def visitor(app: Flask) -> FlaskClient:
    """The browser of somebody who is not logged in."""
    return app.test_client()


def keys() -> set[str]:
    """The keys of both databases, but for the counters that ids come from."""
    return {*board.links.keys(), *board.content.keys()} - {board.LAST_THREAD, board.LAST_COMMENT}


# Logging in and out


def test_log_in(visitor: FlaskClient) -> None:
    """A name of three characters is enough to log in, and the page shows it."""
    answer = send(visitor, "/login", name=" Ann ")
    assert (answer.status_code, answer.location) == (302, "/")
    assert "Logged in as <bdi>Ann</bdi>" in visitor.get("/").text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Please enter a name."),
        (" \t ", "Please enter a name."),
        ("\u200b\u200b\u200b", "Please enter a name."),
        ("Jo", "A name has at least 3 characters."),
        ("J o ", None),
        ("Jo\u200b", "A name has visible characters only."),
        ("\u202enna", "A name has visible characters only."),
        ("x" * 40, None),
        ("x" * 41, "A name has at most 40 characters. This one has 41."),
        ("黒澤明", None),
    ],
)
def test_names(visitor: FlaskClient, name: str, message: str | None) -> None:
    """A name has three visible characters or more, and not too many."""
    answer = send(visitor, "/login", name=name)
    assert answer.status_code == (400 if message else 302)
    assert not message or message in answer.text


def test_a_message_stands_at_its_field(visitor: FlaskClient) -> None:
    """What is wrong is said at the field, also to a screen reader, and what was typed is still there."""
    page = send(visitor, "/login", name="Jo").text
    assert '<p class="problem" id="name-error">A name has at least 3 characters.</p>' in page
    assert 'aria-invalid="true" aria-describedby="name-error"' in page
    assert 'value="Jo"' in page


def test_log_out(anna: FlaskClient) -> None:
    """Who logs out is a visitor again."""
    answer = anna.post("/logout", data={"csrf_token": token(anna.get("/"))})
    assert (answer.status_code, answer.location) == (302, "/")
    assert "Anna" not in anna.get("/").text
    assert anna.get("/threads/new").location == "/login?next=/threads/new"


def test_visitors_may_read(visitor: FlaskClient) -> None:
    """The board can be read without logging in; the form is replaced by the way to the login."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    assert "Tea" in visitor.get("/").text
    page = visitor.get(f"/threads/{thread}").text
    assert "With milk?" in page
    assert "<textarea" not in page
    assert f'href="/login?next=/threads/{thread}"' in page


@pytest.mark.parametrize("url", ["/threads/new", "/threads/1/delete"])
def test_log_in_to_write(visitor: FlaskClient, url: str) -> None:
    """A page that changes something leads to the login first, and the login leads back."""
    board.start_thread("Anna", "Tea")
    answer = visitor.get(url)
    assert (answer.status_code, answer.location) == (302, f"/login?next={url}")
    assert send(visitor, answer.location, name="Anna").location == url


def test_log_in_to_comment(visitor: FlaskClient) -> None:
    """A comment of somebody whose login has ended is not taken, and the login leads back to the thread."""
    thread = board.start_thread("Anna", "Tea")
    form = {"csrf_token": token(visitor.get("/login")), "comment": "Who am I?"}
    answer = visitor.post(f"/threads/{thread}", data=form)
    assert (answer.status_code, answer.location) == (302, f"/login?next=/threads/{thread}")
    assert not board.read_thread(thread).comments


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example/",
        "\\\\evil.example/",
        "javascript:alert(1)",
        "threads/new",
        "",
    ],
)
def test_the_login_leads_nowhere_else(visitor: FlaskClient, target: str) -> None:
    """A link to the login that somebody else has made cannot lead to their site afterwards."""
    form = {"csrf_token": token(visitor.get("/login")), "name": "Anna"}
    assert visitor.post("/login", query_string={"next": target}, data=form).location == "/"


# The list of threads


def test_an_empty_board(visitor: FlaskClient) -> None:
    """A board without threads says so."""
    answer = visitor.get("/")
    assert answer.status_code == 200
    assert "No threads yet." in answer.text


def test_what_the_list_shows(visitor: FlaskClient) -> None:
    """A thread in the list has its author, the number of its comments and the last one of them."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    board.add_comment(thread, "Boris", "With lemon!")
    page = visitor.get("/").text
    assert f'<a href="/threads/{thread}" dir="auto">Tea</a>' in page
    assert 'by <bdi class="author">Anna</bdi>' in page
    assert "2 comments" in page
    assert 'Last: <bdi class="author">Boris</bdi>' in page
    assert "With lemon!" in page
    assert "With milk?" not in page


def test_the_newest_activity_comes_first(app: Flask) -> None:
    """A new thread is the first one, until another gets a comment."""
    tea, coffee, water = (board.start_thread("Anna", title) for title in ("Tea", "Coffee", "Water"))
    assert [thread.id for thread in board.read_page(1).threads] == [water, coffee, tea]
    board.add_comment(coffee, "Boris", "Black.")
    assert [thread.id for thread in board.read_page(1).threads] == [coffee, water, tea]


def test_pages_of_fifteen_threads(visitor: FlaskClient) -> None:
    """A page has 15 threads, and links to the pages before and after it."""
    for number in range(31):
        board.start_thread("Anna", f"Thread {number}")
    first, second, third = (visitor.get(url).text for url in ("/", "/page/2", "/page/3"))
    assert [page.count('<li class="card">') for page in (first, second, third)] == [15, 15, 1]
    assert "Thread 30<" in first
    assert "Thread 0<" in third
    assert "Page 2 of 3" in second
    assert '<a rel="prev" href="/">' in second
    assert '<a rel="next" href="/page/3">' in second
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in third


@pytest.mark.parametrize("number", ["0", "-1", "2", "1000000", "1000001", "9" * 30, "two", "1.5", "%00"])
def test_pages_that_do_not_exist(visitor: FlaskClient, number: str) -> None:
    """There is no page before the first one or after the last one, and none whose number is not a number."""
    board.start_thread("Anna", "Tea")
    assert visitor.get(f"/page/{number}").status_code == 404


# Starting threads


@pytest.mark.parametrize("comment", ["", " \r\n ", "With milk?"])
def test_start_a_thread(anna: FlaskClient, comment: str) -> None:
    """A thread is started with or without a first comment."""
    answer = send(anna, "/threads/new", title="  Tea   or coffee? ", comment=comment)
    assert answer.status_code == 302
    page = anna.get(answer.location).text
    assert '<h1 dir="auto">Tea or coffee?</h1>' in page
    assert ("No comments yet." in page) == (not comment.strip())
    assert page.count('<li class="comment"') == bool(comment.strip())


def test_a_thread_needs_a_title(anna: FlaskClient) -> None:
    """Without a title there is no thread, and the comment that was typed is still there."""
    answer = send(anna, "/threads/new", title=" ", comment="\n  With milk?")
    assert answer.status_code == 400
    assert '<p class="problem" id="title-error">Please enter a title.</p>' in answer.text
    assert 'name="comment" dir="auto" rows="6">\n\n  With milk?</textarea>' in answer.text
    assert not keys()


def test_lengths_are_limited(anna: FlaskClient) -> None:
    """A title and a comment have at most so many characters, and both messages come at once."""
    answer = send(anna, "/threads/new", title="x" * 121, comment="y" * 5001)
    assert answer.status_code == 400
    assert "A title has at most 120 characters. This one has 121." in answer.text
    assert "A comment has at most 5000 characters. This one has 5001." in answer.text
    assert send(anna, "/threads/new", title="🍵" * 120, comment="🍵" * 5000).status_code == 302


# Reading and commenting


def test_comment(anna: FlaskClient, boris: FlaskClient) -> None:
    """Comments stand in the order in which they came, and keep their lines."""
    thread = board.start_thread("Anna", "Tea")
    send(anna, f"/threads/{thread}", comment="With milk?\r\n\r\nOr without?")
    answer = send(boris, f"/threads/{thread}", comment=" With lemon! ")
    comments = board.read_thread(thread).comments
    assert [(comment.author, comment.text) for comment in comments] == [
        ("Anna", "With milk?\n\nOr without?"),
        ("Boris", "With lemon!"),
    ]
    assert answer.status_code == 302
    assert answer.location == f"/threads/{thread}#comment-{comments[1].id}"
    assert f'id="comment-{comments[1].id}"' in anna.get(f"/threads/{thread}").text


@pytest.mark.parametrize(("comment", "message"), [(" \r\n ", "Please enter a comment."), ("x" * 5001, "at most 5000")])
def test_comments_that_are_none(anna: FlaskClient, comment: str, message: str) -> None:
    """An empty or endless comment is refused on the page of its thread."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    answer = send(anna, f"/threads/{thread}", comment=comment)
    assert answer.status_code == 400
    assert "With milk?" in answer.text
    assert message in answer.text
    assert 'aria-describedby="comment-error"' in answer.text
    assert len(board.read_thread(thread).comments) == 1


def test_what_people_write_stays_text(anna: FlaskClient) -> None:
    """Names, titles and comments may look like HTML: they are shown, and do nothing."""
    mallory = logged_in(anna.application, "<img src=x onerror=a()>")
    thread = board.start_thread("<b>Anna", "<script>b()</script>", "<script>c()</script>")
    send(mallory, f"/threads/{thread}", comment='"><script>d()</script>')
    pages = [mallory.get(url).text for url in ("/", f"/threads/{thread}")]
    pages.append(logged_in(anna.application, "<b>Anna").get(f"/threads/{thread}/delete").text)
    for page in pages:
        assert "<img" not in page
        assert "<b>" not in page
        assert "()</script>" not in page
    assert "&lt;script&gt;d()&lt;/script&gt;" in pages[1]


@pytest.mark.parametrize("thread", ["1", "0", "9" * 30])
def test_unknown_threads(anna: FlaskClient, thread: str) -> None:
    """A thread that does not exist is a page with status 404, whatever was to be done with it."""
    form = {"csrf_token": token(anna.get("/")), "comment": "Hello?"}
    for answer in [
        anna.get(f"/threads/{thread}"),
        anna.post(f"/threads/{thread}", data=form),
        anna.post(f"/threads/{thread}", data={**form, "comment": ""}),
        anna.get(f"/threads/{thread}/delete"),
        anna.post(f"/threads/{thread}/delete", data=form),
        anna.get(f"/threads/{thread}/events"),
    ]:
        assert answer.status_code == 404
        assert "There is no such thread." in answer.text
        assert "Logged in as" in answer.text
    assert not keys()


# Deleting threads


def test_delete_a_thread(anna: FlaskClient) -> None:
    """Who started a thread deletes it after a confirmation, with everything that belonged to it."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    board.add_comment(thread, "Boris", "With lemon!")
    url = f"/threads/{thread}/delete"
    assert f'href="{url}"' in anna.get(f"/threads/{thread}").text
    assert "“<bdi>Tea</bdi>” and its 2 comments will be gone for good." in anna.get(url).text
    assert keys()
    answer = send(anna, url)
    assert (answer.status_code, answer.location) == (302, "/")
    assert "The thread “Tea” is deleted." in anna.get("/").text
    assert not keys()
    assert anna.get(f"/threads/{thread}").status_code == 404


def test_a_thread_of_somebody_else(boris: FlaskClient) -> None:
    """Nobody deletes the thread of somebody else, or is asked whether to."""
    thread = board.start_thread("Anna", "Tea")
    url = f"/threads/{thread}/delete"
    assert url not in boris.get(f"/threads/{thread}").text
    for answer in boris.get(url), boris.post(url, data={"csrf_token": token(boris.get("/"))}):
        assert answer.status_code == 403
        assert "Only its author can delete a thread." in answer.text
    assert board.read_thread(thread).title == "Tea"


# Protection


@pytest.mark.parametrize("url", ["/login", "/logout", "/threads/new", "/threads/1", "/threads/1/delete"])
@pytest.mark.parametrize("sent", [None, "", "wrong", "ü"])
def test_forms_from_elsewhere(anna: FlaskClient, url: str, sent: str | None) -> None:
    """A form without the session's token is refused, and changes nothing."""
    board.start_thread("Anna", "Tea")
    anna.get("/threads/new")
    before = keys()
    fields = {"name": "Mallory", "title": "Spam", "comment": "Spam"}
    answer = anna.post(url, data=fields if sent is None else {**fields, "csrf_token": sent})
    assert answer.status_code == 400
    assert "This form is out of date." in answer.text
    assert keys() == before
    assert "Logged in as <bdi>Anna</bdi>" in anna.get("/").text


def test_a_session_without_a_token(visitor: FlaskClient) -> None:
    """An empty token is no token, even where the session has none either."""
    assert visitor.post("/login", data={"csrf_token": "", "name": "Anna"}).status_code == 400


def test_a_login_starts_a_new_session(anna: FlaskClient) -> None:
    """The token of one user is worth nothing in the session of the next."""
    old = token(anna.get("/login"))
    send(anna, "/login", name="Boris")
    assert token(anna.get("/login")) != old


def test_the_session_cookie(visitor: FlaskClient) -> None:
    """Scripts do not see the cookie, and other sites' forms do not send it."""
    cookie = visitor.get("/login").headers["Set-Cookie"]
    assert cookie.startswith("comments=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("url", ["/", "/login", "/nowhere", "/static/style.css"])
def test_security_headers(visitor: FlaskClient, url: str) -> None:
    """Every answer forbids what the app itself does not do: inline scripts, frames, guessing of types."""
    with visitor.get(url) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_need_nothing_inline() -> None:
    """The templates have no script, style or handler of their own, which the headers forbid."""
    for template in PACKAGE.glob("templates/*.html"):
        text = template.read_text()
        assert not re.search(r"<style|<script>|\s(style|on\w+)=", text), template


def test_requests_without_end(anna: FlaskClient) -> None:
    """What is far too long for any form is refused before it is read."""
    answer = anna.post("/threads/new", data={"comment": "x" * 1_000_000})
    assert answer.status_code == 413
    assert "Request Entity Too Large" in answer.text


def test_other_errors_have_a_page_too(anna: FlaskClient) -> None:
    """An address that leads nowhere, or does not take what is sent, is answered in the look of the app."""
    nowhere, wrong_method = anna.post("/nowhere"), anna.delete("/")
    assert (nowhere.status_code, wrong_method.status_code) == (404, 405)
    assert "Logged in as" in nowhere.text
    assert "GET" in wrong_method.headers["Allow"]


# The secret key


def test_the_secret_key_is_made_once(tmp_path: Path) -> None:
    """Without a configured key the first process makes one, which the others share and nobody else can read."""
    with environment():
        first, second = (create_app(NOWHERE, str(tmp_path)) for _ in range(2))
    assert first.secret_key == second.secret_key
    assert len(str(first.secret_key)) == 64
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_board_has_another_key(tmp_path: Path) -> None:
    """The key is random."""
    with environment():
        first, second = (create_app(NOWHERE, str(tmp_path / name)) for name in ("first", "second"))
    assert first.secret_key != second.secret_key


def test_workers_that_start_together_share_the_key(tmp_path: Path) -> None:
    """However many processes start at the same moment, they end up with one key."""
    code = "import sys; from comments import secret; from pathlib import Path; print(secret.load(Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(tmp_path / "secret_key")]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(subprocess.Popen(command, cwd=PACKAGE.parent, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        secrets = {worker.communicate()[0] for worker in workers}
    assert len(secrets) == 1
    assert len(secrets.pop().strip()) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


@pytest.mark.parametrize("key", ["correct horse", "12345678"])
def test_a_secret_key_of_the_environment(tmp_path: Path, key: str) -> None:
    """A key in the environment is taken, even one of digits, and none is made."""
    with environment(FLASK_SECRET_KEY=key):
        app = create_app(NOWHERE, str(tmp_path))
    assert app.secret_key == key
    assert not list(tmp_path.iterdir())


# What is asked of Redis


def reads_of_the_server() -> int:
    """How often the server has found something to read on a connection, by its own count."""
    return int(board.links.info("stats")["total_reads_processed"])


@pytest.mark.parametrize("url", ["/", "/threads/1"])
def test_round_trips_of_a_page(visitor: FlaskClient, url: str) -> None:
    """A page is read in one round trip to each database, however many threads or comments are on it."""
    for _ in range(20):
        thread = board.start_thread("Anna", "Tea", "With milk?")
        board.add_comment(1, "Boris", f"Look at thread {thread}.")
    visitor.get(url)
    before = reads_of_the_server()
    assert visitor.get(url).status_code == 200
    # Less the one for asking.
    assert reads_of_the_server() - before - 1 == 2


def test_an_unknown_thread_is_one_round_trip(visitor: FlaskClient) -> None:
    """That there is no such thread is known from the links alone."""
    visitor.get("/threads/1")
    before = reads_of_the_server()
    assert visitor.get("/threads/1").status_code == 404
    assert reads_of_the_server() - before - 1 == 1


def test_links_and_content_are_two_databases(app: Flask) -> None:
    """One database has the order of things and the other what people wrote, and all keys have the app's prefix."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    assert {board.links.type(key) for key in board.links.scan_iter()} == {"list", "string"}
    assert {board.content.type(key) for key in board.content.scan_iter()} == {"hash"}
    assert board.content.hget(f"comments:thread:{thread}", "title") == "Tea"
    assert all(key.startswith("comments:") for key in keys())


@contextlib.contextmanager
def access(*rules: str) -> cabc.Iterator[None]:
    """Have Redis refuse all other access to keys, so that a request that needs it breaks off there."""
    board.links.execute_command("ACL", "SETUSER", "default", "resetkeys", *rules)
    try:
        yield
    finally:
        board.links.execute_command("ACL", "SETUSER", "default", "allkeys")


def test_an_interrupted_comment(anna: FlaskClient) -> None:
    """A comment whose request breaks off half-way is not on any page, and the thread is as it was."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    before = board.read_thread(thread)
    form = {"csrf_token": token(anna.get("/")), "comment": "With lemon!"}
    with access("~comments:last-*", "~comments:comment:*"):
        assert anna.post(f"/threads/{thread}", data=form).status_code == 500
    assert board.content.hget("comments:comment:2", "text") == "With lemon!"
    assert board.read_thread(thread) == before


def test_an_interrupted_start(anna: FlaskClient) -> None:
    """A thread whose request breaks off half-way is not on the board."""
    form = {"csrf_token": token(anna.get("/")), "title": "Tea", "comment": "With milk?"}
    with access("~comments:last-*", "~comments:comment:*", "~comments:thread:?"):
        assert anna.post("/threads/new", data=form).status_code == 500
    assert board.content.hget("comments:thread:1", "title") == "Tea"
    assert "No threads yet." in anna.get("/").text
    assert anna.get("/threads/1").status_code == 404


def test_an_interrupted_deletion(anna: FlaskClient) -> None:
    """A thread whose deletion breaks off half-way is gone from the board: no link leads to missing content."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    form = {"csrf_token": token(anna.get("/"))}
    with access("~comments:thread*", "%R~comments:comment:*"):
        assert anna.post(f"/threads/{thread}/delete", data=form).status_code == 500
    assert board.content.exists("comments:comment:1")
    assert "No threads yet." in anna.get("/").text
    assert anna.get(f"/threads/{thread}").status_code == 404


def test_missing_content(visitor: FlaskClient) -> None:
    """Content that somebody took away is left out, and the rest of the page is there."""
    tea = board.start_thread("Anna", "Tea", "With milk?")
    coffee = board.start_thread("Anna", "Coffee", "Black?")
    board.add_comment(tea, "Boris", "With lemon!")
    board.content.delete("comments:comment:3", f"comments:thread:{coffee}")
    page = visitor.get("/").text
    assert "Tea" in page
    assert "Coffee" not in page
    page = visitor.get(f"/threads/{tea}").text
    assert "With milk?" in page
    assert "With lemon!" not in page
    assert visitor.get(f"/threads/{coffee}").status_code == 404


def test_commenting_while_the_thread_is_deleted(app: Flask) -> None:
    """Comments that arrive while their thread is being deleted go with it: nothing is left, and nothing comes back."""

    def comment_until_it_is_gone(thread: int) -> None:
        with app.app_context(), contextlib.suppress(board.UnknownThreadError):
            # Not for ever, should the thread come back from the dead.
            for _ in range(1000):
                board.add_comment(thread, "Boris", "First!")

    for _ in range(10):
        thread = board.start_thread("Anna", "Tea")
        writers = [threading.Thread(target=comment_until_it_is_gone, args=[thread]) for _ in range(3)]
        for writer in writers:
            writer.start()
        while not board.read_thread(thread).count:
            pass
        board.delete_thread(thread)
        for writer in writers:
            writer.join()
        assert not keys()


def test_commenting_at_once(app: Flask) -> None:
    """Of comments that arrive at the same moment none is lost, and all are counted."""
    thread = board.start_thread("Anna", "Tea")

    def comment() -> None:
        with app.app_context():
            for _ in range(5):
                board.add_comment(thread, "Boris", "First!")

    writers = [threading.Thread(target=comment) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = board.read_thread(thread)
    assert (found.count, len(found.comments)) == (20, 20)
    assert [comment.number for comment in found.comments] == list(range(1, 21))
    assert [thread.id for thread in board.read_page(1).threads] == [thread]


# New comments in an open page


@contextlib.contextmanager
def stream(client: FlaskClient, url: str, **headers: str) -> cabc.Iterator[cabc.Iterator[str]]:
    """The events at *url*, as they come."""
    answer = client.get(url, headers=headers)
    assert answer.status_code == 200
    assert answer.mimetype == "text/event-stream"
    try:
        yield (chunk.decode() for chunk in answer.iter_encoded())
    finally:
        answer.close()


def next_comment(events: cabc.Iterator[str]) -> tuple[int, str]:
    """The id and the HTML of the next event, without the heartbeats before it."""
    event = next(event for event in events if not event.startswith(":"))
    first, second = event.strip().splitlines()
    return int(first.removeprefix("id: ")), json.loads(second.removeprefix("data: "))


def test_a_new_comment_arrives(visitor: FlaskClient) -> None:
    """A comment that comes while the page is open is sent, in the same HTML as on the page."""
    thread = board.start_thread("Anna", "Tea", "With milk?")
    page = visitor.get(f"/threads/{thread}").text
    assert f'data-events="/threads/{thread}/events?seen=1"' in page
    with stream(visitor, f"/threads/{thread}/events?seen=1") as events:
        # So it is listening.
        assert next(events).startswith(":")
        board.add_comment(thread, "Boris", "<b>With lemon!")
        number, html = next_comment(events)
    assert number == 2
    assert "&lt;b&gt;With lemon!" in html
    page = visitor.get(f"/threads/{thread}").text
    assert html in page


def test_comments_between_the_page_and_its_stream(visitor: FlaskClient) -> None:
    """What came after the page was made and before its stream began is sent first, in order."""
    thread = board.start_thread("Anna", "Tea", "one")
    board.add_comment(thread, "Boris", "two")
    board.add_comment(thread, "Boris", "three")
    with stream(visitor, f"/threads/{thread}/events?seen=1") as events:
        assert [next_comment(events)[0] for _ in range(2)] == [2, 3]
        assert next(events).startswith(":")
        # They are not sent again with the next one.
        board.add_comment(thread, "Boris", "four")
        assert next_comment(events)[0] == 4


def test_a_browser_that_comes_back(visitor: FlaskClient) -> None:
    """After a break the browser says which event was its last, and gets those after it."""
    thread = board.start_thread("Anna", "Tea", "one")
    board.add_comment(thread, "Boris", "two")
    board.add_comment(thread, "Boris", "three")
    with stream(visitor, f"/threads/{thread}/events?seen=1", **{"Last-Event-ID": "2"}) as events:
        number, html = next_comment(events)
    assert number == 3
    assert "three" in html


@pytest.mark.parametrize("seen", ["-1", "x", "", "9" * 5000])
def test_a_stream_of_everything(visitor: FlaskClient, seen: str) -> None:
    """A page that cannot say what it has seen gets all comments."""
    thread = board.start_thread("Anna", "Tea", "one")
    with stream(visitor, f"/threads/{thread}/events?seen={seen}") as events:
        assert next_comment(events)[0] == 1


def test_news_of_other_boards(visitor: FlaskClient) -> None:
    """Pub/sub knows no databases: what another board publishes on the same server is not taken for a comment."""
    thread = board.start_thread("Anna", "Tea", "one")
    with stream(visitor, f"/threads/{thread}/events?seen=1") as events:
        assert next(events).startswith(":")
        board.links.publish(f"comments:thread:{thread}:news", "commented")
        assert next(events).startswith(":")
        board.add_comment(thread, "Boris", "two")
        assert next_comment(events)[0] == 2


def test_the_stream_of_a_thread_that_is_deleted(visitor: FlaskClient) -> None:
    """An open page is told that its thread is deleted, and the stream ends."""
    thread = board.start_thread("Anna", "Tea", "one")
    with stream(visitor, f"/threads/{thread}/events?seen=1") as events:
        assert next(events).startswith(":")
        board.delete_thread(thread)
        assert [event for event in events if not event.startswith(":")] == ["event: deleted\ndata: deleted\n\n"]


def test_a_stream_takes_the_straight_way(visitor: FlaskClient) -> None:
    """Proxies are told not to hold back events, and caches not to keep them."""
    thread = board.start_thread("Anna", "Tea")
    with visitor.get(f"/threads/{thread}/events") as answer:
        headers = answer.headers
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Cache-Control"] == "no-cache"


def test_a_page_that_is_closed(visitor: FlaskClient) -> None:
    """When the browser leaves, the connection to Redis is given back."""
    thread = board.start_thread("Anna", "Tea")
    channel = f"comments:thread:{thread}:news"
    with stream(visitor, f"/threads/{thread}/events") as events:
        next(events)
        assert board.links.pubsub_numsub(channel) == [(channel, 1)]
    assert board.links.pubsub_numsub(channel) == [(channel, 0)]


def test_redis_goes_away_under_a_stream(visitor: FlaskClient) -> None:
    """When there is no way back to Redis the stream ends in good order, and the browser tries again by itself."""
    thread = board.start_thread("Anna", "Tea")
    with contextlib.closing(board.links.client()) as admin, stream(visitor, f"/threads/{thread}/events") as events:
        next(events)
        maxclients = admin.config_get("maxclients")
        admin.config_set("maxclients", 1)
        try:
            admin.client_kill_filter(_type="pubsub")
            assert not [event for event in events if not event.startswith(":")]
        finally:
            admin.config_set("maxclients", maxclients["maxclients"])


# Outages


@pytest.mark.parametrize("url", ["/", "/threads/1", "/threads/1/events"])
@pytest.mark.parametrize("prefix", ["REDIS_LINKS", "REDIS_CONTENT"])
def test_redis_is_down(app: Flask, prefix: str, url: str) -> None:
    """Without Redis there is a friendly page with status 503, and a line in the log."""
    board.start_thread("Anna", "Tea", "With milk?")
    config = {f"{prefix}_URL": NOWHERE[f"{prefix}_URL"]}
    with running(Path(app.instance_path), config) as broken:
        answer = broken.test_client().get(url)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"
    assert "The board takes a short break." in answer.text


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("/threads/1", {"comment": "\n  With <b>lemon!"}),
        ("/threads/new", {"title": "Tea & milk", "comment": ""}),
        ("/threads/1/delete", {}),
    ],
)
def test_what_was_sent_is_not_lost(tmp_path: Path, url: str, fields: dict[str, str]) -> None:
    """What somebody sends while Redis is down is on the error page, in a form that sends it again."""
    with environment():
        app = create_app(NOWHERE, str(tmp_path))
    anna = logged_in(app, "Anna")
    answer = anna.post(url, data={"csrf_token": token(anna.get("/login")), **fields})
    assert answer.status_code == 503
    areas = re.findall(r'<textarea id="(\w+)" name="\1" [^>]*>\n(.*?)</textarea>', answer.text, re.DOTALL)
    assert {name: unescape(text) for name, text in areas} == fields
    again = anna.post(url, data={"csrf_token": token(answer), **fields})
    assert (again.status_code, again.text) == (503, answer.text)


def test_connections_that_redis_has_dropped(visitor: FlaskClient) -> None:
    """After a restart of Redis, the connections that it has closed are no reason for an error page."""
    board.start_thread("Anna", "Tea")
    with contextlib.closing(board.links.client()) as admin:
        assert visitor.get("/").status_code == 200
        admin.client_kill_filter(_type="normal")
        assert visitor.get("/").status_code == 200


def test_an_app_is_made_without_redis(tmp_path: Path) -> None:
    """To make the app, and to show a page without data, no Redis is needed."""
    with environment():
        app = create_app(NOWHERE, str(tmp_path))
    assert app.test_client().get("/login").status_code == 200


# The debug toolbar


def test_the_toolbar_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing that is to be shown, the error says what to install."""
    monkeypatch.setitem(sys.modules, "flask_debugtoolbar", None)
    with (
        environment(FLASK_DEBUG_TB_ENABLED="true"),
        pytest.raises(ConfigError, match=r"pip install 'Flask-And-Redis\[debugtoolbar\]'"),
    ):
        create_app(NOWHERE, str(tmp_path))


# The command line


def test_wipe_asks_first(app: Flask) -> None:
    """The command that deletes everything does so after a yes only."""
    board.start_thread("Anna", "Tea", "With milk?")
    result = app.test_cli_runner().invoke(args=["wipe"], input="n\n")
    assert result.exit_code == 1
    assert "Delete all threads and comments? [y/N]: n" in result.output
    assert keys()
    result = app.test_cli_runner().invoke(args=["wipe"], input="y\n")
    assert "Deleted 8 keys." in result.output
    assert not keys()


def test_wipe_leaves_the_keys_of_others(app: Flask) -> None:
    """Only what belongs to this app is deleted, from both databases."""
    board.start_thread("Anna", "Tea", "With milk?")
    for database in board.links, board.content:
        database.set("other:comments:1", "not ours")
    result = app.test_cli_runner().invoke(args=["wipe", "--yes"])
    assert (result.exit_code, result.output) == (0, "Deleted 8 keys.\n")
    for database in board.links, board.content:
        assert database.keys() == ["other:comments:1"]
        database.delete("other:comments:1")


def test_wipe_without_redis(tmp_path: Path) -> None:
    """Without Redis the command says what is wrong, in a line."""
    with environment():
        app = create_app(NOWHERE, str(tmp_path))
    result = app.test_cli_runner().invoke(args=["wipe", "--yes"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_the_command_in_the_readme() -> None:
    """Flask finds the app where the README says it is, and it has its command."""
    command = [sys.executable, "-m", "flask", "--app", "examples/comments/comments", "--help"]
    # With a key, so that none is made in the source tree.
    env = {**os.environ, "FLASK_SECRET_KEY": "of the tests"}
    result = subprocess.run(command, cwd=PACKAGE.parents[2], env=env, capture_output=True, text=True, check=True)
    assert "Delete all data of the Comments app." in result.stdout
    assert not result.stderr


def test_another_server_by_environment(tmp_path: Path) -> None:
    """The databases are chosen by the environment."""
    with environment(FLASK_REDIS_LINKS_URL="embedded://other/2", FLASK_REDIS_CONTENT_URL="memory://other/3"):
        other = create_app(instance_path=str(tmp_path))
    assert repr(other.extensions["redis"]) == "<Clients REDIS_LINKS embedded://other/2, REDIS_CONTENT memory://other/3>"


def test_the_default_is_a_server_of_its_own(app: Flask) -> None:
    """Without any configuration the data is in two databases of one embedded server, in the instance folder."""
    urls = [repr(database) for database in (board.links, board.content)]
    assert urls == ["<Redis REDIS_LINKS embedded://comments/0>", "<Redis REDIS_CONTENT embedded://comments/1>"]
    server = board.links.info("server")
    assert server["run_id"] == board.content.info("server")["run_id"]
    assert str(Path(app.instance_path).resolve()) in str(Path(board.links.config_get("dir")["dir"]).resolve())
