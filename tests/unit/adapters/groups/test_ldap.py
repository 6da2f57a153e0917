"""Groups of an OpenLDAP server that runs: in every way in which a directory says who is in a group."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.ldap import LdapDirectory
from gatekeeper.adapters.groups.settings import LdapServer, LdapSettings
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.ports.groups import DirectoryError, Found
from testkit import slapd as slapd_server
from testkit.ports import free_port
from testkit.slapd import BASE, GATE, GROUPS, PASSWORD, PEOPLE, Slapd, group, person
from testkit.tls import Authority, KeyPair

CROWD = [f"user{number:03}" for number in range(150)]
FILTER = "(|(objectClass=groupOfNames)(objectClass=posixGroup))"
ENTRIES = (
    "".join(person(uid) for uid in CROWD)
    + person("alice", "Alice@Example.com", "a.lias@example.com")
    + person("bob")
    + person("carol")
    + person("mute", "nobody at all")
    + person("dot", "dot@example.com").replace("uid=dot,", "cn=Dot\\, the First,")
    + group("sales", "alice", "bob")
    + group("crowd", *CROWD)
    + group("empty")
    + group("odd", "mute", "alice", f"uid=gone,{PEOPLE}", f"cn=Dot\\, the First,{PEOPLE}")
    + group("hidden", "alice", under=f"ou=hidden,{BASE}")
    + group("inner", "carol", f"cn=outer,{GROUPS}")
    + group("outer", "bob", f"cn=inner,{GROUPS}")
    + group("deep2", "carol", f"cn=sales,{GROUPS}")
    + group("deep1", f"cn=deep2,{GROUPS}")
    + group("twice")
    + group("twice", under=f"ou=more,{BASE}")
    + group("in(*)trick", "carol")
    + f"dn: cn=unix,{GROUPS}\nobjectClass: posixGroup\ncn: unix\ngidNumber: 7\n"
    + "".join(f"memberUid: {uid}\n" for uid in (*CROWD, "bob", "ALICE", "gone"))
    + "\n"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The server's CA."""
    return Authority(tmp_path_factory.mktemp("server-ca"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of those who ask."""
    return Authority(tmp_path_factory.mktemp("client-ca"), "clients")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    """The server's certificate."""
    return authority.server_certificate("ldap")


@pytest.fixture(scope="module")
def slapd(pair: KeyPair, clients: Authority) -> Iterator[Slapd]:
    """A directory that nobody changes."""
    if slapd_server.PROGRAM is None:
        pytest.skip("slapd is not installed")
    server = Slapd(pair, clients, ENTRIES)
    yield server
    server.stop()


@pytest.fixture
def usual(slapd: Slapd, authority: Authority, tmp_path: Path) -> LdapSettings:
    """By password, over TLS from the first octet."""
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    return LdapSettings(
        servers=(LdapServer(host="localhost", port=slapd.ldaps_port, is_implicit=True),),
        ca=authority.ca_file,
        bind_dn=GATE,
        password_file=password,
        base=BASE,
        people_base=BASE,
        filter=FILTER,
    )


def asked(settings: LdapSettings, *groups: str) -> Found:
    """The answer."""
    return LdapDirectory(settings, DEFAULT).ask(groups, 20)


ALICE = {"alice@example.com", "a.lias@example.com"}
SALES = {*ALICE, "bob@example.com"}


def test_members_by_their_dns(usual: LdapSettings) -> None:
    """All addresses of each, in canonical form; by name, by RDN or by DN, whatever the case; more than a page has."""
    found = asked(usual, "sales", "CN=Sales", f"CN=Sales,{GROUPS}", "crowd", "empty")
    assert found.members["sales"] == found.members["CN=Sales"] == found.members[f"CN=Sales,{GROUPS}"] == SALES
    assert found.members["crowd"] == {f"{uid}@example.com" for uid in CROWD}
    assert found.members["empty"] == set()
    assert found.unknown == {}


def test_what_cannot_be_a_log_in_is_left_out_and_counted(usual: LdapSettings) -> None:
    """No address, or one that nobody can log in with; a member who is gone. A comma in a DN is no matter."""
    found = asked(usual, "odd")
    assert found.members == {"odd": ALICE | {"dot@example.com"}}
    assert found.notes == ("`odd`: 2 members have no `mail` that can log in; left out",)


def test_groups_that_are_not_there_are_unknown(usual: LdapSettings) -> None:
    """Also those that the gate may not see, and names that two groups have; never empty instead."""
    found = asked(usual, "nothing", "hidden", "twice", f"cn=nothing,{GROUPS}", "*", "in(*)trick", "x\\,y=z,,")
    assert found.members == {"in(*)trick": {"carol@example.com"}}
    assert found.unknown["nothing"] == f"there is no such group below `{BASE}` that the gate may see"
    assert found.unknown["twice"] == "2 groups have this name: name it by its DN in the policy"
    assert set(found.unknown) == {"nothing", "hidden", "twice", f"cn=nothing,{GROUPS}", "*", "x\\,y=z,,"}


@pytest.mark.parametrize("members", ["member", "memberOf"])
def test_groups_within_groups(usual: LdapSettings, members: str) -> None:
    """Followed, also where they contain each other; deeper than is followed, the group is unknown, never smaller."""
    settings = replace(usual, members=members)
    found = asked(settings, "outer", "deep1")
    assert found.members == {"outer": {"bob@example.com", "carol@example.com"}, "deep1": SALES | {"carol@example.com"}}
    shallow = asked(replace(settings, nested=1), "outer", "deep1")
    assert set(shallow.members) == {"outer"}
    assert shallow.unknown == {"deep1": "groups within it lie deeper than 1 levels (groups.ldap.nested)"}


def test_people_who_say_in_which_groups_they_are(usual: LdapSettings) -> None:
    """`memberOf`: what Active Directory has, and OpenLDAP by an overlay; more people than a page has."""
    found = asked(replace(usual, members="memberOf", people_base=PEOPLE), "sales", "crowd", "nothing")
    assert found.members == {"sales": SALES, "crowd": {f"{uid}@example.com" for uid in CROWD}}
    assert set(found.unknown) == {"nothing"}


def test_user_ids(usual: LdapSettings) -> None:
    """`memberUid`: looked up among the people; or a log-in by itself."""
    everybody = {f"{uid}@example.com" for uid in CROWD} | SALES
    found = asked(replace(usual, members="memberUid"), "unix")
    assert found.members == {"unix": everybody}
    assert found.notes == ("`unix`: 1 members have no `mail` that can log in; left out",)
    by_themselves = asked(replace(usual, members="memberUid", account="uid"), "unix")
    assert by_themselves.members == {"unix": {*CROWD, "bob", "alice", "gone"}}


def test_starttls_and_a_client_certificate(usual: LdapSettings, slapd: Slapd, clients: Authority) -> None:
    """TLS begins before who asks is said (SASL EXTERNAL); the first server that answers is taken."""
    own = clients.device_certificate("gate")
    settings = replace(
        usual,
        servers=(
            LdapServer(host="localhost", port=free_port(), is_implicit=True),
            LdapServer(host="localhost", port=slapd.ldap_port, is_implicit=False),
        ),
        bind_dn="",
        password_file=None,
        client_certificate=own.certificate,
        client_key=own.private_key,
    )
    assert asked(settings, "sales").members == {"sales": SALES}
    stranger = clients.device_certificate("stranger")
    settings = replace(settings, client_certificate=stranger.certificate, client_key=stranger.private_key)
    with pytest.raises(DirectoryError, match=f"below `{BASE}` failed: no such object"):
        asked(settings, "sales")  # it may bind and see nothing


def test_a_server_that_says_nothing_leaves_time_for_the_next(usual: LdapSettings) -> None:
    """One that is there and does not answer must not be worse than one that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = LdapServer(host="localhost", port=silent.getsockname()[1], is_implicit=True)
        settings = replace(usual, servers=(mute, *usual.servers))
        assert LdapDirectory(settings, DEFAULT).ask(["sales"], 3).members == {"sales": SALES}


def test_faults_are_one_line(usual: LdapSettings, slapd: Slapd, clients: Authority, tmp_path: Path) -> None:
    """With the server, and what is wrong; never with a password."""
    wrong, empty = tmp_path / "wrong", tmp_path / "empty"
    wrong.write_text("guess-me-not")
    empty.write_text("\n")
    away = LdapServer(host="localhost", port=free_port(), is_implicit=True)
    mute = LdapServer(host="localhost", port=slapd.ldap_port, is_implicit=True)
    for settings, words in (
        (replace(usual, servers=(away,)), "Connection refused"),
        (replace(usual, ca=clients.ca_file), "the certificate cannot be verified"),
        (replace(usual, servers=(mute,)), "TLS"),
        (replace(usual, password_file=wrong), f"the bind as `{GATE}` was refused: invalid credentials"),
        (replace(usual, password_file=empty), "is empty"),
        (replace(usual, password_file=tmp_path / "absent"), "cannot be read"),
        (replace(usual, base="dc=elsewhere"), "the search below `dc=elsewhere` failed"),
        (replace(usual, base="nonsense"), "the search below `nonsense` failed: invalid dn syntax"),
    ):
        with pytest.raises(DirectoryError) as error:
            asked(settings, "sales")
        assert words in str(error.value)
        assert "\n" not in str(error.value)
        assert "guess-me-not" not in str(error.value)


def test_an_answer_that_takes_too_long_is_given_up(usual: LdapSettings) -> None:
    """A server that takes the connection and says nothing holds nobody up; nor does one when the gate stops."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = LdapServer(host="127.0.0.1", port=silent.getsockname()[1], is_implicit=False)
        settings = replace(usual, servers=(server,))
        with pytest.raises(DirectoryError, match=r"takes too long|does not answer in time"):
            LdapDirectory(settings, DEFAULT).ask(["sales"], 0.2)

        directory = LdapDirectory(settings, DEFAULT)
        faults: list[str] = []

        def ask() -> None:
            try:
                directory.ask(["sales"], 60)
            except DirectoryError as error:
                faults.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        silent.settimeout(10)
        taken, _ = silent.accept()  # the first one's
        taken.close()
        second, _ = silent.accept()
        second.recv(100)  # it asks for TLS, and waits
        directory.give_up()
        thread.join(10)
        second.close()
        assert not thread.is_alive()
        assert len(faults) == 1
