"""The log-in at a POP3 server, against scripted servers, at every split of what they say."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, NeedData, Rejected, Send, StartTls, Step
from gatekeeper.protocols.pop3.client import MAX_CAPABILITIES, MAX_COMMAND_OCTETS, Pop3Login
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism

GREETING = b"+OK ready <1896.697170952@mail.example.com>\r\n"
TRUSTING = b"+OK [XCLIENT] Dovecot ready.\r\n"
CAPA = Send(b"CAPA\r\n")
STLS = Send(b"STLS\r\n")
PASSWORD = "wonderland"
AUTH_PLAIN = Send(b"AUTH PLAIN " + base64.b64encode(b"\0alice\0wonderland") + b"\r\n")
LONG = "p" * 400
BEARER = b"user=alice\x01auth=Bearer t0ken\x01\x01"
ERROR = base64.b64encode(b'{"status":"400"}')
NO_WAY = Failed("the mail server takes no log-in of this kind")

Turn = bytes | Step
"""What the server says, or what the client must do before the server says more."""


def offer(*lines: bytes) -> bytes:
    """Return an answer to CAPA."""
    return b"+OK list follows\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n"


def password(secret: str = PASSWORD) -> Credentials:
    """Return a name and a password."""
    return Credentials(mechanism=Mechanism.LOGIN, name="ALICE", secret=Secret(secret.encode()))


def bearer(mechanism: Mechanism) -> Credentials:
    """Return a token."""
    return Credentials(mechanism=mechanism, name="alice", secret=Secret(BEARER))


@dataclass
class Script:
    """One log-in: what the server says and the client does, and how it ends."""

    turns: list[Turn]
    end: Step
    credentials: Credentials | None = field(default_factory=password)
    name: str = "alice"
    starttls: bool = False
    client: tuple[str, int] | None = None
    rest: bytes = b""
    """What the server sent behind its last word."""

    def client_for(self) -> Pop3Login:
        """Return a new client."""
        return Pop3Login(self.credentials, name=self.name, starttls=self.starttls, client=self.client)

    def play(self, cut: int | None) -> Pop3Login:
        """Play it with every server turn cut after `cut` octets, or into single octets."""
        client = self.client_for()
        steps: list[Step] = []
        expected: list[Step] = [turn for turn in self.turns if not isinstance(turn, bytes)]
        for turn in self.turns:
            if not isinstance(turn, bytes):
                continue
            assert steps == expected[: len(steps)]
            for piece in pieces(turn, cut):
                client.receive_data(piece)
                steps += taken(client)
        assert steps == [*expected, self.end]
        assert isinstance(client.next_step(), NeedData)
        return client


def pieces(data: bytes, cut: int | None) -> list[bytes]:
    """Cut `data`."""
    if cut is None:
        return [data[at : at + 1] for at in range(len(data))]
    return [piece for piece in (data[:cut], data[cut:]) if piece]


def taken(client: Pop3Login) -> Iterator[Step]:
    """Take steps until the client needs data; TLS starts at once."""
    while not isinstance(step := client.next_step(), NeedData):
        yield step
        if isinstance(step, StartTls):
            client.tls_started()


SCRIPTS = {
    "plain": Script(
        [GREETING, CAPA, offer(b"TOP", b"USER", b"SASL PLAIN LOGIN"), AUTH_PLAIN, b"+OK Welcome.\r\n"],
        LoggedIn("Welcome."),
    ),
    "no text, mail behind the end": Script(
        [b"+OK\r\n", CAPA, offer(b"sasl plain"), AUTH_PLAIN, b"+ok\r\n+OK 2 320\r\n"],
        LoggedIn("Logged in."),
        rest=b"+OK 2 320\r\n",
    ),
    "a response too long for a command": Script(
        [
            GREETING,
            CAPA,
            offer(b"SASL PLAIN"),
            Send(b"AUTH PLAIN\r\n"),
            b"+ \r\n",
            Send(base64.b64encode(b"\0alice\0" + LONG.encode()) + b"\r\n"),
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        credentials=password(LONG),
    ),
    "USER and PASS": Script(
        [
            GREETING,
            CAPA,
            offer(b"USER", b"SASL CRAM-MD5"),
            Send(b"USER alice\r\n"),
            b"+OK\r\n",
            Send(b"PASS  two words \xc3\xa4 \r\n"),
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        credentials=password(" two words ä "),
    ),
    "a server without CAPA": Script(
        [
            GREETING,
            CAPA,
            b"-ERR what\r\n",
            Send(b"USER alice\r\n"),
            b"+OK send PASS\r\n",
            Send(b"PASS wonderland\r\n"),
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
    ),
    "stls": Script(
        [
            GREETING,
            CAPA,
            offer(b"STLS", b"SASL CRAM-MD5", b"EXPIRE 1"),
            STLS,
            b"+OK go\r\n",
            StartTls(),
            CAPA,
            offer(b"SASL PLAIN"),
            AUTH_PLAIN,
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        starttls=True,
    ),
    "xclient": Script(
        [
            TRUSTING,
            CAPA,
            offer(b"SASL PLAIN"),
            Send(b"XCLIENT ADDR=192.0.2.7 PORT=4711\r\n"),
            b"+OK Updated\r\n",
            AUTH_PLAIN,
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        client=("192.0.2.7", 4711),
    ),
    "xclient over stls, IPv6": Script(
        [
            TRUSTING,
            CAPA,
            offer(b"STLS"),
            STLS,
            b"+OK go\r\n",
            StartTls(),
            CAPA,
            offer(b"SASL PLAIN"),
            Send(b"XCLIENT ADDR=fe80::7 PORT=4711\r\n"),
            b"+OK Updated\r\n",
            AUTH_PLAIN,
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        starttls=True,
        client=("fe80::7%eth0", 4711),
    ),
    "xclient not offered": Script(
        [GREETING, CAPA, offer(b"SASL PLAIN"), AUTH_PLAIN, b"+OK in\r\n"], LoggedIn("in"), client=("192.0.2.7", 4711)
    ),
    "xclient offered, not to be told": Script(
        [TRUSTING, CAPA, offer(b"SASL PLAIN"), AUTH_PLAIN, b"+OK in\r\n"], LoggedIn("in")
    ),
    "token": Script(
        [
            GREETING,
            CAPA,
            offer(b"SASL PLAIN XOAUTH2"),
            Send(b"AUTH XOAUTH2 " + base64.b64encode(BEARER) + b"\r\n"),
            b"+OK in\r\n",
        ],
        LoggedIn("in"),
        credentials=bearer(Mechanism.XOAUTH2),
    ),
    "token refused": Script(
        [
            GREETING,
            CAPA,
            offer(b"SASL PLAIN XOAUTH2"),
            Send(b"AUTH XOAUTH2 " + base64.b64encode(BEARER) + b"\r\n"),
            b"+ " + ERROR + b"\r\n",
            Send(b"\r\n"),
            b"-ERR [AUTH] never\r\n",
        ],
        Rejected(None, "never", is_temporary=False, challenge=ERROR),
        credentials=bearer(Mechanism.XOAUTH2),
    ),
    "oauthbearer refused, with a challenge that is not base64": Script(
        [
            GREETING,
            CAPA,
            offer(b"SASL OAUTHBEARER"),
            Send(b"AUTH OAUTHBEARER " + base64.b64encode(BEARER) + b"\r\n"),
            b"+ \x1b[2J\r\n",
            Send(b"AQ==\r\n"),
            b"-ERR no\r\n",
        ],
        Rejected(None, "no", is_temporary=False, challenge=b"e30="),
        credentials=bearer(Mechanism.OAUTHBEARER),
    ),
    "a token is never sent as something else": Script(
        [GREETING, CAPA, offer(b"USER", b"SASL PLAIN OAUTHBEARER")], NO_WAY, credentials=bearer(Mechanism.XOAUTH2)
    ),
    "only asked": Script([TRUSTING, CAPA, offer(b"SASL PLAIN")], Learnt(), credentials=None, client=("192.0.2.7", 1)),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_log_ins_at_every_split(script: Script) -> None:
    """The same steps come out wherever the server's octets are cut, and what follows the end is kept."""
    longest = max(len(turn) for turn in script.turns if isinstance(turn, bytes))
    for cut in [None, *range(longest)]:
        assert script.play(cut).trailing_data == script.rest


ANSWERS = {
    b"-ERR [AUTH] no such user\r\n": Rejected(None, "no such user", is_temporary=False),
    b"-ERR no\r\n": Rejected(None, "no", is_temporary=False),
    b"-ERR\r\n": Rejected(None, "Authentication failed.", is_temporary=False),
    b"-ERR [X-ODD] no\r\n": Rejected(None, "no", is_temporary=False),
    b"-err [sys/temp] later\r\n": Rejected("SYS/TEMP", "later", is_temporary=True),
    b"-ERR [IN-USE] locked \x07\xfc\r\n": Rejected("IN-USE", "locked ??", is_temporary=True),
    b"-ERR [LOGIN-DELAY] wait\r\n": Rejected("LOGIN-DELAY", "wait", is_temporary=True),
    b"-ERR [SYS/PERM] disabled\r\n": Rejected("SYS/PERM", "disabled", is_temporary=False),
    b"-ERR [SYS/TEMP] [AUTH] later\r\n": Rejected("SYS/TEMP", "AUTH] later", is_temporary=True),
    b"+ more\r\n": Failed("the mail server asks for more than its mechanism has"),
    b"235 2.7.0 fine\r\n": Failed("the mail server's answer is not POP3"),
    b"+OKAY\r\n": Failed("the mail server's answer is not POP3"),
    b"+OK\r[XCLIENT]\r\n": Failed("the mail server's answer is not POP3"),
}


@pytest.mark.parametrize(("answer", "end"), ANSWERS.items())
def test_answers_to_the_log_in(answer: bytes, end: Step) -> None:
    """Refusals of credentials, faults that pass, and faults that are ours are told apart."""
    script = Script([GREETING, CAPA, offer(b"SASL PLAIN"), AUTH_PLAIN, answer], end)
    script.play(len(answer))
    script.play(None)


@pytest.mark.parametrize("answer", [b"-ERR [AUTH] no\r\n", b"-ERR nobody\r\n"])
def test_a_name_may_be_refused_at_user(answer: bytes) -> None:
    """Some servers know already then; it is told like a wrong password, and PASS is not sent."""
    end = Rejected(None, answer.decode().split(maxsplit=1)[1].removeprefix("[AUTH] ").strip(), is_temporary=False)
    Script([GREETING, CAPA, offer(b"USER"), Send(b"USER alice\r\n"), answer], end).play(None)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"-ERR what\r\n", Failed("the mail server refuses the mechanism that it offers")),
        (b"+OK in\r\n", Failed("the mail server did not wait for the credentials")),
        (b"-ERR [SYS/TEMP] later\r\n", Rejected("SYS/TEMP", "later", is_temporary=True)),
    ],
)
def test_credentials_that_were_never_sent_were_not_judged(answer: bytes, end: Step) -> None:
    """An answer to the bare AUTH lets nobody in and calls no password wrong."""
    turns: list[Turn] = [GREETING, CAPA, offer(b"SASL PLAIN"), Send(b"AUTH PLAIN\r\n"), answer]
    Script(turns, end, credentials=password(LONG)).play(None)


def test_a_bearer_mechanism_has_one_error() -> None:
    """A second challenge is none of its exchange."""
    turns: list[Turn] = [
        *(GREETING, CAPA, offer(b"SASL XOAUTH2"), Send(b"AUTH XOAUTH2 " + base64.b64encode(BEARER) + b"\r\n")),
        *(b"+ " + ERROR + b"\r\n", Send(b"\r\n"), b"+ " + ERROR + b"\r\n"),
    ]
    end = Failed("the mail server asks for more than its mechanism has")
    Script(turns, end, credentials=bearer(Mechanism.XOAUTH2)).play(None)


FAILURES = {
    "-ERR in place of a greeting": [b"-ERR [SYS/TEMP] full\r\n"],
    "not POP3": [b"* OK IMAP4rev1\r\n"],
    "no log-in": [GREETING, CAPA, offer(b"TOP")],
    "no log-in of this kind": [GREETING, CAPA, offer(b"SASL GSSAPI CRAM-MD5")],
    "too many capabilities": [GREETING, CAPA, b"+OK\r\n" + b"X\r\n" * (MAX_CAPABILITIES + 1)],
    "a line without end": [b"+OK " + b"x" * 70_000],
    "NUL": [b"\0\r\n"],
}


@pytest.mark.parametrize("turns", FAILURES.values(), ids=FAILURES)
def test_what_is_no_log_in_fails(turns: list[Turn]) -> None:
    """A server that offers none, or talks nonsense or too much, fails; credentials were not sent."""
    client = Script([], Learnt()).client_for()
    steps: list[Step] = []
    for turn in turns:
        if isinstance(turn, bytes):
            client.receive_data(turn)
            steps += taken(client)

    assert isinstance(steps[-1], Failed)
    assert steps[:-1] == [turn for turn in turns if not isinstance(turn, bytes)]


STLS_FAILURES = {
    "not offered": offer(b"SASL PLAIN", b"USER"),
    "no CAPA": b"-ERR what\r\n",
    "refused": offer(b"STLS", b"SASL PLAIN") + b"-ERR no\r\n",
    "response injection": offer(b"STLS") + b"+OK go\r\n+OK\r\nUSER\r\n.\r\n",
    "half an injected line": offer(b"STLS") + b"+OK go\r\n+",
}


@pytest.mark.parametrize("said", STLS_FAILURES.values(), ids=STLS_FAILURES)
def test_stls_happens_or_the_log_in_fails(said: bytes) -> None:
    """STLS that is not offered, refused, or answered with anything behind it fails without credentials."""
    client = Script([], Learnt(), starttls=True).client_for()
    client.receive_data(GREETING)
    steps = list(taken(client))
    client.receive_data(said)
    steps += taken(client)

    assert isinstance(steps[-1], Failed)
    assert set(steps[:-1]) <= {CAPA, STLS}


def test_nothing_is_read_while_tls_starts() -> None:
    """What comes between the go-ahead and the handshake is not taken for an answer."""
    client = Script([], Learnt(), starttls=True).client_for()
    client.receive_data(GREETING + offer(b"STLS"))
    assert list(taken(client)) == [CAPA, STLS]
    client.receive_data(b"+OK go\r\n")
    assert client.next_step() == StartTls()
    client.receive_data(offer(b"SASL PLAIN"))
    assert isinstance(client.next_step(), NeedData)


def test_xclient_that_is_refused_fails() -> None:
    """A log-in does not go on under the gate's own address when the phone's was refused."""
    Script(
        [
            TRUSTING,
            CAPA,
            offer(b"SASL PLAIN"),
            Send(b"XCLIENT ADDR=192.0.2.7 PORT=1\r\n"),
            b"-ERR You are not from trusted IP\r\n",
        ],
        Failed("the mail server answered `-ERR You are not from trusted IP` to XCLIENT"),
        client=("192.0.2.7", 1),
    ).play(0)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("alice\r\nDELE 1", PASSWORD),
        ("alice", "w\r\nDELE 1"),
        ("alice", "w\0"),
        ("alice", "tab\t"),
        ("a" * MAX_COMMAND_OCTETS, PASSWORD),
        ("alice", "p" * (MAX_COMMAND_OCTETS - len("PASS \r\n") + 1)),
    ],
)
def test_user_and_pass_carry_only_what_arrives_as_one_line(name: str, secret: str) -> None:
    """What would be two lines, or so long that a server might cut it into two, is not sent at all."""
    Script([GREETING, CAPA, offer(b"USER")], NO_WAY, name=name, credentials=password(secret)).play(0)


def test_the_longest_password_that_pass_can_carry() -> None:
    """One octet less than what is refused above."""
    secret = "p" * (MAX_COMMAND_OCTETS - len("PASS \r\n"))
    client = Pop3Login(password(secret), name="alice", starttls=False)
    client.receive_data(GREETING + offer(b"USER") + b"+OK\r\n")
    assert list(taken(client))[-1] == Send(f"PASS {secret}\r\n".encode())


def test_control_octets_stay_inside_base64() -> None:
    """Nothing of a name or a password reaches a line as it is where SASL is there."""
    client = Pop3Login(password("p\r\nDELE 1"), name="a\r\nDELE 2", starttls=False)
    client.receive_data(GREETING + offer(b"SASL PLAIN", b"USER"))
    *_, last = taken(client)

    assert isinstance(last, Send)
    assert last.data.count(b"\r\n") == 1
    assert b"DELE" not in last.data


def test_the_offer_is_what_counts_after_tls() -> None:
    """Capabilities come with their parameters in upper case; before STLS nothing is believed, and junk is left out."""
    client = Script([], Learnt(), credentials=None, starttls=True).client_for()
    client.receive_data(GREETING + offer(b"STLS", b"EVIL"))
    list(taken(client))
    assert client.offers == frozenset()
    client.receive_data(b"+OK go\r\n")
    assert list(taken(client)) == [StartTls(), CAPA]
    assert client.offers == frozenset()
    client.receive_data(offer(b"top", b"Expire 30 user", b"SASL PLAIN login", b"", b"-x", b"a\x07", b"caf\xc3\xa9"))

    assert list(taken(client)) == [Learnt()]
    assert client.offers == {"TOP", "EXPIRE 30 USER", "AUTH=PLAIN", "AUTH=LOGIN"}


def test_a_server_without_capa_is_known_to_take_passwords() -> None:
    """So that it counts as one that was learnt."""
    client = Script([], Learnt(), credentials=None).client_for()
    client.receive_data(GREETING + b"-ERR what\r\n")
    assert list(taken(client)) == [CAPA, Learnt()]
    assert client.offers == {"USER"}
