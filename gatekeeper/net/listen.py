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
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, TCP_DEFER_ACCEPT, TCP_NODELAY
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


def bind(host: str, port: int) -> Socket:
    """A bound and listening socket; raises OSError with the address in its text."""
    sock = Socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # accepted sockets inherit it
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock


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

    def resume(self) -> None:
        """Accept again after a want of descriptors; called now and then."""
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
