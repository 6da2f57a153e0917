"""App matchers of a policy: `apps`, `only_apps`, `required_apps`."""

import re

from gatekeeper.decision.matcher import AppMatcher
from gatekeeper.decision.patterns import Pattern
from gatekeeper.decision.schema_values import listed, parsed
from gatekeeper.decision.versions import VersionRange
from gatekeeper.domain.device import Platform
from gatekeeper.domain.document import Table
from gatekeeper.domain.posture import EvidenceLevel

_APP_ID = re.compile(r"[A-Za-z0-9._*?-]+", re.ASCII)  # what Android and Apple allow in identifiers, and the wildcards
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_IDENTITY = ("id", "name", "publisher", "signer_sha256", "installer", "not_installer")


def read_apps(table: Table, name: str) -> tuple[AppMatcher, ...]:
    """The matchers of one key; none when it is absent."""
    tables = table.tables(name)
    if table.raw(name) == []:
        table.fault(name, "must not be empty: the rule would mean no app")
    is_denial = name == "apps"
    return tuple(matcher for matcher in (_app(each, is_denial=is_denial) for each in tables) if matcher is not None)


def _app(table: Table, *, is_denial: bool) -> AppMatcher | None:
    has_identity = any(table.has(name) for name in _IDENTITY)
    platform = table.choice("platform", Platform) if table.has("platform") else None
    app_id = parsed(table, "id", Pattern.parse)
    if app_id is not None and _APP_ID.fullmatch(app_id.text) is None:
        table.fault("id", f"`{app_id}` is not an app id: letters, digits, `.`, `_`, `-`, and the wildcards `*` and `?`")
    name = parsed(table, "name", Pattern.parse)
    publisher = parsed(table, "publisher", Pattern.parse)
    signers = _signers(table)
    installer, not_installer = _installers(table, "installer"), _installers(table, "not_installer")
    version = parsed(table, "version", VersionRange.parse)
    level = table.choice("min_evidence", EvidenceLevel, EvidenceLevel.CLAIMED)
    if table.has("min_evidence") and not is_denial:
        table.fault("min_evidence", "is for denied apps: what must be there, or alone may be, is asked of any evidence")
    table.done()
    if not has_identity:
        table.fault("", "names no app: give id, name, publisher, signer_sha256, installer or not_installer")
    if not (app_id or name or publisher or signers or installer or not_installer):
        return None
    return AppMatcher(
        platform=platform,
        id=app_id,
        name=name,
        publisher=publisher,
        signer_sha256=signers,
        installer=installer,
        not_installer=not_installer,
        version=version,
        min_evidence=level,
    )


def _installers(table: Table, name: str) -> frozenset[str]:
    """One installer or a list of them: package names on Android, distributors' ids on Apple's platforms."""
    texts = (table.text(name),) if isinstance(table.raw(name), str) else listed(table, name)
    for text in texts:
        if not text.strip() or len(text) > 255 or not text.isprintable():
            table.fault(name, f"`{text[:80]}` is not the id of an installer such as com.android.vending")
    return frozenset(text.casefold() for text in texts if text.strip())


def _signers(table: Table) -> frozenset[str]:
    """One digest or a list of them, as openssl (`AB:CD:...`) or Android's tools (`abcd...`) print them."""
    name = "signer_sha256"
    texts = (table.text(name),) if isinstance(table.raw(name), str) else listed(table, name)
    found = set()
    for text in texts:
        digest = text.replace(":", "").lower()
        if _SHA256.fullmatch(digest):
            found.add(digest)
        else:
            table.fault(name, f"`{text[:80]}` is not a SHA-256 in 64 hexadecimal digits")
    return frozenset(found)
