"""One log-in at the mail server: carries out the steps of a protocol's log-in client on a connection of its own."""

import asyncio
import ssl
from collections.abc import Callable
from socket import socket

from gatekeeper.enforcement.flow.front import Front
from gatekeeper.net.dial import TlsMode, Upstream, dial
from gatekeeper.net.preconnect import Ahead
from gatekeeper.net.transport import Transport
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, LoginClient, NeedData, Rejected, Send, StartTls

Outcome = LoggedIn | Rejected | Failed

_DEAF = asyncio.Protocol()
"""For connections whose end is nobody's news any more."""


class UpstreamLeg(asyncio.Protocol):
    """The mail server's side of a connection until admission. `outcome` is called exactly once, unless closed first.

    What holds inside:

    * One address after the other is tried, each at most once, until one was sent a credential: from then on its
      answer is the answer, and a password that one server has refused is never shown to another.
    * A connection that was made when the phone came is the first address's attempt, unless it is gone by now: then that
      one is dialled.
    * Every connection has a log-in of its own: nothing that was said on one counts on another, TLS least of all.
    * Only what no phone can bring about takes an address out for others: what went wrong before the greeting, where
      nothing of the phone's was said (a PROXY header names it).
    """

    __slots__ = (
        "_fault",
        "_front",
        "_is_exposed",
        "_is_greeted",
        "_is_old",
        "_is_told",
        "_login",
        "_new_login",
        "_order",
        "_outcome",
        "_pool",
        "_preamble",
        "_transport",
        "_tried",
        "_upstream",
    )

    def __init__(
        self,
        front: Front,
        new_login: Callable[[], LoginClient],
        outcome: Callable[[Outcome], None],
        fault: Callable[[Exception], None],
        preamble: Callable[[Upstream], bytes] = lambda _: b"",
    ) -> None:
        """`new_login` makes the log-in of one attempt; `fault` hears of unexpected errors.

        `preamble` is what goes out before everything else (a PROXY header).
        """
        self._front = front
        self._pool = front.upstream
        self._order = front.upstream.order
        self._tried = 0
        self._upstream = self._order[0]
        self._new_login = new_login
        self._login: LoginClient
        self._outcome: Callable[[Outcome], None] | None = outcome
        self._fault = fault
        self._preamble = preamble
        self._transport: Transport | None = None
        self._is_told = False
        """Whether this attempt has told the server of the phone."""
        self._is_greeted = False
        """Whether this attempt's server has greeted as it should."""
        self._is_old = False
        """Whether something was received before the log-in began: that says nothing of a server found dead since."""
        self._is_exposed = False
        """Whether a credential was sent."""

    def start(self, ahead: Ahead | None = None) -> None:
        """Dial, unless `ahead` is there to go on with."""
        front = self._front
        front.logins.add(self, front.monotonic())
        taken = None if ahead is None else ahead.take(self._upstream)
        if taken is None:
            self._dial()
            return
        self._transport, received = taken
        self._transport.set_protocol(self)
        self._login = self._new_login()
        self._tried = 1
        front.dials.add(self, front.monotonic())
        self._is_old = bool(received)
        if received:
            self.data_received(received)

    def _dial(self) -> None:
        """Try the next address, and the ones behind it where that fails at once."""
        front = self._front
        while True:
            self._upstream = self._order[self._tried]
            self._login = self._new_login()
            self._tried += 1
            self._is_told = self._is_greeted = self._is_old = False
            try:
                self._transport = dial(self._upstream, self, poller=front.poller, loop=front.loop)
            except OSError as error:
                reason = f"cannot reach the mail server: {error}"
                self._pool.failed(self._upstream, reason)
                if self._may_try_another:
                    continue
                self._end(Failed(reason))
            else:
                front.dials.add(self, front.monotonic())
            return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: ARG002  it is ours already
        """We have to talk first."""
        if self._transport is None:
            return
        header = self._preamble(self._upstream)
        self._is_told = bool(header)
        self._transport.write(header)
        if self._upstream.tls is TlsMode.IMPLICIT:
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
        self._fail(lost(exc))

    def not_greeted(self) -> None:
        """Not a word in time: go to the next address; the last one has all the time there is, if it is there at all."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # `connection_lost` is on its way
        if not transport.is_connected:
            self._fail("nothing answers at the mail server's address")
        elif self._may_try_another:
            self._fail("the mail server does not greet")

    def too_slow(self) -> None:
        """The deadline passed."""
        if self._transport is not None:
            self._transport.abort()  # a server that does not read would keep what is closed politely
        self._end(Failed("the mail server takes too long"))

    def close(self) -> None:
        """End the connection, whatever state it is in; there is no outcome any more."""
        self._outcome = None
        self._front.logins.discard(self)
        self._front.dials.discard(self)
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
            match step := self._login.next_step():
                case NeedData():
                    break
                case Send():
                    self._send(step)
                case StartTls():
                    self._encrypt(self._encrypted)
                    break
                case Learnt():
                    self._end(Failed("there was nothing to log in with"))
                case LoggedIn() | Rejected():
                    self._end(step)
                case Failed(reason):
                    self._fail(reason)
                    break
        if self._login.offers:
            self._front.upstream_offers = self._login.offers

    def _send(self, step: Send) -> None:
        if not self._is_greeted:
            self._is_greeted = True
            self._front.dials.discard(self)
            if not (self._is_old or self._pool.all_up):
                self._pool.worked(self._upstream)
        if step.bears_credentials:
            self._is_exposed = True
        if self._transport is not None:
            self._transport.write(step.data)

    def _encrypt(self, then: Callable[[], None]) -> None:
        upstream = self._upstream
        if self._transport is not None and upstream.context is not None:
            self._transport.start_tls(upstream.context, then, upstream.host)

    def _encrypted(self) -> None:
        self._login.tls_started()
        self._go_on()

    def _fail(self, reason: str) -> None:
        """This address is of no use: the next one, unless a credential was sent."""
        transport = self._transport
        if self._outcome is None or (transport is not None and transport.is_closing()):
            return  # over, or `connection_lost` is on its way
        self._front.dials.discard(self)
        if not self._is_greeted and not self._is_told:
            self._pool.failed(self._upstream, reason)
        if not self._may_try_another:
            self._end(Failed(reason))
            return
        if transport is not None:
            self._transport = None
            transport.set_protocol(_DEAF)
            transport.abort()
        self._dial()

    @property
    def _may_try_another(self) -> bool:
        """Whether there is an address left, and no credential was sent."""
        return self._tried < len(self._order) and not self._is_exposed

    def _end(self, outcome: Outcome) -> None:
        self._front.logins.discard(self)
        self._front.dials.discard(self)
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
