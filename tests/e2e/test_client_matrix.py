"""Which client does what through the gate, against which mail server: a cell is a test, `client-server-action`.

What a client fetches, appends or sends is compared octet by octet with what lies in the mail server's own files. A user
whose phone has a denied app is refused in our words (`refuse`), and served once the app is gone (`recover`).
"""

import contextlib
import imaplib
import itertools
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit import cyrus as cyrus_server
from testkit.bed import MATRIX, Target
from testkit.clients import ACTIONS, IDLERS, Seat, without
from testkit.cyrus import Cyrus
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, upstream
from testkit.inventory import TIKTOK, device
from testkit.postfix import Postfix
from testkit.tls import Authority, KeyPair
from testkit.waiting import DeadlineMissedError, eventually

MakeGate = Callable[..., GateProcess]
REFUSAL = "TikTok is on this phone"
FAILS_SILENTLY = frozenset({"neomutt", "getmail"})
"""Clients that end as if all were well when a log-in is refused."""
WRITES_ITS_OWN_HEAD = frozenset({"neomutt"})
"""Clients that are given a body only; they append a copy to the INBOX besides."""
KEEPS_TO_ITSELF: frozenset[str] = frozenset()
"""Clients that do not tell what the server said."""


@dataclass(frozen=True, slots=True)
class Site:
    """A mail server with a gate in front of it."""

    gate: GateProcess
    target: Target
    imaps_port: int
    """The mail server's own."""
    stored: Callable[[User], set[bytes]]
    """What lies in a user's INBOX, with CRLF."""

    @contextlib.contextmanager
    def direct(self, user: User) -> Iterator[imaplib.IMAP4]:
        """Speak to the mail server itself."""
        context: ssl.SSLContext = self.target.context()
        with imaplib.IMAP4_SSL("localhost", self.imaps_port, ssl_context=context, timeout=15) as client:
            client.login(user.login, user.password)
            yield client


def _message(user: User, subject: str) -> bytes:
    """A message with what has been lost on the way before: dots, 8-bit octets, spaces at the end, long lines."""
    return (
        f"From: {user.login}\r\nTo: {user.login}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n"
        "Date: Fri, 10 Jul 2020 09:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
        "Gr\u00fc\u00dfe \u20ac\r\n..two dots\r\nFrom here\r\nspaces   \r\n" + "x" * 900 + "\r\n.\r\n\r\nend\r\n"
    ).encode()


def _site(gate: GateProcess, ca_file: Path, imaps_port: int, stored: Callable[[User], set[bytes]]) -> Site:
    gate.start()
    gate.register(*_phones(TIKTOK))
    ports = gate.ports
    target = Target("gate", ports.imaps, ports.imap, ports.submissions, ports.submission, ca_file)
    return Site(gate, target, imaps_port, stored)


def _phones(*denied: dict[str, object]) -> Iterator[str]:
    """The registered phones; those of the users to be refused have these apps besides."""
    for (client, action), user in MATRIX.items():
        apps = denied if action == "refuse" else ()
        yield device(f"ph-{client}-{action}", user.login, *apps)


@pytest.fixture(scope="module")
def dovecot_site(
    make_gate_anywhere: MakeGate, dovecot: Dovecot, postfix: Postfix, servers_ca: Authority
) -> Iterator[Site]:
    """Run a gate in front of Dovecot and Postfix."""
    gate = make_gate_anywhere({"upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)}})

    def stored(user: User) -> set[bytes]:
        files = dovecot.maildir(user).glob("[cn]*/*")
        return {file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for file in files}

    yield _site(gate, servers_ca.ca_file, dovecot.imaps_port, stored)
    gate.discard()


@pytest.fixture(scope="module")
def cyrus(mail_certificate: KeyPair) -> Iterator[Cyrus]:
    """Run a Cyrus."""
    if not cyrus_server.IS_INSTALLED:
        pytest.skip("Cyrus is not installed")
    server = Cyrus(mail_certificate, tuple(MATRIX.values()))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cyrus_site(make_gate_anywhere: MakeGate, cyrus: Cyrus, servers_ca: Authority) -> Iterator[Site]:
    """Run a gate in front of Cyrus."""
    gate = make_gate_anywhere({"upstream": {"imap": upstream(cyrus.imap_port), "smtp": upstream(25)}})
    yield _site(gate, servers_ca.ca_file, cyrus.imaps_port, cyrus.messages)
    gate.discard()


@pytest.fixture(scope="module")
def healed() -> set[str]:
    """Return the servers in front of which the denied app has gone from every phone."""
    return set()


@pytest.fixture
def site(server: str, request: pytest.FixtureRequest) -> Site:
    """Return the mail server of the cell, with its gate."""
    found: Site = request.getfixturevalue(f"{server}_site")
    return found


@pytest.fixture
def sit(
    client: str, action: str, site: Site, program: Callable[[str], str], tmp_path: Path
) -> Callable[[str], tuple[Seat, bytes]]:
    """Return a maker of a client's seat, and of a message for it."""
    program(client)

    def make(subject: str) -> tuple[Seat, bytes]:
        user = MATRIX[client, action]
        return Seat(tmp_path, user, site.target), _message(user, subject)

    return make


def _cells(action: str, *servers: str) -> pytest.MarkDecorator:
    """One test for each client that can do it and each server."""

    def able(client: str) -> bool:
        return client in IDLERS if action == "idle" else action in ACTIONS[client]

    return pytest.mark.parametrize(
        ("client", "server", "action"),
        [
            pytest.param(client, server, action, id=f"{client}-{server}-{action}")
            for client in ACTIONS
            for server in servers
            if able(client)
        ],
    )


def _first_action(client: str) -> str:
    return "fetch" if "fetch" in ACTIONS[client] else "send"


def _refusals(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("client", "server", "action"),
        [
            pytest.param(client, server, "refuse", id=f"{client}-{server}-{name}")
            for client in ACTIONS
            for server in ("dovecot", "cyrus")
            if server == "dovecot" or _first_action(client) == "fetch"
        ],
    )


@_cells("list", "dovecot", "cyrus")
def test_list(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """The client logs in and names the folders."""
    seat, message = sit(f"{client}-list")
    with site.direct(seat.user) as server:
        server.create("Archive")
    done = ACTIONS[client]["list"](seat, message)

    assert done.code == 0, done.said
    assert "INBOX" in done.said
    assert "Archive" in done.said


@_cells("fetch", "dovecot", "cyrus")
def test_fetch(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """What the client fetches is what was stored."""
    seat, message = sit(f"{client}-fetch")
    with site.direct(seat.user) as server:
        server.append("INBOX", None, None, message)
    assert message in site.stored(seat.user)
    done = ACTIONS[client]["fetch"](seat, message)

    assert done.code == 0, done.said
    assert done.messages == {message}, done.said


@_cells("append", "dovecot", "cyrus")
def test_append(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """What the client appends is what lies on the mail server's disk."""
    seat, message = sit(f"{client}-append")
    done = ACTIONS[client]["append"](seat, message)

    assert done.code == 0, done.said
    assert {without(one, b"X-TUID: ") for one in site.stored(seat.user)} == {message}


@_cells("idle", "dovecot", "cyrus")
def test_idle(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """A client that waits in IDLE fetches what arrives meanwhile."""
    seat, first = sit(f"{client}-idle-first")
    idler = IDLERS[client]
    numbers = itertools.count(1)

    def arrives() -> bool:
        """Whether a new message is fetched; one that comes just before IDLE is only seen with the next."""
        _, message = sit(f"{client}-idle-{next(numbers)}")
        server.append("INBOX", None, None, message)
        with contextlib.suppress(DeadlineMissedError):
            return eventually(lambda: message in idler.messages(seat), within=3)
        return False

    with site.direct(seat.user) as server:
        server.append("INBOX", None, None, first)
        with idler.running(seat):
            eventually(lambda: first in idler.messages(seat), within=30, what="the first message")
            eventually(arrives, within=30, what="a message that arrives meanwhile")


@_cells("send", "dovecot")
def test_send(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """What the client sends is what is delivered, behind the trace headers, and what it keeps of it the same."""
    seat, message = sit(f"{client}-send")
    expected = message.partition(b"\r\n\r\n")[2] if client in WRITES_ITS_OWN_HEAD else message
    done = ACTIONS[client]["send"](seat, message)
    assert done.code == 0, done.said

    eventually(
        lambda: [one for one in site.stored(seat.user) if one.startswith(b"Return-Path:")], within=20, what="delivery"
    )
    assert [one for one in site.stored(seat.user) if not one.endswith(expected)] == []


@_refusals("refuse")
def test_refuse(client: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]]) -> None:
    """A client whose user's phone has a denied app fails, gets no mail, and says why in our words."""
    seat, message = sit(f"{client}-refuse")
    with site.direct(seat.user) as server:
        server.append("INBOX", None, None, message)
    done = ACTIONS[client][_first_action(client)](seat, message)

    assert (done.code == 0) == (client in FAILS_SILENTLY), done.said
    assert done.messages == set()
    assert (REFUSAL in " ".join(done.said.split())) == (client not in KEEPS_TO_ITSELF), done.said


@_refusals("recover")
def test_recover(
    client: str, server: str, action: str, site: Site, sit: Callable[[str], tuple[Seat, bytes]], healed: set[str]
) -> None:
    """Once the app is gone the same client gets its mail."""
    if server not in healed:
        site.gate.register(*_phones())
        healed.add(server)
    seat, message = sit(f"{client}-refuse")
    with site.direct(seat.user) as direct:
        direct.append("INBOX", None, None, message)
    done = ACTIONS[client][_first_action(client)](seat, message)

    assert done.code == 0, done.said
    assert _first_action(client) == "send" or message in done.messages
