"""A gate like any other, but in a thread of this process, so that a test can break its disk and set its clock."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.adapters.sinks.file import FileAuditLog
from gatekeeper.adapters.sinks.operations import FileOperations
from gatekeeper.config.load import load
from gatekeeper.net.poller import Poller, PollerLoop
from gatekeeper.server import compose, run
from testkit.gate import GateProcess
from testkit.running import running
from testkit.tls import Authority
from testkit.waiting import eventually

_WITHIN_S = 60
"""To start, and to end, on a machine that may be busy with many others."""


class MovableClock:
    """The time, and so much more or less."""

    offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset  # noqa: TID251  stands in for the system's


class GateInThread(GateProcess):
    """Its audit log is written by `disk`, and tries again sooner than that of a gate in service.

    It has the same patience: the disk of a busy machine may take a second to sync.
    """

    def __init__(
        self,
        directory: Path,
        servers: Authority,
        devices: Authority,
        changes: Mapping[str, object],
        *,
        disk: FileOperations,
        clock: MovableClock,
    ) -> None:
        super().__init__(directory, servers, devices, changes)
        self._disk = disk
        self._clock = clock
        self._stop = run.Stop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gatekeeper: compose.Gatekeeper | None = None
        self._thread = threading.Thread(target=self._run, name=self._name)
        self._fault: BaseException | None = None

    def start(self, *, ready: bool = True) -> None:
        """Run, until it is ready."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compose, "FileAuditLog", _opening(self._disk))
            patch.setattr(compose, "SystemClock", lambda: self._clock)
            self._thread.start()
            running[self._name] = self
            if ready:
                eventually(lambda: self._fault is not None or self.is_ready(), within=_WITHIN_S)
        if self._fault is not None:
            raise self._fault

    @property
    def sees_its_outage(self) -> bool:
        """Whether it has noted that its log cannot be written: it looks now and then, and tells of what it saw."""
        return self._gatekeeper is not None and self._gatekeeper.outage._under_way is not None

    def stop(self) -> int:
        """Drain and end."""
        running.pop(self._name, None)
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.ask)
            self._thread.join(_WITHIN_S)
        assert not self._thread.is_alive()
        return 0

    def discard(self) -> None:
        """The same."""
        self.stop()

    def _run(self) -> None:
        poller = Poller()
        try:
            with asyncio.Runner(loop_factory=lambda: PollerLoop(poller)) as runner:
                runner.run(self._serve(poller))
        except BaseException as error:  # noqa: BLE001  told to whoever starts it
            self._fault = error

    async def _serve(self, poller: Poller) -> None:
        settings = load(self.configuration_file, {})
        async with compose.compose(settings, self.configuration_file, poller) as gatekeeper:
            self._loop = asyncio.get_running_loop()
            self._gatekeeper = gatekeeper
            run.open_listeners(gatekeeper)
            admin = await run._start_admin(gatekeeper)
            try:
                await run.run(gatekeeper, self._stop)
            finally:
                await admin.cleanup()


def _opening(disk: FileOperations) -> type[FileAuditLog]:
    class Opening(FileAuditLog):
        @classmethod
        def open(cls, directory: Path, **arguments: Any) -> FileAuditLog:  # type: ignore[override]
            limits = replace(arguments["limits"], retry_interval_s=0.1)
            return FileAuditLog.open(directory, **{**arguments, "files": disk, "limits": limits})

    return Opening
