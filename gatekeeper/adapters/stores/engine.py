"""Opening the database, and what a transaction is here.

Every transaction begins explicitly: `reading` sees one snapshot, `writing` takes the write lock at once
(`BEGIN IMMEDIATE`), so that nothing is decided on a state that another process changes before the commit. A commit
returns when its bytes are on disk (`synchronous=FULL`). Whatever the database raises leaves as
`ports.devices.Unavailable`; nothing above names SQLAlchemy or sqlite3. A connection is a thread, and none outlives
`close_engine`: not those either of connections that could not be made, or that were broken off.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, TypeVar, cast
from weakref import WeakSet

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gatekeeper.ports.devices import Unavailable

T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0
"""How long a statement waits for another process's write; Dovecot's SQLite driver waits as long."""
CONNECTIONS = 4
"""Each is one thread. SQLite has one writer, so that more would only queue elsewhere; one belongs to the feed."""
FILE_MODE = 0o600
"""App lists of private phones are nobody else's business; the WAL files inherit it."""
WAL_KEPT_OCTETS = 16 * 1024 * 1024
"""What the WAL file shrinks to after a large import."""
_WAL_PAUSE_S = 0.05
_ENDS_WITHIN_S = BUSY_TIMEOUT_S + 5.0
"""A thread whose disk hangs is left behind after this: it must not keep the process from ending."""
_ENDING_PAUSE_S = 0.002
_THREADS = "gatekeeper_threads"
"""The engine's option that holds the threads of its connections."""


class StoreError(Exception):
    """The configured database cannot be used; the operator has to act."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn a fault of the database, and a row that cannot be understood, into `Unavailable`."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
        raise Unavailable(f"the device store cannot answer: {_words(exc)}") from exc


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One snapshot of the database."""
    with translated():
        async with engine.execution_options(sqlite_begin="DEFERRED").begin() as connection:
            yield connection


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction that may write: all or nothing, durable when the block has ended."""
    with translated():
        async with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            yield connection


@asynccontextmanager
async def observing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection without a transaction: every statement is a snapshot of its own."""
    with translated():
        async with engine.execution_options(sqlite_begin="").connect() as connection:
            yield connection


async def data_version(connection: AsyncConnection) -> int:
    """A number that changes whenever any other connection, of any process, has committed."""
    with translated():
        raw = await connection.get_raw_connection()
        driver: aiosqlite.Connection | None = raw.driver_connection
        if driver is None:
            raise Unavailable("the connection to the device store is closed")
        try:
            # Asked several times a second by every worker: straight to the driver it is one hand-over, not four.
            rows = await driver.execute_fetchall("PRAGMA data_version")
        except ValueError as exc:  # aiosqlite's way to say that it is closed
            raise Unavailable("the connection to the device store is closed") from exc
        return int(next(iter(rows))[0])


async def unbroken(step: Coroutine[Any, Any, T]) -> T:
    """Await a step, and when cancelled only after it: a statement that is broken off leaves its thread behind."""
    task = asyncio.ensure_future(step)  # noqa: TID251  a task of a group would be cancelled with it
    try:
        return await asyncio.shield(task)
    finally:
        await task


async def open_engine(url: str) -> AsyncEngine:
    """Open the database of `url` (`sqlite:///path`), creating the file but never its directory.

    Raises `StoreError` with what to do. The caller closes it by `close_engine`.
    """
    path = _database_path(url)
    _check_directory(path)
    # At debug level aiosqlite logs every statement with its values, and these are app lists.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
        execution_options={_THREADS: WeakSet[Thread]()},
    )
    _note_threads(engine)
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    try:
        path.touch(mode=FILE_MODE)
        await _enter_wal_mode(engine)
    except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
        await close_engine(engine)
        raise StoreError(f"{path}: cannot be opened: {_words(exc)}") from exc
    return engine


async def close_engine(engine: AsyncEngine) -> None:
    """Close the database, and wait for the threads of its connections.

    The driver waits for those only that it closes itself in quiet. Any other one tells its loop that it ends, and would
    find it closed: a traceback on stderr, at the end of a command that had told its error in one line.
    """
    await engine.dispose()
    by = monotonic() + _ENDS_WITHIN_S
    threads: WeakSet[Thread] = engine.get_execution_options()[_THREADS]
    # Not by `join` in another thread: the loop may have ended those already.
    while any(thread.is_alive() for thread in threads) and monotonic() < by:  # noqa: ASYNC110  an end gives no notice
        await asyncio.sleep(_ENDING_PAUSE_S)


def _note_threads(engine: AsyncEngine) -> None:
    threads: WeakSet[Thread] = engine.get_execution_options()[_THREADS]

    async def connect(*place: Any, **how: Any) -> aiosqlite.Connection:
        connection: Any = aiosqlite.connect(*place, **how)
        # Before 0.22 it is a thread itself; since then there is no public way to it.
        thread: Thread = connection if isinstance(connection, Thread) else connection._thread  # noqa: SLF001
        thread.daemon = True  # as SQLAlchemy makes it where it connects by itself
        threads.add(thread)
        return cast("aiosqlite.Connection", await connection)

    def by_us(_dialect: object, _record: object, _place: object, how: dict[str, Any]) -> None:
        how["async_creator_fn"] = connect

    event.listen(engine.sync_engine, "do_connect", by_us)


def _database_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The address may hold a password: it is never repeated.
        raise StoreError("this is no database address; write sqlite:///path") from None
    backend = parsed.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        raise StoreError("postgresql is not supported yet; write sqlite:///path")
    if backend != "sqlite":
        raise StoreError(f"`{backend}` is no supported database; write sqlite:///path")
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError("the address of the database names no file; write sqlite:///path")
    if parsed.query:
        raise StoreError("a sqlite address takes no parameters after `?`")
    return Path(parsed.database)


def _check_directory(path: Path) -> None:
    directory = path.parent
    if not directory.exists():
        raise StoreError(f"{path}: the directory `{directory}` does not exist; create it first")
    if not directory.is_dir():
        raise StoreError(f"{path}: `{directory}` is not a directory")
    # SQLite makes its WAL beside the file, so that the directory has to be writable, not only the file.
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise StoreError(f"{path}: the directory `{directory}` cannot be written by user id {os.geteuid()}")
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK, effective_ids=True)):
        raise StoreError(f"{path}: is not a file that user id {os.geteuid()} can read and write")


async def _enter_wal_mode(engine: AsyncEngine) -> None:
    """Switch to WAL. When several processes open a new file at once, SQLite now and then refuses without waiting."""
    now = asyncio.get_running_loop().time
    give_up_at = now() + BUSY_TIMEOUT_S
    while True:
        try:
            async with engine.execution_options(sqlite_begin="").connect() as connection:
                mode = (await connection.exec_driver_sql("PRAGMA journal_mode = WAL")).scalar_one()
        except SQLAlchemyError as exc:
            if "locked" not in str(exc) or now() > give_up_at:
                raise
            await asyncio.sleep(_WAL_PAUSE_S)
            continue
        if mode != "wal":
            raise OSError(f"its file system does not support SQLite's WAL mode (got `{mode}`)")
        return


def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_OCTETS}")
    cursor.close()


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    if mode:
        connection.exec_driver_sql(f"BEGIN {mode}")


def _words(exc: BaseException) -> str:
    """The database's own words without statement and parameters."""
    cause = getattr(exc, "orig", None)
    return str(cause if cause is not None else exc).splitlines()[0] if str(exc) else type(exc).__name__
