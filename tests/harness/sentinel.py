"""A master with two replicas, watched by three sentinels."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
import urllib.parse
from pathlib import Path

import redis
import redis.sentinel

from .servers import Argument
from .servers import Group
from .servers import no_retry
from .servers import Server
from .servers import Setting

# Milliseconds, of what Sentinel does at a leisurely pace that a failover waits for (Redis 7 and later take these).
_PACE: t.Final = {
    # What is known of a replica is good for five of these, and is renewed once a second while the master is down.
    "PING-PERIOD": 300,
    "ASK-PERIOD": 100,
    "INFO-PERIOD": 100,
    "PUBLISH-PERIOD": 100,
    "MIN-LINK-RECONNECT-PERIOD": 200,
    "ELECTION-TIMEOUT": 1000,
    # A sentinel that was kept waiting for the processor, or paused, shall not abstain for half a minute.
    "TILT-TRIGGER": 10_000,
    "TILT-PERIOD": 200,
}


class Sentinel(Server):
    """A server in Sentinel mode."""

    _arguments = ("--sentinel",)

    def start(self, timeout: float = 60.0) -> None:
        super().start(timeout)
        for name, value in _PACE.items():
            with contextlib.suppress(redis.ResponseError):
                self.command("SENTINEL", "DEBUG", name, value)


class SentinelGroup(Group):
    """A master, its replicas, and the sentinels, two of which must agree that the master is down.

    :param binary: the servers' program; Valkey by default, else Redis.
    :param service_name: what the sentinels call the master.
    :param password: the password of the master and its replicas.
    :param sentinel_password: the password of the sentinels themselves.
    :param down_after: seconds without an answer until a sentinel thinks that the master is down.
    :param config: more options of the master and its replicas.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        service_name: str = "mymaster",
        password: str | None = None,
        sentinel_password: str | None = None,
        down_after: float = 1.0,
        **config: Setting,
    ) -> None:
        self.service_name = service_name
        self.password = password
        self.sentinel_password = sentinel_password
        self._down_after = down_after
        options: dict[str, t.Any] = {"repl_diskless_sync": True, "repl_diskless_sync_delay": 0, **config}
        if password:
            options.update(requirepass=password, masterauth=password)
        #: The master and the replicas, whichever is which.
        self.data_servers = [Server(binary, **options) for _ in range(3)]
        protection: dict[str, t.Any] = {"requirepass": sentinel_password} if sentinel_password else {}
        self.sentinels = [Sentinel(binary, **protection) for _ in range(3)]
        super().__init__([*self.data_servers, *self.sentinels])

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Host and port of each sentinel."""
        return [(sentinel.host, sentinel.port) for sentinel in self.sentinels]

    @property
    def url(self) -> str:
        """The URL of the service's master, with the service's password. That of the sentinels has no place in it."""
        userinfo = f":{urllib.parse.quote(self.password, safe='')}@" if self.password else ""
        addresses = ",".join(f"{host}:{port}" for host, port in self.nodes)
        return f"redis+sentinel://{userinfo}{addresses}/{self.service_name}/0"

    def start(self) -> None:
        """Start them, and wait until every sentinel knows the two others and both replicas."""
        master, *replicas = self.data_servers
        master.start()
        for replica in replicas:
            replica.config["replicaof"] = (master.host, master.port)
            replica.start()
        name = self.service_name
        lines: list[Argument | tuple[Argument, ...]] = [
            ("monitor", name, master.host, master.port, 2),
            ("down-after-milliseconds", name, round(self._down_after * 1000)),
            # Also, twice this is what must lie between one failover and the next.
            ("failover-timeout", name, 1000),
            ("parallel-syncs", name, 2),
        ]
        if self.password:
            lines.append(("auth-pass", name, self.password))
        if self.sentinel_password:
            lines.append(("sentinel-pass", self.sentinel_password))
        for sentinel in self.sentinels:
            sentinel.config["sentinel"] = list(lines)
            sentinel.start()
        self.wait_complete()

    def master(self, timeout: float = 60.0) -> Server:
        """The master: the server that all sentinels name, and that is one. Waits for a failover under way."""
        return self._wait(self._agreed_master, timeout, "no master that all agree on")

    def replicas(self) -> list[Server]:
        """The running servers that are not the master."""
        master = self.master()
        return [server for server in self.data_servers if server.running and server is not master]

    def kill_master(self) -> Server:
        """Kill the master, and return what was it. The failover follows in its own time."""
        master = self.master()
        master.kill()
        return master

    def wait_for_master_other_than(self, server: Server, timeout: float = 60.0) -> Server:
        """Wait until all sentinels name another master than *server*, and return that."""

        def other() -> Server | None:
            master = self._agreed_master()
            return None if master is server else master

        return self._wait(other, timeout, f"no other master than {server!r}")

    def wait_complete(self, timeout: float = 60.0) -> None:
        """Wait until all servers run in their roles, and every sentinel sees them all."""
        self._wait(self._is_complete, timeout, "the group is not complete")

    def heal(self) -> None:
        """Start again what does not run, and wait until the group is complete. Who is master stays as it is."""
        self._wake()
        self.wait_complete()

    def reset(self) -> None:
        """Heal it, close the clients, and delete all data."""
        self.close_clients()
        self.heal()
        self.master().command("FLUSHALL")

    def sentinel(self, **kwargs: t.Any) -> redis.sentinel.Sentinel:
        """A plain redis-py Sentinel, without retries. It is closed with the group.

        :param kwargs: arguments for the connections to the master and the replicas.
        """
        common = {"socket_timeout": 5.0, "retry": no_retry()}
        arguments: dict[str, t.Any] = {**common, "password": self.password, **kwargs}
        sentinel = redis.sentinel.Sentinel(
            self.nodes, sentinel_kwargs={**common, "password": self.sentinel_password}, **arguments
        )
        self._clients += sentinel.sentinels
        return sentinel

    def client(self, **kwargs: t.Any) -> redis.Redis:
        """A redis-py client of whatever server is the master. It is closed with the group."""
        client: redis.Redis = self.sentinel(**kwargs).master_for(self.service_name)
        self._clients.append(client)
        return client

    def _agreed_master(self) -> Server | None:
        named = {
            int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service_name)[1])
            for sentinel in self.sentinels
            if sentinel.available
        }
        for server in self.data_servers:
            if named == {server.port} and server.available and server.info("replication")["role"] == "master":
                return server
        return None

    def _is_complete(self) -> bool:
        master = self._agreed_master()
        if master is None or not all(server.available for server in self.servers):
            return False
        ports = {server.port for server in self.data_servers if server is not master}
        info = master.info("replication")
        online = [info.get(f"slave{index}", "") for index in range(len(ports))]
        return all("state=online" in replica for replica in online) and all(
            self._sees_all(sentinel, ports) for sentinel in self.sentinels
        )

    def _sees_all(self, sentinel: Sentinel, replica_ports: cabc.Set[int]) -> bool:
        name = self.service_name
        master = _fields(sentinel.command("SENTINEL", "MASTER", name))
        others = [_fields(other) for other in sentinel.command("SENTINEL", "SENTINELS", name)]
        replicas = [_fields(replica) for replica in sentinel.command("SENTINEL", "REPLICAS", name)]
        return (
            master["flags"] == "master"
            and len(others) == len(self.sentinels) - 1
            and not any(_TROUBLE & set(other["flags"].split(",")) for other in others)
            and {int(replica["port"]) for replica in replicas} == replica_ports
            and all(replica["flags"] == "slave" and replica["master-link-status"] == "ok" for replica in replicas)
        )


#: Flags of a sentinel that cannot be reached. It may keep for long another one, of what it once said about a master.
_TROUBLE: t.Final = frozenset({"s_down", "disconnected"})


def _fields(reply: cabc.Sequence[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))
