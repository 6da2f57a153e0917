"""Laws of what the gate says to an IMAP server: it parses back as what was meant.

Derandomized: the same examples on every run. What holds for any octets is in `test_wire_properties`.
"""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.imap.server import Command, LiteralExpected, Receiver, Response
from gatekeeper.protocols.login import Send
from gatekeeper.protocols.sasl.mechanisms import (
    MAX_RESPONSE_OCTETS,
    Credentials,
    Mechanism,
    decode_base64,
    parse_plain,
)

LAW = settings(max_examples=300, deadline=None, derandomize=True)

NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60)
PASSWORDS = st.binary(min_size=1, max_size=600).filter(lambda octets: not set(octets) & set(b"\0\r\n"))
SERVERS = {
    "LOGIN": b"* OK [CAPABILITY IMAP4rev1] hi\r\n",
    "PLAIN-IR": b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n",
    "PLAIN": b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
}
_ANNOUNCED = re.compile(rb"\{([0-9]+)\}\r\n\Z")


def understood(response: bytes) -> tuple[str, bytes]:
    credentials = parse_plain(decode_base64(response))
    return credentials.name, credentials.secret.declassify()


def heard(server: str, name: str, password: bytes) -> tuple[str, bytes]:
    """Log in at our own receiver; returns the name and password that it understood."""
    client = ImapLogin(
        Credentials(mechanism=Mechanism.LOGIN, name=name, secret=Secret(password)), name=name, starttls=False, tag="T"
    )
    receiver = Receiver()
    client.receive_data(SERVERS[server])
    literal = 0
    while True:
        step = client.next_step()
        assert isinstance(step, Send)
        line = step.data[literal:]
        assert not set(line.removesuffix(b"\r\n")) & set(b"\r\n\0"), "a line is one line"
        announced = _ANNOUNCED.search(line)
        literal = int(announced[1]) if announced else 0
        receiver.receive_data(step.data)
        event = receiver.next_event()
        match event:
            case LiteralExpected():
                client.receive_data(b"+ go on\r\n")
            case Command(_, b"LOGIN", (bytes(found), bytes(secret))):
                return found.decode(), secret
            case Command(_, b"AUTHENTICATE", (mechanism, bytes(response))):
                assert mechanism == b"PLAIN"
                return understood(response)
            case Command(_, b"AUTHENTICATE", _):
                receiver.expect_response(MAX_RESPONSE_OCTETS)
                client.receive_data(b"+ \r\n")
            case Response(response):
                return understood(response)
            case _:
                raise AssertionError(event)


@LAW
@given(NAMES, PASSWORDS)
def test_what_we_send_upstream_parses_back(name: str, password: bytes) -> None:
    """LOGIN with quoted strings and literals, and PLAIN in both ways, mean the same name and password."""
    for server in SERVERS:
        assert heard(server, name, password) == (name, password)


@LAW
@given(
    st.text(st.sampled_from('ab\\" {}()*%+\x7fé'), min_size=1, max_size=12),
    st.text('\\"{1}+ x\t', min_size=1, max_size=12),
)
def test_syntax_in_names_and_passwords_parses_back(name: str, password: str) -> None:
    """Quotes, backslashes and what looks like a literal are data."""
    for server in SERVERS:
        if "\x7f" not in name or server == "LOGIN":
            assert heard(server, name, password.encode()) == (name, password.encode())
