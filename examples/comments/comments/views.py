"""The pages of the board."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import functools
import re
import typing as t

import click
from flask import abort
from flask import Blueprint
from flask import current_app
from flask import flash
from flask import json
from flask import redirect
from flask import render_template
from flask import request
from flask import Response
from flask import session
from flask import stream_with_context
from flask import url_for
from flask.typing import ResponseReturnValue
from redis.exceptions import ConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError

from . import board
from . import csrf
from . import forms

bp = Blueprint("board", __name__, cli_group=None)
bp.before_request(csrf.check)
bp.add_app_template_global(csrf.token, "csrf_token")

P = t.ParamSpec("P")


def login_required(view: cabc.Callable[P, ResponseReturnValue]) -> cabc.Callable[P, ResponseReturnValue]:
    """Send who is not logged in to the login page, and back from there."""

    @functools.wraps(view)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if "name" not in session:
            return redirect(url_for(".login", next=request.path))
        return view(*args, **kwargs)

    return wrapped


@bp.get("/", defaults={"number": 1})
@bp.get("/page/<int(min=1, max=1000000):number>")
def threads(number: int) -> ResponseReturnValue:
    """The threads, a page at a time."""
    page = board.read_page(number)
    if number > page.pages:
        abort(404, f"There is no page {number}. The last one is page {page.pages}.")
    return render_template("threads.html", page=page)


@bp.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Log in: a name is enough."""
    if request.method == "GET":
        return render_template("login.html", errors={})
    name = forms.typed("name")
    if errors := forms.problems(name=name):
        return render_template("login.html", errors=errors), 400
    # Whoever was here before leaves nothing to the newcomer.
    session.clear()
    session["name"] = name
    return redirect(_next_page())


def _next_page() -> str:
    """Where to go after the login: a path on this site, whatever somebody else's link asks for."""
    target = request.args.get("next", "")
    # Browsers take //host and /\host for another site, and drop the tabs and newlines that could hide it.
    return target if re.fullmatch(r"/(?![/\\])[!-~]*", target) else url_for(".threads")


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    session.clear()
    return redirect(url_for(".threads"))


@bp.route("/threads/new", methods=["GET", "POST"])
@login_required
def new_thread() -> ResponseReturnValue:
    """Start a thread, with or without a first comment."""
    if request.method == "GET":
        return render_template("new_thread.html", errors={})
    title, text = forms.typed("title"), forms.typed("comment")
    optional = {"comment": text} if text else {}
    if errors := forms.problems(title=title, **optional):
        return render_template("new_thread.html", errors=errors), 400
    thread_id = board.start_thread(session["name"], title, text)
    return redirect(url_for(".thread", thread_id=thread_id))


@bp.get("/threads/<int:thread_id>")
def thread(thread_id: int) -> ResponseReturnValue:
    """A thread and its comments."""
    return render_template("thread.html", thread=board.read_thread(thread_id), errors={})


@bp.post("/threads/<int:thread_id>")
@login_required
def comment(thread_id: int) -> ResponseReturnValue:
    """Add a comment to a thread."""
    text = forms.typed("comment")
    if errors := forms.problems(comment=text):
        return render_template("thread.html", thread=board.read_thread(thread_id), errors=errors), 400
    comment_id = board.add_comment(thread_id, session["name"], text)
    return redirect(url_for(".thread", thread_id=thread_id, _anchor=f"comment-{comment_id}"))


@bp.route("/threads/<int:thread_id>/delete", methods=["GET", "POST"])
@login_required
def delete_thread(thread_id: int) -> ResponseReturnValue:
    """Delete one's own thread, after a confirmation."""
    thread = board.read_thread(thread_id)
    if thread.author != session["name"]:
        abort(403, "Only its author can delete a thread.")
    if request.method == "GET":
        return render_template("delete.html", thread=thread)
    board.delete_thread(thread_id)
    flash(f"The thread “{thread.title}” is deleted.")
    return redirect(url_for(".threads"))


@bp.get("/threads/<int:thread_id>/events")
def events(thread_id: int) -> ResponseReturnValue:
    """New comments as server-sent events, each with its number in the thread as its id."""
    # The page says how many comments it has; a browser that comes back after a break knows better.
    sent = request.headers.get("Last-Event-ID") or request.args.get("seen", "")
    seen = int(sent) if re.fullmatch(r"[0-9]{1,9}", sent) else 0
    # That a thread is unknown has to be said before the stream begins.
    board.read_comments(thread_id, seen)
    stream = stream_with_context(_events(thread_id, seen))
    # A proxy that collects an answer before it sends it would never send this one.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Response(stream, mimetype="text/event-stream", headers=headers)


def _events(thread_id: int, seen: int) -> cabc.Iterator[str]:
    heartbeat = current_app.config["COMMENTS_HEARTBEAT"]
    # Closing: the connection goes back when the browser leaves, which shows when a heartbeat does not get through.
    with contextlib.closing(board.follow(thread_id, seen, heartbeat)) as comments:
        try:
            for comment in comments:
                yield _event(comment) if comment else ": nothing new\n\n"
        except board.UnknownThreadError:
            yield "event: deleted\ndata: deleted\n\n"
        except (ConnectionError, TimeoutError):
            # The browser comes back by itself. If Redis does not, that will be in the log.
            return


def _event(comment: board.Comment) -> str:
    html = render_template("_comment.html", comment=comment)
    # As JSON it is one line, which is what an event wants.
    return f"id: {comment.number}\ndata: {json.dumps(html)}\n\n"


@bp.cli.command("wipe")
@click.confirmation_option(prompt="Delete all threads and comments?")
def wipe() -> None:
    """Delete all data of the Comments app."""
    try:
        click.echo(f"Deleted {board.wipe()} keys.")
    except RedisError as error:
        raise click.ClickException(str(error)) from error
