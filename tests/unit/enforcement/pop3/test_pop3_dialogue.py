"""Playbooks of the POP3 dialogue before admission: the client says, we answer, the flow is asked, the flow answers."""

import base64

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell, UpstreamLogin
from gatekeeper.enforcement.pop3.dialogue import MAX_COMMANDS, MAX_ERRORS, Pop3Dialogue
from gatekeeper.enforcement.pop3.replies import MAX_REPLY_OCTETS
from gatekeeper.protocols.login import LoggedIn, Rejected, Send
from gatekeeper.protocols.pop3.client import Pop3Login
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from testkit.gate_fakes import ScriptedPeer, fault, refuse, reject, splits

LOGIN = b"USER alice\r\nPASS wonderland\r\n"
OK = b"+OK\r\n"
WELCOME = b"+OK Logged in\r\n"
WRONG = b"-ERR [AUTH] Authentication failed.\r\n"
UNKNOWN = b"-ERR Not understood, or not allowed before logging in.\r\n"
NEEDS_TLS = b"-ERR [AUTH] Start TLS before logging in.\r\n"
TOO_MANY = b"-ERR Too many errors.\r\n"
ALICE = [("LOGIN", "alice", b"wonderland")]
PLAIN = base64.b64encode(b"\0alice\0wonderland")
XOAUTH2 = b"user=a\x01auth=Bearer t\x01\x01"
OAUTHBEARER = b"n,a=a,\x01auth=Bearer t\x01\x01"
BEARERS = frozenset({"AUTH=PLAIN", "AUTH=OAUTHBEARER", "AUTH=XOAUTH2", "AUTH=GSSAPI"})


def in_the_clear() -> ScriptedPeer:
    return ScriptedPeer(is_encrypted=False, takes_credentials=False, offers_tls=True)


def talk(peer: ScriptedPeer, *pieces: bytes) -> Dialogue:
    """Let the client say the pieces, one after the other."""
    dialogue = Pop3Dialogue(peer)
    for piece in pieces:
        peer.feed(dialogue, piece)
    return dialogue


def test_the_greeting_invites_no_apop() -> None:
    """P07: there is no timestamp in it, nor Dovecot's sign that XCLIENT would be taken; APOP is no command."""
    peer = ScriptedPeer()
    dialogue = Pop3Dialogue(peer)
    dialogue.greet()
    assert peer.told == b"+OK Ready.\r\n"
    peer.feed(dialogue, b"APOP alice 0123456789abcdef0123456789abcdef\r\n")
    assert peer.told == b"+OK Ready.\r\n" + UNKNOWN


@pytest.mark.parametrize(
    ("peer", "more"),
    [
        (ScriptedPeer(), b"USER\r\nSASL PLAIN LOGIN\r\n"),
        (in_the_clear(), b"STLS\r\n"),
        (ScriptedPeer(is_encrypted=False, takes_credentials=False), b""),
        (ScriptedPeer(is_encrypted=False), b"USER\r\nSASL PLAIN LOGIN\r\n"),
        (ScriptedPeer(upstream_offers=BEARERS), b"USER\r\nSASL PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n"),
    ],
    ids=["under TLS", "before STLS", "neither", "allowed in the clear", "bearer tokens"],
)
def test_what_is_offered(peer: ScriptedPeer, more: bytes) -> None:
    """T11: what may be done now; USER and SASL only when credentials may be sent."""
    talk(peer, b"CAPA\r\n")
    assert peer.told == b"+OK\r\nCAPA\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n" + more + b".\r\n"


def test_what_the_mail_server_offers_is_filtered() -> None:
    """What it can do after the log-in is told, what is ours to answer or could lead around the gate is not."""
    offers = {"UIDL", "TOP", "PIPELINING", "EXPIRE 30 USER", "LOGIN-DELAY 60", "STLS", "APOP", "XCLIENT", "SASL X"}
    hidden = {"UTF8 USER", "LANG", "UNAUTHENTICATE", "XOIP", "IMPLEMENTATION X", "USER", "RESP-CODES", "TOPAZ"}
    peer = ScriptedPeer(upstream_offers=frozenset(offers | hidden))
    talk(peer, b"CAPA\r\n")
    assert peer.told.splitlines() == [
        *(b"+OK", b"CAPA", b"TOP", b"UIDL", b"PIPELINING", b"EXPIRE 30 USER", b"LOGIN-DELAY 60"),
        *(b"RESP-CODES", b"AUTH-RESP-CODE", b"USER", b"SASL PLAIN LOGIN", b"."),
    ]


def test_auth_alone_lists_the_mechanisms() -> None:
    """P06: with or without a space behind it."""
    peer = ScriptedPeer(upstream_offers=frozenset({"AUTH=XOAUTH2"}))
    talk(peer, b"AUTH\r\nauth \r\n")
    assert peer.told == b"+OK\r\nPLAIN\r\nLOGIN\r\nXOAUTH2\r\n.\r\n" * 2


@pytest.mark.parametrize("password", [b" ", b" two  words ", b"\xc3\xa4\xff\t", b"PASS x"])
def test_a_password_is_every_octet_behind_pass(password: bytes) -> None:
    """Spaces at both ends, and octets beyond ASCII."""
    peer = ScriptedPeer()
    talk(peer, b"user alice\r\n", b"pass " + password + b"\r\n")
    assert peer.logins == [("LOGIN", "alice", password)]
    assert peer.told == OK + WELCOME


@pytest.mark.parametrize(
    ("lines", "login"),
    [
        ([b"AUTH PLAIN " + PLAIN], ("PLAIN", "alice", b"wonderland")),
        ([b"auth plain", PLAIN], ("PLAIN", "alice", b"wonderland")),
        ([b"AUTH LOGIN", b"YWxpY2U=", b"d29uZGVybGFuZA=="], ("LOGIN", "alice", b"wonderland")),
        ([b"AUTH LOGIN YWxpY2U=", b"d29uZGVybGFuZA=="], ("LOGIN", "alice", b"wonderland")),
        ([b"AUTH XOAUTH2 " + base64.b64encode(XOAUTH2)], ("XOAUTH2", "a", XOAUTH2)),
        ([b"AUTH XOAUTH2", base64.b64encode(XOAUTH2)], ("XOAUTH2", "a", XOAUTH2)),
        ([b"AUTH OAUTHBEARER " + base64.b64encode(OAUTHBEARER)], ("OAUTHBEARER", "a", OAUTHBEARER)),
        ([b"AUTH OAUTHBEARER", base64.b64encode(OAUTHBEARER)], ("OAUTHBEARER", "a", OAUTHBEARER)),
    ],
)
def test_mechanisms_with_and_without_initial_response(lines: list[bytes], login: tuple[str, str, bytes]) -> None:
    """RFC 5034: each challenge is asked for with `+ `, LOGIN's in the words that clients compare."""
    challenges = {2: {b"AUTH LOGIN YWxpY2U=": b"+ UGFzc3dvcmQ6\r\n"}.get(lines[0], b"+ \r\n")}
    challenges |= {1: b"", 3: b"+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n"}
    peer = ScriptedPeer(upstream_offers=BEARERS)
    talk(peer, *(line + b"\r\n" for line in lines))
    assert peer.logins == [login]
    assert peer.told == challenges[len(lines)] + WELCOME


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"PASS x", b"-ERR Send USER first.\r\n"),
        (b"USER", b"-ERR Not a valid name.\r\n"),
        (b"USER ", b"-ERR Not a valid name.\r\n"),
        (b"USER al\xffice", b"-ERR Not a valid name.\r\n"),
        (b"USER al\x07ice", b"-ERR Not a valid name.\r\n"),
        (b"AUTH CRAM-MD5", b"-ERR This mechanism is not offered.\r\n"),
        (b"AUTH XOAUTH2 " + base64.b64encode(XOAUTH2), b"-ERR This mechanism is not offered.\r\n"),
        (b"AUTH PLAIN a b", UNKNOWN),
        (b"AUTH PLAIN !", b"-ERR Not a valid response.\r\n"),
        (b"AUTH PLAIN =", WRONG),
        (b"CAPA x", UNKNOWN),
        (b"STLS", UNKNOWN),
        (b"NOOP", UNKNOWN),
        (b"STAT", UNKNOWN),
        (b"RETR 1", UNKNOWN),
        (b"UTF8", UNKNOWN),
        (b"LANG *", UNKNOWN),
        (b"XCLIENT ADDR=192.0.2.1", UNKNOWN),
        (b"", UNKNOWN),
    ],
)
def test_what_is_wrong_is_said_and_counted(line: bytes, reply: bytes) -> None:
    """P02, P10: no such line asks the mail server anything, and a few of them end the dialogue."""
    peer = ScriptedPeer()
    talk(peer, *[line + b"\r\n"] * MAX_ERRORS)
    assert peer.told == reply * (MAX_ERRORS - 1) + TOO_MANY
    assert peer.closed
    assert peer.logins == []


@pytest.mark.parametrize("lines", [b"AUTH PLAIN\r\n*\r\n", b"AUTH LOGIN\r\nYWxpY2U=\r\n*\r\n"])
def test_an_exchange_can_be_cancelled(lines: bytes) -> None:
    """P04: and the session goes on."""
    peer = ScriptedPeer()
    talk(peer, lines, LOGIN)
    assert peer.told.endswith(b"-ERR Cancelled.\r\n" + OK + WELCOME)
    assert peer.logins == ALICE


@pytest.mark.parametrize(
    ("line", "exposed"),
    [
        (b"USER alice", []),
        (b"PASS wonderland", ["LOGIN"]),
        (b"AUTH", []),
        (b"AUTH PLAIN", []),
        (b"AUTH PLAIN " + PLAIN, ["PLAIN"]),
        (b"AUTH X x", ["other"]),
    ],
)
def test_credentials_wait_for_tls(line: bytes, exposed: list[str]) -> None:
    """They are not used; what was exposed is recorded; nothing of it is remembered."""
    peer = in_the_clear()
    dialogue = talk(peer, line + b"\r\n")
    assert (peer.told, peer.exposed, peer.logins) == (NEEDS_TLS, exposed, [])

    peer.is_encrypted = peer.takes_credentials = True
    peer.told = b""
    dialogue.tls_started()
    peer.feed(dialogue, b"PASS wonderland\r\n")
    assert peer.told == b"-ERR Send USER first.\r\n"


def test_stls_forgets() -> None:
    """T08: errors, the name, and half a command that came before TLS was on."""
    peer = in_the_clear()
    peer.takes_credentials = True
    dialogue = talk(peer, b"USER mallory\r\n", b"X\r\n" * (MAX_ERRORS - 1), b"STLS\r\n", b"QUIT ")
    assert peer.tls == [(b"+OK Begin TLS now.\r\n", b"")]
    dialogue.tls_started()
    peer.told, peer.is_encrypted, peer.offers_tls, peer.takes_credentials = b"", True, False, True

    peer.feed(dialogue, b"PASS x\r\n" + b"X\r\n" * (MAX_ERRORS - 2) + LOGIN)
    assert peer.told == b"-ERR Send USER first.\r\n" + UNKNOWN * (MAX_ERRORS - 2) + OK + WELCOME
    assert peer.logins == ALICE


def test_octets_behind_stls_are_given_to_the_flow() -> None:
    """T03: which closes; none of them is answered."""
    peer = in_the_clear()
    talk(peer, b"STLS\r\nCAPA\r\n")
    assert peer.tls == [(b"+OK Begin TLS now.\r\n", b"CAPA\r\n")]
    assert peer.told == b""


def test_nothing_is_interpreted_during_a_log_in() -> None:
    """P03: what arrives meanwhile is kept, and is the mail server's after admission."""
    peer = ScriptedPeer()
    dialogue = Pop3Dialogue(peer)
    dialogue.receive(LOGIN + b"STAT\r\nQU")
    dialogue.receive(b"IT\r\n")
    assert (peer.told, peer.logins) == (OK, ALICE)

    assert dialogue.admitted(LoggedIn("Logged in")) == WELCOME
    assert dialogue.unread() == b"STAT\r\nQUIT\r\n"


def test_after_a_refusal_nothing_is_the_mail_servers() -> None:
    """What was pipelined behind the log-in is answered here."""
    peer = ScriptedPeer(outcomes=(refuse,))
    talk(peer, LOGIN + b"STAT\r\nQUIT\r\n")
    assert peer.told == OK + b"-ERR [SYS/PERM] TikTok is on this phone.\r\n" + UNKNOWN + b"+OK Goodbye.\r\n"
    assert (peer.upstream, peer.closed) == (b"", True)


def test_one_connection_can_hear_everything() -> None:
    """P11: wrong password, fault, refusal, admission; USER comes anew each time."""
    peer = ScriptedPeer(outcomes=(reject, fault, refuse))
    talk(peer, *[LOGIN] * 4)
    assert peer.told.replace(OK, b"").splitlines() == [
        WRONG.strip(),
        b"-ERR [SYS/TEMP] Mail is temporarily unavailable; please try again later.",
        b"-ERR [SYS/PERM] TikTok is on this phone.",
        WELCOME.strip(),
    ]


@pytest.mark.parametrize(
    ("rejected", "told"),
    [
        (Rejected(None, "unknown user alice", is_temporary=False), WRONG.strip()),
        (Rejected("SYS/PERM", "Disabled.", is_temporary=False), b"-ERR [SYS/PERM] Disabled."),
        (Rejected("IN-USE", "Busy.", is_temporary=True), b"-ERR [IN-USE] Busy."),
        (Rejected(None, "What?", is_temporary=True), b"-ERR [SYS/TEMP] What?"),
        (Rejected("IN-USE", "a\r\nb\xe4" + "c" * 600, is_temporary=True), (b"-ERR [IN-USE] a??b?" + b"c" * 600)[:510]),
    ],
    ids=["credentials", "code", "temporary", "temporary without code", "one clean line"],
)
def test_the_mail_servers_refusal(rejected: Rejected, told: bytes) -> None:
    """Of credentials in fixed words, of anything else in its own."""
    peer = ScriptedPeer(outcomes=(lambda dialogue: dialogue.rejected(rejected),))
    talk(peer, LOGIN)
    assert peer.told == OK + told + b"\r\n"
    assert len(told) <= MAX_REPLY_OCTETS


@pytest.mark.parametrize("answer", [b"\r\n", b"AQ==\r\n"], ids=["empty", "dummy"])
def test_a_bearer_error_waits_for_its_answer(answer: bytes) -> None:
    """O01: challenge, any line, then the refusal; the answer is no command and no credentials."""
    error = Rejected(None, "no", is_temporary=False, challenge=b"eyJ9")
    peer = ScriptedPeer(upstream_offers=BEARERS, outcomes=(lambda dialogue: dialogue.rejected(error),))
    dialogue = talk(peer, b"AUTH XOAUTH2 " + base64.b64encode(XOAUTH2) + b"\r\n")
    assert peer.told == b"+ eyJ9\r\n"
    peer.feed(dialogue, answer + b"QUIT\r\n")
    assert peer.told == b"+ eyJ9\r\n" + WRONG + b"+OK Goodbye.\r\n"
    assert len(peer.logins) == 1


def test_commands_are_counted() -> None:
    """The one over the limit ends the dialogue."""
    peer = ScriptedPeer()
    dialogue = talk(peer, b"USER alice\r\n" * MAX_COMMANDS)
    assert not peer.closed
    peer.feed(dialogue, b"USER alice\r\n")
    assert peer.closed
    assert peer.told.endswith(TOO_MANY)


def test_a_name_counts_for_one_password() -> None:
    """After PASS, and after AUTH, USER comes anew."""
    peer = ScriptedPeer(outcomes=(reject, reject))
    talk(peer, LOGIN, b"PASS again\r\n", b"USER alice\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"PASS again\r\n")
    assert peer.told == (OK + WRONG + b"-ERR Send USER first.\r\n") * 2
    assert len(peer.logins) == 2


def test_wrong_passwords_are_no_errors() -> None:
    """The flow counts attempts."""
    peer = ScriptedPeer(outcomes=(reject,) * 4)
    talk(peer, *[LOGIN] * 4)
    assert not peer.closed


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"USER alice\n", b"USER a\0\r\n", b"USER " + b"a" * 300])
def test_what_cannot_be_a_client_is_not_talked_to(line: bytes) -> None:
    """Another protocol, or octets that are no lines, end the dialogue at once."""
    peer = ScriptedPeer()
    talk(peer, line)
    assert (peer.told, peer.closed) == (TOO_MANY, True)


@pytest.mark.parametrize("why", list(Farewell))
def test_a_farewell_is_one_line_or_a_close(why: Farewell) -> None:
    """Nothing is said that a client could take for the answer to a command of its own."""
    words = Pop3Dialogue(ScriptedPeer()).farewell(why)
    if why in (Farewell.TIMEOUT, Farewell.SHUTTING_DOWN):
        assert words == b""
    else:
        assert words.startswith(b"-ERR ")
        assert words.endswith(b".\r\n")
        assert words.count(b"\n") == 1


def test_a_closed_dialogue_is_deaf_and_dumb() -> None:
    """After `closed` nothing is said or asked."""
    peer = ScriptedPeer()
    dialogue = Pop3Dialogue(peer)
    dialogue.closed()
    dialogue.greet()
    dialogue.receive(LOGIN)
    dialogue.unavailable()
    dialogue.refused("no")
    assert (peer.told, peer.logins) == (b"", [])


STREAM = (
    b"CAPA\r\nUSER alice\r\nPASS  wrong \r\nAUTH PLAIN\r\n" + PLAIN + b"\r\nAUTH LOGIN YWxpY2U=\r\nd29uZGVybGFuZA==\r\n"
    b"X\r\nUSER alice\r\nPASS wonderland\r\nSTAT\r\nRETR 1\r\n"
)


@pytest.mark.parametrize("pieces", [pytest.param(cuts, id=name) for name, cuts in splits(STREAM).items()])
def test_any_split_gives_the_same_dialogue(pieces: list[list[bytes]]) -> None:
    """Replies, log-ins, and what arrives at the mail server, once and in order."""
    for cut in pieces:
        peer = ScriptedPeer(outcomes=(reject, fault, refuse))
        talk(peer, *cut)
        assert peer.logins == [("LOGIN", "alice", b" wrong "), ("PLAIN", *ALICE[0][1:]), *ALICE * 2]
        assert peer.told.endswith(
            b"+ UGFzc3dvcmQ6\r\n-ERR [SYS/PERM] TikTok is on this phone.\r\n" + UNKNOWN + OK + WELCOME
        )
        assert peer.upstream == b"STAT\r\nRETR 1\r\n"


@pytest.mark.parametrize(
    ("tells", "command"),
    [("xclient", b"XCLIENT ADDR=192.0.2.1 PORT=4711\r\n"), ("none", b"USER alice\r\n"), ("proxy", b"USER alice\r\n")],
)
def test_the_log_in_upstream_tells_the_address_as_configured(tells: str, command: bytes) -> None:
    """By XCLIENT only where that is the configured way."""
    login = UpstreamLogin(
        name="alice", starttls=False, tag="T", client_address="192.0.2.1", client_port=4711, tells_address=tells
    )
    credentials = Credentials(mechanism=Mechanism.LOGIN, name="Alice", secret=Secret(b"w"))
    client = Pop3Dialogue(ScriptedPeer()).login(credentials, login)
    assert isinstance(client, Pop3Login)
    client.receive_data(b"+OK [XCLIENT] hi\r\n")
    assert client.next_step() == Send(b"CAPA\r\n")
    client.receive_data(b"+OK\r\nUSER\r\n.\r\n")
    assert client.next_step() == Send(command)


def test_i57_anothers_mailbox_is_refused_as_such() -> None:
    """By the flow, which counts it as an attempt."""
    peer = ScriptedPeer()
    talk(peer, b"AUTH PLAIN " + base64.b64encode(b"bob\0alice\0pw") + b"\r\n")
    assert peer.told == b"-ERR [AUTH] Acting as another user is not allowed.\r\n"
    assert peer.logins == []
