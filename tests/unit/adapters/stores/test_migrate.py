"""Migrations: from nothing to the tables of today, by one process of many."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores import migrate as module
from gatekeeper.adapters.stores.engine import StoreError, close_engine, open_engine, reading, writing
from gatekeeper.adapters.stores.migrate import HEAD, migrate, open_store
from gatekeeper.adapters.stores.tables import metadata

OPEN = """
import asyncio, sys
from gatekeeper.adapters.stores.migrate import open_store
async def main():
    async with open_store(sys.argv[1]): pass
asyncio.run(main())
"""


async def test_a_new_database_gets_exactly_the_tables_that_are_used(engine: AsyncEngine) -> None:
    """What the migrations make is what the code expects: nothing to add, nothing left over."""
    async with reading(engine) as connection:
        assert await connection.run_sync(_differences) == []


async def test_migrating_again_does_nothing(engine: AsyncEngine) -> None:
    """Every start runs it."""
    await migrate(engine)
    async with reading(engine) as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == HEAD


def test_the_expected_revision_is_the_last_one() -> None:
    """A new migration that `HEAD` does not name would never run."""
    assert ScriptDirectory(str(Path(module.__file__).parent / "migrations")).get_current_head() == HEAD


async def test_processes_that_start_at_once_all_find_the_tables(url: str) -> None:
    """One migrates, the others wait for it."""
    async with asyncio.timeout(60):
        processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", OPEN, url) for _ in range(4)]
        assert [await process.wait() for process in processes] == [0, 0, 0, 0]
    async with open_store(url) as engine, reading(engine) as connection:
        assert await connection.run_sync(_differences) == []


async def test_the_lock_is_not_held_while_alembic_is_loaded(url: str) -> None:
    """On a machine with much to do that may take longer than others wait for it."""
    code = """
import sys
from gatekeeper.adapters.stores import migrate
begin = migrate.writing
def writing(engine):
    assert "alembic.command" in sys.modules
    return begin(engine)
migrate.writing = writing
"""
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code + OPEN, url)
        assert await process.wait() == 0


async def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    """After a downgrade the operator is told, and nothing is written."""
    async with open_store(url) as engine, writing(engine) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match=r"has the schema `9999`.*written by a newer gatekeeper"):
        async with open_store(url):
            raise AssertionError("opened")


async def test_a_step_that_fails_leaves_the_database_as_it_was(url: str) -> None:
    """Schema changes are part of the transaction."""
    engine = await open_engine(url)
    async with writing(engine) as connection:
        await connection.execute(text("CREATE TABLE nonce (digest BLOB)"))

    with pytest.raises(StoreError, match=r"cannot be migrated.*nonce"):
        await migrate(engine)
    async with reading(engine) as connection:
        tables = (await connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))).scalars()
        assert list(tables) == ["nonce"]
    await close_engine(engine)


async def test_alembic_is_not_loaded_for_a_database_that_is_up_to_date(engine: AsyncEngine) -> None:
    """A server that only restarts does not carry the migration tool in its memory."""
    code = OPEN + "assert not [name for name in sys.modules if name.startswith('alembic')]"
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, f"sqlite:///{engine.url.database}", env=dict(os.environ)
        )
        assert await process.wait() == 0


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))
