"""Free TCP ports."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# Below the ports that systems take for outgoing connections: none of those can take a stopped server's port before it
# starts again, and no client that tries a stopped server's port can be given that port itself and talk to itself.
# The highest leaves room for a cluster bus, which is 10000 ports further.
_RANGE = range(10_240, 22_768)

# Each of pytest-xdist's processes has ports of its own, those of their cluster buses included: 10000 is a multiple.
_STEP = 16
_OWN = _RANGE[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _STEP :: _STEP]

_taken: set[int] = set()


def free_port(*offsets: int) -> int:
    """A port that is free on 127.0.0.1, and as many more as there are *offsets* that far from it.

    Free now: another process may take it before it is used, so whoever uses it must be ready to ask again. In this
    process no port is given twice.
    """
    candidates = list(_OWN)
    random.shuffle(candidates)
    for port in candidates:
        ports = {port, *(port + offset for offset in offsets)}
        if ports.isdisjoint(_taken) and all(map(_is_free, ports)):
            _taken.update(ports)
            return port
    raise RuntimeError("No port is free.")


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        # As the servers do; without it, the remains of closed connections would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True
