"""Groups of a SCIM 2.0 service provider that runs, page by page."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.scim import ONE_BY_ONE, ScimDirectory
from gatekeeper.adapters.groups.settings import ScimSettings
from gatekeeper.domain.identity import DEFAULT
from gatekeeper.ports.groups import DirectoryError, Found
from testkit.scim import TOKEN, Scim
from testkit.tls import Authority, KeyPair, server_context

CROWD = 70
assert CROWD > ONE_BY_ONE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The provider's CA."""
    return Authority(tmp_path_factory.mktemp("scim-ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> KeyPair:
    """The provider's certificate."""
    return authority.server_certificate("scim")


WAYS = {"index": {}, "cursor": {"cursors": True}, "no filters": {"filters": False}}


@pytest.fixture(scope="module", params=WAYS.values(), ids=WAYS)
def scim(request: pytest.FixtureRequest, pair: KeyPair) -> Iterator[Scim]:
    """A provider that pages by index, by cursor, and one that cannot look for a name."""
    server = Scim(pair, **request.param)
    alice = server.user("Alice@example.com", "a.lias@example.com", "Alice@example.com")
    bob, carol = server.user("bob@example.com"), server.user("carol@example.com")
    mute = server.user("no log-in at all")
    crowd = [server.user(f"user{number:03}@example.com") for number in range(CROWD)]
    server.group("Sales", alice, bob)
    server.group("crowd", *crowd)
    server.group("empty")
    server.group("odd", mute, alice)
    inner = server.group("inner", carol)
    middle = server.group("middle", groups=(inner,))
    server.group("outer", bob, groups=(middle,))
    server.group('a "quoted" name', bob)
    for number in range(25):
        server.group(f"another {number}")
    yield server
    server.stop()


@pytest.fixture
def usual(scim: Scim, authority: Authority, tmp_path: Path) -> ScimSettings:
    """By token."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    return ScimSettings(host="localhost", port=scim.port, path="/v2", ca=authority.ca_file, token_file=token)


def asked(settings: ScimSettings, *groups: str) -> Found:
    """The answer."""
    return ScimDirectory(settings, DEFAULT).ask(groups, 20)


def test_members(usual: ScimSettings, scim: Scim) -> None:
    """By name, whatever its case; of a few the people are asked for, of many the list is read page by page."""
    scim.paths.clear()
    found = asked(usual, "sales", "empty", 'a "quoted" name')
    assert found.members == {
        "sales": {"alice@example.com", "bob@example.com"},
        "empty": set(),
        'a "quoted" name': {"bob@example.com"},
    }
    assert not any(path.startswith("/v2/Users?") for path in scim.paths)
    many = asked(usual, "crowd", "Sales")
    assert many.members["crowd"] == {f"user{number:03}@example.com" for number in range(CROWD)}
    assert many.members["Sales"] == {"alice@example.com", "bob@example.com"}
    pages = [path for path in scim.paths if path.startswith("/v2/Users?")]
    assert len(pages) == (CROWD + 4) // 20 + 1
    assert many.unknown == {}


def test_emails_may_be_the_log_in(usual: ScimSettings) -> None:
    """All of them."""
    found = asked(replace(usual, account="emails"), "Sales")
    assert found.members == {"Sales": {"alice@example.com", "a.lias@example.com"}}
    assert found.notes == ("`Sales`: 1 members have no `emails` that can log in; left out",)


def test_what_is_not_known_is_not_empty(usual: ScimSettings) -> None:
    """No such group, or groups within it deeper than is followed."""
    found = asked(replace(usual, nested=1), "nothing", "outer", "odd", "middle")
    assert found.members == {"odd": {"alice@example.com"}, "middle": {"carol@example.com"}}
    assert found.unknown == {
        "nothing": "there is no such group that the gate may see",
        "outer": "groups within it lie deeper than 1 levels (groups.scim.nested)",
    }
    deeper = asked(replace(usual, nested=2), "outer")
    assert deeper.members == {"outer": {"bob@example.com", "carol@example.com"}}


def test_faults_are_one_line(usual: ScimSettings, pair: KeyPair, tmp_path: Path) -> None:
    """With the address, and what is wrong; never with the token."""
    wrong, empty = tmp_path / "wrong", tmp_path / "empty"
    wrong.write_text("guess-me-not")
    empty.write_text("\n")
    for settings, words in (
        (replace(usual, port=9), "Connection refused"),
        (replace(usual, ca=None), "the certificate cannot be verified"),
        (replace(usual, token_file=wrong), "401, the token is not accepted"),
        (replace(usual, token_file=empty), "holds no token"),
        (replace(usual, token_file=tmp_path / "absent"), "cannot be read"),
        (replace(usual, path="/elsewhere"), "404"),
    ):
        with pytest.raises(DirectoryError) as error:
            asked(settings, "sales")
        assert words in str(error.value)
        assert "\n" not in str(error.value)
        assert "guess-me-not" not in str(error.value)
    assert pair.certificate.exists()


def test_a_provider_that_says_nothing_is_given_up(usual: ScimSettings) -> None:
    """When the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = replace(usual, host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(DirectoryError, match=r"takes too long|does not answer in time"):
            ScimDirectory(settings, DEFAULT).ask(["sales"], 0.2)


def test_a_provider_with_another_name_gets_no_token(authority: Authority, tmp_path: Path) -> None:
    """A certificate of the right CA for somebody else."""
    other = Scim(authority.server_certificate("other", "elsewhere.example.com"))
    token = tmp_path / "token"
    token.write_text(TOKEN)
    settings = ScimSettings(host="localhost", port=other.port, path="/v2", ca=authority.ca_file, token_file=token)
    try:
        with pytest.raises(DirectoryError, match="the certificate cannot be verified: Hostname mismatch"):
            asked(settings, "sales")
    finally:
        other.stop()
    assert other.paths == []


Answer = Callable[[str], tuple[int, bytes]]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ((200, b"[]"), "the answer is no resource"),
        ((200, b"{"), "is not JSON"),
        ((200, b'{"Resources": []}'), "`totalResults` is missing"),
        ((200, b'{"totalResults": 3, "Resources": []}'), "3 resources were promised and 0 given"),
        ((200, b'{"totalResults": 1, "Resources": [1]}'), "is no list of resources"),
        (
            (200, b'{"totalResults": 1, "Resources": [{"id": "1", "displayName": "sales", "members": [{}]}]}'),
            "no `value`",
        ),
        ((302, b""), "points elsewhere"),
        ((503, b'{"detail": "come\\nback later"}'), "503 (come back later)"),
    ],
    ids=["list", "broken", "no total", "short", "no resource", "no value", "redirect", "unavailable"],
)
def test_an_answer_that_is_not_whole_is_a_fault(
    authority: Authority, pair: KeyPair, tmp_path: Path, page: tuple[int, bytes], words: str
) -> None:
    """Never an empty group."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with server_context(pair).wrap_socket(taken, server_side=True) as peer:
                for status, body in ((404, b""), page):
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        request += peer.recv(4096)
                    peer.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

        thread = threading.Thread(target=serve)
        thread.start()
        settings = ScimSettings(
            host="localhost", port=server.getsockname()[1], path="/v2", ca=authority.ca_file, token_file=token
        )
        with pytest.raises(DirectoryError) as error:
            asked(settings, "sales")
        thread.join(10)
    assert words in str(error.value)
