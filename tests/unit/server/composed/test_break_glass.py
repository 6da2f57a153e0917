"""Break-glass on a composed gate, by a clock that is driven: loud at both ends, and over by itself."""

from datetime import timedelta

import pytest

from gatekeeper.domain.posture import Assurance, Binding, Subject
from gatekeeper.domain.request import MailProtocol, Request
from gatekeeper.publishing.break_glass import opening
from gatekeeper.server import break_glass
from testkit.audit_log import StandingClock
from testkit.configuration import Configuration
from testkit.publishing import MALLORY, key
from testkit.reports import NOW

from .conftest import House

GLASS = key("break-glass")
ORIGIN = "gatekeeper.example/audit/1"
MINUTE = timedelta(minutes=1)
NOBODY = Subject(binding=Binding(assurance=Assurance.USER, method="user"), postures=())
ASKED = Request(account="a@example.com", protocol=MailProtocol.IMAP, listener="imaps")


@pytest.fixture
def configuration(tmp_path: object) -> Configuration:
    """With an offline key, and no bundles: it works with a policy in a file as well."""
    configuration = Configuration(tmp_path)
    configuration.write({"policy": {"break_glass": {"key": str(GLASS.verifier)}}})
    return configuration


@pytest.fixture
def clock(house: House) -> StandingClock:
    """The gate's."""
    clock = house.gatekeeper.clock = StandingClock(NOW)
    return clock


def lay(house: House, data: bytes) -> None:
    """A note into the state directory."""
    (house.gatekeeper.settings.state_directory / break_glass.NOTE_FILE).write_bytes(data)


def admits(house: House) -> bool:
    """Whether an unknown device is let through."""
    gatekeeper = house.gatekeeper
    return gatekeeper.gate.ruling.decide(NOBODY, ASKED, gatekeeper.clock.now()).verdict.admits


async def said(house: House) -> list[tuple[object, object]]:
    """What is on record of it."""
    records = [record["unmapped"]["gatekeeper"] for record in await house.records("GK3020W")]
    return [(one["state"], one.get("how")) for one in records]


async def test_it_opens_and_ends_by_itself(house: House, clock: StandingClock) -> None:
    """To the second, with a record at either end; the note is gone then."""
    assert not admits(house)
    lay(house, GLASS.sign(opening(ORIGIN, 30, "MDM outage", NOW).note).encode())
    await break_glass.step(house.gatekeeper)
    assert admits(house)
    assert "OPEN until 2020-07-10T16:30:00Z" in break_glass.describe(house.gatekeeper)
    assert b"gatekeeper_break_glass_open 1.0" in house.gatekeeper.metrics.text()
    clock.instant = NOW + 30 * MINUTE - timedelta(seconds=1)
    await break_glass.step(house.gatekeeper)
    assert admits(house)

    clock.instant = NOW + 30 * MINUTE
    assert not admits(house)  # before anybody looked
    await break_glass.step(house.gatekeeper)
    assert await said(house) == [("opened", None), ("closed", "expired")]
    assert break_glass.describe(house.gatekeeper) == ""
    assert not (house.gatekeeper.settings.state_directory / break_glass.NOTE_FILE).exists()


async def test_it_can_be_ended_before(house: House, clock: StandingClock) -> None:
    """By taking the note away."""
    lay(house, GLASS.sign(opening(ORIGIN, 30, "MDM outage", NOW).note).encode())
    await break_glass.step(house.gatekeeper)
    clock.instant += MINUTE
    (house.gatekeeper.settings.state_directory / break_glass.NOTE_FILE).unlink()
    await break_glass.step(house.gatekeeper)

    assert not admits(house)
    assert await said(house) == [("opened", None), ("closed", "ended")]


async def test_a_bad_note_opens_nothing_and_is_told_once(house: House, clock: StandingClock) -> None:
    """Whatever else is wrong with it."""
    lay(house, MALLORY.sign(opening(ORIGIN, 30, "let me in", NOW).note).encode())
    for _ in range(3):
        await break_glass.step(house.gatekeeper)

    assert not admits(house)
    assert len(await house.records("GK3021W")) == 1
    assert await said(house) == []


async def test_a_note_that_ran_out_while_nobody_served_is_on_record(house: House, clock: StandingClock) -> None:
    """Once, and nothing is opened."""
    lay(house, GLASS.sign(opening(ORIGIN, 5, "MDM outage", NOW - 10 * MINUTE).note).encode())
    for _ in range(2):
        await break_glass.step(house.gatekeeper)

    assert not admits(house)
    assert await said(house) == [("closed", "while not serving")]
