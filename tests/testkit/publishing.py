"""Approvers, and bundles that they signed."""

import functools
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatekeeper.publishing.approval import Approvers
from gatekeeper.publishing.bundle import Bundle, build
from gatekeeper.signing.note import SigningKey

ORIGIN = "gatekeeper.example/policy"
CREATED = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
POLICY = 'schema = 1\n[defaults]\nunknown_device = "block"\n'
RULE = """
[[rule]]
id = "{rule}"
title = "{rule}"
apps = [{{ platform = "android", id = "{app}" }}]
phases = {{ enforce = "2020-07-10" }}
"""


@functools.cache
def key(name: str) -> SigningKey:
    """The key of somebody, the same in the whole run."""
    return SigningKey(name, Ed25519PrivateKey.generate())


RUIZ, NOVAK, MALLORY = key("a.ruiz"), key("i.novak"), key("mallory")


def approvers(threshold: int = 2, *, authors: tuple[SigningKey, ...] = ()) -> Approvers:
    """RUIZ and NOVAK and a third one, of whom so many must sign."""
    keys = (RUIZ.verifier, NOVAK.verifier, key("b.okafor").verifier)
    return Approvers(
        origin=ORIGIN, threshold=threshold, keys=keys, authors=tuple(author.verifier for author in authors)
    )


def policy_text(**denied: str) -> str:
    """A policy that blocks an Android app for each rule id, from long ago."""
    return POLICY + "".join(RULE.format(rule=rule.replace("_", "-"), app=app) for rule, app in denied.items())


def bundle(
    version: int,
    text: str = POLICY,
    *,
    by: tuple[SigningKey, ...] = (RUIZ, NOVAK),
    author: str = "w.author",
    origin: str = ORIGIN,
    reason: str = "a test",
) -> Bundle:
    """A bundle with signatures."""
    made = build(
        {"policy.toml": text.encode()}, origin=origin, version=version, author=author, reason=reason, now=CREATED
    )
    return signed(made, *by)


def signed(made: Bundle, *keys: SigningKey) -> Bundle:
    """The bundle with more signatures."""
    for each in keys:
        made = made.with_note(each.sign(made.note))
    return made
