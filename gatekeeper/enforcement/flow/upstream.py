"""One log-in at the mail server: carries out the steps of a protocol's log-in client on a connection of its own."""

import asyncio
import ssl
from collections.abc import Callable
from socket import socket

from gatekeeper.enforcement.flow.front import Front
from gatekeeper.net.dial import TlsMode, dial
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, LoginClient, NeedData, Rejected, Send, StartTls

Outcome = LoggedIn | Rejected | Failed


class UpstreamLeg(asyncio.Protocol):
    """The mail server's side of a connection until admission. `outcome` is called exactly once, unless closed first."""

    __slots__ = ("_fault", "_front", "_login", "_outcome", "_preamble", "_transport")

    def __init__(
        self,
        front: Front,
        login: LoginClient,
        outcome: Callable[[Outcome], None],
        fault: Callable[[Exception], None],
        preamble: bytes = b"",
    ) -> None:
        """`fault` hears of unexpected errors; `preamble` goes out before everything else (a PROXY header)."""
        self._front = front
        self._login = login
        self._outcome: Callable[[Outcome], None] | None = outcome
        self._fault = fault
        self._preamble = preamble
        self._transport: Transport | None = None

    def start(self) -> None:
        """Dial."""
        front = self._front
        front.logins.add(self, front.monotonic())
        try:
            self._transport = dial(front.upstream, self, poller=front.poller, loop=front.loop)
        except OSError as error:
            self._end(Failed(f"cannot reach the mail server: {error}"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002  it is ours already
        """We have to talk first."""
        if self._transport is None:
            return
        self._transport.write(self._preamble)
        if self._front.upstream.tls is TlsMode.IMPLICIT:
            self._encrypt(self._go_on)

    def data_received(self, data: bytes) -> None:
        """Octets from the mail server."""
        self._login.receive_data(data)
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The mail server is gone before the log-in ended."""
        self._transport = None
        if exc is not None and not isinstance(exc, OSError):
            self._outcome = None
            self._fault(exc)
            return
        self._end(Failed(lost(exc)))

    def too_slow(self) -> None:
        """The deadline passed."""
        if self._transport is not None:
            self._transport.abort()  # a server that does not read would keep what is closed politely
        self._end(Failed("the mail server takes too long"))

    def close(self) -> None:
        """End the connection, whatever state it is in; there is no outcome any more."""
        self._outcome = None
        self._front.logins.discard(self)
        if self._transport is not None:
            self._transport.close()

    def detach(self) -> tuple[socket, bytes] | None:
        """Give away the logged-in connection; None when it was lost meanwhile."""
        if self._transport is None or self._transport.is_closing():
            return None
        return self._transport.detach()

    @property
    def trailing_data(self) -> bytes:
        """What the mail server sent behind its answer."""
        return self._login.trailing_data

    def _go_on(self) -> None:
        while self._outcome is not None and self._transport is not None:
            step = self._login.next_step()
            match step:
                case NeedData():
                    break
                case Send(data):
                    self._transport.write(data)
                case StartTls():
                    self._encrypt(self._encrypted)
                    break
                case Learnt():
                    self._end(Failed("there was nothing to log in with"))
                case LoggedIn() | Rejected() | Failed():
                    self._end(step)
        if self._login.offers:
            self._front.upstream_offers = self._login.offers

    def _encrypt(self, then: Callable[[], None]) -> None:
        upstream = self._front.upstream
        if self._transport is not None and upstream.context is not None:
            self._transport.start_tls(upstream.context, then, upstream.host)

    def _encrypted(self) -> None:
        self._login.tls_started()
        self._go_on()

    def _end(self, outcome: Outcome) -> None:
        self._front.logins.discard(self)
        told, self._outcome = self._outcome, None
        if told is not None:
            if not isinstance(outcome, LoggedIn):
                self.close()
            told(outcome)


def lost(error: Exception | None) -> str:
    """Why a connection to the mail server ended, for operators."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens at the mail server's address"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the mail server's certificate is not trusted: {error.verify_message} (see `ca`)"
    return f"the mail server closed the connection: {error or 'end of file'}"
