"""`[identity]` and `[[delegation]]`: how log-in names become accounts, and who may open whose mailbox."""

from gatekeeper.domain.delegation import Delegation
from gatekeeper.domain.document import Table
from gatekeeper.domain.identity import SEPARATORS, Case, IdentitySettings, Plus, canonical_account, is_domain
from gatekeeper.enforcement.flow.account import AccountSettings, CertificateAccount


def read_accounts(root: Table) -> AccountSettings:
    """Both sections."""
    table = root.table("identity")
    names = read_names(table)
    settings = AccountSettings(
        names=names,
        delegations=tuple(_delegation(item, names) for item in root.tables("delegation")),
        certificate_account=table.choice("certificate_account", CertificateAccount, CertificateAccount.SAN_EMAIL),
    )
    table.done()
    return settings


def read_names(table: Table) -> IdentitySettings:
    """The canonical form of names, which the inventory, the policy and the command line share with the listeners."""
    domain = table.text("default_domain", "", max_length=254)
    if domain and not is_domain(domain):
        table.fault("default_domain", f"`{domain}` is not a domain such as example.com")
    refused = table.texts("refused_separators", tuple(SEPARATORS))
    for separator in refused:
        if len(separator) != 1 or separator not in SEPARATORS:
            table.fault("refused_separators", f"`{separator}` is not one of {' '.join(SEPARATORS)} (`+` has `plus`)")
    return IdentitySettings(
        case=table.choice("case", Case, Case.LOWER),
        default_domain=domain.lower() if is_domain(domain) else "",
        refused_separators="".join(refused),
        plus=table.choice("plus", Plus, Plus.KEEP),
    )


def _delegation(table: Table, names: IdentitySettings) -> Delegation:
    reason = table.text("reason", max_length=1000)
    if table.has("reason") and not reason.strip():
        table.fault("reason", "must not be empty")
    rule = Delegation(
        authcid=_pattern(table, "authcid", names), authzid=_pattern(table, "authzid", names), reason=reason
    )
    table.done()
    return rule


def _pattern(table: Table, name: str, names: IdentitySettings) -> str:
    """A pattern in the canonical form of its names, checked with letters in place of its wildcards."""
    text = table.text(name, max_length=320)
    if not text:
        return ""
    if names.default_domain and "@" not in text:
        text = f"{text}@{names.default_domain}"
    local, at, domain = text.partition("@")
    pattern = (local.lower() if names.case is Case.LOWER else local) + at + domain.lower()
    if canonical_account(pattern.translate({ord("*"): "x", ord("?"): "x"}), names) is None:
        table.fault(name, f"`{text}` is not a pattern of accounts such as *@example.com")
    elif not any(character.isalnum() for character in pattern):
        table.fault(name, f"`{text}` would match everybody")
    return pattern
