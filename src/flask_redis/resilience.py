"""What a client does when its server fails: how often it tries again, and when it stops asking."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import contextvars
import copy
import importlib
import inspect
import threading
import time
import typing as t

from .clusters import no_node
from .config import ConfigError
from .config import Settings
from .parameters import parameters


def options(settings: Settings, breaker: Breaker | None) -> dict[str, t.Any]:
    """The arguments of the client class for the configured retries; none leaves redis-py's own.

    :raises ConfigError: if the client class takes no such argument.
    """
    if settings.retry is None and breaker is None:
        return {}
    known = parameters(settings.client_class)
    if "retry" not in known:
        keys = f"{settings.prefix}_RETRY and {settings.prefix}_CIRCUIT_BREAKER"
        raise ConfigError(f"{keys} need a {settings.prefix}_CLASS that takes 'retry'.")
    retry = settings.retry
    if not isinstance(retry, (int, type(None), _retry_class(settings))):
        retry = _converted(retry, settings)
    if settings.topology == "cluster":
        return _options_of_a_cluster(settings, retry)
    more: dict[str, t.Any] = {}
    if retry is None or isinstance(retry, int):
        # From redis-py 6 on the signature holds the default, with its backoff; that of a Sentinel's client is none.
        default = known["retry"].default if settings.topology != "sentinel" or retry is not None else None
        if default is None:
            tries_again = bool(retry)
            retry = _retry(settings, "default_backoff", retry or 0)
            if tries_again and "retry_on_error" in known and "retry_on_error" not in settings.options:
                # Or else redis-py 5 and valkey-py try again to connect, and nothing else.
                errors = importlib.import_module(f"{settings.package}.exceptions")
                more["retry_on_error"] = [errors.ConnectionError, errors.TimeoutError]
        else:
            number, retry = retry, copy.deepcopy(default)
            retry.update_retries(retry.get_retries() if number is None else number)
    return {"retry": breaker.guard_retry(retry) if breaker else retry, **more}


def _options_of_a_cluster(settings: Settings, retry: t.Any) -> dict[str, t.Any]:
    """A cluster client needs the number of retries alone, and takes it differently before redis-py 6."""
    if not isinstance(retry, int):
        return {} if retry is None else {"retry": retry}
    if not hasattr(_retry_class(settings), "get_retries"):
        return {"cluster_error_retry_attempts": retry}
    return {"retry": _retry(settings, "default_backoff", retry)}


def _converted(retry: t.Any, settings: Settings) -> t.Any:
    """A ``Retry`` of another package, or of the other kind of client, for the client of *settings*."""
    converted = no_retry(settings)
    exceptions = importlib.import_module(f"{settings.package}.exceptions")
    converted._backoff = retry._backoff
    converted._retries = retry._retries
    converted._supported_errors = tuple(getattr(exceptions, each.__name__, each) for each in retry._supported_errors)
    return converted


def no_retry(settings: Settings) -> t.Any:
    """A ``Retry`` that tries once."""
    return _retry(settings, "NoBackoff", 0)


def _retry(settings: Settings, backoff: str, retries: int) -> t.Any:
    make_backoff = getattr(importlib.import_module(f"{settings.package}.backoff"), backoff)
    return _retry_class(settings)(make_backoff(), retries)


def _retry_class(settings: Settings) -> type[t.Any]:
    return t.cast("type[t.Any]", importlib.import_module(f"{settings.module}.retry").Retry)


class Breaker:
    """A circuit breaker: pybreaker's, shared by all threads, loops and connections of one config prefix.

    pybreaker holds a lock while it guards a call, which would let one command through at a time. So it is told of the
    outcomes of calls that it does not make: it counts, and keeps the state. What counts:

    - A reply is a success, whatever it says, but that the server still loads its data: for redis-py that is a
      ConnectionError. An open socket is none: that of a server that hangs opens, too.
    - Each attempt that fails is a failure, also one that redis-py makes again.
    - A cluster fails when none of its nodes can be reached, or when it says itself that it is down. One node that fails
      shall not make the others unreachable.

    :param settings: those of the client. ``fail_max`` consecutive failures open the circuit, 5 by default, and after
        ``reset_timeout`` seconds, 10 by default, one probe goes out.
    :raises ConfigError: if pybreaker is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            import pybreaker
        except ImportError:
            raise ConfigError(
                f"{settings.prefix}_CIRCUIT_BREAKER needs an optional package: pip install 'Flask-And-Redis[breaker]'"
            ) from None
        exceptions = importlib.import_module(f"{settings.package}.exceptions")
        self._error: type[Exception] = exceptions.ConnectionError
        self._failures = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
        #: The errors that are replies. That of a wrong password is a ConnectionError.
        self.replies: tuple[type[Exception], ...] = (
            exceptions.ResponseError,
            exceptions.AuthenticationError,
            exceptions.AuthorizationError,
        )
        self._cluster_down: type[Exception] = exceptions.ClusterDownError
        self._not_asked: type[Exception] = pybreaker.CircuitBreakerError
        self._settings = settings
        self._guarded: dict[type[t.Any], type[t.Any]] = {}
        # Reentrant, because a listener that the user adds may send a command.
        self._lock = threading.RLock()
        self._telling = False
        self._last_failure = ""
        self._probe: object = object()
        self._next_probe_at = 0.0
        breaker = self

        class Listener(pybreaker.CircuitBreakerListener):
            def state_change(self, cb: t.Any, old_state: t.Any, new_state: t.Any) -> None:
                if new_state.name == "open":
                    breaker._probe = object()
                    breaker._next_probe_at = time.monotonic() + cb.reset_timeout

        #: What says how it stands: ``current_state`` is ``"closed"``, ``"open"`` or ``"half-open"``.
        limits = {"fail_max": 5, "reset_timeout": 10.0, **(settings.breaker or {})}
        self.circuit: pybreaker.CircuitBreaker = pybreaker.CircuitBreaker(
            fail_max=int(limits["fail_max"]),
            reset_timeout=limits["reset_timeout"],
            listeners=[Listener()],
            name=settings.prefix,
            throw_new_error_on_trip=False,
        )

    @property
    def is_open(self) -> bool:
        """Whether the server is not asked, but for a probe."""
        return bool(self.circuit.current_state != "closed")

    def admit(self) -> None:
        """Let this thread or task ask the server: always while the circuit is closed, else as the one probe.

        The probe has an outcome, or none, if it waits for a message, say. Then another one goes out after
        ``reset_timeout`` seconds.

        :raises redis.exceptions.ConnectionError: if the circuit is open.
        """
        if not self.is_open:
            return
        with self._lock:
            # Looked at again: another probe may have just ended well.
            if not self.is_open or _own_probe.get() is self._probe:
                return
            now = time.monotonic()
            wait = self._next_probe_at - now
            if wait <= 0:
                self._probe = object()
                self._next_probe_at = now + self.circuit.reset_timeout
                _own_probe.set(self._probe)
                self.circuit.half_open()
                return
        # What surrounds this has nothing to count.
        _counted.set(_counted.get() + 1)
        reason = f" {self._last_failure}" if self._last_failure else ""
        error: t.Any = self._error(
            f"The circuit breaker of {self._settings.prefix} is open, the server is asked again within {wait:.1f} s."
            f"{reason}"
        )
        error.refused = True
        raise error

    @contextlib.contextmanager
    def attempt(self) -> cabc.Iterator[None]:
        """What is done inside is one attempt. Its failure counts once, also where an attempt inside has failed."""
        counted = _counted.get()
        try:
            yield
        except self.replies:
            raise
        except self._failures as error:
            if _counted.get() == counted:
                _counted.set(counted + 1)
                self.tell(error)
            raise

    @contextlib.contextmanager
    def command_to_a_cluster(self) -> cabc.Iterator[None]:
        """What is done inside is one command, for which the client asks other nodes itself where one fails.

        :raises redis.exceptions.ConnectionError: if the circuit is open.
        """
        self.admit()
        try:
            yield
        except Exception as error:
            problem = no_node(self._settings.package, error) or error
            down = isinstance(problem, self._cluster_down) and "cluster is down" in str(problem)
            if isinstance(problem, self.replies) and not down:
                self.tell()
            elif problem is not error or down:
                self.tell(problem)
            else:
                self._leave_the_probe_to_others()
            raise
        self.tell()

    @contextlib.contextmanager
    def message_to_a_cluster(self) -> cabc.Iterator[None]:
        """What is done inside sends a command without waiting for the reply.

        :raises redis.exceptions.ConnectionError: if the circuit is open.
        """
        self.admit()
        try:
            yield
        finally:
            self._leave_the_probe_to_others()

    def _leave_the_probe_to_others(self) -> None:
        with self._lock:
            if _own_probe.get() is self._probe:
                self._next_probe_at = 0.0

    def tell(self, failure: Exception | None = None) -> None:
        """Count a reply, or a failure."""
        if failure is None and not self.is_open and not self.circuit.fail_counter:
            return

        def outcome() -> None:
            if failure is not None:
                # Not the failure itself, whose traceback would show this detour.
                raise _Failure(str(failure)) from failure

        with self._lock:
            state = self.circuit.current_state
            # What fails beside the probe had begun before the circuit opened, as has all that ends while it is open.
            if state == "open" or (state == "half-open" and failure and _own_probe.get() is not self._probe):
                return
            # A listener that sends a command is called before the state has changed.
            if self._telling:
                return
            self._last_failure = f"The last failure: {failure}" if failure else ""
            self._telling = True
            try:
                self.circuit.call(outcome)
            except (_Failure, self._not_asked):
                # The latter where the circuit has been opened by hand at this moment.
                pass
            finally:
                self._telling = False

    def guard_retry(self, retry: t.Any) -> t.Any:
        """A ``Retry`` like *retry* that counts each attempt, and ends when the circuit opens."""
        guarded = copy.copy(retry)
        guarded.__class__ = self._subclass(_guarded_retry, type(retry))
        return guarded

    def guard_pool(self, pool: t.Any) -> None:
        """Let the connections that *pool* will make ask only while the circuit is closed, and count the replies."""
        pool.connection_class = self._subclass(_guarded_connection, pool.connection_class)

    def _subclass(self, make: cabc.Callable[[type[t.Any], Breaker], type[t.Any]], base: type[t.Any]) -> type[t.Any]:
        if base not in self._guarded:
            self._guarded[base] = make(base, self)
        return self._guarded[base]


#: How many failures this thread or task has counted.
_counted: contextvars.ContextVar[int] = contextvars.ContextVar("flask_redis.counted", default=0)
#: The probe that this thread or task has made last, of whatever breaker.
_own_probe: contextvars.ContextVar[object] = contextvars.ContextVar("flask_redis.probe", default=None)


class _Failure(Exception):  # noqa: N818
    """What pybreaker sees of a failure."""


def _guarded_retry(retry_class: type[t.Any], breaker: Breaker) -> type[t.Any]:
    # Without slots of its own, because a Retry becomes one: its layout must stay the same.
    class Guarded(retry_class):  # type: ignore[misc]
        __slots__ = ()

        def call_with_retry(self, do: t.Any, fail: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            def attempt() -> t.Any:
                with breaker.attempt():
                    return do()

            def failed(error: t.Any, *count: int) -> None:
                # The connection is as good as before where nothing was sent.
                if not hasattr(error, "refused"):
                    fail(error, *count)
                if breaker.is_open:
                    raise error

            return super().call_with_retry(attempt, failed, *args, **kwargs)

    class AsyncGuarded(retry_class):  # type: ignore[misc]
        __slots__ = ()

        async def call_with_retry(self, do: t.Any, fail: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            async def attempt() -> t.Any:
                with breaker.attempt():
                    return await do()

            async def failed(error: t.Any, *count: int) -> None:
                if not hasattr(error, "refused"):
                    await fail(error, *count)
                if breaker.is_open:
                    raise error

            return await super().call_with_retry(attempt, failed, *args, **kwargs)

    return AsyncGuarded if inspect.iscoroutinefunction(retry_class.call_with_retry) else Guarded


def _guarded_connection(connection_class: type[t.Any], breaker: Breaker) -> type[t.Any]:
    """A connection that asks for admission before it connects or sends. Whoever waits for a message may wait on."""

    class Guarded(connection_class):  # type: ignore[misc]
        def connect(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            if self._sock:
                return None
            breaker.admit()
            with breaker.attempt():
                return super().connect(*args, **kwargs)

        def send_packed_command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            breaker.admit()
            return super().send_packed_command(*args, **kwargs)

        def read_response(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                response = super().read_response(*args, **kwargs)
            except breaker.replies:
                breaker.tell()
                raise
            breaker.tell()
            return response

    class AsyncGuarded(connection_class):  # type: ignore[misc]
        async def connect(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            if self.is_connected:
                return None
            breaker.admit()
            with breaker.attempt():
                return await super().connect(*args, **kwargs)

        async def send_packed_command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            breaker.admit()
            return await super().send_packed_command(*args, **kwargs)

        async def read_response(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                response = await super().read_response(*args, **kwargs)
            except breaker.replies:
                breaker.tell()
                raise
            breaker.tell()
            return response

    return AsyncGuarded if inspect.iscoroutinefunction(connection_class.connect) else Guarded
