"""A whole gatekeeper in this process, composed from a configuration in a directory of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatekeeper.audit.event import Event, EventCode
from gatekeeper.config.load import load
from gatekeeper.server import compose
from gatekeeper.server.compose import Gatekeeper
from gatekeeper.server.run import open_listeners
from testkit.configuration import Configuration
from testkit.loops import poller_loop, poller_of


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test in this directory runs on the poller."""
    return {"poller": poller_loop}


@pytest.fixture(autouse=True)
def _patient_with_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants something recorded is told when it takes too long; not because a disk has much to do beside."""
    monkeypatch.setattr("gatekeeper.server.admin._RECORDED_WITHIN_S", 60.0)
    monkeypatch.setattr("gatekeeper.server.recorder._WITHIN_S", 60.0)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files."""
    return Configuration(tmp_path)


@dataclass
class House:
    """The gatekeeper under test, and where its files lie."""

    gatekeeper: Gatekeeper
    configuration: Configuration

    async def records(self, code: str = "") -> list[dict[str, dict[str, object]]]:
        """The audit records so far, all or those with one event code."""
        await self.flushed()
        directory = self.gatekeeper.settings.audit.directory / "segments"
        lines = [line for path in sorted(directory.iterdir()) for line in path.read_text().splitlines()]
        records = [json.loads(line) for line in lines]
        return [record for record in records if not code or record["metadata"]["event_code"] == code]

    async def flushed(self) -> None:
        """Wait until everything that was appended is durable."""
        durable = asyncio.Event()
        marker = Event(code=EventCode.CONNECTION_CLOSED, time=self.gatekeeper.clock.now(), message="marker")
        self.gatekeeper.audit.append(marker, lambda _durable: durable.set())
        async with asyncio.timeout(30):
            await durable.wait()


@pytest.fixture
async def house(configuration: Configuration) -> AsyncIterator[House]:
    """Composed, with its listeners open and the gate's tasks running."""
    settings = load(configuration.path, {})
    poller = poller_of(asyncio.get_running_loop())
    async with compose.compose(settings, configuration.path, poller) as gatekeeper, asyncio.TaskGroup() as tasks:
        gatekeeper.gate.run_in(tasks)
        open_listeners(gatekeeper)
        yield House(gatekeeper, configuration)
        for listener in gatekeeper.listeners.values():
            listener.stop()
        for front in gatekeeper.fronts.values():
            front.say_goodbye()
