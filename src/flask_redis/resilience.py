"""What a client does when its server fails: how often it tries again, and when it stops asking."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import contextvars
import copy
import functools
import importlib
import inspect
import threading
import time
import typing as t

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
        # One configuration for both kinds of client: theirs differ in nothing but the way they wait.
        given, retry = retry, _retry(settings, "NoBackoff", 0)
        vars(retry).update(vars(given))
    if settings.topology == "cluster":
        return _options_of_a_cluster(settings, retry)
    if retry is None or isinstance(retry, int):
        # From redis-py 6 on the signature holds the default, with its backoff; that of a Sentinel's client is none.
        default = known["retry"].default if settings.topology != "sentinel" or retry is not None else None
        if default is None:
            retry = _retry(settings, "default_backoff", retry or 0)
        else:
            number, retry = retry, copy.deepcopy(default)
            retry.update_retries(retry.get_retries() if number is None else number)
    return {"retry": breaker.guard_retry(retry) if breaker else retry}


def _options_of_a_cluster(settings: Settings, retry: t.Any) -> dict[str, t.Any]:
    """A cluster client needs the number of retries alone, and takes it differently before redis-py 6."""
    if not isinstance(retry, int):
        return {} if retry is None else {"retry": retry}
    if not hasattr(_retry_class(settings), "get_retries"):
        return {"cluster_error_retry_attempts": retry}
    return {"retry": _retry(settings, "default_backoff", retry)}


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
    outcomes of calls that it does not make: it counts, and keeps the state.

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
        self._answer: type[Exception] = exceptions.ResponseError
        self._failures = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError, OSError)
        self._prefix = settings.prefix
        self._probing = threading.Lock()
        self._opened_at = 0.0
        breaker = self

        class Listener(pybreaker.CircuitBreakerListener):
            def state_change(self, cb: t.Any, old_state: t.Any, new_state: t.Any) -> None:
                if new_state.name == "open":
                    breaker._opened_at = time.monotonic()

        #: What says how it stands: ``current_state`` is ``"closed"``, ``"open"`` or ``"half-open"``.
        limits = {"fail_max": 5, "reset_timeout": 10.0, **(settings.breaker or {})}
        self.circuit: pybreaker.CircuitBreaker = pybreaker.CircuitBreaker(
            fail_max=int(limits["fail_max"]),
            reset_timeout=limits["reset_timeout"],
            listeners=[Listener()],
            name=settings.prefix,
            throw_new_error_on_trip=False,
        )

    def __deepcopy__(self, _: t.Any) -> Breaker:
        # redis-py copies a Retry for each connection: the state stays one.
        return self

    @property
    def is_open(self) -> bool:
        """Whether the server is not asked, but for a probe."""
        return bool(self.circuit.current_state != "closed")

    @contextlib.contextmanager
    def attempt(self) -> cabc.Iterator[None]:
        """What is done inside is one attempt to ask the server.

        :raises redis.exceptions.ConnectionError: if the circuit is open.
        """
        probe = self.is_open and self._admit_as_probe()
        counted = _counted.get()
        try:
            yield
        except self._failures as error:
            # An attempt to send a command may hold attempts to connect, which have counted already.
            if _counted.get() == counted:
                _counted.set(counted + 1)
                self._tell(error)
            raise
        except self._answer:
            self._tell(None)
            raise
        else:
            self._tell(None)
        finally:
            if probe:
                _probe.set(None)
                self._probing.release()

    def _admit_as_probe(self) -> bool:
        """Whether the attempt that begins is the probe, rather than a part of it.

        :raises redis.exceptions.ConnectionError: if it is neither.
        """
        if _probe.get() is self:
            return False
        wait = self.circuit.reset_timeout
        if self._probing.acquire(blocking=False):
            wait = self._opened_at + self.circuit.reset_timeout - time.monotonic()
            if not self.is_open:
                # Another probe has just ended well.
                self._probing.release()
                return False
            if wait <= 0:
                self.circuit.half_open()
                _probe.set(self)
                return True
            self._probing.release()
        raise self._error(
            f"The circuit breaker of {self._prefix} is open after {self.circuit.fail_max} failures in a row: the server"
            f" is asked again within {wait:.1f} s."
        )

    def _tell(self, error: BaseException | None) -> None:
        def outcome() -> None:
            if error is not None:
                raise error

        # What ends while the circuit is open had begun before.
        if self.circuit.current_state != "open" and (error or self.is_open or self.circuit.fail_counter):
            with contextlib.suppress(*self._failures):
                self.circuit.call(outcome)

    def guard_retry(self, retry: t.Any) -> t.Any:
        """A ``Retry`` like *retry*, each of whose attempts this breaker sees, and which ends when it opens."""
        guarded = copy.copy(retry)
        guarded.__class__ = _guarded_retry(t.cast(t.Any, type(retry)))
        guarded.breaker = self
        return guarded

    def guard_cluster(self, cluster_class: type[t.Any]) -> type[t.Any]:
        """A subclass of a cluster client's class whose commands and pipelines this breaker sees.

        A cluster client has retries of its own, for which other nodes are asked: what counts is the outcome.
        """
        guard = self._guard

        class Guarded(cluster_class):  # type: ignore[misc]
            execute_command = guard(cluster_class.execute_command)

            def pipeline(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
                pipeline = super().pipeline(*args, **kwargs)
                pipeline.execute = guard(pipeline.execute)
                return pipeline

        return Guarded

    def _guard(self, function: cabc.Callable[..., t.Any]) -> cabc.Callable[..., t.Any]:
        @functools.wraps(function)
        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            with self.attempt():
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: t.Any, **kwargs: t.Any) -> t.Any:
            with self.attempt():
                return await function(*args, **kwargs)

        return call_async if inspect.iscoroutinefunction(function) else call


#: How many failures this thread or task has counted.
_counted: contextvars.ContextVar[int] = contextvars.ContextVar("flask_redis.counted", default=0)
#: The breaker whose probe this thread or task makes.
_probe: contextvars.ContextVar[Breaker | None] = contextvars.ContextVar("flask_redis.probe", default=None)


class _Stop(Exception):  # noqa: N818
    """Ends the retries under way, with an error in its arguments."""


@functools.cache
def _guarded_retry(retry_class: type[t.Any]) -> type[t.Any]:
    class Guarded(retry_class):  # type: ignore[misc]
        breaker: Breaker

        def call_with_retry(self, do: t.Any, fail: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            def failed(error: Exception, *count: int) -> None:
                fail(error, *count)
                self._stop_if_open(error)

            def attempt() -> t.Any:
                with self.breaker.attempt():
                    return do()

            try:
                return super().call_with_retry(attempt, failed, *args, **kwargs)
            except _Stop as stop:
                error = stop.args[0]
            raise error

        def _stop_if_open(self, error: Exception) -> None:
            if self.breaker.is_open:
                raise _Stop(error)

    class AsyncGuarded(Guarded):
        async def call_with_retry(self, do: t.Any, fail: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            async def attempt() -> t.Any:
                with self.breaker.attempt():
                    return await do()

            async def failed(error: Exception, *count: int) -> None:
                await fail(error, *count)
                self._stop_if_open(error)

            try:
                return await retry_class.call_with_retry(self, attempt, failed, *args, **kwargs)
            except _Stop as stop:
                error = stop.args[0]
            raise error

    return AsyncGuarded if inspect.iscoroutinefunction(retry_class.call_with_retry) else Guarded
