"""Published bundles on a composed gate: taken, refused, kept through reloads."""

from dataclasses import replace
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError
from gatekeeper.publishing.approval import override_note
from gatekeeper.server import in_force, reload
from gatekeeper.server.clock import SystemClock
from gatekeeper.server.policy_source import policy_now, read_source
from testkit.configuration import Configuration
from testkit.publishing import MALLORY, NOVAK, ORIGIN, RUIZ, bundle, policy_text

from .conftest import House

TIKTOK = policy_text(no_tiktok="com.zhiliaoapp.musically")


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """Version 1 is published."""
    store = BundleStore(tmp_path / "published")
    store.publish(1, bundle(1).encode())
    return store


@pytest.fixture
def configuration(tmp_path: Path, store: BundleStore) -> Configuration:
    """With bundles."""
    configuration = Configuration(tmp_path)
    configuration.write({"policy": {"bundles": bundles(store, RUIZ, NOVAK)}})
    return configuration


def bundles(store: BundleStore, *keys: object) -> dict[str, object]:
    """The table."""
    named = [str(key.verifier) for key in keys]
    return {"directory": str(store.directory), "origin": ORIGIN, "threshold": 2, "approvers": named}


async def test_a_publication_comes_into_force(house: House, store: BundleStore) -> None:
    """With its records; the same look again changes nothing."""
    store.publish(2, bundle(2, TIKTOK).encode())
    for _ in range(2):
        await in_force.step(house.gatekeeper)

    assert [rule.id for rule in house.gatekeeper.gate.policy.rules] == ["no-tiktok"]
    facts = [record["unmapped"]["gatekeeper"] for record in await house.records("GK3001I")]
    found = [(one["policy_version"], one["approved_by"]) for one in facts]
    assert found == [(1, "a.ruiz i.novak"), (2, "a.ruiz i.novak")]
    assert in_force.described(house.gatekeeper)["version"] == 2


async def test_what_was_published_while_nobody_served_is_on_record_once(configuration: Configuration) -> None:
    """By the process that lets it set out; the next one only goes on."""
    settings = load(configuration.path, {})
    for is_first in (True, False):
        rollouts = read_source(settings, SystemClock()).rollouts
        assert rollouts is not None
        assert rollouts.resumed is not None
        assert rollouts.resumed.is_ours is is_first


async def test_a_bad_one_is_told_once_and_the_next_good_one_taken(house: House, store: BundleStore) -> None:
    """The good one between two bad ones as well."""
    for version, by in ((2, (RUIZ,)), (3, (RUIZ, NOVAK)), (4, (RUIZ, MALLORY))):
        store.publish(version, bundle(version, TIKTOK, by=by).encode())
    for _ in range(3):
        await in_force.step(house.gatekeeper)

    refused = [record["unmapped"]["gatekeeper"] for record in await house.records("GK3004W")]
    assert [(one["policy_version"], one["flaw"]) for one in refused] == [(2, "signature"), (4, "signature")]
    assert in_force.described(house.gatekeeper)["version"] == 3
    assert b'gatekeeper_policy_bundle_errors_total{flaw="signature"} 2.0' in house.gatekeeper.metrics.text()


async def test_a_forced_one_is_on_record_as_forced(house: House, store: BundleStore) -> None:
    """With who did it, and why; a word that does not count refuses the bundle."""
    for version, by in ((2, MALLORY), (3, NOVAK)):
        made = bundle(version, TIKTOK)
        made = replace(made, override=by.sign(override_note(made.statement, "by order of the board")))
        store.publish(version, made.encode())
    await in_force.step(house.gatekeeper)

    (forced,) = [record["unmapped"]["gatekeeper"] for record in await house.records("GK3005W")]
    assert (forced["policy_version"], forced["forced_by"]) == (3, "i.novak")
    assert forced["reason"] == "by order of the board"
    assert len(await house.records("GK3004W")) == 1


async def test_a_store_that_is_away_changes_nothing(house: House, store: BundleStore) -> None:
    """Told once, and followed again when it is back."""
    aside = store.directory.with_name("aside")
    store.directory.rename(aside)
    store.directory.write_text("not a directory")
    for _ in range(3):
        await in_force.step(house.gatekeeper)
    assert len(await house.records("GK3004W")) == 1
    assert in_force.described(house.gatekeeper)["version"] == 1

    store.directory.unlink()
    aside.rename(store.directory)
    store.publish(2, bundle(2, TIKTOK).encode())
    await in_force.step(house.gatekeeper)
    assert in_force.described(house.gatekeeper)["version"] == 2


async def test_what_cannot_be_read_is_tried_again(house: House, store: BundleStore) -> None:
    """Told once."""
    path = store.directory / "0000000002.bundle"
    path.mkdir()
    for _ in range(2):
        await in_force.step(house.gatekeeper)
    path.rmdir()
    store.publish(2, bundle(2, TIKTOK).encode())
    await in_force.step(house.gatekeeper)

    assert len(await house.records("GK3004W")) == 1
    assert in_force.described(house.gatekeeper)["version"] == 2


async def test_a_reload_with_other_approvers_wants_their_signatures(house: House, store: BundleStore) -> None:
    """Else everything old stays; with a version that they signed it goes through."""
    house.configuration.write({"policy": {"bundles": bundles(store, RUIZ, MALLORY)}})
    outcome = await reload.reload(house.gatekeeper)
    assert not outcome.reloaded
    assert any("refused: approved by a.ruiz" in fault for fault in outcome.faults)
    assert in_force.described(house.gatekeeper)["version"] == 1

    store.publish(2, bundle(2, TIKTOK, by=(RUIZ, MALLORY)).encode())
    await in_force.step(house.gatekeeper)
    assert in_force.described(house.gatekeeper)["version"] == 1  # the approvers in force did not sign it
    assert (await reload.reload(house.gatekeeper)).reloaded
    assert in_force.described(house.gatekeeper)["version"] == 2


def test_without_an_approved_version_there_is_no_start(configuration: Configuration, store: BundleStore) -> None:
    """Nobody is served without a policy; every refused one is told."""
    settings = load(configuration.path, {})
    assert policy_now(settings).source == "policy version 1"
    (store.directory / "0000000001.bundle").unlink()
    with pytest.raises(DocumentError, match="no approved policy is published here"):
        read_source(settings, SystemClock())
    store.publish(1, bundle(1, by=(RUIZ,)).encode())
    with pytest.raises(DocumentError, match="version 1: refused: approved by"):
        read_source(settings, SystemClock())
    with pytest.raises(DocumentError, match="version 1: refused"):
        policy_now(settings)


def test_an_older_version_is_not_taken_after_a_newer_one(configuration: Configuration, store: BundleStore) -> None:
    """Though the newer one is gone; one that is newer still helps."""
    settings = load(configuration.path, {})
    store.publish(2, bundle(2).encode())
    read_source(settings, SystemClock())
    (store.directory / "0000000002.bundle").unlink()
    with pytest.raises(DocumentError, match="version 1 is older than 2, which was in force here"):
        read_source(settings, SystemClock())
    store.publish(3, bundle(3).encode())
    assert read_source(settings, SystemClock()).policy.source == "policy version 3"


def test_a_mark_that_is_no_number_stops_the_start(configuration: Configuration) -> None:
    """Rather than to guess which versions are old."""
    settings = load(configuration.path, {})
    read_source(settings, SystemClock())
    mark = settings.state_directory / "policy-version"
    assert mark.read_text() == "1\n"
    mark.write_text("one")
    with pytest.raises(DocumentError, match="does not say which version"):
        read_source(settings, SystemClock())
