"""The directory: true to the store, silent when it cannot be; the rest is in `tests/contracts`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gatekeeper.adapters.stores import directory as module
from gatekeeper.adapters.stores import reading as reading_module
from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.engine import writing
from gatekeeper.adapters.stores.reading import Answer
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.domain.device import DeviceId
from gatekeeper.domain.posture import Posture
from gatekeeper.ports.devices import DeviceChange, Unavailable
from testkit.reports import ALICE, BOB, MINUTE, NOTES, NOW, TIKTOK, phone, report
from testkit.stores import acknowledged, evidence_writer

QUICK = timedelta(milliseconds=20)


async def test_it_does_not_answer_before_it_reached_the_store(engine: AsyncEngine) -> None:
    """Nothing is known yet, and that is said."""
    directory = DeviceDirectory(engine)

    assert not directory.healthy
    assert directory.known_of_account(ALICE) is None
    with pytest.raises(Unavailable):
        await directory.of_account(ALICE)
    with pytest.raises(Unavailable):
        await directory.by_identifier("serial", "R58")


async def test_a_write_of_another_process_is_seen_by_polling(engine: AsyncEngine, url: str) -> None:
    """The server hears of what a command wrote, without being asked."""
    directory = DeviceDirectory(engine, poll_interval=QUICK)
    told: asyncio.Queue[tuple[DeviceChange, ...]] = asyncio.Queue()
    directory.subscribe(told.put_nowait)
    async with asyncio.timeout(30), _running(directory), evidence_writer(url, "ph-9", 1) as process:
        assert await acknowledged(process) == "ph-9-1"
        changes = [*await told.get()]
        while len(changes) < 2:
            changes.extend(await told.get())

        assert [(change.device_id, change.kind) for change in changes] == [("ph-9", "inventory"), ("ph-9", "evidence")]
        assert _apps((await directory.of_account("ph-9@example.com"))[0]) == (NOTES, TIKTOK)


async def test_a_large_import_is_told_in_pieces(
    registry: SqlRegistry, directory: DeviceDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is in memory before it is told, and every device is told once."""
    monkeypatch.setattr(module, "STEP", 4)
    await directory.of_account(ALICE)
    told: list[int] = []
    directory.subscribe(lambda changes: told.append(len(changes)))
    await registry.apply([report(phone(f"ph-{number}")) for number in range(10)], now=NOW)
    await directory.refresh()

    assert told == [4, 4, 2]
    assert len(directory.known_of_account(ALICE) or ()) == 10


async def test_an_old_answer_does_not_replace_a_newer_one(
    registry: SqlRegistry, directory: DeviceDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that was overtaken by a change is not remembered."""

    async def overtaken(connection: AsyncConnection, account: str) -> Answer:
        answer = await reading_module.by_account(connection, account)
        await registry.apply([report(phone(), TIKTOK)], now=NOW)
        await directory.refresh()
        return answer

    monkeypatch.setattr(module, "by_account", overtaken)

    assert await directory.of_account(ALICE) == ()
    assert directory.known_of_account(ALICE) is None


async def test_an_old_answer_does_not_slip_in_during_a_step(
    registry: SqlRegistry, directory: DeviceDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that comes back while the change is being taken in."""
    in_step, goes_on = asyncio.Event(), asyncio.Event()

    async def held_up(connection: AsyncConnection, accounts: set[str]) -> dict[str, list[DeviceId]]:
        in_step.set()
        await goes_on.wait()
        return await reading_module.ids_of_accounts(connection, accounts)

    async def overtaken(connection: AsyncConnection, account: str) -> Answer:
        answer = await reading_module.by_account(connection, account)
        await registry.apply([report(phone(), TIKTOK)], now=NOW)
        group.create_task(directory.refresh())
        await in_step.wait()
        return answer

    monkeypatch.setattr(module, "by_account", overtaken)
    monkeypatch.setattr(module, "ids_of_accounts", held_up)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        assert await directory.of_account(ALICE) == ()
        goes_on.set()

    assert directory.known_of_account(ALICE) is None


async def test_a_step_that_a_subscriber_broke_is_done_again(registry: SqlRegistry, directory: DeviceDirectory) -> None:
    """A change is not lost on the way to those who cut sessions."""
    told: list[tuple[DeviceChange, ...]] = []

    def fails_once(changes: tuple[DeviceChange, ...]) -> None:
        told.append(changes)
        if len(told) == 1:
            raise ZeroDivisionError

    directory.subscribe(fails_once)
    await registry.apply([report(phone())], now=NOW)
    with pytest.raises(ZeroDivisionError):
        await directory.refresh()
    await directory.refresh()

    assert [[change.device_id for change in changes] for changes in told] == [["ph-1"], ["ph-1"]]


async def test_a_broken_subscriber_does_not_end_the_polling(engine: AsyncEngine, registry: SqlRegistry) -> None:
    """The loop goes on, so that the store being silent is noticed and one fault does not stop the server."""
    directory = DeviceDirectory(engine, poll_interval=QUICK)
    told: asyncio.Queue[tuple[DeviceChange, ...]] = asyncio.Queue()

    def fails_once(changes: tuple[DeviceChange, ...]) -> None:
        told.put_nowait(changes)
        if told.qsize() == 1:
            raise ZeroDivisionError

    directory.subscribe(fails_once)
    async with asyncio.timeout(30), _running(directory):
        await registry.apply([report(phone())], now=NOW)
        await _until(lambda: told.qsize() == 2)


async def test_missing_entries_of_the_feed_count_as_a_change_of_everything(
    engine: AsyncEngine, registry: SqlRegistry, directory: DeviceDirectory
) -> None:
    """Who slept so long that entries were purged reads anew, and tells of devices that are gone as well."""
    await registry.apply([report(phone("a"), TIKTOK), report(phone("b", BOB))], now=NOW)
    await directory.refresh()
    await directory.of_account(ALICE)
    told: list[DeviceChange] = []
    directory.subscribe(told.extend)
    await registry.forget(DeviceId("a"))
    await registry.apply([report(phone("c", BOB))], now=NOW)
    async with writing(engine) as connection:
        await connection.execute(text("DELETE FROM change WHERE seq < (SELECT max(seq) FROM change)"))
    await directory.refresh()

    assert {(change.device_id, change.account) for change in told} == {("a", ALICE), ("b", BOB), ("c", BOB)}
    assert directory.known_of_account(ALICE) is None
    assert await directory.of_account(ALICE) == ()


async def test_a_restored_backup_is_noticed(
    engine: AsyncEngine, registry: SqlRegistry, directory: DeviceDirectory
) -> None:
    """A feed that goes back is a change of everything, too."""
    await registry.apply([report(phone("a")), report(phone("b", BOB))], now=NOW)
    await directory.refresh()
    await directory.of_account(ALICE)
    async with writing(engine) as connection:
        await connection.execute(text("DELETE FROM device WHERE device_id = 'a'"))
        await connection.execute(text("DELETE FROM change WHERE seq = (SELECT max(seq) FROM change)"))
    await directory.refresh()

    assert await directory.of_account(ALICE) == ()


async def test_memory_is_not_used_when_the_store_is_silent(
    engine: AsyncEngine, registry: SqlRegistry, tmp_path: Path
) -> None:
    """After `max_silence` nothing is served from memory; when the store is back, everything is."""
    await registry.apply([report(phone(), NOTES)], now=NOW)
    directory = DeviceDirectory(engine, poll_interval=QUICK)
    patience_s = directory._max_silence_s
    async with asyncio.timeout(30), _running(directory):
        await directory.of_account(ALICE)
        async with _away(engine, directory, tmp_path / "state"):
            directory._max_silence_s = (
                0.1  # from the last answer on, which was now; a busy machine is not silent before
            )
            directory._contact()
            await _until(lambda: not directory.healthy)

            assert directory.known_of_account(ALICE) is None
            assert directory.known_by_identifier("device_id", "ph-1") is None
            with pytest.raises(Unavailable):
                await directory.of_account(ALICE)
            with pytest.raises(Unavailable):
                await directory.by_identifier("device_id", "ph-1")
            with pytest.raises(Unavailable):
                await directory.refresh()
            directory._max_silence_s = patience_s
        await _until(lambda: directory.healthy)

        assert len(await directory.of_account(ALICE)) == 1
    assert not directory.healthy


async def test_a_change_during_the_silence_is_not_missed(
    engine: AsyncEngine, registry: SqlRegistry, directory: DeviceDirectory, tmp_path: Path
) -> None:
    """After a new connection the feed goes on where it was."""
    await registry.apply([report(phone(), NOTES)], now=NOW)
    await directory.refresh()
    await directory.of_account(ALICE)
    async with _away(engine, directory, tmp_path / "state"):
        with pytest.raises(Unavailable):
            await directory.refresh()
    await registry.apply([report(phone(), TIKTOK, at=NOW + MINUTE)], now=NOW)
    await directory.refresh()

    (posture,) = directory.known_of_account(ALICE) or ()
    assert _apps(posture) == (TIKTOK,)


async def test_look_ups_of_what_is_remembered_need_no_store(
    engine: AsyncEngine, registry: SqlRegistry, directory: DeviceDirectory, tmp_path: Path
) -> None:
    """Within `max_silence` a short outage is not felt by those who log in again."""
    await registry.apply([report(phone(), NOTES)], now=NOW)
    await directory.refresh()
    await directory.of_account(ALICE)
    await directory.by_identifier("serial", "R58")
    async with _away(engine, directory, tmp_path / "state"):
        assert len(await directory.of_account(ALICE)) == 1
        assert await directory.by_identifier("serial", "R58") is None
        with pytest.raises(Unavailable):
            await directory.of_account(BOB)


def _apps(posture: Posture) -> tuple[object, ...]:
    return posture.result.apps.apps if posture.result else ()


@asynccontextmanager
async def _running(directory: DeviceDirectory) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(directory.run())
        await _until(lambda: directory.healthy)
        yield
        task.cancel()


@asynccontextmanager
async def _away(engine: AsyncEngine, directory: DeviceDirectory, state: Path) -> AsyncIterator[None]:
    """The state directory is gone for a while, as when its file system is unmounted."""
    hidden = state.with_name("hidden")
    state.rename(hidden)  # noqa: ASYNC240  a local directory in a test
    assert directory._observer is not None
    driver = (await directory._observer.get_raw_connection()).driver_connection
    await driver.close()
    await engine.dispose()
    try:
        yield
    finally:
        hidden.rename(state)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  health gives no notice; the loop only yields
            await asyncio.sleep(0)
