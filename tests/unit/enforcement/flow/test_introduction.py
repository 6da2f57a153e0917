"""T16: a load balancer says whose connection it is; who may not say so has sent garbage, and who must and does not is out."""

import ssl
from ipaddress import ip_network

import pytest

from gatekeeper.audit.event import EventCode
from gatekeeper.domain.request import LoadBalancer, ReportedTls
from gatekeeper.enforcement.flow.front import Limits
from gatekeeper.enforcement.flow.introduction import FOLD_S, is_load_balancer
from gatekeeper.net.dial import TlsMode
from gatekeeper.protocols.proxy_protocol.sending import LOCAL, version_1, version_2
from testkit.flow_bed import Bed, Phone, on_a_poller
from testkit.flow_talk import CLOSED, ENDED, LOGIN, OK
from testkit.tls import Authority

HERE = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
PHONE, SERVICE = ("192.0.2.7", 4711), ("198.51.100.1", 993)
V1, V2 = version_1(PHONE, SERVICE), version_2(PHONE, SERVICE, "TLSv1.3")
VERSIONS = {"v1": V1, "v2": V2}
every_version = pytest.mark.parametrize("header", VERSIONS.values(), ids=VERSIONS)
every_listener = pytest.mark.parametrize("tls", list(TlsMode), ids=str)


def behind(authority: Authority, tls: TlsMode = TlsMode.IMPLICIT, limits: Limits | None = None) -> Bed:
    """A gate that believes load balancers of this machine."""
    bed = Bed(authority, tls=tls, limits=limits)
    bed.load_balancers = HERE
    return bed


def client_hello(authority: Authority) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A handshake whose octets the test sends itself; the first flight stands in the second buffer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


async def handshake(client: Phone, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> bytes:
    """Finish it; returns the first line under TLS."""
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.send(outgoing.read())
            incoming.write(await client._reader.read(65536))
    client.send(outgoing.read())
    heard = b""
    while not heard.endswith(b"\n"):
        try:
            heard += tls.read(65536)
        except ssl.SSLWantReadError:
            incoming.write(await client._reader.read(65536))
    return heard


async def greeted(bed: Bed, authority: Authority, tls: TlsMode, header: bytes) -> Phone:
    """A phone that may log in, introduced by `header`."""
    client = await bed.connect(encrypted=False)
    client.send(header)
    if tls is TlsMode.IMPLICIT:
        await client.start_tls(authority.client_context())
    assert (await client.line()).startswith(b"* OK ")
    if tls is TlsMode.STARTTLS:
        await client.ask(b"s STARTTLS\r\n")
        await client.start_tls(authority.client_context())
    return client


@every_version
@every_listener
@on_a_poller
async def test_t16_the_address_in_the_header_is_the_phones(authority: Authority, tls: TlsMode, header: bytes) -> None:
    """The audit log tells it, and beside it the load balancer's own."""
    async with behind(authority, tls) as bed:
        client = await greeted(bed, authority, tls, header)
        assert await client.ask(LOGIN) == OK
    assert bed.codes() == ENDED
    for event in bed.audit.events:
        assert event.connection is not None
        assert (event.connection.client_address, event.connection.client_port) == PHONE
        said = ReportedTls(version="TLSv1.3", is_certificate_verified=False, common_name=None)
        assert event.connection.load_balancer == LoadBalancer("127.0.0.1", tls=said if header is V2 else None)


@pytest.mark.parametrize(
    ("how", "heard"),
    [
        ("proxy", V1),
        ("proxy-v2", V2),
        ("id", b'ID ("x-originating-ip" "192.0.2.7" "x-originating-port" "4711"'),
    ],
)
@on_a_poller
async def test_t16_the_mail_server_hears_of_the_phone(authority: Authority, how: str, heard: bytes) -> None:
    """However it is told: the phone's address and, in a PROXY header, where it connected to; not the load balancer's."""
    bed = behind(authority)
    bed.client_address = how
    bed.server.greeting = b"* OK [CAPABILITY IMAP4rev1 ID SASL-IR AUTH=PLAIN] ready\r\n"
    bed.server.reads_first = how
    async with bed:
        client = await greeted(bed, authority, TlsMode.IMPLICIT, V1)
        assert await client.ask(LOGIN) == OK
        assert heard in bed.conversation.received
        assert b"127.0.0.1" not in bed.conversation.received


@every_version
@on_a_poller
async def test_t16_a_header_may_come_octet_by_octet(authority: Authority, header: bytes) -> None:
    """Each in a segment of its own, looked at before the next is sent."""
    async with behind(authority) as bed:
        client = await bed.connect(encrypted=False)
        for at in range(len(header)):
            client.send(header[at : at + 1])
            await bed.has_read()
        await client.start_tls(authority.client_context())
        assert (await client.line()).startswith(b"* OK ")
    assert bed.audit.events[-1].connection is not None
    assert bed.audit.events[-1].connection.client_address == PHONE[0]


@every_version
@on_a_poller
async def test_t16_what_follows_in_the_same_segment_goes_to_tls(authority: Authority, header: bytes) -> None:
    """The header ends at its last octet: the ClientHello behind it is untouched, wherever the two are split."""
    async with behind(authority) as bed:
        for extra in (None, 0, 1, 5, -1, -3):
            client = await bed.connect(encrypted=False)
            tls, incoming, outgoing = client_hello(authority)
            flight = header + outgoing.read()
            at = len(flight) if extra is None else len(header) + extra
            client.send(flight[:at])
            await bed.has_read()
            client.send(flight[at:])
            assert (await handshake(client, tls, incoming, outgoing)).startswith(b"* OK ")
            await client.close()
        await bed.all_ended()
        assert {event.connection.client_address for event in bed.audit.events if event.connection} == {PHONE[0]}


@pytest.mark.parametrize("tls", [TlsMode.OFF, TlsMode.STARTTLS], ids=str)
@on_a_poller
async def test_t16_what_follows_in_the_same_segment_goes_to_the_dialogue(authority: Authority, tls: TlsMode) -> None:
    """A client that talks before the greeting is answered after it."""
    async with behind(authority, tls) as bed:
        client = await bed.connect(encrypted=False)
        client.send(V1 + b"a NOOP\r\n")
        assert (await client.line()).startswith(b"* OK ")
        assert await client.line() == b"a OK Done.\r\n"


@pytest.mark.parametrize("second", [V1, V2, V1[:10]], ids=["v1", "v2", "a part"])
@every_listener
@on_a_poller
async def test_t16_a_second_header_is_garbage(authority: Authority, tls: TlsMode, second: bytes) -> None:
    """Only the load balancer's is read: the phone's own, behind it, ends TLS or is no command; it changes nothing."""
    async with behind(authority, tls) as bed:
        client = await bed.connect(encrypted=False)
        client.send(V1 + second.replace(b"192.0.2.7", b"192.0.2.8") + b"\r\n")
        if tls is TlsMode.IMPLICIT:
            await client.rest()
        else:
            await client.line()
            assert b"BAD" in await client.line()
            await client.close()
        await bed.all_ended()
        assert bed.audit.events[-1].connection is not None
        assert bed.audit.events[-1].connection.client_address == PHONE[0]


@every_version
@every_listener
@pytest.mark.parametrize("networks", [(), ELSEWHERE], ids=["none", "others"])
@on_a_poller
async def test_t16_a_header_from_anybody_else_is_garbage(
    authority: Authority, tls: TlsMode, header: bytes, networks: tuple[object, ...]
) -> None:
    """It breaks TLS, or is no command; its address is used for nothing."""
    bed = Bed(authority, tls=tls)
    bed.load_balancers = networks  # type: ignore[assignment]  # of two kinds
    async with bed:
        client = await bed.connect(encrypted=False)
        client.send(header + b"\r\n")
        if tls is TlsMode.IMPLICIT:
            assert b"* OK" not in await client.rest()
        else:
            await client.line()
            assert b"BAD" in await client.line()
            await client.close()
        await bed.all_ended()
        (event,) = bed.audit.events
        assert event.connection is not None
        assert event.connection.client_address == "127.0.0.1"
        assert event.connection.load_balancer is None


@every_listener
@on_a_poller
async def test_who_is_no_load_balancer_is_served_by_its_own_address(authority: Authority, tls: TlsMode) -> None:
    """On the same listener, without a header."""
    bed = Bed(authority, tls=tls)
    bed.load_balancers = ELSEWHERE
    async with bed:
        client = await bed.greeted()
        assert await client.ask(LOGIN) == OK
    assert bed.codes() == ENDED
    assert bed.audit.events[0].connection is not None
    assert bed.audit.events[0].connection.client_address == "127.0.0.1"


@pytest.mark.parametrize(
    "sent", [b"a LOGIN alice@example.com wonderland\r\n", b"\x16\x03\x01", b"PROXY TCP4 1 2 3 4\r\n"]
)
@every_listener
@on_a_poller
async def test_a_load_balancer_must_introduce(authority: Authority, tls: TlsMode, sent: bytes) -> None:
    """Anything else from its network is closed at once, recorded, and answered with nothing."""
    async with behind(authority, tls) as bed:
        client = await bed.connect(encrypted=False)
        client.send(sent)
        assert await client.rest() == b""
        await bed.all_ended()
        assert bed.audit.events[-1].detail["ended"] == "proxy_header_malformed"
    assert bed.codes() == [CLOSED]


@pytest.mark.parametrize("how", ["closes", "resets", "closes in the midst"])
@on_a_poller
async def test_a_header_that_never_comes_is_recorded(authority: Authority, how: str) -> None:
    """A port check without a header, for one."""
    async with behind(authority) as bed:
        client = await bed.connect(encrypted=False)
        await bed.accepts(1)
        if how == "closes in the midst":
            client.send(V1[:20])
        if how == "resets":
            client.reset()
        else:
            await client.close()
        await bed.all_ended()
        assert bed.audit.events[-1].detail["ended"] == "proxy_header_missing"
    assert bed.codes() == [CLOSED]


@pytest.mark.parametrize(
    "sent", [b"", V1[:-1], V2[:20], V1], ids=["nothing", "most of v1", "some of v2", "no handshake"]
)
@on_a_poller
async def test_t16_the_header_is_part_of_the_handshakes_deadline(authority: Authority, sent: bytes) -> None:
    """A header late in it does not buy more of it, and octets do not move it."""
    async with behind(authority) as bed:
        client = await bed.connect(encrypted=False)
        await bed.accepts(1)
        for _ in range(9):
            bed.clock.advance(1)
            bed.front.tick()
        client.send(sent)
        await bed.has_read()
        bed.clock.advance(0.9)
        bed.front.tick()
        assert len(bed.front.waiting) == 1
        bed.clock.advance(0.2)
        bed.front.tick()
        assert await client.rest() == b""
        assert bed.audit.events[-1].detail["ended"] == "timeout"


@on_a_poller
async def test_shutting_down_ends_who_has_not_been_introduced(authority: Authority) -> None:
    """Without a word: it may be in the midst of anything."""
    async with behind(authority, TlsMode.OFF) as bed:
        client = await bed.connect(encrypted=False)
        await bed.accepts(1)
        bed.front.say_goodbye()
        assert await client.rest() == b""
        assert bed.audit.events[-1].detail["ended"] == "shutting_down"


@on_a_poller
async def test_who_has_not_been_introduced_counts_as_waiting(authority: Authority) -> None:
    """The bound on connections before log-in holds for them too."""
    async with behind(authority, limits=Limits(max_waiting=1)) as bed:
        first = await bed.connect(encrypted=False)
        await bed.accepts(1)
        await bed.connect(encrypted=False)
        assert await first.rest() == b""
        assert bed.audit.events[-1].detail["ended"] == "max_waiting"


# Health checks.


@every_listener
@on_a_poller
async def test_health_checks_are_recorded_together(authority: Authority, tls: TlsMode) -> None:
    """LOCAL: the load balancer's own connection; one record after a while counts all that ended by themselves."""
    async with behind(authority, tls) as bed:
        for _ in range(3):
            client = await bed.connect(encrypted=False)
            client.send(LOCAL)
            if tls is not TlsMode.IMPLICIT:
                assert (await client.line()).startswith(b"* OK")
            await client.close()
        await bed.accepts(3)
        await bed.nobody_waits()
        assert bed.codes() == []
        bed.front.tick()
        bed.clock.advance(FOLD_S + 1)
        bed.front.tick()
        bed.front.tick()
        assert bed.codes() == [CLOSED]
        (event,) = bed.audit.events
        assert (event.count, event.detail["ended"]) == (3, "health_check")
        assert event.connection is not None
        assert event.connection.client_address == "127.0.0.1"
    assert bed.codes() == [CLOSED]


@on_a_poller
async def test_health_checks_are_recorded_before_the_end(authority: Authority) -> None:
    """Shutting down loses none."""
    async with behind(authority, TlsMode.OFF) as bed:
        client = await bed.connect(encrypted=False)
        client.send(LOCAL)
        await client.line()
        await client.close()
        await bed.nobody_waits()
        bed.front.say_goodbye()
        assert [event.count for event in bed.audit.events] == [1]


@on_a_poller
async def test_a_local_connection_that_logs_in_is_one_like_any_other(authority: Authority) -> None:
    """By the load balancer's own address, and with records of its own."""
    async with behind(authority, TlsMode.OFF) as bed:
        client = await greeted(bed, authority, TlsMode.OFF, LOCAL)
        assert b"NO " in await client.ask(b"a LOGIN alice@example.com guess\r\n")
        assert await client.ask(LOGIN.replace(b"a ", b"b ")) == OK.replace(b"a ", b"b ")
        other = await greeted(bed, authority, TlsMode.OFF, LOCAL)
        assert b"NO " in await other.ask(b"a LOGIN alice@example.com guess\r\n")
    assert sorted(bed.codes()) == sorted(
        [*[EventCode.CREDENTIALS_REFUSED] * 2, CLOSED, *ENDED],
    )


@on_a_poller
async def test_a_local_connection_that_outstays_is_recorded(authority: Authority) -> None:
    """Only what ends by itself is a health check."""
    async with behind(authority, TlsMode.OFF) as bed:
        client = await greeted(bed, authority, TlsMode.OFF, LOCAL)
        bed.clock.advance(61)
        bed.front.tick()
        await client.rest()
        assert bed.audit.events[-1].detail["ended"] == "timeout"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.1.2.3", True), ("11.1.2.3", False), ("fd00::1", True), ("fe80::1%eth0", False), ("2001:db8::1", False)],
)
def test_networks_of_both_families_are_told_apart(address: str, *, expected: bool) -> None:
    """An address is in a network of its own family, or in none."""
    assert is_load_balancer(address, ELSEWHERE) is expected
