"""Playbooks of the IMAP dialogue before admission: the client says, we answer, the flow is asked, the flow answers."""

from dataclasses import replace

import pytest

from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell, UpstreamLogin
from gatekeeper.enforcement.imap.dialogue import MAX_COMMANDS, MAX_ERRORS, imap_dialogue
from gatekeeper.enforcement.imap.replies import RefusalCode
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.login import LoggedIn, Rejected, Send
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from testkit.gate_fakes import ScriptedPeer, fault, refuse, reject

CAPABILITIES = b"IMAP4rev1 SASL-IR ID ENABLE IDLE"
LOGIN = b"a LOGIN alice wonderland\r\n"
TOO_MANY = b"* BYE Too many errors.\r\n"
BAD = b"BAD Not understood, or not allowed before logging in.\r\n"
OFFERED = LoggedIn("Welcome.", ("IMAP4rev1", "IDLE", "QUOTA"))


def in_the_clear() -> ScriptedPeer:
    return ScriptedPeer(is_encrypted=False, takes_credentials=False, offers_tls=True)


def talk(peer: ScriptedPeer, *pieces: bytes, code: RefusalCode = RefusalCode.UNAVAILABLE) -> Dialogue:
    """Let the client say the pieces, one after the other."""
    dialogue = imap_dialogue(code)(peer)
    for piece in pieces:
        peer.feed(dialogue, piece)
    return dialogue


@pytest.mark.parametrize(
    ("peer", "more"),
    [
        (ScriptedPeer(), b" AUTH=PLAIN"),
        (in_the_clear(), b" STARTTLS LOGINDISABLED"),
        (ScriptedPeer(is_encrypted=False, takes_credentials=False), b" LOGINDISABLED"),
        (ScriptedPeer(is_encrypted=False), b" AUTH=PLAIN"),
        (
            ScriptedPeer(upstream_offers=frozenset({"AUTH=PLAIN", "AUTH=OAUTHBEARER", "AUTH=XOAUTH2", "AUTH=GSSAPI"})),
            b" AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
        ),
        (ScriptedPeer(upstream_offers=frozenset({"IDLE", "UNAUTHENTICATE", "AUTH=CRAM-MD5"})), b" AUTH=PLAIN"),
        (ScriptedPeer(upstream_offers=frozenset({"AUTH=LOGIN"})), b" AUTH=PLAIN AUTH=LOGIN"),
    ],
    ids=[
        "under TLS",
        "before STARTTLS",
        "neither",
        "allowed in the clear",
        "bearer tokens",
        "nothing else of upstream",
        "SASL LOGIN",
    ],
)
def test_what_is_offered(peer: ScriptedPeer, more: bytes) -> None:
    """Greeting and CAPABILITY say the same: what we understand, and what may be done now."""
    dialogue = imap_dialogue()(peer)
    dialogue.greet()
    assert peer.told == b"* OK [CAPABILITY " + CAPABILITIES + more + b"] Ready.\r\n"
    peer.told = b""
    peer.feed(dialogue, b"a CAPABILITY\r\n")
    assert peer.told == b"* CAPABILITY " + CAPABILITIES + more + b"\r\na OK Done.\r\n"


def test_capabilities_after_log_in_come_where_the_client_looks() -> None:
    """In the tagged OK; as a line of its own for a client that had asked; not at all when the server did not say."""
    peer = ScriptedPeer(logged_in=OFFERED)
    talk(peer, LOGIN)
    assert peer.told == b"a OK [CAPABILITY IMAP4rev1 IDLE QUOTA] Welcome.\r\n"

    asked = ScriptedPeer(logged_in=OFFERED)
    talk(asked, b"x CAPABILITY\r\n", LOGIN)
    assert asked.told.endswith(b"* CAPABILITY IMAP4rev1 IDLE QUOTA\r\na OK Welcome.\r\n")

    silent = ScriptedPeer()
    talk(silent, LOGIN)
    assert silent.told == b"a OK Logged in\r\n"


def test_nothing_is_interpreted_during_a_log_in() -> None:
    """What arrives meanwhile is kept, and is the mail server's after admission."""
    peer = ScriptedPeer()
    dialogue = imap_dialogue()(peer)
    dialogue.receive(LOGIN + b"b NOOP\r\nc LOG")
    dialogue.receive(b"OUT\r\n")
    assert (peer.told, len(peer.logins)) == (b"", 1)

    assert dialogue.admitted(OFFERED).startswith(b"a OK ")
    assert dialogue.unread() == b"b NOOP\r\nc LOGOUT\r\n"


@pytest.mark.parametrize("code", list(RefusalCode))
def test_a_refusal_has_the_configured_code_and_the_reason(code: RefusalCode) -> None:
    """And is never worded as a wrong password."""
    peer = ScriptedPeer(outcomes=(refuse,))
    talk(peer, LOGIN, code=code)
    assert peer.told == b"a NO [" + code.encode() + b"] TikTok is on this phone.\r\n"


def test_one_connection_can_hear_everything() -> None:
    """Wrong password, fault, refusal, admission: each with the tag of its own command."""
    peer = ScriptedPeer(outcomes=(reject, fault, refuse))
    talk(peer, *(tag + LOGIN[1:] for tag in (b"a", b"b", b"c", b"d")))
    assert [line.split(b"]")[0] for line in peer.told.splitlines()] == [
        b"a NO [AUTHENTICATIONFAILED",
        b"b NO [UNAVAILABLE",
        b"c NO [UNAVAILABLE",
        b"d OK Logged in",
    ]


@pytest.mark.parametrize(
    ("rejected", "told"),
    [
        (Rejected(None, "unknown user alice", is_temporary=False), b"NO [AUTHENTICATIONFAILED] Authentication failed."),
        (Rejected("EXPIRED", "Renew it.", is_temporary=False), b"NO [EXPIRED] Renew it."),
        (Rejected("INUSE", "Busy.", is_temporary=True), b"NO [INUSE] Busy."),
        (Rejected(None, "What?", is_temporary=True), b"NO [UNAVAILABLE] What?"),
    ],
    ids=["I73-credentials", "code", "temporary", "temporary without code"],
)
def test_the_mail_servers_refusal(rejected: Rejected, told: bytes) -> None:
    """Of credentials in fixed words, of anything else in its own."""
    peer = ScriptedPeer(outcomes=(lambda dialogue: dialogue.rejected(rejected),))
    talk(peer, LOGIN)
    assert peer.told == b"a " + told + b"\r\n"


@pytest.mark.parametrize("answer", [b"\r\n", b"AQ==\r\n", b"*\r\n"], ids=["empty", "dummy", "cancel"])
def test_a_bearer_error_waits_for_its_answer(answer: bytes) -> None:
    """O01, O09: challenge, any line, then the tagged NO; the answer is no command and no credentials."""
    error = Rejected(None, "no", is_temporary=False, challenge=b"eyJ9")
    peer = ScriptedPeer(
        upstream_offers=frozenset({"AUTH=XOAUTH2"}), outcomes=(lambda dialogue: dialogue.rejected(error),)
    )
    dialogue = talk(peer, b"a AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n")
    assert peer.told == b"+ eyJ9\r\n"
    peer.feed(dialogue, answer + b"b NOOP\r\n")
    assert peer.told == b"+ eyJ9\r\na NO [AUTHENTICATIONFAILED] Authentication failed.\r\nb OK Done.\r\n"
    assert len(peer.logins) == 1


def test_a_bearer_mechanism_is_only_there_when_the_mail_server_has_it() -> None:
    """It is not even tried."""
    peer = ScriptedPeer()
    talk(peer, b"a AUTHENTICATE XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIHQBAQ==\r\n")
    assert peer.told == b"a NO [CANNOT] This mechanism is not offered.\r\n"
    assert peer.logins == []


def test_starttls_forgets() -> None:
    """T08: errors, what was asked, and half a command."""
    peer = in_the_clear()
    peer.logged_in = OFFERED
    dialogue = talk(peer, b"a CAPABILITY\r\n", b"b X\r\n" * (MAX_ERRORS - 1), b"c STARTTLS\r\n")
    assert peer.tls == [(b"c OK Begin TLS now.\r\n", b"")]
    dialogue.tls_started()
    peer.told, peer.is_encrypted, peer.offers_tls, peer.takes_credentials = b"", True, False, True

    peer.feed(dialogue, b"d X\r\n" * (MAX_ERRORS - 1) + LOGIN)
    assert peer.told == b"d " + BAD + b"d " + BAD + b"a OK [CAPABILITY IMAP4rev1 IDLE QUOTA] Welcome.\r\n"


def test_starttls_under_tls_is_no_command() -> None:
    """Nor where the listener has none."""
    peer = ScriptedPeer()
    talk(peer, b"a STARTTLS\r\n")
    assert (peer.told, peer.tls) == (b"a " + BAD, [])


def test_commands_are_counted() -> None:
    """I33: the one over the limit ends the dialogue."""
    peer = ScriptedPeer()
    dialogue = talk(peer, b"a NOOP\r\n" * MAX_COMMANDS)
    assert not peer.closed
    peer.feed(dialogue, b"a NOOP\r\n")
    assert peer.closed
    assert peer.told.endswith(TOO_MANY)


@pytest.mark.parametrize(
    "line",
    [b"x y\r\n", b"+ x\r\n", b"a AUTHENTICATE PLAIN =\r\n", b'a LOGIN a ""\r\n', b"a X {9}\r\n"],
)
def test_errors_are_counted_of_every_kind(line: bytes) -> None:
    """I34: whatever was wrong."""
    peer = ScriptedPeer()
    talk(peer, *[line] * (MAX_ERRORS + 1))
    assert peer.closed
    assert peer.told.endswith(TOO_MANY)


def test_wrong_passwords_are_no_errors() -> None:
    """The flow counts attempts."""
    peer = ScriptedPeer(outcomes=(reject,) * 4)
    talk(peer, *[LOGIN] * 4)
    assert not peer.closed


@pytest.mark.parametrize("why", list(Farewell))
def test_every_farewell_is_a_bye(why: Farewell) -> None:
    """One line."""
    words = imap_dialogue()(ScriptedPeer()).farewell(why)
    assert words.startswith(b"* BYE ")
    assert words.count(b"\n") == 1
    assert words.endswith(b".\r\n")


def test_a_closed_dialogue_is_deaf_and_dumb() -> None:
    """After `closed` nothing is said or asked."""
    peer = ScriptedPeer()
    dialogue = imap_dialogue()(peer)
    dialogue.closed()
    dialogue.greet()
    dialogue.receive(LOGIN)
    dialogue.unavailable()
    dialogue.refused("no")
    assert (peer.told, peer.logins) == (b"", [])


@pytest.mark.parametrize(
    ("tells", "command"),
    [
        ("id", b'Ti ID ("x-originating-ip" "192.0.2.1" "x-originating-port" "4711" "x-session-id" "T")\r\n'),
        ("none", b""),
        ("proxy", b""),
    ],
)
def test_the_log_in_upstream_tells_the_address_as_configured(tells: str, command: bytes) -> None:
    """By ID only where that is the configured way."""
    login = UpstreamLogin(
        name="alice", starttls=False, tag="T", client_address="192.0.2.1", client_port=4711, tells_address=tells
    )
    credentials = Credentials(mechanism=Mechanism.LOGIN, name="Alice", secret=Secret(b"w"))
    client = imap_dialogue()(ScriptedPeer()).login(credentials, login)
    assert isinstance(client, ImapLogin)
    client.receive_data(b"* OK [CAPABILITY IMAP4rev1 ID] hi\r\n")
    assert client.next_step() == Send(command + b'Tl LOGIN "alice" "w"\r\n')


@pytest.mark.parametrize(
    ("offers", "more"),
    [
        ({"LITERAL+", "LITERAL-"}, b"LITERAL+ "),
        ({"LITERAL-"}, b"LITERAL- "),
        ({"IDLE"}, b""),
    ],
)
def test_literals_are_offered_as_the_mail_server_takes_them(offers: set[str], more: bytes) -> None:
    """For clients go on using them after the log-in."""
    peer = ScriptedPeer(upstream_offers=frozenset(offers))
    imap_dialogue()(peer).greet()
    assert peer.told == b"* OK [CAPABILITY IMAP4rev1 " + more + b"SASL-IR ID ENABLE IDLE AUTH=PLAIN] Ready.\r\n"


@pytest.mark.parametrize(
    ("offers", "said"),
    [
        (set(), b"IMAP4rev1"),
        ({"IDLE"}, b"IMAP4rev1"),
        ({"IMAP4REV1", "IMAP4REV2"}, b"IMAP4rev1 IMAP4rev2"),
        ({"IMAP4REV2"}, b"IMAP4rev2"),
    ],
)
def test_the_revisions_are_those_of_the_mail_server(offers: set[str], said: bytes) -> None:
    """Before log-in they are the same to us (RFC 9051 App. E); which one a client goes on with is the server's."""
    peer = ScriptedPeer(upstream_offers=frozenset(offers))
    imap_dialogue()(peer).greet()
    assert peer.told == b"* OK [CAPABILITY " + said + b" SASL-IR ID ENABLE IDLE AUTH=PLAIN] Ready.\r\n"


@pytest.mark.parametrize(
    ("offer", "octets", "is_too_big"),
    [("LITERAL-", 4097, True), ("LITERAL-", 9000, True), ("LITERAL-", 4096, False), ("LITERAL+", 4097, False)],
)
def test_i13_the_bound_of_literal_minus_is_kept(offer: str, octets: int, is_too_big: bool) -> None:
    """A longer literal that does not wait ends the dialogue with TOOBIG before it is read (RFC 7888 §5)."""
    peer = ScriptedPeer(upstream_offers=frozenset({offer}))
    dialogue = imap_dialogue()(peer)
    dialogue.greet()
    peer.told = b""
    peer.feed(dialogue, b"a LOGIN alice {%d+}\r\n" % octets)
    assert peer.closed is is_too_big
    assert peer.told == (b"* BYE [TOOBIG] Literal too large.\r\n" if is_too_big else b"")


def test_i13_a_literal_that_waits_may_be_longer() -> None:
    """It was asked for."""
    peer = ScriptedPeer(upstream_offers=frozenset({"LITERAL-"}))
    dialogue = imap_dialogue()(peer)
    dialogue.greet()
    peer.feed(dialogue, b"a LOGIN alice {5000}\r\n")
    assert peer.told.endswith(b"+ OK\r\n")


def test_what_a_client_says_of_itself_is_a_hint() -> None:
    """D02: handed on clean, answered here, and an empty list says nothing."""
    peer = ScriptedPeer()
    talk(peer, b'a ID ("name" "K-9" "x-originating-ip" "10.0.0.1")\r\n', b"b ID NIL\r\n", b"c ID ()\r\n")
    assert peer.hints == ["name=K-9"]
    assert peer.told == b"* ID NIL\r\na OK Done.\r\n* ID NIL\r\nb OK Done.\r\n* ID NIL\r\nc OK Done.\r\n"


SASL_LOGIN = ScriptedPeer(upstream_offers=frozenset({"AUTH=LOGIN"}))
ASKS_NAME, ASKS_PASSWORD = b"+ VXNlcm5hbWU6\r\n", b"+ UGFzc3dvcmQ6\r\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([b"a AUTHENTICATE LOGIN\r\n", b"YWxpY2U=\r\n", b"d29uZGVy\r\n"], ASKS_NAME + ASKS_PASSWORD),
        ([b"a authenticate login YWxpY2U=\r\n", b"d29uZGVy\r\n"], ASKS_PASSWORD),
        ([b"a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\nd29uZGVy\r\n"], ASKS_NAME + ASKS_PASSWORD),
    ],
    ids=["asked for both", "asked for the password", "not waiting"],
)
def test_sasl_login_asks_for_the_name_and_then_for_the_password(said: list[bytes], told: bytes) -> None:
    """The prompts are those that every server sends: clients compare them (draft-murchison-sasl-login)."""
    peer = replace(SASL_LOGIN, logins=[], hints=[])
    talk(peer, *said)
    assert peer.told == told + b"a OK Logged in\r\n"
    assert peer.logins == [("LOGIN", "alice", b"wonder")]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([b"*\r\n"], b"a BAD Cancelled.\r\n"),
        ([b"YWxpY2U=\r\n", b"*\r\n"], ASKS_PASSWORD + b"a BAD Cancelled.\r\n"),
        ([b"?\r\n", b"d29uZGVy\r\n"], ASKS_PASSWORD + b"a BAD Not a valid response.\r\n"),
        ([b"YWxpY2U=\r\n", b"?\r\n"], ASKS_PASSWORD + b"a BAD Not a valid response.\r\n"),
        ([b"=\r\n", b"=\r\n"], ASKS_PASSWORD + b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"),
    ],
    ids=["cancelled", "cancelled-later", "no-base64", "no-base64-later", "empty"],
)
def test_a_sasl_login_that_goes_wrong_leaves_nothing_behind(said: list[bytes], told: bytes) -> None:
    """No name is kept for a later exchange, and what follows is a command again."""
    peer = replace(SASL_LOGIN, logins=[], hints=[])
    talk(peer, b"a AUTHENTICATE LOGIN\r\n", *said, b"b AUTHENTICATE LOGIN\r\n", b"YQ==\r\n", b"Yg==\r\n")
    assert peer.told == ASKS_NAME + told + ASKS_NAME + ASKS_PASSWORD + b"b OK Logged in\r\n"
    assert peer.logins == [("LOGIN", "a", b"b")]


def test_sasl_login_is_only_there_when_the_mail_server_has_it() -> None:
    """Neither offered nor tried, like bearer mechanisms."""
    peer = ScriptedPeer(upstream_offers=frozenset({"AUTH=PLAIN"}))
    talk(peer, b"a AUTHENTICATE LOGIN YWxpY2U=\r\n")
    assert peer.told == b"a NO [CANNOT] This mechanism is not offered.\r\n"


EXTERNAL = ScriptedPeer(upstream_offers=frozenset({"AUTH=PLAIN"}), takes_certificate=True)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([b"a AUTHENTICATE EXTERNAL =\r\n"], b""),
        ([b"a AUTHENTICATE EXTERNAL YWxpY2U=\r\n"], b""),
        ([b"a AUTHENTICATE EXTERNAL\r\n", b"\r\n"], b"+ \r\n"),
    ],
    ids=["E01", "E01-authzid", "E01-asked"],
)
def test_external_is_tried_where_it_is_offered(said: list[bytes], told: bytes) -> None:
    """With an initial response or an answer to the empty challenge; the certificate is the flow's matter."""
    peer = replace(EXTERNAL, logins=[], hints=[])
    dialogue = imap_dialogue()(peer)
    dialogue.greet()
    assert b" AUTH=PLAIN AUTH=EXTERNAL]" in peer.told
    peer.told = b""
    wish = b"YWxpY2U=" in said[0]
    for piece in said:
        peer.feed(dialogue, piece)
    assert peer.told == told + (
        b"a NO [AUTHORIZATIONFAILED] Acting as another user is not allowed.\r\n" if wish else b"a OK Logged in\r\n"
    )
    assert peer.logins == ([] if wish else [("EXTERNAL", "", b"")])


def test_e03_external_without_certificate_is_not_there() -> None:
    """Neither offered nor tried."""
    peer = ScriptedPeer(upstream_offers=frozenset({"AUTH=PLAIN"}))
    talk(peer, b"a AUTHENTICATE EXTERNAL YWxpY2U=\r\n")
    assert peer.told == b"a NO [CANNOT] This mechanism is not offered.\r\n"
    assert peer.logins == []
