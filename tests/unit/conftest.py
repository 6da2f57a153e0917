"""What every test of a unit shares: patience."""

import os

import pytest

from gatekeeper.adapters.sinks import compressor, writer


@pytest.fixture(autouse=True)
def _patient_with_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log gives up a disk that hangs; one that has much to do beside is not to look like it.

    Tests of that set limits of their own.
    """
    monkeypatch.setitem(writer.Limits.__init__.__kwdefaults__, "stall_limit_s", 60.0)
    monkeypatch.setattr(writer, "_PUBLISHED_WITHIN_S", 60.0)
    # With the lowest priority it may not have a turn for as long as others have something to do.
    monkeypatch.setattr(compressor, "_LOWEST", os.getpriority(os.PRIO_PROCESS, 0))
