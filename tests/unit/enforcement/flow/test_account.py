"""Whose mailbox a log-in opens, and what the mail server is told."""

import pytest

from gatekeeper.domain.delegation import Delegation
from gatekeeper.domain.identity import IdentitySettings
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.account import (
    AccountSettings,
    CertificateAccount,
    NotAllowed,
    Opening,
    ServiceAccount,
    certified_account,
    offered,
    opening,
)
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, decode_base64, upstream_response

SERVICE = ServiceAccount(user="gate*service", password=Secret(b"hush"))
BOSS = Delegation(authcid="assistant@example.com", authzid="boss@example.com", reason="reads for her")
SETTINGS = AccountSettings(names=IdentitySettings(default_domain="example.com"), delegations=(BOSS,))
ALICE = ClientCertificate(sha256="ab", san_emails=("Alice@Example.com",), common_name="alice's phone")
ASSISTANT = ClientCertificate(sha256="cd", san_emails=("assistant@example.com",))


def password(name: str, authzid: str = "") -> Credentials:
    return Credentials(mechanism=Mechanism.PLAIN, name=name, secret=Secret(b"w"), authzid=authzid)


def external(authzid: str = "") -> Credentials:
    return Credentials(mechanism=Mechanism.EXTERNAL, name="", secret=Secret(b""), authzid=authzid)


def told(found: Opening | NotAllowed) -> tuple[str, str, bytes]:
    """The account, who logs in, and the response that goes upstream."""
    assert isinstance(found, Opening), found
    return found.account, found.authcid, decode_base64(upstream_response(found.credentials, found.account))


@pytest.mark.parametrize(
    ("credentials", "account", "authcid", "response"),
    [
        (password("Alice"), "alice@example.com", "alice@example.com", b"\0alice@example.com\0w"),
        (password("alice", "ALICE@example.com"), "alice@example.com", "alice@example.com", b"\0alice@example.com\0w"),
        (
            password("Assistant", "boss"),
            "boss@example.com",
            "assistant@example.com",
            b"boss@example.com\0assistant@example.com\0w",
        ),
    ],
    ids=["I58-none", "I58-the-same", "delegated"],
)
def test_passwords(credentials: Credentials, account: str, authcid: str, response: bytes) -> None:
    """Policy sees the account whose mailbox is opened, and the mail server is asked for that one."""
    assert told(opening(SETTINGS, credentials, None, None)) == (account, authcid, response)


@pytest.mark.parametrize(
    ("credentials", "found"),
    [
        (
            password("boss", "assistant"),
            NotAllowed(
                "No delegation allows to open another's mailbox",
                "boss@example.com",
                "assistant@example.com",
                is_delegation=True,
            ),
        ),
        (
            password("alice", "b\u043eb"),
            NotAllowed("No delegation allows to open another's mailbox", "alice@example.com", is_delegation=True),
        ),
        (password("al*ice", "boss"), NotAllowed("The login name has no canonical form")),
    ],
    ids=["I57", "I57-no-name", "I65"],
)
def test_what_is_not_tried(credentials: Credentials, found: NotAllowed) -> None:
    """Another's mailbox without a rule, and names that nobody can have."""
    assert opening(SETTINGS, credentials, ALICE, SERVICE) == found


@pytest.mark.parametrize(
    ("certificate", "authzid", "account", "authcid"),
    [
        (ALICE, "", "alice@example.com", "alice@example.com"),
        (ALICE, "alice", "alice@example.com", "alice@example.com"),
        (ASSISTANT, "boss@example.com", "boss@example.com", "assistant@example.com"),
    ],
)
def test_e01_external_opens_the_mailbox_of_the_certificate(
    certificate: ClientCertificate, authzid: str, account: str, authcid: str
) -> None:
    """A service account logs in for it, and the record knows whose certificate it was."""
    found = opening(SETTINGS, external(authzid), certificate, SERVICE)
    assert told(found) == (account, authcid, account.encode() + b"\0gate*service\0hush")


@pytest.mark.parametrize(
    ("certificate", "service", "authzid"),
    [
        (None, SERVICE, ""),
        (None, SERVICE, "alice"),
        (ClientCertificate(sha256=""), SERVICE, "alice"),
        (ClientCertificate(sha256="a", san_emails=("a@example.com", "b@example.com")), SERVICE, "a@example.com"),
        (ClientCertificate(sha256="a", san_emails=("a\0b@example.com",)), SERVICE, ""),
        (ALICE, None, ""),
        (ALICE, SERVICE, "boss"),
        (ASSISTANT, SERVICE, "alice"),
    ],
    ids=["E03", "E03-wish", "expired", "two-names", "NUL", "no-service", "E01-another", "E01-no-rule"],
)
def test_what_external_does_not_open(
    certificate: ClientCertificate | None, service: ServiceAccount | None, authzid: str
) -> None:
    """The response never says who somebody is."""
    assert isinstance(opening(SETTINGS, external(authzid), certificate, service), NotAllowed)


def test_a_certificate_names_one_account_or_nobody() -> None:
    """By the configured field only."""
    by_name = AccountSettings(certificate_account=CertificateAccount.COMMON_NAME)
    assert certified_account(SETTINGS, ALICE) == "alice@example.com"
    assert certified_account(by_name, ALICE) is None  # an apostrophe and a space
    assert certified_account(by_name, ClientCertificate(sha256="a", common_name="Bob")) == "bob"
    assert certified_account(by_name, ASSISTANT) is None


def test_what_is_offered() -> None:
    """Tokens where the mail server takes them, certificates where PLAIN can carry two names."""
    everything = frozenset({"AUTH=PLAIN", "AUTH=LOGIN", "AUTH=OAUTHBEARER", "AUTH=XOAUTH2", "AUTH=GSSAPI"})
    assert offered(everything, takes_certificate=False) == (Mechanism.XOAUTH2, Mechanism.OAUTHBEARER)
    assert offered(everything, takes_certificate=True)[-1] is Mechanism.EXTERNAL
    assert offered(frozenset({"AUTH=LOGIN"}), takes_certificate=True) == ()


def test_the_service_password_is_not_shown() -> None:
    """Neither in a repr of settings nor of what is tried."""
    found = opening(SETTINGS, external(), ALICE, SERVICE)
    assert "hush" not in repr((SERVICE, found))
