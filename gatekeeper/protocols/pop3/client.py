"""Logging in to a POP3 server for a phone (RFC 1939, RFC 2449, RFC 2595, RFC 5034; Dovecot's XCLIENT).

What holds inside:

* STLS that is configured and not offered, or answered with more than one line, fails; there is no way back to
  plaintext, and no capability learnt before it is believed.
* Credentials go upstream re-encoded in base64; by USER and PASS only where the server has no other way, and only when
  neither line carries a control octet or is too long for a server to take as one.
* A refusal that is not about the credentials is told as what it is, in the server's cleaned words.
"""

import re
from enum import Enum, auto
from ipaddress import ip_address

from gatekeeper.protocols.login import (
    Failed,
    Learnt,
    LineLogin,
    LoggedIn,
    Rejected,
    Send,
    StartTls,
    Step,
    clean_text,
)
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, upstream_response

MAX_COMMAND_OCTETS = 255
"""RFC 2449 §4, with CRLF; an initial response that would not fit waits for `+` (RFC 5034 §4)."""
MAX_CAPABILITIES = 100
"""Lines of one capability list; servers send about ten."""

_STATUS = re.compile(rb"(\+OK|-ERR)(?: (.*))?", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(rb"\[([A-Za-z0-9/-]{1,32})\] ?")
_CAPABILITY = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,11}(?: [!-~]+)*")  # RFC 2449 §5: a keyword has 12 letters at most
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{1,4096}")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_TEMPORARY = frozenset({"SYS/TEMP", "IN-USE", "LOGIN-DELAY"})
_FORWARDED = _TEMPORARY | {"SYS/PERM"}
"""RFC 2449 §8, RFC 3206. `[AUTH]`, any other code and none at all are about the credentials."""
_PLAINTEXT = frozenset({"USER"})
"""All that a server without CAPA is known to take."""


class _State(Enum):
    GREETING = auto()
    CAPA = auto()
    LIST = auto()
    """Of capabilities."""
    STLS = auto()
    XCLIENT = auto()
    USER = auto()
    LOGIN = auto()


class Pop3Login(LineLogin):
    """One log-in; see `protocols.login.LoginClient`."""

    __slots__ = (
        "_believes_xclient",
        "_challenge",
        "_credentials",
        "_listed",
        "_name",
        "_offers",
        "_pending",
        "_starttls",
        "_state",
        "_xclient",
    )

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        name: str = "",
        starttls: bool,
        client: tuple[str, int] | None = None,
    ) -> None:
        """Log in as `name` (the canonical form of the credentials' name); without credentials only learn the offer.

        `client` is the phone's address and port, told by XCLIENT where the greeting offers that.
        """
        super().__init__()
        self._credentials = credentials
        self._name = name
        self._starttls = starttls
        self._xclient = client
        self._believes_xclient = False
        self._state = _State.GREETING
        self._offers: frozenset[str] = frozenset()
        self._listed: list[bytes] = []
        self._pending: list[bytes] = []
        self._challenge = b""

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities, upper case, `AUTH=` before each SASL mechanism; nothing from before STLS."""
        return frozenset() if self._starttls else self._offers

    def tls_started(self) -> None:
        """Ask for capabilities anew, under TLS."""
        self._starttls = False
        self._offers = frozenset()
        self._state = _State.CAPA
        self._ask(b"CAPA\r\n")

    def _line(self, line: bytes) -> Step | None:
        if self._state is _State.LIST:
            return self._capability(line)
        if self._state is _State.LOGIN and line.partition(b" ")[0] == b"+":
            return self._continuation(line[1:].strip())
        status = _STATUS.fullmatch(line)
        if status is None:
            return self._end(Failed("the mail server's answer is not POP3"))
        text, is_ok = status[2] or b"", status[1].startswith(b"+")
        if self._state in (_State.USER, _State.LOGIN):
            return self._result(text, is_ok=is_ok)
        if self._state is _State.CAPA and not is_ok:
            self._offers = _PLAINTEXT
            return self._ready()
        if not is_ok:
            words = clean_text(text, 200)
            return self._end(Failed(f"the mail server answered `-ERR {words}` to {self._state.name}"))
        return self._went_well(text)

    def _went_well(self, text: bytes) -> Step | None:
        match self._state:
            case _State.GREETING:
                # The greeting is not said again under TLS: this much of it is believed from before. Whoever forges it
                # takes the phone's address away from the mail server's log, or stops the log-in.
                self._believes_xclient = b"[XCLIENT]" in text.upper()
                self._state = _State.CAPA
                return Send(b"CAPA\r\n", bears_credentials=False)
            case _State.CAPA:
                self._state = _State.LIST
                return None
            case _State.STLS:
                if self._lines.rest:
                    return self._end(Failed("octets behind the STLS answer (response injection)"))
                return StartTls()
            case _:
                return self._log_in()

    def _capability(self, line: bytes) -> Step | None:
        if line != b".":
            self._listed.append(line)
            if len(self._listed) > MAX_CAPABILITIES:
                return self._end(Failed("the mail server's list of capabilities is too long"))
            return None
        self._offers = _offered(self._listed)
        self._listed = []
        return self._ready()

    def _ready(self) -> Step:
        """Its offer is known: upgrade, tell the phone's address, or log in."""
        if self._starttls:
            if "STLS" not in self._offers:
                return self._end(Failed("the mail server does not offer STLS"))
            self._state = _State.STLS
            return Send(b"STLS\r\n", bears_credentials=False)
        if self._credentials is None:
            return self._end(Learnt())
        if self._xclient is not None and self._believes_xclient:
            self._state = _State.XCLIENT
            return Send(_xclient_command(*self._xclient), bears_credentials=False)
        return self._log_in()

    def _log_in(self) -> Step:
        command = None if self._credentials is None else self._login_command(self._credentials)
        if command is None:
            return self._end(Failed("the mail server takes no log-in of this kind"))
        return Send(command)

    def _login_command(self, credentials: Credentials) -> bytes | None:
        """The log-in, with what must wait for an answer in `_pending`."""
        mechanism, secret = credentials.mechanism, credentials.secret.declassify()
        self._state = _State.LOGIN
        if mechanism.is_bearer:
            if f"AUTH={mechanism.value}" not in self._offers:
                return None
            return self._with_response(mechanism.value, upstream_response(credentials, self._name))
        if "AUTH=PLAIN" in self._offers:
            return self._with_response("PLAIN", upstream_response(credentials, self._name))
        if credentials.authzid or "USER" not in self._offers:
            return None  # USER has no room for two names
        return self._user_and_pass(secret)

    def _with_response(self, mechanism: str, response: bytes) -> bytes:
        command = b"AUTH " + mechanism.encode("ascii")
        line = command + b" " + response + b"\r\n"
        if len(line) <= MAX_COMMAND_OCTETS:
            return line
        self._pending = [response + b"\r\n"]
        return command + b"\r\n"

    def _user_and_pass(self, password: bytes) -> bytes | None:
        """USER, with PASS pending; None when one of them would not arrive as the line it is."""
        arguments = (self._name.encode(), password)
        user, secret = b"USER " + arguments[0] + b"\r\n", b"PASS " + arguments[1] + b"\r\n"
        if any(map(_CONTROL.search, arguments)) or max(len(user), len(secret)) > MAX_COMMAND_OCTETS:
            return None
        self._state = _State.USER
        self._pending = [secret]
        return user

    def _continuation(self, challenge: bytes) -> Step:
        if self._pending:
            return Send(self._pending.pop(0))
        mechanism = None if self._credentials is None else self._credentials.mechanism
        if mechanism is None or not mechanism.is_bearer or self._challenge:
            return self._end(Failed("the mail server asks for more than its mechanism has"))
        # A bearer mechanism tells its error first and wants an answer before the final reply (RFC 7628 §3.2.3).
        self._challenge = challenge if _BASE64.fullmatch(challenge) else b"e30="  # an empty JSON object
        return Send(b"AQ==\r\n" if mechanism is Mechanism.OAUTHBEARER else b"\r\n")

    def _result(self, text: bytes, *, is_ok: bool) -> Step:
        if is_ok and self._state is _State.USER:
            self._state = _State.LOGIN
            return Send(self._pending.pop(0))
        found = _CODE.match(text)
        # What follows must not begin like another response code: nothing filters what it would say.
        words = clean_text(text[found.end() :] if found else text).lstrip("[ ")
        if is_ok and self._pending:
            return self._end(Failed("the mail server did not wait for the credentials"))
        if is_ok:
            return self._end(LoggedIn(words or "Logged in."))
        code = found[1].decode("ascii").upper() if found else None
        if self._pending and self._state is _State.LOGIN and code not in _TEMPORARY:
            return self._end(Failed("the mail server refuses the mechanism that it offers"))
        return self._end(
            Rejected(
                code if code in _FORWARDED else None,
                words or "Authentication failed.",
                is_temporary=code in _TEMPORARY,
                challenge=self._challenge,
            )
        )


def _xclient_command(address: str, port: int) -> bytes:
    """Tell the phone's address; Dovecot knows it by its `login_trusted_networks` whether to believe us."""
    return f"XCLIENT ADDR={ip_address(address.partition('%')[0])} PORT={port}\r\n".encode("ascii")


def _offered(lines: list[bytes]) -> frozenset[str]:
    """The capabilities of a list; a line that is none is left out, for it would be told to phones."""
    offers: set[str] = set()
    for line in lines:
        capability = " ".join(line.decode("ascii", "replace").upper().split())
        if capability.startswith("SASL "):
            named = capability.split()[1:]
            offers.update(f"AUTH={mechanism}" for mechanism in named if _MECHANISM.fullmatch(mechanism))
        elif _CAPABILITY.fullmatch(capability):
            offers.add(capability)
    return frozenset(offers)
