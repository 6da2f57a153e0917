"""Every adapter of the two ports, ready to use."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.stores.directory import DeviceDirectory
from gatekeeper.adapters.stores.migrate import open_store
from gatekeeper.adapters.stores.registry import SqlRegistry
from gatekeeper.ports.registry import Registry
from testkit.memory_registry import MemoryDevices, MemoryRegistry
from testkit.stores import Adapter


@pytest.fixture(params=["memory", "sqlite"])
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Adapter]:
    """Each adapter in turn, empty."""
    if request.param == "memory":
        memory = MemoryRegistry()
        yield Adapter(memory, MemoryDevices(memory), _nothing)
        return
    async with open_store(f"sqlite:///{tmp_path}/registry.sqlite3") as engine:
        directory = DeviceDirectory(engine, max_silence=timedelta(minutes=2))
        await directory.refresh()
        yield Adapter(SqlRegistry(engine), directory, directory.refresh)
        await directory.close()


@pytest.fixture
def registry(adapter: Adapter) -> Registry:
    """The registry of the adapter."""
    return adapter.registry


async def _nothing() -> None:
    """A store in memory is always up to date."""
