"""The script that makes a demo set of certificates."""

import runpy
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatekeeper.attestation.issuer import Issuer

SCRIPT = Path(__file__).parents[2] / "certs" / "make_certs.py"


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    """The script's entry."""
    return runpy.run_path(str(SCRIPT))["main"]


def test_makes_a_whole_set_with_private_keys_private(main: Callable[[list[str]], int], tmp_path: Path) -> None:
    """Each certificate beside its key; keys for the owner alone."""
    assert main(["--directory", str(tmp_path), "--host", "mail.example.com", "--device", "ph-9"]) == 0

    names = {path.name for path in tmp_path.iterdir()}
    pairs = ["server-ca", "server", "device-ca", "device-ph-9", "attestation-ca", "attester-ph-9"]
    assert names == {f"{name}.{ending}" for name in pairs for ending in ("pem", "key")}
    for name in pairs:
        key = serialization.load_pem_private_key((tmp_path / f"{name}.key").read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes())
        assert certificate.public_key() == key.public_key()
        assert stat.S_IMODE((tmp_path / f"{name}.key").stat().st_mode) == 0o600
    assert Issuer(name="x", ca=(tmp_path / "attestation-ca.pem").read_bytes())


def test_replaces_nothing_unasked(main: Callable[[list[str]], int], tmp_path: Path) -> None:
    """A second run would cut off every phone that has a certificate of the first."""
    assert main(["--directory", str(tmp_path)]) == 0
    before = (tmp_path / "device-ca.pem").read_bytes()

    assert main(["--directory", str(tmp_path)]) == 2
    assert (tmp_path / "device-ca.pem").read_bytes() == before
    assert main(["--directory", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "device-ca.pem").read_bytes() != before
