"""Which POP3 and ManageSieve client does what through the gate, by which TLS: a cell is a test, `client-door-action`.

What a client fetches or puts is compared with what lies in Dovecot's own files. A user whose phone has a denied app is
refused in our words (`refuse`), and served once the app is gone (`recover`).
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit import dovecot as dovecot_server
from testkit import pop3_clients, sieve_clients
from testkit.bed import DOORS, MORE_MATRIX, Door
from testkit.clients import Outcome, Seat
from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, upstream
from testkit.inventory import TIKTOK, device
from testkit.ports import LOOPBACK, free_port
from testkit.tls import Authority

MakeGate = Callable[..., GateProcess]
Act = Callable[[str], Outcome]

REFUSAL = "TikTok is on this phone"
IMPLICIT_ONLY = frozenset({"getmail"})
STARTTLS_ONLY = frozenset({"sieveconnect"})
PROGRAMS = {"sieveconnect": "sieve-connect", "poplib": "python3", "sievelib": "python3"}
"""Where the program has another name than the client."""
ACTIONS = {**pop3_clients.ACTIONS, **sieve_clients.ACTIONS}
FIRST_ACTION = {**dict.fromkeys(pop3_clients.ACTIONS, "fetch"), **dict.fromkeys(sieve_clients.ACTIONS, "list")}

MESSAGE = (
    b"From: a@example.com\r\nSubject: dots\r\nMessage-ID: <pop3@example.com>\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"\r\n..two dots\r\n.\r\nFrom here\r\nspaces   \r\n" + b"x" * 900 + b"\r\n\xe2\x82\xac\r\n\r\nend\r\n"
)
SCRIPT = b'require ["fileinto"];\r\n# "quotes" \\ {3+} \xc3\xa4\r\nfileinto "x";\r\n' + b"# filler\r\n" * 2000


@dataclass(frozen=True, slots=True)
class Site:
    """Dovecot with a gate in front of it."""

    gate: GateProcess
    server: Dovecot
    doors: dict[str, Door]


@pytest.fixture(scope="module")
def site(make_gate_anywhere: MakeGate, dovecot: Dovecot, servers_ca: Authority) -> Iterator[Site]:
    """Run a gate in front of Dovecot's POP3 and ManageSieve, as far as it speaks them."""
    doors = {name: Door(free_port(), mode == "implicit", servers_ca.ca_file) for name, mode in DOORS.items()}
    tables = {}
    if dovecot_server.SPEAKS_POP3:
        tables["pop3"] = upstream(dovecot.pop3_port)
    if dovecot_server.SPEAKS_SIEVE:
        tables["sieve"] = upstream(dovecot.sieve_port)
    protocols = {name: "sieve" if name.startswith("sieve") else "pop3" for name in doors}
    listeners = [
        {"name": name, "protocol": protocols[name], "bind": f"{LOOPBACK}:{door.port}", "tls": DOORS[name]}
        for name, door in doors.items()
        if protocols[name] in tables
    ]
    if not listeners:
        pytest.skip("neither dovecot-pop3d nor dovecot-managesieved is installed")
    gate = make_gate_anywhere({"listener": listeners, "upstream": tables})
    gate.start()
    gate.register(*_phones(TIKTOK))
    yield Site(gate, dovecot, doors)
    gate.discard()


def _phones(*denied: dict[str, object]) -> Iterator[str]:
    """The registered phones; those of the users to be refused have these apps besides."""
    for (client, door, action), user in MORE_MATRIX.items():
        yield device(f"ph-{client}-{door}-{action}", user.login, *(denied if action == "refuse" else ()))


@pytest.fixture(scope="module")
def healed(site: Site) -> None:
    """Let the denied app go from every phone."""
    site.gate.register(*_phones())


@pytest.fixture
def user(client: str, door: str, action: str) -> User:
    """Return the user of the cell."""
    return MORE_MATRIX[client, door, action]


@pytest.fixture
def act(client: str, door: str, site: Site, user: User, program: Callable[[str], str], tmp_path: Path) -> Act:
    """Return what lets the client do something, with SCRIPT at hand."""
    program(PROGRAMS.get(client, client))
    if not (dovecot_server.SPEAKS_SIEVE if door.startswith("sieve") else dovecot_server.SPEAKS_POP3):
        pytest.skip("dovecot-pop3d or dovecot-managesieved is not installed")
    (tmp_path / "up.sieve").write_bytes(SCRIPT)
    return lambda action: ACTIONS[client][action](Seat(tmp_path, user, site.doors[door]))


def _cells(action: str, *doors: str, name: str | None = None) -> pytest.MarkDecorator:
    """One test for each client that can do it and each of the doors that it fits through."""
    cells = [
        (client, door)
        for client, able in ACTIONS.items()
        for door in doors
        if (client, door, action) in MORE_MATRIX and (action in able or action == "refuse")
        if client not in (STARTTLS_ONLY if DOORS[door] == "implicit" else IMPLICIT_ONLY)
    ]
    return pytest.mark.parametrize(
        ("client", "door", "action"),
        [pytest.param(client, door, action, id=f"{client}-{door}-{name or action}") for client, door in cells],
    )


def _store_message(server: Dovecot, user: User) -> None:
    _make(server, server.maildir(user) / "new" / "1.matrix", MESSAGE)


def _make(server: Dovecot, path: Path, content: bytes) -> None:
    """Write a file as the mail server would have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for one in (path, *path.parents):
        if one == server.mail:
            break
        os.chown(one, server.mail_uid, server.mail_gid)


def _script(server: Dovecot, user: User) -> Path:
    return server.maildir(user) / "sieve" / "main.sieve"


@_cells("list", "pop3s", "stls")
def test_list_mail(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """The client logs in and says that there is one message, of so many octets."""
    _store_message(site.server, user)
    done = act("list")

    assert done.code == 0, done.said
    assert str(len(MESSAGE)) in done.said or "1 message" in done.said


@_cells("fetch", "pop3s", "stls")
def test_fetch(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """What the client fetches is what was stored."""
    _store_message(site.server, user)
    done = act("fetch")

    assert done.code == 0, done.said
    assert done.messages == {MESSAGE}, done.said


@_cells("list", "sieves", "sieve")
def test_list_scripts(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """The client logs in and names the script."""
    _make(site.server, _script(site.server, user), SCRIPT)
    done = act("list")

    assert done.code == 0, done.said
    assert "main" in done.said


@_cells("put", "sieves", "sieve")
def test_put(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """What the client puts is what lies on the mail server's disk."""
    done = act("put")

    assert done.code == 0, done.said
    assert _script(site.server, user).read_bytes() == SCRIPT


@_cells("activate", "sieves", "sieve")
def test_activate(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """The script that the client activates is the one that Dovecot will run."""
    _make(site.server, _script(site.server, user), SCRIPT)
    done = act("activate")

    assert done.code == 0, done.said
    assert (site.server.maildir(user) / "active.sieve").resolve() == _script(site.server, user)


@_cells("get", "sieves", "sieve")
def test_get(client: str, door: str, site: Site, user: User, act: Act, tmp_path: Path) -> None:
    """What the client gets is what was stored, line by line: they leave line ends and an empty last line as they like."""
    _make(site.server, _script(site.server, user), SCRIPT)
    done = act("get")

    assert done.code == 0, done.said
    assert (tmp_path / "down.sieve").read_bytes().rstrip().splitlines() == SCRIPT.rstrip().splitlines()


@_cells("refuse", *DOORS)
def test_refuse(client: str, door: str, site: Site, user: User, act: Act) -> None:
    """A client whose user's phone has a denied app fails, gets nothing, and says why in our words."""
    _store_message(site.server, user)
    _make(site.server, _script(site.server, user), SCRIPT)
    done = act(FIRST_ACTION[client])

    assert done.code != 0, done.said
    assert done.messages == set()
    assert '"main"' not in done.said
    assert REFUSAL in " ".join(done.said.split()), done.said


@_cells("refuse", "pop3s", "sieve", name="recover")
def test_recover(client: str, door: str, site: Site, user: User, act: Act, healed: None) -> None:
    """Once the app is gone the same client gets its mail and its scripts."""
    _store_message(site.server, user)
    _make(site.server, _script(site.server, user), SCRIPT)
    done = act(FIRST_ACTION[client])

    assert done.code == 0, done.said
    assert "main" in done.said or done.messages == {MESSAGE}
