"""Remembered refusals: found only by the very same credentials, and only for a short while."""

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.gate.refusals import Refusals, RefusalSettings
from testkit.audit_log import BLOCKED

ALICE, BOB = "alice@example.com", "bob@example.com"


def remembered(*accounts: str, settings: RefusalSettings | None = None) -> tuple[Refusals, list[bytes]]:
    """A memory with one refusal for each account, at 0 s."""
    refusals = Refusals(settings or RefusalSettings())
    digests = [refusals.digest(account.encode(), b"secret") for account in accounts]
    for account, digest in zip(accounts, digests, strict=True):
        refusals.remember(digest, account, BLOCKED, 0)
    return refusals, digests


def test_the_same_credentials_are_found_until_they_are_too_old() -> None:
    """The age counts from the mail server's word, not from the last time it was found."""
    refusals, (digest,) = remembered(ALICE, settings=RefusalSettings(remember_for_s=60))
    assert refusals.find(digest, 30) is refusals.find(digest, 59.9) is BLOCKED
    assert refusals.find(digest, 60) is None
    assert len(refusals) == 0


@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_only_the_same_parts_have_the_same_digest(one: list[bytes], other: list[bytes]) -> None:
    """Octets that move from one part to the next are different credentials."""
    refusals = Refusals(RefusalSettings())
    assert (refusals.digest(*one) == refusals.digest(*other)) == (one == other)


def test_a_digest_tells_nothing_outside_its_process() -> None:
    """The key is random."""
    assert Refusals(RefusalSettings()).digest(b"secret") != Refusals(RefusalSettings()).digest(b"secret")


def test_forgetting_an_account_forgets_all_of_it_and_nothing_else() -> None:
    """Whatever certificate or mechanism it came with."""
    refusals, (alice, bob) = remembered(ALICE, BOB)
    other = refusals.digest(b"another certificate")
    refusals.remember(other, ALICE, BLOCKED, 0)
    refusals.forget(ALICE)
    refusals.forget("nobody")
    assert refusals.find(alice, 1) is refusals.find(other, 1) is None
    assert refusals.find(bob, 1) is BLOCKED
    assert not refusals._by_account.keys() - {BOB}


def test_the_longest_unused_goes_when_there_is_no_room() -> None:
    """Memory is bounded, in both tables."""
    refusals, (alice, bob) = remembered(ALICE, BOB, settings=RefusalSettings(max_entries=2))
    assert refusals.find(alice, 1) is BLOCKED
    refusals.remember(b"third", "carol", BLOCKED, 2)
    assert refusals.find(bob, 3) is None
    assert refusals.find(alice, 3) is BLOCKED
    assert len(refusals) == len(refusals._by_account) == 2


def test_remembering_for_no_time_remembers_nothing() -> None:
    """It can be switched off."""
    refusals, (digest,) = remembered(ALICE, settings=RefusalSettings(remember_for_s=0))
    assert refusals.find(digest, 0) is None
    assert len(refusals) == 0
