"""A cluster of three masters with a replica each, made without any command-line tool."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t
import urllib.parse
from pathlib import Path

import redis
import redis.cluster

from .servers import close_client
from .servers import Group
from .servers import Server
from .servers import Setting

SLOTS: t.Final = 16384


class ClusterNode(Server):
    """A server in cluster mode. Its cluster bus is 10000 ports further."""

    _port_offsets = (10_000,)


@dataclasses.dataclass(frozen=True)
class _Member:
    """A node as a node sees it: a line of CLUSTER NODES."""

    id: str
    port: int
    flags: frozenset[str]
    master_id: str
    slots: frozenset[int]

    @classmethod
    def parse(cls, line: str) -> _Member:
        node_id, address, flags, master_id, _, _, _, _, *ranges = line.split()
        slots: set[int] = set()
        for each in ranges:
            if not each.startswith("["):  # that is a slot on the move
                first, _, last = each.partition("-")
                slots.update(range(int(first), int(last or first) + 1))
        port = int(address.partition("@")[0].rpartition(":")[2])
        return cls(node_id, port, frozenset(flags.split(",")), master_id, frozenset(slots))


class ClusterGroup(Group):
    """A cluster of six nodes.

    :param binary: the servers' program; Valkey by default, else Redis.
    :param password: the password of all nodes.
    :param node_timeout: seconds without an answer until a node thinks that another is down.
    :param config: more options of the nodes.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        password: str | None = None,
        node_timeout: float = 1.0,
        **config: Setting,
    ) -> None:
        self.password = password
        options: dict[str, t.Any] = {
            "cluster_enabled": True,
            "cluster_node_timeout": round(node_timeout * 1000),
            # A replica stands for election however long it has been without its master.
            "cluster_replica_validity_factor": 0,
            # It stays with its master, though another has none.
            "cluster_migration_barrier": 100,
            "repl_diskless_sync": True,
            "repl_diskless_sync_delay": 0,
            **config,
        }
        if password:
            options.update(requirepass=password, masterauth=password)
        super().__init__([ClusterNode(binary, **options) for _ in range(6)])

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Host and port of each node."""
        return [(server.host, server.port) for server in self.servers]

    @property
    def url(self) -> str:
        """The URL of the cluster, with its password and all nodes."""
        userinfo = f":{urllib.parse.quote(self.password, safe='')}@" if self.password else ""
        return f"redis+cluster://{userinfo}{','.join(f'{host}:{port}' for host, port in self.nodes)}"

    def start(self) -> None:
        """Start the nodes, make a cluster of them, and wait until all of it is up and the replicas follow."""
        for epoch, server in enumerate(self.servers, 1):
            server.start()
            # Without this they would have to settle first who is who.
            server.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        # Gossip would introduce them to each other as well, later.
        for server, other in itertools.permutations(self.servers, 2):
            server.command("CLUSTER", "MEET", other.host, other.port)
        masters = self.servers[:3]
        replicas = self.servers[3:]
        bounds = [SLOTS * index // len(masters) for index in range(len(masters) + 1)]
        for master, first, end in zip(masters, bounds, bounds[1:], strict=False):
            master.command("CLUSTER", "ADDSLOTS", *range(first, end))
        self._wait(self._all_acquainted, 60.0, "they do not know each other")
        for master, replica in zip(masters, replicas, strict=True):
            replica.command("CLUSTER", "REPLICATE", master.command("CLUSTER", "MYID"))
        self.wait_complete()

    def wait_ok(self, timeout: float = 60.0) -> None:
        """Wait until all running nodes agree that the cluster is up, each slot with a master that runs.

        So after the end of a master this waits until its replica has taken over.
        """
        self._wait(self._agreed_masters, timeout, "the cluster is not up")

    def wait_complete(self, timeout: float = 60.0) -> None:
        """Wait as :meth:`wait_ok`, and until every node runs and every replica follows its master."""
        self._wait(self._is_complete, timeout, "the cluster is not complete")

    def masters(self, timeout: float = 60.0) -> list[Server]:
        """The nodes that have slots, in the order of these. Waits as :meth:`wait_ok`."""
        return list(self._wait(self._agreed_masters, timeout, "the cluster is not up"))

    def replicas_of(self, master: Server) -> list[Server]:
        """The running replicas of *master*."""
        members = _members(master)
        own_id = next(member.id for member in members.values() if "myself" in member.flags)
        ports = {member.port for member in members.values() if member.master_id == own_id}
        return [server for server in self.servers if server.running and server.port in ports]

    def owner_of(self, slot: int) -> Server:
        """The master that has *slot*. Waits as :meth:`wait_ok`."""
        masters = self._wait(self._agreed_masters, 60.0, "the cluster is not up")
        return next(master for master, slots in masters.items() if slot in slots)

    def slot_of(self, key: str) -> int:
        """The slot that *key* belongs to."""
        return int(self._available[0].command("CLUSTER", "KEYSLOT", key))

    def kill_master(self, index: int) -> Server:
        """Kill the master that has this place in :meth:`masters`, and return it. Its replica takes over in its time."""
        master = self.masters()[index]
        master.kill()
        return master

    def start_slot_move(self, slot: int, source: Server, target: Server) -> None:
        """Open *slot* for its move: from now on *source* sends clients to *target* for the keys that it has no more."""
        source_id, target_id = source.command("CLUSTER", "MYID"), target.command("CLUSTER", "MYID")
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)

    def move_keys(self, slot: int, source: Server, target: Server, count: int | None = None) -> int:
        """Move *count* keys of *slot*, all by default, and return how many there were to move."""
        moved = 0
        while count is None or moved < count:
            batch = 100 if count is None else min(100, count - moved)
            keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, batch)
            if not keys:
                break
            auth = ["AUTH", self.password] if self.password else []
            source.command("MIGRATE", target.host, target.port, "", 0, 5000, *auth, "KEYS", *keys, timeout=10.0)
            moved += len(keys)
        return moved

    def finish_slot_move(self, slot: int, source: Server, target: Server) -> None:
        """Give *slot* to *target*, and wait until all nodes know."""
        target_id = target.command("CLUSTER", "MYID")
        others = [master for master in self.masters() if master not in {source, target}]
        # The target first: until it knows, it would send clients back to the source.
        for server in [target, source, *others]:
            server.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        self._wait(lambda: slot in (self._agreed_masters() or {}).get(target, ()), 60.0, f"slot {slot} has not moved")

    def move_slot(self, slot: int, source: Server, target: Server) -> int:
        """Move *slot* with its keys while clients use it, and return how many keys there were."""
        self.start_slot_move(slot, source, target)
        moved = self.move_keys(slot, source, target)
        self.finish_slot_move(slot, source, target)
        return moved

    def require_full_coverage(self, required: bool) -> None:
        """Whether nodes refuse to answer while slots of others have no master: by default, and after :meth:`reset`."""
        for server in self._available:
            server.command("CONFIG", "SET", "cluster-require-full-coverage", "yes" if required else "no")

    def heal(self) -> None:
        """Start again what does not run, wait until the cluster is complete, and end the moves of slots under way.

        Slots that have moved stay where they are.
        """
        self._wake()
        self.wait_complete()
        for master in self.masters():
            for slot in _open_slots(master):
                master.command("CLUSTER", "SETSLOT", slot, "STABLE")

    def reset(self) -> None:
        """Heal it, close the clients, and delete all data."""
        self.close_clients()
        self.heal()
        self.require_full_coverage(True)
        for master in self.masters():
            master.command("FLUSHALL")

    def client(self, **kwargs: t.Any) -> redis.RedisCluster:
        """A plain redis-py client of the cluster. It is closed with the group."""
        startup_nodes = [redis.cluster.ClusterNode(host, port) for host, port in self.nodes]
        arguments: dict[str, t.Any] = {"startup_nodes": startup_nodes, "password": self.password, **kwargs}
        client = redis.RedisCluster(**arguments)
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            for node in client.get_nodes():
                if node.redis_connection is not None:
                    close_client(node.redis_connection)
        super().close_clients()

    @property
    def _available(self) -> list[Server]:
        return [server for server in self.servers if server.available]

    def _all_acquainted(self) -> bool:
        return all(
            len(members) == len(self.servers)
            and not any(member.flags & {"handshake", "noaddr", "fail", "fail?"} for member in members.values())
            and sum(len(member.slots) for member in members.values()) == SLOTS
            for members in map(_members, self.servers)
        )

    def _agreed_masters(self) -> dict[Server, frozenset[int]] | None:
        """The slots of each master, where all nodes that can answer say the same."""
        views: set[frozenset[tuple[int, frozenset[int]]]] = set()
        for server in self._available:
            if "cluster_state:ok" not in server.command("CLUSTER", "INFO"):
                return None
            views.add(frozenset((member.port, member.slots) for member in _members(server).values() if member.slots))
        if len(views) != 1:
            return None
        slots_by_port = dict(views.pop())
        owners = {server: slots_by_port[server.port] for server in self._available if server.port in slots_by_port}
        if len(owners) != len(slots_by_port) or sum(map(len, owners.values())) != SLOTS:
            return None
        return dict(sorted(owners.items(), key=lambda item: min(item[1])))

    def _is_complete(self) -> bool:
        masters = self._agreed_masters()
        if masters is None or len(self._available) != len(self.servers):
            return False
        healthy = all(
            not any(member.flags & {"fail", "fail?"} for member in _members(server).values()) for server in self.servers
        )
        roles = [server.command("ROLE") for server in self.servers if server not in masters]
        followed = {role[2] for role in roles if role[0] == "slave" and role[3] == "connected"}
        return healthy and followed == {master.port for master in masters}


def _open_slots(server: Server) -> list[str]:
    """The slots that *server* is giving or taking: ``[slot->-node]`` and ``[slot-<-node]`` in CLUSTER NODES."""
    own = next(line for line in server.command("CLUSTER", "NODES").splitlines() if "myself" in line)
    return [part[1:].partition("-")[0] for part in own.split() if part.startswith("[")]


def _members(server: Server) -> dict[str, _Member]:
    """The nodes of the cluster by id, as *server* sees them."""
    members = map(_Member.parse, server.command("CLUSTER", "NODES").splitlines())
    return {member.id: member for member in members}
