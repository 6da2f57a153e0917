"""Opening a database, and transactions on it."""

import asyncio
import logging
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores import engine as module
from gatekeeper.adapters.stores.engine import (
    StoreError,
    close_engine,
    data_version,
    observing,
    open_engine,
    reading,
    unbroken,
    writing,
)
from gatekeeper.adapters.stores.tables import token_id
from gatekeeper.ports.devices import Unavailable
from testkit.reports import NOW

NO_WAITING = {"timeout": 0, "isolation_level": None}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://gate:hunter2@db/gate", "postgresql is not supported yet"),
        ("mysql://db/gate", "`mysql` is no supported database"),
        ("var/gatekeeper.sqlite3", "this is no database address"),
        ("postgresql//gate:hunter2@db/gate", "this is no database address"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///var/gate.sqlite3?mode=ro", "takes no parameters"),
        (
            "sqlite:////proc/nonexistent/gate.sqlite3",
            "the directory `/proc/nonexistent` does not exist; create it first",
        ),
        ("sqlite:////dev/null/gate.sqlite3", "`/dev/null` is not a directory"),
    ],
)
async def test_an_address_that_cannot_be_used_says_why(url: str, says: str) -> None:
    """The operator reads what to do, and no password."""
    with pytest.raises(StoreError) as refusal:
        await open_engine(url)
    assert says in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


async def test_a_directory_that_cannot_be_written_is_named(guarded_directory: Path) -> None:
    """SQLite needs to make files beside its own, which its error text would not tell."""
    with pytest.raises(StoreError, match=f"the directory `{guarded_directory}` cannot be written by user id"):
        await open_engine(f"sqlite:///{guarded_directory}/gate.sqlite3")


async def test_a_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """As it happens when a container makes a missing mount point."""
    with pytest.raises(StoreError, match="is not a file that user id"):
        await open_engine(f"sqlite:///{tmp_path}")


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A wrong path does not overwrite what is there."""
    path = tmp_path / "gate.sqlite3"
    path.write_bytes(b"this is my diary" * 1000)

    with pytest.raises(StoreError, match="cannot be opened: file is not a database"):
        await open_engine(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"this is my diary")


async def test_opening_outlasts_a_lock_that_is_not_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SQLite has it when several processes open a new file at once."""
    holder = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    connect = module.create_async_engine
    monkeypatch.setattr(
        module, "create_async_engine", lambda *args, **kwargs: connect(*args, **{**kwargs, "connect_args": NO_WAITING})
    )
    asyncio.get_running_loop().call_later(0.02, holder.rollback)
    engine = await open_engine(url)

    async with observing(engine) as connection:
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
    await close_engine(engine)
    holder.close()


async def test_no_thread_outlives_the_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor that of a connection that nobody waits for any more, and that is never made: its loop may end after this."""
    began, fails = threading.Event(), threading.Event()

    def never(*_: object, **__: object) -> None:
        began.set()
        assert fails.wait(20)
        raise sqlite3.OperationalError("unable to open database file")

    engine = await open_engine(url)
    async with engine.connect():  # the one that is there
        monkeypatch.setattr(sqlite3, "connect", never)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(observing(engine).__aenter__())
            assert await asyncio.to_thread(began.wait, 20)
            waiting.cancel()
    await asyncio.get_running_loop().shutdown_default_executor()
    asyncio.get_running_loop().call_later(0.01, fails.set)
    await close_engine(engine)
    assert fails.is_set()
    assert not [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]


async def test_only_the_owner_may_read_the_file(engine: AsyncEngine) -> None:
    """App lists are nobody else's business."""
    assert engine.url.database is not None
    assert stat.S_IMODE(os.stat(engine.url.database).st_mode) == 0o600  # noqa: PTH116  a local file in a test


async def test_a_commit_is_on_disk_and_references_hold(engine: AsyncEngine) -> None:
    """Write-ahead log, full synchronisation and foreign keys on every connection."""
    async with observing(engine) as one, observing(engine) as two:
        for connection in (one, two):
            values = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert values == ["wal", 2, 1, 5000]


async def test_a_failed_write_leaves_nothing(engine: AsyncEngine) -> None:
    """All or nothing."""

    async def fails_half_way() -> None:
        async with writing(engine) as connection:
            await connection.execute(insert(token_id).values(jti="one", expires=NOW))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails_half_way()
    async with reading(engine) as connection:
        assert (await connection.execute(token_id.select())).all() == []


async def test_a_writer_has_the_lock_from_its_first_instant(engine: AsyncEngine) -> None:
    """What it reads is still true when it writes."""
    async with observing(engine) as other:
        await other.exec_driver_sql("PRAGMA busy_timeout = 0")
        async with writing(engine):
            with pytest.raises(Exception, match="database is locked"):
                await other.exec_driver_sql("BEGIN IMMEDIATE")
        await other.exec_driver_sql("PRAGMA busy_timeout = 5000")


async def test_a_database_error_is_told_without_the_values(engine: AsyncEngine) -> None:
    """Neither the exception nor its cause shows what was to be written."""
    with pytest.raises(Unavailable) as fault:
        async with writing(engine) as connection:
            await connection.execute(text("INSERT INTO nowhere VALUES (:app)"), {"app": "com.zhiliaoapp.musically"})

    assert "no such table" in str(fault.value)
    assert "musically" not in str(fault.value) + repr(fault.value.__cause__) + str(fault.value.__cause__)


async def test_statements_are_not_logged(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """Even when the operator asks every library for its debug log."""
    caplog.set_level(logging.DEBUG)
    async with writing(engine) as connection:
        await connection.execute(insert(token_id).values(jti="com.zhiliaoapp.musically", expires=NOW))

    assert "musically" not in caplog.text


async def test_the_data_version_tells_a_write_of_another_connection(engine: AsyncEngine) -> None:
    """And only that."""
    async with observing(engine) as observer:
        before = await data_version(observer)
        assert await data_version(observer) == before
        async with writing(engine) as connection:
            await connection.execute(insert(token_id).values(jti="one", expires=NOW))
        assert await data_version(observer) != before


@pytest.fixture
def guarded_directory() -> Iterator[Path]:
    """A directory that this user cannot write; root becomes nobody for the length of the test."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o555)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
        directory.rmdir()


async def test_a_step_is_not_broken_off() -> None:
    """Whoever is cancelled while it runs goes on only when it is done; one that failed is heard of."""
    began, goes_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def step() -> None:
        began.set()
        await goes_on.wait()
        done.set()

    waiting = asyncio.create_task(unbroken(step()))  # noqa: TID251  it is cancelled
    await began.wait()
    waiting.cancel()
    asyncio.get_running_loop().call_later(0.01, goes_on.set)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done.is_set()

    async def fails() -> None:
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        await unbroken(fails())
