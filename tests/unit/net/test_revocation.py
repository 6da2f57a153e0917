"""Revocation lists: what a file may hold, whose they are, and until when they count."""

from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.net import revocation
from gatekeeper.net.revocation import check_lists, read_lists, valid_until
from gatekeeper.server.clock import SystemClock
from testkit.tls import Authority


@pytest.fixture
def devices(tmp_path: Path) -> Authority:
    """The CA of the devices."""
    return Authority(tmp_path, "devices")


def test_the_first_list_that_ends_ends_the_file(devices: Authority, tmp_path: Path) -> None:
    """After it something may be revoked that nobody knows of."""
    short = devices.revocation_list(valid_for=timedelta(hours=1), name="short")
    long = devices.revocation_list(valid_for=timedelta(days=9), name="long")
    both = tmp_path / "both.pem"
    both.write_bytes(long.read_bytes() + short.read_bytes())
    assert len(read_lists(both)) == 2
    assert valid_until(both) == valid_until(short)
    until = valid_until(short)
    assert until is not None
    assert timedelta(minutes=58) < until - SystemClock().now() < timedelta(minutes=61)
    assert valid_until(None) is None


def test_a_certificate_in_the_file_is_refused(devices: Authority, tmp_path: Path) -> None:
    """OpenSSL would trust it as a CA."""
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(devices.revocation_list().read_bytes() + devices.ca_file.read_bytes())
    with pytest.raises(ValueError, match="something else"):
        read_lists(mixed)


def test_a_file_without_a_list_is_refused(tmp_path: Path) -> None:
    """DER too: OpenSSL reads PEM here."""
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"\x30\x82")
    with pytest.raises(ValueError, match="holds no X509 CRL in PEM"):
        read_lists(empty)
    empty.write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(ValueError, match=r"parsing|ASN\.1|Unable"):
        read_lists(empty)


def test_a_huge_file_is_refused(devices: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every context would hold it."""
    monkeypatch.setattr(revocation, "MAX_OCTETS", 100)
    with pytest.raises(ValueError, match="larger than 100 octets"):
        read_lists(devices.revocation_list())


def test_a_list_of_another_ca_is_refused(devices: Authority, tmp_path: Path) -> None:
    """It would revoke nothing; a CA of the same name is another one too."""
    check_lists(devices.revocation_list(), devices.ca_file)
    (tmp_path / "x").mkdir()
    for name in ("strangers", "devices"):
        other = Authority(tmp_path / "x", name)
        with pytest.raises(ValueError, match="is not of a CA in client_ca"):
            check_lists(other.revocation_list(), devices.ca_file)
