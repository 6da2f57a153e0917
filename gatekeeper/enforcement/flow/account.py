"""Whose mailbox a log-in opens: the one account that policy sees and that the mail server is asked for.

What holds inside:

* Names are compared and sent upstream in their canonical form only; what has none is refused as a wrong password is.
* Nobody opens another account's mailbox unless a `[[delegation]]` says so, whatever the mail server would allow.
* With EXTERNAL the identity comes from the verified client certificate, never from the response; upstream a service
  account logs in for it, whose password goes nowhere else.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from gatekeeper.domain.delegation import Delegation, allowed
from gatekeeper.domain.identity import DEFAULT, IdentitySettings, canonical_account
from gatekeeper.domain.request import ClientCertificate
from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism


class CertificateAccount(StrEnum):
    """What in a client certificate names its owner's account."""

    SAN_EMAIL = "san_email"
    COMMON_NAME = "common_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """How log-in names become accounts."""

    names: IdentitySettings = DEFAULT
    delegations: tuple[Delegation, ...] = ()
    certificate_account: CertificateAccount = CertificateAccount.SAN_EMAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """An account of the mail server that may open others' mailboxes (Dovecot's master user)."""

    user: str
    password: Secret[bytes]


@dataclass(frozen=True, slots=True)
class Opening:
    """A log-in that may be tried upstream."""

    account: str
    """Canonical: whose mailbox is opened, and whom policy sees."""
    authcid: str
    """Canonical: who logs in; mostly the same."""
    credentials: Credentials
    """For the mail server."""


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """A log-in that is not tried."""

    reason: str
    """For the audit log."""
    authcid: str = ""
    """Canonical: who says to log in, where that is known."""
    authzid: str = ""
    """Canonical: whose mailbox was asked for, where that has a name."""
    is_delegation: bool = False
    """Somebody else's mailbox was asked for, and no rule allows it."""


_BEARER = tuple((mechanism, f"AUTH={mechanism}") for mechanism in (Mechanism.XOAUTH2, Mechanism.OAUTHBEARER))


@lru_cache(maxsize=64)
def offered(upstream_offers: frozenset[str], *, takes_certificate: bool) -> tuple[Mechanism, ...]:
    """What phones are offered besides PLAIN and LOGIN, given what the mail server offers before log-in.

    `takes_certificate`: the phone's certificate names an account, and there is a service account to log in for it.
    """
    bearer = tuple(mechanism for mechanism, offer in _BEARER if offer in upstream_offers)
    if takes_certificate and "AUTH=PLAIN" in upstream_offers:  # only PLAIN has room for two names
        return (*bearer, Mechanism.EXTERNAL)
    return bearer


def certified_account(settings: AccountSettings, certificate: ClientCertificate | None) -> str | None:
    """The account of a certificate's owner; None when it names nobody, or several, which is nobody in particular."""
    if certificate is None:
        return None
    names = certificate.san_emails
    if settings.certificate_account is CertificateAccount.COMMON_NAME:
        names = () if certificate.common_name is None else (certificate.common_name,)
    return canonical_account(names[0], settings.names) if len(names) == 1 else None


def opening(
    settings: AccountSettings,
    credentials: Credentials,
    certificate: ClientCertificate | None,
    service: ServiceAccount | None,
) -> Opening | NotAllowed:
    """What is to be tried for these credentials; `certificate` and `service` count with EXTERNAL only."""
    is_external = credentials.mechanism is Mechanism.EXTERNAL
    if is_external:
        authcid = certified_account(settings, certificate)
    else:
        authcid = canonical_account(credentials.name, settings.names)
    if authcid is None:
        who = "The certificate names no account" if is_external else "The login name has no canonical form"
        return NotAllowed(who)
    account = canonical_account(credentials.authzid, settings.names) if credentials.authzid else authcid
    if account is None or not allowed(settings.delegations, authcid, account):
        return NotAllowed("No delegation allows to open another's mailbox", authcid, account or "", is_delegation=True)
    if not is_external:
        if account != authcid:
            credentials = replace(credentials, name=authcid, authzid=account)
        elif credentials.authzid:
            credentials = replace(credentials, authzid="")
        return Opening(account, authcid, credentials)
    if service is None:
        return NotAllowed("No service account is configured for certificates", authcid)
    upstream = Credentials(mechanism=Mechanism.PLAIN, name=service.user, secret=service.password, authzid=account)
    return Opening(account, authcid, upstream)
