"""The listeners' TLS contexts: one for each protocol and content of the files, so that tickets last as long."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.net.tls import ClientCertificates, ServerTls
from gatekeeper.server.contexts import ServerContexts
from testkit.loops import local_pair
from testkit.tls import Authority, KeyPair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of servers and devices."""
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> ServerTls:
    """A listener's, with a list of revoked certificates that is empty yet."""
    pair = authority.server_certificate("server")
    return ServerTls(
        certificate=pair.certificate,
        private_key=pair.private_key,
        client_ca=authority.ca_file,
        client_certificates=ClientCertificates.REQUEST,
        client_crl=authority.revocation_list(),
    )


class Phone:
    """A client that resumes with its last ticket, where the server lets it."""

    def __init__(self, authority: Authority, own: KeyPair) -> None:
        self._context = authority.client_context(own)
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2  # the ticket comes with the handshake
        self._session: ssl.SSLSession | None = None

    def resumes(self, server: ssl.SSLContext) -> bool:
        """Do a handshake. Raises SSLError when the server refuses."""
        near, far = local_pair()
        far.settimeout(0)
        with (
            server.wrap_socket(near, server_side=True, do_handshake_on_connect=False) as other,
            self._context.wrap_socket(
                far, server_hostname="localhost", do_handshake_on_connect=False, session=self._session
            ) as own,
        ):
            _handshake(own, other)
            self._session = own.session
            assert other.getpeercert() is not None
            return bool(own.session_reused)


def _handshake(*sides: ssl.SSLSocket) -> None:
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_what_does_not_change_is_the_same_context(settings: ServerTls) -> None:
    """For every listener of a protocol, and after a reload."""
    contexts = ServerContexts()
    first = contexts.get(settings, "imap")
    assert contexts.get(replace(settings), "imap") is first
    assert contexts.get(settings, "smtp") is not first
    contexts.keep([first, None])
    assert contexts.get(settings, "imap") is first


def test_a_changed_file_makes_another_context(settings: ServerTls, authority: Authority) -> None:
    """Under the same name, whichever it is."""
    contexts = ServerContexts()
    seen = [contexts.get(settings, "imap")]
    authority.revocation_list(authority.device_certificate("x"))
    seen.append(contexts.get(settings, "imap"))
    authority.server_certificate("server")
    seen.append(contexts.get(settings, "imap"))
    assert len(set(map(id, seen))) == 3


def test_contexts_that_nobody_uses_are_forgotten(settings: ServerTls) -> None:
    """Reloads do not pile them up."""
    contexts = ServerContexts()
    first, second = contexts.get(settings, "imap"), contexts.get(settings, "smtp")
    contexts.keep([second])
    assert contexts.get(settings, "smtp") is second
    assert contexts.get(settings, "imap") is not first


def test_a_phone_resumes_until_its_certificate_is_revoked(settings: ServerTls, authority: Authority) -> None:
    """A ticket would bring its certificate back unchecked: the new list's context opens no old ticket."""
    contexts = ServerContexts()
    lost, kept = authority.device_certificate("ph-lost"), authority.device_certificate("ph-kept")
    phones = [Phone(authority, own) for own in (lost, kept)]
    for expected in (False, True):
        assert [phone.resumes(contexts.get(settings, "imap")) for phone in phones] == [expected] * 2
    authority.revocation_list(lost)
    with pytest.raises(ssl.SSLError, match="revoked"):
        phones[0].resumes(contexts.get(settings, "imap"))
    assert not phones[1].resumes(contexts.get(settings, "imap"))
    assert phones[1].resumes(contexts.get(settings, "imap"))


def test_a_missing_file_is_an_error(settings: ServerTls, tmp_path: Path) -> None:
    """As it is for the context itself."""
    with pytest.raises(FileNotFoundError):
        ServerContexts().get(replace(settings, client_crl=tmp_path / "absent"), "imap")
