"""Credentials as SASL carries them: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER and EXTERNAL (RFC 4422, 4616, 7628).

Decoded names and passwords are data: they go upstream only re-encoded, never pasted into a line. A name or password
with control characters is refused here, before policy, log or mail server see it.
"""

import base64
import binascii
import re
from dataclasses import dataclass, replace
from enum import StrEnum

from gatekeeper.domain.secret import Secret

MAX_NAME_OCTETS = 1024
MAX_PASSWORD_OCTETS = 8192  # Dovecot's line limit before log-in; one-time passwords and tokens used as passwords fit
MAX_RESPONSE_OCTETS = 32768
"""Longest base64 response line: RFC 4954 asks for 12,288; bearer tokens of large directories need more."""
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NEVER_IN_A_PASSWORD = re.compile(rb"[\0\r\n]")
_KEY = re.compile(rb"[a-z]+")
"""RFC 7628 §3.1 allows letters; clients write all keys in lower case."""


class Mechanism(StrEnum):
    """How the credentials came."""

    PLAIN = "PLAIN"
    LOGIN = "LOGIN"
    """SASL LOGIN, IMAP's LOGIN command, POP3's USER and PASS: a name and a password."""
    XOAUTH2 = "XOAUTH2"
    OAUTHBEARER = "OAUTHBEARER"
    EXTERNAL = "EXTERNAL"
    """Nothing but, perhaps, whose mailbox to open: the proof is the TLS client certificate (RFC 4422 App. A)."""

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
    """Asks to act as somebody who cannot be named."""


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
    """The authentication identity as the client wrote it; empty with EXTERNAL, where the certificate says it."""
    secret: Secret[bytes]
    """The password; for a bearer mechanism the client's whole response; nothing with EXTERNAL."""
    authzid: str = ""
    """Whose mailbox to open as the client wrote it; empty: the one of `name`. Whether that is allowed is the flow's."""


def decode_base64(line: bytes) -> bytes:
    """Strict base64 (RFC 4648 §4, padded); `=` alone stands for an empty response (RFC 4954 §4)."""
    if line == b"=":
        return b""
    try:
        octets = base64.b64decode(line, validate=True)
    except binascii.Error:
        raise SaslError(Problem.MALFORMED) from None
    if len(line) != (len(octets) + 2) // 3 * 4:  # CPython takes padding where nothing is to be filled up
        raise SaslError(Problem.MALFORMED)
    return octets


def password_credentials(mechanism: Mechanism, name: bytes, password: bytes) -> Credentials:
    """Check a name and a password, from whichever syntax they came."""
    if not name or not password or len(name) > MAX_NAME_OCTETS or len(password) > MAX_PASSWORD_OCTETS:
        raise SaslError(Problem.REFUSED)
    if _CONTROL.search(name) or _NEVER_IN_A_PASSWORD.search(password):
        raise SaslError(Problem.REFUSED)
    return Credentials(mechanism=mechanism, name=_text(name), secret=Secret(password))


def parse_response(mechanism: Mechanism, response: bytes) -> Credentials:
    """The credentials in a client's decoded response, for every mechanism that has one response (all but LOGIN)."""
    if mechanism is Mechanism.EXTERNAL:
        return parse_external(response)
    return parse_bearer(mechanism, response) if mechanism.is_bearer else parse_plain(response)


def parse_plain(response: bytes) -> Credentials:
    """PLAIN: `authzid NUL authcid NUL password` (RFC 4616 §2)."""
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise SaslError(Problem.REFUSED)
    authzid, name, password = parts
    credentials = password_credentials(Mechanism.PLAIN, name, password)
    return replace(credentials, authzid=_authzid(authzid)) if authzid else credentials


def parse_external(response: bytes) -> Credentials:
    """EXTERNAL: an authorization identity, or nothing (RFC 4422 App. A.1)."""
    return Credentials(mechanism=Mechanism.EXTERNAL, name="", secret=Secret(b""), authzid=_authzid(response))


def parse_bearer(mechanism: Mechanism, response: bytes) -> Credentials:
    """XOAUTH2 (`user=…^Aauth=…^A^A`) or OAUTHBEARER (RFC 7628 §3.1); the mail server checks token against user.

    A response in which some mail server could find a second name is malformed.
    """
    if mechanism is Mechanism.XOAUTH2:
        fields = _key_values(response)
        name = fields.get(b"user", b"")
        other_name = b"a"
    else:
        header, separator, rest = response.partition(b"\x01")
        if not separator:
            raise SaslError(Problem.MALFORMED)
        name = _gs2_authzid(header)
        fields = _key_values(rest)
        other_name = b"user"
    if other_name in fields or not fields.get(b"auth", b"").lower().startswith(b"bearer "):
        raise SaslError(Problem.MALFORMED)
    if not name or len(name) > MAX_NAME_OCTETS or any(octet < 0x20 or octet == 0x7F for octet in name):
        raise SaslError(Problem.REFUSED)  # without a name there is nobody to look a device up for
    return Credentials(mechanism=mechanism, name=_text(name), secret=Secret(response))


def upstream_response(credentials: Credentials, account: str) -> bytes:
    """The base64 response that opens the mailbox of `account`, a canonical name: what policy saw is what is opened.

    For a bearer mechanism that is the client's own, with `account` in place of the name; else it is PLAIN's, with an
    authorization identity where `credentials` have one, and are then of somebody else than `account`.
    """
    secret = credentials.secret.declassify()
    if credentials.mechanism.is_bearer:
        return base64.b64encode(_renamed(credentials.mechanism, secret, credentials.name, account))
    if credentials.authzid:
        return plain_response(credentials.name, secret, authzid=account)
    return plain_response(account, secret)


def plain_response(name: str, password: bytes, *, authzid: str = "") -> bytes:
    """The base64 response that logs in upstream with PLAIN."""
    return base64.b64encode(b"\0".join((authzid.encode(), name.encode(), password)))


def _renamed(mechanism: Mechanism, response: bytes, name: str, account: str) -> bytes:
    """A bearer mechanism's response that passed `parse_bearer`, with another name in it."""
    if name == account:
        return response
    if mechanism is Mechanism.OAUTHBEARER:
        escaped = account.replace("=", "=3D").replace(",", "=2C")
        header, _, rest = response.partition(b"\x01")
        return header.partition(b",")[0] + b",a=" + escaped.encode() + b",\x01" + rest
    pairs = response.split(b"\x01")
    return b"\x01".join(b"user=" + account.encode() if pair.startswith(b"user=") else pair for pair in pairs)


def _authzid(octets: bytes) -> str:
    if len(octets) > MAX_NAME_OCTETS or any(octet < 0x20 or octet == 0x7F for octet in octets):
        raise SaslError(Problem.AUTHZID)
    return _text(octets)


def _key_values(response: bytes) -> dict[bytes, bytes]:
    if not response.endswith(b"\x01\x01") or b"\0" in response:  # where a server in C may stop reading
        raise SaslError(Problem.MALFORMED)
    fields: dict[bytes, bytes] = {}
    for pair in response[:-2].split(b"\x01"):
        key, separator, value = pair.partition(b"=")
        if not separator or key in fields or not _KEY.fullmatch(key):
            # A second `auth` or `user` would let policy and mail server each take another one. So would `User` where
            # the mail server does not mind case.
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
