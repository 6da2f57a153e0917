"""Playbooks of the ManageSieve dialogue before admission: the client says, we answer, the flow is asked and answers."""

import base64

import pytest

from gatekeeper.domain.request import MailProtocol
from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement import points
from gatekeeper.enforcement.flow.dialogue import Dialogue, Farewell, UpstreamLogin
from gatekeeper.enforcement.sieve.dialogue import MAX_COMMANDS, MAX_ERRORS, SieveDialogue
from gatekeeper.protocols.login import LoggedIn, Rejected, Send
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism
from gatekeeper.protocols.sieve.client import SieveLogin
from testkit.gate_fakes import ScriptedPeer, fault, refuse, reject

PLAIN = base64.b64encode(b"\0alice\0wonderland")
LOGIN = b'AUTHENTICATE "PLAIN" "' + PLAIN + b'"\r\n'
XOAUTH2 = b"user=alice\x01auth=Bearer t\x01\x01"
OAUTHBEARER = b"n,a=alice,\x01auth=Bearer t\x01\x01"
OFFERS = frozenset(
    {
        "IMPLEMENTATION Dovecot Pigeonhole",
        "SIEVE fileinto Vacation",
        "NOTIFY mailto",
        "MAXREDIRECTS 4",
        "VERSION 1.0",
        "AUTH=PLAIN",
        "AUTH=XOAUTH2",
        "AUTH=OAUTHBEARER",
        "AUTH=GSSAPI",
    }
)
AROUND = frozenset({"UNAUTHENTICATE", "STARTTLS", "XCLIENT", "OWNER alice", "X-ODD a b"})
OK = b'OK "Logged in"\r\n'
NO = b'NO "Not understood, or not allowed before logging in."\r\n'
WRONG = b'NO "Authentication failed."\r\n'
TOO_MANY = b'BYE "Too many errors."\r\n'
NEEDS_TLS = b'NO (ENCRYPT-NEEDED) "Start TLS before logging in."\r\n'


def in_the_clear() -> ScriptedPeer:
    return ScriptedPeer(is_encrypted=False, takes_credentials=False, offers_tls=True)


def talk(peer: ScriptedPeer, *pieces: bytes) -> Dialogue:
    """Let the client say the pieces, one after the other."""
    dialogue = SieveDialogue(peer)
    for piece in pieces:
        peer.feed(dialogue, piece)
    return dialogue


UNHEARD = b'"IMPLEMENTATION" "ManageSieve"\r\n"SASL" "%b"\r\n"SIEVE" ""\r\n"VERSION" "1.0"\r\n'
HEARD = (
    b'"IMPLEMENTATION" "Dovecot Pigeonhole"\r\n"SASL" "%b"\r\n"SIEVE" "fileinto Vacation"\r\n'
    b'"NOTIFY" "mailto"\r\n"MAXREDIRECTS" "4"\r\n"VERSION" "1.0"\r\n'
)


@pytest.mark.parametrize(
    ("peer", "offered"),
    [
        (ScriptedPeer(), UNHEARD % b"PLAIN LOGIN"),
        (in_the_clear(), UNHEARD % b"" + b'"STARTTLS"\r\n'),
        (ScriptedPeer(is_encrypted=False), UNHEARD % b"PLAIN LOGIN"),
        (ScriptedPeer(upstream_offers=OFFERS), HEARD % b"PLAIN LOGIN XOAUTH2 OAUTHBEARER"),
        (ScriptedPeer(upstream_offers=OFFERS | AROUND), HEARD % b"PLAIN LOGIN XOAUTH2 OAUTHBEARER"),
    ],
    ids=["under TLS", "before STARTTLS", "allowed in the clear", "the mail server's", "nothing that leads around"],
)
def test_what_is_offered(peer: ScriptedPeer, offered: bytes) -> None:
    """M03: greeting and CAPABILITY say the same: what there is after log-in, and how to get there through us."""
    dialogue = SieveDialogue(peer)
    dialogue.greet()
    assert peer.told == offered + b'OK "Ready."\r\n'
    peer.told = b""
    peer.feed(dialogue, b"capability\r\n")
    assert peer.told == offered + b'OK "Done."\r\n'


def test_a_value_of_the_mail_servers_is_a_string_whatever_it_is() -> None:
    """Quotes are escaped, and what is too long to be quoted is a literal."""
    peer = ScriptedPeer(upstream_offers=frozenset({'IMPLEMENTATION a "b" \\', "SIEVE " + "x" * 1025}))
    SieveDialogue(peer).greet()
    assert b'"IMPLEMENTATION" "a \\"b\\" \\\\"\r\n' in peer.told
    assert b'"SIEVE" {1025}\r\n' + b"x" * 1025 + b"\r\n" in peer.told


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"NOOP\r\n", b'OK "Done."\r\n'),
        (b'NOOP "a tag"\r\n', b'OK (TAG "a tag") "Done."\r\n'),
        (b'noop "a\\"\\\\"\r\n', b'OK (TAG "a\\"\\\\") "Done."\r\n'),
        (b"NOOP {2+}\r\n\r\n\r\n", b'OK (TAG {2}\r\n\r\n) "Done."\r\n'),
        (b"NOOP {0+}\r\n\r\n", b'OK (TAG "") "Done."\r\n'),
        (b'NOOP "a" "b"\r\n', NO),
        (b"NOOP {1025+}\r\n" + b"x" * 1025 + b"\r\n", NO),
        (b"NOOP tag\r\n", NO),
        (b"CAPABILITY x\r\n", NO),
        (b'CAPABILITY "x"\r\n', NO),
        (b"LISTSCRIPTS\r\n", NO),
        (b'HAVESPACE "x" 12\r\n', NO),
        (b'PUTSCRIPT "x" {8+}\r\nLOGOUT\r\n\r\n', NO),
        (b'GETSCRIPT "x"\r\n', NO),
        (b"UNAUTHENTICATE\r\n", NO),
        (b"XCLIENT ADDR=127.0.0.1\r\n", NO),
        (b"STARTTLS\r\n", NO),
        (b"AUTHENTICATE\r\n", NO),
        (b'AUTHENTICATE "PLAIN" "" ""\r\n', NO),
        (b"AUTHENTICATE PLAIN\r\n", NO),
        (b"\r\n", NO),
    ],
)
def test_commands_without_a_log_in(said: bytes, answer: bytes) -> None:
    """The closed set; all else is refused in one answer, with what it brought."""
    peer = ScriptedPeer()
    talk(peer, said, b"NOOP\r\n")
    assert peer.told == answer + b'OK "Done."\r\n'


def test_logout_closes() -> None:
    """With OK, and nothing behind it is answered."""
    peer = ScriptedPeer()
    talk(peer, b"LOGOUT\r\nNOOP\r\n")
    assert (peer.told, peer.closed) == (b'OK "Goodbye."\r\n', True)


@pytest.mark.parametrize(
    "said",
    [
        LOGIN,
        b"authenticate {5+}\r\nplain {24+}\r\n" + PLAIN + b"\r\n",
        b'AUTHENTICATE "PLAIN"\r\n"' + PLAIN + b'"\r\n',
        b'AUTHENTICATE "PLAIN"\r\n{24+}\r\n' + PLAIN + b"\r\n",
    ],
    ids=["quoted", "M01-literal", "asked", "asked, literal"],
)
def test_plain_in_every_form(said: bytes) -> None:
    """M01: mechanism and response as quoted string or literal, with the command or when asked."""
    peer = ScriptedPeer()
    talk(peer, said)
    assert peer.logins == [("PLAIN", "alice", b"wonderland")]
    assert peer.told == (b'""\r\n' if said.count(b'"PLAIN"\r\n') else b"") + OK


@pytest.mark.parametrize("initial", [True, False])
def test_login_asks_for_name_and_password(initial: bool) -> None:
    """The challenges are strings in base64; the name may come with the command."""
    peer = ScriptedPeer()
    name = b'"' + base64.b64encode(b"alice") + b'"\r\n'
    talk(peer, *([b'AUTHENTICATE "LOGIN" ' + name] if initial else [b'AUTHENTICATE "LOGIN"\r\n', name]), b'"cHc="\r\n')
    assert peer.logins == [("LOGIN", "alice", b"pw")]
    assert peer.told == (b"" if initial else b'"VXNlcm5hbWU6"\r\n') + b'"UGFzc3dvcmQ6"\r\n' + OK


@pytest.mark.parametrize(("mechanism", "response"), [("XOAUTH2", XOAUTH2), ("OAUTHBEARER", OAUTHBEARER)])
def test_a_bearer_mechanism_is_only_there_when_the_mail_server_has_it(mechanism: str, response: bytes) -> None:
    """Then its response is kept as it came; else it is not even tried."""
    said = f'AUTHENTICATE "{mechanism}" "'.encode() + base64.b64encode(response) + b'"\r\n'
    peer = ScriptedPeer(upstream_offers=OFFERS)
    talk(peer, said)
    assert peer.logins == [(mechanism, "alice", response)]

    without = ScriptedPeer()
    talk(without, said)
    assert (without.told, without.logins) == (b'NO "This mechanism is not offered."\r\n', [])


@pytest.mark.parametrize("answer", [b'""\r\n', b'"AQ=="\r\n', b'"*"\r\n', b"\r\n", b"{4+}\r\nAQ==\r\n"])
def test_a_bearer_error_waits_for_its_answer(answer: bytes) -> None:
    """Challenge, any line, then NO; the answer is no command and no credentials."""
    error = Rejected(None, "no", is_temporary=False, challenge=b"eyJ9")
    peer = ScriptedPeer(upstream_offers=OFFERS, outcomes=(lambda dialogue: dialogue.rejected(error),))
    dialogue = talk(peer, b'AUTHENTICATE "XOAUTH2" "' + base64.b64encode(XOAUTH2) + b'"\r\n')
    assert peer.told == b'"eyJ9"\r\n'
    peer.feed(dialogue, answer + b"NOOP\r\n")
    assert peer.told == b'"eyJ9"\r\n' + WRONG + b'OK "Done."\r\n'
    assert len(peer.logins) == 1


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (b'"*"', b'NO "Cancelled."\r\n'),
        (b"{1+}\r\n*", b'NO "Cancelled."\r\n'),
        (b"*", b'NO "Not a valid response."\r\n'),
        (b'"not base64"', b'NO "Not a valid response."\r\n'),
        (b'"' + base64.b64encode(b"bob\0alice\0x") + b'"', b'NO "Acting as another user is not allowed."\r\n'),
        (b'"' + base64.b64encode(b"\0alice\0") + b'"', WRONG),
        (b'""', WRONG),
        (b'"YQ==" "YQ=="', b'NO "Not a valid response."\r\n'),
    ],
)
def test_a_response_that_gives_no_credentials(response: bytes, answer: bytes) -> None:
    """Is answered, and the next line is a command again."""
    peer = ScriptedPeer()
    talk(peer, b'AUTHENTICATE "PLAIN"\r\n', response + b"\r\n", b"NOOP\r\n")
    assert peer.told == b'""\r\n' + answer + b'OK "Done."\r\n'
    assert peer.logins == []


def test_an_exchange_ends_with_a_response_that_is_none() -> None:
    """The next line is an unknown command, not a response again."""
    peer = ScriptedPeer()
    talk(peer, b'AUTHENTICATE "PLAIN"\r\n', b"x\r\n", b"1\r\n")
    assert peer.told == b'""\r\nNO "Not a valid response."\r\n' + NO


def test_credentials_before_tls_are_not_used() -> None:
    """NO (ENCRYPT-NEEDED); that they were exposed is told, unless only the mechanism came."""
    peer = in_the_clear()
    talk(peer, LOGIN, b'AUTHENTICATE "PLAIN"\r\n', b'AUTHENTICATE "FOO" "x"\r\n')
    assert (peer.told, peer.logins) == (NEEDS_TLS * 3, [])
    assert peer.exposed == ["PLAIN", "other"]


def test_nothing_is_interpreted_during_a_log_in() -> None:
    """What arrives meanwhile is kept, and is the mail server's after admission."""
    peer = ScriptedPeer()
    dialogue = SieveDialogue(peer)
    dialogue.receive(LOGIN + b'PUTSCRIPT "x" {3+}\r\nab')
    dialogue.receive(b"c\r\n")
    assert (peer.told, len(peer.logins)) == (b"", 1)

    assert dialogue.admitted(LoggedIn('Hi "there".')) == b'OK "Hi \\"there\\"."\r\n'
    assert dialogue.unread() == b'PUTSCRIPT "x" {3+}\r\nabc\r\n'


def test_one_connection_can_hear_everything() -> None:
    """Wrong password, fault, refusal with its reason, admission; a refusal is never worded as a wrong password."""
    peer = ScriptedPeer(outcomes=(reject, fault, refuse))
    talk(peer, LOGIN, LOGIN, LOGIN, LOGIN)
    assert peer.told == (
        WRONG
        + b'NO (TRYLATER) "Temporarily unavailable; please try again later."\r\n'
        + b'NO "TikTok is on this phone."\r\n'
        + OK
    )


def test_a_refusal_keeps_its_letters() -> None:
    """Strings are UTF-8 here, and quotes in an app's name stay inside."""
    peer = ScriptedPeer(outcomes=(lambda dialogue: dialogue.refused('"Spiel\\Spaß" muss weg.'),))
    talk(peer, LOGIN)
    assert peer.told == 'NO "\\"Spiel\\\\Spaß\\" muss weg."\r\n'.encode()


def test_after_a_refusal_pipelined_commands_go_nowhere() -> None:
    """They are answered here, as before any log-in."""
    peer = ScriptedPeer(outcomes=(refuse,))
    talk(peer, LOGIN + b"LISTSCRIPTS\r\nNOOP\r\n")
    assert peer.told == b'NO "TikTok is on this phone."\r\n' + NO + b'OK "Done."\r\n'
    assert (peer.admitted, peer.upstream) == (False, b"")


@pytest.mark.parametrize(
    ("rejected", "told"),
    [
        (Rejected(None, "unknown user alice", is_temporary=False), WRONG),
        (Rejected("TRANSITION-NEEDED", "Once.", is_temporary=False), b'NO (TRANSITION-NEEDED) "Once."\r\n'),
        (Rejected("TRYLATER", 'Bu"sy.', is_temporary=True), b'NO (TRYLATER) "Bu\\"sy."\r\n'),
        (Rejected(None, "What?", is_temporary=True), b'NO (TRYLATER) "What?"\r\n'),
    ],
    ids=["credentials", "code", "temporary", "temporary without code"],
)
def test_the_mail_servers_refusal(rejected: Rejected, told: bytes) -> None:
    """Of credentials in fixed words, of anything else in its own."""
    peer = ScriptedPeer(outcomes=(lambda dialogue: dialogue.rejected(rejected),))
    talk(peer, LOGIN)
    assert peer.told == told


def test_starttls_forgets_and_says_anew_what_is_offered() -> None:
    """T04, T08: errors, half a command, an exchange; then the capabilities, unasked (RFC 5804 §2.2)."""
    peer = in_the_clear()
    dialogue = talk(peer, b"X\r\n" * (MAX_ERRORS - 1), b"STARTTLS\r\n")
    assert peer.tls == [(b'OK "Begin TLS now."\r\n', b"")]
    peer.told, peer.is_encrypted, peer.offers_tls, peer.takes_credentials = b"", True, False, True
    dialogue.tls_started()
    assert peer.told == UNHEARD % b"PLAIN LOGIN" + b'OK "TLS is on."\r\n'

    peer.told = b""
    peer.feed(dialogue, b"X\r\n" * (MAX_ERRORS - 1) + LOGIN)
    assert peer.told == NO * (MAX_ERRORS - 1) + OK


def test_octets_behind_starttls_are_told() -> None:
    """T04: the flow ends such a connection."""
    peer = in_the_clear()
    talk(peer, b"STARTTLS\r\nNOOP\r\n")
    assert peer.tls == [(b'OK "Begin TLS now."\r\n', b"NOOP\r\n")]
    assert peer.told == b""


def test_commands_are_counted() -> None:
    """The one over the limit ends the dialogue."""
    peer = ScriptedPeer()
    dialogue = talk(peer, b"NOOP\r\n" * MAX_COMMANDS)
    assert not peer.closed
    peer.feed(dialogue, b"NOOP\r\n")
    assert peer.closed
    assert peer.told.endswith(b'OK "Done."\r\n' + TOO_MANY)


@pytest.mark.parametrize(
    "line",
    [b"x y\r\n", b'AUTHENTICATE "PLAIN" "="\r\n', b'AUTHENTICATE "X" ""\r\n', b'AUTHENTICATE "PLAIN"\r\n"*"\r\n'],
)
def test_errors_are_counted_of_every_kind(line: bytes) -> None:
    """Whatever was wrong."""
    peer = ScriptedPeer()
    dialogue = talk(peer, *[line] * (MAX_ERRORS - 1))
    assert not peer.closed
    peer.feed(dialogue, line + b"NOOP\r\n")
    assert peer.closed
    assert peer.told.endswith(TOO_MANY)


def test_wrong_passwords_are_no_errors() -> None:
    """The flow counts attempts."""
    peer = ScriptedPeer(outcomes=(reject,) * 4)
    talk(peer, *[LOGIN] * 4)
    assert not peer.closed


@pytest.mark.parametrize(
    "said",
    [
        b'AUTHENTICATE "PLAIN" {24}\r\n',
        b"PUTSCRIPT {9999999999+}\r\n",
        b"NOOP\n",
        b"GET / HTTP/1.1\r\n",
        b"N\0OOP\r\n",
        b"x" * 9000,
    ],
    ids=["literal that waits", "huge literal", "bare LF", "browser", "NUL", "long line"],
)
def test_what_cannot_be_told_apart_ends_the_dialogue(said: bytes) -> None:
    """With BYE, and nothing behind it is read."""
    peer = ScriptedPeer()
    talk(peer, said + b"NOOP\r\n")
    assert (peer.told, peer.closed) == (TOO_MANY, True)


@pytest.mark.parametrize("why", list(Farewell))
def test_every_farewell_is_a_bye(why: Farewell) -> None:
    """One line; what passes by itself is TRYLATER."""
    words = SieveDialogue(ScriptedPeer()).farewell(why)
    later = why in (Farewell.SHUTTING_DOWN, Farewell.FAULT)
    assert words.startswith(b'BYE (TRYLATER) "' if later else b'BYE "')
    assert words.endswith(b'."\r\n')
    assert words.count(b"\n") == 1


def test_a_closed_dialogue_is_deaf_and_dumb() -> None:
    """After `closed` nothing is said or asked."""
    peer = ScriptedPeer()
    dialogue = SieveDialogue(peer)
    dialogue.closed()
    dialogue.greet()
    dialogue.receive(LOGIN)
    dialogue.unavailable()
    dialogue.refused("no")
    assert (peer.told, peer.logins) == (b"", [])


@pytest.mark.parametrize("tells", points()[MailProtocol.SIEVE].tells_address)
def test_the_log_in_upstream_tells_the_address_as_configured(tells: str) -> None:
    """By XCLIENT only where that is the configured way."""
    login = UpstreamLogin(
        name="alice", starttls=False, tag="T", client_address="2001:db8::1", client_port=4711, tells_address=tells
    )
    credentials = Credentials(mechanism=Mechanism.LOGIN, name="Alice", secret=Secret(b"w"))
    client = SieveDialogue(ScriptedPeer()).login(credentials, login)
    assert isinstance(client, SieveLogin)
    client.receive_data(b'"SASL" "PLAIN"\r\n"XCLIENT"\r\nOK\r\n')
    told = Send(b"XCLIENT ADDR=2001:db8::1 PORT=4711 SESSION=T\r\n")
    asked = Send(b'AUTHENTICATE "PLAIN" "' + base64.b64encode(b"\0alice\0w") + b'"\r\n')
    assert client.next_step() == (told if tells == "xclient" else asked)
