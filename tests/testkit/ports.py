"""Free loopback ports for programs that must be told their port.

A server of our own binds port 0 and says what it got; use that where it is possible. For other programs the port is
chosen outside the kernel's ephemeral range, so that no outgoing connection can take it between the check and the
program's own bind, and no port is given out twice: not by this process, and not by another that runs tests on this
machine at the same time, for each keeps a lock on its ports until it ends.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"

_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free_port() -> int:
    """Return a loopback TCP port that nothing is bound to and that was not returned before."""
    candidates = list(range(_LOWEST, _first_ephemeral()))
    for port in random.sample(candidates, len(candidates)):
        if port not in _given and _is_ours(port) and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port below the ephemeral range")


def is_listened_on(port: int) -> bool:
    """Whether a connection to a loopback port is taken; it is ended at once."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _open_locks() -> int:
    """A file of which octet N is locked by the process that has port N; the kernel unlocks when a process ends."""
    # Each user has a file of their own: those of others in a shared directory cannot be opened.
    path = Path(tempfile.gettempdir()) / f"gatekeeper-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


_locks = _open_locks()


def _is_ours(port: int) -> bool:
    """Take the lock on a port, unless another process has it."""
    try:
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


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
