"""What every test of a unit shares: patience."""

import os
from datetime import timedelta

import pytest

from gatekeeper.adapters.sinks import compressor, writer
from gatekeeper.adapters.stores.directory import DeviceDirectory


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log gives up a disk that hangs; one that has much to do beside is not to look like it.

    Tests of that set limits of their own.
    """
    monkeypatch.setitem(writer.Limits.__init__.__kwdefaults__, "stall_limit_s", 60.0)
    monkeypatch.setattr(writer, "_PUBLISHED_WITHIN_S", 60.0)
    # Where nobody follows the store, memory is good for so long after the last look at it.
    monkeypatch.setitem(DeviceDirectory.__init__.__kwdefaults__, "max_silence", timedelta(minutes=2))
    # With the lowest priority it may not have a turn for as long as others have something to do.
    monkeypatch.setattr(compressor, "_LOWEST", os.getpriority(os.PRIO_PROCESS, 0))
