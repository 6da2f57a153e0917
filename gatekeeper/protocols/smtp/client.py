"""Logging in to a submission server for a phone (RFC 5321, RFC 3207, RFC 4954; Postfix's XCLIENT).

What holds inside:

* STARTTLS that is configured and not offered, or answered with more than one reply, fails; there is no way back to
  plaintext, and nothing learnt before it is believed.
* Credentials go upstream only re-encoded in base64, XCLIENT's values only as an address and a number.
* After the log-in nothing is sent: what follows is the phone's.
"""

import base64
import re
from enum import Enum, auto
from ipaddress import IPv6Address, ip_address

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

MAX_REPLY_LINES = 128
"""Of one reply; Dovecot's limit for what its submission proxy reads."""
MAX_REPLY_LINE_OCTETS = 2048
"""RFC 5321 asks for 512."""
MAX_CHALLENGE_OCTETS = 16384
"""Of a line during AUTH: RFC 4954 §4 lets a challenge have 12,288."""
MAX_COMMAND_OCTETS = 512
"""RFC 5321 §4.5.3.1.4; an initial response that would not fit waits for 334 (RFC 4954 §4)."""

_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")  # RFC 4422 §3.1
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*(?: [!-~]+)*")
_DOMAIN = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LITERAL = re.compile(r"\[[A-Za-z0-9.:-]{2,64}\]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_OURS = frozenset({500, 501, 502, 503, 504, 530, 538})
"""Refusals that are about how we asked, not about the credentials."""


class _State(Enum):
    GREETING = auto()
    EHLO = auto()
    STARTTLS = auto()
    XCLIENT = auto()
    AUTH = auto()


class SmtpLogin(LineLogin):
    """One log-in; see `protocols.login.LoginClient`."""

    __slots__ = (
        "_challenge",
        "_credentials",
        "_ehlo",
        "_name",
        "_offers",
        "_pending",
        "_reply",
        "_shuts_out",
        "_starttls",
        "_state",
        "_told_address",
        "_xclient",
    )

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        name: str = "",
        starttls: bool,
        ehlo_name: str,
        client: tuple[str, int] | None = None,
        forbids_second_login: bool = False,
    ) -> None:
        """Log in to open the mailbox of `name`, a canonical account; without credentials only learn the offer.

        `client` is the phone's address and port, told by XCLIENT where that is offered. With `forbids_second_login` a
        server fails that would let the phone leave the account it logged in to: by XCLIENT, or by STARTTLS in the
        clear, after which it may send AUTH again, unseen.
        """
        super().__init__()
        self._credentials = credentials
        self._name = name
        self._starttls = starttls
        self._ehlo = b"EHLO " + ehlo_name.encode("ascii") + b"\r\n"
        self._xclient = client
        self._told_address = False
        self._shuts_out = forbids_second_login
        self._state = _State.GREETING
        self._reply: list[bytes] = []
        """The texts of a reply that has more lines to come."""
        self._offers: frozenset[str] = frozenset()
        self._pending: list[bytes] = []
        self._challenge = b""

    @property
    def offers(self) -> frozenset[str]:
        """EHLO keywords with parameters, upper case, `AUTH=` before each mechanism; nothing from before STARTTLS."""
        return frozenset() if self._starttls else self._offers

    def tls_started(self) -> None:
        """Say EHLO anew, under TLS."""
        self._starttls = False
        self._offers = frozenset()
        self._state = _State.EHLO
        self._ask(self._ehlo)

    def _line(self, line: bytes) -> Step | None:
        """Collect the lines of one reply (RFC 5321 §4.2.1)."""
        parsed = _REPLY.fullmatch(line)
        if parsed is None:
            return self._end(Failed("the mail server's reply is not SMTP"))
        limit = MAX_CHALLENGE_OCTETS if self._state is _State.AUTH else MAX_REPLY_LINE_OCTETS
        if len(line) > limit or len(self._reply) >= MAX_REPLY_LINES:
            return self._end(Failed("the mail server's reply is too long"))
        self._reply.append(line)
        if self._reply[0][:3] != line[:3]:
            return self._end(Failed("the mail server's reply has more than one code"))
        if parsed[2] == b"-":
            return None
        texts = [part[4:] for part in self._reply]
        self._reply = []
        return self._replied(int(parsed[1]), texts)

    def _replied(self, code: int, texts: list[bytes]) -> Step:
        match self._state:
            case _State.GREETING if code == 220:
                return self._hello()
            case _State.EHLO if code == 250:
                self._offers = _offered(texts[1:])
                return self._ready()
            case _State.STARTTLS if code == 220:
                if self._lines.rest or len(texts) > 1:
                    return self._end(Failed("octets behind the STARTTLS answer (response injection)"))
                return StartTls()
            case _State.XCLIENT if code == 220:
                return self._hello()
            case _State.AUTH:
                return self._continue(texts[-1]) if code == 334 else self._result(code, texts[-1])
            case _:
                words = f"{code} {clean_text(texts[-1], 200)}"
                return self._end(Failed(f"the mail server answered `{words}` to {self._state.name}"))

    def _hello(self) -> Step:
        self._state = _State.EHLO
        return Send(self._ehlo, bears_credentials=False)

    def _ready(self) -> Step:
        """Its offer is known: upgrade, tell the phone's address, or log in."""
        if self._starttls:
            if "STARTTLS" not in self._offers:
                return self._end(Failed("the mail server does not offer STARTTLS"))
            self._state = _State.STARTTLS
            return Send(b"STARTTLS\r\n", bears_credentials=False)
        xclient = self._xclient_command()
        if xclient is not None:
            self._state = _State.XCLIENT
            self._told_address = True
            return Send(xclient, bears_credentials=False)
        if self._shuts_out:
            # After our own XCLIENT the server judges by the phone's address, which it does not trust (or it is Dovecot,
            # which goes on offering XCLIENT and refuses it once logged in).
            names = ("STARTTLS",) if self._told_address else ("STARTTLS", "XCLIENT")
            ways = [way for way in names if self._parameters(way) is not None]
            if ways:
                return self._end(Failed(f"the mail server offers {ways[0]}, which allows a second, unseen log-in"))
        if self._credentials is None:
            return self._end(Learnt())
        command = self._login_command(self._credentials)
        if command is None:
            return self._end(Failed("the mail server takes no log-in of this kind"))
        self._state = _State.AUTH
        return Send(command)

    def _parameters(self, keyword: str) -> list[str] | None:
        """What stands behind a keyword of the offer; None when it is not offered."""
        for offer in self._offers:
            word, *parameters = offer.split(" ")
            if word == keyword:
                return parameters
        return None

    def _xclient_command(self) -> bytes | None:
        """Tell the phone's address, once; the name goes too, for the server may trust us by ours."""
        client, self._xclient = self._xclient, None
        attributes = self._parameters("XCLIENT")
        if client is None or attributes is None or "ADDR" not in attributes:
            return None
        values = {"NAME": "[UNAVAILABLE]", "PORT": str(client[1]), "ADDR": _xclient_address(client[0])}
        told = " ".join(f"{name}={value}" for name, value in values.items() if name in attributes)
        return f"XCLIENT {told}\r\n".encode("ascii")

    def _login_command(self, credentials: Credentials) -> bytes | None:
        """AUTH, with what must wait for a 334 in `_pending`."""
        mechanism, secret = credentials.mechanism, credentials.secret.declassify()
        if mechanism.is_bearer:
            if f"AUTH={mechanism.value}" not in self._offers:
                return None
            return self._with_response(mechanism.value, upstream_response(credentials, self._name))
        if "AUTH=PLAIN" in self._offers:
            return self._with_response("PLAIN", upstream_response(credentials, self._name))
        if "AUTH=LOGIN" in self._offers and not credentials.authzid:  # all that Exchange offers; no room for two names
            self._pending = [base64.b64encode(part) + b"\r\n" for part in (self._name.encode(), secret)]
            return b"AUTH LOGIN\r\n"
        return None

    def _with_response(self, mechanism: str, response: bytes) -> bytes:
        command = b"AUTH " + mechanism.encode("ascii")
        line = command + b" " + response + b"\r\n"
        if len(line) <= MAX_COMMAND_OCTETS:
            return line
        self._pending = [response + b"\r\n"]
        return command + b"\r\n"

    def _continue(self, challenge: bytes) -> Step:
        if self._pending:
            return Send(self._pending.pop(0))
        mechanism = None if self._credentials is None else self._credentials.mechanism
        if mechanism is None or not mechanism.is_bearer or self._challenge:
            return self._end(Failed("the mail server asks for more than its mechanism has"))
        # A bearer mechanism tells its error first and wants an answer before the final reply (RFC 7628 §3.2.3).
        self._challenge = challenge if _BASE64.fullmatch(challenge) else b"e30="  # an empty JSON object
        return Send(b"AQ==\r\n" if mechanism is Mechanism.OAUTHBEARER else b"\r\n")

    def _result(self, code: int, text: bytes) -> Step:
        enhanced = _ENHANCED.match(text)
        words = clean_text(text[enhanced.end() :] if enhanced else text)
        if code == 235:
            return self._end(LoggedIn(words or "Authentication successful"))
        if code < 400 or code in _OURS:
            return self._end(Failed(f"the mail server answered `{code} {words[:200]}` to AUTH"))
        return self._end(
            Rejected(
                f"{code} {enhanced[1].decode('ascii')}" if enhanced else str(code),
                words or "Authentication failed",
                is_temporary=code < 500,
                challenge=self._challenge,
            )
        )


def ehlo_name(claimed: str, address: str) -> str:
    """The name to say EHLO with for a phone: its own, or its address where its own cannot be one (RFC 5321 §4.1.3)."""
    if _DOMAIN.fullmatch(claimed) or _LITERAL.fullmatch(claimed):
        return claimed
    found = ip_address(address)
    return f"[IPv6:{_without_zone(found)}]" if isinstance(found, IPv6Address) else f"[{found}]"


def _xclient_address(address: str) -> str:
    found = ip_address(address)
    return f"IPV6:{_without_zone(found)}" if isinstance(found, IPv6Address) else str(found)


def _without_zone(address: IPv6Address) -> str:
    return str(address).partition("%")[0]


def _offered(texts: list[bytes]) -> frozenset[str]:
    """The keywords of an EHLO reply; a line that is none is left out, for it would be told to phones."""
    offers: set[str] = set()
    for text in texts:
        line = " ".join(text.decode("ascii", "replace").upper().split())
        if line.startswith(("AUTH ", "AUTH=")):  # the second form is of servers older than RFC 2554
            offers.update(f"AUTH={mechanism}" for mechanism in line[5:].split() if _MECHANISM.fullmatch(mechanism))
        elif _KEYWORD.fullmatch(line):
            offers.add(line)
    return frozenset(offers)
