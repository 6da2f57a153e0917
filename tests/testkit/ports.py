"""Free loopback ports for programs that must be told their port.

A server of our own binds port 0 and says what it got; use that where it is possible. For other programs the port is
chosen outside the kernel's ephemeral range, so that no outgoing connection can take it between the check and the
program's own bind, and no port is given out twice by this process.
"""

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free_port() -> int:
    """Return a loopback TCP port that nothing is bound to and that was not returned before."""
    candidates = list(range(_LOWEST, _first_ephemeral()))
    for port in random.sample(candidates, len(candidates)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port below the ephemeral range")


def _first_ephemeral() -> int:
    # Linux's own default where /proc does not tell.
    first = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    return first if first > _LOWEST + 1000 else 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
