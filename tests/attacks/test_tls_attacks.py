"""Attacks on TLS itself: octets slipped in before it, handshakes that never end, ends that are none."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.attack_bench import ALLOWED, ENDED, OVER, Bench, say
from testkit.gate import detail
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.tls import Authority
from testkit.wire import Wire

BEGIN_TLS = b"a OK Begin TLS now.\r\n"
LOG_IN = b"a LOGIN alice wonderland\r\n"


@pytest.mark.parametrize(
    "behind",
    [b"b NOOP\r\n", b"b LOGIN alice wonderland\r\nc SELECT INBOX\r\n", b"\x16\x03\x01\x02\x00", b"\r\n", b"b"],
    ids=["T01", "T01-login", "T01-hello", "T01-empty-line", "T01-octet"],
)
def test_octets_behind_starttls(bench: Bench, behind: bytes) -> None:
    """One segment with more than STARTTLS in it ends the connection: none of it is answered, in the clear or in TLS."""
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imap) as wire:
        wire.line()
        wire.send(b"a STARTTLS\r\n" + behind)
        assert wire.rest(within=10) == b""
        port = wire.local_port
    assert watch.connections() == []
    assert [detail(one).get("ended") for one in bench.audit.of(port)] == ["octets_behind_starttls"]


def test_t01_octets_behind_the_answer_are_tls_or_nothing(bench: Bench) -> None:
    """A plaintext command sent after the go-ahead is no handshake: the connection ends without a word in the clear."""
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imap) as wire:
        wire.line()
        wire.send(b"a STARTTLS\r\n")
        assert wire.exactly(len(BEGIN_TLS)) == BEGIN_TLS
        wire.send(b"b NOOP\r\n")
        said = wire.rest(within=10)
        port = wire.local_port
    assert said == b"" or said.startswith(b"\x15\x03"), "a TLS alert at most"
    assert watch.connections() == []
    assert bench.codes(port) == [ENDED]


def test_t14_a_handshake_has_a_deadline(impatient: Bench) -> None:
    """A client that connects and sends a hello octet by octet is cut off; its octets buy no time."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    with Wire(impatient.gate.ports.imaps) as wire:
        for octet in hello:
            say(wire, bytes([octet]))
            try:
                said = wire.rest(within=0.1)
            except TimeoutError:
                continue
            break
        else:
            pytest.fail("it was never cut off")
        port = wire.local_port
    assert said == b""
    assert [detail(one).get("ended") for one in impatient.audit.of(port)] == ["timeout"]


@pytest.mark.parametrize("foreign", [["http/1.1"], ["h2", "smtp"]], ids=["T13", "T13-two"])
def test_another_protocols_client_gets_no_session(bench: Bench, servers_ca: Authority, foreign: list[str]) -> None:
    """A client that offers ALPN without the listener's protocol is told nothing (ALPACA); one that offers it is served."""
    context = servers_ca.client_context()
    context.set_alpn_protocols(foreign)
    watch = bench.watch("imap")
    with Wire(bench.gate.ports.imaps, context) as wire:
        port = wire.local_port
        say(wire, LOG_IN)
        try:
            said = wire.rest(within=10)
        except ssl.SSLError:
            said = b""
    assert said == b""
    assert watch.connections() == []
    assert [detail(record)["ended"] for record in bench.audit.of(port)] == ["foreign_protocol"]
    context.set_alpn_protocols([*foreign, "imap"])
    with Wire(bench.gate.ports.imaps, context) as wire:
        assert wire.line().startswith(b"* OK ")


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_t15_random_server_names_leave_nothing_behind(bench: Bench, servers_ca: Authority) -> None:
    """Handshakes with ever new names cost no lasting memory."""
    context = servers_ca.client_context()
    context.check_hostname = False  # the names are nobody's

    def handshakes(first: int, count: int) -> None:
        for number in range(first, first + count):
            with (
                socket.create_connection((LOOPBACK, bench.gate.ports.imaps)) as sock,
                context.wrap_socket(sock, server_hostname=f"{'x' * 40}{number}.example.com") as tls,
            ):
                tls.recv(10)

    handshakes(0, 100)
    before = _resident_kib(bench.gate.pid)
    handshakes(100, 500)
    assert _resident_kib(bench.gate.pid) - before < 1024


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    ],
    ids=["T16-v1", "T16-unknown", "T16-v2"],
)
def test_a_proxy_header_from_anybody_is_rubbish(bench: Bench, header: bytes) -> None:
    """Where no load balancer is configured a PROXY header is no TLS, and no address that anybody believes."""
    hello = b"\x16\x03\x01\0\x05hello"
    with Wire(bench.gate.ports.imaps) as wire:
        port = wire.local_port
        say(wire, header + hello)
        said = wire.rest(within=10)
    assert said == b"" or said.startswith(b"\x15\x03"), "a TLS alert at most"
    (record,) = bench.audit.of(port)
    assert record["src_endpoint"] == {"ip": LOOPBACK, "port": port}


class Balanced:
    """A phone behind a load balancer: a header, with the ClientHello in the same segment."""

    def __init__(self, port: int, header: bytes, context: ssl.SSLContext) -> None:
        self._sock = socket.create_connection((LOOPBACK, port), timeout=10)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._unsent = header
        self._step(self._tls.do_handshake)

    def ask(self, said: bytes) -> bytes:
        """Send, and return what comes next."""
        if said:
            self._tls.write(said)
        return bytes(self._step(self._tls.read))

    def close(self) -> None:
        """Close without a word."""
        self._sock.close()

    def _step(self, call: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                done = call()
            except ssl.SSLWantReadError:
                self._flush()
                received = self._sock.recv(65_536)
                if not received:
                    return b""
                self._incoming.write(received)
            else:
                self._flush()
                return done or b""

    def _flush(self) -> None:
        self._sock.sendall(self._unsent + self._outgoing.read())
        self._unsent = b""


@pytest.fixture(scope="module")
def balanced(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate whose implicit TLS listener belongs to load balancers on this machine."""
    listener = {
        "name": "imaps",
        "protocol": "imap",
        "bind": "",
        "tls": "implicit",
        "proxy_protocol_from": ["127.0.0.0/8"],
    }
    listener["bind"] = f"{LOOPBACK}:{free_port()}"
    servers = {"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))}
    return make_bench(servers, {"listener": [listener]})


def _port_of(bench: Bench) -> int:
    (listener,) = bench.gate.configuration["listener"]  # type: ignore[misc]  # as the fixture wrote it
    return int(listener["bind"].rpartition(":")[2])


V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 198, 51, 100, 1]) + b"\x9c\x41\x03\xe1"
TRUSTED = {
    "T16-trusted-v1": (b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\r\n", 40000),
    "T16-trusted-v2": (V2, 40001),
}


@pytest.mark.parametrize(("header", "port"), TRUSTED.values(), ids=TRUSTED)
def test_a_load_balancers_header_is_read_to_the_octet(
    balanced: Bench, context: ssl.SSLContext, header: bytes, port: int
) -> None:
    """The ClientHello in the header's segment is TLS's; the phone's address is recorded and told to the mail server."""
    watch = balanced.watch("imap")
    phone = Balanced(_port_of(balanced), header, context)
    assert phone.ask(b"").startswith(b"* OK ")
    assert phone.ask(LOG_IN).startswith(b"a OK ")
    phone.close()

    (one,) = watch.connections()
    assert b'"x-originating-ip" "192.0.2.1" "x-originating-port" "%d"' % port in one.received
    records = balanced.audit.of(port, "192.0.2.1")
    assert [record["src_endpoint"]["ip"] for record in records if "src_endpoint" in record][:1] == ["192.0.2.1"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 993\n",
        b"PROXY TCP4 999.0.2.1 198.51.100.1 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        V2[:14] + b"\xff\xff",
    ],
    ids=["T16-none", "T16-bare-lf", "T16-no-address", "T16-long-v1", "T16-long-v2"],
)
def test_a_load_balancer_must_say_whose_connection_it_is(balanced: Bench, said: bytes) -> None:
    """Without a whole and right header there is no TLS and no dialogue."""
    hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200)
    with Wire(_port_of(balanced)) as wire:
        say(wire, said + hello)
        assert wire.rest(within=15) == b""


def test_t18_an_end_without_close_notify_is_no_end(bench: Bench, context: ssl.SSLContext) -> None:
    """A FIN in the midst of an upload, where TLS did not say that it is all, aborts the mail server's side."""
    for polite in (False, True):
        watch = bench.watch("imap")
        with Wire(bench.gate.ports.imaps, context) as wire:
            wire.line()
            assert wire.imap(LOG_IN.strip())[-1].startswith(b"a OK")
            wire.send(b"b APPEND INBOX {100}\r\nSubject: half\r\n")
            assert wire.line() == b"b OK done"
            port = wire.local_port
            if polite:
                wire.say_goodbye()
        (one,) = watch.connections()
        assert one.after_login == b"b APPEND INBOX {100}\r\nSubject: half\r\n"
        assert one.aborted is not polite
        records = bench.audit.of(port)
        assert [detail(record).get("ended") for record in records] == [None, "client" if polite else "client_aborted"]
        assert bench_codes(records) == [ALLOWED, OVER]


def bench_codes(records: list[dict[str, object]]) -> list[str]:
    """Return the event codes."""
    return [str(record["metadata"]["event_code"]) for record in records]  # type: ignore[index]  # a record is JSON
