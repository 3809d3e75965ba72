"""What an application asks of Redis: recorded for a test or a page, and logged when it is slow."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import contextvars
import dataclasses
import functools
import itertools
import math
import os
import re
import sys
import time
import typing as t
import weakref
from pathlib import Path

from .parameters import cluster_node_class


@dataclasses.dataclass(frozen=True)
class Part:
    """A command in a pipeline."""

    #: In upper case, with the subcommand where it has one: ``"GET"``, ``"CLIENT LIST"``.
    name: str
    #: As text, shortened. ``"***"`` stands for all of them where one may be a password.
    args: tuple[str, ...]
    #: The error that it ended in: its type, and what it says.
    error: str | None
    #: Whether it is a read, and the same one is in the recording before it with no write to its keys between them.
    repeated: bool

    def __str__(self) -> str:
        return " ".join([self.name, *self.args])


@dataclasses.dataclass(frozen=True)
class Command(Part):
    """A command, or a pipeline: that is one named ``"PIPELINE"``, with its commands in :attr:`parts`."""

    #: The config prefix of the connection.
    prefix: str
    #: Seconds from the start of the recording to that of the command.
    started: float
    #: Seconds until the reply was there, or the error: with all that redis-py did to connect and to try again.
    duration: float
    #: Where the application asked for it, as in ``"shop/views.py:12"``.
    line: str
    parts: tuple[Part, ...] = ()

    def __str__(self) -> str:
        return " ".join([super().__str__(), " | ".join(map(str, self.parts))]).rstrip()


@contextlib.contextmanager
def record_commands() -> cabc.Iterator[list[Command]]:
    """Record what the block asks of Redis: on every connection of every application, each command or pipeline an entry.

    An entry is added when the command is done, also if it failed. Subscribing and waiting for messages is not recorded.
    A read that redis-py's client-side cache answers is, though it is no round trip.

    The block is one as :mod:`contextvars` have it: a request to a test client, asynchronous views and tasks that it
    starts belong to it; what other threads do at the same time does not.

    :returns: as a context manager, the list of what is recorded so far.
    """
    with recording() as found:
        yield found.commands


@contextlib.contextmanager
def recording() -> cabc.Iterator[Recording]:
    """What :func:`record_commands` does, with more to know about it."""
    if not _installed:
        _install()
    found = Recording()
    before = _recordings.get()
    _recordings.set((*before, found))
    try:
        yield found
    finally:
        found.end()
        _recordings.set(before)


class Watch(t.NamedTuple):
    """What is to be known of the commands of one connection."""

    #: The config prefix.
    prefix: str
    #: Whether the client is for asyncio.
    asyncio: bool
    #: Seconds from which on a command is logged.
    slow: float = math.inf
    #: What logs it, called with a format and its arguments; None for nothing.
    log: cabc.Callable[..., object] | None = None


class Recording:
    """What is recorded between its making and its end."""

    def __init__(self) -> None:
        #: When it began, as ``time.perf_counter()`` has it.
        self.start: float = time.perf_counter()
        #: Whether nothing is added any more.
        self.ended: bool = False
        self.commands: list[Command] = []
        # When each read was made last, and when each argument was part of a write.
        self._moments = itertools.count(1)
        self._reads: dict[tuple[t.Any, ...], int] = {}
        self._writes: dict[int, int] = {}

    def end(self) -> None:
        """Add nothing any more, and let go of what was sent: a task of the block may go on for ever with it."""
        self.ended = True
        self._reads, self._writes = {}, {}

    def repeats(self, prefix: str, name: str, args: cabc.Sequence[t.Any], texts: cabc.Sequence[str]) -> bool:
        """Whether the command is a read that has been recorded, and not written to since."""
        moment = next(self._moments)
        if name in _READS:
            read = (prefix, name, *map(_sent, args))
            before, self._reads[read] = self._reads.get(read, 0), moment
            return before > max((self._writes.get(hash((prefix, text)), 0) for text in texts), default=0)
        if name in _EMPTYING:
            self._reads.clear()
        # One of them is the key. Their hashes, because values may be large.
        self._writes.update((hash((prefix, text)), moment) for text in texts)
        return False


_recordings: contextvars.ContextVar[tuple[Recording, ...]]
_recordings = contextvars.ContextVar("flask_redis.recordings", default=())


def _running() -> tuple[Recording, ...]:
    """The recordings that what is sent here and now belongs to. From those that have ended, this task parts here."""
    found = _recordings.get()
    if any(recording.ended for recording in found):
        found = tuple(recording for recording in found if not recording.ended)
        _recordings.set(found)
    return found


#: Whether a slow command is being logged. What the log handlers send is not logged, or it would never end.
_logging: contextvars.ContextVar[bool] = contextvars.ContextVar("flask_redis.logging", default=False)


class _Call:
    """The time of one command, or of a pipeline of several."""

    def __init__(self, watch: Watch, commands: cabc.Sequence[cabc.Sequence[t.Any]], pipeline: bool = False) -> None:
        self._watch = watch
        self._commands = commands
        self._pipeline = pipeline
        self._recordings = _recordings.get()
        # A coroutine may be awaited by somebody else.
        self._line = _line_of_the_application() if watch.asyncio else ""
        self.result: t.Any = None
        self.is_sent = True

    def __enter__(self) -> _Call:
        self._start = time.perf_counter()
        return self

    def __exit__(self, _: object, error: BaseException | None, traceback: object) -> None:
        duration = time.perf_counter() - self._start
        if not self.is_sent:
            return
        for recording in self._recordings:
            if not recording.ended:
                recording.commands.append(self._command(recording, duration, error))
        if self._watch.log and duration >= self._watch.slow and not _logging.get():
            command = self._command(Recording(), duration, error)
            if command.name not in _WAITING and "BLOCK" not in command.args:
                token = _logging.set(True)
                try:
                    self._watch.log("%s: %s took %.3f s, at %s", command.prefix, command, duration, command.line)
                finally:
                    _logging.reset(token)

    def _command(self, recording: Recording, duration: float, error: BaseException | None) -> Command:
        prefix = self._watch.prefix
        outcomes: list[object] = [error]
        if self._pipeline:
            # A pipeline of the user's own may return anything.
            is_list = isinstance(self.result, list) and len(self.result) == len(self._commands)
            outcomes = self.result if is_list else [None] * len(self._commands)
        parts: list[Part] = []
        for command, outcome in zip(self._commands, outcomes, strict=True):
            name, args = _parsed(command)
            texts = [_text(arg) for arg in args]
            shown = _shown(name, texts)
            parts.append(Part(name, shown, _said(outcome, shown), recording.repeats(prefix, name, args, texts)))
        whole = parts[0]
        if self._pipeline:
            said = _said(error, *(part.args for part in parts))
            whole = Part("PIPELINE", (), said, all(part.repeated for part in parts))
        return Command(
            **vars(whole),
            prefix=prefix,
            started=self._start - recording.start,
            duration=duration,
            line=self._line or _line_of_the_application(),
            parts=tuple(parts) if self._pipeline else (),
        )


def recorded(client_class: type[t.Any], watch: Watch) -> type[t.Any]:
    """A subclass of *client_class*, whose commands and pipelines can be recorded."""
    if not hasattr(client_class, "execute_command"):
        # It has nothing of redis-py's.
        return client_class
    found = _classes.get((client_class, watch))
    if found is None:
        found = _classes.setdefault((client_class, watch), _client_class(client_class, watch))
    if (watch.log or _installed) and "execute_command" not in vars(found):
        found.execute_command = found._recorded_command
    return found


#: The classes that :func:`recorded` has made, as long as they have a client.
_classes: weakref.WeakValueDictionary[tuple[type[t.Any], Watch], type[t.Any]] = weakref.WeakValueDictionary()
_installed = False


def _install() -> None:
    """Let commands pass through here from now on. Before the first recording they cost nothing more than redis-py's."""
    global _installed  # noqa: PLW0603
    _installed = True
    # Not values(), which another thread's new class would disturb.
    for client_class in filter(None, (reference() for reference in _classes.valuerefs())):
        client_class.execute_command = client_class._recorded_command


#: The methods of redis-py's clients for what makes pipelines of its own.
_MODULES: t.Final = frozenset({"ft", "json", "ts"})


def _client_class(base: type[t.Any], watch: Watch) -> type[t.Any]:
    make = _cluster_pipeline_class if cluster_node_class(base) else _pipeline_class

    class Client(base):  # type: ignore[misc]
        def _recorded_command(self, *args: t.Any, **options: t.Any) -> t.Any:
            if watch.log or _recordings.get():
                return _call(watch, [args], super().execute_command, *args, **options)
            return super().execute_command(*args, **options)

        def pipeline(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            return _become(pipeline_class, super().pipeline(*args, **kwargs))

    @functools.cache
    def pipeline_class(pipeline_base: type[t.Any]) -> type[t.Any]:
        return _named_after(pipeline_base, make(pipeline_base, watch))

    @functools.cache
    def module_class(module_base: type[t.Any]) -> type[t.Any]:
        class Module(module_base):  # type: ignore[misc]
            def pipeline(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
                return _become(pipeline_class, super().pipeline(*args, **kwargs))

        return _named_after(module_base, Module)

    def module(name: str) -> cabc.Callable[..., t.Any]:
        @functools.wraps(getattr(base, name))
        def method(self: Client, *args: t.Any, **kwargs: t.Any) -> t.Any:
            def execute_command(*args: t.Any, **options: t.Any) -> t.Any:
                return self.execute_command(*args, **options)

            module = _become(module_class, getattr(super(Client, self), name)(*args, **kwargs))
            # In the place of the client's method of this moment.
            module.execute_command = execute_command
            return module

        return method

    # A class of the user's need not have them.
    for name in _MODULES.intersection(dir(base)):
        setattr(Client, name, module(name))
    return _named_after(base, Client)


def _become(make: cabc.Callable[[t.Any], type[t.Any]], found: t.Any) -> t.Any:
    """*found*, as an object of the subclass of its class that *make* makes."""
    # What a user's own class returns may be something else.
    if hasattr(found, "execute_command"):
        found.__class__ = make(type(found))
    return found


def _pipeline_class(base: type[t.Any], watch: Watch) -> type[t.Any]:
    class Pipeline(base):  # type: ignore[misc]
        def execute(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            if watch.log or _recordings.get():
                commands = [command for command, _ in self.command_stack]
                return _call(watch, commands, super().execute, *args, pipeline=True, **kwargs)
            return super().execute(*args, **kwargs)

        def immediate_execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
            return _call(watch, [args], super().immediate_execute_command, *args, **options)

    return Pipeline


def _cluster_pipeline_class(base: type[t.Any], watch: Watch) -> type[t.Any]:
    class Pipeline(base):  # type: ignore[misc]
        # Without slots of its own, because a pipeline becomes one: its layout must stay the same.
        __slots__ = ()

        def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
            execute = super().execute_command
            if watch.asyncio or not (watch.log or _running()):
                # For asyncio it is the pipeline, or what sends nothing before it is awaited.
                result = execute(*args, **options)
            else:
                with _Call(watch, [args]) as call:
                    result = execute(*args, **options)
                    call.is_sent = result is not self
            if result is self:
                # redis-py's own list of them is private.
                self.__dict__.setdefault("_recorded_commands", []).append(args)
            elif watch.asyncio:
                return _call(watch, [args], lambda: result)
            return result

        def watch(self, *names: t.Any) -> t.Any:
            return _call(watch, [("WATCH", *names)], super().watch, *names)

        def execute(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            commands = self.__dict__.pop("_recorded_commands", [])[-len(self) :] if len(self) else []
            execute = functools.partial(_unrecorded, super().execute) if watch.asyncio else super().execute
            return _call(watch, commands, execute, *args, pipeline=True, **kwargs)

    return Pipeline


async def _unrecorded(function: cabc.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
    """Await *function*: redis-py sends what a pipeline has to send again as a command of the client."""
    before = _recordings.get()
    _recordings.set(())
    try:
        return await function(*args, **kwargs)
    finally:
        _recordings.set(before)


def _named_after(base: type[t.Any], subclass: type[t.Any]) -> type[t.Any]:
    """*subclass*, which is *base* for errors, logs and representations."""
    subclass.__module__, subclass.__name__, subclass.__qualname__ = base.__module__, base.__name__, base.__qualname__
    return subclass


def _call(
    watch: Watch,
    commands: cabc.Sequence[cabc.Sequence[t.Any]],
    function: cabc.Callable[..., t.Any],
    *args: t.Any,
    pipeline: bool = False,
    **kwargs: t.Any,
) -> t.Any:
    """Call *function*, which sends *commands*."""
    if not commands or not (watch.log or _running()):
        return function(*args, **kwargs)
    call = _Call(watch, commands, pipeline)
    return (_awaited if watch.asyncio else _called)(call, function, *args, **kwargs)


def _called(call: _Call, function: cabc.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
    with call:
        call.result = function(*args, **kwargs)
        return call.result


async def _awaited(call: _Call, function: cabc.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
    with call:
        call.result = await function(*args, **kwargs)
        return call.result


# --- What a command looks like ---------------------------------------------------------------------------------------

#: Whose second word belongs to the name.
_WITH_SUBCOMMANDS: t.Final = frozenset(
    {
        "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB",
        "SCRIPT", "SENTINEL", "SLOWLOG", "XGROUP", "XINFO",
    }
)  # fmt: skip
#: An argument of these may be a password.
_SECRETIVE: t.Final = frozenset(
    {"ACL SETUSER", "AUTH", "CONFIG SET", "HELLO", "MIGRATE", "MODULE LOADEX", "SENTINEL CONFIG", "SENTINEL SET"}
)
_HIDDEN: t.Final = ("***",)
#: Reads whose answer depends on nothing but the keys that they name. redis-py 5 to 7 know half of them.
_READS: t.Final = frozenset(
    {
        "BITCOUNT", "BITFIELD_RO", "BITPOS", "DUMP", "EVALSHA_RO", "EVAL_RO", "EXISTS", "EXPIRETIME", "FCALL_RO",
        "FT.INFO", "FT.SEARCH", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO", "GEOSEARCH",
        "GET", "GETBIT", "GETRANGE", "HEXISTS", "HEXPIRETIME", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET",
        "HPEXPIRETIME", "HPTTL", "HSCAN", "HSTRLEN", "HTTL", "HVALS", "JSON.ARRINDEX", "JSON.ARRLEN", "JSON.GET",
        "JSON.MGET", "JSON.OBJKEYS", "JSON.OBJLEN", "JSON.RESP", "JSON.STRLEN", "JSON.TYPE", "LCS", "LINDEX", "LLEN",
        "LPOS", "LRANGE", "MGET", "PEXPIRETIME", "PFCOUNT", "PTTL", "SCARD", "SDIFF", "SINTER", "SINTERCARD",
        "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SORT_RO", "SSCAN", "STRLEN", "SUBSTR", "SUNION", "TS.GET", "TS.RANGE",
        "TS.REVRANGE", "TTL", "TYPE", "XLEN", "XPENDING", "XRANGE", "XREVRANGE", "ZCARD", "ZCOUNT", "ZDIFF", "ZINTER",
        "ZINTERCARD", "ZLEXCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE",
        "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN", "ZSCORE", "ZUNION",
    }
)  # fmt: skip
#: They write to keys that they do not name.
_EMPTYING: t.Final = frozenset({"FLUSHALL", "FLUSHDB", "SWAPDB"})
#: They take long because the application wants to wait.
_WAITING: t.Final = frozenset(
    {"BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "WAIT", "WAITAOF"}
)

#: How many characters of an argument or error are shown, and how many arguments.
_CHARACTERS: t.Final = 60, 200
_ARGUMENTS: t.Final = 10


def _parsed(command: cabc.Sequence[t.Any]) -> tuple[str, list[t.Any]]:
    """The name and the arguments of a command."""
    # redis-py has a subcommand in the same string, and takes a whole command there.
    name, *args = [*_text(command[0]).split(), *command[1:]] or [""]
    name = _text(name).upper()
    if name in _WITH_SUBCOMMANDS and args:
        name = f"{name} {_text(args.pop(0)).upper()}"
    return name, args


def _text(value: t.Any) -> str:
    """*value* as text; of a long one in bytes, enough for what is shown of it."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value[: 4 * _CHARACTERS[0] + 4]).decode("utf-8", "backslashreplace")
    return str(value)


def _sent(value: t.Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value).encode(errors="replace")


def _shown(name: str, texts: list[str]) -> tuple[str, ...]:
    if name in _SECRETIVE:
        return _HIDDEN if texts else ()
    more = len(texts) - _ARGUMENTS
    shown = [_shortened(text, _CHARACTERS[0]) for text in texts[:_ARGUMENTS]]
    return (*shown, f"({more} more)") if more > 0 else tuple(shown)


def _said(error: object, *args: tuple[str, ...]) -> str | None:
    if not isinstance(error, BaseException):
        return None
    if _HIDDEN in args:
        # redis-py's messages may have the arguments of the command that failed.
        return type(error).__name__
    return _shortened(f"{type(error).__name__}: {without_arguments(str(error))}".removesuffix(": "), _CHARACTERS[1])


def without_arguments(message: str) -> str:
    """The error *message* of a server that does not know a command, without the arguments that it repeats.

    Those of the HELLO with which a connection begins are the password.
    """
    return re.sub(r",? with args beginning with:.*", "", message, flags=re.DOTALL)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _line_of_the_application() -> str:
    """The nearest line on the way here that is not of this package, a client package, Python or another package."""
    frame = sys._getframe().f_back
    nearest = ""
    while frame:
        kind, path = _kind_and_path(frame.f_code.co_filename)
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if kind != "Python" and package not in {"flask_redis", "redis", "valkey"}:
            # A template's own line, not that of the code it is made into.
            template = frame.f_globals.get("__jinja_template__")
            line = f"{path}:{template.get_corresponding_lineno(frame.f_lineno) if template else frame.f_lineno}"
            nearest = nearest or line
            if kind == "application":
                return line
        frame = frame.f_back
    # The application may be installed as a package itself.
    return nearest


@functools.lru_cache(1024)
def _kind_and_path(file: str) -> tuple[str, str]:
    """Whose code a file has, and its path: from the working directory, if it is below."""
    path = Path(file)
    if {"site-packages", "dist-packages"}.intersection(path.parts):
        kind = "package"
    else:
        kind = "Python" if file.startswith((str(Path(os.__file__).parent), "<frozen ")) else "application"
    with contextlib.suppress(OSError, ValueError):
        path = path.relative_to(Path.cwd())
    return kind, str(path)
