"""Logging in upstream: what the mail server says, what we answer, and what comes of it.

A test feeds all that the server says, whole, octet by octet, and in two pieces at every place. A server that is not
asked does not wait, which is the same to the client: it reads no further than its own state allows.
"""

import base64
from dataclasses import dataclass

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.imap.client import ImapLogin
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
from testkit.gate_fakes import splits

WAYS = ["whole", "octet by octet", "in two"]
GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n"
LITERAL_GREETING = b"* OK [CAPABILITY IMAP4rev1] ready\r\n"
XOAUTH2 = b"user=alice\x01auth=Bearer t\x01\x01"
ERROR = b"eyJzdGF0dXMiOiI0MDEifQ=="
PLAIN_COMMAND = b"Tl AUTHENTICATE PLAIN " + base64.b64encode(b"\0alice\0wonderland") + b"\r\n"


def password(value: bytes = b"wonderland", mechanism: Mechanism = Mechanism.LOGIN) -> Credentials:
    return Credentials(mechanism=mechanism, name="ALICE", secret=Secret(value))


def token(mechanism: Mechanism = Mechanism.XOAUTH2) -> Credentials:
    return Credentials(mechanism=mechanism, name="alice", secret=Secret(XOAUTH2))


def login(
    credentials: Credentials | None, *, starttls: bool = False, id_fields: tuple[tuple[str, str], ...] = ()
) -> ImapLogin:
    return ImapLogin(credentials, name="alice", starttls=starttls, tag="T", id_fields=id_fields)


def run(client: ImapLogin, pieces: list[bytes]) -> list[Step]:
    """Feed the pieces, take every step; TLS begins as soon as it is asked for."""
    steps: list[Step] = []
    for piece in pieces:
        client.receive_data(piece)
        while (step := client.next_step()) is not NEED_DATA:
            steps.append(step)
            if isinstance(step, StartTls):
                client.tls_started()
    return steps


def sends(*lines: bytes) -> list[Step]:
    return [Send(line) for line in lines]


OK = b"Tl OK [CAPABILITY IMAP4rev1 IDLE] hi\r\n"
WELCOME = LoggedIn("hi", ("IMAP4rev1", "IDLE"))


PASSWORD = password()


@dataclass(frozen=True)
class Row:
    """All that the server says, and all the steps."""

    id: str
    said: bytes
    steps: list[Step]
    credentials: Credentials | None = PASSWORD
    starttls: bool = False
    trailing: bytes = b""


COMMANDS = [
    Row("I01-own-tag", GREETING + OK, [*sends(PLAIN_COMMAND), WELCOME]),
    Row(
        "trailing",
        GREETING + OK + b"* 1 EXISTS\r\n* x",
        [*sends(PLAIN_COMMAND), WELCOME],
        trailing=b"* 1 EXISTS\r\n* x",
    ),
    Row("other-tags", GREETING + b"Tx OK a\r\na OK b\r\nT OK c\r\n" + OK, [*sends(PLAIN_COMMAND), WELCOME]),
    Row(
        "no-initial-response",
        b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n+ \r\n" + OK,
        [*sends(b"Tl AUTHENTICATE PLAIN\r\n", base64.b64encode(b"\0alice\0wonderland") + b"\r\n"), WELCOME],
    ),
    Row("login", LITERAL_GREETING + OK, [*sends(b'Tl LOGIN "alice" "wonderland"\r\n'), WELCOME]),
    Row(
        "I09-literal",
        LITERAL_GREETING + b"+ go on\r\n" + OK,
        [*sends(b'Tl LOGIN "alice" {5}\r\n', b"p\xc3\xa4ss\r\n"), WELCOME],
        password(b"p\xc3\xa4ss"),
    ),
    Row(
        "I02-backslash",
        LITERAL_GREETING + b"+\r\n" + OK,
        [*sends(b'Tl LOGIN "alice" {4}\r\n', b'p\\"w\r\n'), WELCOME],
        password(b'p\\"w'),
    ),
    Row(
        "capabilities-asked",
        b"* OK hi\r\n* CAPABILITY IMAP4rev1 auth=plain sasl-ir\r\nTc OK\r\n" + OK,
        [*sends(b"Tc CAPABILITY\r\n", PLAIN_COMMAND), WELCOME],
    ),
    Row(
        "capabilities-refused",
        b"* OK hi\r\nTc BAD\r\n",
        [*sends(b"Tc CAPABILITY\r\n"), Failed("CAPABILITY was refused")],
    ),
    Row(
        "login-disabled",
        b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n",
        [Failed("the mail server takes no log-in of this kind")],
    ),
    Row(
        "login-only-by-sasl",
        b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=LOGIN] hi\r\n+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n" + OK,
        [*sends(b"Tl AUTHENTICATE LOGIN\r\n", b"YWxpY2U=\r\n", b"d29uZGVybGFuZA==\r\n"), WELCOME],
    ),
    Row("no-bearer", GREETING, [Failed("the mail server takes no log-in of this kind")], token()),
    Row("learns", GREETING, [Learnt()], None),
    Row("literal-in-an-untagged-line", GREETING + b"* X {4}\r\nTl O (y)\r\n" + OK, [*sends(PLAIN_COMMAND), WELCOME]),
    Row(
        "O01-error",
        b"* OK [CAPABILITY SASL-IR AUTH=XOAUTH2] hi\r\n+ " + ERROR + b"\r\nTl NO [AUTHENTICATIONFAILED] no\r\n",
        [
            *sends(b"Tl AUTHENTICATE XOAUTH2 " + base64.b64encode(XOAUTH2) + b"\r\n", b"\r\n"),
            Rejected(None, "no", is_temporary=False, challenge=ERROR),
        ],
        token(),
    ),
    Row(
        "O09-error",
        b"* OK [CAPABILITY SASL-IR AUTH=OAUTHBEARER] hi\r\n+ " + ERROR + b"\r\nTl NO no\r\n",
        [
            *sends(b"Tl AUTHENTICATE OAUTHBEARER " + base64.b64encode(XOAUTH2) + b"\r\n", b"AQ==\r\n"),
            Rejected(None, "no", is_temporary=False, challenge=ERROR),
        ],
        token(Mechanism.OAUTHBEARER),
    ),
    Row(
        "O01-error-is-no-base64",
        b"* OK [CAPABILITY SASL-IR AUTH=XOAUTH2] hi\r\n+ \x1b]0;x\x07\r\nTl NO no\r\n",
        [
            *sends(b"Tl AUTHENTICATE XOAUTH2 " + base64.b64encode(XOAUTH2) + b"\r\n", b"\r\n"),
            Rejected(None, "no", is_temporary=False),
        ],
        token(),
    ),
    Row(
        "a-challenge-to-plain-is-not-passed-on",
        GREETING + b"+ " + ERROR + b"\r\nTl NO no\r\n",
        [*sends(PLAIN_COMMAND, b"\r\n"), Rejected(None, "no", is_temporary=False)],
    ),
]

PREAUTH = Failed("the mail server greets with PREAUTH: nobody's session")
INJECTED = Failed("octets behind the STARTTLS answer (response injection)")
TLS_GREETING = b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"
STARTTLS = Send(b"Ts STARTTLS\r\n")

GREETINGS = [
    Row("U01", b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n", [PREAUTH]),
    Row("U01-other-case", b"* PreAuth hi\r\n" + OK, [PREAUTH]),
    Row("U01-bye", b"* BYE go \x1baway\r\n", [Failed("the mail server says BYE: go ?away")]),
    Row(
        "U01-bye-later",
        b"* OK hi\r\n* BYE gone\r\n",
        [*sends(b"Tc CAPABILITY\r\n"), Failed("the mail server says BYE: gone")],
    ),
    Row("U01-not-imap", b"220 mail ESMTP\r\n", [Failed("the greeting is not IMAP")]),
    Row(
        "U03",
        b"* OK Waiting for authentication process to respond..\r\n"
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\nTc OK\r\n" + OK,
        [*sends(b"Tc CAPABILITY\r\n", PLAIN_COMMAND), WELCOME],
    ),
    Row(
        "I72",
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN Unauthenticate] hi\r\n" + OK,
        [*sends(PLAIN_COMMAND), WELCOME],
    ),
    Row(
        "U06-answered",
        TLS_GREETING + b"Ts OK begin\r\n",
        [STARTTLS, StartTls(), Send(b"Tc CAPABILITY\r\n")],
        starttls=True,
    ),
    Row("U06-missing", GREETING, [Failed("the mail server does not offer STARTTLS")], starttls=True),
    Row("U06-no", TLS_GREETING + b"Ts NO\r\n" + OK, [STARTTLS, Failed("STARTTLS was refused")], starttls=True),
]

U09 = b"IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED LOGIN-REFERRALS MAILBOX-REFERRALS PROXYAUTH XYZ"
KEPT = ("IMAP4rev1", "XYZ")


def answered(id_: str, answer: bytes, step: Step, before: bytes = b"") -> Row:
    return Row(id_, GREETING + before + answer + b"\r\n", [*sends(PLAIN_COMMAND), step])


def silent(id_: str, answer: bytes, step: Step, after: bytes = b"* CAPABILITY A C\r\nTd OK\r\n") -> Row:
    """A row of a server that does not say by itself what it offers after the log-in."""
    asked = sends(PLAIN_COMMAND, b"Td CAPABILITY\r\n")
    return Row(id_, GREETING + answer + b"\r\n" + after, [*asked, step])


NOT_SAID = Failed("the mail server does not say what it offers after the log-in")


ANSWERS = [
    answered("U09", b"Tl OK [CAPABILITY " + U09 + b"] hi", LoggedIn("hi", KEPT)),
    answered("U09-untagged", b"Tl OK hi", LoggedIn("hi", KEPT), b"* CAPABILITY " + U09 + b"\r\n"),
    answered("U09-untagged-ok", b"Tl OK hi", LoggedIn("hi", KEPT), b"* OK [CAPABILITY " + U09 + b"] x\r\n"),
    silent("U09-none", b"Tl OK hi", LoggedIn("hi", ("A", "C"))),
    silent("U09-no-words", b"Tl OK", LoggedIn("Logged in", ("A", "C"))),
    silent("U09-asked", b"Tl OK hi", LoggedIn("hi", KEPT), b"* CAPABILITY " + U09 + b"\r\nTd OK\r\n"),
    silent("I72-asked-code", b"Tl OK hi", LoggedIn("hi", ("A",)), b"Td OK [CAPABILITY UNAUTHENTICATE A] done\r\n"),
    silent("I72-asked-in-vain", b"Tl OK hi", NOT_SAID, b"Td OK\r\n"),
    silent("I72-asked-refused", b"Tl OK hi", NOT_SAID, b"* CAPABILITY A\r\nTd NO\r\n"),
    Row(
        "U09-unauthenticate-asked",
        GREETING + b"Tl OK hi\r\n* CAPABILITY IMAP4rev1 UNAUTHENTICATE\r\nTd OK\r\n",
        [*sends(PLAIN_COMMAND, b"Td CAPABILITY\r\n"), LoggedIn("hi", ("IMAP4rev1",))],
    ),
    Row(
        "U09-what-is-said-meanwhile-is-kept",
        GREETING + b"Tl OK hi\r\n* OK [ALERT] disk\r\n* CAPABILITY A C\r\nTd OK\r\n* 1 EXISTS\r\n",
        [*sends(PLAIN_COMMAND, b"Td CAPABILITY\r\n"), LoggedIn("hi", ("A", "C"))],
        trailing=b"* OK [ALERT] disk\r\n* 1 EXISTS\r\n",
    ),
    answered("U09-unauthenticate", b"Tl OK [CAPABILITY A UNAUTHENTICATE] hi", LoggedIn("hi", ("A",))),
    answered("U09-unauthenticate-untagged", b"Tl OK hi", LoggedIn("hi", ()), b"* CAPABILITY UNAUTHENTICATE\r\n"),
    silent("U09-second-code", b"Tl OK [X-Y] [CAPABILITY STARTTLS] hi", LoggedIn("CAPABILITY STARTTLS] hi", ("A", "C"))),
    silent("U09-unreadable-code", b"Tl OK [CAPABILITY A\rB] hi", LoggedIn("CAPABILITY A?B] hi", ("A", "C"))),
    answered("U10-capability", b"Tl OK [CAPABILITY A \x1bB \xc3\xa4 C] hi", LoggedIn("hi", ("A", "C"))),
    answered("U10-bracket", b"Tl OK hi", LoggedIn("hi", ("A", "C")), b"* CAPABILITY A B] C\r\n"),
    answered("U07", b"Tl NO [REFERRAL imap://alice@evil/] x", Rejected(None, "x", is_temporary=False)),
    silent("U07-ok", b"Tl OK [REFERRAL imap://alice@evil/] x", LoggedIn("x", ("A", "C"))),
    answered(
        "U10",
        b"Tl NO [ALERT] account \x1b]0;x\x07 expired",
        Rejected("ALERT", "account ?]0;x? expired", is_temporary=False),
    ),
    answered("U10-nul", b"Tl NO [EXPIRED] a\0b\rc", Rejected("EXPIRED", "a?b?c", is_temporary=False)),
    answered("U10-silent", b"Tl NO", Rejected(None, "Authentication failed", is_temporary=False)),
    answered("I73-unknown", b"Tl NO [AUTHENTICATIONFAILED] x", Rejected(None, "x", is_temporary=False)),
    *(
        answered(f"temporary-{code}", b"Tl NO [" + code.encode() + b"] x", Rejected(code, "x", is_temporary=True))
        for code in ("UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "CONTACTADMIN")
    ),
    answered("bad-is-no-wrong-password", b"Tl BAD what", Rejected(None, "what", is_temporary=True)),
    answered("nonsense-is-no-wrong-password", b"Tl WHAT", Failed("the answer to the log-in is not IMAP")),
]

ROWS = [*COMMANDS, *GREETINGS, *ANSWERS]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_what_is_said_to_the_mail_server(row: Row, way: str) -> None:
    """The steps are the same however the server's octets are cut."""
    for pieces in splits(row.said)[way]:
        client = login(row.credentials, starttls=row.starttls)

        assert run(client, pieces) == row.steps
        if row.trailing:
            assert client.trailing_data == row.trailing


@pytest.mark.parametrize("id_", ["U04"])
def test_octets_behind_the_starttls_answer_end_it(id_: str) -> None:
    """What came in the same piece as the answer was not encrypted and is not used."""
    said = TLS_GREETING + b"Ts OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTl OK x\r\n"

    assert run(login(password(), starttls=True), [said]) == [STARTTLS, INJECTED]


def test_what_was_said_before_tls_is_forgotten() -> None:
    """Capabilities from before TLS are neither used nor told to anybody."""
    client = login(password(), starttls=True)

    steps = run(client, [b"* OK [CAPABILITY STARTTLS AUTH=PLAIN SASL-IR] hi\r\n"])
    assert steps == [STARTTLS]
    assert client.offers == frozenset()

    steps = run(client, [b"Ts OK go\r\n", b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTc OK\r\n"])
    assert steps[-1] == Failed("the mail server takes no log-in of this kind")
    assert client.offers == {"IMAP4REV1", "LOGINDISABLED"}


def test_a_server_that_says_starttls_again_under_tls_is_not_asked_again() -> None:
    """TLS begins once."""
    steps = run(login(password(), starttls=True), [TLS_GREETING, b"Ts OK\r\n", b"* CAPABILITY STARTTLS\r\nTc OK\r\n"])

    assert steps == [STARTTLS, StartTls(), *sends(b"Tc CAPABILITY\r\n", b'Tl LOGIN "alice" "wonderland"\r\n')]


@pytest.mark.parametrize(
    ("id_", "said"),
    [
        ("U12-line", b"* OK " + b"A" * (1 << 20)),
        ("U12-complete-line", b"* OK " + b"A" * MAX_LINE_OCTETS + b"\r\n"),
        ("U12-lines", GREETING + b"* 1 EXISTS\r\n" * 100_000),
        ("U12-literals", GREETING + b"* X {0}\r\n" * MAX_LINES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_talkative_server_is_given_up(id_: str, said: bytes) -> None:
    """Lines and their number are bounded."""
    steps = run(login(password()), [said[at : at + 65536] for at in range(0, len(said), 65536)])

    assert isinstance(steps[-1], Failed)
    assert sum(isinstance(step, Failed) for step in steps) == 1


def test_id_tells_whose_connection_it_is() -> None:
    """ID goes out with the log-in where it is offered, and its answer changes nothing."""
    said = b"* OK [CAPABILITY SASL-IR AUTH=PLAIN ID] hi\r\n* ID NIL\r\nTi OK\r\n" + OK
    steps = run(login(password(), id_fields=(("x-originating-ip", "192.0.2.1"), ("x-session-id", "s"))), [said])

    assert steps == [
        Send(b'Ti ID ("x-originating-ip" "192.0.2.1" "x-session-id" "s")\r\n' + PLAIN_COMMAND),
        WELCOME,
    ]
    assert run(login(password(), id_fields=(("x-session-id", "s"),)), [GREETING]) == sends(PLAIN_COMMAND)


def test_the_end_is_the_end() -> None:
    """After its last step a log-in does nothing, whatever it hears."""
    client = login(password())
    assert run(client, [GREETING, OK])[-1] == WELCOME
    assert run(client, [OK, b"* BYE\r\n"]) == []


@pytest.mark.parametrize(
    ("greeting", "steps"),
    [
        (GREETING, sends(b"Tl AUTHENTICATE PLAIN " + base64.b64encode(b"alice\0helper\0w") + b"\r\n")),
        (LITERAL_GREETING, [Failed("the mail server takes no log-in of this kind")]),
    ],
    ids=["PLAIN", "LOGIN-only"],
)
def test_two_names_need_plain(greeting: bytes, steps: list[Step]) -> None:
    """LOGIN has room for one: the delegate's password never goes out under the other's name."""
    acting = Credentials(mechanism=Mechanism.PLAIN, name="helper", secret=Secret(b"w"), authzid="alice")
    assert run(login(acting), [greeting]) == steps
