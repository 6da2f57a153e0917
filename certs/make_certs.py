"""Make a demo set of certificates: a server's, two phones', and their attestation certificates, each with its CA.

    python certs/make_certs.py [--directory certs] [--host mail.example.com] [--device ph-001]

For trying Gatekeeper out. A company takes its own CAs: see README.md beside this file.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from gatekeeper.cli.demo.phone_agent import CertificateAuthority, Identity


def main(arguments: list[str] | None = None) -> int:
    """Write the set; keep what is there unless `--force`."""
    parser = argparse.ArgumentParser(description="Make a demo set of certificates.")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent, help="where to write")
    parser.add_argument("--host", action="append", help="a name or address of the server (repeat for more)")
    parser.add_argument("--device", action="append", help="a device id (repeat for more)")
    parser.add_argument("--force", action="store_true", help="replace certificates and keys that exist")
    options = parser.parse_args(arguments)
    hosts = options.host or ["localhost", "127.0.0.1", "::1"]
    devices = options.device or ["ph-001", "ph-002"]
    files = _files(hosts, devices, datetime.now(UTC))  # noqa: TID251  a command of its own, nobody hands it a clock
    existing = [name for name in files if (options.directory / name).exists()]
    if existing and not options.force:
        print(f"{options.directory / existing[0]} exists; --force replaces the whole set", file=sys.stderr)
        return 2
    for name, content in files.items():
        _write(options.directory / name, content)
        print(options.directory / name)
    return 0


def _files(hosts: list[str], devices: list[str], now: datetime) -> dict[str, bytes]:
    server_ca = CertificateAuthority.create("Gatekeeper demo server CA", now=now)
    device_ca = CertificateAuthority.create("Gatekeeper demo device CA", now=now)
    attestation_ca = CertificateAuthority.create("Gatekeeper demo attestation CA", now=now)
    files = {
        **_pair("server-ca", server_ca.identity),
        **_pair("server", server_ca.server(hosts, now=now)),
        **_pair("device-ca", device_ca.identity),
        **_pair("attestation-ca", attestation_ca.identity),
    }
    for device_id in devices:
        files |= _pair(f"device-{device_id}", device_ca.device(device_id, now=now))
        files |= _pair(f"attester-{device_id}", attestation_ca.attester(device_id, now=now))
    return files


def _pair(name: str, identity: Identity) -> dict[str, bytes]:
    return {f"{name}.pem": identity.chain_pem(), f"{name}.key": identity.private_key_pem()}


def _write(path: Path, content: bytes) -> None:
    """Write a file that is never readable to others when it holds a key, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    mode = 0o600 if path.suffix == ".key" else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
