"""The log-in at the mail server, against scripted servers, at every split of what they say."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.login import Failed, Learnt, LoggedIn, NeedData, Rejected, Send, StartTls, Step
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from gatekeeper.protocols.smtp.client import MAX_REPLY_LINES, SmtpLogin, ehlo_name

GREETING = b"220 mail.example.com ESMTP\r\n"
EHLO = b"EHLO phone.example.com\r\n"
PASSWORD = "wonderland"
PLAIN = base64.b64encode(b"\0alice\0wonderland")
BEARER = b"user=alice\x01auth=Bearer t0ken\x01\x01"
ERROR = base64.b64encode(b'{"status":"400"}')

Turn = bytes | Step
"""What the server says, or what the client must do before the server says more."""


def offer(*lines: bytes) -> bytes:
    """Return an EHLO reply."""
    texts = (b"mail.example.com greets you", *lines)
    return b"".join(b"250%b%b\r\n" % (b" " if n == len(texts) else b"-", text) for n, text in enumerate(texts, 1))


def password(mechanism: Mechanism = Mechanism.PLAIN, secret: str = PASSWORD) -> Credentials:
    """Return a name and a password."""
    return Credentials(mechanism=mechanism, name="ALICE", secret=Secret(secret.encode()))


def bearer(mechanism: Mechanism) -> Credentials:
    """Return a token."""
    return Credentials(mechanism=mechanism, name="alice", secret=Secret(BEARER))


@dataclass
class Script:
    """One log-in: what the server says and the client does, and how it ends."""

    turns: list[Turn]
    end: Step
    credentials: Credentials | None = field(default_factory=password)
    starttls: bool = False
    client: tuple[str, int] | None = None
    strict: bool = False
    rest: bytes = b""
    """What the server sent behind its last word."""

    def client_for(self) -> SmtpLogin:
        """Return a new client."""
        return SmtpLogin(
            self.credentials,
            name="alice",
            starttls=self.starttls,
            ehlo_name="phone.example.com",
            client=self.client,
            forbids_second_login=self.strict,
        )

    def play(self, cut: int | None) -> SmtpLogin:
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


def taken(client: SmtpLogin) -> Iterator[Step]:
    """Take steps until the client needs data; TLS starts at once."""
    while not isinstance(step := client.next_step(), NeedData):
        yield step
        if isinstance(step, StartTls):
            client.tls_started()


AUTH_PLAIN = Send(b"AUTH PLAIN " + PLAIN + b"\r\n")
LONG = base64.b64encode(b"\0alice\0" + b"p" * 400)
SCRIPTS = {
    "plain": Script(
        [GREETING, Send(EHLO), offer(b"AUTH PLAIN LOGIN"), AUTH_PLAIN, b"235 2.7.0 Welcome\r\n"], LoggedIn("Welcome")
    ),
    "long greeting, no text": Script(
        [b"220-one\r\n220-two\r\n220 three\r\n", Send(EHLO), offer(b"AUTH PLAIN"), AUTH_PLAIN, b"235\r\n"],
        LoggedIn("Authentication successful"),
    ),
    "octets behind the end": Script(
        [GREETING, Send(EHLO), offer(b"AUTH PLAIN"), AUTH_PLAIN, b"235 ok\r\n421 going down\r\n"],
        LoggedIn("ok"),
        rest=b"421 going down\r\n",
    ),
    "old server": Script(
        [GREETING, Send(EHLO), offer(b"auth=plain", b"SIZE"), AUTH_PLAIN, b"235 ok\r\n"], LoggedIn("ok")
    ),
    "a response too long for a command": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"AUTH PLAIN"),
            Send(b"AUTH PLAIN\r\n"),
            b"334 \r\n",
            Send(LONG + b"\r\n"),
            b"235 2.7.0 ok\r\n",
        ],
        LoggedIn("ok"),
        credentials=password(secret="p" * 400),
    ),
    "login only": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"AUTH NTLM LOGIN"),
            Send(b"AUTH LOGIN\r\n"),
            b"334 VXNlcm5hbWU6\r\n",
            Send(base64.b64encode(b"alice") + b"\r\n"),
            b"334 UGFzc3dvcmQ6\r\n",
            Send(base64.b64encode(PASSWORD.encode()) + b"\r\n"),
            b"235 2.7.0 ok\r\n",
        ],
        LoggedIn("ok"),
        credentials=password(Mechanism.LOGIN),
    ),
    "starttls": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"STARTTLS", b"AUTH NTLM", b"SIZE 1"),
            Send(b"STARTTLS\r\n"),
            b"220 go\r\n",
            StartTls(),
            Send(EHLO),
            offer(b"AUTH PLAIN"),
            AUTH_PLAIN,
            b"235 ok\r\n",
        ],
        LoggedIn("ok"),
        starttls=True,
    ),
    "xclient": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"XCLIENT NAME ADDR PROTO HELO PORT LOGIN", b"AUTH PLAIN"),
            Send(b"XCLIENT NAME=[UNAVAILABLE] PORT=4711 ADDR=192.0.2.7\r\n"),
            b"220 again\r\n",
            Send(EHLO),
            offer(b"AUTH PLAIN"),
            AUTH_PLAIN,
            b"235 ok\r\n",
        ],
        LoggedIn("ok"),
        client=("192.0.2.7", 4711),
        strict=True,
    ),
    "xclient over starttls, IPv6": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"XCLIENT NAME ADDR", b"STARTTLS"),
            Send(b"STARTTLS\r\n"),
            b"220 go\r\n",
            StartTls(),
            Send(EHLO),
            offer(b"XCLIENT ADDR PORT", b"AUTH PLAIN"),
            Send(b"XCLIENT PORT=4711 ADDR=IPV6:fe80::7\r\n"),
            b"220 again\r\n",
            Send(EHLO),
            offer(b"XCLIENT ADDR PORT", b"AUTH PLAIN"),
            AUTH_PLAIN,
            b"235 ok\r\n",
        ],
        LoggedIn("ok"),
        starttls=True,
        client=("fe80::7%eth0", 4711),
    ),
    "xclient not offered": Script(
        [GREETING, Send(EHLO), offer(b"AUTH PLAIN"), AUTH_PLAIN, b"235 ok\r\n"],
        LoggedIn("ok"),
        client=("192.0.2.7", 4711),
    ),
    "token": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"AUTH PLAIN XOAUTH2"),
            Send(b"AUTH XOAUTH2 " + base64.b64encode(BEARER) + b"\r\n"),
            b"235 ok\r\n",
        ],
        LoggedIn("ok"),
        credentials=bearer(Mechanism.XOAUTH2),
    ),
    "token refused": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"AUTH PLAIN XOAUTH2"),
            Send(b"AUTH XOAUTH2 " + base64.b64encode(BEARER) + b"\r\n"),
            b"334 " + ERROR + b"\r\n",
            Send(b"\r\n"),
            b"535-5.7.8 no\r\n535 5.7.8 never\r\n",
        ],
        Rejected("535 5.7.8", "never", is_temporary=False, challenge=ERROR),
        credentials=bearer(Mechanism.XOAUTH2),
    ),
    "oauthbearer refused, with a challenge that is not base64": Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"AUTH OAUTHBEARER"),
            Send(b"AUTH OAUTHBEARER " + base64.b64encode(BEARER) + b"\r\n"),
            b"334 \x1b[2J\r\n",
            Send(b"AQ==\r\n"),
            b"535 5.7.8 no\r\n",
        ],
        Rejected("535 5.7.8", "no", is_temporary=False, challenge=b"e30="),
        credentials=bearer(Mechanism.OAUTHBEARER),
    ),
    "only asked": Script([GREETING, Send(EHLO), offer(b"AUTH PLAIN")], Learnt(), credentials=None),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_log_ins_at_every_split(script: Script) -> None:
    """The same steps come out wherever the server's octets are cut, and what follows the end is kept."""
    longest = max(len(turn) for turn in script.turns if isinstance(turn, bytes))
    for cut in [None, *range(longest)]:
        assert script.play(cut).trailing_data == script.rest


ANSWERS = {
    b"535 5.7.8 Error: authentication failed\r\n": Rejected(
        "535 5.7.8", "Error: authentication failed", is_temporary=False
    ),
    b"535 no\r\n": Rejected("535", "no", is_temporary=False),
    b"535\r\n": Rejected("535", "Authentication failed", is_temporary=False),
    b"534 5.7.9 too weak\r\n": Rejected("534 5.7.9", "too weak", is_temporary=False),
    b"525 5.7.13 disabled \x07\xfc\r\n": Rejected("525 5.7.13", "disabled ??", is_temporary=False),
    b"454 4.7.0 later\r\n": Rejected("454 4.7.0", "later", is_temporary=True),
    b"421 4.3.2 down\r\n": Rejected("421 4.3.2", "down", is_temporary=True),
    b"334 more\r\n": Failed("the mail server asks for more than its mechanism has"),
    b"503 5.5.1 what\r\n": Failed("the mail server answered `503 what` to AUTH"),
    b"530 5.7.0 TLS first\r\n": Failed("the mail server answered `530 TLS first` to AUTH"),
    b"250 2.0.0 fine\r\n": Failed("the mail server answered `250 fine` to AUTH"),
    b"* OK IMAP\r\n": Failed("the mail server's reply is not SMTP"),
}


@pytest.mark.parametrize(("answer", "end"), ANSWERS.items())
def test_answers_to_auth(answer: bytes, end: Step) -> None:
    """Refusals of credentials, faults that pass, and faults that are ours are told apart."""
    script = Script([GREETING, Send(EHLO), offer(b"AUTH PLAIN"), AUTH_PLAIN, answer], end)
    script.play(len(answer))
    script.play(None)


FAILURES = {
    "no greeting": [b"554 5.3.2 closed\r\n"],
    "busy": [b"421 4.3.2 busy\r\n"],
    "not SMTP": [b"* OK IMAP4rev1\r\n"],
    "no ESMTP": [GREETING, Send(EHLO), b"502 what\r\n"],
    "two codes in one reply": [GREETING, Send(EHLO), b"251-a\r\n250 AUTH PLAIN\r\n"],
    "no log-in": [GREETING, Send(EHLO), offer(b"SIZE 1")],
    "no log-in of this kind": [GREETING, Send(EHLO), offer(b"AUTH GSSAPI NTLM XOAUTH2")],
    "too many lines": [GREETING, Send(EHLO), b"250-x\r\n" * (MAX_REPLY_LINES + 1)],
    "a line too long": [GREETING, Send(EHLO), b"250-" + b"x" * 2048 + b"\r\n"],
    "a line without end": [b"220 " + b"x" * 70_000],
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


STARTTLS_FAILURES = {
    "not offered": offer(b"AUTH PLAIN"),
    "refused": offer(b"STARTTLS", b"AUTH PLAIN") + b"454 no\r\n",
    "response injection": offer(b"STARTTLS") + b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n",
    "half an injected line": offer(b"STARTTLS") + b"220 go\r\n2",
    "a long answer": offer(b"STARTTLS") + b"220-go\r\n220 go\r\n",
}


@pytest.mark.parametrize("said", STARTTLS_FAILURES.values(), ids=STARTTLS_FAILURES)
def test_starttls_happens_or_the_log_in_fails(said: bytes) -> None:
    """STARTTLS that is not offered, refused, or answered with anything behind it fails without credentials."""
    client = Script([], Learnt(), starttls=True).client_for()
    client.receive_data(GREETING)
    steps = list(taken(client))
    client.receive_data(said)
    steps += taken(client)

    assert isinstance(steps[-1], Failed)
    assert set(steps[:-1]) <= {Send(EHLO), Send(b"STARTTLS\r\n")}


def test_xclient_that_is_refused_fails() -> None:
    """A log-in does not go on under the gate's own address when the phone's was refused."""
    script = Script(
        [
            GREETING,
            Send(EHLO),
            offer(b"XCLIENT ADDR", b"AUTH PLAIN"),
            Send(b"XCLIENT ADDR=192.0.2.7\r\n"),
            b"550 5.7.0 no\r\n",
        ],
        Failed("the mail server answered `550 5.7.0 no` to XCLIENT"),
        client=("192.0.2.7", 1),
    )
    script.play(0)


def test_a_token_is_never_sent_as_something_else() -> None:
    """A mail server that does not offer the token's mechanism gets no token."""
    script = Script(
        [GREETING, Send(EHLO), offer(b"AUTH PLAIN LOGIN OAUTHBEARER")],
        Failed("the mail server takes no log-in of this kind"),
        credentials=bearer(Mechanism.XOAUTH2),
    )
    script.play(0)


@pytest.mark.parametrize("way", [b"STARTTLS", b"XCLIENT ADDR LOGIN"])
def test_a_server_that_allows_a_second_login_is_refused_when_told_so(way: bytes) -> None:
    """What would let the phone leave its account through the relay fails the log-in before AUTH."""
    name = way.split()[0].decode()
    script = Script(
        [GREETING, Send(EHLO), offer(b"AUTH PLAIN", way)],
        Failed(f"the mail server offers {name}, which allows a second, unseen log-in"),
        strict=True,
    )
    script.play(0)


def test_the_offer_is_what_counts_after_tls() -> None:
    """Keywords come with their parameters in upper case; before STARTTLS nothing is believed, and junk is left out."""
    client = Script([], Learnt(), credentials=None, starttls=True).client_for()
    client.receive_data(GREETING)
    list(taken(client))
    client.receive_data(offer(b"STARTTLS", b"EVIL"))
    list(taken(client))
    assert client.offers == frozenset()
    client.receive_data(b"220 go\r\n")
    list(taken(client))
    client.receive_data(offer(b"size 35882577", b"8bitmime", b"AUTH PLAIN login", b"", b"-x", b"a\x07", b"caf\xc3\xa9"))

    assert list(taken(client)) == [Learnt()]
    assert client.offers == {"SIZE 35882577", "8BITMIME", "AUTH=PLAIN", "AUTH=LOGIN"}


def test_a_name_with_control_octets_stays_inside_base64() -> None:
    """Nothing of a name or a password reaches a line as it is."""
    client = SmtpLogin(
        Credentials(mechanism=Mechanism.PLAIN, name="x", secret=Secret(b"p\r\nMAIL FROM:<e@v>")),
        name="a\r\nRCPT TO:<v>",
        starttls=False,
        ehlo_name="x",
    )
    client.receive_data(GREETING + offer(b"AUTH PLAIN"))
    *_, last = taken(client)

    assert isinstance(last, Send)
    assert last.data.count(b"\r\n") == 1
    assert b"RCPT" not in last.data


@pytest.mark.parametrize(
    ("claimed", "address", "name"),
    [
        ("phone.example.com", "192.0.2.7", "phone.example.com"),
        ("LAPTOP_1", "192.0.2.7", "LAPTOP_1"),
        ("[10.0.0.3]", "192.0.2.7", "[10.0.0.3]"),
        ("[IPv6:fe80::1]", "192.0.2.7", "[IPv6:fe80::1]"),
        ("", "192.0.2.7", "[192.0.2.7]"),
        ("my phone", "2001:db8::7", "[IPv6:2001:db8::7]"),
        ("x\r\nMAIL FROM:<a>", "fe80::7%eth0", "[IPv6:fe80::7]"),
        ("büro", "192.0.2.7", "[192.0.2.7]"),
        ("a" * 256, "192.0.2.7", "[192.0.2.7]"),
    ],
)
def test_the_name_said_upstream(claimed: str, address: str, name: str) -> None:
    """The phone's own name is used when it can be one, else its address."""
    assert ehlo_name(claimed, address) == name


@pytest.mark.parametrize(
    ("offer", "step"),
    [
        (b"PLAIN LOGIN", Send(b"AUTH PLAIN " + base64.b64encode(b"alice\0helper\0w") + b"\r\n")),
        (b"LOGIN", Failed("the mail server takes no log-in of this kind")),
    ],
)
def test_two_names_need_plain(offer: bytes, step: Step) -> None:
    """LOGIN has room for one: the delegate's password never goes out under the other's name."""
    acting = Credentials(mechanism=Mechanism.PLAIN, name="helper", secret=Secret(b"w"), authzid="alice")
    client = SmtpLogin(acting, name="alice", starttls=False, ehlo_name="x")
    client.receive_data(b"220 hi\r\n")
    client.next_step()
    client.receive_data(b"250-hi\r\n250 AUTH " + offer + b"\r\n")
    assert client.next_step() == step
