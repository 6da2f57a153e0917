"""Listening: accepted sockets go straight to their owner, a bounded number of them."""

from collections.abc import Callable
from errno import (
    ECONNABORTED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENONET,
    ENOPROTOOPT,
    EPERM,
    EPROTO,
    ETIMEDOUT,
)
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_DEFER_ACCEPT,
    TCP_NODELAY,
)
from socket import socket as Socket  # noqa: N812  a type here

import structlog

from gatekeeper.net.poller import READ, Poller

_log = structlog.get_logger("gatekeeper.listen")

BACKLOG = 1024
"""Connections the kernel holds for us; a thousand phones that come back at once must not be refused."""
_DEFER_ACCEPT_S = 5
_OUT_OF_RESOURCES = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
_ONE_CONNECTION = frozenset(
    {ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT, EPERM, EPROTO, ETIMEDOUT}
)
"""Linux reports by accept(2) what went wrong with the connection that would have been accepted."""

Accepted = Callable[[Socket, tuple[str, int]], None]


def bind(host: str, port: int, *, is_shared: bool = False) -> Socket:
    """A bound and listening socket; raises OSError with the address in its text.

    `is_shared`: others of the same user that are bound so too share the port, and the kernel spreads connections.
    """
    sock = Socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # accepted sockets inherit it
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


def bind_several(host: str, port: int, count: int) -> tuple[Socket, ...]:
    """Sockets that share one port, a queue of waiting connections each; raises OSError as `bind`.

    Whoever opens them keeps them: a connection in the queue of a socket that nobody has open any more is reset.
    """
    # A port that is shared could be shared with anybody of the same user: that it is free is asked for without sharing.
    bind(host, port).close()
    sockets = [bind(host, port, is_shared=True)]
    try:
        chosen = int(sockets[0].getsockname()[1])
        sockets += (bind(host, chosen, is_shared=True) for _ in range(count - 1))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return tuple(sockets)


class Listener:
    """Accepts on one socket until it is stopped."""

    def __init__(self, sock: Socket, poller: Poller, accepted: Accepted, *, client_talks_first: bool) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._poller = poller
        self._accepted = accepted
        self.out_of_descriptors = 0
        """How often a connection could not be accepted for want of descriptors or memory."""
        if client_talks_first:
            # With implicit TLS the first bytes are the phone's: nothing to do for us before they are here.
            sock.setsockopt(IPPROTO_TCP, TCP_DEFER_ACCEPT, _DEFER_ACCEPT_S)
        poller.watch(self._fd, READ, self)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._sock.getsockname()[1])

    def ready(self, mask: int) -> bool:  # noqa: ARG002
        """Accept one connection: the poller asks again at once when there are more, and others get their turn."""
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                # Nothing would change by asking again at once; `resume` asks when some time has passed.
                self.out_of_descriptors += 1
                self._poller.change(self._fd, 0)
                return False
            if error.errno in _ONE_CONNECTION:
                return False
            self.stop()
            raise
        sock.settimeout(0)
        self._accepted(sock, (peer[0], peer[1]))
        return False

    def failed(self, error: Exception) -> None:
        """Log an unexpected error: of the socket, which is closed then (readiness shows it), or of one connection."""
        _log.error("listener.fault", fd=self._fd, listening=self.is_listening, exc_info=error)

    def pause(self) -> None:
        """Leave connections in the kernel's queue until `resume`."""
        self._poller.change(self._fd, 0)

    def resume(self) -> None:
        """Accept again after a want of descriptors, or a pause; called now and then."""
        if self._fd >= 0:
            self._poller.change(self._fd, READ)

    def stop(self) -> None:
        """Stop accepting and close."""
        if self._fd >= 0:
            self._poller.unwatch(self._fd)
            self._sock.close()
            self._fd = -1

    @property
    def is_listening(self) -> bool:
        """Whether connections are accepted."""
        return self._fd >= 0
