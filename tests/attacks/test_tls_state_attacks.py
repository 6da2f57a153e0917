"""Attacks on the state of a TLS session, with OpenSSL's own client and with records by hand: nothing begins anew in it."""

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testkit.attack_bench import ENDED, Bench, say
from testkit.gate import code, detail
from testkit.ports import LOOPBACK
from testkit.tls import Authority
from testkit.waiting import eventually
from testkit.wire import Wire

GREETING = b"* OK [CAPABILITY IMAP4rev1 "
Client = Callable[..., "OpenSsl"]


class OpenSsl:
    """`openssl s_client` as somebody at its terminal uses it; `R`, `K` and `k` at the beginning of a line are its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [shutil.which("openssl") or "openssl", "s_client", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.heard = b""

    def type(self, line: bytes) -> None:
        """Type a line; nothing, when the program has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def until(self, wanted: bytes) -> None:
        """Read until this was said; fail when the program ends before."""
        assert self._process.stdout is not None
        while wanted not in self.heard:
            line = self._process.stdout.readline()
            assert line, f"{wanted!r} is not in {self.heard!r}"
            self.heard += line

    def rest(self) -> bytes:
        """Close what it reads, and return all that it said."""
        self.heard += self._process.communicate(timeout=20)[0]
        return self.heard

    def stop(self) -> None:
        """End it, should it still run."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def client(bench: Bench, servers_ca: Authority) -> Iterator[Client]:
    """Return a maker of clients of the listener with implicit TLS."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made: list[OpenSsl] = []

    def make(*arguments: str) -> OpenSsl:
        where = f"{LOOPBACK}:{bench.gate.ports.imaps}"
        made.append(OpenSsl("-connect", where, "-CAfile", str(servers_ca.ca_file), "-crlf", *arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def ends(bench: Bench) -> int:
    """Return how many connections have ended without a session."""
    return sum(code(record) == ENDED for record in bench.gate.audit_records())


def test_a_client_cannot_negotiate_anew(bench: Bench, client: Client) -> None:
    """Renegotiation in TLS 1.2 is refused: it cost the server a handshake for one record (CVE-2011-1473)."""
    before = ends(bench)
    phone = client("-tls1_2")
    phone.until(GREETING)
    phone.type(b"R")
    phone.until(b"RENEGOTIATING")
    phone.type(b"a NOOP")
    phone.until(b"no renegotiation")  # when nothing more can be typed it goes without waiting for an answer
    assert b"a OK" not in phone.rest()
    eventually(lambda: ends(bench) > before, within=10, what="the terminal record")


def test_new_keys_change_nothing(bench: Bench, client: Client) -> None:
    """TLS 1.3's key updates, asked for in both directions, leave the dialogue as it is."""
    phone = client("-tls1_3")
    phone.until(GREETING)
    for _ in range(5):
        phone.type(b"K")
        phone.until(b"KEYUPDATE")
        phone.heard = phone.heard.replace(b"KEYUPDATE", b"")
    phone.type(b"a NOOP")
    phone.until(b"a OK Done.")
    phone.type(b"b LOGOUT")
    phone.until(b"b OK Done.")
    phone.rest()


def test_nothing_is_sent_before_the_handshake_is_over(bench: Bench, client: Client, tmp_path: Path) -> None:
    """Tickets allow no early data, which could be played again (RFC 8446 §8): a log-in in it is not taken."""
    ticket, early = tmp_path / "ticket", tmp_path / "early"
    early.write_bytes(b"a LOGIN alice wonderland\r\n")
    watch = bench.watch("imap")
    first = client("-tls1_3", "-sess_out", str(ticket))
    first.until(GREETING)
    first.type(b"a LOGOUT")
    assert b"Max Early Data: 0" in first.rest()
    second = client("-tls1_3", "-sess_in", str(ticket), "-early_data", str(early))
    second.type(b"b LOGOUT")
    heard = second.rest()
    assert b"Early data was accepted" not in heard
    assert b"a OK" not in heard
    assert watch.connections() == []


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_get_no_handshake(client: Client, version: str) -> None:
    """Even from a client that wants nothing better."""
    assert GREETING not in client(version, "-cipher", "DEFAULT:@SECLEVEL=0").rest()


def record(kind: int, body: bytes, size: int | None = None) -> bytes:
    """Return a TLS record that announces `size` octets."""
    return bytes([kind, 3, 1]) + (len(body) if size is None else size).to_bytes(2) + body


HELLO = b"\x01\0\0\x2c\x03\x03" + bytes(32) + b"\0\0\x02\x13\x01\x01\0\0\x01\0"
RECORDS = {
    "sslv2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37),
    "empty": record(22, b""),
    "many-empty": record(22, b"") * 200,
    "of-64-KiB": record(22, HELLO, size=65535) + bytes(65535),
    "message-of-16-MiB": record(22, b"\x01\xff\xff\xff\x03\x03" + bytes(100)),
    "alert-first": record(21, b"\x01\0"),
    "change-cipher-spec-first": record(20, b"\x01") * 40,
    "data-first": record(23, b"a LOGIN alice wonderland\r\n"),
    "heartbeat": record(24, b"\x01\xff\xff"),
    "server-hello": record(22, b"\x02" + HELLO[1:]),
    "no-common-cipher": record(22, HELLO),
    "hello-in-pieces": b"".join(record(22, HELLO[at : at + 1]) for at in range(len(HELLO))),
    "plaintext": b"a LOGIN alice wonderland\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", RECORDS.values(), ids=RECORDS)
def test_records_that_begin_no_handshake(impatient: Bench, sent: bytes) -> None:
    """An alert at most, in time, and the end is on record; nobody else is disturbed."""
    watch = impatient.watch("imap")
    with Wire(impatient.gate.ports.imaps) as wire:
        port = wire.local_port
        say(wire, sent)
        said = wire.rest(within=10)
    assert said == b"" or said[:1] == b"\x15"
    assert watch.connections() == []
    (ended,) = impatient.audit.of(port)
    assert code(ended) == ENDED
    assert detail(ended)["attempts"] == 0


def test_octets_that_are_no_tls_end_the_session(bench: Bench, servers_ca: Authority) -> None:
    """Slipped in between the records of a session they are no command; what was asked before is all that is answered."""
    watch = bench.watch("imap")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = servers_ca.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with Wire(bench.gate.ports.imaps) as wire:
        port = wire.local_port
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.send(outgoing.read())
                incoming.write(wire.piece())
        wire.send(outgoing.read() + b"b LOGIN alice wonderland\r\n")
        incoming.write(wire.rest(within=10))
        said = b""
        with suppress(ssl.SSLError):
            while piece := tls.read():
                said += piece
    assert b"b OK" not in said
    assert b"b NO" not in said
    assert watch.connections() == []
    assert bench.codes(port) == [ENDED]
