"""Logging in upstream by ManageSieve: what the mail server says, what we answer, and what comes of it.

A test feeds all that the server says, whole, octet by octet, and in two pieces at every place.
"""

import base64
from dataclasses import dataclass

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.login import (
    MAX_LINE_OCTETS,
    MAX_LINES,
    NEED_DATA,
    Failed,
    Learnt,
    LoggedIn,
    Rejected,
    Send,
    StartTls,
    Step,
)
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from gatekeeper.protocols.sieve.client import SieveLogin
from testkit.gate_fakes import splits

WAYS = ["whole", "octet by octet", "in two"]
OFFER = b'"IMPLEMENTATION" "Dovecot"\r\n"SIEVE" "fileinto"\r\n"SASL" "PLAIN XOAUTH2 OAUTHBEARER"\r\n"VERSION" "1.0"\r\n'
GREETING = OFFER + b'OK "ready."\r\n'
XOAUTH2 = b"user=alice\x01auth=Bearer t\x01\x01"
ERROR = b"eyJzdGF0dXMiOiI0MDEifQ=="
PLAIN = Send(b'AUTHENTICATE "PLAIN" "' + base64.b64encode(b"\0alice\0wonderland") + b'"\r\n')
BEARER = Send(b'AUTHENTICATE "XOAUTH2" "' + base64.b64encode(XOAUTH2) + b'"\r\n')
PROVE = Send(b"UNAUTHENTICATE\r\n")
STAYS = b'NO "Unknown command."\r\n'
OK = b'OK "Welcome."\r\n' + STAYS
WELCOME = LoggedIn("Welcome.")
SECOND = Failed("the mail server offers UNAUTHENTICATE, which would allow a second, unseen log-in")


def password(value: bytes = b"wonderland") -> Credentials:
    return Credentials(mechanism=Mechanism.LOGIN, name="ALICE", secret=Secret(value))


def token(mechanism: Mechanism) -> Credentials:
    return Credentials(mechanism=mechanism, name="alice", secret=Secret(XOAUTH2))


def run(client: SieveLogin, pieces: list[bytes]) -> list[Step]:
    """Feed the pieces, take every step; TLS begins as soon as it is asked for."""
    steps: list[Step] = []
    for piece in pieces:
        client.receive_data(piece)
        while (step := client.next_step()) is not NEED_DATA:
            steps.append(step)
            if isinstance(step, StartTls):
                client.tls_started()
    return steps


PASSWORD = password()
LONG = password(b"w" * 2000)


@dataclass(frozen=True)
class Row:
    """All that the server says, and all the steps."""

    id: str
    said: bytes
    steps: list[Step]
    credentials: Credentials | None = PASSWORD
    starttls: bool = False
    xclient: str | None = None
    trailing: bytes = b""


def failed(reason: str) -> Failed:
    return Failed(reason)


ROWS = [
    Row("password", GREETING + OK, [PLAIN, PROVE, WELCOME]),
    Row("trailing", GREETING + OK + b"x\r\n{", [PLAIN, PROVE, WELCOME], trailing=b"x\r\n{"),
    Row("no text", GREETING + b"OK\r\nNO\r\n", [PLAIN, PROVE, LoggedIn("Logged in.")]),
    Row("any case", b'"sasl" "plain"\r\nok\r\n' + OK.lower(), [PLAIN, PROVE, LoggedIn("welcome.")]),
    Row(
        "literals",
        b'{4}\r\nSASL {5+}\r\nPLAIN\r\n"X" {0}\r\n\r\nOK {9}\r\nhi\r\nthere\r\nOK {8}\r\nWelcome.\r\n' + STAYS,
        [PLAIN, PROVE, WELCOME],
    ),
    Row(
        "codes",
        OFFER + b'OK (X-A "b" 12 ) "hi"\r\nOK (SASL "cnNwYXV0aA==") "Welcome."\r\n' + STAYS,
        [PLAIN, PROVE, WELCOME],
    ),
    Row(
        "text is cleaned",
        GREETING + b"OK {6}\r\na\r\nb\x1b\xc3\r\n" + STAYS,
        [PLAIN, PROVE, LoggedIn("a??b??")],
    ),
    Row(
        "long response",
        GREETING + OK,
        [
            Send(b'AUTHENTICATE "PLAIN" {2676+}\r\n' + base64.b64encode(b"\0alice\0" + b"w" * 2000) + b"\r\n"),
            PROVE,
            WELCOME,
        ],
        LONG,
    ),
    Row("bearer", GREETING + OK, [BEARER, PROVE, WELCOME], token(Mechanism.XOAUTH2)),
    Row(
        "bearer error",
        GREETING + b'"' + ERROR + b'"\r\nNO "no"\r\n',
        [BEARER, Send(b'""\r\n'), Rejected(None, "no", is_temporary=False, challenge=ERROR)],
        token(Mechanism.XOAUTH2),
    ),
    Row(
        "OAUTHBEARER error",
        GREETING + b"{%d}\r\n" % len(ERROR) + ERROR + b'\r\nNO "no"\r\n',
        [
            Send(BEARER.data.replace(b"XOAUTH2", b"OAUTHBEARER")),
            Send(b'"AQ=="\r\n'),
            Rejected(None, "no", is_temporary=False, challenge=ERROR),
        ],
        token(Mechanism.OAUTHBEARER),
    ),
    Row(
        "an error that is not base64 is not told",
        GREETING + b'"ev\\"il"\r\nNO "no"\r\n',
        [BEARER, Send(b'""\r\n'), Rejected(None, "no", is_temporary=False)],
        token(Mechanism.XOAUTH2),
    ),
    Row(
        "a second error",
        GREETING + b'"YQ=="\r\n"YQ=="\r\n',
        [BEARER, Send(b'""\r\n'), failed("the mail server asks what it should not")],
        token(Mechanism.XOAUTH2),
    ),
    Row("asked again", GREETING + b'""\r\n', [PLAIN, failed("the mail server asks what it should not")]),
    Row("wrong", GREETING + b'NO "no"\r\n', [PLAIN, Rejected(None, "no", is_temporary=False)]),
    Row("wrong, no text", GREETING + b"NO\r\n", [PLAIN, Rejected(None, "Authentication failed.", is_temporary=False)]),
    Row(
        "temporary",
        GREETING + b'NO (TryLater) "busy"\r\n',
        [PLAIN, Rejected("TRYLATER", "busy", is_temporary=True)],
    ),
    Row(
        "temporary BYE",
        GREETING + b'BYE (TRYLATER) "busy"\r\n',
        [PLAIN, Rejected("TRYLATER", "busy", is_temporary=True)],
    ),
    Row(
        "transition",
        GREETING + b'NO (TRANSITION-NEEDED) "once"\r\n',
        [PLAIN, Rejected("TRANSITION-NEEDED", "once", is_temporary=False)],
    ),
    Row(
        "too weak",
        GREETING + b'NO (AUTH-TOO-WEAK) "no"\r\n',
        [PLAIN, failed("the mail server refuses our log-ins: AUTH-TOO-WEAK no")],
    ),
    Row(
        "referral",
        GREETING + b'NO (REFERRAL "sieve://evil.example.com") "there"\r\n',
        [PLAIN, failed("the mail server refuses our log-ins: REFERRAL there")],
    ),
    Row(
        "referral, BYE",
        GREETING + b'BYE (REFERRAL "sieve://evil.example.com") "there"\r\n',
        [PLAIN, failed("the mail server says BYE: there")],
    ),
    Row("BYE greeting", b'BYE "full"\r\n', [failed("the mail server says BYE: full")]),
    Row("NO greeting", OFFER + b'NO "no"\r\n', [failed("the mail server does not let us get to the log-in: no")]),
    Row("not offered", b'"SASL" "GSSAPI"\r\nOK\r\n', [failed("the mail server takes no log-in of this kind")]),
    Row("no SASL", b'"SASL" ""\r\nOK\r\n', [failed("the mail server takes no log-in of this kind")]),
    Row(
        "no bearer",
        b'"SASL" "PLAIN"\r\nOK\r\n',
        [failed("the mail server takes no log-in of this kind")],
        token(Mechanism.XOAUTH2),
    ),
    Row("M03-offered", OFFER + b'"UNAUTHENTICATE"\r\nOK\r\n', [SECOND]),
    Row("M03-in a literal", OFFER + b'{14}\r\nunauthenticate "x"\r\nOK\r\n', [SECOND]),
    Row("M03-not offered, carried out", GREETING + b"OK\r\nOK\r\n", [PLAIN, PROVE, SECOND]),
    Row("M03-a strange answer", GREETING + b'OK\r\n"x"\r\n', [PLAIN, PROVE, SECOND]),
    Row(
        "M03-BYE",
        GREETING + b'OK\r\nBYE "What?"\r\n',
        [PLAIN, PROVE, failed("the mail server says BYE: What?")],
    ),
    Row(
        "XCLIENT",
        OFFER + b'"XCLIENT"\r\nOK\r\nOK "Updated"\r\n' + OK,
        [Send(b"XCLIENT ADDR=192.0.2.1\r\n"), PLAIN, PROVE, WELCOME],
        xclient="ADDR=192.0.2.1",
    ),
    Row("XCLIENT not offered", GREETING + OK, [PLAIN, PROVE, WELCOME], xclient="ADDR=192.0.2.1"),
    Row("XCLIENT not asked for", OFFER + b'"XCLIENT"\r\nOK\r\n' + OK, [PLAIN, PROVE, WELCOME]),
    Row(
        "XCLIENT refused",
        OFFER + b'"XCLIENT"\r\nOK\r\nNO "no"\r\n',
        [Send(b"XCLIENT ADDR=192.0.2.1\r\n"), failed("the mail server does not let us get to the log-in: no")],
        xclient="ADDR=192.0.2.1",
    ),
    Row("learnt", GREETING, [Learnt()], None),
    Row("starttls not offered", GREETING, [failed("the mail server does not offer STARTTLS")], starttls=True),
    Row(
        "starttls refused",
        OFFER + b'"STARTTLS"\r\nOK\r\nNO "no"\r\n',
        [Send(b"STARTTLS\r\n"), failed("the mail server does not let us get to the log-in: no")],
        starttls=True,
    ),
    Row("IMAP", b"* OK IMAP4rev1\r\n", [failed("the mail server does not speak ManageSieve")]),
    Row("SMTP", b"220 mx ESMTP\r\n", [failed("the mail server does not speak ManageSieve")]),
    Row("unbalanced", b'OK (X "y"\r\n', [failed("the mail server's response code is malformed")]),
    Row("no code", b'OK () "y"\r\n', [failed("the mail server's response code is malformed")]),
    Row("odd quote", b'"SASL\r\n', [failed("the mail server's response is malformed")]),
    Row("empty line", b"\r\n", [failed("the mail server's response is malformed")]),
    Row("too many strings", b'"a" "b" "c"\r\n', [failed("the mail server's response is malformed")]),
    Row("two texts", b'OK "b" "c"\r\n', [failed("the mail server's response is malformed")]),
    Row("atom for a value", b'"SASL" PLAIN\r\n', [failed("the mail server's response is malformed")]),
    Row("huge literal", b'"a" {65537}\r\n', [failed("the mail server's literal is too large")]),
    Row("absurd literal", b'"a" {%b}\r\n' % (b"9" * 5000), [failed("the mail server's literal is too large")]),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_log_in(row: Row, way: str) -> None:
    """The steps are these, however the octets arrive."""
    for pieces in splits(row.said)[way]:
        client = SieveLogin(row.credentials, name="alice", starttls=row.starttls, xclient=row.xclient)
        assert run(client, pieces) == row.steps
        assert client.trailing_data == row.trailing or not isinstance(row.steps[-1], LoggedIn)


def test_tls_forgets_what_was_offered_before() -> None:
    """T01: the server says it anew, unasked; only then are credentials sent."""
    client = SieveLogin(PASSWORD, name="alice", starttls=True)
    assert run(client, [OFFER, b'"STARTTLS"\r\nOK\r\n']) == [Send(b"STARTTLS\r\n")]
    assert client.offers == frozenset()
    assert run(client, [b'OK "Begin."\r\n']) == [StartTls()]
    assert client.offers == frozenset()
    assert run(client, [b'"SASL" "PLAIN"\r\n']) == []
    assert run(client, [b"OK\r\n", b'OK "Welcome."\r\n', STAYS]) == [PLAIN, PROVE, WELCOME]
    assert client.offers == {"AUTH=PLAIN"}


def test_octets_behind_the_answer_to_starttls_end_it() -> None:
    """Response injection (CVE-2021-33515's class)."""
    client = SieveLogin(PASSWORD, name="alice", starttls=True)
    run(client, [OFFER + b'"STARTTLS"\r\nOK\r\n'])
    assert run(client, [b"OK\r\n" + GREETING]) == [failed("octets behind the STARTTLS answer (response injection)")]


def test_what_is_learnt() -> None:
    """Names in upper case, values as they are, mechanisms one by one; values are one line."""
    client = SieveLogin(None, name="", starttls=False)
    run(client, [b'"Sieve" "fileinto Vacation"\r\n"SASL" "plain LOGIN"\r\n"STARTTLS"\r\n"x" {4}\r\na\r\nb\r\nOK\r\n'])
    assert client.offers == {"SIEVE fileinto Vacation", "AUTH=PLAIN", "AUTH=LOGIN", "STARTTLS", "X a??b"}


def test_nothing_is_learnt_from_half_a_list() -> None:
    """What is offered is known once the list has ended."""
    client = SieveLogin(None, name="", starttls=False)
    run(client, [OFFER])
    assert client.offers == frozenset()


@pytest.mark.parametrize(
    "said",
    [
        b'"x" "' + b"y" * MAX_LINE_OCTETS,
        b'"x" "' + b"y" * MAX_LINE_OCTETS + b'"\r\n',
        b'"x" "y"\r\n' * (MAX_LINES + 1),
        b"".join(b'"x%d" "%b"\r\n' % (number, b"y" * 9000) for number in range(9)),
        b'"x" {60000}\r\n' + b"y" * 60000 + b" {9000}\r\n",
    ],
    ids=["line without end", "long line", "many lines", "much in all", "literals in all"],
)
def test_a_server_that_talks_too_much(said: bytes) -> None:
    """Ends in a fault, whatever way it does it."""
    client = SieveLogin(PASSWORD, name="alice", starttls=False)
    (step,) = run(client, [said])
    assert isinstance(step, Failed)


def test_after_the_end_nothing_is_read() -> None:
    """What follows is the phone's."""
    client = SieveLogin(PASSWORD, name="alice", starttls=False)
    run(client, [GREETING + OK])
    assert run(client, [b"NO\r\n"]) == []
    assert client.trailing_data == b"NO\r\n"
