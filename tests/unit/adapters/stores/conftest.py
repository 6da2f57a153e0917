"""A new database, and the adapters on it."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry


@pytest.fixture(autouse=True)
async def _no_thread_is_left() -> AsyncIterator[None]:
    """A connection's thread tells its loop when it ends: one that outlived its test would make another one fail."""
    yield
    assert not [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a database in a directory of its own that does not exist as a file yet."""
    (tmp_path / "state").mkdir()
    return f"sqlite:///{tmp_path}/state/registry.sqlite3"


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """The database, migrated."""
    async with open_store(url) as engine:
        yield engine


@pytest.fixture
def registry(engine: AsyncEngine) -> SqlRegistry:
    """The registry on it."""
    return SqlRegistry(engine)


@pytest.fixture
async def directory(engine: AsyncEngine) -> AsyncIterator[DeviceDirectory]:
    """A directory that has reached the store."""
    directory = DeviceDirectory(engine)
    await directory.refresh()
    yield directory
    await directory.close()
