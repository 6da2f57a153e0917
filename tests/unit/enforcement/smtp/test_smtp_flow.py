"""The whole way of a mail on real sockets: smtplib, a listener of ours, and aiosmtpd as the mail server."""

import asyncio
import base64
import smtplib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.domain.decision import Decision, Reason, Verdict
from gatekeeper.domain.posture import Assurance, Binding, PostureState
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.enforcement.flow.flow import accept
from gatekeeper.enforcement.flow.front import Front
from gatekeeper.enforcement.smtp.dialogue import smtp_dialogue
from gatekeeper.gate.admit import Admitted, Answered, Claim, Gate, Refused
from gatekeeper.gate.sessions import Admission
from gatekeeper.net.dial import TlsMode, Upstream
from gatekeeper.net.listen import Listener, bind
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.net.pool import UpstreamPool
from gatekeeper.net.relay import Ended, Relay
from testkit.ports import LOOPBACK
from testkit.recorder import Recorder, Script
from testkit.tls import Authority, server_context
from testkit.wire import Wire

T = TypeVar("T")

PASSWORD = "wonderland"
MESSAGE = b"From: a@b\r\nTo: c@d\r\nSubject: x\r\n\r\n.\r\n..two\r\n\xe2\x82\xac\r\n" + b"x" * 900 + b"\r\n"
PIPELINE = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nNOOP\r\n"


class FakeGate:
    """Admits everybody but bob."""

    def __init__(self) -> None:
        self.ended_sessions: list[Admission] = []
        self.all_ended = asyncio.Event()

    def admit(self, claim: Claim, answer: Answered) -> None:
        decision = Decision(
            verdict=Verdict.BLOCK if claim.account == "bob" else Verdict.ALLOW,
            reasons=(Reason.CLEAN,),
            posture=PostureState.CLEAN,
            binding=Binding(assurance=Assurance.USER, method="user"),
            policy_sha256="",
            valid_until=None,
        )
        if claim.account == "bob":
            answer(Refused(decision, "Mail is paused: TikTok is on this phone."))
            return
        request = Request(account=claim.account, protocol=MailProtocol.SMTP, listener="test")
        answer(
            Admitted(
                Admission(
                    connection=claim.connection,
                    request=request,
                    certificate=None,
                    mechanism=claim.mechanism,
                    decision=decision,
                )
            )
        )

    def ended(self, admission: Admission, _detail: object) -> None:
        self.ended_sessions.append(admission)
        self.all_ended.set()


class Records:
    """An audit log in memory."""

    writable = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, event: Event, recorded: Callable[[bool], None] | None = None) -> None:
        self.events.append(event)
        if recorded is not None:
            recorded(True)  # noqa: FBT003  the port is called so

    def codes(self) -> list[EventCode]:
        return [event.code for event in self.events]


class FixedClock:
    def now(self) -> datetime:
        return datetime(2020, 7, 10, tzinfo=UTC)


class Mailbox:
    """The mail server's handler: keeps what it is given, and the name each client said hello with."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.names: list[str] = []

    async def handle_DATA(self, _server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        self.mails.append(envelope.original_content)
        self.names.append(session.host_name)
        return "250 2.0.0 Kept"


class Bed:
    """A loop as the gate runs it, with one listener."""

    def __init__(self, directory: Path) -> None:
        self.poller = Poller()
        self.loop = PollerLoop(self.poller)
        self.loop.set_debug(True)
        self.gate = FakeGate()
        self.records = Records()
        self.relay = Relay(self.poller)
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.ca = Authority(directory)
        self.context = server_context(self.ca.server_certificate("gate"))
        self.mailbox = Mailbox()
        self._listener: Listener | None = None
        self._server: asyncio.Server | None = None

    def mail_server(self) -> int:
        """Start aiosmtpd; returns its port."""

        def check(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
            assert isinstance(data, LoginPassword)
            return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

        self._server = self.loop.run_until_complete(
            self.loop.create_server(
                lambda: SMTP(
                    self.mailbox, hostname="mail", loop=self.loop, authenticator=check, auth_require_tls=False
                ),
                LOOPBACK,
                0,
            )
        )
        return int(self._server.sockets[0].getsockname()[1])

    def listen(self, tls: TlsMode, upstream_port: int) -> int:
        """Start the listener; returns its port."""
        sock = bind(LOOPBACK, 0)
        front = Front(
            name="test",
            protocol=MailProtocol.SMTP,
            port=0,
            tls=tls,
            allow_plaintext=False,
            context=self.context,
            upstream=UpstreamPool(
                [Upstream(host=LOOPBACK, address=LOOPBACK, port=upstream_port, tls=TlsMode.OFF, context=None)]
            ),
            new_dialogue=smtp_dialogue("gate.example.com", self.loop),
            gate=cast("Gate", self.gate),
            audit=self.records,
            clock=FixedClock(),
            relay=self.relay,
            poller=self.poller,
            loop=self.loop,
        )
        self._listener = Listener(sock, self.poller, partial(accept, front), client_talks_first=False)
        return self._listener.port

    def run(self, client: Callable[[], T]) -> T:
        """Run a blocking client in a thread while the loop serves it."""

        async def both() -> T:
            async with asyncio.timeout(30):
                return await self.loop.run_in_executor(None, client)

        return self.loop.run_until_complete(both())

    def wait_for_the_end(self) -> None:
        """Return when a session has ended."""

        async def end() -> None:
            async with asyncio.timeout(30):
                await self.gate.all_ended.wait()

        self.loop.run_until_complete(end())

    def close(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        if self._server is not None:
            self._server.close()
            self.loop.run_until_complete(self._server.wait_closed())
        self.relay.end_all(Ended.DRAINED)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with closing(Bed(tmp_path)) as bed:
        yield bed
        assert bed.problems == []


def connected(bed: Bed, tls: TlsMode, port: int) -> smtplib.SMTP:
    """Return a client under TLS that has said EHLO."""
    context = bed.ca.client_context()
    client: smtplib.SMTP
    if tls is TlsMode.IMPLICIT:
        client = smtplib.SMTP_SSL("localhost", port, "phone.local", context=context, timeout=10)
    else:
        client = smtplib.SMTP("localhost", port, "phone.local", timeout=10)
        client.starttls(context=context)
    client.ehlo()
    return client


@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "asked"])
def test_a_mail_goes_through(bed: Bed, tls: TlsMode, mechanism: str, initial: bool) -> None:
    """After AUTH the phone talks to the mail server, which gets the mail byte for byte under the phone's own name."""
    port = bed.listen(tls, bed.mail_server())

    def client() -> None:
        with connected(bed, tls, port) as smtp:
            smtp.user, smtp.password = "alice", PASSWORD
            ask = smtp.auth_plain if mechanism == "PLAIN" else smtp.auth_login
            assert smtp.auth(mechanism, ask, initial_response_ok=initial) == (
                235,
                b"2.7.0 Authentication successful",
            )
            assert smtp.sendmail("a@b.example", ["c@d.example"], MESSAGE) == {}

    bed.run(client)
    bed.wait_for_the_end()

    assert bed.mailbox.mails == [MESSAGE]
    assert bed.mailbox.names == ["phone.local"]
    assert [(a.request.account, a.mechanism) for a in bed.gate.ended_sessions] == [("alice", mechanism)]


def test_refusals_have_their_words_and_the_next_attempt_is_taken(bed: Bed) -> None:
    """A wrong password, a refusal by policy and a good log-in follow each other on one connection."""
    port = bed.listen(TlsMode.STARTTLS, bed.mail_server())

    def client() -> list[tuple[int, bytes]]:
        with connected(bed, TlsMode.STARTTLS, port) as smtp:
            return [
                smtp.docmd("AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())
                for name, password in (("bob", "wrong"), ("bob", PASSWORD), ("alice", PASSWORD))
            ]

    assert bed.run(client) == [
        (535, b"5.7.8 Authentication credentials invalid"),
        (535, b"5.7.1 Mail is paused: TikTok is on this phone."),
        (235, b"2.7.0 Authentication successful"),
    ]
    assert bed.records.codes() == [EventCode.CREDENTIALS_REFUSED]


def test_what_is_pipelined_behind_auth_arrives_once_and_in_order(bed: Bed) -> None:
    """Octets in the same TLS record as AUTH, and in the next one, reach the mail server after the log-in."""
    recorder = Recorder(Script(protocol="smtp", passwords={"alice": PASSWORD}))
    port = bed.listen(TlsMode.IMPLICIT, recorder.port)
    auth = b"AUTH PLAIN " + base64.b64encode(f"\0alice\0{PASSWORD}".encode()) + b"\r\n"

    def client() -> list[list[bytes]]:
        with Wire(port, bed.ca.client_context()) as wire:
            wire.smtp_reply()
            wire.smtp(b"EHLO x")
            wire.send(auth + PIPELINE[:20])
            wire.send(PIPELINE[20:])
            return [wire.smtp_reply() for _ in range(4)]

    replies = bed.run(client)
    bed.wait_for_the_end()
    bed.run(recorder.stop)

    assert replies[0] == [b"235 2.7.0 Authentication successful"]
    assert len(replies[1:]) == PIPELINE.count(b"\r\n")
    assert [one.after_login for one in recorder.connections] == [PIPELINE]


def test_octets_behind_starttls_end_the_connection(bed: Bed) -> None:
    """What was slipped in behind STARTTLS is not answered, and the connection's end is recorded."""
    port = bed.listen(TlsMode.STARTTLS, bed.mail_server())

    def client() -> bytes:
        with Wire(port) as wire:
            wire.smtp_reply()
            wire.smtp(b"EHLO x")
            wire.send(b"STARTTLS\r\nNOOP\r\n")
            return wire.rest(within=20)

    assert bed.run(client) == b""
    assert bed.records.codes() == [EventCode.CONNECTION_CLOSED]
