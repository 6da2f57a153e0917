"""Logging in to an IMAP server for a phone (RFC 9051 §6.2, RFC 4959, RFC 2971).

What holds inside:

* Credentials are sent only after the server said that it takes them (no LOGINDISABLED), and only re-encoded.
* STARTTLS that is configured and not offered, or answered with more than one line, fails; there is no way back to
  plaintext.
* What the server offers after the log-in is known, and asked for where it is not said: by it a session is relayed
  unread, or passes through a screen (`protocols.imap.screen`).
"""

import base64
import re
from collections.abc import Sequence
from enum import Enum, auto

from gatekeeper.protocols.imap.capabilities import spelt
from gatekeeper.protocols.imap.screen import logged_in
from gatekeeper.protocols.login import (
    Failed,
    Learnt,
    LineLogin,
    Rejected,
    Send,
    StartTls,
    Step,
    clean_text,
)
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, upstream_response

_CODE = re.compile(rb"\[([A-Za-z0-9-]+)(?: ([^\]\r\n]*))?\] ?")
_LITERAL = re.compile(rb"\{([0-9]{1,6})\}\Z")
_QUOTABLE = re.compile(rb"[ !#-\[\]-~]{1,512}")
_TEMPORARY = frozenset({"UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "CONTACTADMIN"})
_FORWARDED = _TEMPORARY | {"AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "ALERT", "NOPERM"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{1,4096}")
_UNTAGGED_CAPABILITY = b"* CAPABILITY "


class _State(Enum):
    GREETING = auto()
    CAPABILITY = auto()
    STARTTLS = auto()
    LOGIN = auto()
    LOGGED_IN = auto()


class ImapLogin(LineLogin):
    """One log-in; see `protocols.login.LoginClient`."""

    __slots__ = (
        "_capabilities",
        "_challenge",
        "_credentials",
        "_heard",
        "_id_fields",
        "_kept",
        "_late",
        "_name",
        "_pending",
        "_skip",
        "_starttls",
        "_state",
        "_tag",
        "_words",
    )

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        name: str,
        starttls: bool,
        tag: str,
        id_fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Log in to open the mailbox of `name`, a canonical account (mostly that of the credentials).

        `tag` prefixes our tags and must be unguessable for the phone; `id_fields` tell the server whose connection
        this is (`x-originating-ip` and its kin), when it offers ID. Without credentials: only learn what is offered.
        """
        super().__init__()
        self._credentials = credentials
        self._name = name
        self._starttls = starttls
        self._tag = tag.encode()
        self._id_fields = id_fields
        self._state = _State.GREETING
        self._capabilities: frozenset[str] = frozenset()
        self._heard: frozenset[str] = frozenset()
        """Every capability that the server has named, at any time."""
        self._late: tuple[str, ...] | None = None
        self._pending: list[bytes] = []
        self._challenge = b""
        self._skip = 0
        self._kept = b""
        """What the server says unasked between the log-in and its capabilities, for the phone."""
        self._words = ""

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities before log-in; not what was said before TLS, where that is configured."""
        return frozenset() if self._starttls else self._capabilities

    @property
    def trailing_data(self) -> bytes:
        """What the server sent after its tagged OK."""
        return self._kept + super().trailing_data

    def tls_started(self) -> None:
        """Ask for capabilities anew, under TLS."""
        self._starttls = False
        self._capabilities = frozenset()
        self._state = _State.CAPABILITY
        self._ask(self._tag + b"c CAPABILITY\r\n")

    def _next_line(self) -> bytes | None:
        while self._skip:
            if not self._lines.skip(self._skip):
                return None
            self._skip = 0
        line = self._lines.next_line()
        if line is not None and line.startswith(b"*"):
            literal = _LITERAL.search(line)
            if literal is not None:
                self._skip = int(literal[1])
        return line

    def _line(self, line: bytes) -> Step | None:
        if self._state is _State.GREETING:
            return self._greeting(line)
        if line.startswith(b"* "):
            return self._untagged(line)
        if line.startswith(b"+"):
            return self._continuation(line[1:].strip())
        tag, _, rest = line.partition(b" ")
        if self._state is _State.CAPABILITY and tag == self._tag + b"c":
            return self._ready() if rest[:2].upper() == b"OK" else self._end(Failed("CAPABILITY was refused"))
        if self._state is _State.STARTTLS and tag == self._tag + b"s":
            return self._starttls_answer(rest)
        if self._state is _State.LOGIN and tag == self._tag + b"l":
            return self._result(rest)
        if self._state is _State.LOGGED_IN and tag == self._tag + b"d":
            return self._told(rest)
        return None

    def _greeting(self, line: bytes) -> Step | None:
        upper = line[:10].upper()
        if upper.startswith(b"* PREAUTH"):
            return self._end(Failed("the mail server greets with PREAUTH: nobody's session"))
        if upper.startswith(b"* BYE"):
            return self._end(Failed(f"the mail server says BYE: {clean_text(line[5:], 200)}"))
        if not upper.startswith(b"* OK"):
            return self._end(Failed("the greeting is not IMAP"))
        offered = _offered(line[4:].lstrip())
        self._state = _State.CAPABILITY
        if offered is None:
            return Send(self._tag + b"c CAPABILITY\r\n", bears_credentials=False)
        self._capabilities = spelt(offered)
        self._heard |= self._capabilities
        return self._ready()

    def _untagged(self, line: bytes) -> Step | None:
        if line[:6].upper() == b"* BYE " and self._state is not _State.LOGIN:
            return self._end(Failed(f"the mail server says BYE: {clean_text(line[5:], 200)}"))
        offered: tuple[str, ...] | None = None
        if line[: len(_UNTAGGED_CAPABILITY)].upper() == _UNTAGGED_CAPABILITY:
            offered = tuple(line[len(_UNTAGGED_CAPABILITY) :].decode("ascii", "replace").split())
        elif line[:5].upper() == b"* OK ":
            offered = _offered(line[5:])
        if offered is not None:
            self._heard |= spelt(offered)
            if self._state in (_State.LOGIN, _State.LOGGED_IN):
                self._late = offered
            else:
                self._capabilities = spelt(offered)
        elif self._state is _State.LOGGED_IN and not self._skip:
            self._kept += line + b"\r\n"
        return None

    def _ready(self) -> Step:
        """Capabilities are known: upgrade, or log in."""
        if self._starttls:
            if "STARTTLS" not in self._capabilities:
                return self._end(Failed("the mail server does not offer STARTTLS"))
            self._state = _State.STARTTLS
            return Send(self._tag + b"s STARTTLS\r\n", bears_credentials=False)
        if self._credentials is None:
            return self._end(Learnt())
        command = self._login_command(self._credentials)
        if command is None:
            return self._end(Failed("the mail server takes no log-in of this kind"))
        self._state = _State.LOGIN
        return Send(self._id_command() + command)

    def _starttls_answer(self, rest: bytes) -> Step:
        if rest[:2].upper() != b"OK":
            return self._end(Failed("STARTTLS was refused"))
        if self._lines.rest:
            return self._end(Failed("octets behind the STARTTLS answer (response injection)"))
        return StartTls()

    def _login_command(self, credentials: Credentials) -> bytes | None:
        """The log-in, with what must wait for a continuation in `_pending`."""
        offers = self._capabilities
        mechanism = credentials.mechanism
        prefix = self._tag + b"l "
        response = upstream_response(credentials, self._name)
        name = mechanism.value if mechanism.is_bearer else "PLAIN"
        if f"AUTH={name}" in offers:
            if "SASL-IR" in offers:
                return prefix + b"AUTHENTICATE " + name.encode() + b" " + response + b"\r\n"
            self._pending = [response + b"\r\n"]
            return prefix + b"AUTHENTICATE " + name.encode() + b"\r\n"
        if mechanism.is_bearer or credentials.authzid:
            return None  # LOGIN has no room for a token, or for two names
        secret = credentials.secret.declassify()
        if "LOGINDISABLED" not in offers:
            return self._login(prefix, secret)
        if "AUTH=LOGIN" not in offers:
            return None
        self._pending = [base64.b64encode(part) + b"\r\n" for part in (self._name.encode(), secret)]
        return prefix + b"AUTHENTICATE LOGIN\r\n"

    def _login(self, prefix: bytes, password: bytes) -> bytes:
        """LOGIN with quoted strings where they are safe, else literals that wait for `+`."""
        parts = [prefix + b"LOGIN "]
        for argument, end in ((self._name.encode(), b" "), (password, b"\r\n")):
            if _QUOTABLE.fullmatch(argument):
                parts[-1] += b'"' + argument + b'"' + end
            else:
                parts[-1] += b"{%d}\r\n" % len(argument)
                parts.append(argument + end)
        self._pending = parts[1:]
        return parts[0]

    def _id_command(self) -> bytes:
        if not self._id_fields or "ID" not in self._capabilities:
            return b""
        pairs = " ".join(f'"{key}" "{value}"' for key, value in self._id_fields)
        return self._tag + b"i ID (" + pairs.encode() + b")\r\n"

    def _continuation(self, challenge: bytes) -> Step | None:
        if self._state is not _State.LOGIN:
            return None
        if self._pending:
            return Send(self._pending.pop(0))
        # A bearer mechanism tells its error first and wants an answer before the tagged NO (RFC 7628 §3.2.3).
        mechanism = None if self._credentials is None else self._credentials.mechanism
        if mechanism is not None and mechanism.is_bearer and _BASE64.fullmatch(challenge):
            self._challenge = challenge
        return Send(b"AQ==\r\n" if mechanism is Mechanism.OAUTHBEARER else b"\r\n")

    def _result(self, rest: bytes) -> Step:
        status, _, text = rest.partition(b" ")
        code = _CODE.match(text)
        words = _words(text[code.end() :] if code else text)
        if status.upper() == b"OK":
            self._words = words or "Logged in"
            self._late = _offered(text) or self._late
            if self._late is None:
                self._state = _State.LOGGED_IN
                return Send(self._tag + b"d CAPABILITY\r\n")
            return self._accepted(self._late)
        if status.upper() not in (b"NO", b"BAD"):
            return self._end(Failed("the answer to the log-in is not IMAP"))
        name = code[1].decode().upper() if code else None
        return self._end(
            Rejected(
                name if name in _FORWARDED else None,
                words or "Authentication failed",
                is_temporary=name in _TEMPORARY or status.upper() == b"BAD",
                challenge=self._challenge,
            )
        )

    def _told(self, rest: bytes) -> Step:
        """What it offers once logged in; a server that will not say might offer anything."""
        offered = _offered(rest[len(b"OK ") :]) or self._late
        if offered is None or rest[:2].upper() != b"OK":
            return self._end(Failed("the mail server does not say what it offers after the log-in"))
        return self._accepted(offered)

    def _accepted(self, offered: tuple[str, ...]) -> Step:
        return self._end(logged_in(self._words, offered, self._heard))


def _offered(text: bytes) -> tuple[str, ...] | None:
    """The list of a `[CAPABILITY …]` response code at the start of `text`."""
    code = _CODE.match(text)
    if code is None or code[1].upper() != b"CAPABILITY" or code[2] is None:
        return None
    return tuple(code[2].decode("ascii", "replace").split())


def _words(text: bytes) -> str:
    """The text for people, which must not begin like another response code: nothing filters what it would say."""
    return clean_text(text).lstrip("[ ")
