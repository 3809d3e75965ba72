"""What redis-py's and valkey-py's Sentinel lack for an application with many threads, and for its operator."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import contextvars
import copy
import functools
import inspect
import typing as t


@functools.cache
def manager_class(base: type[t.Any]) -> type[t.Any]:
    """A subclass of a ``Sentinel``, for asyncio or not.

    Threads that look for the master at the same time cannot lose one of the sentinels, and when there is no master, the
    error says what each sentinel that failed has to do with it.
    """

    class Manager(base):  # type: ignore[misc]
        sentinels: list[t.Any]

        def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
            super().__init__(*args, **kwargs)
            for client in self.sentinels:
                client.__class__ = _client_class(t.cast(t.Any, type(client)))

        def discover_master(self, service_name: str) -> t.Any:
            with self._alone() as alone, _reasons():
                return base.discover_master(alone, service_name)

        @contextlib.contextmanager
        def _alone(self) -> cabc.Iterator[t.Any]:
            # It exchanges places in its list of sentinels: if two do that at once, one of them may be gone.
            alone = copy.copy(self)
            alone.sentinels = [*self.sentinels]
            yield alone
            self.sentinels = alone.sentinels

    class AsyncManager(Manager):
        async def discover_master(self, service_name: str) -> t.Any:
            with self._alone() as alone, _reasons():
                return await base.discover_master(alone, service_name)

    return AsyncManager if inspect.iscoroutinefunction(base.discover_master) else Manager


#: Why the sentinels that this thread or task has asked have failed.
_failures: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("flask_redis.sentinels", default=None)


@contextlib.contextmanager
def _reasons() -> cabc.Iterator[None]:
    failures: list[str] = []
    token = _failures.set(failures)
    try:
        yield
    except Exception as error:
        if not failures:
            raise
        # redis-py 8 shows the classes of the failures, and all arguments of the clients.
        message = str(error).partition(" : ")[0]
        raise type(error)(f"{message}: {'; '.join(failures)}") from None
    finally:
        _failures.reset(token)


@functools.cache
def _client_class(base: type[t.Any]) -> type[t.Any]:
    class Client(base):  # type: ignore[misc]
        def execute_command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            with self._noting():
                return super().execute_command(*args, **kwargs)

        @contextlib.contextmanager
        def _noting(self) -> cabc.Iterator[None]:
            try:
                yield
            except Exception as error:
                failures = _failures.get()
                if failures is not None:
                    server = self.connection_pool.connection_kwargs
                    failures.append(f"{server['host']}:{server['port']}: {error}")
                raise

    class AsyncClient(Client):
        async def execute_command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            with self._noting():
                return await super(Client, self).execute_command(*args, **kwargs)

    return AsyncClient if inspect.iscoroutinefunction(base.execute_command) else Client
