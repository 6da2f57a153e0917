"""What Active Directory does and OpenLDAP does not, and servers that do what no server should."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sansldap
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.adapters.groups.ldap import LdapDirectory
from gatekeeper.adapters.groups.ldap_connection import LdapConnection
from gatekeeper.adapters.groups.settings import LdapServer, LdapSettings
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.ports.groups import DirectoryError, Found
from testkit.ldap_peer import Answer, LdapPeer, entry
from testkit.tls import Authority, KeyPair

BASE = "dc=example,dc=com"
SALES = f"CN=Sales,{BASE}"
PEOPLE = [f"CN=Person {number},{BASE}" for number in range(7)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The servers' CA."""
    return Authority(tmp_path_factory.mktemp("peer-ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    """The servers' certificate."""
    return authority.server_certificate("peer")


Ask = Callable[..., Found]


@pytest.fixture
def ask(authority: Authority, pair: KeyPair, tmp_path: Path) -> Iterator[Ask]:
    """Return who asks a server that answers so for `Sales`."""
    started: list[LdapPeer] = []
    password = tmp_path / "password"
    password.write_text("secret")

    def asked(answer: Answer, *, greeting: bytes | None = None, within_s: float = 10, shows: KeyPair = pair) -> Found:
        peer = LdapPeer(shows, answer, greeting=greeting)
        started.append(peer)
        asking = LdapSettings(
            servers=(LdapServer(host="localhost", port=peer.port, is_implicit=greeting is None),),
            ca=authority.ca_file,
            bind_dn="gate@example.com",
            password_file=password,
            base=BASE,
            people_base=BASE,
            filter="(objectClass=group)",
        )
        return LdapDirectory(asking, DEFAULT).ask(["Sales"], within_s)

    yield asked
    for peer in started:
        peer.stop()


def active_directory(session: sansldap.LDAPServer, message: sansldap.LDAPMessage) -> None:
    """Gives members three at a time, refers to other partitions, has groups with addresses of their own."""
    if isinstance(message, sansldap.BindRequest):
        session.bind_response(message.message_id)
        return
    assert isinstance(message, sansldap.SearchRequest)
    wanted = message.attributes
    if message.base_object == BASE:
        session.search_result_reference(message.message_id, [f"ldap://ForestDnsZones.example.com/DC=Zones,{BASE}"])
    if message.base_object in (BASE, SALES):
        begin = int(wanted[0].partition("range=")[2].partition("-")[0] or 0)
        people = [*PEOPLE, f"CN=All,{BASE}"]
        some = people[begin : begin + 3]
        end = "*" if begin + 3 >= len(people) else str(begin + 2)
        entry(session, message, SALES, **{"member": [], f"member;range={begin}-{end}": some})
    elif message.base_object.startswith("CN=All"):
        entry(session, message, message.base_object, objectClass=["top", "group"], mail=["all@example.com"], member=[])
    else:
        number = message.base_object.removeprefix("CN=Person ").partition(",")[0]
        entry(session, message, message.base_object, objectClass=["user"], mail=[f"P{number}@Example.com"])
    session.search_result_done(message.message_id)


def test_members_come_in_ranges(ask: Ask) -> None:
    """All of them are read; a group with an address is no person; referrals are passed over."""
    assert ask(active_directory).members == {"Sales": {f"p{number}@example.com" for number in range(7)}}


def _but(then: Callable[[sansldap.SearchRequest], bytes]) -> Answer:
    """Binds, and then says these octets."""

    def answer(session: sansldap.LDAPServer, message: sansldap.LDAPMessage) -> bytes | None:
        if isinstance(message, sansldap.BindRequest):
            session.bind_response(message.message_id)
            return None
        assert isinstance(message, sansldap.SearchRequest)
        return then(message)

    return answer


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "or none of LDAP"),
        (b"\x30\x84\x7f\xff\xff\xff", "a message of more than"),
        (b"\x30\x80\x02\x01\x02", "or none of LDAP"),
        (b"\x30\x8f" + b"\xff" * 20, "or none of LDAP"),
        (b"\x30\x05\x02\x01\x02\x04\x00", "Expecting LDAPMessage.protocolOp"),
        (b"\x30\x05\x02\x01\x02\x64\x20", "a message that is not whole"),
        (b"\x30\x0c\x02\x01\x63\x65\x07\x0a\x01\x00\x04\x00\x04\x00", "unexpected message id"),
        (b"", "does not answer in time|takes too long"),
    ],
    ids=["another protocol", "huge", "indefinite", "long length", "no operation", "cut", "of another", "nothing"],
)
def test_nonsense_is_a_fault(ask: Ask, octets: bytes, words: str) -> None:
    """Within bounds and in time; never an empty group."""
    with pytest.raises(DirectoryError, match=words):
        ask(_but(lambda _: octets), within_s=10 if octets else 0.5)


def test_a_server_that_stops_halfway_is_a_fault(ask: Ask) -> None:
    """An entry without the end of the search is no answer."""

    def halfway(session: sansldap.LDAPServer, message: sansldap.LDAPMessage) -> bytes | None:
        if isinstance(message, sansldap.SearchRequest):
            entry(session, message, SALES, member=PEOPLE)
            session.search_result_done(message.message_id, sansldap.LDAPResultCode.SIZE_LIMIT_EXCEEDED)
            return None
        session.bind_response(message.message_id)
        return None

    with pytest.raises(DirectoryError, match="size limit exceeded"):
        ask(halfway)


def _starttls(more: bytes = b"", result: int = 0) -> bytes:
    """A response in the clear to the first message."""
    return b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01" + bytes([result]) + b"\x04\x00\x04\x00" + more


def test_what_is_said_before_tls_is_not_believed(ask: Ask) -> None:
    """Something slipped in behind the StartTLS response ends it, and so does a refusal: nothing goes in the clear."""
    assert ask(active_directory, greeting=_starttls()).members
    bind = b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
    with pytest.raises(DirectoryError, match=r"said something between StartTLS and TLS|unexpected message id"):
        ask(active_directory, greeting=_starttls(bind))
    with pytest.raises(DirectoryError, match="said something between StartTLS and TLS"):
        ask(active_directory, greeting=_starttls(bind[:5]))
    with pytest.raises(DirectoryError, match="StartTLS was refused: unavailable"):
        ask(active_directory, greeting=_starttls(result=52))


@pytest.mark.parametrize("greeting", [None, _starttls()], ids=["ldaps", "StartTLS"])
def test_a_server_with_another_name_is_told_nothing(ask: Ask, authority: Authority, greeting: bytes | None) -> None:
    """A certificate of the right CA for somebody else: no password is sent there."""
    heard: list[sansldap.LDAPMessage] = []

    def answer(session: sansldap.LDAPServer, message: sansldap.LDAPMessage) -> None:
        heard.append(message)
        active_directory(session, message)

    other = authority.server_certificate("other", "elsewhere.example.com")
    with pytest.raises(DirectoryError, match="TLS: the certificate cannot be verified: Hostname mismatch"):
        ask(answer, greeting=greeting, shows=other)
    assert heard == []


def _said() -> list[bytes]:
    """What a good server says."""
    server = sansldap.LDAPServer()
    server.receive(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00")
    server.bind_response(1)
    rest = (
        sansldap.SearchResultEntry(
            message_id=2,
            controls=[],
            object_name=SALES,
            attributes=[sansldap.PartialAttribute("member", [person.encode() for person in PEOPLE])],
        ),
        sansldap.SearchResultReference(message_id=2, controls=[], uris=["ldap://x"]),
        sansldap.SearchResultDone(
            message_id=2,
            controls=[sansldap.PagedResultControl(critical=False, size=0, cookie=b"abc")],
            result=sansldap.LDAPResult(
                result_code=sansldap.LDAPResultCode.SUCCESS, matched_dn="", diagnostics_message="x", referrals=None
            ),
        ),
    )
    return [server.data_to_send(), *(one.pack(server._packing_options) for one in rest)]


SAID = _said()
CONTEXT = ssl.create_default_context()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(SAID), st.integers(0, 200), st.binary(max_size=6), st.integers(0, 3))
def test_whatever_a_server_says_is_a_message_or_a_fault(said: bytes, place: int, octets: bytes, cut: int) -> None:
    """Octets of good messages exchanged, put in and left out: nothing else than the one exception comes of them."""
    place %= len(said)
    server = LdapServer(host="h", port=1, is_implicit=True)
    connection = LdapConnection(server, CONTEXT, 0.0)
    connection._session.bind_simple("a", "b")
    with suppress(DirectoryError):
        connection._take(SAID[0])
        connection._session.search_request(base_object=BASE)
        connection._take(said[:place] + octets + said[place + cut :])
