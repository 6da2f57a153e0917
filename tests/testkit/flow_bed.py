"""The real front, gate, relay and poller on one loop with phones and a scripted IMAP server, on loopback sockets.

Everything runs on the test's own loop and nothing waits for time: the audit log and the clock are the test's. When a
`Bed` ends it checks what must hold in every scenario: exactly one terminal record for each accepted connection, no
open session, no deadline, and no socket left.
"""

import asyncio
import base64
import functools
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET, socket
from types import TracebackType
from typing import Any, ParamSpec, cast

from gatekeeper.audit.event import EventCode
from gatekeeper.decision.schema import parse_policy
from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import NewDialogue
from gatekeeper.enforcement.flow.flow import Flow, accept
from gatekeeper.enforcement.flow.front import Front, Limits
from gatekeeper.enforcement.flow.introduction import Network
from gatekeeper.enforcement.imap.dialogue import imap_dialogue
from gatekeeper.gate.admit import Gate
from gatekeeper.gate.identify import BindingSettings
from gatekeeper.gate.refusals import Refusals, RefusalSettings
from gatekeeper.gate.settings import GateSettings
from gatekeeper.gate.throttle import Throttle, ThrottleSettings
from gatekeeper.net.crowd import Crowd
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.listen import Listener, bind
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.relay import Ended, Relay
from testkit.gate_fakes import Changes, FakeAuditLog, ManualClock
from testkit.loops import is_drained
from testkit.memory_registry import MemoryDevices, MemoryRegistry
from testkit.ports import LOOPBACK
from testkit.reports import BOB, NOTES, NOW, TIKTOK, phone, report
from testkit.tls import Authority, server_context

P = ParamSpec("P")

PASSWORD = b"wonderland"
GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n"
POLICY = b"""
schema = 1
[defaults]
unknown_device = "block"
[[rule]]
id = "no-tiktok"
apps = [{ id = "com.zhiliaoapp.musically" }]
phases = { enforce = "2020-01-01" }
"""
_DEADLINE_S = 30
_RESET = struct.pack("ii", 1, 0)


def on_a_poller(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test on a loop like the gate's."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(_DEADLINE_S):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=lambda: PollerLoop(Poller()), debug=True) as runner:
            runner.run(bounded())

    return run


@dataclass(eq=False)
class Conversation:
    """One connection at the mail server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    changes: Changes
    received: bytes = b""
    """All that came, after TLS."""
    logins: list[bytes] = field(default_factory=list)
    """Decoded PLAIN responses."""
    after_login: bytes = b""
    ended: bool = False

    def say(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)


Script = Callable[[Conversation, bytes], Awaitable[bool]]
"""Answers one line; True when the client is logged in."""


async def obliging(conversation: Conversation, line: bytes) -> bool:
    """A mail server that takes PLAIN with the right password."""
    tag, command, *rest = line.split(b" ")
    if command == b"AUTHENTICATE":
        response = base64.b64decode(rest[1])
        conversation.logins.append(response)
        if response.endswith(b"\0" + PASSWORD):
            conversation.say(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n")
            return True
        conversation.say(tag + b" NO [AUTHENTICATIONFAILED] Not you.\r\n")
    elif command == b"CAPABILITY":
        conversation.say(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n" + tag + b" OK\r\n")
    elif command == b"ID":
        conversation.say(b"* ID NIL\r\n" + tag + b" OK\r\n")
    else:
        conversation.say(tag + b" BAD\r\n")
    return False


def with_starttls(context: ssl.SSLContext) -> Script:
    """An obliging mail server that upgrades first."""

    async def script(conversation: Conversation, line: bytes) -> bool:
        tag, command, *_ = line.split(b" ")
        if command == b"STARTTLS":
            conversation.say(tag + b" OK Begin\r\n")
            await conversation.writer.start_tls(context)
            return False
        return await obliging(conversation, line)

    return script


class MailServer(Changes):
    """The scripted IMAP server. After the log-in it only listens, and says what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.conversations: list[Conversation] = []
        self.greeting: bytes = GREETING
        self.script: Script = obliging
        self.reads_first = "none"
        """`proxy` or `proxy-v2`: a header of that kind."""
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """End everything."""
        for conversation in self.conversations:
            conversation.writer.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await self.until(lambda: all(conversation.ended for conversation in self.conversations))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = Conversation(reader, writer, self)
        self.conversations.append(conversation)
        self.tell()
        try:
            await self._talk(conversation)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the gate closed, or did not like our certificate
        finally:
            writer.close()
            conversation.ended = True
            self.tell()

    async def _talk(self, conversation: Conversation) -> None:
        if self.reads_first == "proxy":
            conversation.received += await conversation.reader.readuntil(b"\n")
        elif self.reads_first == "proxy-v2":
            start = await conversation.reader.readexactly(16)
            conversation.received += start + await conversation.reader.readexactly(int.from_bytes(start[14:]))
        conversation.say(self.greeting)
        logged_in = False
        while not logged_in:
            line = await conversation.reader.readuntil(b"\n")
            conversation.received += line
            self.tell()
            logged_in = await self.script(conversation, line.rstrip(b"\r\n"))
        while data := await conversation.reader.read(65536):
            conversation.received += data
            conversation.after_login += data
            self.tell()


class Phone:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        """Send in one piece: one TLS record."""
        self._writer.write(data)

    async def line(self) -> bytes:
        """The next line with its end; b"" at the end of the connection."""
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    async def ask(self, command: bytes) -> bytes:
        """Send a command, and return all up to its tagged reply."""
        self.send(command)
        return await self.reply(command.split(b" ")[0])

    async def reply(self, tag: bytes) -> bytes:
        """All up to the reply with that tag, or to the end."""
        heard = b""
        while line := await self.line():
            heard += line
            if line.startswith(tag + b" "):
                break
        return heard

    async def rest(self) -> bytes:
        """All up to the end of the connection."""
        heard = b""
        while line := await self.line():
            heard += line
        return heard

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Upgrade."""
        await self._writer.start_tls(context, server_hostname="localhost")

    def stop_reading(self) -> None:
        """Take nothing any more."""
        cast("asyncio.Transport", self._writer.transport).pause_reading()

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        self._writer.transport.abort()

    async def close(self) -> None:
        """Go."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # cut by the gate


class Bed:
    """One listener in front of one mail server."""

    def __init__(
        self,
        authority: Authority,
        *,
        tls: TlsMode = TlsMode.IMPLICIT,
        upstream: TlsMode = TlsMode.OFF,
        limits: Limits | None = None,
        new_dialogue: NewDialogue | None = None,
        throttle: ThrottleSettings | None = None,
        refusals: RefusalSettings | None = None,
    ) -> None:
        """Failed log-ins are not slowed, and refusals not remembered, unless the test wants it."""
        self.throttle = Throttle(throttle or ThrottleSettings(first_delay_s=0))
        self.refusals = Refusals(refusals or RefusalSettings(remember_for_s=0))
        self.crowd = Crowd((limits or Limits()).crowd)
        self.authority = authority
        self.audit = FakeAuditLog()
        self.clock = ManualClock()
        self.registry = MemoryRegistry()
        self.server = MailServer()
        self.upstream_context: ssl.SSLContext | None = None
        """What the mail server presents, unless the test sets another."""
        self.upstream_host = "localhost"
        self.client_address = "none"
        self.preconnect = True
        """Whether connections are made while phones are on their way to log in."""
        self.load_balancers: tuple[Network, ...] = ()
        """Whose PROXY header is believed."""
        self.before: list[tuple[str, int]] = []
        """Addresses that are preferred to the mail server's."""
        self.allow_plaintext = tls is TlsMode.OFF
        self._accepted = Changes()
        self._tls = tls
        self._upstream = upstream
        self._limits = limits or Limits()
        self._new_dialogue = new_dialogue or imap_dialogue()
        self._phones: list[Phone] = []
        self._problems: list[dict[str, Any]] = []
        self.front: Front
        self.gate: Gate
        self.relay: Relay
        self._listener: Listener

    async def __aenter__(self) -> "Bed":
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._take_note(context))
        self._poller = cast("Any", loop)._selector
        assert isinstance(self._poller, Poller)
        await self.registry.apply([report(phone(), NOTES), report(phone("ph-2", BOB), TIKTOK)], now=NOW)
        self.gate = Gate(
            settings=GateSettings(binding=BindingSettings()),
            policy=parse_policy(POLICY, source="policy.toml"),
            devices=MemoryDevices(self.registry),
            audit=self.audit,
            clock=self.clock,
        )
        self.relay = Relay(self._poller)
        presented = self.upstream_context or server_context(self.authority.server_certificate("mail"))
        if self._upstream is TlsMode.STARTTLS:
            self.server.script = with_starttls(presented)
            self.server.greeting = b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"
        port = await self.server.start(presented if self._upstream is TlsMode.IMPLICIT else None)
        sock = bind(LOOPBACK, 0)
        self.front = self._front(loop, sock.getsockname()[1], port)
        self._listener = Listener(sock, self._poller, self._accept, client_talks_first=False)
        return self

    def _front(self, loop: asyncio.AbstractEventLoop, port: int, upstream_port: int) -> Front:
        return Front(
            name="imaps",
            protocol=MailProtocol.IMAP,
            port=port,
            tls=self._tls,
            allow_plaintext=self.allow_plaintext,
            context=None if self._tls is TlsMode.OFF else server_context(self.authority.server_certificate("gate")),
            upstream=UpstreamPool(self._upstreams(upstream_port)),
            new_dialogue=self._new_dialogue,
            gate=self.gate,
            audit=self.audit,
            clock=self.clock,
            relay=self.relay,
            poller=self._poller,
            loop=loop,
            limits=self._limits,
            load_balancers=self.load_balancers,
            monotonic=self.clock.monotonic,
            crowd=self.crowd,
            throttle=self.throttle,
            refusals=self.refusals,
        )

    def _upstreams(self, port: int) -> list[Upstream]:
        """The mail server's address, behind those that the test puts before it."""
        return [
            Upstream(
                host=self.upstream_host,
                address=address,
                port=at,
                tls=self._upstream,
                context=None if self._upstream is TlsMode.OFF else self.authority.client_context(),
                client_address=self.client_address,
                preconnect=self.preconnect,
            )
            for address, at in (*self.before, (LOOPBACK, port))
        ]

    def _take_note(self, context: dict[str, Any]) -> None:
        # asyncio's TLS is only in the scripted parts: this is their view of a certificate that the gate refused.
        if not isinstance(context.get("exception"), ssl.SSLError):
            self._problems.append(context)

    async def connect(self, *, encrypted: bool | None = None, context: ssl.SSLContext | None = None) -> Phone:
        """A phone's connection; over TLS at once when that is how the listener is."""
        implicit = self._tls is TlsMode.IMPLICIT if encrypted is None else encrypted
        own = (context or self.authority.client_context()) if implicit else None
        reader, writer = await asyncio.open_connection(
            LOOPBACK, self.front.port, ssl=own, server_hostname="localhost" if implicit else None
        )
        self._phones.append(Phone(reader, writer))
        return self._phones[-1]

    async def greeted(self) -> Phone:
        """A phone that may log in: after TLS and the greeting."""
        client = await self.connect()
        assert (await client.line()).startswith(b"* OK ")
        if self._tls is TlsMode.STARTTLS:
            assert await client.ask(b"s STARTTLS\r\n") == b"s OK Begin TLS now.\r\n"
            await client.start_tls(self.authority.client_context())
        return client

    async def accepts(self, number: int) -> None:
        """Return when so many connections have been accepted in all."""
        await self._accepted.until(lambda: self.front.accepted >= number)

    async def has_read(self) -> None:
        """Return when the gate has taken all that the latest connection sent, or has ended it.

        A ClientHello that is not whole is only looked at: the transport then waits for the rest.
        """
        await self.accepts(len(self._phones))
        transport = cast("Flow", self.front.waiting.owners()[-1])._transport
        sock = transport._sock
        await self.comes_true(lambda: sock.fileno() < 0 or is_drained(sock) or transport._low_water > 0)

    async def nobody_waits(self) -> None:
        """Return when no connection is left that is not admitted."""
        await self.comes_true(lambda: not len(self.front.waiting))

    async def comes_true(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until something holds that nobody tells of."""
        while not condition():  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0)

    def _accept(self, sock: socket, peer: tuple[str, int]) -> None:
        accept(self.front, sock, peer)
        self._accepted.tell()

    @property
    def conversation(self) -> Conversation:
        """The latest connection at the mail server."""
        return self.server.conversations[-1]

    def codes(self) -> list[EventCode]:
        """The recorded codes."""
        return self.audit.codes()

    async def all_ended(self) -> None:
        """Return when every accepted connection has its terminal record."""
        await self.audit.until(lambda: sum(event.count for event in self.audit.terminal()) >= self.front.accepted)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._phones:
            await client.close()
        if kind is None:
            await self.all_ended()
        self._listener.stop()
        self.relay.end_all(Ended.DRAINED)
        await self.server.stop()
        if kind is None:
            self._check()

    def _check(self) -> None:
        terminal = Counter(event.connection.conn if event.connection else "" for event in self.audit.terminal())
        assert sum(event.count for event in self.audit.terminal()) == self.front.accepted
        assert set(terminal.values()) <= {1}, "one terminal record for each connection"
        assert self.gate.sessions.all() == ()
        assert (
            len(self.front.waiting)
            == len(self.front.handshakes)
            == len(self.front.logins)
            == len(self.front.dials)
            == 0
        )
        assert len(self.front.holds) == len(self.front.preconnect) == 0
        assert self.crowd.total == self.crowd.sources() == 0
        assert len(self.relay) == 0
        assert self._poller._watched == {}, "a socket is left"
        assert not self._problems, self._problems
