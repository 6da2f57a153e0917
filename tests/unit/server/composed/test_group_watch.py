"""A directory that is asked by a whole gate: who moves, what counts while it is away, and what operators are told."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.bundles.store import BundleStore
from gatekeeper.adapters.groups import kept
from gatekeeper.adapters.groups.asked import AskedGroups
from gatekeeper.adapters.groups.kept import Kept
from gatekeeper.gate.admit import Admitted, Answer, Claim
from gatekeeper.server import group_watch, health, in_force
from gatekeeper.server.group_source import STATE_FILE
from gatekeeper.server.reload import reload
from gatekeeper.server.whole import status
from testkit.audit_log import connection
from testkit.ports import free_port
from testkit.publishing import NOVAK, ORIGIN, RUIZ, bundle
from testkit.reports import ALICE, NOTES, TIKTOK, phone, report
from testkit.scim import TOKEN, Scim
from testkit.tls import Authority, KeyPair

from .conftest import House

POLICY = """
schema = 1
[defaults]
unknown_device = "allow"
evidence_max_age = "3650d"
[groups]
press = { directory = "Press" }
[[rule]]
id = "no-tiktok"
apps = [{ platform = "android", id = "com.zhiliaoapp.musically" }]
scope = { not_groups = ["press"] }
phases = { enforce = "2020-01-01" }
"""


@pytest.fixture(autouse=True)
def _patient_with_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a thread of this process."""
    monkeypatch.setattr("gatekeeper.adapters.groups.asked.LEARN_WITHIN_S", 60.0)


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """The provider's certificate, which is its own CA file, too."""
    return Authority(tmp_path, "scim").server_certificate("localhost")


@pytest.fixture
def scim(pair: KeyPair) -> Iterator[Scim]:
    """A provider whose group `Press` has alice."""
    server = Scim(pair, port=free_port())
    yield server
    server.stop()


async def _with_directory(house: House, scim: Scim, pair: KeyPair, **more: object) -> AskedGroups:
    directory = house.configuration.directory
    token = directory / "token"
    token.write_text(TOKEN)
    ca = pair.certificate.parent / "scim.pem"
    url = f"https://localhost:{scim.port}/v2"
    house.configuration.policy_path.write_text(POLICY)
    groups = {"scim": {"url": url, "token_file": str(token), "ca": str(ca)}, **more}
    house.configuration.write({"groups": groups})
    outcome = await reload(house.gatekeeper)
    assert outcome.reloaded, outcome.faults
    asked = house.gatekeeper.groups
    assert isinstance(asked, AskedGroups)
    return asked


async def _ask(house: House, asked: AskedGroups) -> None:
    """As if it were time."""
    asked.standing.tried_at = None
    await group_watch.ask_once(house.gatekeeper, asked)


async def _session(house: House, account: str = ALICE) -> asyncio.Event:
    """Admit somebody; the event is set when the session is cut."""
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    claim = Claim(connection=connection(), account=account, mechanism="PLAIN", certificate=None)
    house.gatekeeper.gate.admit(claim, answers.put_nowait)
    answer = await answers.get()
    assert isinstance(answer, Admitted)
    is_cut = asyncio.Event()
    answer.admission.cut = is_cut.set
    return is_cut


async def _cut(is_cut: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await is_cut.wait()


async def _has_tiktok(house: House) -> None:
    now = house.gatekeeper.clock.now()
    await house.gatekeeper.registry.apply([report(phone(), NOTES, TIKTOK, at=now)], now=now)
    await house.gatekeeper.directory.refresh()


async def test_who_moves_is_decided_again(house: House, scim: Scim, pair: KeyPair) -> None:
    """A group is known before the policy that names it rules; who leaves it is cut, who stays is not."""
    alice = scim.user(ALICE)
    bob = scim.user("bob@example.com")
    press = scim.group("Press", alice, bob)
    await _has_tiktok(house)
    asked = await _with_directory(house, scim, pair)
    is_cut = await _session(house)
    other = await _session(house, "bob@example.com")
    state = house.gatekeeper.settings.state_directory / STATE_FILE
    assert not state.exists(), "a reload learns, and only who asks by turns writes"
    await _ask(house, asked)
    assert state.exists()
    assert not is_cut.is_set()

    scim.replace_group(press, "Press", bob)
    await _ask(house, asked)
    await _cut(is_cut)
    assert not other.is_set()
    scim.replace_group(press, "Press", alice)
    await _ask(house, asked)
    await _session(house)


async def test_a_directory_that_goes_away_is_told(house: House, scim: Scim, pair: KeyPair) -> None:
    """Once when it goes and once when it is back; what it last said counts on, and the gate stays ready."""
    scim.group("Press", scim.user(ALICE))
    await _has_tiktok(house)
    asked = await _with_directory(house, scim, pair)
    await _ask(house, asked)
    gatekeeper = house.gatekeeper
    assert b"gatekeeper_groups_directory_up 1.0" in gatekeeper.metrics.text()
    assert health.checks(gatekeeper)["groups"] == "ok"
    is_cut = await _session(house)

    scim.stop()
    for _ in range(2):
        await _ask(house, asked)
    (record,) = await house.records("GK3040W")
    facts = record["unmapped"]["gatekeeper"]
    assert isinstance(facts, dict)
    assert "Connection refused" in facts["reason"]
    assert facts["kept_until"] > facts["answered"]
    assert b"gatekeeper_groups_directory_up 0.0" in gatekeeper.metrics.text()
    assert b"gatekeeper_groups_answer_age_seconds" in gatekeeper.metrics.text()
    assert health.checks(gatekeeper)["groups"].startswith("ok, but the directory of groups does not answer since")
    groups = status(gatekeeper)["groups"]
    assert isinstance(groups, dict)
    assert groups["state"].startswith("SILENT since ")
    assert not is_cut.is_set()

    again = Scim(pair, port=scim.port)
    try:
        again.group("Press", again.user(ALICE))
        await _ask(house, asked)
    finally:
        again.stop()
    assert len(await house.records("GK3041I")) == 1
    assert health.checks(gatekeeper)["groups"] == "ok"
    assert not is_cut.is_set()


async def test_an_answer_that_is_too_old_is_none(house: House, scim: Scim, pair: KeyPair) -> None:
    """Then nobody is excepted: unknown is never false. It is told, and does not make the gate unready."""
    scim.group("Press", scim.user(ALICE))
    await _has_tiktok(house)
    asked = await _with_directory(house, scim, pair, keep="10m")
    await _ask(house, asked)
    is_cut = await _session(house)
    gatekeeper = house.gatekeeper
    old = Kept(
        answered_at=gatekeeper.clock.now() - timedelta(minutes=11), members={"Press": frozenset({ALICE})}, unknown={}
    )
    kept.write(gatekeeper.settings.state_directory / STATE_FILE, old, asked.settings.meaning)
    for _ in range(2):
        await group_watch.step(gatekeeper)
    await _cut(is_cut)
    scim.stop()
    await _ask(house, asked)
    assert len(await house.records("GK3042W")) == 1
    assert (
        health.checks(gatekeeper)["groups"] == "ok, but the directory's last answer is too old: its groups are unknown"
    )

    again = Scim(pair, port=scim.port)
    try:
        again.group("Press", again.user(ALICE))
        await _ask(house, asked)
    finally:
        again.stop()
    await _session(house)


async def test_a_gate_that_begins_with_an_answer_that_is_too_old_says_so(
    house: House, scim: Scim, pair: KeyPair
) -> None:
    """While the directory is away: its groups are unknown from the first moment."""
    scim.stop()
    asked = await _with_directory(house, scim, pair, keep="10m")
    gatekeeper = house.gatekeeper
    old = Kept(answered_at=gatekeeper.clock.now() - timedelta(days=1), members={"Press": frozenset()}, unknown={})
    kept.write(gatekeeper.settings.state_directory / STATE_FILE, old, asked.settings.meaning)
    current = await _with_directory(house, scim, pair, keep="10m")
    assert current.members() == {}
    for _ in range(2):
        await _ask(house, current)
    assert len(await house.records("GK3042W")) == 1


async def test_a_group_that_the_directory_does_not_have_is_told(house: House, scim: Scim, pair: KeyPair) -> None:
    """In the status; and a rule that excepts it excepts nobody."""
    asked = await _with_directory(house, scim, pair)
    await _ask(house, asked)
    groups = status(house.gatekeeper)["groups"]
    assert isinstance(groups, dict)
    assert groups["unknown Press"] == "there is no such group that the gate may see"
    assert asked.members() == {}


async def test_without_groups_in_the_policy_nobody_is_asked(house: House, scim: Scim, pair: KeyPair) -> None:
    """What is not needed is not read, and not kept either."""
    asked = await _with_directory(house, scim, pair)
    await _ask(house, asked)
    state = house.gatekeeper.settings.state_directory / STATE_FILE
    assert state.exists()
    scim.paths.clear()
    house.configuration.policy_path.write_text(
        POLICY.replace('not_groups = ["press"]', "")
        .replace("press = {", "x = {")
        .replace('x = { directory = "Press" }', "")
    )
    assert (await reload(house.gatekeeper)).reloaded
    current = house.gatekeeper.groups
    assert isinstance(current, AskedGroups)
    assert current is not asked
    await group_watch.ask_once(house.gatekeeper, current)
    assert scim.paths == []
    assert not state.exists(), "nobody's membership stays where it is not needed"
    await group_watch.ask_once(house.gatekeeper, current)

    kept.write(state, Kept(answered_at=house.gatekeeper.clock.now(), members={}, unknown={}), "")
    house.configuration.write({"groups": None})
    assert (await reload(house.gatekeeper)).reloaded
    group_watch.forget(house.gatekeeper)
    assert not state.exists()


async def test_a_published_policy_waits_for_the_groups_that_it_names(
    house: House, scim: Scim, pair: KeyPair, tmp_path: Path
) -> None:
    """Nobody is cut for a group that is not known yet only because nobody asked."""
    scim.group("Press", scim.user(ALICE))
    await _has_tiktok(house)
    store = BundleStore(tmp_path / "published")
    store.publish(1, bundle(1).encode())
    approvers = [str(key.verifier) for key in (RUIZ, NOVAK)]
    table = {"directory": str(store.directory), "origin": ORIGIN, "threshold": 2, "approvers": approvers}
    house.configuration.write({"policy": {"bundles": table}})
    await _with_directory(house, scim, pair)
    is_cut = await _session(house)
    scim.paths.clear()
    store.publish(2, bundle(2, POLICY).encode())
    await in_force.step(house.gatekeeper)
    assert in_force.described(house.gatekeeper)["version"] == 2
    assert not is_cut.is_set()
    assert any(path.startswith("/v2/Groups?filter=") for path in scim.paths)


async def test_a_gate_that_stops_does_not_wait_for_a_directory(house: House, scim: Scim, pair: KeyPair) -> None:
    """One that takes the connection and says nothing is given up, in the middle of the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        asked = await _with_directory(house, scim, pair)
        loop = asyncio.get_running_loop()
        scim.port = silent.getsockname()[1]
        changed = asyncio.create_task(_with_directory(house, scim, pair))  # noqa: TID251  it waits below
        async with asyncio.timeout(30):
            first, _ = await loop.sock_accept(silent)
        first.close()
        current = await changed
        assert current is not asked
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(group_watch.ask(house.gatekeeper))
            taken, _ = await loop.sock_accept(silent)
            await loop.sock_recv(taken, 100)
            asking.cancel()
        async with asyncio.timeout(30):
            await loop.shutdown_default_executor()
        taken.close()
