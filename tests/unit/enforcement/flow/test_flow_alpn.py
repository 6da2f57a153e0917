"""What a client wants to speak, said by ALPN: ours, or it does not get to speak at all."""

import ssl

import pytest

from gatekeeper.net.alpn import preference
from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, Phone, on_a_poller
from testkit.flow_talk import CLOSED, LOGIN, OK, every_listener
from testkit.tls import Authority


def _selecting(bed: Bed) -> None:
    """Let the bed's listener be one for IMAP, as composed."""
    assert bed.front.context is not None
    bed.front.context.set_alpn_protocols(preference("imap"))
    bed.front.alpn = "imap"


def _offering(authority: Authority, *protocols: str) -> ssl.SSLContext:
    context = authority.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


async def _connected(bed: Bed, context: ssl.SSLContext) -> Phone:
    """A phone after its handshake."""
    client = await bed.connect(context=context)
    if bed.front.tls is TlsMode.STARTTLS:
        assert (await client.line()).startswith(b"* OK ")
        assert await client.ask(b"s STARTTLS\r\n") == b"s OK Begin TLS now.\r\n"
        await client.start_tls(context)
    return client


@pytest.mark.parametrize("offered", [("imap",), ("h2", "imap"), ("unheard-of",), ()], ids=str)
@every_listener
@on_a_poller
async def test_our_protocol_or_none_goes_on(authority: Authority, tls: TlsMode, offered: tuple[str, ...]) -> None:
    """Most phones offer nothing."""
    async with Bed(authority, tls=tls) as bed:
        _selecting(bed)
        client = await _connected(bed, _offering(authority, *offered))
        assert (await client.ask(LOGIN)).endswith(OK)


@pytest.mark.parametrize("offered", [("h2", "http/1.1"), ("smtp",)], ids=str)
@every_listener
@on_a_poller
async def test_another_protocol_gets_not_an_octet(authority: Authority, tls: TlsMode, offered: tuple[str, ...]) -> None:
    """A browser that was led here would take our words for an answer (ALPACA); what it sends is not read."""
    async with Bed(authority, tls=tls) as bed:
        _selecting(bed)
        client = await _connected(bed, _offering(authority, *offered))
        client.send(b"POST / HTTP/1.1\r\n\r\n" + LOGIN)
        assert await client.rest() == b""
        await bed.all_ended()
        assert bed.server.conversations == []
    assert bed.codes() == [CLOSED]
    assert bed.audit.events[0].detail["ended"] == "foreign_protocol"
