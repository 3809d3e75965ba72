"""A network that misbehaves on demand: a TCP proxy in front of a server."""

from __future__ import annotations

import asyncio
import collections
import collections.abc as cabc
import concurrent.futures
import socket
import struct
import threading
import typing as t

from .ports import free_port

_T = t.TypeVar("_T")


class Proxy:
    """Forwards connections on its own port to a server's, until told otherwise. Works inside its context manager.

    :param port: the server's port.
    :param host: the server's host.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.host = "127.0.0.1"
        #: Its own port, inside the context manager.
        self.port = 0
        #: How many connections it has accepted.
        self.connections = 0
        #: How many bytes came from clients, dropped ones included.
        self.bytes_from_clients = 0
        #: How many bytes came from the server, dropped ones included.
        self.bytes_from_server = 0
        self._target = host, port
        self._delay = 0.0
        self._dropping = False
        self._pipes: set[_Pipe] = set()
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The URL of database 0 behind it."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._pipes)

    def delay(self, seconds: float) -> None:
        """Hold back each chunk of data, in both directions, for so long; 0 ends that."""
        self._delay = seconds

    def drop(self) -> None:
        """Be a black hole: keep and take connections, but swallow all data, until :meth:`heal`."""
        self._dropping = True

    def cut(self, *, reset: bool = False) -> None:
        """Close all connections, or *reset* them, as a server that crashes does. New ones are welcome."""

        async def cut() -> None:
            for pipe in list(self._pipes):
                pipe.close(reset=reset)
            await _closing()

        self._run(cut())

    def refuse(self) -> None:
        """Refuse new connections until :meth:`accept`. Those that are open stay."""

        async def refuse() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None
                await _closing()

        self._run(refuse())

    def accept(self) -> None:
        """Take new connections again, on the same port."""

        async def accept() -> None:
            if self._listener is None:
                await self._listen(self.port)

        self._run(accept())

    def heal(self) -> None:
        """Take connections, and forward everything at once."""
        self._delay = 0.0
        self._dropping = False
        self.accept()

    def __enter__(self) -> Proxy:
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), name="proxy", daemon=True)
        self._thread.start()
        started.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None

    async def _main(self, started: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await self._listen(None)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stop.wait()
        if self._listener is not None:
            self._listener.close()
        for pipe in list(self._pipes):
            pipe.close()
        await _closing()

    async def _listen(self, port: int | None) -> None:
        loop = asyncio.get_running_loop()
        for attempt in range(100):
            self.port = port or free_port()
            try:
                self._listener = await loop.create_server(lambda: _Pipe(self), self.host, self.port)
            except OSError:
                # Another process was faster.
                if attempt == 99:
                    raise
                await asyncio.sleep(0.01)
            else:
                return

    def _run(self, work: cabc.Coroutine[t.Any, t.Any, _T]) -> _T:
        if self._thread is None or self._loop is None:
            work.close()
            raise RuntimeError("The proxy works inside its context manager.")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


async def _closing() -> None:
    # The event loop closes a socket one round after it is told to.
    for _ in range(3):
        await asyncio.sleep(0)


class _Pipe(asyncio.Protocol):
    """A client's connection to the proxy, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.client = _End()
        self.server = _End()
        self._connecting: asyncio.Task[t.Any] | None = None
        self._connected = False
        #: What the client sends before the connection to the server is there.
        self._early: collections.deque[bytes] = collections.deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.proxy.connections += 1
        self.proxy._pipes.add(self)
        self.client.transport = t.cast(asyncio.Transport, transport)
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _ServerSide(self), *self.proxy._target)
        except OSError:
            self.close()
        else:
            while self._early:
                self._forward(self.server, self._early.popleft())
            self._connected = True

    def data_received(self, data: bytes) -> None:
        self.proxy.bytes_from_clients += len(data)
        if not self._connected:
            self._early.append(data)
        elif self.server.transport is None and not self.proxy._dropping:
            self.close()  # the server has gone while data was dropped, and so was that news
        else:
            self._forward(self.server, data)

    def server_data_received(self, data: bytes) -> None:
        self.proxy.bytes_from_server += len(data)
        self._forward(self.client, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def server_connection_lost(self) -> None:
        self.server.transport = None
        self._forward(self.client, None)

    def close(self, *, reset: bool = False) -> None:
        self.proxy._pipes.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        self.client.close(reset=reset)
        self.server.close()

    def _forward(self, end: _End, data: bytes | None) -> None:
        if not self.proxy._dropping:
            end.waiting.append(data)
            asyncio.get_running_loop().call_later(self.proxy._delay, end.send_next)


class _ServerSide(asyncio.Protocol):
    def __init__(self, pipe: _Pipe) -> None:
        self.pipe = pipe

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe.server.transport = t.cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.pipe.server_data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipe.server_connection_lost()


class _End:
    """One of the two connections, and what waits to be sent there."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        #: Each chunk has a timer, but whichever timer comes first sends the first chunk. None is the end.
        self.waiting: collections.deque[bytes | None] = collections.deque()

    def send_next(self) -> None:
        data = self.waiting.popleft()
        if data is None:
            self.close()
        elif self.transport is not None:
            self.transport.write(data)

    def close(self, *, reset: bool = False) -> None:
        if self.transport is None:
            return
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()
        self.transport = None
