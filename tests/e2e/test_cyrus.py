"""Cyrus behind the gate: what it offers that Dovecot does not, and the command that would lead around the gate."""

import ssl
import zlib
from collections.abc import Callable, Iterator

import pytest

from testkit import cyrus as cyrus_server
from testkit import dovecot as dovecot_server
from testkit.bed import ALICE, EVERYBODY, SPARE
from testkit.cyrus import Cyrus
from testkit.dovecot import Dovecot
from testkit.gate import GateProcess, policy, upstream
from testkit.sessions import login_command
from testkit.tls import KeyPair
from testkit.wire import Wire

MakeGate = Callable[..., GateProcess]
ADMIN = SPARE[0]
ANY_DEVICE = policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"')


@pytest.fixture(scope="module")
def cyrus(mail_certificate: KeyPair) -> Iterator[Cyrus]:
    """Run a Cyrus that has an administrator, whose right to UNAUTHENTICATE it is told not to offer."""
    if not cyrus_server.IS_INSTALLED:
        pytest.skip("Cyrus is not installed")
    more = f"admins: {ADMIN.login.split('@')[0]}\nsuppress_capabilities: UNAUTHENTICATE"
    server = Cyrus(mail_certificate, EVERYBODY, more=more)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def compressing_dovecot(mail_certificate: KeyPair) -> Iterator[Dovecot]:
    """Run a Dovecot that offers COMPRESS."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    server = Dovecot(mail_certificate, EVERYBODY, more="protocol imap {\n  mail_plugins = imap_zlib\n}\n")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def offering_dovecot(mail_certificate: KeyPair) -> Iterator[Dovecot]:
    """Run a Dovecot that says that it takes UNAUTHENTICATE."""
    if dovecot_server.PROGRAM is None:
        pytest.skip("Dovecot is not installed")
    server = Dovecot(
        mail_certificate, EVERYBODY, more="protocol imap {\n  imap_capability = +UNAUTHENTICATE COMPRESS=DEFLATE\n}\n"
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gate(make_gate_anywhere: MakeGate, cyrus: Cyrus) -> Iterator[GateProcess]:
    """Run a gate in front of Cyrus, whatever the device."""
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(cyrus.imap_port), "smtp": upstream(25)}}, policy_text=ANY_DEVICE
    )
    gate.start()
    yield gate
    gate.discard()


@pytest.fixture(scope="module")
def dovecot_gate(make_gate_anywhere: MakeGate, compressing_dovecot: Dovecot) -> Iterator[GateProcess]:
    """Run a gate in front of a Dovecot that compresses, whatever the device."""
    gate = make_gate_anywhere(
        {"upstream": {"imap": upstream(compressing_dovecot.imap_port), "smtp": upstream(25)}}, policy_text=ANY_DEVICE
    )
    gate.start()
    yield gate
    gate.discard()


class Compressed:
    """A connection after COMPRESS DEFLATE (RFC 4978): raw deflate, flushed after each command."""

    def __init__(self, wire: Wire) -> None:
        """Go on with `wire`."""
        self._wire = wire
        self._deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def imap(self, command: bytes) -> bytes:
        """Send a command, or a piece of one, with its tag, and return all that is said until the tagged answer."""
        self._wire.send(self._deflate.compress(command + b"\r\n") + self._deflate.flush(zlib.Z_SYNC_FLUSH))
        tag = command.split(b" ", 1)[0]
        said = b""
        while b"\r\n" + tag + b" " not in b"\r\n" + said or not said.endswith(b"\r\n"):
            piece = self._wire.piece()
            assert piece, said
            said += self._inflate.decompress(piece)
        return said


@pytest.mark.parametrize("server", ["cyrus", "dovecot"])
def test_a_later_list_is_the_same_as_the_first(
    server: str, request: pytest.FixtureRequest, context: ssl.SSLContext
) -> None:
    """Dovecot offers LOGIN-REFERRALS once logged in, Cyrus MAILBOX-REFERRALS: neither ever reaches a client."""
    gate: GateProcess = request.getfixturevalue("gate" if server == "cyrus" else "dovecot_gate")
    with Wire(gate.ports.imaps, context) as wire:
        wire.line()
        first = wire.imap(b"a " + login_command(ALICE))[-1].partition(b"[")[2].partition(b"]")[0]
        assert wire.imap(b"b CAPABILITY")[0] == b"* " + first
        wire.imap(b"c ENABLE CONDSTORE")
        assert wire.imap(b"d CAPABILITY")[0] == b"* " + first
        assert b"REFERRALS" not in first


@pytest.mark.parametrize("server", ["cyrus", "dovecot"])
def test_compressed_mail_goes_through(server: str, request: pytest.FixtureRequest, context: ssl.SSLContext) -> None:
    """COMPRESS DEFLATE is offered after the log-in, and a message appended and fetched under it is the same bytes."""
    gate: GateProcess = request.getfixturevalue("gate" if server == "cyrus" else "dovecot_gate")
    message = b"Subject: packed\r\n\r\n" + bytes(range(32, 127)) * 2000 + b"\r\n"
    with Wire(gate.ports.imaps, context) as wire:
        wire.line()
        assert b"COMPRESS=DEFLATE" in wire.imap(b"a " + login_command(ALICE))[-1].replace(b"]", b" ").split()
        assert wire.imap(b"b COMPRESS DEFLATE")[-1].startswith(b"b OK")
        packed = Compressed(wire)
        assert b"c OK" in packed.imap(b"c APPEND INBOX {%d+}\r\n" % len(message) + message)
        assert b"d OK" in packed.imap(b"d SELECT INBOX")
        fetched = packed.imap(b"e FETCH * BODY.PEEK[]")

    assert b"{%d}\r\n" % len(message) + message in fetched


def test_an_administrator_cannot_log_in_again(cyrus: Cyrus, gate: GateProcess, context: ssl.SSLContext) -> None:
    """Cyrus offers and takes UNAUTHENTICATE from administrators, suppressed or not: through the gate it never hears it."""
    with Wire(cyrus.imap_port) as direct:
        direct.line()
        direct.imap(b"a " + login_command(ADMIN))
        assert direct.imap(b"b UNAUTHENTICATE")[-1].startswith(b"b OK")
        assert direct.imap(b"c " + login_command(ALICE))[-1].startswith(b"c OK")

    with Wire(gate.ports.imaps, context) as wire:
        wire.line()
        assert b"UNAUTHENTICATE" not in wire.imap(b"a " + login_command(ADMIN))[-1]
        listed = wire.imap(b"b CAPABILITY")[0].split()
        assert not {b"UNAUTHENTICATE", b"COMPRESS=DEFLATE", b"MAILBOX-REFERRALS"} & set(listed)
        assert wire.imap(b"c UNAUTHENTICATE")[-1].startswith(b"c BAD")
        assert wire.imap(b"d NOOP {18+}\r\ne UNAUTHENTICATE\r\n")[-1].startswith(b"d BAD")
        assert wire.imap(b"f " + login_command(ALICE))[-1].startswith(b"f BAD")
        assert wire.imap(b'g LIST "" ""')[-1].startswith(b"g OK")


def test_mail_goes_through_where_commands_are_read(
    make_gate: MakeGate, offering_dovecot: Dovecot, context: ssl.SSLContext
) -> None:
    """Literals of all kinds, IDLE and a large message, as anywhere."""
    gate = make_gate({"upstream": {"imap": upstream(offering_dovecot.imap_port), "smtp": upstream(25)}})
    message = b"Subject: read\r\n\r\n" + b"x UNAUTHENTICATE\r\n* CAPABILITY STARTTLS\r\n" * 20_000
    with Wire(gate.ports.imaps, context) as wire:
        wire.line()
        assert b"COMPRESS" not in wire.imap(b"a " + login_command(ALICE))[-1]
        assert wire.imap(b"b APPEND INBOX {%d+}\r\n" % len(message) + message)[-1].startswith(b"b OK")
        wire.send(b"c APPEND INBOX (\\Seen) {%d}\r\n" % len(message))
        assert wire.line().startswith(b"+")
        wire.send(message + b"\r\n")
        assert wire.tagged(b"c")[-1].startswith(b"c OK")
        assert wire.imap(b"d SELECT INBOX")[-1].startswith(b"d OK")
        assert wire.imap(b'e SEARCH SUBJECT {4+}\r\nread BODY "UNAUTHENTICATE"')[0].startswith(b"* SEARCH 1 2")
        wire.send(b"f IDLE\r\n")
        assert wire.line().startswith(b"+")
        wire.send(b"DONE\r\n")
        assert wire.tagged(b"f")[-1].startswith(b"f OK")
        wire.send(b"g FETCH 2 BODY.PEEK[]\r\n")
        assert wire.line().endswith(b"{%d}" % len(message))
        assert wire.exactly(len(message)) == message
        assert wire.tagged(b"g")[-1].startswith(b"g OK")


def test_who_is_no_administrator_cannot_log_in_again(gate: GateProcess, context: ssl.SSLContext) -> None:
    """To everybody else Cyrus neither offers the command nor takes it: the second account stays closed."""
    with Wire(gate.ports.imaps, context) as wire:
        wire.line()
        assert b"UNAUTHENTICATE" not in wire.imap(b"a " + login_command(ALICE))[-1]
        assert b"UNAUTHENTICATE" not in wire.imap(b"b CAPABILITY")[0]

        assert wire.imap(b"c UNAUTHENTICATE")[-1].startswith(b"c BAD")
        assert wire.imap(b"d " + login_command(ADMIN))[-1].startswith(b"d BAD")
        assert wire.imap(b"e SELECT INBOX")[-1].startswith(b"e OK")
