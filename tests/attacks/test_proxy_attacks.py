"""Attacks by the PROXY header, over a socket: behind a load balancer, on a listener whose dialogue begins in the clear."""

from collections.abc import Callable

import pytest

from gatekeeper.protocols.proxy_protocol.sending import version_2
from testkit.attack_bench import ENDED, Bench, say
from testkit.gate import Record, code, detail
from testkit.ports import LOOPBACK, free_port
from testkit.recorder import Recorder, Script
from testkit.waiting import eventually
from testkit.wire import Wire

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.%d 198.51.100.1 40000 143\r\n"
ADDRESSES = bytes([192, 0, 2, 9, 198, 51, 100, 1]) + b"\x9c\x41\x00\x8f"
GREETING = b"* OK [CAPABILITY IMAP4rev1 "
BYE = b"zz LOGOUT\r\n"
GOODBYE = b"* BYE Goodbye.\r\nzz OK Done.\r\n"


def v2(command: int, family: int, body: bytes, size: int | None = None) -> bytes:
    """Return a header of version 2 that announces `size` octets."""
    return SIGNATURE + bytes([command, family]) + (len(body) if size is None else size).to_bytes(2) + body


@pytest.fixture(scope="module")
def balanced(make_bench: Callable[..., Bench]) -> Bench:
    """Run a gate whose STARTTLS listener belongs to load balancers on this machine."""
    listener = {
        "name": "imap",
        "protocol": "imap",
        "bind": f"{LOOPBACK}:{free_port()}",
        "tls": "starttls",
        "proxy_protocol_from": ["127.0.0.0/8"],
    }
    servers = {"imap": Recorder(Script(accepts_all=True)), "smtp": Recorder(Script(protocol="smtp"))}
    return make_bench(servers, {"listener": [listener], "limits": {"handshake_timeout": "2s"}})


def connect(bench: Bench) -> Wire:
    """Connect as a load balancer."""
    (listener,) = bench.gate.configuration["listener"]  # type: ignore[misc]  # as the fixture wrote it
    return Wire(int(listener["bind"].rpartition(":")[2]))


def about(bench: Bench, before: int) -> list[Record]:
    """Return the ends that were recorded since; the port is the phone's, as the header has it.

    Health checks are counted, and recorded a minute later, in the midst of whatever test is on then.
    """
    ends = [one for one in bench.gate.audit_records()[before:] if code(one) == ENDED]
    return [one for one in ends if detail(one)["ended"] != "health_check"]


GOOD = {
    "v1": (V1 % 1, "192.0.2.1"),
    "v1-ipv6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "2001:db8::1"),
    "v1-mapped": (b"PROXY TCP6 ::ffff:192.0.2.3 ::ffff:192.0.2.4 1 2\r\n", "192.0.2.3"),
    "v1-unknown": (b"PROXY UNKNOWN ff:: x y\r\n", LOOPBACK),
    "v2": (v2(0x21, 0x11, ADDRESSES), "192.0.2.9"),
    "v2-values": (v2(0x21, 0x11, ADDRESSES + b"\x04\0\3abc\xee\0\0"), "192.0.2.9"),
    "v2-udp": (v2(0x21, 0x12, ADDRESSES), LOOPBACK),
    "v2-unix": (v2(0x21, 0x31, b"/run/lb".ljust(108, b"\0") * 2), LOOPBACK),
    "v2-unspecified": (v2(0x21, 0x00, b"anything"), LOOPBACK),
    "v2-local": (v2(0x20, 0x11, ADDRESSES), LOOPBACK),
    "v2-longest": (v2(0x21, 0x11, ADDRESSES + b"\x04" + (4065).to_bytes(2) + b"x" * 4065), "192.0.2.9"),
}  # fmt: skip


@pytest.mark.parametrize("octets", [1, 100_000], ids=["by octets", "whole"])
@pytest.mark.parametrize(("header", "address"), GOOD.values(), ids=GOOD)
def test_a_header_is_read_to_the_octet(balanced: Bench, header: bytes, address: str, octets: int) -> None:
    """What stands behind it is the dialogue's; whose connection it is, is on record."""
    before = len(balanced.gate.audit_records())
    with connect(balanced) as wire:
        sent = header + BYE
        say(wire, *(sent[at : at + octets] for at in range(0, len(sent), octets)))
        assert wire.line().startswith(GREETING)
        assert wire.rest(within=10) == GOODBYE
    if header[12:13] != b"\x20":  # a health check is counted with others
        (record,) = eventually(lambda: about(balanced, before), within=10, what="the terminal record")
        assert record["src_endpoint"]["ip"] == address


BAD = {
    "v1-doubled-space": b"PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
    "v1-lower-case": b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
    "v1-bare-CR": b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\ra NOOP\r\n",
    "v1-port-65536": b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
    "v1-port-negative": b"PROXY TCP4 192.0.2.1 198.51.100.1 -1 2\r\n",
    "v1-port-octal": b"PROXY TCP4 192.0.2.1 198.51.100.1 0017 2\r\n",
    "v1-address-octal": b"PROXY TCP4 0300.0.2.1 198.51.100.1 1 2\r\n",
    "v1-address-short": b"PROXY TCP4 192.1 198.51.100.1 1 2\r\n",
    "v1-families-mixed": b"PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n",
    "v1-zone": b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    "v1-unknown-family": b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
    "v1-nul": b"PROXY TCP4 192.0.2.1\0 198.51.100.1 1 2\r\n",
    "v1-line-without-end": b"PROXY UNKNOWN " + b"x" * 5000,
    "v2-version-1": v2(0x11, 0x11, ADDRESSES),
    "v2-command": v2(0x22, 0x11, ADDRESSES),
    "v2-family": v2(0x21, 0x51, ADDRESSES),
    "v2-odd-length": v2(0x21, 0x11, ADDRESSES[:11]),
    "v2-ipv6-in-ipv4's-length": v2(0x21, 0x21, ADDRESSES),
    "v2-unix-too-short": v2(0x21, 0x31, b"/run/lb"),
    "v2-value-overrun": v2(0x21, 0x11, ADDRESSES + b"\x04\xff\xffx"),
    "v2-value-cut": v2(0x21, 0x11, ADDRESSES + b"\x04\0"),
    "v2-wrong-checksum": v2(0x21, 0x11, ADDRESSES + b"\x03\0\4abcd"),
    "v2-two-checksums": v2(0x21, 0x11, ADDRESSES + b"\x03\0\4abcd" * 2),
    "v2-tls-too-short": v2(0x21, 0x11, ADDRESSES + b"\x20\0\4\1\0\0\0"),
    "v2-tls-overrun": v2(0x21, 0x11, ADDRESSES + b"\x20\0\x08\1\0\0\0\0\x21\0\xff"),
    "v2-tls-twice": v2(0x21, 0x11, ADDRESSES + b"\x20\0\5\1\0\0\0\0" * 2),
    "v2-too-long": v2(0x21, 0x11, ADDRESSES, size=65535),
    "v2-local-too-long": v2(0x20, 0x00, b"", size=65535),
}  # fmt: skip


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_a_bad_header_lets_nothing_through(balanced: Bench, header: bytes) -> None:
    """No greeting, no answer to what stands behind it, and no address that anybody believes."""
    watch = balanced.watch("imap")
    with connect(balanced) as wire:
        say(wire, header + BYE)
        assert wire.rest(within=10) == b""
        port = wire.local_port
    (record,) = balanced.audit.of(port)
    assert detail(record)["ended"] == "proxy_header_malformed"
    assert record["src_endpoint"] == {"ip": LOOPBACK, "port": port}
    assert watch.connections() == []


SECOND = {
    "v1-twice": (V1 % 1, V1 % 2),
    "v2-then-v1": (v2(0x21, 0x11, bytes([192, 0, 2, 1]) + ADDRESSES[4:]), V1 % 2),
    "local-then-v1": (v2(0x20, 0, b""), V1 % 2),
    "unknown-then-v1": (b"PROXY UNKNOWN\r\n", V1 % 2),
}


@pytest.mark.parametrize(("first", "second"), SECOND.values(), ids=SECOND)
def test_a_second_header_is_the_dialogues_rubbish(balanced: Bench, first: bytes, second: bytes) -> None:
    """A phone that sends a header of its own through the load balancer is answered BAD, and is not elsewhere."""
    before = len(balanced.gate.audit_records())
    with connect(balanced) as wire:
        say(wire, first + second + b"a LOGIN alice pw\r\n" + BYE)
        assert wire.line().startswith(GREETING)
        assert b"BAD" in wire.line()
        assert wire.rest(within=10).endswith(GOODBYE)
    if first[12:13] != b"\x20":
        (record,) = eventually(lambda: about(balanced, before), within=10, what="the terminal record")
        assert record["src_endpoint"]["ip"] in ("192.0.2.1", LOOPBACK)


def test_a_second_binary_header_ends_the_dialogue(balanced: Bench) -> None:
    """Its empty lines and its NUL are no commands."""
    before = len(balanced.gate.audit_records())
    with connect(balanced) as wire:
        say(wire, V1 % 1 + version_2(("192.0.2.2", 1), ("192.0.2.3", 2)) + BYE)
        assert wire.line().startswith(GREETING)
        assert wire.rest(within=10).endswith(b"* BYE Too many errors.\r\n")
    eventually(lambda: about(balanced, before), within=10, what="the terminal record")


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4 192.0.2.1", SIGNATURE, v2(0x21, 0x11, b"", size=12)])
def test_a_header_has_a_deadline(balanced: Bench, begun: bytes) -> None:
    """A connection that does not say whose it is ends in time, without a word."""
    with connect(balanced) as wire:
        say(wire, begun)
        assert wire.rest(within=6) == b""
        port = wire.local_port
    (record,) = balanced.audit.of(port)
    assert detail(record)["ended"] == "timeout"


@pytest.mark.parametrize("begun", [b"PROXY TCP4 192.0.2.1", SIGNATURE + b"\x21"])
def test_a_header_that_breaks_off_is_missing(balanced: Bench, begun: bytes) -> None:
    """The end of the connection is no end of the header."""
    with connect(balanced) as wire:
        say(wire, begun)
        port = wire.local_port
    (record,) = balanced.audit.of(port)
    assert detail(record)["ended"] == "proxy_header_missing"
