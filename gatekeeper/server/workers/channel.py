"""What parent and worker say to each other: small JSON documents, with sockets where needed, over a pair of sockets.

What holds inside: a document is one packet (`SOCK_SEQPACKET`), so nobody ever meets half of one, whatever dies; nothing
blocks; what does not fit is not sent, and the sender is told.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_TRUNC,
    SCM_RIGHTS,
    SO_SNDBUF,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    recv_fds,
    socket,
    socketpair,
)
from typing import Any

MAX_OCTETS = 160 * 1024
"""Of a document: under what Linux lets a socket have for sending (`net.core.wmem_default`, 208 KiB)."""
MAX_SOCKETS = 250  # of one packet; Linux's SCM_MAX_FD is 253


@dataclass(frozen=True, slots=True)
class Message:
    """One document."""

    kind: str
    number: int = 0
    """Of a question and its answer."""
    body: Any = None
    sockets: tuple[socket, ...] = field(default=(), compare=False)


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock
        sock.settimeout(0)
        sock.setsockopt(SOL_SOCKET, SO_SNDBUF, 2 * MAX_OCTETS)

    def fileno(self) -> int:
        """For selectors."""
        return self._sock.fileno()

    def send(self, message: Message, sockets: Iterable[socket] = ()) -> bool:
        """Send; False: the other side is gone, takes nothing at the moment, or the document is too large."""
        data = json.dumps([message.kind, message.number, message.body], separators=(",", ":")).encode()
        if len(data) > MAX_OCTETS:
            return False
        passed = array("i", (sock.fileno() for sock in sockets))
        ancillary = [(SOL_SOCKET, SCM_RIGHTS, passed)] if passed else []
        try:
            self._sock.sendmsg([data], ancillary)
        except OSError:
            return False
        return True

    def receive(self) -> Iterator[Message]:
        """What is there now. Raises `ChannelClosed`, after everything that came before."""
        while True:
            try:
                data, descriptors, flags, _ = recv_fds(self._sock, MAX_OCTETS, MAX_SOCKETS, MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosed from error
            sockets = tuple(socket(fileno=descriptor) for descriptor in descriptors)
            if not data:
                raise ChannelClosed
            if flags & MSG_TRUNC:
                continue
            kind, number, body = json.loads(data)
            yield Message(kind, number, body, sockets)

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def pair() -> tuple[Channel, Channel]:
    """Both ends."""
    one, other = socketpair(AF_UNIX, SOCK_SEQPACKET)
    return Channel(one), Channel(other)
