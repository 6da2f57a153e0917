"""Credentials as SASL carries them: PLAIN, LOGIN, XOAUTH2 and OAUTHBEARER (RFC 4422, 4616, 7628).

Decoded names and passwords are data: they go upstream only re-encoded, never pasted into a line. A name or password
with control characters is refused here, before policy, log or mail server see it.
"""

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum

from gatekeeper.domain.secret import Secret

MAX_NAME_OCTETS = 1024
MAX_PASSWORD_OCTETS = 8192  # Dovecot's line limit before log-in; one-time passwords and tokens used as passwords fit
MAX_RESPONSE_OCTETS = 32768
"""Longest base64 response line: RFC 4954 asks for 12,288; bearer tokens of large directories need more."""


class Mechanism(StrEnum):
    """How the credentials came."""

    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    """SASL LOGIN, IMAP's LOGIN command, POP3's USER and PASS: a name and a password."""
    XOAUTH2 = "XOAUTH2"
    OAUTHBEARER = "OAUTHBEARER"

    @property
    def is_bearer(self) -> bool:
        """Whether the mail server judges a token instead of a password."""
        return self in (Mechanism.XOAUTH2, Mechanism.OAUTHBEARER)


class Problem(StrEnum):
    """Why a response cannot be used; each front has its own reply for each."""

    MALFORMED = "malformed"
    """Not what the mechanism's grammar allows: the client is broken."""
    REFUSED = "refused"
    """Well-formed, but no such credentials can exist: answered like a wrong password."""
    AUTHZID = "authzid"
    """Asks to act as somebody else."""


class SaslError(Exception):
    """A response was refused before anybody else saw it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who says to be whom, and with what proof."""

    mechanism: Mechanism
    name: str
    """The authentication identity as the client wrote it."""
    secret: Secret[bytes]
    """The password; for a bearer mechanism the client's whole response, passed on as it is."""


def decode_base64(line: bytes) -> bytes:
    """Strict base64 (RFC 4648 §4, padded); `=` alone stands for an empty response (RFC 4954 §4)."""
    if line == b"=":
        return b""
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise SaslError(Problem.MALFORMED) from None


def password_credentials(mechanism: Mechanism, name: bytes, password: bytes) -> Credentials:
    """Check a name and a password, from whichever syntax they came."""
    if not name or not password or len(name) > MAX_NAME_OCTETS or len(password) > MAX_PASSWORD_OCTETS:
        raise SaslError(Problem.REFUSED)
    if any(octet < 0x20 or octet == 0x7F for octet in name) or any(octet in b"\0\r\n" for octet in password):
        raise SaslError(Problem.REFUSED)
    return Credentials(mechanism=mechanism, name=_text(name), secret=Secret(password))


def parse_plain(response: bytes) -> Credentials:
    """PLAIN: `authzid NUL authcid NUL password` (RFC 4616 §2)."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise SaslError(Problem.REFUSED)
    authzid, name, password = parts
    credentials = password_credentials(Mechanism.PLAIN, name, password)
    if authzid and _text(authzid).lower() != credentials.name.lower():
        raise SaslError(Problem.AUTHZID)
    return credentials


def parse_bearer(mechanism: Mechanism, response: bytes) -> Credentials:
    """XOAUTH2 (`user=…^Aauth=…^A^A`) or OAUTHBEARER (RFC 7628 §3.1); the mail server checks token against user."""
    if mechanism is Mechanism.XOAUTH2:
        fields = _key_values(response)
        name = fields.get(b"user", b"")
    else:
        header, separator, rest = response.partition(b"\x01")
        if not separator:
            raise SaslError(Problem.MALFORMED)
        name = _gs2_authzid(header)
        fields = _key_values(rest)
    if not fields.get(b"auth", b"").lower().startswith(b"bearer "):
        raise SaslError(Problem.MALFORMED)
    if not name or len(name) > MAX_NAME_OCTETS or any(octet < 0x20 or octet == 0x7F for octet in name):
        raise SaslError(Problem.REFUSED)  # without a name there is nobody to look a device up for
    return Credentials(mechanism=mechanism, name=_text(name), secret=Secret(response))


def plain_response(name: str, password: bytes) -> bytes:
    """The base64 response that logs in upstream with PLAIN."""
    return base64.b64encode(b"\0" + name.encode() + b"\0" + password)


def _key_values(response: bytes) -> dict[bytes, bytes]:
    if not response.endswith(b"\x01\x01"):
        raise SaslError(Problem.MALFORMED)
    fields: dict[bytes, bytes] = {}
    for pair in response[:-2].split(b"\x01"):
        key, separator, value = pair.partition(b"=")
        if not separator or key in fields:
            # A second `auth` or `user` would let policy and mail server each take another one.
            raise SaslError(Problem.MALFORMED)
        fields[key] = value
    return fields


def _gs2_authzid(header: bytes) -> bytes:
    """`n,a=alice,` without channel binding (RFC 5801 §4); only =2C and =3D are escapes."""
    flag, _, rest = header.partition(b",")
    authzid, comma, end = rest.partition(b",")
    if flag not in (b"n", b"y") or not comma or end or not (authzid == b"" or authzid.startswith(b"a=")):
        raise SaslError(Problem.MALFORMED)
    name = authzid[2:]
    if b"=" in name.replace(b"=2C", b"").replace(b"=3D", b""):
        raise SaslError(Problem.MALFORMED)
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise SaslError(Problem.REFUSED) from None
