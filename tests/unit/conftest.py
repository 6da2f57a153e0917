"""What every test of a unit shares: patience."""

import pytest

from gatekeeper.adapters.sinks import writer


@pytest.fixture(autouse=True)
def _patient_with_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log gives up a disk that hangs; one that has much to do beside is not to look like it.

    Tests of that set limits of their own.
    """
    monkeypatch.setitem(writer.Limits.__init__.__kwdefaults__, "stall_limit_s", 60.0)
    monkeypatch.setattr(writer, "_PUBLISHED_WITHIN_S", 60.0)
