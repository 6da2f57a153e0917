"""ALPN on listeners (RFC 7301): a client that wants another protocol than ours does not get to speak to us.

A browser that is led to a mail port (ALPACA, 2021) says `h2` and `http/1.1`. Python's server side only selects a
protocol and never refuses (bpo-30714): where nothing fits the handshake goes on without one, and nobody is told what
was offered. So every registered name is on the list, ours first. OpenSSL selects by that order, hence another's only
where ours was not offered; then the connection ends before a single octet of application data.

What that cannot see: a name that nobody has registered goes on as if nothing had been offered.
"""

FOREIGN = (
    "http/0.9", "http/1.0", "http/1.1", "h2", "h2c", "h3", "spdy/1", "spdy/2", "spdy/3", "webrtc", "c-webrtc",
    "stun.turn", "stun.nat-discovery", "ftp", "imap", "pop3", "managesieve", "smtp", "coap", "co", "xmpp-client",
    "xmpp-server", "acme-tls/1", "mqtt", "dot", "doq", "ntske/1", "sunrpc", "smb", "irc", "nntp", "nnsp", "sip/2",
    "tds/8.0", "dicom", "postgresql", "radius/1.0", "radius/1.1",
)  # fmt: skip
"""IANA's registry "TLS ALPN Protocol IDs", and `smtp`, which is not in it: nginx's mail proxy uses that name."""


def preference(own: str) -> list[str]:
    """What a listener that speaks `own` selects from: that, then what it refuses."""
    return [own, *(name for name in FOREIGN if name != own)]


def is_foreign(selected: str | None, own: str) -> bool:
    """Whether a finished handshake selected what we do not speak; None: nothing registered was offered."""
    return selected is not None and selected != own
