"""Logging in to a ManageSieve server for a phone (RFC 5804 §2.1, §2.2; Pigeonhole's XCLIENT).

What holds inside:

* Credentials are sent only by a mechanism that the server offers, and only re-encoded.
* STARTTLS that is configured and not offered, or answered with more than its own response, fails; there is no way back
  to plaintext, and what was offered before TLS is forgotten.
* A server that offers UNAUTHENTICATE, or carries it out without offering it, is not used: after it a second log-in
  would travel through the relay unseen (RFC 5804 §2.14.1).
* Referrals are never followed, and never told.
"""

import re
from enum import Enum, auto

from gatekeeper.protocols.login import (
    MAX_LINE_OCTETS,
    NEED_DATA,
    Failed,
    Learnt,
    LoggedIn,
    NeedData,
    Rejected,
    Send,
    StartTls,
    Step,
    clean_text,
)
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, upstream_response
from gatekeeper.protocols.sieve.responses import Response, ResponseBuffer
from gatekeeper.protocols.sieve.strings import from_client

_NAME = re.compile(rb"[!-~]{1,64}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{1,4096}")
_FORWARDED = frozenset({"TRANSITION-NEEDED"})
"""What a person can do something about."""
_OURS = frozenset({"AUTH-TOO-WEAK", "ENCRYPT-NEEDED", "REFERRAL"})
"""About our connection to the server, not about the phone's: the operator's matter."""
_SECOND_LOGIN = "the mail server offers UNAUTHENTICATE, which would allow a second, unseen log-in"


class _State(Enum):
    CAPABILITIES = auto()
    """In the greeting, and again under TLS."""
    STARTTLS = auto()
    UPGRADING = auto()
    XCLIENT = auto()
    LOGIN = auto()
    PROVING = auto()
    """Logged in; whether it could be undone is not known yet."""
    DONE = auto()


class SieveLogin:
    """One log-in; see `protocols.login.LoginClient`."""

    __slots__ = (
        "_capabilities",
        "_challenge",
        "_credentials",
        "_name",
        "_octets",
        "_responses",
        "_starttls",
        "_state",
        "_text",
        "_xclient",
    )

    def __init__(
        self, credentials: Credentials | None, *, name: str, starttls: bool, xclient: str | None = None
    ) -> None:
        """Log in as `name` (the canonical form of the credentials' name).

        `xclient` are the arguments of an XCLIENT command, sent where the server offers it. Without credentials: only
        learn what is offered.
        """
        self._credentials = credentials
        self._name = name
        self._starttls = starttls
        self._xclient = xclient
        self._responses = ResponseBuffer()
        self._state = _State.CAPABILITIES
        self._capabilities: dict[str, str] = {}
        """Names in upper case with their values, which keep theirs: names of Sieve extensions are used as they are."""
        self._octets = 0
        self._challenge: bytes | None = None
        self._text = ""

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities before log-in, `NAME` or `NAME value`, with mechanisms as `AUTH=NAME`; none from before TLS."""
        if self._starttls or self._state is _State.CAPABILITIES:
            return frozenset()
        named = {f"{name} {value}" if value else name for name, value in self._capabilities.items() if name != "SASL"}
        return frozenset(named | {f"AUTH={name}" for name in self._mechanisms()})

    @property
    def trailing_data(self) -> bytes:
        """What the server sent behind its last answer."""
        return self._responses.rest

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server."""
        self._responses.receive_data(data)

    def tls_started(self) -> None:
        """The server now sends its capabilities anew, unasked (RFC 5804 §2.2)."""
        self._starttls = False
        self._capabilities = {}
        self._octets = 0
        self._state = _State.CAPABILITIES

    def next_step(self) -> Step | NeedData:
        """The next thing to do; see `LoginClient`."""
        while self._state not in (_State.DONE, _State.UPGRADING):
            try:
                response = self._responses.next_response()
            except (OverflowError, ValueError) as error:
                return self._end(Failed(str(error)))
            if response is None:
                return NEED_DATA
            step = self._response(response)
            if step is not None:
                return step
        return NEED_DATA

    def _response(self, response: Response) -> Step | None:
        if response.status == b"BYE":
            return self._bye(response)
        accepted = response.status == b"OK"
        match self._state:
            case _State.CAPABILITIES if not response.status:
                return self._capability(response)
            case _State.CAPABILITIES if accepted:
                return self._ready()
            case _State.STARTTLS if accepted:
                return self._begin_tls()
            case _State.XCLIENT if accepted:
                return self._log_in()
            case _State.LOGIN:
                return self._result(response) if response.status else self._challenged(response)
            case _State.PROVING:
                stays = response.status == b"NO"
                return self._end(LoggedIn(self._text or "Logged in.") if stays else Failed(_SECOND_LOGIN))
        return self._end(Failed(f"the mail server does not let us get to the log-in: {_words(response)}"))

    def _bye(self, response: Response) -> Step:
        if self._state is _State.LOGIN and response.code == "TRYLATER":
            return self._result(response)
        return self._end(Failed(f"the mail server says BYE: {_words(response)}"))

    def _capability(self, response: Response) -> Step | None:
        self._octets += sum(map(len, response.strings))
        if self._octets > MAX_LINE_OCTETS:
            return self._end(Failed("the mail server offers too much"))
        name, *value = response.strings
        if _NAME.fullmatch(name):
            self._capabilities[name.decode("ascii").upper()] = _value(value[0]) if value else ""
        return None

    def _ready(self) -> Step:
        """Capabilities are known: upgrade, or log in."""
        if "UNAUTHENTICATE" in self._capabilities:
            return self._end(Failed(_SECOND_LOGIN))
        if self._starttls:
            if "STARTTLS" not in self._capabilities:
                return self._end(Failed("the mail server does not offer STARTTLS"))
            self._state = _State.STARTTLS
            return Send(b"STARTTLS\r\n", bears_credentials=False)
        if self._xclient is not None and "XCLIENT" in self._capabilities:
            self._state = _State.XCLIENT
            return Send(b"XCLIENT " + self._xclient.encode("ascii") + b"\r\n", bears_credentials=False)
        return self._log_in()

    def _begin_tls(self) -> Step:
        if self._responses.rest:
            return self._end(Failed("octets behind the STARTTLS answer (response injection)"))
        self._state = _State.UPGRADING
        return StartTls()

    def _log_in(self) -> Step:
        credentials = self._credentials
        if credentials is None:
            return self._end(Learnt())
        mechanism = credentials.mechanism if credentials.mechanism.is_bearer else Mechanism.PLAIN
        name = mechanism.value
        response = upstream_response(credentials, self._name)
        if name not in self._mechanisms():
            return self._end(Failed("the mail server takes no log-in of this kind"))
        self._state = _State.LOGIN
        return Send(b'AUTHENTICATE "' + name.encode() + b'" ' + from_client(response) + b"\r\n")

    def _challenged(self, response: Response) -> Step:
        """A bearer mechanism tells its error first and wants an answer before the NO (RFC 7628 §3.2.3)."""
        mechanism = None if self._credentials is None else self._credentials.mechanism
        if mechanism is None or not mechanism.is_bearer or self._challenge is not None or len(response.strings) != 1:
            return self._end(Failed("the mail server asks what it should not"))
        self._challenge = response.strings[0] if _BASE64.fullmatch(response.strings[0]) else b""
        return Send(b'"AQ=="\r\n' if mechanism is Mechanism.OAUTHBEARER else b'""\r\n')

    def _result(self, response: Response) -> Step:
        if response.status == b"OK":
            # Servers that carry UNAUTHENTICATE out do not all offer it. One that says NO is still logged in.
            self._text = _words(response)
            self._state = _State.PROVING
            return Send(b"UNAUTHENTICATE\r\n")
        code, words = response.code, _words(response)
        if code in _OURS:
            return self._end(Failed(f"the mail server refuses our log-ins: {code} {words}"))
        temporary = code == "TRYLATER"
        return self._end(
            Rejected(
                code if temporary or code in _FORWARDED else None,
                words or "Authentication failed.",
                is_temporary=temporary,
                challenge=self._challenge or b"",
            )
        )

    def _mechanisms(self) -> list[str]:
        return self._capabilities.get("SASL", "").upper().split()

    def _end(self, step: Step) -> Step:
        self._state = _State.DONE
        return step


def _words(response: Response) -> str:
    return clean_text(b" ".join(response.strings))


def _value(octets: bytes) -> str:
    """A capability's value: one line, as it may be offered again."""
    return "".join(letter if letter.isprintable() else "?" for letter in octets.decode("utf-8", "replace"))
