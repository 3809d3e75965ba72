"""The board: everything that this app asks of Redis.

The **links** say what there is, and in which order. A thread exists as long as its count does. ::

    comments:threads            list    the ids of all threads, that with the newest activity first
    comments:thread:7:comments  list    the ids of the thread's comments, the oldest first
    comments:thread:7:count     string  the number of its comments
    comments:thread:7:last      string  the id of the last one, 0 if there is none
    comments:last-thread        string  the counter that the ids of threads come from
    comments:last-comment       string  the counter that the ids of comments come from

The **content** is what people wrote. ::

    comments:thread:7           hash    title, author, created
    comments:comment:8          hash    text, author, created

These are two connections, and no transaction spans both. So content is written before the link to it, and deleted after
it: whatever is interrupted, no link leads to nothing. All that can be left behind is content to which there is no link.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import datetime
import math
import time
import typing as t

import redis
from redis.client import Pipeline

from flask_redis import Redis

links = Redis(config_prefix="REDIS_LINKS")
content = Redis(config_prefix="REDIS_CONTENT")

PAGE_SIZE: t.Final = 15

PREFIX: t.Final = "comments:"
THREADS: t.Final = f"{PREFIX}threads"
LAST_THREAD: t.Final = f"{PREFIX}last-thread"
LAST_COMMENT: t.Final = f"{PREFIX}last-comment"


class UnknownThreadError(LookupError):
    """There is no such thread, or there is none any more."""


@dataclasses.dataclass(frozen=True)
class Comment:
    """A comment."""

    id: int
    text: str
    author: str
    created: datetime.datetime
    #: Its place in the thread, from 1. Nothing else ever gets that place, so it also says what a reader has seen.
    number: int


@dataclasses.dataclass(frozen=True)
class Thread:
    """A thread, with all of its comments or with the last one only."""

    id: int
    title: str
    author: str
    created: datetime.datetime
    count: int
    comments: list[Comment]


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of the list of threads."""

    threads: list[Thread]
    number: int
    #: The number of pages that there are: at least one, though it may be empty.
    pages: int


def read_page(number: int) -> Page:
    """The page *number*, from 1, of the threads, each with its last comment. One round trip to each database."""
    with links.pipeline() as pipe:
        pipe.llen(THREADS)
        # "By nosort" keeps the order of the list: SORT is here for GET, which saves a second round trip for the
        # counts. The "*" stands for the id of each thread.
        pipe.sort(
            THREADS,
            start=(number - 1) * PAGE_SIZE,
            num=PAGE_SIZE,
            by="nosort",
            get=["#", _count_key("*"), _last_key("*")],
            groups=True,
        )
        total, rows = pipe.execute()
    with content.pipeline(transaction=False) as pipe:
        for thread_id, _, last_id in rows:
            pipe.hgetall(_thread_key(thread_id))
            pipe.hgetall(_comment_key(last_id))
        hashes = pipe.execute()
    threads = [
        _thread(thread_id, count, thread, _comments([last_id], [last], int(count)))
        for (thread_id, count, last_id), thread, last in zip(rows, hashes[::2], hashes[1::2], strict=True)
        if thread
    ]
    return Page(threads, number, max(1, math.ceil(total / PAGE_SIZE)))


def read_thread(thread_id: int) -> Thread:
    """The thread with all of its comments. One round trip to each database.

    :raises UnknownThreadError: if there is none.
    """
    count, ids = _read_links(thread_id)
    with content.pipeline(transaction=False) as pipe:
        pipe.hgetall(_thread_key(thread_id))
        for comment_id in ids:
            pipe.hgetall(_comment_key(comment_id))
        thread, *hashes = pipe.execute()
    if not thread:
        raise UnknownThreadError(thread_id)
    return _thread(thread_id, count, thread, _comments(ids, hashes))


def read_comments(thread_id: int, seen: int) -> list[Comment]:
    """The comments after the first *seen* of a thread. One round trip to each database.

    :raises UnknownThreadError: if there is none.
    """
    _, ids = _read_links(thread_id, seen)
    with content.pipeline(transaction=False) as pipe:
        for comment_id in ids:
            pipe.hgetall(_comment_key(comment_id))
        return _comments(ids, pipe.execute(), seen + 1)


def start_thread(author: str, title: str, text: str = "") -> int:
    """Start a thread, with a first comment if there is a *text*. Returns its id."""
    thread_id = links.incr(LAST_THREAD)
    comment_id = links.incr(LAST_COMMENT) if text else 0
    with content.pipeline() as pipe:
        pipe.hset(_thread_key(thread_id), mapping={"title": title, "author": author, "created": _now()})
        if text:
            pipe.hset(_comment_key(comment_id), mapping={"text": text, "author": author, "created": _now()})
        pipe.execute()
    with links.pipeline() as pipe:
        pipe.set(_count_key(thread_id), 0)
        pipe.set(_last_key(thread_id), 0)
        pipe.lpush(THREADS, thread_id)
        if text:
            _link_comment(pipe, thread_id, comment_id)
        pipe.execute()
    return thread_id


def add_comment(thread_id: int, author: str, text: str) -> int:
    """Add a comment to a thread, which becomes the one with the newest activity. Returns the id of the comment.

    :raises UnknownThreadError: if there is none.
    """
    comment_id = links.incr(LAST_COMMENT)
    content.hset(_comment_key(comment_id), mapping={"text": text, "author": author, "created": _now()})

    def link(pipe: Pipeline) -> None:
        if not pipe.exists(_count_key(thread_id)):
            raise UnknownThreadError(thread_id)
        pipe.multi()
        _link_comment(pipe, thread_id, comment_id)

    try:
        # Watching the count: if the thread is deleted between the question and the answer, Redis refuses the
        # transaction, redis-py asks again, and the thread does not come back from the dead.
        links.transaction(link, _count_key(thread_id))
    except UnknownThreadError:
        content.unlink(_comment_key(comment_id))
        raise
    return comment_id


def _link_comment(pipe: Pipeline, thread_id: int, comment_id: int) -> None:
    pipe.rpush(_comments_key(thread_id), comment_id)
    pipe.incr(_count_key(thread_id))
    pipe.set(_last_key(thread_id), comment_id)
    # LREM looks from the head of the list, and that is where the threads are that people talk in.
    pipe.lrem(THREADS, 1, str(thread_id))
    pipe.lpush(THREADS, thread_id)
    pipe.publish(_channel(thread_id), "commented")


def delete_thread(thread_id: int) -> None:
    """Delete a thread with its comments, if it is there."""
    with links.pipeline() as pipe:
        pipe.lrange(_comments_key(thread_id), 0, -1)
        pipe.lrem(THREADS, 1, str(thread_id))
        pipe.unlink(_comments_key(thread_id), _count_key(thread_id), _last_key(thread_id))
        pipe.publish(_channel(thread_id), "deleted")
        ids = pipe.execute()[0]
    content.unlink(_thread_key(thread_id), *map(_comment_key, ids))


def follow(thread_id: int, seen: int, heartbeat: float) -> cabc.Generator[Comment | None, None, None]:
    """The comments after the first *seen* of a thread, as they come; None after *heartbeat* seconds without one.

    :raises UnknownThreadError: when there is none, or none any more.
    """
    with links.connection.pubsub() as pubsub:
        pubsub.subscribe(_channel(thread_id))
        while True:
            # The first message confirms the subscription: from here on nothing is missed, so now is the time to read
            # what came in before. Each of the others is an alarm clock too: it is the lists that say what is new. So
            # nothing comes twice, and it does no harm that pub/sub, which knows no databases, also carries the news of
            # another board on the same server.
            if pubsub.get_message(timeout=heartbeat) is None:
                yield None
                continue
            for comment in read_comments(thread_id, seen):
                seen = comment.number
                yield comment


def wipe() -> int:
    """Delete everything that this app keeps in Redis, and nothing else. Returns the number of keys."""
    # The links first, as always.
    return _wipe(links) + _wipe(content)


def _wipe(database: redis.Redis) -> int:
    with database.pipeline(transaction=False) as pipe:
        for key in database.scan_iter(f"{PREFIX}*", count=1000):
            pipe.unlink(key)
        return sum(pipe.execute())


def _read_links(thread_id: int, seen: int = 0) -> tuple[int, list[str]]:
    """The number of comments of a thread, and their ids after the first *seen*."""
    with links.pipeline() as pipe:
        pipe.get(_count_key(thread_id))
        pipe.lrange(_comments_key(thread_id), seen, -1)
        count, ids = pipe.execute()
    if count is None:
        raise UnknownThreadError(thread_id)
    return int(count), ids


def _thread(thread_id: int | str, count: int | str, fields: dict[str, str], comments: list[Comment]) -> Thread:
    created = _moment(fields["created"])
    return Thread(int(thread_id), fields["title"], fields["author"], created, int(count), comments)


def _comments(ids: list[str], hashes: list[dict[str, str]], first: int = 1) -> list[Comment]:
    """The comments with *ids*, numbered from *first*. One whose content is not there is left out."""
    return [
        Comment(int(comment_id), fields["text"], fields["author"], _moment(fields["created"]), number)
        for number, (comment_id, fields) in enumerate(zip(ids, hashes, strict=True), first)
        if fields
    ]


def _now() -> int:
    return int(time.time())


def _moment(timestamp: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(timestamp), datetime.timezone.utc)


def _thread_key(thread_id: int | str) -> str:
    return f"{PREFIX}thread:{thread_id}"


def _comment_key(comment_id: int | str) -> str:
    return f"{PREFIX}comment:{comment_id}"


def _comments_key(thread_id: int | str) -> str:
    return f"{PREFIX}thread:{thread_id}:comments"


def _count_key(thread_id: int | str) -> str:
    return f"{PREFIX}thread:{thread_id}:count"


def _last_key(thread_id: int | str) -> str:
    return f"{PREFIX}thread:{thread_id}:last"


def _channel(thread_id: int) -> str:
    return f"{PREFIX}thread:{thread_id}:news"
