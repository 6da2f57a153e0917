"""Receivers with certificates that the shipping tests share."""

from collections.abc import Iterator

import pytest

from testkit.receivers import Certificates, HttpReceiver, SyslogReceiver


@pytest.fixture(autouse=True)
def _patient_with_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver is a thread of this process: one that has no processor for a while is not lost."""
    for channel in ("http", "syslog"):
        monkeypatch.setattr(f"gatekeeper.adapters.sinks.shipping.{channel}.TIMEOUT_S", 60.0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def syslog(certificates: Certificates) -> Iterator[SyslogReceiver]:
    """A receiver that wants a certificate."""
    receiver = SyslogReceiver(certificates.mutual())
    yield receiver
    receiver.stop()


@pytest.fixture
def collector(certificates: Certificates) -> Iterator[HttpReceiver]:
    """Likewise, for HTTPS."""
    receiver = HttpReceiver(certificates.mutual())
    yield receiver
    receiver.stop()
